"""How an intent is carried out: its turn, the last look, the act, the looks afterwards, and after a restart."""

import pytest

from opsd.model.effects import Journal
from opsd.model.intent import Fence, Intent, IntentStatus
from opsd.model.mode import Mode
from opsd.sim import documents
from opsd.sim.faults import Fault
from opsd.sim.steps import Delete
from tests.doubles.threads import Held, Lost
from tests.supervisor.office import Office, open_for
from tests.supervisor.world import supervised


def code(intent: Intent) -> str | None:
    return intent.refusal.code if intent.refusal is not None else None


def after_the_act(intent: Intent) -> tuple[str, bool | None]:
    """The status, and what the looks after the act said."""
    return intent.status, intent.confirmation.confirmed if intent.confirmation is not None else None


# Its turn


async def test_intents_wait_for_their_turn_and_have_it() -> None:
    held = Held()
    async with open_for(a="running", b="running", c="running", acts=held, acts_at_once=1) as office:
        intents = [(await office.ask(loop, "cancel")).intent for loop in "abc"]
        await office.pass_by(5)
        assert held.waiting == 1
        assert [office.steps(loop) for loop in "abc"] == [["recorded", "executing"], ["recorded"], ["recorded"]]
        held.release()

        assert [(await office.end_of(intent)).status for intent in intents] == [IntentStatus.CONFIRMED] * 3


async def test_an_intent_whose_turn_does_not_come_in_time_is_given_up() -> None:
    held = Held()
    async with open_for(a="running", b="running", acts=held, acts_at_once=1) as office:
        await office.ask("a", "cancel")
        waits = (await office.ask("b", "cancel")).intent
        await office.pass_by(121)
        held.release()
        done = await office.end_of(waits)

        assert (done.status, code(done)) == (IntentStatus.EXPIRED, "waited_too_long")
        assert office.told("b") == ([], [], ["expired"])
        assert office.checkouts["b"].running


async def test_looking_for_evidence_takes_nobodys_turn() -> None:
    async with open_for(a="running", b="running", acts_at_once=1) as office:
        office.misbehave("lie")
        waits = (await office.ask("a", "cancel", timeout_s=100.0)).intent
        done = await office.settled("b", "cancel")

        assert done.status is IntentStatus.CONFIRMED
        still = office.world.desk.intent(waits.id)
        assert still is not None
        assert still.status is IntentStatus.EXECUTED


async def test_what_is_found_when_its_turn_has_come_decides() -> None:
    held = Held()
    async with open_for(a="running", b="asking", acts=held, acts_at_once=1) as office:
        await office.ask("a", "cancel")
        seen = office.status("b").approval
        assert seen is not None
        waits = (await office.ask("b", "approve", expect=Fence(candidate=seen.candidate))).intent
        office.put_approval("b", candidate={"promise": "another"})
        held.release()
        done = await office.end_of(waits)

        assert code(done) == "fence_mismatch"
        assert office.executed("approve") == 0
        assert office.approval("b")["status"] == "pending"


async def test_a_mode_that_is_set_before_its_turn_holds_it_back() -> None:
    held = Held()
    async with open_for(a="running", b="running", acts=held, acts_at_once=1) as office:
        await office.ask("a", "cancel")
        waits = (await office.ask("b", "cancel")).intent
        await office.set_mode(Mode.OBSERVE)
        held.release()

        assert code(await office.end_of(waits)) == "observe_mode"
        assert office.checkouts["b"].running


# The last look


async def test_a_candidate_replaced_in_the_last_moment_is_not_decided() -> None:
    """Even by one who named none: what he saw was another."""
    held = Held()
    async with open_for(a="asking", acts=held) as office:
        intent = (await office.ask("a", "approve")).intent
        assert office.steps("a") == ["recorded", "executing"]
        office.put_approval("a", candidate={"promise": "another"})
        held.release()
        done = await office.end_of(intent)

        assert (code(done), done.execution) == ("fence_mismatch", None)
        assert office.told("a") == ([], [], ["refused"])
        assert office.executed() == 0


async def test_a_run_that_took_the_place_of_the_one_that_was_meant_is_not_ended() -> None:
    held = Held()
    async with open_for(a="running", acts=held) as office:
        intent = (await office.ask("a", "cancel")).intent
        office.checkouts["a"].end("term")
        office.checkouts["a"].tree.perform(Delete(documents.STATE))
        office.checkouts["a"].start()
        await office.pass_by(60)
        assert office.checkouts["a"].runs == 2
        held.release()
        done = await office.end_of(intent)

        assert code(done) == "fence_mismatch"
        assert office.executed() == 0
        assert office.checkouts["a"].running


async def test_a_command_that_is_gone_in_the_last_moment_is_a_refusal() -> None:
    held = Held()
    async with open_for(a="running", acts=held) as office:
        intent = (await office.ask("a", "cancel")).intent
        office.controls.missing.add(office.checkouts["a"].repo)
        held.release()

        assert code(await office.end_of(intent)) == "runtime_command_missing"


@pytest.mark.parametrize("trouble", ["missing", "breaks"])
async def test_what_cannot_be_looked_at_is_not_acted_on(trouble: str) -> None:
    async with open_for(a="running") as office:
        getattr(office.world.transport, trouble).add("a")
        done = await office.settled("a", "cancel")

        assert code(done) == "picture_incomplete"
        assert office.executed() == 0


async def test_a_disk_that_cannot_be_looked_at_is_not_asked_once_more_for_an_intent() -> None:
    """Where it hangs, every further look would hold a thread that other loops wait for."""
    async with open_for(a="running", b="running") as office:
        office.world.transport.breaks.add("a")
        office.world.files.calls.clear()
        done = await office.settled("a", "cancel")
        asked = [path for _, path in office.world.files.calls if "active-run.json" in path]

        assert code(done) == "picture_incomplete"
        assert [path for path in asked if path.startswith(office.checkouts["a"].repo)] == []


async def test_what_cannot_be_looked_at_after_the_act_is_ambiguous_until_it_can() -> None:
    async with open_for(a="running") as office:
        held = office.controls.fault_of

        def blinds(repo: str, word: str, nth: int) -> Fault:
            office.world.transport.breaks.add("a")
            return held(repo, word, nth)

        office.controls.fault_of = blinds
        done = await office.settled("a", "cancel", timeout_s=5.0)
        assert done.status is IntentStatus.AMBIGUOUS
        assert done.confirmation is not None
        assert "could not be looked at" in str(done.confirmation.missing)

        office.world.transport.breaks.clear()
        await office.pass_by(70)

        now = office.world.desk.intent(done.id)
        assert now is not None
        assert now.status is IntentStatus.CONFIRMED


async def test_a_paused_run_is_continued_before_it_is_cancelled() -> None:
    """Otherwise it would not hear that it is to end, and be killed in the midst of its work."""
    async with open_for(a="running") as office:
        await office.settled("a", "pause")
        done = await office.settled("a", "cancel")

        assert done.status is IntentStatus.CONFIRMED
        assert [one.word for one in office.controls.done] == ["stop", "continue", "cancel"]
        assert done.execution is not None
        assert "signal CONTINUE" in done.execution.command
        assert "force" not in done.execution.output


# The act, and what it does not say


@pytest.mark.parametrize(
    ("fault", "ends"),
    [
        ("", (IntentStatus.CONFIRMED, True)),
        ("slow", (IntentStatus.CONFIRMED, True)),
        ("fail", (IntentStatus.FAILED_COMMAND, False)),
        ("late-fail", (IntentStatus.FAILED_COMMAND, True)),
        ("lie", (IntentStatus.AMBIGUOUS, False)),
        ("hang", (IntentStatus.AMBIGUOUS, False)),
        ("late-hang", (IntentStatus.CONFIRMED, True)),
    ],
)
@pytest.mark.parametrize("kind", ["cancel", "approve"])
async def test_evidence_and_no_exit_code_says_how_it_ended(
    kind: str, fault: str, ends: tuple[IntentStatus, bool]
) -> None:
    """A command that failed failed, whatever it did; what was seen is told beside it."""
    async with open_for(a="running" if kind == "cancel" else "asking") as office:
        if fault:
            office.misbehave(fault, 20.0, code=3)
        done = await office.settled("a", kind, timeout_s=10.0)

        assert after_the_act(done) == ends
        assert office.executed() == 1
        assert office.told("a") == ([ends[0]], [ends[0]], [ends[0]])
        row = office.rows("a", Journal.INTENTS)[0]
        assert row["exitCode"] == {"fail": 3, "late-fail": 3, "hang": 124, "late-hang": 124}.get(fault, 0)


async def test_a_cancel_that_stopped_half_way_is_ambiguous() -> None:
    async with open_for(a="running") as office:
        office.misbehave("partial")
        done = await office.settled("a", "cancel", timeout_s=5.0)

        assert done.status is IntentStatus.AMBIGUOUS
        assert done.confirmation is not None
        assert done.confirmation.missing == f"Process {office.checkouts['a'].pid} is alive."


async def test_a_decision_that_went_to_another_candidate_is_said_to_have() -> None:
    async with open_for(a="asking") as office:
        office.misbehave("other")
        done = await office.settled("a", "approve")

        assert done.status is IntentStatus.AMBIGUOUS
        assert done.confirmation is not None
        assert done.confirmation.reason == "other_candidate"
        assert office.approval("a")["status"] == "approved"


async def test_the_window_is_as_long_as_was_asked_for_and_looked_through_with_growing_pauses() -> None:
    async with open_for(a="running") as office:
        office.misbehave("lie")
        done = await office.settled("a", "cancel", timeout_s=60.0)

        assert done.execution is not None
        assert done.execution.ended_at is not None
        assert done.settled_at is not None
        assert 60.0 <= (done.settled_at - done.execution.ended_at).total_seconds() < 63.0
        assert done.confirmation is not None
        assert 20 <= done.confirmation.attempts <= 60


async def test_what_changes_within_the_window_is_seen_at_once() -> None:
    async with open_for(a="running") as office:
        office.misbehave("lie")
        intent = (await office.ask("a", "cancel", timeout_s=100.0)).intent
        await office.pass_by(50)
        ended_at = office.world.clock.now()
        office.checkouts["a"].end("term")
        office.checkouts["a"].tree.put(".superloop/state.json", b'{"active": false, "current_loop_id": "a"}')
        done = await office.end_of(intent)

        assert done.status is IntentStatus.CONFIRMED
        assert done.settled_at is not None
        assert (done.settled_at - ended_at).total_seconds() < 2.5


async def test_who_wants_no_confirmation_gets_none() -> None:
    async with open_for(a="running", b="running") as office:
        done = await office.settled("a", "cancel", confirm=False)
        office.misbehave("hang")
        unknown = await office.settled("b", "cancel", confirm=False)

        assert after_the_act(done) == (IntentStatus.EXECUTED_UNCONFIRMED, None)
        assert office.rows("a", Journal.INVOCATIONS)[0]["confirmation"] == {
            "attempted": False,
            "status": "skipped",
            "exitCode": 0,
        }
        assert after_the_act(unknown) == (IntentStatus.AMBIGUOUS, None), "nobody knows how its command ended"


# Starts


async def test_a_start_is_confirmed_by_its_own_run() -> None:
    async with open_for(a="idle") as office:
        done = await office.settled("a", "start")

        assert done.status is IntentStatus.CONFIRMED
        assert done.confirmation is not None
        assert [one.where for one in done.confirmation.evidence] == ["events.jsonl", "heartbeat.v1.json"]
        assert done.id in done.confirmation.evidence[1].says
        assert office.executed("start") == 1


async def test_a_run_that_dies_before_it_begins_has_failed_in_its_own_words() -> None:
    async with open_for(a="idle") as office:
        office.misbehave("fail")
        done = await office.settled("a", "start")

        assert done.status is IntentStatus.FAILED_COMMAND
        assert done.execution is not None
        assert (done.execution.exit_code, done.execution.output) == (1, "error: simulated failure")
        assert office.rows("a", Journal.INTENTS)[0]["exitCode"] == 1


async def test_a_run_that_cannot_be_launched_is_no_run() -> None:
    async with open_for(a="idle") as office:
        office.misbehave("unavailable")
        done = await office.settled("a", "start")

        assert done.status is IntentStatus.FAILED_COMMAND
        assert done.execution is not None
        assert done.execution.problem == "start_unavailable"


async def test_what_a_dead_run_left_behind_is_cleared_only_when_that_is_asked_for() -> None:
    async with open_for(a="killed") as office:
        refused = await office.settled("a", "start")
        done = await office.settled("a", "start", clear_stale=True)

        assert code(refused) == "stale_active"
        assert done.status is IntentStatus.CONFIRMED
        assert [one.word for one in office.controls.done] == ["cancel", "start"]


async def test_a_clearing_that_fails_starts_nothing() -> None:
    async with open_for(a="killed") as office:
        office.misbehave("fail")
        done = await office.settled("a", "start", clear_stale=True)

        assert done.status is IntentStatus.FAILED_COMMAND
        assert [one.word for one in office.controls.done] == ["cancel"]


# After a crash


async def test_what_was_only_recorded_when_opsd_died_is_given_up() -> None:
    held = Held()
    async with open_for(a="running", b="running", acts=held, acts_at_once=1) as office:
        await office.ask("a", "cancel")
        waits = (await office.ask("b", "cancel", idempotency_key="k")).intent
    async with supervised(office.reopened()):
        done = office.world.desk.intent(waits.id)

        assert done is not None
        assert (done.status, code(done)) == (IntentStatus.EXPIRED, "opsd_restarted")
        await office.pass_by(1)
        assert office.steps("b") == ["recorded", "expired"]
        assert office.told("b") == ([], [], ["expired"])
        assert office.executed() == 0
        again = await office.settled("b", "cancel", idempotency_key="k")
        assert (again.status, office.executed("cancel")) == (IntentStatus.CONFIRMED, 1)


async def test_what_was_about_to_be_done_when_opsd_died_is_looked_for_and_not_done() -> None:
    async with open_for(a="running", acts=Held()) as office:
        intent = (await office.ask("a", "cancel", timeout_s=5.0)).intent
    assert office.steps("a") == ["recorded", "executing"]
    async with supervised(office.reopened()):
        done = await office.end_of(intent)

        assert done.status is IntentStatus.AMBIGUOUS
        assert office.executed() == 0
        assert office.told("a") == (["ambiguous"], ["ambiguous"], ["ambiguous"])
        assert "control_ambiguous" in office.findings("a")


@pytest.mark.parametrize(("situation", "kind"), [("running", "cancel"), ("asking", "approve"), ("idle", "start")])
async def test_what_was_done_when_opsd_died_is_found_to_have_been(situation: str, kind: str) -> None:
    lost = Lost()
    async with open_for(a=situation, acts=lost) as office:
        intent = (await office.ask("a", kind)).intent
        await office.pass_by(1)
        assert lost.done == 1
    assert office.steps("a") == ["recorded", "executing"]
    async with supervised(office.reopened()):
        done = await office.end_of(intent)

        assert done.status is IntentStatus.CONFIRMED
        assert office.executed() == 1
        assert office.told("a") == (["confirmed"], ["confirmed"], ["confirmed"])


async def test_a_window_that_was_over_when_opsd_came_back_is_opened_for_a_moment() -> None:
    async with open_for(a="running", acts=Lost()) as office:
        office.misbehave("lie")
        intent = (await office.ask("a", "cancel", timeout_s=5.0)).intent
        await office.pass_by(1)
    await _gone_for(office, 3_600)
    async with supervised(office.reopened()):
        back_at = office.world.clock.now()
        done = await office.end_of(intent)

        assert done.status is IntentStatus.AMBIGUOUS
        assert done.settled_at is not None
        assert 5.0 < (done.settled_at - back_at).total_seconds() < 15.0


async def test_an_ambiguous_intent_outlives_restarts_and_is_settled_after_them() -> None:
    async with open_for(a="running") as office:
        office.misbehave("lie")
        intent = await office.settled("a", "cancel", timeout_s=5.0)
        before = office.picture("a").control
    async with supervised(office.reopened()):
        assert office.picture("a").control == before
        assert "control_ambiguous" in office.findings("a")
    async with supervised(office.reopened()):
        done = await office.acknowledge(intent.id)

        assert done.status is IntentStatus.ACKNOWLEDGED
        assert office.told("a") == (["ambiguous", "executed_unconfirmed"], ["ambiguous"], ["ambiguous"])


async def test_a_decision_taken_up_while_nobody_watched_is_followed_to_its_end() -> None:
    async with open_for(a="asking") as office:
        intent = await office.settled("a", "approve")
    office.checkouts["a"].start()
    await _gone_for(office, 600)
    async with supervised(office.reopened()):
        await office.pass_by(5)

        now = office.world.desk.intent(intent.id)
        assert now is not None
        assert now.stage == "completed"


async def _gone_for(office: Office, seconds: float) -> None:
    """Nobody supervises meanwhile."""
    await office.pass_by(seconds)
