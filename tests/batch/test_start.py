"""What the reading commands bring along when they start, which is what their callers wait for."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.batch.checkout import Checkout

HEAVY = {"asyncio", "anyio", "httpx", "pydantic", "structlog", "subprocess", "watchfiles", "starlette", "uvicorn"}


@pytest.mark.parametrize(
    "words",
    [
        ("loop-run-snapshot",),
        ("poll-events",),
        ("project-state",),
        ("confirm-intent", "--intent", "cancel", "--timeout-seconds", "0"),
        ("health",),
    ],
    ids=lambda words: words[0],
)
def test_a_reading_command_needs_nothing_of_the_daemons_machinery(tmp_path: Path, words: tuple[str, ...]) -> None:
    checkout = Checkout(tmp_path).state(active=False).event("loop_stop")
    flags = () if words[0] == "health" else checkout.flags
    listing = (
        "import sys; from opsd.batch.__main__ import main; "
        f"code = main({[*words, *flags]!r}); print(code, *sys.modules, file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-I", "-c", listing], capture_output=True, text=True, check=True)

    code, *imported = done.stderr.split()
    assert (code, done.stdout != "") == ("0", True)
    assert not set(imported) & HEAVY
    ours = {name.split(".")[1] for name in imported if name.startswith("opsd.")}
    assert not ours & {"supervisor", "api", "services", "settings", "daemon", "sim", "logs", "controls"}
