"""The real side of the `Services` port: sprites' services over HTTP.

It knows which endpoints there are, and which of them each service has. What answers mean is read in `observed`,
`envelopes` and `acts`; how requests are made and repeated is `calls`.
"""

import secrets
from urllib.parse import quote

import msgspec
from msgspec.structs import asdict, replace

from opsd.model.ids import LoopId
from opsd.model.observation import Asked, Malformed, Observation, UnreachableCause
from opsd.model.run import LoopRef, ServiceRef
from opsd.model.service import ControlAnswer, ControlRequest, IntentAnswer, PageAnswer, ServiceAnswer
from opsd.model.wire import OBSERVE, PAGES, WAIT_MAX_S, ObserveRequest, PageRequest
from opsd.ports import Ask, Clock, Offload
from opsd.protocol import AckRequest, IntentRequest, SpriteIntentRequest
from opsd.services.acts import control_answer, intent_answer
from opsd.services.calls import Calls
from opsd.services.message import Called, Limits, Reply, Request, Trouble
from opsd.services.observed import is_of_another, read_observed
from opsd.services.older import Older
from opsd.services.tokens import Tokens
from opsd.services.trouble import error_words
from opsd.services.trust import Trust
from opsd.services.ways import Ways

OBSERVE_TARGET = "/ops/observe"
CONTROL_WAIT_S = 45.0
"""The contract's service executes, which takes a real cancel 12 s, and then looks for the effect for 30 s."""
_APART_BYTES = 256 * 1024
"""Answers from this size on are read in a thread: the event loop has others to answer meanwhile."""
_NO_SERVICE = Trouble(
    "no_service",
    "the registry names no service for this loop; give it `service.baseUrl`",
    UnreachableCause.SERVICE_UNREACHED,
    is_sent=False,
)


class _Known:
    """What is known of the service at one base URL. `is_older`: it has the contract's endpoints alone."""

    def __init__(self) -> None:
        self.features: frozenset[str] | None = None
        self.is_older = False
        self.loops: set[LoopId] = set()


class HttpServices:
    """`opsd.ports.Services`. `aclose` ends it; `tidy`, called now and then, closes connections that nobody uses.

    A call takes at most `limits.total_s` beyond what the service may hold back. A look through a service that has the
    contract's endpoints alone is two calls, or three where its log was replaced.
    """

    def __init__(
        self, *, trust: Trust, tokens: Tokens, clock: Clock, offload: Offload, limits: Limits | None = None
    ) -> None:
        limits = limits or Limits()
        self._clock = clock
        self._offload = offload
        self._ways = Ways(trust, limits, clock)
        self._calls = Calls(self._ways, tokens, limits, clock)
        self._older = Older(self._calls, limits, clock)
        self._known: dict[str, _Known] = {}

    async def observe(self, ask: Ask, *, known: str | None, wait_s: float) -> ServiceAnswer:
        service = ask.ref.service
        if service is None:
            return self._answer(None, _NO_SERVICE, None, ())
        place = self._place(ask.ref, service)
        calls: tuple[Called, ...] = ()
        if service.events and not place.is_older:  # a look brings what the run logs, a snapshot does not
            asked = ObserveRequest(
                ask.ref.loop_id, ask.cursor, ask.from_start, known, min(wait_s, WAIT_MAX_S), secrets.token_hex(8)
            )
            called = await self._calls.call(service, _observing(asked))
            if called.reply is not None and is_of_another(called.reply.body, asked.ask_id):
                # Its connection has an answer too many: nothing more is read from it.
                self._ways.retire(service.base_url)
                called = await self._calls.call(service, _observing(replace(asked, wait_s=0.0)))
            calls = (called,)
            _learn(place, called, from_observe=True)
            if not place.is_older:
                return await self._observed(place, ask, service, called, is_held=wait_s > 0)
        looked = await self._older.look(ask, service, known=known)
        for called in looked.calls:
            _learn(place, called)
        return self._answer(place, looked.seen, looked.digest, (*calls, *looked.calls))

    async def submit(self, ref: LoopRef, request: IntentRequest) -> IntentAnswer:
        wait_s = min(request.wait_s, WAIT_MAX_S)
        asked = SpriteIntentRequest(**{**asdict(request), "wait_s": wait_s}, loop_id=ref.loop_id)
        at_once = Request(
            "POST",
            "/ops/intents",
            msgspec.json.encode(replace(asked, wait_s=0.0)),
            trace_id=request.trace_id,
            is_repeatable=request.idempotency_key is not None or request.dry_run,
        )
        called = await self._call(ref, _waiting(at_once, wait_s, body=msgspec.json.encode(asked)))
        return self._told(ref, called, key=request.idempotency_key)

    async def intent(self, ref: LoopRef, intent_id: str, *, wait_s: float) -> IntentAnswer:
        wait_s = min(wait_s, WAIT_MAX_S)
        target = f"/ops/intents/{quote(intent_id, safe='')}"
        called = await self._call(ref, _waiting(Request("GET", target), wait_s, target=f"{target}?wait={wait_s:g}"))
        return self._told(ref, called, intent_id=intent_id)

    async def acknowledge(self, ref: LoopRef, intent_id: str, request: AckRequest) -> IntentAnswer:
        target = f"/ops/intents/{quote(intent_id, safe='')}/ack"
        posted = Request("POST", target, msgspec.json.encode(request), is_repeatable=True)
        return self._told(ref, await self._call(ref, posted), intent_id=intent_id)

    async def control(self, ref: LoopRef, request: ControlRequest) -> ControlAnswer:
        body = msgspec.json.encode(request)
        posted = Request(
            "POST", "/ops/control", body, trace_id=request.trace_id, wait_s=CONTROL_WAIT_S, is_repeatable=False
        )
        return control_answer(await self._call(ref, posted), self._clock.now())

    async def page(self, ref: LoopRef, request: PageRequest, *, wait_s: float) -> PageAnswer:
        features = self.features(ref)
        if features is not None and PAGES not in features:
            return PageAnswer(problem="its service has only the contract's endpoints; look at the files in the sprite")
        body = msgspec.json.encode(request)
        called = await self._call(ref, Request("POST", "/ops/pages", body, wait_s=min(wait_s, WAIT_MAX_S)))
        if called.reply is not None:
            return PageAnswer(called.reply.body)
        assert called.trouble is not None
        words = error_words(called.answered) if called.answered is not None else None
        problem = words.message if words is not None and words.message else called.trouble.problem
        return PageAnswer(code=called.trouble.turned_down, problem=problem)

    def features(self, ref: LoopRef) -> frozenset[str] | None:
        known = self._known.get(ref.service.base_url) if ref.service is not None else None
        return known.features if known is not None else None

    def forget(self, ref: LoopRef) -> None:
        self._older.forget(ref.loop_id)
        known = self._known.get(ref.service.base_url) if ref.service is not None else None
        if ref.service is None or known is None:
            return
        known.loops.discard(ref.loop_id)
        if not known.loops:
            del self._known[ref.service.base_url]
            self._ways.retire(ref.service.base_url)

    async def tidy(self) -> None:
        await self._ways.tidy()

    async def aclose(self) -> None:
        """Nobody may be on a call any more."""
        await self._ways.aclose()

    def _place(self, ref: LoopRef, service: ServiceRef) -> _Known:
        place = self._known.setdefault(service.base_url, _Known())
        place.loops.add(ref.loop_id)
        return place

    async def _call(self, ref: LoopRef, request: Request) -> Called:
        if ref.service is None:
            return Called(trouble=_NO_SERVICE)
        place = self._place(ref, ref.service)
        called = await self._calls.call(ref.service, request)
        _learn(place, called)
        return called

    def _told(
        self, ref: LoopRef, called: Called, *, key: str | None = None, intent_id: str | None = None
    ) -> IntentAnswer:
        answer = intent_answer(called, ref.loop_id, self._clock.now(), key=key, intent_id=intent_id)
        if isinstance(answer.problem, Malformed) and ref.service is not None:
            self._ways.retire(ref.service.base_url)
        return answer

    async def _observed(
        self, place: _Known, ask: Ask, service: ServiceRef, called: Called, *, is_held: bool
    ) -> ServiceAnswer:
        if called.reply is None:
            return self._answer(place, called.trouble, None, (called,), is_held=is_held)
        body, now = called.reply.body, self._clock.now()
        if len(body) < _APART_BYTES:
            read = read_observed(body, ask, now)
        else:
            read = await self._offload.run(lambda: read_observed(body, ask, now))
        if isinstance(read, Trouble):
            self._ways.retire(service.base_url)  # what else is on that connection is not to be believed either
            return self._answer(place, read, None, (called,), is_held=is_held)
        if place.features is None:
            place.features = frozenset({OBSERVE})  # its word for that was lost on the way, and it has answered
        return self._answer(place, *read, (called,), is_held=is_held)

    def _answer(
        self,
        place: _Known | None,
        brought: Observation | Trouble | None,
        digest: str | None,
        calls: tuple[Called, ...],
        *,
        is_held: bool = False,
    ) -> ServiceAnswer:
        """`is_held`: the answer may have been held back until there was news."""
        at = self._clock.now()
        attempts, took_s = sum(called.attempts for called in calls), sum(called.took_s for called in calls)
        codes = tuple(code for called in calls for code in called.codes)
        observation = brought.observed(at) if isinstance(brought, Trouble) else brought
        if observation is not None:
            observation = replace(observation, asked=Asked(attempts, codes, None if is_held else took_s))
        return ServiceAnswer(
            at=at,
            observation=observation,
            digest=digest,
            features=(place.features if place is not None else None) or frozenset(),
            retry_after_s=calls[-1].retry_after_s if calls else None,
            attempts=attempts,
            took_s=took_s,
            codes=codes,
        )


def _observing(asked: ObserveRequest) -> Request:
    at_once = Request("POST", OBSERVE_TARGET, msgspec.json.encode(replace(asked, wait_s=0.0)))
    return _waiting(at_once, asked.wait_s, body=msgspec.json.encode(asked))


def _waiting(at_once: Request, wait_s: float, *, target: str | None = None, body: bytes | None = None) -> Request:
    """The request whose answer may be held back; once it has failed, the one that is answered at once."""
    if not wait_s:
        return at_once
    return replace(at_once, target=target or at_once.target, body=body, wait_s=wait_s, again=at_once)


def _learn(place: _Known, called: Called, *, from_observe: bool = False) -> None:
    """What an answer says of the service that it has.

    That it has nothing newer takes its own word for it: a gateway's page says nothing of the service behind it.
    """
    reply = called.answered
    if reply is None:
        return
    if reply.features is not None:
        place.features, place.is_older = reply.features, OBSERVE not in reply.features
    elif from_observe and reply.status == 404 and _has_no_such_path(reply):
        place.features, place.is_older = frozenset(), True


def _has_no_such_path(reply: Reply) -> bool:
    words = error_words(reply)
    return words is not None and words.code == "not_found"
