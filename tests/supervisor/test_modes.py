"""In observe mode nothing is carried out: who set it, for what, until when, and that a crash does not lift it."""

import errno
from datetime import timedelta

import pytest

from opsd.app.desk import CannotRecord
from opsd.model.intent import IntentStatus
from opsd.model.mode import Mode
from opsd.protocol import Submitted
from opsd.supervisor.fleet import UnknownLoop
from tests.doubles.threads import Held
from tests.supervisor.office import RIYA, Office, open_for
from tests.supervisor.world import supervised

KINDS = ("cancel", "approve", "reject", "start", "pause", "resume")


def code(answer: Submitted) -> str | None:
    return answer.intent.refusal.code if answer.intent.refusal is not None else None


def is_observing(office: Office, loop_id: str) -> bool:
    control = office.picture(loop_id).control
    return control is not None and control.observing


async def test_in_observe_mode_no_intent_is_carried_out_and_everybody_sees_why() -> None:
    async with open_for(a="running", b="asking") as office:
        page = await office.set_mode(Mode.OBSERVE, reason="the disks are exchanged", for_s=7_200.0)

        assert {code(await office.ask(loop, kind)) for loop in "ab" for kind in KINDS} == {"observe_mode"}
        assert office.executed() == 0
        (mode,) = page.modes
        assert (mode.loop_id, mode.by, mode.reason) == (None, "riya", "the disks are exchanged")
        assert mode.until == mode.since + timedelta(hours=2)
        assert office.world.fleet.daemon_status(office.world.clock.now()).mode == mode
        assert is_observing(office, "a")
        assert is_observing(office, "b")


async def test_a_dry_run_is_refused_as_the_act_would_be() -> None:
    async with open_for(a="running") as office:
        await office.set_mode(Mode.OBSERVE)

        assert code(await office.ask("a", "cancel", dry_run=True)) == "observe_mode"


async def test_opsd_goes_on_looking_and_telling() -> None:
    async with open_for(a="running") as office:
        await office.set_mode(Mode.OBSERVE)
        office.checkouts["a"].end("kill")
        await office.pass_by(10)

        assert office.picture("a").phase == "crashed"


async def test_one_loop_may_be_observed_alone() -> None:
    async with open_for(a="running", b="running") as office:
        await office.set_mode(Mode.OBSERVE, "a")

        assert code(await office.ask("a", "cancel")) == "observe_mode"
        assert (await office.settled("b", "cancel")).status is IntentStatus.CONFIRMED
        assert (is_observing(office, "a"), is_observing(office, "b")) == (True, False)


async def test_what_is_said_of_one_loop_does_not_lift_what_is_said_of_all() -> None:
    async with open_for(a="running") as office:
        await office.set_mode(Mode.OBSERVE)
        await office.set_mode(Mode.NORMAL, "a")
        assert code(await office.ask("a", "cancel")) == "observe_mode"

        assert (await office.set_mode(Mode.NORMAL)).modes == ()
        assert (await office.settled("a", "cancel")).status is IntentStatus.CONFIRMED


async def test_a_mode_that_has_an_end_ends_by_itself() -> None:
    async with open_for(a="running") as office:
        await office.set_mode(Mode.OBSERVE, for_s=600.0)
        await office.pass_by(598)
        assert is_observing(office, "a")
        await office.pass_by(4)

        assert not is_observing(office, "a")
        assert office.picture("a").control is None
        assert office.world.desk.modes(office.world.clock.now()).modes == ()
        assert (await office.settled("a", "cancel")).status is IntentStatus.CONFIRMED


async def test_a_mode_holds_nothing_back_that_was_begun_before_it() -> None:
    """What was done was done: it is seen to its end."""
    held = Held()
    async with open_for(a="running", acts=held) as office:
        office.misbehave("lie")
        intent = (await office.ask("a", "cancel", timeout_s=5.0)).intent
        held.release()
        await office.pass_by(1)
        await office.set_mode(Mode.OBSERVE)
        done = await office.end_of(intent)

        assert done.status is IntentStatus.AMBIGUOUS
        assert (await office.acknowledge(intent.id)).status is IntentStatus.ACKNOWLEDGED


async def test_a_mode_outlives_restarts_and_not_its_own_end() -> None:
    async with open_for(a="running") as office:
        before = await office.set_mode(Mode.OBSERVE, for_s=600.0, reason="migration")
    async with supervised(office.reopened()):
        assert office.world.desk.modes(office.world.clock.now()).modes == before.modes
        assert code(await office.ask("a", "cancel")) == "observe_mode"
    await office.pass_by(700)
    async with supervised(office.reopened()):
        assert not is_observing(office, "a")
        assert (await office.settled("a", "cancel")).status is IntentStatus.CONFIRMED


async def test_a_mode_that_the_disk_refuses_does_not_hold() -> None:
    async with open_for(a="running") as office:
        trouble = office.world.files.fail("append", errno.ENOSPC, path="modes.jsonl")
        with pytest.raises(CannotRecord, match=r"modes\.jsonl"):
            await office.set_mode(Mode.OBSERVE)
        assert trouble.fired
        assert not is_observing(office, "a")

        office.world.files.heal()
        await office.set_mode(Mode.OBSERVE)

        assert is_observing(office, "a")


async def test_while_nobody_knows_which_mode_was_set_nothing_is_carried_out() -> None:
    office = Office(a="running")
    office.world.write(office.world.layout.modes, b"not a mode\n")
    async with supervised(office.world):
        assert code(await office.ask("a", "cancel")) == "observe_mode"
        assert "modes_unreadable" in office.world.codes()
        (mode,) = office.world.desk.modes(office.world.clock.now()).modes
        assert "cannot be read" in mode.reason

        await office.set_mode(Mode.NORMAL)

        assert "modes_unreadable" not in office.world.codes()
        assert (await office.settled("a", "cancel")).status is IntentStatus.CONFIRMED
    async with supervised(office.reopened()):
        assert "modes_unreadable" not in office.world.codes(), "what could not be read was set aside"
        assert not is_observing(office, "a")


async def test_what_is_said_of_one_loop_does_not_lift_what_nobody_could_read() -> None:
    office = Office(a="running", b="running")
    office.world.write(office.world.layout.modes, b"not a mode\n")
    async with supervised(office.world):
        await office.set_mode(Mode.NORMAL, "a")
        assert code(await office.ask("a", "cancel")) == "observe_mode"
    async with supervised(office.reopened()):
        assert code(await office.ask("b", "cancel")) == "observe_mode"
        await office.set_mode(Mode.NORMAL)

        assert (await office.settled("b", "cancel")).status is IntentStatus.CONFIRMED


async def test_what_could_not_be_read_for_a_while_holds_again_once_it_can() -> None:
    async with open_for(a="running", b="running") as office:
        await office.set_mode(Mode.OBSERVE, "a")
    world = office.reopened()
    world.files.fail("read", errno.EIO, path="modes.jsonl", times=1)
    async with supervised(world):
        assert code(await office.ask("b", "cancel")) == "observe_mode"
        await office.set_mode(Mode.NORMAL)

        assert code(await office.ask("a", "cancel")) == "observe_mode"
        assert (await office.settled("b", "cancel")).status is IntentStatus.CONFIRMED


async def test_a_mode_of_a_loop_that_nobody_knows_is_refused() -> None:
    async with open_for(a="running") as office:
        with pytest.raises(UnknownLoop):
            await office.set_mode(Mode.OBSERVE, "nobody")

        assert office.world.desk.modes(office.world.clock.now()).modes == ()


async def test_a_loop_that_joins_while_all_are_observed_is_observed_too() -> None:
    async with open_for(a="running", b="running") as office:
        office.register("a")
        await office.pass_by(3)
        await office.set_mode(Mode.OBSERVE, reason="for now")
        office.register("a", "b")
        await office.pass_by(3)

        assert is_observing(office, "b")
        assert RIYA.user in str(office.world.desk.modes(office.world.clock.now()).modes)
