"""What is not done, and who is told why: neighbours, fences, keys, two operators at once, observe mode.

That nothing was done is asked of the runtime command's own ledger. One daemon and one fleet serve all tests.
"""

import json
from collections.abc import Iterator

import anyio
import pytest

from opsctl.exits import Exit
from opsd.sim.player import alive
from tests.doubles.situations import Plan
from tests.endtoend.operators import Live, Outcome, asked_back, living, once
from tests.opsctl.cli import only_root, opsctl_as_stranger

pytestmark = pytest.mark.slow

PLANS = {
    "idle": Plan("cancelled"),
    "asking": Plan("awaiting approval"),
    "decided": Plan("approved"),
    "running": Plan("running"),
    "fenced": Plan("running"),
    "replaced": Plan("awaiting approval"),
    "shown": Plan("awaiting approval"),
    "pair": Plan("neighbour running"),
    "swap": Plan("neighbour running", then="silent-stall"),
    "keyed": Plan("running"),
    "conflict": Plan("awaiting approval"),
    "contested": Plan("running", {"cancel": [{"kind": "slow", "seconds": 1.5}]}),
    "pressed": Plan("running", {"cancel": [{"kind": "slow", "seconds": 1.5}]}),
    "observed": Plan("running"),
    "foreign": Plan("running"),
    "no-command": Plan("running"),
    "not-executable": Plan("running"),
}


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with living(PLANS) as fleet:
        yield fleet


def calls(live: Live, loop_id: str) -> int:
    """How often anything at all was done to the loop's checkout."""
    return sum(live.places[loop_id].executions(word) for word in ("cancel", "approve", "run"))


@pytest.mark.parametrize(
    ("kind", "loop_id", "code"),
    [
        ("cancel", "idle", "nothing_to_cancel"),
        ("approve", "idle", "nothing_to_approve"),
        ("approve", "decided", "already_decided"),
        ("reject", "decided", "already_decided"),
        ("start", "asking", "approval_waits"),
        ("start", "running", "run_active"),
        ("pause", "idle", "not_running"),
        ("resume", "running", "not_paused"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_the_next_step(
    live: Live, kind: str, loop_id: str, code: str
) -> None:
    done = await live.opsctl(kind, loop_id, "--yes")

    assert done.code == Exit.REFUSED
    assert f"{code}:" in done.out
    assert "next:" in done.out
    assert calls(live, loop_id) == 0
    assert live.steps(loop_id)[-1] == "refused"
    assert live.told(loop_id)[:2] == ([], [])
    assert live.rows(loop_id, "telemetry/control-invocations.jsonl")[-1]["outcome"]["refusal"]["code"] == code


async def test_a_neighbour_that_runs_is_never_reached(live: Live) -> None:
    """The runtime's cancel takes no loop: it would end whatever runs in the checkout."""
    place = live.places["pair"]
    pid = place.pid

    answers = [await live.ask(kind, "pair") for kind in ("cancel", "start", "pause")]

    assert [answer.code for answer in answers] == [Exit.REFUSED] * 3
    assert calls(live, "pair") == 0
    assert alive(pid)
    assert live.picture("pair-docs")["phase"] == "running"


async def test_of_two_loops_in_a_checkout_the_one_that_runs_can_be_cancelled_and_the_other_not(live: Live) -> None:
    place = live.places["swap"]
    assert (await live.ask("cancel", "swap-docs")).ends == ("confirmed", Exit.OK)
    assert (await live.ask("start", "swap")).ends == ("confirmed", Exit.OK)
    pid = place.pid

    beside = await live.ask("cancel", "swap-docs")

    assert beside.refusal == "neighbour_active"
    assert alive(pid)
    assert place.executions("cancel") == 1
    assert (await live.ask("cancel", "swap")).ends == ("confirmed", Exit.OK)
    assert not alive(pid)


async def test_an_operator_who_saw_another_run_does_not_act_on_this_one(live: Live) -> None:
    done = await live.ask("cancel", "fenced", "--if-run", "2020-01-01T00:00:00Z")

    assert (done.refusal, done.code) == ("fence_mismatch", Exit.REFUSED)
    assert done.known.refusal is not None
    assert [one.where for one in done.known.refusal.differences] == ["run_id"]
    assert calls(live, "fenced") == 0
    assert live.places["fenced"].lives()


async def test_an_approval_that_was_replaced_between_look_and_click_is_not_decided(live: Live) -> None:
    place = live.places["replaced"]

    def another_is_asked() -> None:
        path = place.repo / ".superloop/loops/replaced/approval.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "candidate": {"promise": "something else"}}))

    done = await asked_back(live, "approve", "replaced", before_the_answer=another_is_asked)

    assert done.code == Exit.REFUSED
    assert "fence_mismatch" in done.out
    assert place.executions("approve") == 0
    approval = place.approval()
    assert approval is not None
    assert approval["status"] == "pending"


async def test_whoever_says_yes_to_what_was_shown_decides_on_it(live: Live) -> None:
    done = await asked_back(live, "approve", "shown", before_the_answer=lambda: None)

    assert done.code == Exit.OK, done.err
    assert live.told("shown") == once("confirmed")


async def test_a_dry_run_shows_the_command_and_does_nothing(live: Live) -> None:
    done = await live.opsctl("cancel", "foreign", "--dry-run")

    assert done.code == Exit.OK, done.err
    assert f"superloop.sh cancel --repo {live.places['foreign'].repo}" in done.out
    assert (calls(live, "foreign"), live.steps("foreign")) == (0, [])


async def test_a_key_that_is_used_again_brings_back_the_outcome(live: Live) -> None:
    first = await live.ask("cancel", "keyed", "--idempotency-key", "k-1")
    again = await live.ask("cancel", "keyed", "--idempotency-key", "k-1")

    assert (first.ends, first.replayed) == (("confirmed", Exit.OK), False)
    assert (again.ends, again.replayed) == (("confirmed", Exit.OK), True)
    assert again.known.id == first.known.id
    assert live.places["keyed"].executions("cancel") == 1
    assert live.told("keyed") == once("confirmed")


async def test_a_key_with_another_request_is_a_conflict_that_names_the_first(live: Live) -> None:
    first = await live.ask("approve", "conflict", "--idempotency-key", "k-1")
    done = await live.opsctl("reject", "conflict", "--yes", "--idempotency-key", "k-1")

    assert done.code == Exit.USAGE
    assert first.known.id in done.err
    assert live.places["conflict"].executions("approve") == 1


async def test_of_two_operators_at_once_one_acts_and_the_other_is_told(live: Live) -> None:
    done: list[Outcome] = []

    async def cancel(name: str) -> None:
        done.append(await live.ask("cancel", "contested", "--by", name))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel, "riya")
        tasks.start_soon(cancel, "sam")

    assert sorted(one.ends for one in done) == [("confirmed", Exit.OK), ("refused", Exit.REFUSED)]
    (late,) = [one for one in done if one.refusal]
    (first,) = [one for one in done if not one.refusal]
    assert late.refusal == "intent_in_flight"
    assert late.known.refusal is not None
    assert f"{first.known.requested_by}'s cancel" in late.known.refusal.message
    assert live.places["contested"].executions("cancel") == 1


async def test_one_who_presses_twice_has_asked_once(live: Live) -> None:
    done: list[Outcome] = []

    async def cancel() -> None:
        done.append(await live.ask("cancel", "pressed"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel)
        tasks.start_soon(cancel)

    assert [one.ends for one in done] == [("confirmed", Exit.OK)] * 2
    assert len({one.known.id for one in done}) == 1
    assert live.places["pressed"].executions("cancel") == 1


async def test_in_observe_mode_nothing_is_done_and_every_view_says_so(live: Live) -> None:
    set_ = await live.opsctl("mode", "observe", "observed", "--reason", "the disks are exchanged", "--by", "riya")
    assert set_.code == Exit.OK, set_.err
    try:
        done = await live.ask("cancel", "observed")

        assert (done.refusal, done.code) == ("observe_mode", Exit.REFUSED)
        assert calls(live, "observed") == 0
        for words in (("status", "observed"), ("mode",)):
            assert "observe" in (await live.opsctl(*words)).out
        assert "the disks are exchanged" in (await live.opsctl("mode")).out
        live.opsd.kill()
        live.opsd.start()
        assert (await live.ask("cancel", "observed")).refusal == "observe_mode", "a crash does not lift it"
    finally:
        await live.opsctl("mode", "normal", "observed")
    assert (await live.ask("cancel", "observed")).ends == ("confirmed", Exit.OK)


@only_root
async def test_somebody_else_may_not_even_ask(live: Live) -> None:
    folder = live.home
    while folder != folder.parent:
        folder.chmod(folder.stat().st_mode | 0o011)
        folder = folder.parent

    done = await opsctl_as_stranger(live.opsd.socket, "cancel", "foreign", "--yes")

    assert done.code == Exit.DENIED
    assert calls(live, "foreign") == 0


@pytest.mark.parametrize("loop_id", ["no-command", "not-executable"])
async def test_without_the_runtimes_command_nothing_can_be_done(live: Live, loop_id: str) -> None:
    command = live.places[loop_id].repo / "superloop.sh"
    if loop_id == "no-command":
        command.unlink()
    else:
        command.chmod(0o644)

    done = await live.ask("cancel", loop_id)

    assert (done.refusal, done.code) == ("runtime_command_missing", Exit.REFUSED)
    assert live.places[loop_id].lives()
    assert live.steps(loop_id) == ["refused"]
