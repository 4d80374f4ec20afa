"""Where tokens come from, when they are read again, and that nobody ever gets to see one."""

import logging
from pathlib import Path

import pytest

from opsd.disk import Disk
from opsd.model.observation import UnreachableCause
from opsd.model.service import ControlRequest
from opsd.services import Tokens
from opsd.services.message import Trouble
from opsd.services.tokens import Token
from tests.doubles.threads import Inline
from tests.services.asking import a_first_look, a_loop, a_reply, a_seen, seen, services, unreachable
from tests.services.peer import NEWER, Act, Asked, Peer, Stream, answers, listening

GOOD = answers(a_reply(a_seen("loop_start")), headers=NEWER)
NAME = "SPRITE_7_TOKEN"
OLD, NEW = "old-secret-0001", "new-secret-0002"


def wants(token: str, then: Act = GOOD) -> Act:
    """Only who brings this token in both headers is let through."""

    async def act(stream: Stream, asked: Asked) -> bool:
        brought = (asked.headers.get("authorization"), asked.headers.get("x-ops-token"))
        good = brought == (f"Bearer {token}", token)
        return await (then if good else answers("", 401))(stream, asked)

    return act


async def test_a_token_is_sent_in_both_headers_that_a_service_may_look_at() -> None:
    peer = Peer(wants(OLD))
    async with listening(peer), services(variables={NAME: f" {OLD}\n"}) as made:
        answer = await made.observe(a_first_look(peer, token_env=NAME), known=None, wait_s=0)

    assert seen(answer.observation).events


async def test_a_rotated_token_is_picked_up_when_the_old_one_is_refused(tmp_path: Path) -> None:
    peer = Peer(wants(OLD))
    (tmp_path / NAME).write_text(OLD)
    async with listening(peer), services(folders=[str(tmp_path)]) as made:
        ask = a_first_look(peer, token_env=NAME)
        before = await made.observe(ask, known=None, wait_s=0)
        peer.script[:] = [wants(NEW)]
        (tmp_path / NAME).write_text(NEW)
        after = await made.observe(ask, known=None, wait_s=0)
        later = await made.observe(ask, known=None, wait_s=0)

    assert [answer.codes for answer in (before, after, later)] == [("200",), ("401", "200"), ("200",)]


async def test_a_token_that_stays_refused_is_not_sent_again() -> None:
    peer = Peer(wants(NEW))
    async with listening(peer), services(variables={NAME: OLD}) as made:
        answer = await made.observe(a_first_look(peer, token_env=NAME, attempts=3), known=None, wait_s=0)

    found = unreachable(answer.observation)
    assert (found.cause, answer.codes) == (UnreachableCause.SERVICE_UNAUTHORIZED, ("401",))


async def test_what_must_be_sent_once_is_sent_again_where_the_token_kept_it_from_being_heard(tmp_path: Path) -> None:
    peer = Peer(wants(OLD))
    (tmp_path / NAME).write_text(OLD)
    request = ControlRequest("demo-loop", "cancel", "riya", "tr-1", "key-1")
    async with listening(peer), services(folders=[str(tmp_path)]) as made:
        await made.observe(a_first_look(peer, token_env=NAME), known=None, wait_s=0)
        peer.script[:] = [wants(NEW, answers({"ok": True, "exitCode": 0}))]
        (tmp_path / NAME).write_text(NEW)
        answer = await made.control(a_loop(peer, token_env=NAME), request)

    assert (answer.status, answer.problem) == (200, None)
    assert peer.targets()[1:] == ["/ops/control"] * 2


async def test_a_service_that_names_no_token_gets_the_contracts_one_if_there_is_one() -> None:
    peer = Peer(GOOD)
    async with listening(peer):
        for variables in ({}, {"OPS_MANAGER_SERVICE_TOKEN": OLD}):
            async with services(variables=variables) as made:
                await made.observe(a_first_look(peer), known=None, wait_s=0)

    assert [asked.headers.get("authorization") for asked in peer.asked] == [None, f"Bearer {OLD}"]


async def test_the_file_of_a_token_comes_before_the_variable(tmp_path: Path) -> None:
    """A file can be rotated while opsd runs, and the first folder is the setting's."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    tokens = Tokens(Disk(), Inline(), folders=[str(first), str(second)], variables={NAME: "variable"})

    found = []
    for path, text in ((None, ""), (second, "second"), (first, "first")):
        if path is not None:
            (path / NAME).write_text(text)
        token = await tokens.again(NAME)
        assert isinstance(token, Token)
        found.append(token.reveal())

    assert found == ["variable", "second", "first"]


@pytest.mark.parametrize(
    ("name", "variables", "says"),
    [
        (NAME, {}, "there is no token SPRITE_7_TOKEN"),
        (NAME, {NAME: "  "}, "there is no token SPRITE_7_TOKEN"),
        (NAME, {NAME: "two words"}, "cannot be sent"),
        (NAME, {NAME: "line\r\nX-Evil: 1"}, "cannot be sent"),
        (NAME, {NAME: "gr\u00fcn"}, "cannot be sent"),
        ("../../etc/passwd", {}, "cannot name a token"),
    ],
)
async def test_a_token_that_is_not_to_be_had_keeps_the_request_from_being_sent(
    name: str, variables: dict[str, str], says: str
) -> None:
    peer = Peer(GOOD)
    async with listening(peer), services(variables=variables) as made:
        answer = await made.observe(a_first_look(peer, token_env=name), known=None, wait_s=0)

    found = unreachable(answer.observation)
    assert found.cause is UnreachableCause.SERVICE_UNAUTHORIZED
    assert says in found.problem
    assert (peer.asked, answer.attempts, answer.codes) == ([], 0, ("no_token",))
    assert not any(value.strip() and value in found.problem for value in variables.values())


@pytest.mark.parametrize("made_by", ["folder", "text"])
async def test_a_token_file_that_cannot_be_read_is_told(tmp_path: Path, made_by: str) -> None:
    if made_by == "folder":
        (tmp_path / NAME).mkdir()
    else:
        (tmp_path / NAME).write_bytes(b"\xff\xfe")
    tokens = Tokens(Disk(), Inline(), folders=[str(tmp_path)], variables={NAME: OLD})

    found = await tokens.get(NAME)

    assert isinstance(found, Trouble)
    assert "cannot be read" in found.problem


async def test_a_token_shows_itself_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    peer = Peer(wants(NEW))
    async with listening(peer), services(variables={NAME: OLD}) as made:
        answer = await made.observe(a_first_look(peer, token_env=NAME), known=None, wait_s=0)
        peer.script[:] = [answers(b"\xff")]
        garbage = await made.observe(a_first_look(peer, token_env=NAME), known=None, wait_s=0)

    shown = [repr(answer), repr(garbage), repr(Token(OLD)), str(Token(OLD)), caplog.text]
    assert peer.asked[0].headers["x-ops-token"] == OLD
    assert not any(OLD in text for text in shown)
