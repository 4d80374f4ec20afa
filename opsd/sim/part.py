"""What a checkout plays: the sim's own file beside it, `.sim.json`, and what it says as a record.

The runtime's files never mention it. What a scenario means is in `opsd.sim.scenarios`; how control commands may
misbehave (`faults`) is carried out in `opsd.sim.faults`.
"""

import json
import os
from typing import NamedTuple

from opsd.sim.steps import Document

PART_FILE = ".sim.json"
COMMANDS_FILE = ".sim-commands.jsonl"


class Part(NamedTuple):
    """One checkout's part. Source for every default: what the recordings show, slowed to real roles.

    speed: how many times as fast as life. role_s: mean seconds of a role at speed 1. gap_s: how long a file rewritten
    in place stays empty, in real seconds whatever the speed. iterations: in which one the promise comes (0: the
    scenario's own). cancel_poll_s: how often `cancel` looks whether the process is gone. hosted: many loops share one
    process, so `cancel` must not kill it. faults: command name to the faults of its first, second, ... call.
    """

    scenario: str = "complete"
    seed: int = 1
    speed: float = 1.0
    role_s: float = 60.0
    gap_s: float = 0.02
    iterations: int = 0
    cancel_poll_s: float = 1.0
    hosted: bool = False
    faults: dict[str, list[Document]] = {}  # noqa: RUF012 -- a NamedTuple default; nobody writes to it


def read_part(repo: str) -> Part:
    """The part of the checkout at `repo`; a checkout without `.sim.json` plays `complete` at life's speed."""
    try:
        with open(os.path.join(repo, PART_FILE), encoding="utf-8") as file:
            said = json.load(file)
    except FileNotFoundError:
        return Part()
    unknown = sorted(set(said) - set(Part._fields))
    if unknown:
        raise ValueError(
            f"{repo}/{PART_FILE}: no such member: {', '.join(unknown)}; known are {', '.join(Part._fields)}"
        )
    return Part(**said)


def write_part(repo: str, part: Part) -> None:
    """Cast the checkout at `repo`, replacing any earlier part whole."""
    path = os.path.join(repo, PART_FILE)
    os.makedirs(repo, exist_ok=True)
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        json.dump(part._asdict(), file, indent=2)
        file.write("\n")
    os.replace(path + ".tmp", path)
