"""The structural digest of a tree's changes: what a recording and a simulated run must have in common. Pure.

Kept: order of events, key sets and types, which files appear, vanish or are empty for a moment, and beside which event
each is written. Left out: times, ids, wording, and how often an iteration repeats. Rows are those of a time lapse.
"""

import json
import re
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
    """One change: `put` (the file now has this text), `append` or `delete`, of a path in the checkout."""

    op: str
    path: str
    text: str = ""


class Digest(NamedTuple):
    """What remains of a history when its numbers are taken away.

    events: per loop, blocks of events, cut before each `iteration_start`; a block equal to the one before it is left
    out. shapes: file or `event:<name>` to the distinct shapes it had. empty, vanished: files that were ever 0 bytes,
    that were ever deleted. beside: file (`-file` for its deletion) to the events written last before and next after.
    """

    events: list[list[list[str]]]
    shapes: dict[str, list[str]]
    empty: list[str]
    vanished: list[str]
    beside: dict[str, list[str]]


def recorded(path: str) -> bool:
    """Whether recordings keep this file: the tree's JSON and JSONL, save the runtime's scratch file."""
    return path.endswith((".json", ".jsonl")) and not path.endswith("run-summary-entry.json")


def digest(rows: Iterable[Row]) -> Digest:
    """Fold a history into its digest. Files that recordings leave out are left out here."""
    folder = _Folder()
    for row in rows:
        if recorded(row.path):
            folder.take(row)
    return folder.digest()


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
        self._order: list[str] = []
        self._places: list[tuple[str, int]] = []

    def take(self, row: Row) -> None:
        name = self._name(row.path)
        if row.op == "delete":
            self._texts.pop(row.path, None)
            self._vanished.add(name)
            self._places.append((f"-{name}", len(self._order)))
            return
        before = self._texts.get(row.path, "") if row.op == "append" else ""
        text = self._texts[row.path] = before + row.text
        if not text:
            self._empty.add(name)
        elif row.path.endswith(".jsonl"):
            self._lines(row.path, name, before, text)
        else:
            self._shape(name, json.loads(text))
            self._places.append((name, len(self._order)))

    def _name(self, path: str) -> str:
        found = _LOOP.match(path)
        if found is None:
            return path.removeprefix(".superloop/")
        if found[1] not in self._loops:
            self._loops.append(found[1])
        return f"loop/{found[2]}"

    def _lines(self, path: str, name: str, before: str, text: str) -> None:
        """Take in the lines that this change completed."""
        done = before.rfind("\n") + 1
        for line in text[done : text.rfind("\n") + 1].splitlines():
            document = json.loads(line)
            if name != "loop/events.jsonl":
                self._shape(name, document)
                self._places.append((name, len(self._order)))
                continue
            word = token(document)
            self._order.append(word)
            self._tokens.setdefault(path, []).append(word)
            self._shape(f"event:{document['event']}", document)

    def _shape(self, name: str, document: Any) -> None:
        self._shapes.setdefault(name, set()).add(shape(document))

    def digest(self) -> Digest:
        beside: dict[str, set[str]] = {}
        for name, index in self._places:
            beside.setdefault(name, set()).update(self._order[max(0, index - 1) : index + 1])
        return Digest(
            events=[_blocks(tokens) for tokens in self._tokens.values()],
            shapes={name: sorted(found) for name, found in sorted(self._shapes.items())},
            empty=sorted(self._empty),
            vanished=sorted(self._vanished),
            beside={name: sorted(found) for name, found in sorted(beside.items())},
        )


def _blocks(tokens: Sequence[str]) -> list[list[str]]:
    blocks: list[list[str]] = [[]]
    for word in tokens:
        if word == "iteration_start":
            blocks.append([])
        blocks[-1].append(word)
    return [block for index, block in enumerate(blocks) if index == 0 or block != blocks[index - 1]]
