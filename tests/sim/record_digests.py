"""Compute the digests of recorded runs: `python -m tests.sim.record_digests RECORDINGS_DIR`.

Writes tests/sim/digests/<scenario>.json: the digest of each recording's time lapse, which files each of its named steps
has, and which of them became other than they were in the step before; shapes stand there as numbers of lines in
digests/shapes.txt. Needed only when recordings change.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import NamedTuple

from opsd.sim.digest import Digest, Row, digest, recorded

DIGESTS = Path(__file__).parent / "digests"
LOOK_S = 0.05
"""The recorder's pause between looks."""


class Changes(NamedTuple):
    """Which files are new, gone, only longer, and otherwise other."""

    new: list[str]
    gone: list[str]
    grown: list[str]
    changed: list[str]


def rows_of(recording: Path) -> list[Row]:
    """The changes of a recording, in order."""
    lines = [json.loads(line) for line in (recording / "timelapse.jsonl").read_text().splitlines()]
    return [
        Row(line["op"], line["path"], line.get("text", ""), line["t"])
        for line in lines
        if line["op"] in ("put", "append", "delete")
    ]


def steps_of(recording: Path) -> dict[str, list[str]]:
    """The files of each named step."""
    return {
        step.name: sorted(
            str(file.relative_to(step)) for file in step.rglob("*") if file.is_file() and recorded(str(file))
        )
        for step in sorted((recording / "steps").iterdir())
    }


def changes_of(recording: Path) -> dict[str, Changes]:
    """What each named step changed of the one before it."""
    steps = sorted((recording / "steps").iterdir())
    return {after.name: changes(files_of(before), files_of(after)) for before, after in itertools.pairwise(steps)}


def files_of(checkout: Path) -> dict[str, bytes]:
    """The recorded files of a tree, by their path in it."""
    return {
        str(file.relative_to(checkout)): file.read_bytes()
        for file in (checkout / ".superloop").rglob("*")
        if file.is_file() and recorded(str(file))
    }


def changes(before: dict[str, bytes], after: dict[str, bytes]) -> Changes:
    """Between two looks at a tree."""
    return Changes(
        new=sorted(after.keys() - before.keys()),
        gone=sorted(before.keys() - after.keys()),
        grown=sorted(path for path in _both(before, after) if after[path].startswith(before[path])),
        changed=sorted(path for path in _both(before, after) if not after[path].startswith(before[path])),
    )


def _both(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    return [path for path in before.keys() & after.keys() if before[path] != after[path]]


def main(recordings: Path) -> None:
    """Write one digest per recording."""
    DIGESTS.mkdir(exist_ok=True)
    shapes: dict[str, int] = {}
    for recording in sorted(path.parent for path in recordings.glob("*/timelapse.jsonl")):
        found = digest(rows_of(recording), look_s=LOOK_S)
        numbered = {
            name: [shapes.setdefault(line, len(shapes)) for line in lines] for name, lines in found.shapes.items()
        }
        document = {**found._asdict(), "shapes": numbered, "steps": steps_of(recording)}
        document["changes"] = {step: found._asdict() for step, found in changes_of(recording).items()}
        (DIGESTS / f"{recording.name}.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")
        print(recording.name)
    (DIGESTS / "shapes.txt").write_text("".join(f"{line}\n" for line in shapes))


def load(scenario: str) -> tuple[Digest, dict[str, list[str]]]:
    """The checked-in digest of a recording, and the files of its steps."""
    shapes = (DIGESTS / "shapes.txt").read_text().splitlines()
    document = json.loads((DIGESTS / f"{scenario}.json").read_text())
    steps = document.pop("steps")
    del document["changes"]
    named = {name: [shapes[number] for number in numbers] for name, numbers in document["shapes"].items()}
    return Digest(**{**document, "shapes": named}), steps


def load_changes(scenario: str) -> dict[str, Changes]:
    """What each named step of a recording changed, from the checked-in digest."""
    document = json.loads((DIGESTS / f"{scenario}.json").read_text())
    return {step: Changes(**found) for step, found in document["changes"].items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
