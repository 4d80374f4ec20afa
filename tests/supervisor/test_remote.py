"""Intents of loops behind services: asked for there, followed to their end, done once whatever is lost on the way."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsd.app.desk import DeskError
from opsd.model.effects import Journal
from opsd.model.ids import LoopId
from opsd.model.intent import Fence, Intent, IntentKind, IntentStatus, Stage
from opsd.model.mode import Mode
from opsd.model.runtime import Approval
from opsd.protocol import AckRequest, IntentRequest, ModeRequest, Submitted, WaitFor
from tests.doubles.clock import VirtualClock, settle
from tests.doubles.files import MemoryFiles
from tests.doubles.services import RUN, RUNS, StandInServices
from tests.doubles.sprite_desks import FAULTS, SENT_AND_SILENT, SpriteDesk
from tests.supervisor.office import RIYA, SAM
from tests.supervisor.world import HOME, World, supervised

T = TypeVar("T")

AT, OLD_AT = "POST http://a:8787/ops/intents", "POST http://a:8787/ops/control"
ASKING = Approval(status="pending", run_id=RUN, iteration=1, requested_at=RUN, digest="d" * 64)
LONG_S = 900.0


class Post:
    """Operators at the desk of a manager whose loop `a` is behind a service."""

    def __init__(self, *, features: tuple[str, ...] | None = None) -> None:
        self.clock = VirtualClock()
        given = {} if features is None else {"features": features}
        self.services = StandInServices(self.clock, **given)
        self.disk = MemoryFiles(f"{HOME}/.superloop/ops-manager/fleet")
        self.world = self._world()
        self.services.sprite("a").log(*RUNS)

    def _world(self) -> World:
        return World(clock=self.clock, disk=self.disk, services=self.services)

    @property
    def inside(self) -> SpriteDesk:
        return self.services.desk("a")

    @property
    def effects(self) -> int:
        return sum(self.inside.effects.values())

    def asks(self, **members: Any) -> None:
        """The run has ended and asks for an approval."""
        sprite = self.services.sprite("a")
        sprite.log("approval_requested")
        sprite.alive, sprite.approval = False, Approval(**{**_members(ASKING), **members})
        sprite.touch()

    @asynccontextmanager
    async def opens(self, *, again: bool = False) -> AsyncIterator["Post"]:
        """opsd runs while the block lasts; `again`: its next start, on the same disk."""
        if again:
            self.world = self._world()
        service = {"baseUrl": "http://a:8787", "tokenEnv": "TOKEN"}
        async with supervised(self.world, {"loopId": "a", "transport": "sprite_service", "service": service}):
            await self.clock.advance(3.0)
            yield self

    async def ask(self, kind: str = "cancel", **members: Any) -> Submitted:
        request = IntentRequest(IntentKind(kind), by=members.pop("by", "riya"), **members)
        return await self.meanwhile(lambda: self.world.desk.submit(LoopId("a"), request, RIYA))

    async def settled(self, kind: str = "cancel", **members: Any) -> Intent:
        return await self.end_of((await self.ask(kind, **members)).intent)

    async def end_of(self, intent: Intent) -> Intent:
        if intent.status in (IntentStatus.REFUSED, IntentStatus.EXPIRED):
            return intent
        found = await self.meanwhile(lambda: self.world.desk.wait(intent.id, WaitFor.SETTLED, 1e9))
        assert found is not None
        return found

    def now(self, intent: Intent) -> Intent:
        found = self.world.desk.intent(intent.id)
        assert found is not None
        return found

    async def meanwhile(self, work: Callable[[], Awaitable[T]]) -> T:
        results: list[T] = []
        errors: list[DeskError] = []

        async def run() -> None:
            try:
                results.append(await work())
            except DeskError as error:
                errors.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await settle()
            end_s = self.clock.monotonic() + LONG_S
            while not results and not errors and self.clock.monotonic() < end_s:
                await self.clock.advance(0.1 if self.clock.monotonic() < end_s - LONG_S + 30 else 2.0)
            tasks.cancel_scope.cancel()
        for error in errors:
            raise error
        assert results, f"nothing came of it within {LONG_S:g} s"
        return results[0]

    def rows(self, journal: Journal) -> list[dict[str, Any]]:
        path = self.world.layout.journal(LoopId("a"), journal)
        if self.disk.stat(path) is None:
            return []
        return [json.loads(line) for line in self.disk.read(path, 0, 1 << 30)[1].splitlines()]

    def steps(self) -> list[str]:
        return [row["status"] for row in self.rows(Journal.INTENT_LOG)]


@asynccontextmanager
async def opened(*, features: tuple[str, ...] | None = None) -> AsyncIterator[Post]:
    async with Post(features=features).opens() as post:
        yield post


def _members(approval: Approval) -> dict[str, Any]:
    return {name: getattr(approval, name) for name in approval.__struct_fields__}


def code(intent: Intent) -> str | None:
    return intent.refusal.code if intent.refusal is not None else None


def problem(intent: Intent) -> str | None:
    return intent.execution.problem if intent.execution is not None else None


# All is well


async def test_an_intent_is_done_in_the_sprite_and_confirmed_by_its_evidence() -> None:
    async with opened() as post:
        done = await post.settled("cancel", note="enough", trace_id="t-1", timeout_s=20.0)

        assert done.status is IntentStatus.CONFIRMED
        assert post.steps() == ["recorded", "executing", "executed", "confirmed"]
        assert post.effects == 1
        asked = post.inside.requests[0]
        assert isinstance(asked, IntentRequest)
        assert (asked.idempotency_key, asked.by, asked.note, asked.trace_id, asked.timeout_s) == (
            done.id,
            "riya",
            "enough",
            "t-1",
            20.0,
        )
        assert done.confirmation is not None
        assert [one.where for one in done.confirmation.evidence] == ["sprite:state.json"]


async def test_the_three_files_tell_of_the_request_and_of_the_transport() -> None:
    async with opened() as post:
        await post.settled("cancel")
        intents, control = post.rows(Journal.INTENTS), post.rows(Journal.CONTROL)
        invocation = post.rows(Journal.INVOCATIONS)[0]

        assert [(row["status"], row["transport"], row["command"]) for row in intents] == [
            ("confirmed", "sprite_service", AT)
        ]
        assert [row["transport"] for row in control] == ["sprite_service"]
        assert invocation["execution"] == {
            "status": "succeeded",
            "exitCode": 0,
            "command": AT,
            "replayed": False,
            "output": "done",
        }


async def test_who_named_no_fence_acts_on_what_the_manager_saw() -> None:
    """The request may be long on its way, and by then another run may have begun."""
    async with opened() as post:
        await post.settled("cancel")
        post.asks()
        await post.clock.advance(3.0)
        await post.settled("approve")
        cancelled, approved = post.inside.requests

        assert isinstance(cancelled, IntentRequest)
        assert cancelled.expect == Fence(run_id=RUN)
        assert isinstance(approved, IntentRequest)
        assert approved.expect == Fence(candidate="d" * 64)


@pytest.mark.parametrize(
    "ends", [IntentStatus.CONFIRMED, IntentStatus.AMBIGUOUS, IntentStatus.FAILED_COMMAND, "executed_unconfirmed"]
)
async def test_an_intent_comes_to_what_it_came_to_in_the_sprite(ends: str) -> None:
    async with opened() as post:
        post.inside.ends = IntentStatus(ends)
        done = await post.settled("cancel", confirm=ends != "executed_unconfirmed")

        assert done.status == ends
        assert post.steps()[-1] == ends


async def test_what_the_sprite_refuses_after_a_closer_look_is_refused_here() -> None:
    async with opened() as post:
        post.inside.refuses = "neighbour_active"
        done = await post.settled("cancel")

        assert (done.status, code(done), done.execution) == (IntentStatus.REFUSED, "neighbour_active", None)
        assert post.rows(Journal.INTENTS) == []
        assert post.effects == 0


async def test_an_intent_that_takes_long_there_is_followed_for_as_long() -> None:
    async with opened() as post:
        post.inside.takes_s = 200.0
        done = await post.settled("cancel", timeout_s=30.0)

        assert done.status is IntentStatus.CONFIRMED


async def test_the_stage_of_a_decision_is_read_from_the_log_as_of_any_loop() -> None:
    async with opened() as post:
        post.asks()
        await post.clock.advance(3.0)
        done = await post.settled("approve")
        assert (done.status, done.stage) == (IntentStatus.CONFIRMED, Stage.RECORDED)

        post.services.sprite("a").log("loop_start", "approval_consumed", "loop_complete")
        await post.clock.advance(1_000.0)

        assert post.now(done).stage is Stage.COMPLETED


# Not taken in


async def test_observe_mode_of_the_manager_sends_nothing() -> None:
    async with opened() as post:
        request = ModeRequest(Mode.OBSERVE, by="riya")
        await post.meanwhile(lambda: post.world.desk.set_mode(request, RIYA))
        done = await post.settled("cancel")

        assert code(done) == "observe_mode"
        assert post.inside.requests == []


@pytest.mark.parametrize(
    ("kind", "members", "refused"),
    [
        ("cancel", {"expect": Fence(run_id="2020-01-01T00:00:00Z")}, "fence_mismatch"),
        ("approve", {}, "nothing_to_approve"),
    ],
)
async def test_what_the_manager_itself_can_see_is_not_asked_of_the_sprite(
    kind: str, members: dict[str, Any], refused: str
) -> None:
    async with opened() as post:
        done = await post.settled(kind, **members)

        assert code(done) == refused
        assert post.inside.requests == []


async def test_of_a_loop_whose_service_does_not_answer_nothing_is_asked() -> None:
    async with opened() as post:
        post.services.sprite("a").fails()
        done = await post.settled("cancel")

        assert code(done) == "picture_incomplete"
        assert post.inside.requests == []


async def test_a_second_intent_waits_until_the_first_is_over() -> None:
    async with opened() as post:
        post.inside.takes_s = 60.0
        first = (await post.ask("cancel")).intent
        second = await post.ask("pause", by="sam")

        assert code(second.intent) == "intent_in_flight"
        assert (await post.end_of(first)).status is IntentStatus.CONFIRMED


async def test_a_dry_run_names_the_request_and_sends_none() -> None:
    async with opened() as post:
        answer = await post.ask("cancel", dry_run=True)

        assert answer.would == (AT,)
        assert (post.inside.requests, post.steps()) == ([], [])


# Trouble on the way


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_happens_to_the_first_request_it_is_done_once_and_confirmed(fault: str) -> None:
    async with opened() as post:
        post.services.faults.append(fault)
        done = await post.settled("cancel")

        assert done.status is IntentStatus.CONFIRMED
        assert dict(post.inside.effects) == {done.id: 1}


async def test_an_answer_that_was_lost_is_told_as_replayed_the_next_time() -> None:
    async with opened() as post:
        post.services.faults.append("answer lost")
        done = await post.settled("cancel")

        assert done.execution is not None
        assert done.execution.replayed
        assert post.rows(Journal.INVOCATIONS)[0]["execution"]["replayed"] is True


async def test_a_service_that_is_never_reached_leaves_a_failed_command_behind_which_surely_did_nothing() -> None:
    async with opened() as post:
        post.services.faults.extend(["refused"] * 1_000)
        done = await post.settled("cancel", timeout_s=20.0)

        assert (done.status, problem(done)) == (IntentStatus.FAILED_COMMAND, "service_unreached")
        assert post.effects == 0
        assert post.rows(Journal.INTENTS)[0]["exitCode"] == 1


async def test_a_service_that_does_not_take_the_request_is_not_asked_twice() -> None:
    async with opened() as post:
        post.services.faults.extend(["unauthorized"] * 10)
        done = await post.settled("cancel")

        assert (done.status, problem(done)) == (IntentStatus.FAILED_COMMAND, "service_refused")
        assert len(post.services.faults) == 9
        assert done.execution is not None
        assert "does not accept the token" in done.execution.output


async def test_without_any_answer_the_outcome_is_open_until_the_sprites_record_settles_it() -> None:
    async with opened() as post:
        post.services.faults.append("answer lost")
        intent = (await post.ask("cancel", timeout_s=20.0)).intent
        post.services.cut = True
        open_ = await post.end_of(intent)
        assert open_.status is IntentStatus.AMBIGUOUS
        assert open_.confirmation is not None
        assert open_.confirmation.missing is not None
        assert "does not say what became of it" in open_.confirmation.missing

        post.services.cut = False
        post.services.sprite("a").touch()
        await post.clock.advance(60.0)

        assert post.now(intent).status is IntentStatus.CONFIRMED
        assert [row["status"] for row in post.rows(Journal.INTENTS)] == ["ambiguous", "confirmed"]
        assert post.effects == 1


async def test_a_sprite_that_has_no_record_of_it_leaves_it_open() -> None:
    """It may be another sprite than the one that was asked."""
    async with opened() as post:
        post.services.faults.append("answer lost")
        intent = (await post.ask("cancel", timeout_s=5.0)).intent
        post.services.cut = True
        await post.end_of(intent)
        post.inside.loses_all()
        post.services.cut = False
        post.services.sprite("a").touch()
        await post.clock.advance(60.0)

        assert post.now(intent).status is IntentStatus.AMBIGUOUS
        assert len(post.inside.requests) == 1


async def test_what_is_ambiguous_in_the_sprite_settles_when_it_settles_there() -> None:
    async with opened() as post:
        post.inside.ends = IntentStatus.AMBIGUOUS
        open_ = await post.settled("cancel")
        await post.clock.advance(30.0)
        assert post.now(open_).status is IntentStatus.AMBIGUOUS

        post.inside.finds_evidence(open_.id)
        post.services.sprite("a").touch()
        await post.clock.advance(60.0)

        assert post.now(open_).status is IntentStatus.CONFIRMED


async def test_a_word_that_settles_it_in_the_sprite_settles_it_here() -> None:
    async with opened() as post:
        post.inside.ends = IntentStatus.AMBIGUOUS
        open_ = await post.settled("cancel")
        theirs = post.inside.named(open_.id)
        assert theirs is not None
        post.inside.is_settled_by_word(theirs, "noor", "seen there")
        post.services.sprite("a").touch()
        await post.clock.advance(60.0)
        word = post.now(open_).acknowledged

        assert word is not None
        assert (word.by, word.reason) == ("noor", "seen there")


@pytest.mark.parametrize("reachable", [True, False])
async def test_an_operators_word_settles_it_here_and_is_passed_on_if_that_can_be_done(reachable: bool) -> None:
    async with opened() as post:
        post.inside.ends = IntentStatus.AMBIGUOUS
        open_ = await post.settled("cancel")
        post.services.cut = not reachable
        request = AckRequest("seen on the host", by="sam")
        done = await post.meanwhile(lambda: post.world.desk.acknowledge(open_.id, request, SAM))
        await post.clock.advance(5.0)

        assert done.status is IntentStatus.ACKNOWLEDGED
        assert [one.reason for one in post.inside.acknowledged] == (["seen on the host"] if reachable else [])


async def test_a_service_that_hangs_over_one_intent_keeps_nobody_else_waiting() -> None:
    """Asking after it takes a task of its own."""
    async with opened() as post:
        post.inside.ends = IntentStatus.AMBIGUOUS
        open_ = await post.settled("cancel")
        post.services.hangs = True
        post.services.sprite("a").touch()
        await post.clock.advance(60.0)
        assert post.services.hung == 1

        request = AckRequest("it hangs", by="sam")
        done = await post.meanwhile(lambda: post.world.desk.acknowledge(open_.id, request, SAM))
        assert done.status is IntentStatus.ACKNOWLEDGED
        await post.clock.advance(40.0)
        assert all(each.ok for each in post.world.fleet.daemon_status(post.clock.now()).subsystems)


# After a restart of the manager


async def crashed_while_sent(post: Post, fault: str) -> Intent:
    """The manager died before any answer came."""
    async with post.opens():
        post.services.faults.append(fault)
        intent = (await post.ask("cancel", timeout_s=60.0)).intent
        await post.clock.advance(0.05)
        assert post.steps()[-1] == "executing"
    return intent


async def test_what_a_restart_finds_executing_is_asked_for_by_its_key_and_not_sent_again() -> None:
    post = Post()
    intent = await crashed_while_sent(post, "answer lost")
    async with post.opens(again=True):
        done = await post.end_of(post.now(intent))

        assert done.status is IntentStatus.CONFIRMED
        assert len(post.inside.requests) == 1
        assert post.effects == 1


async def test_what_never_arrived_is_not_begun_by_a_restart() -> None:
    post = Post()
    intent = await crashed_while_sent(post, "lost")
    async with post.opens(again=True):
        done = await post.end_of(post.now(intent))

        assert done.status is IntentStatus.AMBIGUOUS
        assert (post.inside.requests, post.effects) == ([], 0)


# A service that knows the contract alone


@pytest.mark.parametrize(
    ("ends", "exit_code"),
    [("confirmed", 0), ("executed_unconfirmed", 0), ("ambiguous", 2), ("failed_command", 1)],
)
async def test_an_old_service_is_asked_once_and_its_table_holds(ends: str, exit_code: int) -> None:
    async with opened(features=()) as post:
        post.inside.ends = IntentStatus(ends)
        done = await post.settled("cancel", confirm=ends != "executed_unconfirmed")
        row = post.rows(Journal.INTENTS)[0]

        assert done.status == ends
        assert (row["status"], row["command"], row["exitCode"]) == (ends, OLD_AT, exit_code)
        assert post.effects == 1
        if done.confirmation is not None:
            assert "manager" in [one.where for one in done.confirmation.evidence]


@pytest.mark.parametrize("kind", ["start", "pause", "resume"])
async def test_an_old_service_is_not_asked_for_what_it_does_not_know(kind: str) -> None:
    async with opened(features=()) as post:
        assert code(await post.settled(kind)) == "transport_not_supported"
        assert post.inside.requests == []


@pytest.mark.parametrize("fault", SENT_AND_SILENT)
async def test_an_old_service_that_does_not_answer_is_not_asked_again(fault: str) -> None:
    async with opened(features=()) as post:
        post.services.faults.append(fault)
        done = await post.settled("cancel")
        await post.clock.advance(100.0)

        assert post.now(done).status is IntentStatus.AMBIGUOUS
        assert post.effects <= 1
        assert post.effects == len(post.inside.requests)


async def test_an_old_service_that_is_not_reached_did_nothing() -> None:
    async with opened(features=()) as post:
        post.services.faults.append("refused")
        done = await post.settled("cancel")

        assert (done.status, problem(done)) == (IntentStatus.FAILED_COMMAND, "service_unreached")


async def test_the_fence_of_an_old_service_is_checked_by_a_look_right_before() -> None:
    async with opened(features=()) as post:
        post.asks()
        await post.clock.advance(3.0)
        looks = len(post.services.asked)
        intent = (await post.ask("approve", expect=Fence(candidate="d" * 64))).intent
        await post.end_of(intent)

        assert len(post.services.asked) >= looks + 2
        post.asks(digest="e" * 64)
        refused = await post.settled("approve", expect=Fence(candidate="d" * 64))
        assert code(refused) == "fence_mismatch"
        assert post.effects == 1


async def test_what_a_restart_finds_asked_of_an_old_service_is_open() -> None:
    post = Post(features=())
    post.services.hangs = True
    async with post.opens():
        intent = (await post.ask("cancel")).intent
        await post.clock.advance(5.0)
        assert post.steps()[-1] == "executing"
    async with post.opens(again=True):
        assert (await post.end_of(post.now(intent))).status is IntentStatus.AMBIGUOUS
    assert post.services.hung == 1


# Whatever happens


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    faults=st.lists(st.sampled_from(FAULTS), max_size=12),
    ends=st.sampled_from(["confirmed", "ambiguous", "failed_command"]),
    crash_s=st.one_of(st.none(), st.floats(0, 3)),
    is_old=st.booleans(),
)
def test_it_takes_effect_at_most_once_and_nothing_is_confirmed_that_the_sprite_did_not_confirm(
    faults: list[str], ends: str, crash_s: float | None, is_old: bool
) -> None:
    anyio.run(_whatever_happens, faults, IntentStatus(ends), crash_s, is_old)


async def _whatever_happens(faults: list[str], ends: IntentStatus, crash_s: float | None, is_old: bool) -> None:
    post = Post(features=() if is_old else None)
    post.inside.ends = ends
    async with post.opens():
        post.services.faults.extend(faults)
        done = (await post.ask("cancel", timeout_s=10.0)).intent
        await post.clock.advance(crash_s or 0.0)
        if crash_s is None:
            done = await post.end_of(done)
    if crash_s is not None:
        async with post.opens(again=True):
            done = await post.end_of(post.now(done))
    assert all(count == 1 for count in post.inside.effects.values())
    assert set(post.inside.effects) <= {done.id}
    theirs = post.inside.named(done.id)
    if done.status is IntentStatus.CONFIRMED:
        assert post.effects == 1
        assert ends is IntentStatus.CONFIRMED
        assert is_old or (theirs is not None and theirs.status is IntentStatus.CONFIRMED)
    if done.status in (IntentStatus.REFUSED, IntentStatus.EXPIRED) or problem(done) == "service_unreached":
        assert post.effects == 0
