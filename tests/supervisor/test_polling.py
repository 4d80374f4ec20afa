"""Loops behind services: asked at their own pace, judged as if they were near, never woken without need."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from opsd.model.ids import LoopId
from opsd.model.lifecycle import Lifecycle
from opsd.model.observation import UnreachableCause
from opsd.model.run import Run
from tests.doubles.clock import VirtualClock
from tests.doubles.services import COMPLETES, RUNS, Sprite, StandInServices
from tests.supervisor.world import World, supervised


class Post(World):
    """A world whose loops are all behind services."""

    def __init__(self, *, features: tuple[str, ...] | None = None) -> None:
        clock = VirtualClock()
        given = {} if features is None else {"features": features}
        self.services = StandInServices(clock, **given)
        super().__init__(clock=clock, services=self.services)

    def sprite(self, loop_id: str) -> Sprite:
        return self.services.sprite(loop_id)

    def seen(self, loop_id: str) -> Run:
        run = self.fleet.run(LoopId(loop_id))
        assert run is not None
        return run

    def lifecycle(self, loop_id: str) -> Lifecycle:
        projection = self.seen(loop_id).projection
        assert projection is not None
        return projection.transition.current_state

    def codes_of(self, loop_id: str) -> list[str]:
        health = self.seen(loop_id).health
        return [finding.code for finding in health.findings] if health is not None else []


@asynccontextmanager
async def posted(post: Post, *loop_ids: str) -> AsyncIterator[Post]:
    entries = [
        {
            "loopId": loop_id,
            "transport": "sprite_service",
            "service": {"baseUrl": f"http://{loop_id}:8787", "tokenEnv": "TOKEN"},
        }
        for loop_id in loop_ids
    ]
    async with supervised(post, *entries):
        await post.clock.advance(3.0)
        yield post


async def test_a_run_behind_a_service_is_seen_as_it_is() -> None:
    post = Post()
    post.sprite("a").log(*RUNS)

    async with posted(post, "a"):
        assert post.lifecycle("a") is Lifecycle.RUNNING
        assert post.seen("a").fold.event_count == len(RUNS)


async def test_what_a_run_logs_is_seen_at_once_while_the_service_holds_its_answers_back() -> None:
    post = Post()
    post.sprite("a").log(*RUNS)

    async with posted(post, "a"):
        post.sprite("a").log("role_end", "loop_complete")
        await post.clock.advance(0.1)

        assert post.lifecycle("a") is Lifecycle.COMPLETE


async def test_an_old_service_is_polled_at_the_fast_pace() -> None:
    post = Post(features=())
    post.sprite("a").log(*RUNS)

    async with posted(post, "a"):
        before = len(post.services.asked)
        await post.clock.advance(20.0)

        assert 6 <= len(post.services.asked) - before <= 14
        assert all(asked.wait_s == 0 for asked in post.services.asked)


async def test_a_silent_run_is_called_stale_only_after_its_service_was_asked() -> None:
    post = Post()
    post.sprite("a").log(*RUNS)

    async with posted(post, "a"):
        await post.clock.advance(302.0)

        assert "ingest_stale" in post.codes_of("a")
        silent_since = post.seen("a").fold.last
        assert silent_since is not None
        assert silent_since.at is not None
        assert (post.services.asked[-1].at - silent_since.at).total_seconds() > 300


async def test_a_fleet_does_not_ask_in_step() -> None:
    post = Post()
    loop_ids = [f"loop-{number}" for number in range(40)]
    for loop_id in loop_ids:
        post.sprite(loop_id).log(*COMPLETES)

    async with posted(post, *loop_ids):
        await post.clock.advance(1_000.0)
        began = post.services.asked[0].at
        seconds = [int(late_s) for asked in post.services.asked if (late_s := (asked.at - began).total_seconds()) > 60]

        assert max(seconds.count(second) for second in set(seconds)) < len(loop_ids) / 4


async def test_an_outage_counts_each_failure_once_and_ends_with_the_first_answer() -> None:
    post = Post()
    post.sprite("a").log(*RUNS)

    async with posted(post, "a"):
        post.sprite("a").fails()
        post.sprite("a").touch()
        await post.clock.advance(60.0)
        failed = post.seen("a").transport_health
        assert failed is not None
        assert failed.failure_streak == sum(asked.at > failed.failing_since for asked in post.services.asked) + 1  # type: ignore[operator]  # set by the first failure
        assert "transport_unreachable" in post.codes_of("a")

        post.sprite("a").trouble = None
        post.sprite("a").log("role_end")
        await post.clock.advance(310.0)

        assert "transport_unreachable" not in post.codes_of("a")
        assert post.seen("a").fold.event_count == len(RUNS) + 1


async def test_a_service_in_trouble_is_asked_ever_more_rarely() -> None:
    post = Post()
    post.sprite("a").fails(UnreachableCause.SERVICE_TIMED_OUT)

    async with posted(post, "a"):
        await post.clock.advance(1_500.0)
        assert len(post.services.asked) < 25
        reach = post.seen("a").reach
        assert reach is not None
        assert reach.resting_until is not None
        assert reach.budget_spent


async def test_an_operator_who_asks_is_not_told_what_was_seen_before() -> None:
    post = Post()
    post.sprite("a").log(*COMPLETES)

    async with posted(post, "a"):
        await post.clock.advance(60.0)
        post.sprite("a").log(*RUNS)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(post.clock.advance, 1.0)
            reply = await post.fleet.reconcile(LoopId("a"), from_start=False)

        assert reply.status.summary.lifecycle is Lifecycle.RUNNING


async def test_an_operator_who_asks_ends_a_wait_for_news() -> None:
    post = Post()
    post.sprite("a").log(*RUNS)

    async with posted(post, "a"):
        held_back = post.services.asked[-1]
        assert held_back.wait_s > 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(post.clock.advance, 1.0)
            await post.fleet.reconcile(LoopId("a"), from_start=False)

        assert any(asked.at >= held_back.at and asked.wait_s == 0 for asked in post.services.asked)


async def test_a_replay_reads_the_log_from_its_start_and_counts_nothing_twice() -> None:
    post = Post()
    post.sprite("a").log(*RUNS)

    async with posted(post, "a"):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(post.clock.advance, 2.0)
            reply = await post.fleet.reconcile(LoopId("a"), from_start=True)

        assert reply.events_ingested == len(RUNS)
        assert post.seen("a").fold.event_count == len(RUNS)


async def test_a_deadline_judges_anew_and_wakes_nobody() -> None:
    """A running loop's telemetry sample falls due every minute."""
    post = Post()
    post.sprite("a").log(*RUNS)

    async with posted(post, "a"):
        await post.clock.advance(100.0)
        asked = len(post.services.asked)
        passes = post.fleet.metrics()["opsd_passes_total"]
        await post.clock.advance(80.0)

        assert post.fleet.metrics()["opsd_passes_total"] > passes  # type: ignore[operator]  # a plain number
        assert len(post.services.asked) - asked <= 4


async def test_a_service_that_says_that_a_loop_never_ran_has_answered_well() -> None:
    post = Post()
    post.sprite("a").fails(UnreachableCause.ARTIFACTS_MISSING)

    async with posted(post, "a"):
        await post.clock.advance(120.0)

        reach = post.seen("a").reach
        assert reach is not None
        assert (reach.failures, reach.budget_spent, reach.resting_until) == (0, False, None)
        assert len(post.services.asked) <= 3
