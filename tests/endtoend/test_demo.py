"""The demo keeps its promises: it is what a newcomer sees first."""

import subprocess

import pytest

from opsd.exits import ExitCode
from tests.doubles.process import spawn

LONGEST_S = 150.0
ACTS = ("approve", "pause", "resume", "cancel")


@pytest.mark.slow
@pytest.mark.timeout(LONGEST_S + 10)
def test_the_demo_shows_each_change_that_it_promises() -> None:
    process = spawn("demo", out=subprocess.PIPE, err=subprocess.STDOUT)
    try:
        said = process.communicate(timeout=LONGEST_S)[0].decode()
    finally:
        process.kill()

    assert process.returncode == ExitCode.OK, said
    for command in (*ACTS, "approvals", "intents", "status", "transport", "explain", "escalations", "verify"):
        assert f"\n$ opsctl {command}" in said
    for change in ("ingest_stale", "awaiting_approval", "complete", "crashed", "runtime_process_missing"):
        assert change in said
    assert "  sprite_service" in said, "some loops are behind services"
    assert "transport_unreachable" in said, "one of them was gone for a while"
    assert "sprite:state.json: There is none." in said, "and then its run was cancelled inside the sprite"
    for act in (*ACTS, "start"):
        assert f"  {act}  confirmed" in said
    assert "confirmed (completed)" in said, "the approval was taken up by a run, which completed"
    assert said.rstrip().endswith("nothing is left behind.")
