"""Compute the digests of recorded runs: `python -m tests.sim.record_digests RECORDINGS_DIR`.

Writes tests/sim/digests/<scenario>.json: the digest of each recording's time lapse, and which files each of its named
steps has; shapes stand there as numbers of lines in digests/shapes.txt. Needed only when recordings change.
"""

import json
import sys
from pathlib import Path

from opsd.sim.digest import Digest, Row, digest, recorded

DIGESTS = Path(__file__).parent / "digests"
LOOK_S = 0.05
"""The recorder's pause between looks."""


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
        (DIGESTS / f"{recording.name}.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")
        print(recording.name)
    (DIGESTS / "shapes.txt").write_text("".join(f"{line}\n" for line in shapes))


def load(scenario: str) -> tuple[Digest, dict[str, list[str]]]:
    """The checked-in digest of a recording, and the files of its steps."""
    shapes = (DIGESTS / "shapes.txt").read_text().splitlines()
    document = json.loads((DIGESTS / f"{scenario}.json").read_text())
    steps = document.pop("steps")
    named = {name: [shapes[number] for number in numbers] for name, numbers in document["shapes"].items()}
    return Digest(**{**document, "shapes": named}), steps


if __name__ == "__main__":
    main(Path(sys.argv[1]))
