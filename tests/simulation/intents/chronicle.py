"""What truly happened in the checkouts, written down by the disk on which it happened, whoever did it.

The checks hold against it what opsd calls confirmed. Nothing of opsd is used to read it.
"""

import hashlib
import json
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple

from opsd.ports import Files, FileStat
from opsd.sim import documents
from tests.doubles.clock import VirtualClock

_TOLD = ("loop_start", "approval_consumed", "approval_rejected", "loop_complete")
_APPROVAL, _LOG = "/approval.json", "/events.jsonl"


class Filed(NamedTuple):
    """What `approval.json` of a loop said from then on; `status` None where it was gone."""

    at: datetime
    loop_id: str
    candidate: str | None
    status: str | None


class Said(NamedTuple):
    """An event that a run, or who decided, logged."""

    at: datetime
    loop_id: str
    name: str
    run_id: str


class Left(NamedTuple):
    """What one of the checkout's own files said from then on, whole; None where it was gone."""

    at: datetime
    document: dict[str, Any] | None


class Chronicle:
    """`opsd.ports.Files` for all that is written into the checkouts."""

    def __init__(self, files: Files, clock: VirtualClock) -> None:
        self.filed: list[Filed] = []
        self.said: list[Said] = []
        self._left: dict[str, list[Left]] = {}
        self._files, self._clock = files, clock

    def cleared(self, repo: str, loop_id: str, since: datetime, until: datetime) -> bool:
        """Whether one of the files ceased to call the loop active between these moments."""
        return any(
            marks(before.document, loop_id) and not marks(after.document, loop_id) and since <= after.at <= until
            for path, marks in ((documents.STATE, _marks_active), (documents.ACTIVE_RUN, _may_be_run_of))
            for before, after in pairwise(self._left.get(f"{repo}/{path}", []))
        )

    def decided(self, loop_id: str, candidate: str, status: str, since: datetime, until: datetime) -> bool:
        """Whether the very candidate was decided so between these moments."""
        return any(
            (each.loop_id, each.candidate, each.status) == (loop_id, candidate, status) and since <= each.at <= until
            for each in self.filed
        )

    def candidate_now(self, loop_id: str) -> Filed | None:
        return next((each for each in reversed(self.filed) if each.loop_id == loop_id), None)

    def was_said(self, loop_id: str, names: tuple[str, ...], since: datetime, until: datetime) -> bool:
        return any(each.loop_id == loop_id and each.name in names and since <= each.at <= until for each in self.said)

    def newest_runs(self, loop_id: str, since: datetime) -> set[str]:
        """The ids of the run whose start was the newest in the log then, and of those that were logged later."""
        starts = [each for each in self.said if (each.loop_id, each.name) == (loop_id, "loop_start")]
        later = [each for each in starts if each.at > since]
        earlier = [each for each in starts if each.at <= since]
        return {each.run_id for each in (*earlier[-1:], *later)}

    # What is written is noted, and done.

    def append(self, path: str, data: bytes, *, sync: bool) -> int:
        if path.endswith(_LOG):
            self._note_events(path, data)
        elif path.endswith((documents.STATE, documents.ACTIVE_RUN)):
            size_bytes = self._files.append(path, data, sync=sync)
            self._note_file(path, self._files.read(path, 0, size_bytes)[1])
            return size_bytes
        elif path.endswith(_APPROVAL):
            size_bytes = self._files.append(path, data, sync=sync)
            self._note_approval(path, self._files.read(path, 0, size_bytes)[1])
            return size_bytes
        return self._files.append(path, data, sync=sync)

    def replace(self, path: str, data: bytes, *, sync: bool) -> None:
        self._note(path, data)
        self._files.replace(path, data, sync=sync)

    def truncate(self, path: str, size_bytes: int) -> None:
        self._files.truncate(path, size_bytes)
        self._note(path, b"")

    def rename(self, path: str, to: str) -> None:
        self._files.rename(path, to)

    def remove(self, path: str) -> None:
        self._files.remove(path)
        self._note(path, None)

    def sync(self, path: str) -> None:
        self._files.sync(path)

    def make_dirs(self, path: str) -> None:
        self._files.make_dirs(path)

    def stat(self, path: str) -> FileStat | None:
        return self._files.stat(path)

    def read(self, path: str, offset: int, size_bytes: int) -> tuple[FileStat, bytes]:
        return self._files.read(path, offset, size_bytes)

    def scan(self, path: str) -> list[tuple[str, str]]:
        return self._files.scan(path)

    def real(self, path: str) -> str:
        return self._files.real(path)

    def _note(self, path: str, data: bytes | None) -> None:
        if path.endswith((documents.STATE, documents.ACTIVE_RUN)):
            self._note_file(path, data)
        elif path.endswith(_APPROVAL):
            self._note_approval(path, data)

    def _note_file(self, path: str, data: bytes | None) -> None:
        document = _decoded(data)
        if data is None or document is not None:  # half written, the rest follows
            self._left.setdefault(path, []).append(Left(self._clock.now(), document))

    def _note_approval(self, path: str, data: bytes | None) -> None:
        loop_id, request = path.split("/")[-2], _decoded(data)
        if data is not None and request is None:
            return
        candidate = digest(request) if request is not None else None
        status = request["status"] if request is not None else None
        self.filed.append(Filed(self._clock.now(), loop_id, candidate, status))

    def _note_events(self, path: str, data: bytes) -> None:
        for line in data.split(b"\n"):
            if any(f'"event":"{name}"'.encode() in line for name in _TOLD):
                event = json.loads(line)
                self.said.append(
                    Said(self._clock.now(), path.split("/")[-2], event["event"], event.get("run_id") or "unknown")
                )


def digest(request: dict[str, Any]) -> str:
    """What names a candidate, made anew. Source: `opsd.core.intents.identity.candidate_digest`."""
    asked = {member: request.get(member) for member in ("run_id", "iteration", "requested_at", "candidate")}
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _decoded(data: bytes | None) -> dict[str, Any] | None:
    try:
        found = json.loads(data or b"")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _marks_active(state: dict[str, Any] | None, loop_id: str) -> bool:
    return state is not None and state.get("active") is True and state.get("current_loop_id") == loop_id


def _may_be_run_of(active_run: dict[str, Any] | None, loop_id: str) -> bool:
    return active_run is not None and active_run.get("loop_id") in (None, loop_id)
