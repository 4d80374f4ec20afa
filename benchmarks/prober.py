"""The child that asks the daemon questions at fixed instants, each on a connection of its own, as `opsctl` does.

It waits for a first word to begin.
The time of an answer counts from the instant at which its question was due: a daemon that keeps one question waiting
does not get away with the ones behind it.
"""

import itertools
import sys
import time

import msgspec

from benchmarks.child import leave, stopped, task, tell
from benchmarks.wire import Connection


class ProberTask(msgspec.Struct, frozen=True):
    """`targets` are asked in turn, `rate` times a second in all."""

    socket: str
    targets: tuple[str, ...]
    rate: float
    answers_file: str


class Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How long a target's answer took from its due instant `due_ns`; None where there was none."""

    target: str
    due_ns: int
    took_ms: float | None


def main() -> None:
    mine = task(ProberTask)
    answers: list[Answer] = []
    tell("ready")
    sys.stdin.readline()
    due_ns = time.monotonic_ns()
    targets = itertools.cycle(mine.targets)
    while not stopped():
        target = next(targets)
        due_ns += int(1e9 / mine.rate)
        if (left_ns := due_ns - time.monotonic_ns()) > 0:
            time.sleep(left_ns / 1e9)
        answers.append(Answer(target, due_ns, _ask(mine.socket, target, due_ns)))
    leave(mine.answers_file, answers)


def _ask(socket: str, target: str, due_ns: int) -> float | None:
    connection = Connection(socket)
    try:
        connection.fetch(target)
    except (OSError, RuntimeError):
        return None
    finally:
        connection.close()
    return (time.monotonic_ns() - due_ns) / 1e6


if __name__ == "__main__":
    main()
