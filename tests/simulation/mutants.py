"""Small faults put into opsd on purpose, to see whether the simulation would notice them.

A mutant is one replacement in the source of one module, made while that module is imported; so it belongs in a process
of its own, before anything of opsd is imported: `python -m tests.simulation --mutant NAME`.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import NamedTuple


class Mutant(NamedTuple):
    """In `module`, `there` becomes `instead`; it must stand there exactly once."""

    module: str
    there: str
    instead: str


MUTANTS: dict[str, Mutant] = {
    "the cursor is written first": Mutant(
        "opsd.store.commit", "replace.document is Document.CURSOR", "replace.document is not Document.CURSOR"
    ),
    "the lagging cursor is believed": Mutant(
        "opsd.app.restore", "event_line_count=line, stream=memory.stream", "event_line_count=line"
    ),
    "a replay is folded on top": Mutant(
        "opsd.core.reconcile", "Fold(epoch=epoch) if anew else run.rebuild or run.fold", "run.rebuild or run.fold"
    ),
    "open escalations are forgotten": Mutant(
        "opsd.app.restore", "open_escalations=stored.open_escalations", "open_escalations=()"
    ),
    "escalations are not flushed": Mutant(
        "opsd.core.reconcile", "Append(Journal.ESCALATIONS, row, durable=True)", "Append(Journal.ESCALATIONS, row)"
    ),
    "a failed flush is not taken back": Mutant(
        "opsd.store.commit", "self._files.truncate(appended.path, appended.size_before)", "pass"
    ),
    "what is left of a failed commit is dropped": Mutant(
        "opsd.supervisor.pending", "failed[loop_id].rest, now_s", "(), now_s"
    ),
    "bad lines are dropped": Mutant(
        "opsd.transports.lines",
        "self.quarantined.append(quarantine(self.line + 1, self.offset, raw, read))",
        "pass",
    ),
    "a file being rewritten is believed gone": Mutant(
        "opsd.transports.small",
        "return Artifact(Presence.SETTLING, before.value, _since(Presence.SETTLING, before, now), mtime=mtime)",
        "return Artifact()",
    ),
    "a log that was exchanged is not noticed": Mutant("opsd.transports.stream", "!= stream.tail", "== -1"),
    "silence counts from one moment later": Mutant(
        "opsd.core.rules.late",
        "degraded_at:\n        return _FRESH\n    last",
        "degraded_at or look.now == degraded_at:\n        return _FRESH\n    last",
    ),
    "nobody is woken when a phase is over": Mutant(
        "opsd.core.wake",
        "if holds_until is not None and holds_until > now",
        "if holds_until is not None and holds_until < now",
    ),
}


def breed(name: str) -> None:
    """Have the module imported with the fault in it. Raises ValueError if it was imported already."""
    put_in(MUTANTS[name])


def put_in(mutant: Mutant) -> None:
    """As `breed`, of any mutant."""
    if mutant.module in sys.modules:
        raise ValueError(f"{mutant.module} is imported already: a mutant needs a process of its own")
    sys.meta_path.insert(0, _Finder(mutant))


class _Finder(MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname == self._mutant.module else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin, self._mutant)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, mutant: Mutant) -> None:
        super().__init__(fullname, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        """Always from the source: what is cached beside it is the healthy module."""
        path = self.get_filename(fullname)
        source = self.get_data(path).decode()
        if source.count(self._mutant.there) != 1:
            raise ValueError(f"{fullname} does not say {self._mutant.there!r} exactly once: the mutant must be renewed")
        return self.source_to_code(source.replace(self._mutant.there, self._mutant.instead).encode(), path)
