"""Where every file of our own lies, below one home repository. Source: loop-core 1.1.

The names within a loop's folder are `opsd.model.effects.Document` and `Journal`; here they become paths. The runtime's
files, in whichever checkout, are the transports' business.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from opsd.model.effects import Document, Journal
from opsd.model.ids import LoopId, loop_id_fault

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,128}")


class Layout:
    """The paths of one home; `home` is the absolute path of the repository, without a slash at its end.

    `moved` are files of a loop that lie elsewhere: one-shot commands can be told so, for the one loop they are about.
    """

    def __init__(self, home: str, moved: Mapping[Document | Journal, str] | None = None) -> None:
        if not home.startswith("/"):
            raise ValueError(f"the home repository must be an absolute path, got {home!r}")
        self.home = home.rstrip("/")
        self._moved = moved or {}
        self.root = f"{self.home}/.superloop/ops-manager"
        self.registry = f"{self.root}/fleet/registry.v1.json"
        self.modes = f"{self.root}/fleet/modes.jsonl"
        self.profiles = f"{self.root}/fleet/profiles.jsonl"
        self.switches = f"{self.root}/fleet/transports.jsonl"
        self.lock = f"{self.root}/.lock"
        self.socket = f"{self.root}/opsd.sock"

    def folder(self, loop_id: LoopId) -> str:
        """
        Raises:
            ValueError: the id may not be part of a path, whoever let it come this far.
        """
        if fault := loop_id_fault(loop_id):
            raise ValueError(f"loop id {loop_id!r} cannot name a folder: {fault}")
        return f"{self.root}/{loop_id}"

    def document(self, loop_id: LoopId, document: Document) -> str:
        return self._moved.get(document) or f"{self.folder(loop_id)}/{document.value}"

    def journal(self, loop_id: LoopId, journal: Journal) -> str:
        return self._moved.get(journal) or f"{self.folder(loop_id)}/{journal.value}"

    def alert_dispatch_state(self, loop_id: LoopId) -> str:
        """Where whoever sends alerts keeps how far it came."""
        return f"{self.folder(loop_id)}/alert-dispatch-state.json"

    def alert_telemetry(self, loop_id: LoopId) -> str:
        """A row for each delivery of an alert."""
        return f"{self.folder(loop_id)}/telemetry/alerts.jsonl"

    def launches(self, loop_id: LoopId) -> str:
        """Where the output of launched runs lies."""
        return f"{self.folder(loop_id)}/launches"

    def launch_log(self, loop_id: LoopId, intent_id: str) -> str:
        """Where what the run prints goes that intent `intent_id` started.

        Raises:
            ValueError: one of the ids may not be part of a path.
        """
        if not _PLAIN.fullmatch(intent_id):
            raise ValueError(f"intent id {intent_id!r} cannot name a file")
        return f"{self.launches(loop_id)}/{intent_id}.log"

    def folders_above(self, path: str) -> Iterator[str]:
        """From the folder that holds `path` up to the home (of one elsewhere: to the root): whose entries must be
        flushed for a new file to last."""
        while path not in (self.home, "", "/"):
            path = path.rpartition("/")[0]
            yield path


def rotated(path: str, age: int) -> str:
    """Where the rows of `reconcile.jsonl` lie after `age` rotations: `reconcile.1.jsonl` is the youngest."""
    stem, dot, suffix = path.rpartition(".")
    return f"{stem}.{age}{dot}{suffix}"


def set_aside(path: str, why: str, now: datetime) -> str:
    """Where an operator finds what was taken out of the way: `state.json.unreadable-20261121T013844Z`."""
    return f"{path}.{why}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
