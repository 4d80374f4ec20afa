"""Control desks inside sprites, in memory, and the way to them, which loses and doubles what is sent.

A desk keeps the promises that a real one gives (one effect for a key, whatever comes when) and nothing more; what
happens on the way is said by `Desks.faults`, one word for each request.
"""

from collections import Counter, deque
from collections.abc import Callable
from datetime import timedelta

import anyio
import msgspec
from msgspec.structs import replace

from opsd.core.intents import identity, life
from opsd.model.ids import LoopId
from opsd.model.intent import Actor, Confirmation, Evidence, Intent, IntentStatus, Options, Refusal, Watermark
from opsd.model.observation import Unreachable, UnreachableCause
from opsd.model.run import LoopRef
from opsd.model.service import ControlAnswer, ControlRequest, IntentAnswer
from opsd.protocol import AckRequest, IntentRequest
from tests.doubles.clock import VirtualClock

INSIDE = Actor(0, "sprite", 1)
BEGINS_S, DONE_S = 0.2, 0.4
"""When an intent that was taken in is carried out, and when that is over."""
FAULTS = (
    "pass",
    "refused",
    "lost",
    "answer lost",
    "twice",
    "restart before",
    "restart after",
    "overloaded",
    "turned down later",
    "another's",
    "conflict",
)
"""What may happen to a request. `refused`: no connection. `lost`: sent and never received. `turned down later`: it was
received, the answer was lost, and the client's own next attempt was turned down. `another's`: a record of something
else comes back. `conflict`: it was received, and is said to have been asked for otherwise."""
SENT_AND_SILENT = ("lost", "answer lost", "restart after")


class SpriteDesk:
    """`ends` is what intents come to, `takes_s` after how long; `refuses` a code with which all are turned down."""

    def __init__(self, clock: VirtualClock, loop_id: str) -> None:
        self.effects: Counter[str] = Counter()
        self.ends = IntentStatus.CONFIRMED
        self.takes_s = 1.0
        self.refuses: str | None = None
        self.requests: list[IntentRequest | ControlRequest] = []
        self.acknowledged: list[AckRequest] = []
        self._clock = clock
        self._loop_id = loop_id
        self._records: dict[str, Intent] = {}

    def takes(self, request: IntentRequest) -> IntentAnswer:
        self.requests.append(request)
        key = request.idempotency_key
        assert key is not None, "a manager's request has a key"
        mark = identity.fingerprint(
            self._loop_id,
            request.intent,
            request.by or "",
            request.note,
            request.reason,
            request.expect,
            _options(request),
            pause_for_s=request.pause_for_s,
        )
        known = self.named(key)
        if known is not None and known.status not in (IntentStatus.REFUSED, IntentStatus.EXPIRED):
            if known.fingerprint != mark:
                return IntentAnswer(problem=self._problem(), turned_down="idempotency_conflict")
            return IntentAnswer(known, replayed=True)
        now = self._clock.now()
        intent = life.recorded(
            id=f"{self._loop_id}-{len(self._records) + 1}",
            loop_id=LoopId(self._loop_id),
            kind=request.intent,
            requested_by=request.by or "sprite",
            actor=INSIDE,
            trace_id=request.trace_id or "",
            idempotency_key=key,
            key_given=True,
            fingerprint=mark,
            ordinal=len(self._records) + 1,
            now=now,
            expires_at=now + timedelta(seconds=120),
            expect=request.expect,
            options=_options(request),
        )
        if self.refuses is not None:
            intent = life.refused(intent, Refusal(self.refuses, "The sprite looked closer."), now)
        self._records[intent.id] = intent
        return IntentAnswer(intent)

    def named(self, name: str) -> Intent | None:
        """By its own id or by its key, as it stands by now."""
        found = [each for each in self._records.values() if name in (each.id, each.idempotency_key)]
        return self._grown(found[-1]) if found else None

    def settles_at_s(self, name: str) -> float:
        """When it will have come to its end, by the monotonic clock."""
        intent = self.named(name)
        if intent is None or not intent.is_in_flight:
            return self._clock.monotonic()
        age_s = (self._clock.now() - intent.recorded_at).total_seconds()
        return self._clock.monotonic() + max(0.01, self.takes_s + DONE_S - age_s)

    def acknowledges(self, name: str, request: AckRequest) -> IntentAnswer:
        intent = self.named(name)
        if intent is None:
            return IntentAnswer(problem=self._problem(), unknown=True)
        if intent.status is not IntentStatus.AMBIGUOUS:
            return IntentAnswer(problem=self._problem(), turned_down="not_ambiguous")
        self.acknowledged.append(request)
        return IntentAnswer(self.is_settled_by_word(intent, request.by or "", request.reason))

    def is_settled_by_word(self, intent: Intent, by: str, reason: str) -> Intent:
        after = life.acknowledged(intent, by, INSIDE, reason, self._clock.now())
        self._records[intent.id] = after
        return after

    def finds_evidence(self, name: str, ends: IntentStatus = IntentStatus.CONFIRMED) -> None:
        """What was ambiguous is not any more."""
        intent = self.named(name)
        assert intent is not None
        self._records[intent.id] = self._ended(intent, ends)

    def restarts(self) -> None:
        """What was only taken in is given up, what was begun is not done again."""
        for intent in list(self._records.values()):
            grown = self._grown(intent)
            if grown.status is IntentStatus.RECORDED:
                grown = life.recovered(grown, self._clock.now())
            elif grown.is_in_flight:
                grown = self._ended(grown, IntentStatus.AMBIGUOUS)
            self._records[intent.id] = grown

    def loses_all(self) -> None:
        """Another sprite took its place."""
        self._records.clear()

    def controls(self, request: ControlRequest) -> ControlAnswer:
        """As the contract's own service: what it does is over when it answers."""
        self.requests.append(request)
        self.effects[request.idempotency_key] += 1
        code = {IntentStatus.AMBIGUOUS: 2, IntentStatus.FAILED_COMMAND: 1}.get(self.ends, 0)
        seen = self.ends is IntentStatus.CONFIRMED
        result: dict[str, object] = {"loopId": self._loop_id, "intent": request.intent, "status": self.ends.value}
        if self.ends in (IntentStatus.CONFIRMED, IntentStatus.AMBIGUOUS):
            reason = "inactive_not_running" if seen else "timeout"
            result["confirm"] = {"confirmed": seen, "reason": reason, "attempts": 2, "observedApprovalStatus": None}
        body = {"ok": code == 0, "exitCode": code, "result": result, "replayed": False, "traceId": request.trace_id}
        return ControlAnswer({0: 200, 2: 409}.get(code, 500), msgspec.Raw(msgspec.json.encode(body)))

    def _grown(self, intent: Intent) -> Intent:
        """What time has made of it. Its effect comes the first time that it is due."""
        now = self._clock.now()
        age_s = (now - intent.recorded_at).total_seconds()
        if intent.status is IntentStatus.RECORDED and age_s >= BEGINS_S:
            self.effects[intent.idempotency_key] += 1
            intent = life.begun(intent, Watermark(now, 0, 0), "superloop.sh", now)
        if intent.status is IntentStatus.EXECUTING and age_s >= DONE_S and intent.execution is not None:
            done = replace(intent.execution, ended_at=now, exit_code=0, output="done")
            intent = life.executed_there(intent, done, now)
        if intent.status is IntentStatus.EXECUTED and age_s >= self.takes_s + DONE_S:
            intent = self._ended(intent, self.ends)
        self._records[intent.id] = intent
        return intent

    def _ended(self, intent: Intent, ends: IntentStatus) -> Intent:
        now = self._clock.now()
        quoted = (Evidence("state.json", "It is gone."),) if ends is IntentStatus.CONFIRMED else ()
        reason = "inactive_not_running" if quoted else "timeout"
        seen = Confirmation(ends is IntentStatus.CONFIRMED, reason, 2, now, evidence=quoted)
        match ends:
            case IntentStatus.CONFIRMED | IntentStatus.FAILED_COMMAND:
                return life.settled(intent, seen, now)
            case IntentStatus.EXECUTED_UNCONFIRMED:
                return life.unconfirmed(intent, now)
            case _:
                return life.ambiguous(intent, seen, now)

    def _problem(self) -> Unreachable:
        return trouble(self._clock, UnreachableCause.SERVICE_REQUEST_FAILED, "It answered 409.")


class Desks:
    """The half of `opsd.ports.Services` that intents go through. Without a word in `faults` all is well."""

    def __init__(self, clock: VirtualClock) -> None:
        self.faults: deque[str] = deque()
        self.cut = False
        """Nobody gets through, whatever `faults` says: what is sent is lost."""
        self.hangs = False
        """Nobody is answered, ever; `hung` counts who waits for that."""
        self.hung = 0
        self._clock = clock
        self._desks: dict[str, SpriteDesk] = {}

    def desk(self, loop_id: str) -> SpriteDesk:
        return self._desks.setdefault(loop_id, SpriteDesk(self._clock, loop_id))

    async def submit(self, ref: LoopRef, request: IntentRequest) -> IntentAnswer:
        await self._hang()
        desk = self.desk(ref.loop_id)
        return self._sent(desk, lambda: desk.takes(request))

    async def intent(self, ref: LoopRef, intent_id: str, *, wait_s: float) -> IntentAnswer:
        await self._hang()
        desk = self.desk(ref.loop_id)
        if wait_s and not self.faults and not self.cut:
            until_s = min(self._clock.monotonic() + wait_s, desk.settles_at_s(intent_id))
            await self._clock.sleep_until(until_s)
        return self._sent(desk, lambda: self._told(desk.named(intent_id)))

    async def acknowledge(self, ref: LoopRef, intent_id: str, request: AckRequest) -> IntentAnswer:
        await self._hang()
        desk = self.desk(ref.loop_id)
        return self._sent(desk, lambda: desk.acknowledges(intent_id, request))

    async def control(self, ref: LoopRef, request: ControlRequest) -> ControlAnswer:
        await self._hang()
        desk = self.desk(ref.loop_id)
        fault = "lost" if self.cut else self.faults.popleft() if self.faults else "pass"
        problem = trouble(self._clock, UnreachableCause.SERVICE_TIMED_OUT, f"It was {fault}.")
        if fault == "refused":
            return ControlAnswer(problem=problem, surely_not_sent=True)
        if fault == "overloaded":
            return ControlAnswer(429, problem=problem, turned_down="overloaded")
        answer = ControlAnswer(problem=problem) if fault == "lost" else desk.controls(request)
        return ControlAnswer(problem=problem) if fault in SENT_AND_SILENT else answer

    async def _hang(self) -> None:
        if self.hangs:
            self.hung += 1
            await anyio.sleep_forever()

    def _sent(self, desk: SpriteDesk, receive: Callable[[], IntentAnswer]) -> IntentAnswer:
        fault = "lost" if self.cut else self.faults.popleft() if self.faults else "pass"
        silence = IntentAnswer(problem=trouble(self._clock, UnreachableCause.SERVICE_TIMED_OUT, f"It was {fault}."))
        match fault:
            case "refused":
                return replace(silence, surely_not_sent=True)
            case "overloaded":
                problem = trouble(self._clock, UnreachableCause.SERVICE_OVERLOADED, "It asks to be left alone.")
                return IntentAnswer(problem=problem, turned_down="overloaded")
            case "unauthorized":
                problem = trouble(self._clock, UnreachableCause.SERVICE_UNAUTHORIZED, "It does not accept the token.")
                return IntentAnswer(problem=problem, turned_down="unauthorized")
            case "lost":
                return silence
            case "restart before":
                desk.restarts()
            case "twice":
                receive()
        answer = receive()
        match fault:
            case "restart after":
                desk.restarts()
            case "turned down later":
                problem = trouble(self._clock, UnreachableCause.SERVICE_UNAUTHORIZED, "It does not accept the token.")
                return IntentAnswer(problem=problem, turned_down="unauthorized", attempts=2)
            case "conflict":
                return IntentAnswer(problem=silence.problem, turned_down="idempotency_conflict")
            case "another's" if answer.intent is not None:
                other = replace(answer.intent, id="other", idempotency_key="other", status=IntentStatus.REFUSED)
                return replace(answer, intent=other)
        return silence if fault in SENT_AND_SILENT else answer

    def _told(self, intent: Intent | None) -> IntentAnswer:
        if intent is not None:
            return IntentAnswer(intent)
        problem = trouble(self._clock, UnreachableCause.SERVICE_REQUEST_FAILED, "It has no such intent.")
        return IntentAnswer(problem=problem, unknown=True)


def trouble(clock: VirtualClock, cause: UnreachableCause, problem: str) -> Unreachable:
    return Unreachable(clock.now(), cause, "service_request_failed", problem)


def _options(request: IntentRequest) -> Options:
    return Options(
        confirm=request.confirm,
        timeout_s=request.timeout_s,
        override_divergence=request.override_divergence,
        clear_stale=request.clear_stale,
    )
