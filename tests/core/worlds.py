"""A loop's runtime that does all it can do, in any order, and what a look at it brings. Who looks is in `managers`.

Time is in whole seconds after `DAWN`; nothing here waits.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from opsd.model.cursor import Stream
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
from opsd.model.run import Run
from opsd.model.runtime import (
    EventLine,
    Heartbeat,
    LoopConfig,
    Presence,
    RecoveryRequest,
    Timeouts,
    UsageCheck,
)
from tests.core.builders import (
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
