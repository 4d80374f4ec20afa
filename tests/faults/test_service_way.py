"""What goes wrong on the way to a service, and what becomes of it: nothing is lost, nothing is counted or done twice.

One literal table. All rows happen at the same time, each to loops of its own; that its fault happened is asserted.
"""

import http.client
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest
from msgspec.structs import replace

from tests.doubles.process import wait_until
from tests.doubles.proxy import Fault
from tests.faults.services import Sprite, sprite

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

T = TypeVar("T")

NOTHING, FAILED, INVALID, FOREIGN = "", "service_request_failed", "service_response_invalid", "projection_failed"
CONFIRMED, UNKNOWN, NOT_DONE, REFUSED = ("confirmed", 1), ("ambiguous", 1), ("ambiguous", 0), ("refused", 0)
REASONS = {
    NOTHING: (),
    FAILED: ("transport_unreachable",),
    INVALID: ("invalid_transport_payload", "transport_unreachable"),
    FOREIGN: ("projection_failed", "transport_unreachable"),
}
LOST_FOR_GOOD_S = 20.0
"""Longer than any answer is waited for."""


class Row(NamedTuple):
    """`seen` is the code with which the loop is unreachable while the fault lasts, `NOTHING` where it is not noticed.

    `once` and `lasting` are what becomes of an approval: its status, and how often the sprite has done it by then. In
    `once` the fault befalls the first request for it alone, or the look before it. What takes a minute to find out is
    not tried in `lasting`.
    """

    fault: Fault
    seen: str
    once: tuple[str, int] | None = CONFIRMED
    lasting: tuple[str, int] | None = None


ROWS = {
    "delay": Row(Fault("delay", seconds=1.0), NOTHING, lasting=CONFIRMED),
    "slow answer": Row(Fault("hold", seconds=1.0), NOTHING, lasting=CONFIRMED),
    "no answer": Row(Fault("hold", seconds=LOST_FOR_GOOD_S), FAILED),
    "half-open": Row(Fault("half-open"), FAILED, once=REFUSED),
    "close": Row(Fault("close"), FAILED, lasting=NOT_DONE),
    "reset": Row(Fault("reset"), FAILED, lasting=NOT_DONE),
    "answer lost": Row(Fault("lose"), FAILED, lasting=UNKNOWN),
    "cut in the body": Row(Fault("cut"), FAILED, lasting=UNKNOWN),
    "twice": Row(Fault("duplicate"), NOTHING, lasting=CONFIRMED),
    "answers swapped": Row(Fault("swap"), FOREIGN),
    "the answer before": Row(Fault("stale"), NOTHING, once=None),
    "slow drip": Row(Fault("drip", seconds=0.1), FAILED),
    "endless body": Row(Fault("flood"), INVALID, lasting=UNKNOWN),
    "length too short": Row(Fault("short"), INVALID, lasting=UNKNOWN),
    "length too long": Row(Fault("long"), FAILED, lasting=UNKNOWN),
    "html": Row(Fault("html"), INVALID, lasting=NOT_DONE),
    **{f"{status}": Row(Fault("status", status=status), FAILED, lasting=NOT_DONE) for status in (401, 403, 404, 409)},
    **{f"{status}": Row(Fault("status", status=status), FAILED, lasting=NOT_DONE) for status in (429, 500, 502)},
    **{f"{status}": Row(Fault("status", status=status), FAILED, lasting=NOT_DONE) for status in (503, 504)},
}
PASS_NOTHING = ("status", "html", "close", "reset")
_ONE_AT_A_TIME = threading.Lock()
"""A checkout's desk has one intent in flight."""

TOGETHER = "answers swapped"
"""Takes two at a time: those of another loop behind the same service."""


class Observed(NamedTuple):
    fired: int
    seen: str
    reasons: tuple[str, ...]
    ingested: int
    logged: int
    after: tuple[str, ...]


class Controlled(NamedTuple):
    """`done` counts by the end of the first intent, `done_after` when all is well again and it came to its end."""

    fired: int
    status: str
    done: int
    after: str
    done_after: int


class Played(NamedTuple):
    observed: dict[str, Observed]
    once: dict[str, Controlled]
    lasting: dict[str, Controlled]


def named(row: str, column: str) -> str:
    return f"{column}-{row.replace(' ', '-')}"


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    columns = [
        *[("observe", row) for row in ROWS],
        *[("once", row) for row, each in ROWS.items() if each.once],
        *[("lasting", row) for row, each in ROWS.items() if each.lasting],
    ]
    loops = [named(row, column) for column, row in columns]
    ways = {}
    for column in ("observe", "once"):
        loops.append(named(TOGETHER, f"{column}-other"))
        ways[loops[-1]] = named(TOGETHER, column)
    settings = {"OPSD_DEGRADED_TRANSPORT_FAILURE_STREAK": "1", "OPSD_MAX_CONCURRENT_INTENTS": "64"}
    with (
        tempfile.TemporaryDirectory(prefix="opsd-") as root,
        sprite(Path(root), loops, ways=ways, **settings) as met,
        ThreadPoolExecutor(len(columns)) as threads,
    ):
        observed = {row: threads.submit(_observe, met, row) for row in ROWS}
        once = {row: threads.submit(_control, met, row, "once") for row, each in ROWS.items() if each.once}
        lasting = {row: threads.submit(_control, met, row, "lasting") for row, each in ROWS.items() if each.lasting}
        yield Played(_done(observed), _done(once), _done(lasting))


@pytest.mark.parametrize("row", ROWS)
def test_a_look_that_goes_wrong_is_told_and_costs_no_event(played: Played, row: str) -> None:
    found = played.observed[row]

    assert found.fired > 0
    assert found.seen == ROWS[row].seen
    assert found.reasons == REASONS[found.seen]
    assert found.ingested == found.logged
    assert found.after == ()


@pytest.mark.parametrize("row", [row for row, each in ROWS.items() if each.once])
def test_an_approval_whose_request_goes_wrong_is_made_once(played: Played, row: str) -> None:
    found = played.once[row]

    assert found.fired > 0
    assert (found.status, found.done) == ROWS[row].once
    assert (found.after, found.done_after) == ROWS[row].once


@pytest.mark.parametrize("row", [row for row, each in ROWS.items() if each.lasting])
def test_an_approval_on_a_way_that_stays_bad_is_never_called_what_it_is_not(played: Played, row: str) -> None:
    found = played.lasting[row]

    assert found.fired > 0
    assert (found.status, found.done) == ROWS[row].lasting
    assert found.done_after <= 1
    assert found.after == ("confirmed" if found.done_after else found.status)


@pytest.fixture
def restarted() -> Iterator[Sprite]:
    with tempfile.TemporaryDirectory(prefix="opsd-") as root, sprite(Path(root), ["look", "act"], ways={}) as met:
        yield met


def test_a_service_that_is_killed_before_it_answers_a_look_costs_no_event(restarted: Sprite) -> None:
    restarted.append("look", 3)

    with ThreadPoolExecutor(1) as asker:
        restarted.proxy.arm("look", Fault("hold", on="/ops/observe"))
        asker.submit(_nudge, restarted, "look")
        _restart(restarted, "look")
    _until_well(lambda: _nudge(restarted, "look"), lambda: not _is_told(restarted, "look"))

    status = restarted.status("look")
    logged = len(restarted.log("look").read_text().splitlines())
    assert (status["eventCount"], status["cursor"]["eventLineOffset"]) == (logged, logged)


def test_a_service_that_is_killed_with_an_approval_in_hand_makes_it_once_or_it_stays_open(restarted: Sprite) -> None:
    """How far it had come nobody knows: what is called confirmed was done, and nothing is done a second time."""
    restarted.proxy.arm("act", Fault("hold", on="POST /ops/intents"))
    intent_id = _asked(restarted, "act")
    _restart(restarted, "act")
    wait_until(lambda: not _in_flight(restarted, intent_id), "it leaves the flight", limit_s=60.0)

    done = restarted.executions("act")
    assert (_status(restarted, intent_id), done) in (CONFIRMED, UNKNOWN, NOT_DONE)


def _restart(met: Sprite, way: str) -> None:
    wait_until(lambda: met.proxy.fired(way) > 0, "the service has the request")
    met.service.kill()
    met.service.start()
    met.proxy.disarm(way)


def _observe(met: Sprite, row: str) -> Observed:
    way = loop_id = named(row, "observe")
    both = (loop_id, named(row, "observe-other")) if row == TOGETHER else (loop_id,)
    met.reconcile(loop_id)  # a kept connection, and an answer before
    met.append(loop_id, 3)
    met.proxy.arm(way, ROWS[row].fault)
    with ThreadPoolExecutor(len(both)) as askers:
        for each in both:
            askers.submit(_nudge, met, each)
        wait_until(lambda: met.proxy.fired(way) > 0 and (_is_told(met, loop_id) or _is_ingested(met, loop_id)), row)
    status = met.status(loop_id)
    seen = status["transport"]["lastFailureCode"] if _is_told(met, loop_id) else NOTHING
    reasons = tuple(status["health"]["reasonCodes"])
    met.proxy.disarm(way)
    _until_well(lambda: _nudge(met, loop_id), lambda: _is_ingested(met, loop_id) and not _is_told(met, loop_id))
    status = met.status(loop_id)
    assert status["cursor"]["eventLineOffset"] == status["eventCount"]
    logged = len(met.log(loop_id).read_text().splitlines())
    after = tuple(status["health"]["reasonCodes"])
    return Observed(met.proxy.fired(way), seen, reasons, status["eventCount"], logged, after)


def _control(met: Sprite, row: str, column: str) -> Controlled:
    way = loop_id = named(row, column)
    both = (loop_id, named(row, f"{column}-other")) if row == TOGETHER else (loop_id,)
    fault = ROWS[row].fault
    if column == "once":
        met.proxy.arm(way, replace(fault, on="POST /ops/intents", times=len(both)))
    else:
        met.proxy.arm(way, replace(fault, on="/ops/intents"))
    with _ONE_AT_A_TIME:
        ids = [_asked(met, each) for each in both]
        if column == "once" or fault.kind not in PASS_NOTHING:
            wait_until(lambda: met.is_over_there(loop_id) or not _in_flight(met, ids[0]), row, limit_s=60.0)
    wait_until(lambda: not _in_flight(met, ids[0]), f"{column} {row}", limit_s=100.0)
    status, done = _status(met, ids[0]), met.executions(loop_id)
    fired = met.proxy.fired(way)
    met.proxy.disarm(way)
    if status == "ambiguous":
        _until_well(lambda: _nudge(met, loop_id), lambda: not done or _status(met, ids[0]) != "ambiguous")
    return Controlled(fired, status, done, _status(met, ids[0]), met.executions(loop_id))


def _asked(met: Sprite, loop_id: str) -> str:
    request = {"intent": "approve", "by": "riya", "timeoutS": 20 if loop_id.startswith("once") else 4}
    return str(met.opsd.post(f"/v1/loops/{loop_id}/intents", request)["intent"]["id"])


def _status(met: Sprite, intent_id: str) -> str:
    return str(met.opsd.get(f"/v1/intents/{intent_id}")["intent"]["status"])


def _in_flight(met: Sprite, intent_id: str) -> bool:
    return _status(met, intent_id) in ("recorded", "executing", "executed")


def _is_told(met: Sprite, loop_id: str) -> bool:
    return int(met.status(loop_id)["transport"]["failureStreak"]) > 0


def _is_ingested(met: Sprite, loop_id: str) -> bool:
    return bool(met.status(loop_id)["eventCount"] >= len(met.log(loop_id).read_text().splitlines()))


def _nudge(met: Sprite, loop_id: str) -> None:
    with suppress(OSError, http.client.HTTPException, KeyError):
        met.reconcile(loop_id)


def _until_well(nudge: Callable[[], None], holds: Callable[[], bool]) -> None:
    def is_well() -> bool:
        nudge()
        return holds()

    wait_until(is_well, "it is well again", limit_s=60.0)


def _done(futures: dict[str, "Future[T]"]) -> dict[str, T]:
    return {row: future.result() for row, future in futures.items()}
