"""The structural digest of a tree's changes: what a recording and a simulated run must have in common. Pure.

Kept: order of events, key sets and types, which files appear, vanish or are empty for a moment, and between which
events each is written. Left out: times, ids, wording, how often an iteration repeats. Rows are those of a time lapse.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

_KINDS = (
    ("time", re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")),
    ("sha256", re.compile(r"[0-9a-f]{64}\Z")),
    ("abs", re.compile(r"/.+")),
    ("rel", re.compile(r"\.superloop/.+")),
    ("boolstr", re.compile(r"(true|false)\Z")),
)
_LOOP = re.compile(r"\.superloop/loops/([^/]+)/(.+)")


class Row(NamedTuple):
    """One change: `put` (the file now has this text), `append` or `delete`, of a path in the checkout.

    `at_s` is when it was seen; it matters only for what was seen by looking every now and then.
    """

    op: str
    path: str
    text: str = ""
    at_s: float = 0.0


class Digest(NamedTuple):
    """What remains of a history when its numbers are taken away.

    events: per loop, blocks of events, cut before each `iteration_start`; a block equal to the one before it is left
    out. shapes: file or `event:<name>` to the distinct shapes it had. empty, vanished: files that were ever 0 bytes,
    that were ever deleted. places: file (`-file` for its deletion) to the windows of its changes: at least and at most
    how many events, of all loops together, were written before it.
    """

    events: list[list[list[str]]]
    shapes: dict[str, list[str]]
    empty: list[str]
    vanished: list[str]
    places: dict[str, list[list[int]]]


def recorded(path: str) -> bool:
    """Whether recordings keep this file: the tree's JSON and JSONL, save the runtime's scratch file."""
    return path.endswith((".json", ".jsonl")) and not path.endswith("run-summary-entry.json")


def digest(rows: Iterable[Row], *, look_s: float = 0.0) -> Digest:
    """Fold a history into its digest. Files that recordings leave out are left out here.

    `look_s` is the time between the looks that found the rows; 0 says that they are in their true order. A look goes
    through the files one by one, so changes found by the same or by neighbouring looks may have come either way round.
    """
    folder = _Folder()
    for row in rows:
        if recorded(row.path):
            folder.take(row)
    return folder.digest(look_s)


def shape(value: Any) -> str:
    """The type of a JSON value, written compactly: `{a:int,b:[str]}`; strings by kind (`time`, `abs`, `rel`, ...)."""
    match value:
        case dict():
            return "{" + ",".join(f"{key}:{shape(value[key])}" for key in sorted(value)) + "}"
        case list():
            return "[" + "|".join(sorted({shape(item) for item in value})) + "]"
        case str():
            return next((kind for kind, pattern in _KINDS if pattern.match(value)), "str")
        case None:
            return "null"
    return type(value).__name__


def token(event: dict[str, Any]) -> str:
    """An event as one word: `role_start:planner`, `role_timeout:implementer/timeout`, `loop_stop(stuck)`."""
    role, status = event.get("role"), event.get("status")
    reason = event.get("data", {}).get("reason")
    word = str(event["event"])
    return (
        word
        + (f":{role}" if role else "")
        + (f"/{status}" if status else "")
        + (f"({reason})" if reason and word.endswith("_stop") else "")
    )


class _Folder:
    """The state of folding a history."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._loops: list[str] = []
        self._tokens: dict[str, list[str]] = {}
        self._shapes: dict[str, set[str]] = {}
        self._empty: set[str] = set()
        self._vanished: set[str] = set()
        self._seen_s: list[float] = []
        self._places: list[tuple[str, float, int]] = []

    def take(self, row: Row) -> None:
        name = self._name(row.path)
        if row.op == "delete":
            self._texts.pop(row.path, None)
            self._vanished.add(name)
            self._place(f"-{name}", row.at_s)
            return
        known = self._texts.get(row.path)
        before = (known or "") if row.op == "append" else ""
        text = self._texts[row.path] = before + row.text
        if name != "loop/events.jsonl" and known != "":
            self._place(name, row.at_s)  # once for the moment of emptiness and the text that follows
        if not text:
            self._empty.add(name)
        elif row.path.endswith(".jsonl"):
            self._lines(row, name, text[before.rfind("\n") + 1 : text.rfind("\n") + 1])
        else:
            self._shape(name, json.loads(text))

    def _name(self, path: str) -> str:
        found = _LOOP.match(path)
        if found is None:
            return path.removeprefix(".superloop/")
        if found[1] not in self._loops:
            self._loops.append(found[1])
        return f"loop/{found[2]}"

    def _place(self, name: str, at_s: float) -> None:
        self._places.append((name, at_s, len(self._seen_s)))

    def _lines(self, row: Row, name: str, lines: str) -> None:
        """Take in the lines that this change completed."""
        for line in lines.splitlines():
            document = json.loads(line)
            if name == "loop/events.jsonl":
                self._seen_s.append(row.at_s)
                self._tokens.setdefault(row.path, []).append(token(document))
                self._shape(f"event:{document['event']}", document)
            else:
                self._shape(name, document)

    def _shape(self, name: str, document: Any) -> None:
        self._shapes.setdefault(name, set()).add(shape(document))

    def digest(self, look_s: float) -> Digest:
        places: dict[str, list[list[int]]] = {}
        for name, at_s, index in self._places:
            places.setdefault(name, []).append(self._window(at_s, index, look_s))
        return Digest(
            events=[_blocks(tokens) for tokens in self._tokens.values()],
            shapes={name: sorted(found) for name, found in sorted(self._shapes.items())},
            empty=sorted(self._empty),
            vanished=sorted(self._vanished),
            places=dict(sorted(places.items())),
        )

    def _window(self, at_s: float, index: int, look_s: float) -> list[int]:
        if not look_s:
            return [index, index]
        slack_s = 1.4 * look_s  # the neighbouring look, and some jitter
        return [bisect_right(self._seen_s, at_s - slack_s), bisect_right(self._seen_s, at_s + slack_s)]


def _blocks(tokens: Sequence[str]) -> list[list[str]]:
    blocks: list[list[str]] = [[]]
    for word in tokens:
        if word == "iteration_start":
            blocks.append([])
        blocks[-1].append(word)
    return [block for index, block in enumerate(blocks) if index == 0 or block != blocks[index - 1]]
