"""Run as a program: one pass over a small fleet and its commit, killed at every call that changes the disk.

Arguments: `torn` or `between`, folder. The checkouts lie in `folder/checkouts`, the homes in `folder/1` and so on.
What is printed is said in `tests.doubles.killing`.
"""

import sys
from pathlib import Path

from tests.doubles.killing import sweep
from tests.faults.fleet import ENDED, RUNNING, lay_down_lives, managed


def main(how: str, folder: Path) -> None:
    """The first pass saw the runs begin and is on the disk whole; the second, which is swept, sees them end."""
    template, checkouts = folder / "template", folder / "checkouts"
    template.mkdir()
    now = lay_down_lives(checkouts, later=False)
    managed(str(template), checkouts, now, RUNNING).look_and_commit(now)
    later = lay_down_lives(checkouts, later=True)
    sweep(
        str(folder),
        torn=how == "torn",
        work=lambda home: managed(home, checkouts, later, ENDED).look_and_commit(later),
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
