"""An observation out of a sprite: taken as if it had been made here, or not at all."""

from datetime import datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from opsd.core.reconcile import Pass, Rules, decide
from opsd.model.cursor import by_line
from opsd.model.ids import TraceId
from opsd.model.observation import (
    Artifact,
    Artifacts,
    Malformed,
    Observation,
    QuarantinedLine,
    Seen,
    StreamChange,
    Unreachable,
    UnreachableCause,
)
from opsd.model.run import Run
from opsd.model.runtime import EventLine, Heartbeat, Presence, RuntimeState
from opsd.model.wire import FEATURES, OBSERVE, ObserveReply
from opsd.ports import Ask
from opsd.services import Limits
from opsd.services.message import Trouble
from opsd.services.observed import read_observed
from tests.services.asking import AT, a_cursor, a_loop, a_reply, a_seen, malformed, seen, services
from tests.services.peer import NEWER, Asked, Peer, Stream, answers, listening

NOW = AT.replace(hour=3)
ASK = Ask(a_loop("http://sprite"), None)
LATER = Ask(a_loop("http://sprite"), a_cursor(2))


def read(observation: Observation | None, ask: Ask = ASK, reply: ObserveReply | None = None) -> Observation | None:
    found = read_observed(msgspec.json.encode(reply or a_reply(observation)), ask, NOW)
    return found.observed(NOW) if isinstance(found, Trouble) else found[0]


def test_an_observation_comes_out_as_it_went_in_but_for_our_own_clock() -> None:
    artifacts = Artifacts(
        state=Artifact(Presence.PRESENT, RuntimeState(active=True, iteration=2), mtime=AT),
        heartbeat=Artifact(Presence.PRESENT, Heartbeat(pid=7, verbatim=msgspec.Raw(b'{"pid":7,"odd":1.5}'))),
        summary=Artifact(Presence.SETTLING, None, AT),
    )
    bad = QuarantinedLine(4, 90, 3, "0" * 64, "bad", "no event")
    sent = replace(
        a_seen("loop_start", "role_start", first=2),
        line_offset=4,
        events=[
            EventLine(timestamp="t", event="loop_start", data=msgspec.Raw(b'{"a":[1,2]}')),
            EventLine(timestamp="t", type="role_start", role="tester", iteration=3),
        ],
        artifacts=artifacts,
        quarantined=[bad],
        backlog_bytes=17,
        last_output_at=AT,
    )

    found = seen(read(sent, Ask(a_loop("http://sprite"), a_cursor(1))))

    assert found.at == NOW
    assert msgspec.json.encode(replace(found, at=AT)) == msgspec.json.encode(sent)


def test_what_the_sprites_own_files_could_not_tell_comes_in_the_same_words_as_here() -> None:
    sent = Unreachable(AT, UnreachableCause.ARTIFACTS_MISSING, "snapshot_unavailable", "required artifact missing: /x")

    assert read(sent) == replace(sent, at=NOW)
    assert read(Malformed(AT, "projection_failed", "no", "<x>")) == Malformed(NOW, "projection_failed", "no", "<x>")


def test_words_of_a_sprite_cannot_steer_a_terminal() -> None:
    unreachable = Unreachable(AT, UnreachableCause.ARTIFACTS_MISSING, "snapshot_unavailable", "\x1b[2J\n" + "x" * 9_999)
    artifacts = Artifacts(state=Artifact(Presence.UNREADABLE, None, AT, "\u202egone"))
    bad = QuarantinedLine(1, 0, 3, "0" * 64, "\x07", "\x08")

    told = read(unreachable)
    found = seen(read(replace(a_seen(), line_offset=1, artifacts=artifacts, quarantined=[bad])))

    assert isinstance(told, Unreachable)
    assert told.problem == "\\x1b[2J " + "x" * 992
    assert found.artifacts.state.problem == "\\u202egone"
    assert (found.quarantined[0].head, found.quarantined[0].problem) == ("\\x07", "\\x08")


def test_a_heartbeat_stays_on_one_line() -> None:
    """It goes on into journals of one line a row."""
    beat = Heartbeat(pid=7, verbatim=msgspec.Raw(b'{\n "pid": 7\n}'))
    found = seen(read(replace(a_seen(), artifacts=Artifacts(heartbeat=Artifact(Presence.PRESENT, beat)))))

    assert found.artifacts.heartbeat.value is not None
    assert bytes(found.artifacts.heartbeat.value.verbatim) == b'{"pid":7}'


NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001  what must not come through


@pytest.mark.parametrize(
    ("broken", "ask"),
    [
        (replace(a_seen("a", "b"), lines=[1]), ASK),
        (replace(a_seen("a", "b"), lines=[2, 1]), ASK),
        (replace(a_seen("a", "b"), lines=[1, 1]), ASK),
        (replace(a_seen("a", "b"), lines=[0, 1]), ASK),
        (replace(a_seen("a", "b"), line_offset=1), ASK),
        (a_seen("a", first=2), LATER),
        (replace(a_seen(), line_offset=1), LATER),
        (replace(a_seen(), line_offset=-1), ASK),
        (replace(a_seen(), quarantined=[QuarantinedLine(9, 0, 1, "", "", "")]), ASK),
        (replace(a_seen("a"), events=[EventLine(timestamp="t")]), ASK),
        (replace(a_seen("a"), last_raw=b"text"), ASK),
        (replace(a_seen("a"), last_raw=b'{"a":1},'), ASK),
        (replace(a_seen(), backlog_bytes=-1), ASK),
        (replace(a_seen("c", first=3), stream=by_line(7)), LATER),
        (replace(a_seen(), at=NAIVE), ASK),
        (replace(a_seen(), last_output_at=NAIVE), ASK),
        (replace(a_seen(), artifacts=Artifacts(config=Artifact(since=NAIVE))), ASK),
        (replace(a_seen(), artifacts=Artifacts(approval=Artifact(mtime=NAIVE))), ASK),
        (Unreachable(AT, UnreachableCause.SERVICE_UNREACHED, "No Code", ""), ASK),
        (Malformed(AT, "", "no code"), ASK),
    ],
)
def test_what_no_look_could_have_brought_is_not_believed(broken: Observation, ask: Ask) -> None:
    """Folded, half of these would break a pass, and the other half count an event twice or lose it."""
    found = malformed(read(broken, ask))

    assert found.failure_code == "service_response_invalid"
    assert found.evidence.startswith('{"ok":true')


@pytest.mark.parametrize(
    ("fine", "ask"),
    [
        (a_seen("a", "b"), replace(LATER, from_start=True)),
        (replace(a_seen("a", "b"), change=StreamChange.TRUNCATED, stream=by_line(1)), LATER),
        (a_seen("c", first=3), LATER),
        (a_seen("c", first=3), Ask(a_loop("http://sprite"), a_cursor(2, stream=None))),
        (replace(a_seen("c", first=3), line_offset=9, quarantined=[QuarantinedLine(8, 0, 1, "", "", "")]), LATER),
    ],
)
def test_what_a_look_brings_is_believed(fine: Seen, ask: Ask) -> None:
    assert seen(read(fine, ask)).line_offset == fine.line_offset


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (a_reply(a_seen(), version="v2"), "unknown version 'v2'"),
        (a_reply(a_seen(), loop_id="other\n"), "about the loop 'other"),
    ],
)
def test_an_answer_of_another_version_or_loop_is_told_from_one_without_shape(reply: ObserveReply, says: str) -> None:
    found = malformed(read(None, reply=reply))

    assert found.failure_code == "projection_failed"
    assert says in found.problem


@given(cut=st.integers(0, 600), put=st.binary(max_size=4))
def test_no_answer_breaks_a_pass(cut: int, put: bytes) -> None:
    """Whatever a sound answer is garbled into: it is not believed, or it can be judged like any other."""
    body = msgspec.json.encode(a_reply(a_seen("loop_start", "role_start", first=3)))
    garbled = body[:cut] + put + body[cut + len(put) :]

    found = read_observed(garbled, LATER, NOW)

    observation = found.observed(NOW) if isinstance(found, Trouble) else found[0]
    if observation is not None:
        decide(Run(LATER.ref), observation, Rules("/srv/home"), Pass(TraceId("t")), NOW)


async def test_that_nothing_has_changed_is_an_answer_without_an_observation() -> None:
    peer = Peer(answers(a_reply(None), headers=NEWER))
    async with listening(peer), services() as made:
        answer = await made.observe(Ask(a_loop(peer), a_cursor(2)), known="d1", wait_s=0.1)

    assert (answer.observation, answer.digest) == (None, "d1")
    assert answer.features == frozenset(FEATURES)
    said = peer.asked[0].json()
    assert {name: said[name] for name in ("loopId", "known", "fromStart", "waitS")} == {
        "loopId": "demo-loop",
        "known": "d1",
        "fromStart": False,
        "waitS": 0.1,
    }
    assert isinstance(cursor := said["cursor"], dict)
    assert cursor["eventLineOffset"] == 2


async def test_an_observation_proves_that_a_service_has_them_where_its_word_is_lost() -> None:
    """A gateway may drop headers that it does not know."""
    peer = Peer(answers(a_reply(a_seen("loop_start"))))
    async with listening(peer), services() as made:
        answer = await made.observe(Ask(a_loop(peer), None), known=None, wait_s=0)

    assert answer.features == {OBSERVE}
    assert made.features(a_loop(peer)) == frozenset({OBSERVE})


async def test_a_large_answer_is_read_all_the_same() -> None:
    events = [EventLine(timestamp="t", event="e", data=msgspec.Raw(b'{"x":"' + b"y" * 900 + b'"}'))] * 300
    sent = replace(a_seen(*["e"] * 300), events=events)
    body = msgspec.json.encode(a_reply(sent))
    peer = Peer(answers(body, headers=NEWER))
    async with listening(peer), services(limits=Limits()) as made:
        answer = await made.observe(Ask(a_loop(peer), None), known=None, wait_s=0)

    assert len(body) > 256 * 1024
    assert seen(answer.observation).line_offset == 300


def whole(reply: ObserveReply) -> bytes:
    body = msgspec.json.encode(reply)
    return b"HTTP/1.1 200 OK\r\nX-Ops-Features: observe.v1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize("is_told_by_id", [True, False])
async def test_an_answer_too_many_is_not_taken_for_the_next_one(is_told_by_id: bool) -> None:
    """Somebody on the way delivers a request twice: the second answer waits on the connection for whoever asks next."""

    async def act(stream: Stream, asked: Asked) -> bool:
        ask_id = str(asked.json()["askId"]) if is_told_by_id else ""
        if asked.connection == 1:
            await stream.send(whole(replace(a_reply(a_seen("loop_start")), ask_id=ask_id)) * 2)
        else:
            await stream.send(whole(replace(a_reply(a_seen("role_start", first=2)), ask_id=ask_id)))
        return True

    peer = Peer(act)
    async with listening(peer), services() as made:
        first = await made.observe(Ask(a_loop(peer), None), known=None, wait_s=0.1)
        second = await made.observe(Ask(a_loop(peer), a_cursor(1)), known="d1", wait_s=0.1)
        third = await made.observe(Ask(a_loop(peer), a_cursor(1)), known="d1", wait_s=0.1)

    assert [event.name for event in seen(first.observation).events] == ["loop_start"]
    # An answer without an id can be told by what it says alone, which costs this look.
    assert isinstance(second.observation, Seen if is_told_by_id else Malformed)
    assert [event.name for event in seen(third.observation).events] == ["role_start"]
