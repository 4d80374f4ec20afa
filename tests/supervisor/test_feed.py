from collections import Counter
from collections.abc import AsyncIterator, Sequence

import anyio
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from opsd.model.health import Ages, HealthStatus
from opsd.model.ids import LoopId
from opsd.model.intent import Actor, Intent, IntentKind, IntentStatus
from opsd.model.lifecycle import Lifecycle, Phase
from opsd.protocol import FeedItem, LoopSummary, Progress
from opsd.supervisor.feed import QUIET_S, Feed
from tests.doubles.clock import EPOCH, VirtualClock, settle

A, B, C = LoopId("a"), LoopId("b"), LoopId("c")


class Row(msgspec.Struct):
    loop_id: str
    n: int


def an_intent(loop_id: LoopId, status: IntentStatus) -> Intent:
    return Intent(
        id="i1",
        loop_id=loop_id,
        intent=IntentKind.CANCEL,
        status=status,
        recorded_at=EPOCH,
        updated_at=EPOCH,
        expires_at=EPOCH,
        requested_by="riya",
        actor=Actor(1000, "riya", 77),
        trace_id="t1",
        idempotency_key="k1",
        fingerprint="f1",
        ordinal=1,
        schema_version="v1",
    )


class Loops:
    """A fleet whose loops are a revision each."""

    def __init__(self) -> None:
        self.revisions: dict[LoopId, int] = {}

    def loop_ids(self) -> Sequence[LoopId]:
        return list(self.revisions)

    def summary(self, loop_id: LoopId) -> LoopSummary | None:
        if loop_id not in self.revisions:
            return None
        return LoopSummary(
            loop_id=loop_id,
            repo_path="/repo",
            transport="local",
            lifecycle=Lifecycle.RUNNING,
            phase=Phase.RUNNING,
            basis="",
            health=HealthStatus.HEALTHY,
            overall_status=HealthStatus.HEALTHY,
            reason_codes=(),
            findings=(),
            needs_human=False,
            progress=Progress(run_id="r"),
            ages=Ages(),
            revision=self.revisions[loop_id],
        )


class Scene:
    def __init__(self, *loop_ids: LoopId, held: int = 64) -> None:
        self.clock = VirtualClock()
        self.loops = Loops()
        self.counts: Counter[LoopId] = Counter()
        self.feed = Feed("start-1", self.loops, self.clock, held=held)
        for loop_id in loop_ids:
            self.change(loop_id)

    def change(self, loop_id: LoopId) -> None:
        # Goes on where it was when a loop comes back: `Reader` wants to see that time never runs backwards.
        self.counts[loop_id] += 1
        self.loops.revisions[loop_id] = self.counts[loop_id]
        self.feed.changed(loop_id)

    def remove(self, loop_id: LoopId) -> None:
        del self.loops.revisions[loop_id]
        self.feed.removed(loop_id)


class Reader:
    """Somebody at the other end of the stream, who remembers what a client would."""

    def __init__(self, feed: Feed, *, loops: frozenset[str] | None = None, resume: "Reader | None" = None) -> None:
        self._pieces: AsyncIterator[bytes] = feed.subscribe(
            resume.start_id if resume else None, resume.seq if resume else None, loops
        )
        self.start_id: str | None = resume.start_id if resume else None
        self.seq: int = resume.seq if resume else 0
        self.revisions: dict[str, int] = dict(resume.revisions) if resume else {}
        self.kinds: list[str] = []

    async def read(self) -> list[FeedItem]:
        """The next piece, as far as there is one without waiting for news."""
        items = msgspec.json.decode(
            b"[" + b",".join((await anext(self._pieces)).splitlines()) + b"]", type=list[FeedItem]
        )
        for item in items:
            assert item.seq == 0 or item.seq >= self.seq, "positions went backwards"
            self.start_id, self.seq = item.start_id, item.seq or self.seq
            self.kinds.append(item.kind)
            if item.kind in ("hello", "lost"):
                self.revisions = {}
            if item.loop is not None:
                assert item.loop.revision >= self.revisions.get(item.loop.loop_id, 0), "an older picture came later"
                self.revisions[item.loop.loop_id] = item.loop.revision
            if item.removed is not None:
                self.revisions.pop(item.removed, None)
        return items

    async def catch_up(self) -> None:
        """Read until the picture is complete."""
        while "live" not in self.kinds[self._picture_at() :]:
            await self.read()

    def _picture_at(self) -> int:
        return max((at for at, kind in enumerate(self.kinds) if kind in ("hello", "lost")), default=0)

    async def close(self) -> None:
        await self._pieces.aclose()  # type: ignore[attr-defined]  # an async generator behind the iterator


async def test_a_reader_gets_the_picture_then_each_change() -> None:
    scene = Scene(A, B)
    reader = Reader(scene.feed)
    await reader.catch_up()
    assert reader.kinds == ["hello", "loop", "loop", "live"]

    scene.change(B)
    await reader.read()

    assert reader.kinds[4:] == ["loop"]
    assert reader.revisions == {"a": 1, "b": 2}
    await reader.close()


async def test_a_reader_that_resumes_gets_only_what_it_missed() -> None:
    scene = Scene(A, B, C)
    first = Reader(scene.feed)
    await first.catch_up()
    await first.close()
    scene.change(B)
    scene.remove(C)

    second = Reader(scene.feed, resume=first)
    await second.read()

    assert second.kinds == ["loop", "removed"]
    assert second.revisions == {"a": 1, "b": 2}
    await second.close()


async def test_a_reader_of_an_earlier_start_gets_a_new_picture() -> None:
    """After a restart of the daemon positions mean nothing, and the client must forget what it believed."""
    scene = Scene(A)
    old = Reader(scene.feed)
    await old.catch_up()
    old.start_id = "start-0"

    reader = Reader(scene.feed, resume=old)
    await reader.read()

    assert reader.kinds == ["hello"]
    await old.close()
    await reader.close()


async def test_a_position_no_longer_held_is_answered_with_what_was_lost_and_a_new_picture() -> None:
    scene = Scene(A, held=8)
    old = Reader(scene.feed)
    await old.catch_up()
    for _ in range(20):
        scene.change(A)

    reader = Reader(scene.feed, resume=old)
    (item,) = await reader.read()
    await reader.catch_up()

    assert item.kind == "lost"
    assert item.lost == 12  # changes 2 to 13 of 21; eight are held
    assert reader.kinds == ["lost", "loop", "live"]
    await old.close()
    await reader.close()


async def test_a_reader_who_was_cut_off_within_the_picture_starts_over() -> None:
    """Its last position would otherwise hide from it every loop that it was not shown yet."""
    scene = Scene(A, B)
    cut_off = Reader(scene.feed)
    await cut_off.read()
    await cut_off.close()

    reader = Reader(scene.feed, resume=cut_off)
    await reader.catch_up()

    assert reader.kinds == ["hello", "loop", "loop", "live"]
    await reader.close()


async def test_a_reader_who_does_not_read_costs_nothing_and_is_told_what_it_lost() -> None:
    scene = Scene(A, B, held=16)
    slow = Reader(scene.feed)
    await slow.catch_up()
    for _ in range(1_000):
        scene.change(A)

    await slow.read()
    await slow.catch_up()

    assert slow.kinds == ["hello", "loop", "loop", "live", "lost", "loop", "loop", "live"]
    assert slow.revisions == {"a": 1_001, "b": 1}
    await slow.close()


async def test_a_lagging_reader_sees_each_loop_once_as_it_is_now() -> None:
    scene = Scene(A, B)
    reader = Reader(scene.feed)
    await reader.catch_up()
    for _ in range(10):
        scene.change(A)
        scene.change(B)

    items = await reader.read()

    assert [(item.kind, item.seq) for item in items] == [("loop", 21), ("loop", 22)]
    assert reader.revisions == {"a": 11, "b": 11}
    await reader.close()


async def test_escalations_are_never_merged() -> None:
    scene = Scene(A)
    reader = Reader(scene.feed)
    await reader.catch_up()
    for n in range(3):
        scene.feed.escalated(A, Row("a", n))

    items = await reader.read()

    assert [msgspec.json.encode(item.escalation) for item in items] == [b'{"loop_id":"a","n":%d}' % n for n in range(3)]
    await reader.close()


async def test_each_step_of_an_intent_is_a_line_between_the_changes_around_it() -> None:
    """Whoever follows an intent must see it executed, even where it is confirmed by the time he reads."""
    scene = Scene(A, B)
    reader, other = Reader(scene.feed), Reader(scene.feed, loops=frozenset({"b"}))
    await reader.catch_up()
    await other.catch_up()
    steps = (IntentStatus.RECORDED, IntentStatus.EXECUTING, IntentStatus.EXECUTED, IntentStatus.CONFIRMED)
    for status in steps:
        scene.feed.intent(A, an_intent(A, status))
        scene.change(A)
    scene.feed.intent(B, an_intent(B, IntentStatus.REFUSED))

    items, others = await reader.read(), await other.read()

    assert [(item.intent.loop_id, item.intent.status) if item.intent else item.kind for item in items] == [
        *((A, status) for status in steps),
        "loop",
        (B, IntentStatus.REFUSED),
    ]
    assert [item.kind for item in items if item.intent] == ["intent"] * 5
    assert [item.intent.loop_id for item in others if item.intent] == [B]
    await reader.close()
    await other.close()


async def test_a_reader_of_one_loop_hears_of_that_loop_only() -> None:
    scene = Scene(A, B)
    reader = Reader(scene.feed, loops=frozenset({"b"}))
    await reader.catch_up()
    scene.change(A)
    scene.feed.escalated(A, Row("a", 1))
    scene.change(B)

    await reader.read()

    assert reader.kinds == ["hello", "loop", "live", "loop"]
    assert reader.revisions == {"b": 2}
    await reader.close()


async def test_quiet_is_broken_by_a_beat_that_carries_the_position() -> None:
    scene = Scene(A, B)
    reader = Reader(scene.feed, loops=frozenset({"b"}))
    await reader.catch_up()
    scene.change(A)
    scene.clock.pass_by(QUIET_S)
    scene.feed.tick()

    await reader.read()

    assert reader.kinds[-1] == "beat"
    assert reader.seq == scene.feed.seq
    await reader.close()


async def test_the_stop_says_goodbye_after_the_last_change() -> None:
    scene = Scene(A)
    reader = Reader(scene.feed)
    await reader.catch_up()
    scene.change(A)
    scene.feed.close()

    await reader.read()
    await reader.read()

    assert reader.kinds[-2:] == ["loop", "bye"]
    assert await anext(reader._pieces, None) is None


async def test_nothing_is_encoded_while_nobody_watches_and_once_however_many_do() -> None:
    scene = Scene(A)
    for _ in range(100):
        scene.change(A)
    assert scene.feed.lines_encoded == 0
    readers = [Reader(scene.feed) for _ in range(5)]
    for reader in readers:
        await reader.catch_up()
    before = scene.feed.lines_encoded

    scene.change(A)
    for reader in readers:
        await reader.read()

    assert scene.feed.lines_encoded - before == 1
    for reader in readers:
        await reader.close()
    assert scene.feed.readers == 0


async def test_a_waiting_reader_is_woken_by_a_change() -> None:
    scene = Scene(A)
    reader = Reader(scene.feed)
    await reader.catch_up()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader.read)
        await settle()
        assert reader.revisions == {"a": 1}
        scene.change(A)
        await settle()
        assert reader.revisions == {"a": 2}
    await reader.close()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.sampled_from([A, B, C])),
        st.tuples(st.just("remove"), st.sampled_from([A, B, C])),
        st.tuples(st.just("read"), st.just(A)),
        st.tuples(st.just("reconnect"), st.just(A)),
    ),
    max_size=80,
)


@given(steps=STEPS, held=st.integers(2, 12))
@settings(deadline=None)
async def test_whoever_catches_up_has_the_true_picture(steps: list[tuple[str, LoopId]], held: int) -> None:
    """At any pace, through any number of reconnections, and with positions going backwards never (see `Reader`)."""
    scene = Scene(A, held=held)
    reader = Reader(scene.feed)
    await reader.read()
    for act, loop_id in steps:
        if act == "change":
            scene.change(loop_id)
        elif act == "remove" and loop_id in scene.loops.revisions:
            scene.remove(loop_id)
        elif act == "read" and reader.seq < scene.feed.seq:
            await reader.read()
        elif act == "reconnect":
            await reader.close()
            reader = Reader(scene.feed, resume=reader)
    scene.change(B)
    while reader.seq < scene.feed.seq:
        await reader.read()
    await reader.close()

    assert reader.revisions == scene.loops.revisions
