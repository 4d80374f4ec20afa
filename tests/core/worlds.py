"""A loop's whole life, drawn at random: a runtime that does all it can do, and a manager that may die at any moment.

`World` is the runtime and its disk, `Manager` ours. Time is in whole seconds after `DAWN`; nothing here waits.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from opsd.app.restore import restored
from opsd.core.reconcile import Decision, Pass, Rules, decide
from opsd.core.wake import next_look
from opsd.model.cursor import Cursor, Stream
from opsd.model.effects import Append, Document, Journal, Replace
from opsd.model.escalation import OpenEscalation
from opsd.model.health import HealthDocument
from opsd.model.ids import TraceId
from opsd.model.observation import (
    Artifact,
    Artifacts,
    Malformed,
    Observation,
    ProcessSighting,
    QuarantinedLine,
    Seen,
    StreamChange,
    Unreachable,
    UnreachableCause,
)
from opsd.model.run import LoopRef, Run
from opsd.model.runtime import (
    EventLine,
    Heartbeat,
    LoopConfig,
    Presence,
    RecoveryRequest,
    Timeouts,
    UsageCheck,
)
from opsd.model.sequence import SequenceDocument
from opsd.model.state import StateDocument
from opsd.model.transport import TransportHealth
from opsd.store.load import StoredLoop
from tests.core.builders import (
    LOOP,
    a_state,
    a_summary,
    an_active_run,
    an_approval,
    an_event,
    moment,
    on_file,
    stamp,
)

ABSENT: Final[Artifact[Any]] = Artifact()
RULES: Final = Rules(home="/srv/home")
CONFIG = LoopConfig(timeouts=Timeouts(True, 600, tester=300), usage_check=UsageCheck(wait_on_limit=True))


class World:
    """The runtime of one loop in its checkout. An operation that makes no sense at the moment does nothing."""

    def __init__(self) -> None:
        self.clock_s = 0.0
        self.log: list[EventLine | None] = []
        self.epoch = 0
        self.change: StreamChange | None = None
        self.files = Artifacts(config=on_file(CONFIG))
        self.process = ProcessSighting.NONE
        self.trouble: str | None = None
        self.run_id = ""
        self.pid = 100
        self.done: Counter[str] = Counter()

    def do(self, operation: "Operation") -> None:
        if operation(self) is not False:
            self.done[operation.__name__] += 1

    @property
    def _running(self) -> bool:
        return self.process in (ProcessSighting.ALIVE, ProcessSighting.STOPPED)

    def _put(self, **files: Artifact[Any]) -> None:
        self.files = replace(self.files, **files)

    def _say(self, name: str, *, status: str | None = None, role: str | None = None, **data: Any) -> None:
        self.log.append(an_event(name, self.clock_s, run_id=self.run_id, status=status, role=role, data=data or None))

    def boot(self) -> bool | None:
        if self._running:
            return False
        self.pid += 1
        self._put(active_run=an_active_run(self.clock_s, pid=self.pid))
        self.process = ProcessSighting.ALIVE
        return None

    def start(self) -> bool | None:
        if self.boot() is False and self.files.state.presence is Presence.PRESENT:
            return False
        self.run_id = stamp(self.clock_s)
        self._put(state=a_state(self.clock_s))
        self._say("loop_start", max_iterations=9)
        self._say("iteration_start")
        return None

    def _speak(self, name: str, **members: Any) -> bool | None:
        if not self._running or not self.run_id:
            return False
        self._say(name, **members)
        return None

    def role_starts(self) -> bool | None:
        return self._speak("role_start", role="tester")

    def role_ends(self) -> bool | None:
        return self._speak("role_end", role="tester")

    def tests_start(self) -> bool | None:
        return self._speak("tests_start")

    def tests_fail(self) -> bool | None:
        return self._speak("tests_end", data={"status": "failed"})

    def recovery_waits(self) -> bool | None:
        self._put(recovery=on_file(RecoveryRequest(stamp(self.clock_s), 1, "pending", "why"), self.clock_s))
        return self._speak("recovery_escalated")

    def usage_limited(self) -> bool | None:
        return self._speak("usage_limit_blocked", status="error", data={"action": "blocked"})

    def _leave(self, *, active: bool = False) -> None:
        self._put(state=a_state(self.clock_s, active=active), active_run=ABSENT)
        self.process = ProcessSighting.NONE

    def gets_stuck(self) -> bool | None:
        return self._stops(reason="stuck")

    def uses_up_iterations(self) -> bool | None:
        return self._stops(reason="max_iterations")

    def _stops(self, **data: Any) -> bool | None:
        if self._speak("loop_stop", **data) is False:
            return False
        self._leave()
        return None

    def times_out(self) -> bool | None:
        if self._speak("role_timeout", status="timeout", role="tester", timeout_seconds=300) is False:
            return False
        self._leave()
        return None

    def rate_limited(self) -> bool | None:
        if self._speak("rate_limit_stop", status="rate_limited", info={"resets_in": 60}) is False:
            return False
        self._leave(active=True)
        return None

    def completes(self) -> bool | None:
        if self._speak("loop_complete") is False:
            return False
        self._put(summary=a_summary(self.clock_s, run_id=self.run_id, complete=True))
        self._leave()
        return None

    def asks(self) -> bool | None:
        if self._speak("approval_requested") is False:
            return False
        self._put(approval=an_approval(self.clock_s, run_id=self.run_id))
        self._leave()
        return None

    def is_decided(self) -> bool | None:
        if self.files.approval.value is None or self.files.approval.value.status != "pending":
            return False
        self._put(approval=an_approval(self.clock_s, status="approved", run_id=self.run_id))
        self._say("approval_decision", status="approved", role="human")
        return None

    def dies(self) -> bool | None:
        if not self._running:
            return False
        self.process = ProcessSighting.ABSENT
        return None

    def role_fails(self) -> bool | None:
        if not self._running:
            return False
        self._put(active_run=ABSENT)
        self.process = ProcessSighting.NONE
        return None

    def is_cancelled(self) -> bool | None:
        if self.files.state.presence is Presence.ABSENT:
            return False
        self._put(state=ABSENT, active_run=ABSENT)
        self.process = ProcessSighting.NONE
        return None

    def is_paused(self) -> bool | None:
        if self.process is not ProcessSighting.ALIVE:
            return False
        self.process = ProcessSighting.STOPPED
        return None

    def goes_on(self) -> bool | None:
        if self.process is not ProcessSighting.STOPPED:
            return False
        self.process = ProcessSighting.ALIVE
        return None

    def beats(self) -> None:
        self._put(heartbeat=on_file(Heartbeat(timestamp=stamp(self.clock_s), status="running"), self.clock_s))

    def beats_ahead(self) -> None:
        self._put(heartbeat=on_file(Heartbeat(timestamp=stamp(self.clock_s + 90), status="running"), self.clock_s))

    def beats_badly(self) -> None:
        self._put(heartbeat=on_file(Heartbeat(timestamp="noon"), self.clock_s))

    def garbles_a_line(self) -> None:
        self.log.append(None)

    def breaks_a_file(self) -> None:
        broken: Artifact[Any] = Artifact(Presence.UNREADABLE, since=moment(self.clock_s), problem="summary: not JSON.")
        self._put(summary=broken)

    def rewrites_a_file(self) -> None:
        self._put(summary=Artifact(Presence.SETTLING, since=moment(self.clock_s)))

    def is_cut(self) -> bool | None:
        if len(self.log) < 3:
            return False
        del self.log[1:]
        self.epoch += 1
        self.change = StreamChange.TRUNCATED
        return None

    def hides(self) -> None:
        self.trouble = "hidden"

    def talks_nonsense(self) -> None:
        self.trouble = "nonsense"

    def shows_again(self) -> bool | None:
        if self.trouble is None:
            return False
        self.trouble = None
        return None

    def neighbour_starts(self) -> bool | None:
        if self._running:
            return False
        self._put(state=a_state(self.clock_s, loop_id="other"), active_run=an_active_run(self.clock_s, loop_id="other"))
        self.process = ProcessSighting.NONE
        return None

    def observed(self, run: Run, now_s: float, *, events_max: int = 1 << 20) -> Observation:
        """What a transport would bring a manager that stands where `run` does."""
        at = moment(now_s)
        if self.trouble == "hidden":
            return Unreachable(at, UnreachableCause.ARTIFACTS_MISSING, "snapshot_unavailable", "not there.")
        if self.trouble == "nonsense":
            return Malformed(at, "service_response_invalid", "nonsense.")
        known = run.cursor.stream.epoch if run.cursor is not None and run.cursor.stream is not None else None
        anew = run.cursor is None or known != self.epoch
        first = 0 if anew else run.cursor_line
        batch = list(enumerate(self.log[first : first + events_max], first + 1))
        events = [(line, event) for line, event in batch if event is not None]
        return Seen(
            at=at,
            events=[event for _, event in events],
            lines=[line for line, _ in events],
            last_raw=b"",
            line_offset=first + len(batch),
            stream=Stream(1, 1, self.epoch, first + len(batch), "f", 1, 0),
            artifacts=self.files,
            process=self.process,
            change=self.change if anew and known is not None else None,
            quarantined=[QuarantinedLine(line, 0, 1, "", "?", "bad") for line, event in batch if event is None],
            backlog_bytes=len(self.log) - first - len(batch),
        )


Operation = Callable[[World], bool | None]

OPERATIONS: Final[tuple[Operation, ...]] = (
    World.boot,
    World.start,
    World.role_starts,
    World.role_ends,
    World.tests_start,
    World.tests_fail,
    World.recovery_waits,
    World.usage_limited,
    World.gets_stuck,
    World.uses_up_iterations,
    World.times_out,
    World.rate_limited,
    World.completes,
    World.asks,
    World.is_decided,
    World.dies,
    World.role_fails,
    World.is_cancelled,
    World.is_paused,
    World.goes_on,
    World.beats,
    World.beats_ahead,
    World.beats_badly,
    World.garbles_a_line,
    World.breaks_a_file,
    World.rewrites_a_file,
    World.is_cut,
    World.hides,
    World.talks_nonsense,
    World.shows_again,
    World.neighbour_starts,
)


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
