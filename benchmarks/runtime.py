"""The child that plays the runtime of a whole fleet: lays its trees down, then appends events on an open-loop schedule.

Open loop: each event has its instant, whatever became of the ones before; a late one is sent at once and none is left
out. The stamp is taken right before write(2). The process is the one that every `active-run.json` names, so it stays
until its input ends.
"""

import os
import random
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from benchmarks.child import leave, task, tell
from benchmarks.moves import Life, Move, allow_silence
from opsd.sim.tree import compact

EVENTS_PER_ITERATION = 25
"""About so many in a run without trouble."""


class Role(msgspec.Struct, frozen=True):
    """A loop that is played: its tree is laid down up to the script's mark `until` (None: to the run's end)."""

    repo: str
    loop_id: str
    scenario: str
    until: str | None


class RuntimeTask(msgspec.Struct, frozen=True):
    """`events` of them in all, `rate` a second, dealt over all roles; the stamps go to `stamps_file`.

    Where there are events, each loop starts at another point of its iteration: real loops are not in step.
    `silence_s` is how long roles may be silent by configuration, 0 for no limit.
    """

    roles: tuple[Role, ...]
    stamps_file: str
    rate: float = 1.0
    events: int = 0
    silence_s: int = 0


class Stamp(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event as written: `at_ns` of the monotonic clock, and what tells it apart from its neighbours in the log.

    `late_ns` is by how much the schedule was missed.
    """

    loop_id: str
    line: int
    at_ns: int
    late_ns: int
    name: str
    iteration: int
    timestamp: str


class Due(NamedTuple):
    """A move of one life at its place in the schedule; `line` is the log's line that it will write."""

    life: Life
    line: int
    move: Move


def deal(lives: Sequence[Life], events: int, seed: int) -> list[Due]:
    """The order of the moves: round after round over all lives, each round shuffled anew."""
    dice, order = random.Random(seed), list(lives)
    moves = {life.loop_id: life.moves() for life in lives}
    lines = {life.loop_id: life.lines for life in lives}
    dealt: list[Due] = []
    while len(dealt) < events:
        dice.shuffle(order)
        for life in order[: events - len(dealt)]:
            lines[life.loop_id] += 1
            dealt.append(Due(life, lines[life.loop_id], next(moves[life.loop_id])))
    return dealt


def play(dealt: Sequence[Due], rate: float, begin_ns: int) -> list[Stamp]:
    """Make the moves, one every 1/`rate` seconds from `begin_ns` of the monotonic clock on."""
    stamps = []
    for number, due in enumerate(dealt):
        due_ns = begin_ns + int(number / rate * 1e9)
        while (left_ns := due_ns - time.monotonic_ns()) > 0:
            time.sleep(left_ns / 1e9)
        for op in due.move.before:
            due.life.perform(op)
        timestamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        event = {**due.move.event, "timestamp": timestamp}
        at_ns = append(os.path.join(due.life.tree.repo, due.life.log), compact(event).encode())
        stamps.append(
            Stamp(
                due.life.loop_id,
                due.line,
                at_ns,
                max(0, at_ns - due_ns),
                str(event["event"]),
                int(str(event["iteration"])),
                timestamp,
            )
        )
    return stamps


def append(path: str, line: bytes) -> int:
    """Append `line` to the file at `path` with one write(2); the monotonic nanosecond just before it."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        at_ns = time.monotonic_ns()
        os.write(fd, line)
    finally:
        os.close(fd)
    return at_ns


def main() -> None:
    mine = task(RuntimeTask)
    lives, dice = [], random.Random(1)
    for role in mine.roles:
        life = Life(role.repo, role.loop_id, role.scenario, pid=os.getpid(), start_s=time.time())
        if mine.silence_s:
            allow_silence(role.repo, mine.silence_s)
        life.lay_down(role.until)
        if mine.events:
            life.advance(dice.randrange(EVENTS_PER_ITERATION))
        lives.append(life)
    dealt = deal(lives, mine.events, seed=1)
    tell("ready")
    begin = sys.stdin.readline()
    if begin:
        leave(mine.stamps_file, play(dealt, mine.rate, int(begin)))


if __name__ == "__main__":
    main()
