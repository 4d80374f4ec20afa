"""Run as a program: one `ops-manager control`, killed at every call that changes the disk.

Arguments: `torn` or `between`, folder. What is printed is said in `tests.doubles.killing`.
"""

import os
import sys
from pathlib import Path

from tests.batch.checkout import LOOP
from tests.batch.cli import run
from tests.batch.controlled import Controlled
from tests.doubles.killing import sweep

WORDS = ("--loop", LOOP, "--intent", "approve", "--idempotency-key", "k-1", "--timeout-seconds", "0")


def main(how: str, folder: Path) -> None:
    template = folder / "template"
    template.mkdir()
    Controlled(template)
    os.environ.pop("SUPERLOOP_BIN", None)
    warm = folder / "warm"
    warm.mkdir()
    Controlled(warm).control("approve")  # whatever is loaded late is loaded by now
    sweep(str(folder), torn=how == "torn", work=lambda repo: run("control", "--repo", repo, *WORDS))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
