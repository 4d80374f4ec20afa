"""Loops behind a service with the contract's endpoints alone: the same picture as from their files, nothing twice."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsd.disk import Disk
from opsd.model.cursor import Cursor
from opsd.model.observation import ProcessSighting, Seen, StreamChange, UnreachableCause
from opsd.model.runtime import Presence
from opsd.model.service import ServiceAnswer
from opsd.model.wire import FEATURES
from opsd.ports import Ask
from opsd.services import HttpServices, Limits
from opsd.services.older import PAGE_FIRST
from opsd.transports.local import LocalTransport
from tests.services.asking import QUICK, a_loop, a_reply, a_seen, malformed, seen, services, unreachable
from tests.services.contract import OldService
from tests.services.peer import NEWER, Act, Asked, Peer, Stream, answers, listening
from tests.transports.trees import LOOP, RUN, Checkout, Table, cursor_after, event, real_now


class Watched:
    """A loop behind such a service, and who watches it: cursor and digest go from look to look as in the supervisor."""

    def __init__(self, root: Path, made: HttpServices, peer: Peer, old: OldService, *, events: bool) -> None:
        self.checkout = Checkout(root)
        self.made = made
        self.peer = peer
        self.old = old
        self.cursor: Cursor | None = None
        self.digest: str | None = None
        self.events = events

    async def look(self, *, from_start: bool = False) -> ServiceAnswer:
        ref = a_loop(self.peer, events=self.events)
        answer = await self.made.observe(Ask(ref, self.cursor, from_start), known=self.digest, wait_s=0.0)
        self.digest = answer.digest
        if isinstance(answer.observation, Seen):
            self.cursor = cursor_after(answer.observation)
        return answer

    async def names(self) -> list[str]:
        answer = await self.look()
        return [] if answer.observation is None else [event.name for event in seen(answer.observation).events]

    def asked(self) -> list[str]:
        """The endpoints asked since the last time."""
        paths = [target.partition("?")[0] for target in self.peer.targets()]
        self.peer.asked.clear()
        return paths


@asynccontextmanager
async def watching(root: Path, *, events: bool = True, limits: Limits = QUICK) -> AsyncIterator[Watched]:
    old = OldService(root, LOOP)
    async with listening(Peer(old.act())) as peer, services(limits=limits) as made:
        yield Watched(root, made, peer, old, events=events)


async def test_that_a_service_is_an_older_one_is_found_out_once(tmp_path: Path) -> None:
    async with watching(tmp_path) as loop:
        loop.checkout.append(event("loop_start"))
        assert loop.made.features(a_loop(loop.peer)) is None
        first = await loop.look()
        before = loop.asked()
        loop.checkout.append(event("role_start"))
        second = await loop.look()

    assert [e.name for e in seen(first.observation).events] == ["loop_start"]
    assert [e.name for e in seen(second.observation).events] == ["role_start"]
    assert (before, loop.asked()) == (
        ["/ops/observe", "/ops/snapshot", "/ops/events"],
        ["/ops/snapshot", "/ops/events"],
    )
    assert (first.codes, first.attempts) == (("404", "200", "200"), 3)
    assert loop.made.features(a_loop(loop.peer)) == frozenset()


@pytest.mark.parametrize(
    "page",
    [answers("<html>no such sprite</html>", 404), answers({"error": {"code": "no_such_sprite"}}, 404)],
)
async def test_a_gateways_page_does_not_make_a_service_an_older_one(page: Act) -> None:
    peer = Peer(page, answers(a_reply(a_seen("loop_start")), headers=NEWER))
    async with listening(peer), services() as made:
        gone = await made.observe(Ask(a_loop(peer), None), known=None, wait_s=0)
        back = await made.observe(Ask(a_loop(peer), None), known=None, wait_s=0)

    assert unreachable(gone.observation).cause is UnreachableCause.SERVICE_REQUEST_FAILED
    assert seen(back.observation).line_offset == 1
    assert peer.targets() == ["/ops/observe"] * 2


async def test_a_service_that_was_replaced_by_a_newer_one_is_noticed_by_what_it_announces(tmp_path: Path) -> None:
    async with watching(tmp_path) as loop:
        loop.checkout.append(event("loop_start"))
        await loop.look()
        loop.old.headers = dict(NEWER)
        await loop.look()
        loop.peer.script[:] = [answers(a_reply(a_seen(first=2)), headers=NEWER)]
        loop.asked()
        answer = await loop.look()

    assert loop.asked() == ["/ops/observe"]
    assert answer.features == frozenset(FEATURES)


async def test_and_the_other_way_round(tmp_path: Path) -> None:
    async with watching(tmp_path) as loop:
        loop.checkout.append(event("a") + event("b"))
        old = loop.peer.script[0]
        loop.peer.script[:] = [answers(a_reply(a_seen("a")), headers=NEWER)]
        await loop.look()
        loop.peer.script[:] = [old]
        answer = await loop.look()

    assert [e.name for e in seen(answer.observation).events] == ["b"]
    assert loop.made.features(a_loop(loop.peer)) == frozenset()


async def test_the_picture_is_the_one_that_the_files_give(tmp_path: Path) -> None:
    """Byte for byte, but for what a snapshot does not carry and what this host cannot know."""
    async with watching(tmp_path) as loop:
        loop.checkout.append(
            event("loop_start", data={"max_iterations": 9}) + b"\n" + event("role_start", role="tester")
        )
        loop.checkout.runs(iteration=3)
        approval = {"status": "pending", "run_id": RUN, "candidate": {"promise": {"text": "READY"}, "odd": [1.50]}}
        loop.checkout.write("approval.json", approval)
        loop.checkout.write("heartbeat.v1.json", {"timestamp": RUN, "status": "running", "pid": 7, "odd": {"x": 1}})
        entry = {"run_id": RUN, "iteration": 2, "gates": {"tests": "ok"}, "completion_ok": False}
        loop.checkout.write("run-summary.json", {"updated_at": RUN, "entries": [entry]})
        over_http = seen((await loop.look()).observation)
        [from_files] = LocalTransport(Disk(), Table()).observe([Ask(loop.checkout.ref, None)], real_now())

    assert isinstance(from_files, Seen)
    for name in ("state", "active_run", "summary", "approval", "heartbeat", "config", "rate_limit", "recovery"):
        there, here = getattr(over_http.artifacts, name), getattr(from_files.artifacts, name)
        assert (there.presence, there.value, there.problem) == (here.presence, here.value, here.problem)
        assert (there.mtime is None) == (here.mtime is None)
    assert list(over_http.lines) == list(from_files.lines) == [1, 3]
    assert msgspec.json.encode(over_http.events) == msgspec.json.encode(list(from_files.events))
    assert (over_http.line_offset, over_http.last_raw) == (from_files.line_offset, from_files.last_raw)
    assert over_http.process is ProcessSighting.UNKNOWN


async def test_a_loop_that_looks_as_before_is_not_asked_for_its_events(tmp_path: Path) -> None:
    async with watching(tmp_path) as loop:
        loop.checkout.append(event("loop_start") + b"\n")
        first = await loop.look()
        loop.asked()
        still = await loop.look()
        quiet = loop.asked()
        loop.checkout.write("approval.json", {"status": "pending"})
        changed = await loop.look()

    assert (still.observation, still.digest) == (None, first.digest)
    assert quiet == ["/ops/snapshot"]
    assert seen(changed.observation).artifacts.approval.presence is Presence.PRESENT
    assert loop.asked() == ["/ops/snapshot", "/ops/events"]


async def test_a_long_log_is_read_in_pages_that_grow(tmp_path: Path) -> None:
    count = PAGE_FIRST * 3 + 10
    async with watching(tmp_path, limits=Limits()) as loop:
        loop.checkout.append(b"".join(event(f"e{number}") for number in range(count)))
        pages = [seen((await loop.look()).observation) for _ in range(3)]
        after = await loop.look()

    # From the second on, a page begins with the last line of the one before.
    assert [len(page.events) for page in pages] == [PAGE_FIRST, PAGE_FIRST * 2 - 1, 11]
    assert [event.name for page in pages for event in page.events] == [f"e{number}" for number in range(count)]
    assert after.observation is None


@pytest.mark.slow
async def test_events_that_take_their_time_come_in_pages_that_shrink(tmp_path: Path) -> None:
    """A service that needs longer for a page than there is time would otherwise never get rid of its events."""
    found: list[str] = []
    causes = []
    async with watching(tmp_path, limits=Limits(connect_s=1.0, answer_s=0.6, total_s=0.6)) as loop:
        loop.old.slow_s = 0.02
        loop.checkout.append(b"".join(event(f"e{number}") for number in range(60)))
        while len(found) < 60:
            answer = await loop.look()
            if isinstance(answer.observation, Seen):
                found += [event.name for event in answer.observation.events]
            else:
                causes.append(unreachable(answer.observation).cause)
            assert len(causes) < 10

    assert found == [f"e{number}" for number in range(60)]
    assert set(causes) == {UnreachableCause.SERVICE_TIMED_OUT}


async def test_what_is_left_of_a_long_log_is_told(tmp_path: Path) -> None:
    line = event("e")
    async with watching(tmp_path) as loop:
        loop.checkout.append(line * (PAGE_FIRST + 44))
        first, second = seen((await loop.look()).observation), seen((await loop.look()).observation)

    assert (first.backlog_bytes, second.backlog_bytes) == (44 * len(line), 0)


async def test_a_line_without_newline_waits_until_it_is_whole(tmp_path: Path) -> None:
    """Such a service tells it all the same, and refuses the cursor behind it until the newline is there."""
    async with watching(tmp_path) as loop:
        loop.checkout.append(event("a") + event("b")[:-1])
        found = [await loop.names()]
        loop.checkout.append(b"\n" + event("c"))
        found.append(await loop.names())

    assert found == [["a"], ["b", "c"]]


async def test_a_log_that_shrank_is_read_from_its_start_in_a_new_epoch(tmp_path: Path) -> None:
    async with watching(tmp_path) as loop:
        loop.checkout.append(event("a") + event("b") + event("c"))
        await loop.look()
        loop.checkout.log.write_bytes(event("x"))
        found = seen((await loop.look()).observation)
        again = await loop.look()

    assert (found.change, found.stream and found.stream.epoch) == (StreamChange.TRUNCATED, 1)
    assert ([e.name for e in found.events], list(found.lines)) == (["x"], [1])
    assert again.observation is None


@pytest.mark.parametrize("names", ["abx", "abxd", "axc", "xyzuvw"])
async def test_another_log_of_the_same_length_or_longer_is_found_by_the_last_line_taken(
    tmp_path: Path, names: Sequence[str]
) -> None:
    async with watching(tmp_path) as loop:
        loop.checkout.append(event("a") + event("b") + event("c"))
        await loop.look()
        loop.checkout.log.write_bytes(b"".join(event(name) for name in names))
        found = seen((await loop.look()).observation)

    if names == "axc":  # the one that hides: its last line is the very same, and nobody looks at the others again
        assert (found.change, list(found.lines)) == (None, [])
        return
    assert (found.change, found.stream and found.stream.epoch) == (StreamChange.REPLACED, 1)
    assert [e.name for e in found.events] == list(names)


async def test_a_replay_starts_over_in_the_same_epoch(tmp_path: Path) -> None:
    async with watching(tmp_path) as loop:
        loop.checkout.append(event("a") + event("b"))
        await loop.look()
        answer = await loop.look(from_start=True)

    found = seen(answer.observation)
    assert (found.change, found.stream and found.stream.epoch) == (StreamChange.CURSOR_RESET, 0)
    assert [e.name for e in found.events] == ["a", "b"]


async def test_snapshots_alone_are_asked_for_where_events_are_off(tmp_path: Path) -> None:
    async with watching(tmp_path, events=False) as loop:
        loop.checkout.append(event("loop_start"))
        loop.checkout.runs()
        first = seen((await loop.look()).observation)
        still = await loop.look()
        loop.checkout.write("approval.json", {"status": "pending"})
        changed = seen((await loop.look()).observation)

    assert (first.line_offset, list(first.events), first.backlog_bytes) == (0, [], 0)
    assert first.artifacts.active_run.presence is Presence.PRESENT
    assert still.observation is None
    assert changed.artifacts.approval.presence is Presence.PRESENT
    assert [path for path in loop.asked() if path != "/ops/observe"] == ["/ops/snapshot"] * 3


async def test_a_newer_service_too_is_asked_for_snapshots_alone_where_events_are_off(tmp_path: Path) -> None:
    async with watching(tmp_path, events=False) as loop:
        loop.checkout.append(event("loop_start"))
        loop.old.headers = dict(NEWER)
        found = seen((await loop.look()).observation)

    assert (loop.asked(), list(found.events)) == (["/ops/snapshot"], [])


async def test_events_come_once_they_are_switched_on_although_nothing_else_has_changed(tmp_path: Path) -> None:
    async with watching(tmp_path, events=False) as loop:
        loop.checkout.append(event("loop_start"))
        await loop.look()
        loop.events = True
        found = seen((await loop.look()).observation)

    assert [e.name for e in found.events] == ["loop_start"]


async def test_a_line_that_such_a_service_cannot_read_keeps_nothing_before_it_from_coming(tmp_path: Path) -> None:
    async with watching(tmp_path) as loop:
        loop.checkout.append(event("a") + event("b") + b"no event\n" + event("d"))
        found: list[str] = []
        problems = set()
        for _ in range(8):
            answer = await loop.look()
            if isinstance(answer.observation, Seen):
                found += [event.name for event in answer.observation.events]
            elif answer.observation is not None:
                problems.add(unreachable(answer.observation).problem)

    assert found == ["a", "b"]
    assert problems == {f"{loop.peer.base_url} answered 502: invalid JSON event at line 3"}


def told(**members: object) -> Act:
    """A snapshot with some members changed; what is a dict is merged."""

    async def act(stream: Stream, asked: Asked) -> bool:
        if "/ops/observe" in asked.target:
            return await answers({"ok": False, "error": {"code": "not_found"}}, 404)(stream, asked)
        snapshot: dict[str, object] = {
            "schemaVersion": "v1",
            "envelopeType": "loop_run_snapshot",
            "source": {"repoPath": "/sprite", "loopId": LOOP},
            "run": {"summary": None},
            "runtime": {"superloopState": None, "activeRun": None, "approval": None},
            "artifacts": {},
            "cursor": {"eventLineOffset": 1, "eventLineCount": 1},
            "health": {},
        }
        page = {
            "ok": True,
            "events": [an_envelope()],
            "cursor": {"eventLineOffset": 1, "eventLineCount": 1},
        }
        which = page if "/ops/events" in asked.target else snapshot
        for name, value in members.items():
            if name in which:
                which[name] = value
        return await answers(which)(stream, asked)

    return act


def an_envelope(**members: object) -> dict[str, object]:
    return {
        "schemaVersion": "v1",
        "envelopeType": "loop_run_event",
        "source": {"repoPath": "/sprite", "loopId": LOOP},
        "sequence": {"value": 1},
        "cursor": {"eventLineOffset": 1, "eventLineCount": 1},
        "event": {"raw": {"timestamp": RUN, "event": "loop_start"}},
    } | members


async def look_at(act: Act) -> ServiceAnswer:
    async with listening(Peer(act)) as peer, services() as made:
        return await made.observe(Ask(a_loop(peer, attempts=3), None), known=None, wait_s=0)


async def test_the_smallest_answers_that_are_whole_will_do() -> None:
    found = seen((await look_at(told())).observation)

    assert ([e.name for e in found.events], list(found.lines)) == (["loop_start"], [1])


@pytest.mark.parametrize(
    ("code", "members"),
    [
        ("projection_failed", {"schemaVersion": "v2"}),
        ("projection_failed", {"envelopeType": "loop_run_event"}),
        ("projection_failed", {"source": {"repoPath": "/sprite", "loopId": "other"}}),
        ("projection_failed", {"source": "here"}),
        ("projection_failed", {"runtime": []}),
        ("projection_failed", {"cursor": {"eventLineOffset": 1, "eventLineCount": -1}}),
        ("projection_failed", {"artifacts": {"events": {"sizeBytes": "many"}}}),
        ("service_response_invalid", {"ok": False}),
        ("service_response_invalid", {"ok": None}),
        ("service_response_invalid", {"events": {}}),
        ("projection_failed", {"events": [1]}),
        ("projection_failed", {"events": [an_envelope(schemaVersion="v2")]}),
        ("projection_failed", {"events": [an_envelope(envelopeType="loop_run_snapshot")]}),
        ("projection_failed", {"events": [an_envelope(source={"repoPath": "/sprite", "loopId": "other"})]}),
        ("projection_failed", {"events": [an_envelope(source={"repoPath": "/elsewhere", "loopId": LOOP})]}),
        ("projection_failed", {"events": [an_envelope(sequence={"value": -1})]}),
        ("projection_failed", {"events": [an_envelope(sequence={"value": 0})]}),
        ("projection_failed", {"events": [an_envelope(), an_envelope()]}),
        ("projection_failed", {"events": [an_envelope(event={})]}),
        ("projection_failed", {"events": [an_envelope(event={"raw": "text"})]}),
        ("projection_failed", {"events": [an_envelope(event={"raw": {"event": "no_time"}})]}),
        ("projection_failed", {"events": [an_envelope(event={"raw": {"timestamp": RUN}})]}),
    ],
)
async def test_an_envelope_of_something_else_is_malformed(code: str, members: dict[str, object]) -> None:
    answer = await look_at(told(**members))

    found = malformed(answer.observation)
    assert found.failure_code == code
    assert found.evidence
    assert answer.digest is None


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"schemaVersion":"v1\xff"}', b"[" * 100_000, b"[]"])
async def test_what_is_no_json_is_malformed_too(body: bytes) -> None:
    async def act(stream: Stream, asked: Asked) -> bool:
        status, said = (404, {"error": {"code": "not_found"}}) if asked.method == "POST" else (200, body)
        return await answers(said, status)(stream, asked)

    found = malformed((await look_at(act)).observation)

    assert found.failure_code == ("projection_failed" if body == b"[]" else "service_response_invalid")


async def test_artifacts_that_are_no_objects_are_unreadable_like_files() -> None:
    runtime = {"superloopState": [1], "activeRun": None, "approval": "pending", "heartbeat": 7}
    found = seen((await look_at(told(runtime=runtime))).observation)

    presences = [getattr(found.artifacts, name).presence for name in ("state", "active_run", "approval", "heartbeat")]
    assert presences == [Presence.UNREADABLE, Presence.ABSENT, Presence.UNREADABLE, Presence.UNREADABLE]


async def test_a_loop_that_the_service_does_not_have_is_unreachable(tmp_path: Path) -> None:
    async with watching(tmp_path) as loop:
        answer = await loop.look()

    found = unreachable(answer.observation)
    assert (found.cause, found.failure_code) == (UnreachableCause.SERVICE_REQUEST_FAILED, "service_request_failed")
    assert "required artifact missing" in found.problem


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["append", "blank", "tear", "mend", "cut", "rewrite", "look", "restart"]), st.integers(1, 9)
    ),
    max_size=25,
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_whatever_happens_to_a_log_every_line_of_it_is_taken_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    """In the newest epoch what was taken is the log itself, in order."""
    anyio.run(_history, tmp_path_factory.mktemp("history"), steps)


async def _history(root: Path, steps: list[Step]) -> None:
    taken: list[tuple[int, str]] = []
    epoch = 0
    torn = b""
    number = 0
    async with watching(root) as loop:
        log = loop.checkout.log
        log.touch()

        async def look() -> bool:
            nonlocal epoch
            observation = (await loop.look()).observation
            if observation is None:
                return False
            found = seen(observation)
            assert found.stream is not None
            if found.stream.epoch != epoch:
                taken.clear()
                epoch = found.stream.epoch
            taken.extend(zip(found.lines, (e.name for e in found.events), strict=True))
            return found.backlog_bytes > 0

        for step, count in [*steps, ("mend", 1), ("look", 1)]:
            if step in ("append", "rewrite"):
                names = [f"e{number + index}" for index in range(count)]
                number += count
                data = b"".join(event(name) for name in names)
                if step == "append" and not torn:
                    loop.checkout.append(data)
                elif step == "rewrite":
                    torn = b""
                    log.write_bytes(data)
            elif step == "blank" and not torn:
                loop.checkout.append(b"\n" * count)
            elif step == "tear" and not torn:
                number += 1
                whole = event(f"e{number - 1}")
                torn = whole[-1:]  # the whole event, but for its newline
                loop.checkout.append(whole[:-1])
            elif step == "mend" and torn:
                loop.checkout.append(torn)
                torn = b""
            elif step == "cut":
                lines = log.read_bytes().splitlines(keepends=True)
                torn = b""
                log.write_bytes(b"".join(lines[: len(lines) // 2]))
            elif step == "look":
                await look()
            elif step == "restart":
                loop.made.forget(a_loop(loop.peer))
                loop.digest = None
        while await look():
            pass
        lines = log.read_bytes().split(b"\n")
        expected = [(index, msgspec.json.decode(raw)["event"]) for index, raw in enumerate(lines, 1) if raw.strip()]

    assert taken == expected
