"""What befalls the files of a checkout that nobody planned: garbage in logs, logs cut or exchanged, files half there.

Each kind has its turn, so that a handful of histories meets them all.
"""

from random import Random

from opsd.sim import documents
from opsd.sim.steps import Delete
from tests.simulation.checkouts import Checkout, FilesTree

GARBAGE: dict[str, bytes] = {
    "no JSON": b"Traceback (most recent call last):\n",
    "an array": b"[1, 2]\n",
    "no name": b'{"timestamp":"2026-01-01T00:00:00Z"}\n',
    "no time": b'{"event":"role_start"}\n',
    "no UTF-8": b'{"event":"role_end","timestamp":"2026-01-01T00:00:00Z","data":"\xff\xfe"}\n',
    "nothing": b"\n",
    "blanks": b" \t \r\n",
    "half a line": b'{"timestamp":"2026-01-01T00:0',
    "a long line": b'{"event":"' + b"x" * 3_000 + b'"}\n',
    "odd types": b'{"event":7,"timestamp":12,"iteration":"3","run_id":null}\n',
    "unknown event": b'{"event":"moon_phase","timestamp":"2026-01-01T00:00:00Z"}\n',
}
BROKEN: dict[str, bytes] = {
    "empty": b"",
    "half": b'{"active": tr',
    "an array": b"[]\n",
    "other types": b'{"active": 7}\n',
}
SMALL_FILES = (documents.STATE, documents.ACTIVE_RUN, documents.CONFIG, "approval.json", "run-summary.json")

LOSSES = (
    "emptied",
    "cut",
    "cut in a line",
    "replaced",
    "replaced by its end",
    "copied and emptied",
    "grown over",
    "removed",
)
KINDS = (
    *(f"log: {kind}" for kind in GARBAGE),
    *(f"log: {kind}" for kind in LOSSES),
    *(f"file: {kind}" for kind in BROKEN),
)


class Accidents:
    """Happen one kind after the other; `turn` is where the row begins."""

    def __init__(self, turn: int) -> None:
        self._turn = turn

    def happen(self, checkout: Checkout, dice: Random) -> str | None:
        """The kind whose turn it was, or None where there was nothing to spoil and it is its turn still."""
        kind = KINDS[self._turn % len(KINDS)]
        what, _, how = kind.partition(": ")
        loop_id = dice.choice(checkout.loop_ids)
        spoilt = _file(checkout.tree, loop_id, how, dice) if what == "file" else _log(checkout, loop_id, how, dice)
        if not spoilt:
            return None
        self._turn += 1
        return kind


def _file(tree: FilesTree, loop_id: str, kind: str, dice: Random) -> bool:
    name = dice.choice(SMALL_FILES)
    path = name if "/" in name else f"{documents.folder(loop_id)}/{name}"
    if tree.bytes_of(path) is None:
        return False
    tree.put(path, BROKEN[kind])
    return True


def _log(checkout: Checkout, loop_id: str, kind: str, dice: Random) -> bool:
    tree, log = checkout.tree, checkout.log(loop_id)
    data = tree.bytes_of(log)
    if not data:
        return False
    if kind in GARBAGE:
        tree.append(log, GARBAGE[kind])
    else:
        _lose(tree, log, data, kind, dice)
    return True


def _lose(tree: FilesTree, log: str, data: bytes, kind: str, dice: Random) -> None:
    lines = data.splitlines(keepends=True)
    kept = dice.randrange(len(lines))
    match kind:
        case "emptied":
            tree.truncate(log, 0)
        case "cut":
            tree.truncate(log, sum(map(len, lines[:kept])))
        case "cut in a line":
            tree.truncate(log, dice.randrange(len(data)))
        case "replaced":
            tree.put(log, b"".join(lines[:kept]))
        case "replaced by its end":
            tree.put(log, b"".join(lines[kept:]))
        case "copied and emptied":
            tree.truncate(log, 0)
            tree.append(log, b"".join(lines[kept:]))
        case "grown over":  # the same file, no shorter when it is looked at next, and not what it was
            size_bytes = sum(map(len, lines[:kept]))
            tree.truncate(log, size_bytes)
            while size_bytes <= len(data):
                line = b'{"event":"tide","timestamp":"2026-01-01T00:00:00Z","height":%d}\n' % dice.randrange(1 << 40)
                size_bytes += len(line)
                tree.append(log, line)
        case "removed":
            tree.perform(Delete(log))
