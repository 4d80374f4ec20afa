"""Observations over real TCP: what the local transport brings, pages, and answers that are held back for news."""

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from opsd.disk import Disk
from opsd.model.cursor import Cursor
from opsd.model.ids import LoopId
from opsd.model.observation import Observation, Seen, Unreachable, UnreachableCause
from opsd.model.run import LoopRef
from opsd.model.wire import ObserveReply
from opsd.ports import Ask
from opsd.processes import ProcFs
from opsd.services.message import Limits as ClientLimits
from opsd.transports.local import LocalTransport
from opsd.transports.tail import STANDARD_LIMITS
from tests.doubles.process import wait_until
from tests.sprite.service.serving import Sprite, SpriteService, sprite


@pytest.fixture
def live() -> Iterator[Sprite]:
    with sprite("awaiting approval") as running:
        yield running


def observe(service: SpriteService, loop_id: str, **members: Any) -> ObserveReply:
    told = service.ask("POST", "/ops/observe", {"loopId": loop_id, **json.loads(msgspec.json.encode(members))})
    assert told.status == 200, told.body
    return msgspec.json.decode(told.body, type=ObserveReply)


def seen(reply: ObserveReply) -> Seen:
    assert isinstance(reply.observation, Seen)
    return reply.observation


def cursor(live: Sprite, found: Seen) -> Cursor:
    """As a manager keeps it after it has taken up `found`."""
    return Cursor(
        repo_path=str(live.place.repo),
        loop_id=live.loop_id,
        events_file="events.jsonl",
        event_line_offset=found.line_offset,
        event_line_count=found.line_offset,
        updated_at=datetime.now(UTC),
        stream=found.stream,
    )


def log_of(live: Sprite) -> Path:
    return live.place.repo / ".superloop/loops" / live.loop_id / "events.jsonl"


def append(live: Sprite, count: int = 1) -> None:
    last = log_of(live).read_text().splitlines()[-1]
    with log_of(live).open("a") as file:
        file.write(f"{last}\n" * count)


def test_an_observation_is_what_the_local_transport_sees(live: Sprite) -> None:
    reply = observe(live.service, live.loop_id)
    ref = LoopRef(LoopId(live.loop_id), str(live.place.repo))
    ours = LocalTransport(Disk(), ProcFs()).observe([Ask(ref, None)], datetime.now(UTC))[0]

    assert isinstance(ours, Seen)
    assert (reply.ok, reply.schema_version) == (True, "v1")
    assert (reply.source.repo_path, reply.source.loop_id) == (str(live.place.repo), live.loop_id)
    assert msgspec.json.encode(timeless(reply.observation)) == msgspec.json.encode(timeless(ours))


def timeless(observation: Observation | None) -> Seen:
    assert isinstance(observation, Seen)
    return replace(observation, at=datetime(2026, 1, 1, tzinfo=UTC), lines=list(observation.lines))


def test_what_was_taken_up_does_not_come_again(live: Sprite) -> None:
    first = seen(observe(live.service, live.loop_id))
    append(live, 3)
    second = seen(observe(live.service, live.loop_id, cursor=cursor(live, first)))

    assert list(second.lines) == [first.line_offset + 1, first.line_offset + 2, first.line_offset + 3]
    assert second.change is None


def test_managers_with_cursors_of_their_own_do_not_disturb_each_other(live: Sprite) -> None:
    first = seen(observe(live.service, live.loop_id))
    here, there, mine = cursor(live, first), None, first
    for _ in range(5):
        append(live)
        mine = seen(observe(live.service, live.loop_id, cursor=here))
        theirs = seen(observe(live.service, live.loop_id, cursor=there))
        here = cursor(live, mine)
        assert len(mine.events) == 1
        assert len(theirs.events) == mine.line_offset

    with ThreadPoolExecutor(8) as threads:
        at_once = list(threads.map(lambda _: seen(observe(live.service, live.loop_id)), range(16)))
    assert {len(each.events) for each in at_once} == {mine.line_offset}


def test_a_long_log_comes_in_pages_that_tell_of_the_rest() -> None:
    with sprite("complete", "--events-per-pass", "1000", "--bytes-per-pass", "200000") as live:
        append(live, 5_000)
        whole = len(log_of(live).read_text().splitlines())
        taken: list[int] = []
        at = None
        while True:
            page = seen(observe(live.service, live.loop_id, cursor=at))
            taken += page.lines
            at = cursor(live, page)
            assert len(page.events) <= 1000
            if not page.backlog_bytes:
                break

        assert taken == list(range(1, whole + 1))


def test_truncated_and_replaced_logs_are_said_to_be(live: Sprite) -> None:
    at = cursor(live, seen(observe(live.service, live.loop_id)))
    log = log_of(live)
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:3]))
    again = seen(observe(live.service, live.loop_id, cursor=at))

    assert (again.change, list(again.lines)) == ("stream_truncated", [1, 2, 3])


def test_a_loop_that_is_not_there_is_an_answer(live: Sprite) -> None:
    reply = observe(live.service, "nobody")

    assert isinstance(reply.observation, Unreachable)
    assert reply.observation.cause is UnreachableCause.ARTIFACTS_MISSING
    assert reply.observation.failure_code == "snapshot_unavailable"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, None),
        ({"loopId": "../up"}, "loop_id_unsafe"),
        ({"loopId": ""}, "loop_id_missing"),
        ({"loopId": "demo-loop", "waitS": 26}, None),
        ({"loopId": "demo-loop", "cursor": {"eventLineOffset": -1}}, None),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(live: Sprite, body: object, reason: str | None) -> None:
    assert live.service.ask("POST", "/ops/observe", body).error == (400, "invalid_request", reason)


# Held back


def test_without_news_the_answer_is_held_back_and_then_brings_nothing(live: Sprite) -> None:
    first = observe(live.service, live.loop_id)
    at = cursor(live, seen(first))
    began_s = time.monotonic()
    reply = observe(live.service, live.loop_id, cursor=at, known=first.digest, waitS=0.7)

    assert reply.observation is None
    assert reply.digest == first.digest
    assert 0.6 < time.monotonic() - began_s < 5


def test_it_is_not_held_back_from_who_has_not_seen_how_the_loop_looks(live: Sprite) -> None:
    first = observe(live.service, live.loop_id)
    at = cursor(live, seen(first))
    began_s = time.monotonic()

    assert observe(live.service, live.loop_id, cursor=at, known="other", waitS=20).observation is not None
    assert observe(live.service, live.loop_id, cursor=None, known=first.digest, waitS=20).observation is not None
    assert time.monotonic() - began_s < 10


@pytest.mark.parametrize("what", ["an event", "a small file", "the end of the loop"])
def test_news_wakes_whoever_waits_within_a_moment(live: Sprite, what: str) -> None:
    first = observe(live.service, live.loop_id)
    at = cursor(live, seen(first))
    with ThreadPoolExecutor(3) as threads:

        def wait() -> tuple[ObserveReply, float]:
            reply = observe(live.service, live.loop_id, cursor=at, known=first.digest, waitS=20)
            return reply, time.monotonic()

        waiting = [threads.submit(wait) for _ in range(3)]
        wait_until(lambda: all(each.running() for each in waiting), "they have asked")
        assert not any(each.done() for each in waiting)
        happened_s = time.monotonic()
        if what == "an event":
            append(live)
        elif what == "a small file":
            log_of(live).with_name("approval.json").unlink()
        else:
            shutil.rmtree(log_of(live).parent)
        answers = [each.result(30) for each in waiting]

    for reply, answered_s in answers:
        assert reply.observation is not None
        assert reply.digest != first.digest or seen(reply).events
        assert answered_s - happened_s < 5


def test_who_waits_is_answered_when_the_service_stops(live: Sprite) -> None:
    first = observe(live.service, live.loop_id)
    at = cursor(live, seen(first))
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(observe, live.service, live.loop_id, cursor=at, known=first.digest, waitS=20)
        observe(live.service, live.loop_id)
        code = live.service.stop()

        assert waiting.result(20).observation is None
        assert code == 0


@pytest.mark.slow
def test_the_longest_line_that_is_an_event_fits_into_what_a_manager_takes(live: Sprite) -> None:
    first = seen(observe(live.service, live.loop_id))
    head = '{"timestamp":"2026-11-21T12:00:00Z","event":"role_end","data":{"text":"'
    with log_of(live).open("a") as log:
        log.write(head + "x" * (STANDARD_LIMITS.line_bytes - len(head) - 3) + '"}}\n')
    body = {"loopId": live.loop_id, "cursor": json.loads(msgspec.json.encode(cursor(live, first)))}
    told = live.service.ask("POST", "/ops/observe", body)

    assert len(seen(msgspec.json.decode(told.body, type=ObserveReply)).events) == 1
    assert len(told.body) < ClientLimits().answer_bytes
