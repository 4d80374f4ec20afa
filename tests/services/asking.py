"""Services as opsd has them, with limits that a test can wait for, and loops to ask about."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from opsd.clock import SystemClock
from opsd.disk import Disk
from opsd.model.cursor import Cursor, Stream
from opsd.model.ids import LoopId
from opsd.model.observation import Artifacts, Malformed, Observation, ProcessSighting, Seen, Unreachable
from opsd.model.run import LoopRef, ServiceRef
from opsd.model.runtime import EventLine
from opsd.model.transport import TransportMode
from opsd.model.wire import ObserveReply, ObserveSource
from opsd.ports import Ask
from opsd.services import HttpServices, Limits, Tokens, Trust
from tests.doubles.threads import Inline
from tests.services.peer import Peer

LOOP = LoopId("demo-loop")
QUICK = Limits(connect_s=1.0, answer_s=0.4, total_s=1.5, pause_longest_s=0.05, answer_bytes=256 * 1024)
AT = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)


@asynccontextmanager
async def services(
    *,
    limits: Limits = QUICK,
    ca_file: str | None = None,
    folders: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> AsyncIterator[HttpServices]:
    tokens = Tokens(Disk(), Inline(), folders=folders, variables=variables or {})
    made = HttpServices(trust=Trust(ca_file), tokens=tokens, clock=SystemClock(), offload=Inline(), limits=limits)
    try:
        yield made
    finally:
        await made.aclose()


def a_loop(peer: Peer | str, *, token_env: str | None = None, attempts: int = 1, events: bool = True) -> LoopRef:
    base_url = peer if isinstance(peer, str) else peer.base_url
    service = ServiceRef(base_url, token_env, retry_attempts=attempts, retry_backoff_s=0.01, events=events)
    return LoopRef(LOOP, "/srv/home", TransportMode.SPRITE_SERVICE, service=service)


def a_first_look(peer: Peer | str, *, token_env: str | None = None, attempts: int = 1) -> Ask:
    return Ask(a_loop(peer, token_env=token_env, attempts=attempts), None)


STREAM = Stream(1, 2, 0, 30, "f" * 64, 30, 7)


def a_seen(*names: str, first: int = 1) -> Seen:
    """What a look brings that found events of these names from line `first` on."""
    lines = list(range(first, first + len(names)))
    return Seen(
        at=AT,
        events=[EventLine(timestamp="2026-11-21T01:38:44Z", event=name) for name in names],
        lines=lines,
        last_raw=b'{"event":"x"}' if names else b"",
        line_offset=lines[-1] if lines else first - 1,
        stream=STREAM,
        artifacts=Artifacts(),
        process=ProcessSighting.ALIVE,
    )


def a_reply(
    observation: Observation | None, *, loop_id: str = LOOP, digest: str = "d1", version: str = "v1"
) -> ObserveReply:
    return ObserveReply(True, version, ObserveSource("/sprite", loop_id, "s1"), digest, observation)


def a_cursor(line: int, stream: Stream | None = STREAM) -> Cursor:
    return Cursor("/srv/home", LOOP, "events.jsonl", line, line, AT, stream=stream)


def unreachable(found: Observation | None) -> Unreachable:
    assert isinstance(found, Unreachable), found
    return found


def malformed(found: Observation | None) -> Malformed:
    assert isinstance(found, Malformed), found
    return found


def seen(found: Observation | None) -> Seen:
    assert isinstance(found, Seen), found
    return found
