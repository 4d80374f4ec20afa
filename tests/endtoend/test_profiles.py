"""A profile that an operator chooses for a loop: in force at once, over a kill, in one-shot passes, and never stuck."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from opsctl.exits import Exit
from tests.batch.cli import run as ops_manager
from tests.doubles.process import OpsdProcess
from tests.faults.fleet import START, lay_down_from
from tests.opsctl.cli import opsctl

pytestmark = pytest.mark.slow

LONG = 1 << 40
QUICK = {
    "degradedIngestLagSeconds": 1,
    "criticalIngestLagSeconds": 2,
    "degradedTransportFailureStreak": 1,
    "criticalTransportFailureStreak": 2,
}
PATIENT = {**QUICK, "degradedIngestLagSeconds": LONG, "criticalIngestLagSeconds": LONG}


def write_catalog(path: Path, **profiles: dict[str, int]) -> None:
    path.write_text(json.dumps({"schemaVersion": "v1", "defaultProfile": "quick", "profiles": profiles}))


def a_home(folder: Path) -> Path:
    """Two loops, each in the middle of a run that has said nothing for long."""
    entries = []
    for loop_id in ("a", "b"):
        repo = folder / "checkouts" / loop_id
        lay_down_from(START, "steady", repo, loop_id=loop_id, until="iteration-2")
        entries.append({"loopId": loop_id, "transport": "local", "repoPath": str(repo)})
    registry = folder / "home/.superloop/ops-manager/fleet/registry.v1.json"
    registry.parent.mkdir(parents=True)
    registry.write_text(json.dumps({"schemaVersion": "v1", "loops": entries}), encoding="utf-8")
    return folder / "home"


def judged(opsd: OpsdProcess, loop_id: str) -> tuple[str, bool]:
    """By which profile, and whether its silence counts against it."""
    health: dict[str, Any] = opsd.get(f"/v1/loops/{loop_id}")["health"] or {}
    return health.get("thresholds", {}).get("profile", ""), "ingest_stale" in health.get("reasonCodes", ())


async def test_a_chosen_profile_holds_from_the_choice_to_its_end(short_path: Path) -> None:
    home, catalog = a_home(short_path), short_path / "profiles.json"
    write_catalog(catalog, quick=QUICK, patient=PATIENT)
    one_shot = ("reconcile", "--repo", str(home), "--loop", "a", "--thresholds-file", str(catalog))
    with OpsdProcess(home, "--threshold-profiles-file", str(catalog)) as opsd:
        opsd.until(lambda: judged(opsd, "a") == judged(opsd, "b") == ("quick", True), "both are judged by the default")

        chosen = await opsctl(opsd.socket, "profile", "a", "--set", "patient", "--reason", "its roles take days")
        assert chosen.code == Exit.OK, chosen.err
        opsd.until(lambda: judged(opsd, "a") == ("patient", False), "its silence is in order")
        assert judged(opsd, "b") == ("quick", True)
        verified = await opsctl(opsd.socket, "verify", "a")
        assert verified.code == Exit.OK, verified.out
        unknown = await opsctl(opsd.socket, "profile", "b", "--set", "stern", "--reason", "why not")
        assert (unknown.code, "patient, quick" in unknown.err) == (Exit.NO, True)

        opsd.kill()
        alone = ops_manager(*one_shot).document
        assert alone["health"]["thresholds"]["profile"] == "patient"
        opsd.start()
        opsd.until(lambda: judged(opsd, "a") == ("patient", False), "the restart knows the choice")
        assert judged(opsd, "b") == ("quick", True)
        told = json.loads((await opsctl(opsd.socket, "tuning", "a", "-o", "json")).out)
        assert (told["profile"]["chosen"], told["profile"]["reason"]) == ("patient", "its roles take days")

        write_catalog(catalog, quick=QUICK)
        opsd.process.send_signal(signal.SIGHUP)
        opsd.until(lambda: judged(opsd, "a") == ("quick", True), "what the catalog lost does not hold")
        assert "profile_unusable" in opsd.findings()
        shown = await opsctl(opsd.socket, "profile", "a")
        assert "without effect: unknown threshold profile: patient" in shown.out

        ended = await opsctl(opsd.socket, "profile", "a", "--clear", "--reason", "no longer")
        assert ended.code == Exit.OK, ended.err
        assert "profile_unusable" not in opsd.findings()
        assert opsd.stop() == 0
