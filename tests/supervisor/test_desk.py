"""How intents come in: which are taken, which are answered with what was there already, and who hears of their end."""

import errno
from typing import Any

import anyio
import msgspec
import pytest

from opsd.app.desk import CannotRecord, IdempotencyConflict, NotAmbiguous, UnknownIntent
from opsd.model.effects import Journal
from opsd.model.ids import LoopId
from opsd.model.intent import Fence, Intent, IntentStatus, Stage
from opsd.protocol import FeedItem, Submitted, WaitFor
from opsd.sim.faults import Fault
from opsd.supervisor.fleet import NotManaged, UnknownLoop
from tests.doubles.controls import no_fault
from tests.doubles.threads import Held
from tests.supervisor.office import RIYA, SAM, Office, open_for


def refusal(answer: Submitted) -> str | None:
    """The code, if it was turned down for one."""
    return answer.intent.refusal.code if answer.intent.refusal is not None else None


# Taken in


async def test_an_intent_is_on_the_disk_when_its_operator_hears_of_it_and_is_then_carried_out() -> None:
    held = Held()
    async with open_for(a="running", acts=held) as office:
        answer = await office.ask("a", "cancel", note="enough", reason="wrong branch", trace_id="t-1")
        first = office.rows("a", Journal.INTENT_LOG)[0]

        assert (answer.intent.status, answer.replayed) == (IntentStatus.RECORDED, False)
        assert (first["id"], first["status"], first["traceId"]) == (answer.intent.id, "recorded", "t-1")
        assert (first["requestedBy"], first["actor"]["uid"], first["note"]) == ("riya", 1000, "enough")
        assert office.executed() == 0

        held.release()
        done = await office.end_of(answer.intent)

        assert done.status is IntentStatus.CONFIRMED
        assert office.steps("a") == ["recorded", "executing", "executed", "confirmed"]
        assert office.executed("cancel") == 1
        assert not office.checkouts["a"].running


async def test_what_the_rules_refuse_is_written_down_and_not_done() -> None:
    async with open_for(a="asking") as office:
        answer = await office.ask("a", "cancel")

        assert refusal(answer) == "nothing_to_cancel"
        assert office.steps("a") == ["refused"]
        assert office.told("a") == ([], [], ["refused"])
        assert office.executed() == 0
        assert office.picture("a").control is None


@pytest.mark.parametrize(
    ("expect", "differs"),
    [
        (Fence(run_id="2020-01-01T00:00:00Z"), "run_id"),
        (Fence(iteration=9), "iteration"),
        (Fence(candidate="0" * 64), "candidate"),
    ],
)
async def test_an_operator_who_saw_something_else_is_told_the_difference(expect: Fence, differs: str) -> None:
    async with open_for(a="asking") as office:
        answer = await office.ask("a", "approve", expect=expect)

        assert refusal(answer) == "fence_mismatch"
        assert answer.intent.refusal is not None
        assert [one.where for one in answer.intent.refusal.differences] == [differs]
        assert office.executed() == 0


async def test_whoever_saw_what_is_true_may_decide() -> None:
    async with open_for(a="asking") as office:
        status = office.status("a").approval
        assert status is not None
        seen = Fence(status.run_id, status.iteration, status.candidate)

        done = await office.settled("a", "approve", expect=seen)

        assert (done.status, done.stage) == (IntentStatus.CONFIRMED, Stage.RECORDED)


async def test_a_dry_run_says_what_would_be_done_and_leaves_no_trace() -> None:
    async with open_for(a="running", b="asking") as office:
        would = await office.ask("a", "cancel", dry_run=True, idempotency_key="k")
        refused = await office.ask("b", "cancel", dry_run=True)

        assert would.would == (f"{office.checkouts['a'].repo}/superloop.sh cancel --repo {office.checkouts['a'].repo}",)
        assert refusal(refused) == "nothing_to_cancel"
        assert (office.steps("a"), office.steps("b"), office.executed()) == ([], [], 0)
        assert not (await office.ask("a", "cancel", idempotency_key="k")).replayed


async def test_nobody_can_ask_anything_of_a_loop_that_is_not_looked_at() -> None:
    async with open_for(a="running") as office:
        with pytest.raises(UnknownLoop):
            await office.ask("nobody", "cancel")
        office.world.registry({"loopId": "a", "repoPath": office.checkouts["a"].repo, "enabled": False})
        await office.pass_by(3)
        with pytest.raises(NotManaged, match="disabled"):
            await office.ask("a", "cancel")

        assert office.executed() == 0


# Asked again


async def test_a_given_key_replays_what_came_of_its_request_and_does_nothing() -> None:
    async with open_for(a="running") as office:
        first = await office.settled("a", "cancel", idempotency_key="k-1")
        again = await office.ask("a", "cancel", idempotency_key="k-1")

        assert again.replayed
        assert again.intent == first
        assert office.executed("cancel") == 1
        assert office.steps("a").count("recorded") == 1


async def test_a_given_key_joins_the_intent_that_is_still_under_way() -> None:
    held = Held()
    async with open_for(a="running", acts=held) as office:
        first = await office.ask("a", "cancel", idempotency_key="k-1")
        again = await office.ask("a", "cancel", idempotency_key="k-1")
        held.release()
        await office.end_of(first.intent)

        assert (again.intent.id, again.replayed) == (first.intent.id, True)
        assert office.executed("cancel") == 1


@pytest.mark.parametrize(
    ("kind", "members"),
    [("reject", {}), ("approve", {"note": "another"}), ("approve", {"by": "sam"}), ("approve", {"timeout_s": 5.0})],
)
async def test_a_given_key_with_another_request_is_a_conflict(kind: str, members: dict[str, Any]) -> None:
    async with open_for(a="asking") as office:
        first = await office.settled("a", "approve", idempotency_key="k-1")
        with pytest.raises(IdempotencyConflict) as caught:
            await office.ask("a", kind, idempotency_key="k-1", **members)

        assert caught.value.intent_id == first.id
        assert office.executed() == 1


async def test_the_key_of_what_was_never_carried_out_is_free_again() -> None:
    async with open_for(a="asking") as office:
        refused = await office.ask("a", "approve", idempotency_key="k-1", expect=Fence(iteration=9))
        other = await office.settled("a", "approve", idempotency_key="k-1")

        assert refusal(refused) == "fence_mismatch"
        assert other.status is IntentStatus.CONFIRMED


async def test_keys_are_of_one_loop_alone() -> None:
    async with open_for(a="running", b="running") as office:
        one = await office.settled("a", "cancel", idempotency_key="k-1")
        other = await office.settled("b", "cancel", idempotency_key="k-1")

        assert one.id != other.id
        assert office.executed("cancel") == 2


async def test_two_presses_of_the_same_wish_are_one_intent_while_it_is_under_way() -> None:
    held = Held()
    async with open_for(a="running", acts=held) as office:
        first = await office.ask("a", "cancel")
        again = await office.ask("a", "cancel")
        held.release()
        await office.end_of(first.intent)

        assert (again.intent.id, again.replayed) == (first.intent.id, True)
        assert office.executed() == 1


async def test_the_same_wish_after_its_end_is_another_intent() -> None:
    async with open_for(a="running") as office:
        kinds = ("pause", "resume", "pause", "resume")
        done = [await office.settled("a", kind) for kind in kinds]

        assert [one.status for one in done] == [IntentStatus.CONFIRMED] * 4
        assert len({one.idempotency_key for one in done}) == 4
        assert (office.executed("stop"), office.executed("continue")) == (2, 2)


# Side by side


async def test_of_two_operators_the_second_is_told_whose_intent_is_under_way() -> None:
    held = Held()
    async with open_for(a="running", acts=held) as office:
        first = await office.ask("a", "cancel")
        second = await office.ask("a", "cancel", actor=SAM)
        other = await office.ask("a", "pause", actor=SAM)
        held.release()
        await office.end_of(first.intent)

        assert (refusal(second), refusal(other)) == ("intent_in_flight", "intent_in_flight")
        assert second.intent.refusal is not None
        assert "riya's cancel of a" in second.intent.refusal.message
        assert office.told("a")[2] == ["refused", "refused", "confirmed"]
        assert office.executed() == 1


async def test_two_operators_who_press_in_the_same_moment_do_not_both_act() -> None:
    async with open_for(a="running") as office:
        answers: list[Submitted] = []

        async def press(actor_is_sam: bool) -> None:
            answers.append(await office.ask("a", "cancel", actor=SAM if actor_is_sam else RIYA))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(press, False)
            tasks.start_soon(press, True)
        await office.pass_by(60)

        assert sorted(str(refusal(answer)) for answer in answers) == ["None", "intent_in_flight"]
        assert office.executed() == 1


async def test_the_loops_of_a_checkout_are_acted_on_one_after_the_other() -> None:
    """The runtime's cancel ends whatever runs there: an act on one loop is an act on its neighbour, too."""
    held = Held()
    async with open_for(a="neighbour running", acts=held) as office:
        first = await office.ask("a-docs", "cancel")
        beside = await office.ask("a", "start")
        held.release()
        await office.end_of(first.intent)

        assert refusal(beside) == "intent_in_flight"
        assert (await office.settled("a", "start")).status is IntentStatus.CONFIRMED


async def test_a_neighbour_that_runs_is_never_reached() -> None:
    async with open_for(a="neighbour running") as office:
        for kind, code in (("cancel", "neighbour_active"), ("start", "run_active"), ("pause", "not_running")):
            assert refusal(await office.ask("a", kind)) == code

        assert office.checkouts["a"].running
        assert office.executed() == 0


async def test_checkouts_do_not_wait_for_each_other() -> None:
    held = Held()
    async with open_for(a="running", b="running", acts=held) as office:
        one, other = await office.ask("a", "cancel"), await office.ask("b", "cancel")
        assert held.waiting == 2
        held.release()

        assert (await office.end_of(one.intent)).status is IntentStatus.CONFIRMED
        assert (await office.end_of(other.intent)).status is IntentStatus.CONFIRMED


# Who waits


async def test_a_wait_ends_with_the_intent_or_with_its_time() -> None:
    held = Held()
    async with open_for(a="running", acts=held) as office:
        answer = await office.ask("a", "cancel")
        with anyio.fail_after(20):
            early = await office.world.desk.wait(answer.intent.id, WaitFor.SETTLED, 0.01)
        held.release()
        late = await office.end_of(answer.intent)

        assert (early.status if early else None, late.status) == (IntentStatus.EXECUTING, IntentStatus.CONFIRMED)
        assert await office.world.desk.wait("nobody", WaitFor.SETTLED, 5.0) is None


async def test_who_waits_for_a_decision_to_be_taken_up_hears_of_the_run_that_does() -> None:
    async with open_for(a="asking") as office:
        approved = await office.settled("a", "approve")
        heard: list[Stage | None] = []

        async def wait_for(until: WaitFor) -> None:
            intent = await office.world.desk.wait(approved.id, until, 1e9)
            heard.append(intent.stage if intent else None)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for, WaitFor.COMPLETE)
            tasks.start_soon(wait_for, WaitFor.CONSUMED)
            await office.pass_by(300)
            assert heard == []
            await office.settled("a", "start")
            await office.pass_by(300)

        assert heard == [Stage.CONSUMED, Stage.COMPLETED]
        assert [row["stage"] for row in office.rows("a", Journal.INTENT_LOG) if "stage" in row] == [
            "recorded",
            "consumed",
            "completed",
        ]
        assert office.told("a")[0] == ["confirmed", "confirmed"], "a stage is no outcome of its own"


async def test_nobody_waits_for_a_decision_that_was_not_recorded_to_be_taken_up() -> None:
    async with open_for(a="asking") as office:
        office.misbehave("fail")
        failed = await office.settled("a", "approve")

        found = await office.meanwhile(lambda: office.world.desk.wait(failed.id, WaitFor.COMPLETE, 1e9))

        assert found is not None
        assert found.status is IntentStatus.FAILED_COMMAND


async def test_every_step_is_on_the_feed_in_its_order() -> None:
    async with open_for(a="running") as office:
        told: list[str] = []

        async def listen() -> None:
            async for lines in office.world.fleet.feed.subscribe():
                items = [msgspec.json.decode(line, type=FeedItem) for line in lines.splitlines()]
                told.extend(item.intent.status for item in items if item.intent is not None)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await office.settled("a", "cancel")
            await office.pass_by(1)
            tasks.cancel_scope.cancel()

        assert told == ["recorded", "executing", "executed", "confirmed"]


# Ambiguous ones


async def ambiguous(office: Office, loop_id: str = "a") -> Intent:
    """A cancel that says it was done, and was not."""
    office.misbehave("lie")
    intent = await office.settled(loop_id, "cancel", timeout_s=5.0)
    assert intent.status is IntentStatus.AMBIGUOUS
    return intent


async def test_what_nothing_proves_is_ambiguous_and_stands_in_the_picture() -> None:
    async with open_for(a="running") as office:
        intent = await ambiguous(office)
        await office.pass_by(1)

        assert intent.confirmation is not None
        assert intent.confirmation.missing == f"Process {office.checkouts['a'].pid} is alive."
        assert "control_ambiguous" in office.findings("a")
        control = office.picture("a").control
        assert control is not None
        assert [one.id for one in control.ambiguous] == [intent.id]
        assert office.told("a") == (["ambiguous"], ["ambiguous"], ["ambiguous"])


async def test_evidence_that_comes_later_settles_it_without_anybody_asking() -> None:
    async with open_for(a="running") as office:
        intent = await ambiguous(office)
        await office.pass_by(100)
        office.checkouts["a"].end("term")
        office.checkouts["a"].tree.put(".superloop/state.json", b'{"active": false, "current_loop_id": "a"}')
        await office.pass_by(60)

        now = office.world.desk.intent(intent.id)
        assert now is not None
        assert now.status is IntentStatus.CONFIRMED
        assert now.resolved_at is not None
        assert "control_ambiguous" not in office.findings("a")
        assert office.told("a") == (["ambiguous", "confirmed"], ["ambiguous"], ["ambiguous"])
        assert office.executed() == 1


async def test_an_operators_word_settles_it_and_says_whose_it_was() -> None:
    async with open_for(a="running") as office:
        intent = await ambiguous(office)
        after = await office.acknowledge(intent.id, reason="it lives, and shall")
        await office.pass_by(2)

        assert after.acknowledged is not None
        assert (after.acknowledged.by, after.acknowledged.actor.uid) == ("sam", 1001)
        assert "control_ambiguous" not in office.findings("a")
        last = office.rows("a", Journal.INTENTS)[-1]
        assert (last["status"], last["acknowledgedBy"], last["acknowledgedReason"]) == (
            "executed_unconfirmed",
            "sam",
            "it lives, and shall",
        )


async def test_an_ambiguous_intent_does_not_keep_others_from_being_asked() -> None:
    async with open_for(a="running") as office:
        intent = await ambiguous(office)
        second = await office.settled("a", "cancel")
        await office.pass_by(30)

        assert second.status is IntentStatus.CONFIRMED
        assert office.executed("cancel") == 2
        first = office.world.desk.intent(intent.id)
        assert first is not None
        assert first.status is IntentStatus.CONFIRMED, "what the second brought about, the first had asked for"


async def test_only_what_is_ambiguous_can_be_settled_by_a_word() -> None:
    async with open_for(a="running") as office:
        done = await office.settled("a", "cancel")
        with pytest.raises(NotAmbiguous):
            await office.acknowledge(done.id)
        with pytest.raises(UnknownIntent):
            await office.acknowledge("nobody")


async def test_a_word_that_the_disk_refuses_settles_nothing() -> None:
    async with open_for(a="running") as office:
        intent = await ambiguous(office)
        trouble = office.world.files.fail("append", errno.ENOSPC, path="intent-log")
        with pytest.raises(CannotRecord, match="No space left"):
            await office.acknowledge(intent.id)
        assert trouble.fired
        assert office.world.desk.intent(intent.id) == intent

        office.world.files.heal()
        after = await office.acknowledge(intent.id)

        assert after.status is IntentStatus.ACKNOWLEDGED


# Faults and departures


async def test_a_fault_of_ours_over_one_intent_leaves_it_ambiguous_and_the_others_alone() -> None:
    async with open_for(a="running", b="running") as office:

        def breaks(repo: str, word: str, nth: int) -> Fault:
            office.controls.fault_of = no_fault
            raise ValueError("a fault of ours")

        office.controls.fault_of = breaks
        broken = await office.settled("a", "cancel")
        fine = await office.settled("b", "cancel")

        assert broken.status is IntentStatus.AMBIGUOUS
        assert broken.confirmation is not None
        assert "fault of opsd" in str(broken.confirmation.missing)
        assert fine.status is IntentStatus.CONFIRMED
        assert office.world.codes() == []


async def test_a_loop_that_leaves_the_fleet_meanwhile_leaves_its_intent_ambiguous() -> None:
    held = Held()
    async with open_for(a="running", b="running", acts=held) as office:
        intent = (await office.ask("a", "cancel")).intent
        office.register("b")
        await office.pass_by(3)
        held.release()
        done = await office.end_of(intent)

        assert done.status is IntentStatus.AMBIGUOUS
        assert done.confirmation is not None
        assert "left the fleet" in str(done.confirmation.missing)
        assert office.steps("a")[-1] == "ambiguous"
        assert office.executed("cancel") == 1


async def test_a_loop_that_comes_back_brings_its_open_intents_along() -> None:
    async with open_for(a="running", b="running") as office:
        intent = await ambiguous(office)
        office.register("b")
        await office.pass_by(3)
        office.register("a", "b")
        await office.pass_by(3)

        assert "control_ambiguous" in office.findings("a")
        assert (await office.acknowledge(intent.id)).status is IntentStatus.ACKNOWLEDGED
        assert "control_ambiguous" not in office.findings("a")


async def test_a_stop_does_not_wait_for_an_act_and_a_start_finds_out_what_it_did() -> None:
    """What a command did whose caller is gone is a question of evidence."""
    held = Held()
    async with open_for(a="running", acts=held) as office:
        intent = (await office.ask("a", "cancel")).intent
        assert await office.world.supervisor.stop()
        assert office.steps("a") == ["recorded", "executing"]
        assert office.world.supervisor.threads_left_behind == 1

    assert office.world.store.find_intent_by_id(LoopId("a"), intent.id) is not None


async def test_who_knows_only_the_key_finds_the_intent_by_it() -> None:
    """The newest of that key, also where the rules refused it: whoever never heard an answer knows no other name."""
    async with open_for(a="asking", b="running") as office:
        refused = (await office.ask("a", "cancel", idempotency_key="k-1")).intent
        done = await office.settled("b", "cancel", idempotency_key="k-2")
        unnamed = (await office.ask("a", "cancel")).intent
        desk = office.world.desk

        assert (desk.intent("k-1"), desk.intent("k-2")) == (refused, done)
        assert await office.meanwhile(lambda: desk.wait("k-2", WaitFor.SETTLED, 5.0)) == done
        assert desk.intent(unnamed.idempotency_key) is None, "a key that we made is nobody's name"
        assert desk.intent("k-3") is None
