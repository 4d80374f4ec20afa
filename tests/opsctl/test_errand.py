"""An answer that is lost on the way: whether the intent was taken in is found out, and it is never handed in twice."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from opsctl.client import Client
from opsctl.clock import monotonic_s
from opsctl.errand import Errand, hand_in, see_to_its_end
from opsctl.exits import Exit
from opsd.model.ids import LoopId
from opsd.model.intent import Actor, Intent, IntentKind, IntentStatus
from opsd.protocol import IntentPage, IntentReply, IntentRequest, VersionReply, WaitFor

SEEN_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
POST = "POST /v1/loops/docs-17/intents"
REQUEST = IntentRequest(IntentKind.CANCEL, trace_id="trace-ours")


def an_intent(trace_id: str = "trace-ours", status: IntentStatus = IntentStatus.EXECUTING) -> Intent:
    return Intent(
        id=f"id of {trace_id}",
        loop_id=LoopId("docs-17"),
        intent=IntentKind.CANCEL,
        status=status,
        recorded_at=SEEN_AT,
        updated_at=SEEN_AT,
        expires_at=SEEN_AT,
        requested_by="ana",
        actor=Actor(0, "root", 1),
        trace_id=trace_id,
        idempotency_key="k",
        fingerprint="f",
        ordinal=1,
        schema_version="v1",
    )


def a_version(started_at: datetime) -> VersionReply:
    return VersionReply("0.1.0", "v1", "start", 1, started_at)


class Script:
    """A daemon that says to each request the next answer for its path; None closes the connection without a word."""

    def __init__(self, **answers: object) -> None:
        self.heard: list[str] = []
        self._answers: dict[str, list[object]] = {"POST": [], "version": [], "intents": [], "intent": []}
        for name, given in answers.items():
            self._answers[name] = list(given) if isinstance(given, list) else [given]

    def answer(self, request: str) -> object:
        self.heard.append(request)
        if request.startswith("POST"):
            name = "POST"
        elif "/v1/version" in request:
            name = "version"
        else:
            name = "intents" if "/v1/intents?" in request else "intent"
        given = self._answers[name]
        return given.pop(0) if len(given) > 1 else given[0]


@contextmanager
def playing(path: str, script: Script) -> Iterator[Client]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                with connection:
                    received = b""
                    while b"\r\n\r\n" not in received:
                        received += connection.recv(65_536)
                    if received.startswith(b"STOP"):
                        return
                    answer = script.answer(received.partition(b" HTTP/")[0].decode())
                    if answer is not None:
                        body = msgspec.json.encode(answer)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield Client(path)
        finally:
            with socket.socket(socket.AF_UNIX) as stop:
                stop.connect(path)
                stop.sendall(b"STOP\r\n\r\n")
            thread.join(30)


def handed_in(path: str, script: Script) -> tuple[Errand, list[str]]:
    """The errand after its request, and the notes meanwhile."""
    notes: list[str] = []
    errand = Errand("docs-17", REQUEST, SEEN_AT)
    with playing(path, script) as client:
        hand_in(client, errand, notes.append, monotonic_s() + 5)
    assert [line for line in script.heard if line.startswith("POST")] == [POST], "it was handed in once"
    return errand, notes


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "s")


def test_an_answer_that_comes_needs_no_looking(path: str) -> None:
    errand, notes = handed_in(path, Script(POST=IntentReply(SEEN_AT, an_intent())))

    assert errand.intent == an_intent()
    assert (errand.error, notes) == (None, [])


def test_what_was_recorded_although_the_answer_was_lost_is_found_by_its_trace(path: str) -> None:
    script = Script(
        POST=None,
        version=a_version(SEEN_AT - timedelta(hours=1)),
        intents=IntentPage(SEEN_AT, (an_intent("another"), an_intent(), an_intent("later"))),
        intent=IntentReply(SEEN_AT, an_intent(status=IntentStatus.CONFIRMED)),
    )
    errand, notes = handed_in(path, script)

    assert errand.error is None
    assert errand.intent is not None
    assert (errand.intent.id, errand.intent.status) == ("id of trace-ours", IntentStatus.CONFIRMED)
    assert "looking whether the cancel of docs-17 was recorded" in notes[0]


def test_what_a_restart_lost_before_it_was_recorded_was_surely_not_done(path: str) -> None:
    script = Script(
        POST=None,
        version=[None, a_version(SEEN_AT + timedelta(seconds=1))],
        intents=IntentPage(SEEN_AT, (an_intent("another"),)),
    )
    errand, _ = handed_in(path, script)

    assert errand.intent is None
    assert errand.error is not None
    assert errand.error.exit_code is Exit.REFUSED
    assert "restarted before it had recorded the cancel of docs-17: nothing was done" in errand.error.message


def test_while_the_same_daemon_lives_nobody_can_say_that_nothing_comes_of_it(path: str) -> None:
    """It may be slow, and record it yet."""
    script = Script(POST=None, version=a_version(SEEN_AT), intents=IntentPage(SEEN_AT, ()))
    errand, _ = handed_in(path, script)

    assert errand.error is not None
    assert errand.error.exit_code is Exit.NO_ANSWER
    assert "nobody can say" in errand.error.message
    assert "look before repeating it" in errand.error.remedy


def test_a_daemon_that_answers_early_is_not_hammered(path: str) -> None:
    """It stops, or sees nothing more to wait for, and says so at once each time."""
    script = Script(intent=IntentReply(SEEN_AT, an_intent()))
    errand = Errand("docs-17", REQUEST, SEEN_AT)
    errand.heard(msgspec.json.encode(IntentReply(SEEN_AT, an_intent())))
    with playing(path, script) as client:
        see_to_its_end(client, errand, WaitFor.SETTLED, lambda _: None, monotonic_s() + 1.5)

    assert errand.error is None
    assert 2 <= len(script.heard) <= 6
