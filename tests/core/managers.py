"""A manager that looks at a `World`, writes down what it decides, and may die after any effect. Nothing here waits."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from opsd.app.restore import restored
from opsd.core.reconcile import Decision, Pass, Rules, decide
from opsd.core.wake import next_look
from opsd.model.cursor import Cursor
from opsd.model.effects import Append, Document, Journal, Replace
from opsd.model.escalation import OpenEscalation
from opsd.model.health import HealthDocument
from opsd.model.ids import TraceId
from opsd.model.run import LoopRef, Run
from opsd.model.sequence import SequenceDocument
from opsd.model.state import StateDocument
from opsd.model.transport import TransportHealth
from opsd.store.load import StoredLoop
from tests.core.builders import (
    LOOP,
    moment,
)
from tests.core.worlds import Operation, World

RULES: Final = Rules(home="/srv/home")


class Disk:
    """What reached the disk of our own files."""

    def __init__(self) -> None:
        self.escalations: list[bytes] = []
        self.documents: dict[Document, bytes] = {}

    def write(self, effect: Append | Replace) -> None:
        if isinstance(effect, Replace):
            self.documents[effect.document] = msgspec.json.encode(effect.record)
        elif effect.journal is Journal.ESCALATIONS:
            self.escalations.append(msgspec.json.encode(effect.row))

    def read(self, now_s: float) -> Run:
        """The loop as a restarted manager finds it."""

        def document(which: Document, record: type[Any]) -> Any:
            data = self.documents.get(which)
            return None if data is None else msgspec.json.decode(data, type=record)

        opened, counts = read_back(self.escalations)
        stored = StoredLoop(
            loop_id=LOOP,
            cursor=document(Document.CURSOR, Cursor),
            state=document(Document.STATE, StateDocument),
            health=document(Document.HEALTH, HealthDocument),
            sequence=document(Document.SEQUENCE, SequenceDocument),
            transport_health=document(Document.TRANSPORT_HEALTH, TransportHealth),
            open_escalations=opened,
            escalation_counts=counts,
        )
        return restored(LoopRef(LOOP, "/srv/repo"), stored, moment(now_s))


def read_back(journal: list[bytes]) -> tuple[tuple[OpenEscalation, ...], dict[str, int]]:
    """What a restart knows: the rows that no later one resolves, and how often each condition began."""
    opened: dict[str, OpenEscalation] = {}
    counts: dict[str, int] = {}
    for line in journal:
        row = msgspec.json.decode(line)
        opened.pop(row.get("resolves"), None)
        if not row["category"].endswith("_resolved"):
            key = f"{row['category']}|{row['condition']}|{row['onset']}"
            counts[key] = counts.get(key, 0) + 1
            opened[row["id"]] = msgspec.convert(row, OpenEscalation)
    return tuple(opened.values()), counts


class Manager:
    """Looks at a world, pass by pass, and writes what it decides. `jitter_s` is how late its clock lies in a second.

    `fate` is asked at each pass how many of its effects reach the disk before the manager dies, and is None where it
    lives. After a death it restarts from its disk and looks again at once.
    """

    def __init__(
        self,
        world: World,
        *,
        trace_id: str = "t",
        jitter_s: float = 0,
        events_max: int = 1 << 20,
        fate: Callable[[Decision], int | None] = lambda _: None,
    ) -> None:
        self.world, self.disk, self.run = world, Disk(), Run(LoopRef(LOOP, "/srv/repo"))
        self._trace_id, self._jitter_s, self._events_max = TraceId(trace_id), jitter_s, events_max
        self._fate = fate

    def look(self, at_s: float) -> Decision:
        """Passes until the log is read to its end."""
        now_s = at_s + self._jitter_s
        while True:
            seen = self.world.observed(self.run, now_s, events_max=self._events_max)
            decision = decide(self.run, seen, RULES, Pass(self._trace_id), moment(now_s))
            survived = self._fate(decision)
            for effect in decision.effects[:survived]:
                self.disk.write(effect)
            if survived is not None:
                self.run = self.disk.read(now_s)
                continue
            self.run = decision.run
            if not decision.again or decision.failed:
                return decision

    @property
    def journal(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(row) for row in self.disk.escalations]

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(row["category"], row["id"]) for row in self.journal]


def lives(world: World, manager: Manager, history: list[tuple[Operation, int]]) -> Iterator[Decision]:
    """Live `history` (an operation, and how many seconds pass before it), looking when it is due and at each change."""
    for operation, passes_s in history:
        until_s = world.clock_s + passes_s
        while (due := next_look(manager.run, RULES.thresholds, moment(world.clock_s))) is not None:
            due_s = (due.when - moment(0)).total_seconds()
            if due_s > until_s:
                break
            world.clock_s = due_s
            yield manager.look(world.clock_s)
        world.clock_s = until_s
        world.do(operation)
        yield manager.look(world.clock_s)
