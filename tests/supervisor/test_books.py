"""What is known of intents, and what is on the disk of them: in which order, through trouble, and after a crash."""

import errno

import anyio
import pytest

from opsd.model.effects import Journal
from opsd.model.ids import LoopId
from opsd.model.intent import IntentKind, IntentStatus
from opsd.protocol import IntentRequest, Submitted
from tests.doubles.clock import settle
from tests.doubles.files import Trouble
from tests.doubles.threads import Held, Lost
from tests.supervisor.office import RIYA, Office, open_for
from tests.supervisor.world import supervised

ONCE = (["confirmed"], ["confirmed"], ["confirmed"])
WHOLE = ["recorded", "executing", "executed", "confirmed"]


def code(answer: Submitted) -> str | None:
    return answer.intent.refusal.code if answer.intent.refusal is not None else None


def full_disk(office: Office, path: str, *, skip: int = 0) -> Trouble:
    return office.world.files.fail("append", errno.ENOSPC, path=path, skip=skip)


async def test_what_cannot_be_written_down_is_not_done() -> None:
    async with open_for(a="running") as office:
        trouble = full_disk(office, "intent-log")
        answer = await office.ask("a", "cancel", idempotency_key="k")
        await office.pass_by(30)

        assert trouble.fired
        assert code(answer) == "store_unwritable"
        assert answer.intent.refusal is not None
        assert "intent-log.jsonl" in answer.intent.refusal.message
        assert (office.executed(), office.steps("a"), office.told("a")) == (0, [], ([], [], []))
        assert "store_unwritable" in office.world.codes()

        office.world.files.heal()
        done = await office.settled("a", "cancel", idempotency_key="k")

        assert done.status is IntentStatus.CONFIRMED
        assert office.world.codes() == []


async def test_a_refusal_for_the_disks_sake_is_no_lasting_trouble() -> None:
    """Nothing waits to be written, so nothing would ever show that the disk is well again."""
    async with open_for(a="running") as office:
        full_disk(office, "intent-log")
        await office.ask("a", "cancel")
        office.world.files.heal()
        await office.pass_by(61)

        assert office.world.codes() == []


async def test_a_disk_that_fills_between_the_request_and_the_act_keeps_it_from_being_done() -> None:
    async with open_for(a="running") as office:
        trouble = full_disk(office, "intent-log", skip=1)
        done = await office.settled("a", "cancel")
        await office.pass_by(10)

        assert trouble.fired
        assert done.refusal is not None
        assert (done.status, done.refusal.code) == (IntentStatus.REFUSED, "store_unwritable")
        assert (office.executed(), office.steps("a")) == (0, ["recorded"])

        office.world.files.heal()
        await office.pass_by(10)

        assert office.steps("a") == ["recorded", "refused"]
        assert office.told("a") == ([], [], ["refused"])


async def test_a_disk_that_fills_after_the_act_hides_its_outcome_from_nobody() -> None:
    async with open_for(a="running") as office:
        trouble = full_disk(office, "intent-log", skip=2)
        done = await office.settled("a", "cancel")

        assert trouble.fired
        assert done.status is IntentStatus.CONFIRMED
        assert (office.steps("a"), office.told("a")) == (["recorded", "executing"], ([], [], []))
        assert office.world.fleet.metrics()["opsd_intent_rows_unwritten"] == 5
        assert code(await office.ask("a", "start")) == "store_unwritable"

        office.world.files.heal()
        await office.pass_by(5)

        assert office.steps("a") == WHOLE
        assert office.told("a") == ONCE
        assert office.world.codes() == []


@pytest.mark.parametrize("file", ["/intents.jsonl", "control.jsonl", "control-invocations.jsonl"])
async def test_a_file_for_others_that_cannot_be_written_gets_its_row_once_it_can(file: str) -> None:
    async with open_for(a="running") as office:
        trouble = full_disk(office, file)
        done = await office.settled("a", "cancel")
        await office.pass_by(20)
        assert trouble.fired
        assert office.steps("a") == WHOLE
        office.world.files.heal()
        await office.pass_by(5)

        assert done.status is IntentStatus.CONFIRMED
        assert office.told("a") == ONCE


@pytest.mark.parametrize("file", ["/intents.jsonl", "control.jsonl", "control-invocations.jsonl"])
async def test_rows_that_a_crash_kept_from_others_are_told_by_the_next_start(file: str) -> None:
    async with open_for(a="running") as office:
        trouble = full_disk(office, file)
        await office.settled("a", "cancel")
        assert trouble.fired
        assert office.told("a") != ONCE
    async with supervised(office.reopened()):
        assert office.told("a") == ONCE
        await office.pass_by(5)
    async with supervised(office.reopened()):
        await office.pass_by(5)

        assert office.told("a") == ONCE


async def test_an_outcome_that_was_in_memory_alone_is_found_again_by_its_evidence() -> None:
    async with open_for(a="running") as office:
        full_disk(office, "intent-log", skip=2)
        intent = await office.settled("a", "cancel")
        assert office.steps("a") == ["recorded", "executing"]
    async with supervised(office.reopened()):
        done = await office.end_of(intent)

        assert done.status is IntentStatus.CONFIRMED
        assert office.executed("cancel") == 1
        assert office.told("a") == ONCE


async def test_trouble_on_one_loops_files_is_no_other_loops_trouble() -> None:
    async with open_for(a="running", b="running") as office:
        trouble = full_disk(office, "/a/intent-log")
        refused, done = await office.ask("a", "cancel"), await office.settled("b", "cancel")

        assert trouble.fired
        assert (code(refused), done.status) == ("store_unwritable", IntentStatus.CONFIRMED)


async def test_who_stops_waiting_while_it_is_written_down_takes_nothing_back() -> None:
    """His request may be on the disk by then: what is there is carried out."""
    commits = Held(held=False)
    async with open_for(a="running", commits=commits) as office:
        async with anyio.create_task_group() as tasks:
            commits.hold()
            tasks.start_soon(office.world.desk.submit, LoopId("a"), IntentRequest(IntentKind.CANCEL, by="riya"), RIYA)
            await settle()
            assert commits.waiting
            tasks.cancel_scope.cancel()
            commits.release()
        await office.pass_by(30)

        assert office.steps("a") == WHOLE
        assert office.executed("cancel") == 1


async def test_what_was_asked_for_before_must_be_read_before_anything_else_is_done() -> None:
    async with open_for(a="running", acts=Lost()) as office:
        first = (await office.ask("a", "cancel")).intent
        await office.pass_by(1)
    world = office.reopened()
    world.files.fail("read", errno.EIO, path="intent-log")
    async with supervised(world):
        answer = await office.ask("a", "pause")
        assert code(answer) == "store_unwritable"
        assert office.steps("a") == ["recorded", "executing"]

        world.files.heal()
        await office.pass_by(5)

        assert (await office.end_of(first)).status is IntentStatus.CONFIRMED
        assert office.told("a") == ONCE
        assert code(await office.ask("a", "pause")) == "not_running"


async def test_a_key_of_what_could_not_be_written_down_is_free_although_its_row_stays() -> None:
    """A disk that refuses both the flush and the taking back leaves a row of what was refused."""
    async with open_for(a="running") as office:
        for operation in ("sync", "truncate"):
            office.world.files.fail(operation, errno.EIO, path="intent-log")
        assert code(await office.ask("a", "cancel", idempotency_key="k")) == "store_unwritable"
        assert office.steps("a") == ["recorded"]
        office.world.files.heal()

        again = await office.ask("a", "cancel", idempotency_key="k")

        assert not again.replayed
        assert (await office.end_of(again.intent)).status is IntentStatus.CONFIRMED
        assert office.executed("cancel") == 1


async def test_a_key_of_what_a_restart_let_expire_is_free_although_the_disk_does_not_know_it_yet() -> None:
    async with open_for(a="running") as office:
        full_disk(office, "intent-log", skip=1)
        await office.settled("a", "cancel", idempotency_key="k")
        assert office.steps("a") == ["recorded"]
    world = office.reopened()
    full_disk(office, "intent-log")
    async with supervised(world):
        again = await office.ask("a", "cancel", idempotency_key="k")

        assert not again.replayed
        assert code(again) == "store_unwritable"


async def test_a_key_holds_through_restarts() -> None:
    async with open_for(a="running") as office:
        first = await office.settled("a", "cancel", idempotency_key="k")
    async with supervised(office.reopened()):
        again = await office.ask("a", "cancel", idempotency_key="k")

        assert again.replayed
        assert again.intent.id == first.id
        assert again.intent.status is IntentStatus.CONFIRMED
        assert office.executed("cancel") == 1


async def test_a_key_of_what_a_crash_left_open_joins_it() -> None:
    async with open_for(a="running", acts=Lost()) as office:
        intent = (await office.ask("a", "cancel", idempotency_key="k")).intent
        await office.pass_by(1)
    async with supervised(office.reopened()):
        again = await office.ask("a", "cancel", idempotency_key="k")
        await office.pass_by(5)

        assert (again.intent.id, again.replayed) == (intent.id, True)
        assert office.executed("cancel") == 1


async def test_ordinals_go_on_after_a_restart() -> None:
    async with open_for(a="running") as office:
        await office.settled("a", "pause")
        await office.settled("a", "resume")
    async with supervised(office.reopened()):
        done = await office.settled("a", "cancel")

        assert done.ordinal == 3
        assert [row["ordinal"] for row in office.rows("a", Journal.INTENT_LOG) if row["status"] == "recorded"] == [
            1,
            2,
            3,
        ]


async def test_a_pause_and_its_reason_are_known_after_a_restart() -> None:
    async with open_for(a="running") as office:
        await office.settled("a", "pause", reason="the disk is exchanged", pause_for_s=3_600.0)
        await office.pass_by(1)
        before = office.picture("a").control
    async with supervised(office.reopened()):
        control = office.picture("a").control

        assert control == before
        assert control is not None
        assert control.pause is not None
        assert (control.pause.by, control.pause.reason) == ("riya", "the disk is exchanged")
        assert (office.picture("a").phase, office.picture("a").health) == ("paused", "healthy")


async def test_a_pause_that_lasts_longer_than_was_said_is_told() -> None:
    async with open_for(a="running") as office:
        await office.settled("a", "pause", pause_for_s=600.0)
        await office.pass_by(590)
        assert office.findings("a") == ["run_paused"]
        await office.pass_by(20)
        assert "pause_expired" in office.findings("a")
        assert office.picture("a").needs_human
        await office.settled("a", "resume")
        await office.pass_by(1)

        assert not {"pause_expired", "run_paused"} & set(office.findings("a"))
        assert office.picture("a").control is None


async def test_intents_are_counted_by_kind_and_outcome() -> None:
    async with open_for(a="running", b="asking") as office:
        await office.settled("a", "cancel")
        await office.ask("b", "cancel")
        counts = office.world.fleet.metrics()["opsd_intents_total"]

        assert not isinstance(counts, (int, float))
        assert counts["intent", "cancel", "status", "confirmed"] == 1
        assert counts["intent", "cancel", "status", "refused"] == 1
        assert office.world.fleet.metrics()["opsd_intents_open"] == {}
