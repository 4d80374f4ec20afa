"""Where steps are carried out: a real checkout, or the same in memory. Tests hold both to the same behaviour.

What to write is the script's business; waiting is the player's. Paths are relative to the checkout.
"""

import json
import os
from collections.abc import Callable
from typing import Any, Protocol, assert_never

from opsd.sim.steps import AddEntry, Append, Delete, Document, FileOp, Rename, Replace, Touch, Truncate


def pretty(document: Document) -> str:
    """A document as the runtime's JSON tool prints it: two blanks, one member a line, a newline at the end."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def compact(document: Document) -> str:
    """A document as one line of NDJSON, newline included."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False) + "\n"


class Tree(Protocol):
    """A checkout as a script sees it."""

    def perform(self, op: FileOp) -> None:
        """Carry out one operation; missing folders are made."""

    def read(self, path: str) -> str | None:
        """The file's text, or None where there is no such file."""


def read_document(tree: Tree, path: str) -> dict[str, Any] | None:
    """The JSON object at `path`; None where the file is missing, or is not whole because it is being written."""
    try:
        document = json.loads(tree.read(path) or "null")
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


class DiskTree:
    """A real checkout. Every operation opens its file anew, as a shell script's redirections do."""

    def __init__(self, repo: str) -> None:
        self.repo = repo

    def perform(self, op: FileOp) -> None:
        path = os.path.join(self.repo, op.path)
        match op:
            case Touch():
                _write(path, "", os.O_APPEND)
            case Truncate():
                _write(path, "", os.O_TRUNC)
            case Append():
                _write(path, op.text, os.O_APPEND)
            case Replace():
                _write(path + ".tmp", op.text, os.O_TRUNC)
                os.replace(path + ".tmp", path)
            case Rename():
                os.replace(path, os.path.join(self.repo, op.to))
            case Delete():
                try:
                    os.unlink(path)
                except FileNotFoundError:
                    pass
            case AddEntry():
                self.perform(Replace(op.path, with_entry(self.read(op.path), op)))
            case _:
                assert_never(op)

    def read(self, path: str) -> str | None:
        try:
            with open(os.path.join(self.repo, path), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return None


def _write(path: str, text: str, how: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how
    try:
        file = os.open(path, flags, 0o644)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        file = os.open(path, flags, 0o644)
    try:
        if text:
            os.write(file, text.encode())
    finally:
        os.close(file)


Watcher = Callable[[str, str, str], None]
"""Told `(op, path, text)` with op `put`, `append` or `delete`: what someone looking at the folder would see change."""


class MemoryTree:
    """A checkout in memory. `seen` is told every visible change, in order."""

    def __init__(self, seen: Watcher | None = None) -> None:
        self.files: dict[str, str] = {}
        self._seen = seen

    def perform(self, op: FileOp) -> None:
        match op:
            case Touch():
                if op.path not in self.files:
                    self._put(op.path, "")
            case Truncate():
                self._put(op.path, "")
            case Append():
                known = op.path in self.files
                self.files[op.path] = self.files.get(op.path, "") + op.text
                self._say("append" if known else "put", op.path, op.text)
            case Replace():
                self._put(op.path, op.text)
            case Rename():
                self._put(op.to, self.files.pop(op.path))
                self._say("delete", op.path, "")
            case Delete():
                if self.files.pop(op.path, None) is not None:
                    self._say("delete", op.path, "")
            case AddEntry():
                self._put(op.path, with_entry(self.files.get(op.path), op))
            case _:
                assert_never(op)

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def _put(self, path: str, text: str) -> None:
        self.files[path] = text
        self._say("put", path, text)

    def _say(self, op: str, path: str, text: str) -> None:
        if self._seen is not None:
            self._seen(op, path, text)


_ENTRIES_END = "\n  ]\n}\n"


def with_entry(summary: str | None, op: AddEntry) -> str:
    """The text of `run-summary.json` with one entry more. Entries before it stay byte for byte."""
    fresh = pretty(
        {"version": 1, "loop_id": op.loop_id, "updated_at": op.updated_at, "entries": [op.entry]},
    )
    if summary is None or not summary.endswith(_ENTRIES_END):
        return fresh
    # Old entries are spliced, not parsed: an endless run's summary grows without bound, and reading it whole for
    # every iteration would make a fleet of such runs spend its time on JSON.
    start = summary.index('"entries": [') + len('"entries": [')
    head = fresh.index('"entries": [') + len('"entries": [')
    return fresh[:head] + summary[start : -len(_ENTRIES_END)] + "," + fresh[head:]
