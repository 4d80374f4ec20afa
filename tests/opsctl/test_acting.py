"""Asking for something to be done: what is shown and asked before, what is sent, and how it ends."""

import json
from pathlib import Path

import pytest

from opsctl.exits import Exit
from opsd.api.peer import Access
from opsd.model.intent import Fence, IntentKind, IntentStatus, Stage
from opsd.model.lifecycle import Lifecycle, Phase
from opsd.protocol import IntentRequest
from tests.api.wire import eventually
from tests.api.world import World, a_world, open_folder
from tests.doubles.desk import a_full_disk, a_refusal
from tests.doubles.fleet import a_supervised_run
from tests.opsctl.cli import (
    STRANGER_GID,
    Done,
    only_root,
    opsctl,
    opsctl_as_stranger,
    opsctl_at_a_terminal,
    running,
)
from tests.opsctl.loops import DIGEST, LATER, RUN, a_waiting_run, of_another_run


def requests(world: World) -> list[IntentRequest]:
    return [request for _, request, _ in world.desk.asked]


def kinds(world: World) -> list[tuple[str, IntentKind]]:
    return [(loop_id, request.intent) for loop_id, request, _ in world.desk.asked]


def waits(world: World, loop_id: str = "docs-17") -> None:
    """The loop asks to be approved."""
    world.fleet.put(a_waiting_run(loop_id, world.clock.now(), world.repo))


def outcomes_in(done: Done) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(done.out)["outcomes"]
    return rows


# Before


async def test_nobody_is_asked_where_nobody_can_answer(tmp_path: Path) -> None:
    """A script that hangs in a prompt at night is worse than one that fails."""
    async with a_world(tmp_path) as world:
        done = await opsctl(world.path, "cancel", "docs-17")

    assert (done.code, done.out) == (Exit.USAGE, "")
    assert "no terminal to answer on" in done.err
    assert "--yes" in done.err
    assert world.desk.asked == []


@pytest.mark.parametrize("typed", ["n\n", "\n", "why?\n", "\x04"])
async def test_whatever_is_no_yes_is_a_no(tmp_path: Path, typed: str) -> None:
    async with a_world(tmp_path) as world:
        done = await opsctl_at_a_terminal(world.path, "cancel", "docs-17", typed=typed)

    assert (done.code, done.out) == (Exit.NO, "")
    assert "cancel docs-17? [y/N]" in done.err
    assert "nothing was asked of opsd" in done.err
    assert world.desk.asked == []


async def test_the_state_is_shown_and_one_question_asked_for_all_loops(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.outcomes = dict.fromkeys(("docs-17", "api 03"), IntentStatus.CONFIRMED)
        done = await opsctl_at_a_terminal(world.path, "cancel", "docs-17", "api 03", typed="y\n")

    assert done.code == Exit.OK
    assert done.err.count("[y/N]") == 1
    assert "cancel these 2 loops? [y/N]" in done.err
    before = done.err.partition("[y/N]")[0]
    assert f"run         {RUN}, started " in before
    assert "progress    3/20 implementer" in before
    assert "failed (crashed), critical, runtime_process_missing" in before
    assert kinds(world) == [("docs-17", "cancel"), ("api 03", "cancel")]


async def test_who_approves_sees_what_and_that_nothing_runs_by_it(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        waits(world)
        done = await opsctl_at_a_terminal(world.path, "approve", "docs-17", typed="n\n")

    for part in (
        f"asked by    run {RUN}, iteration 3",
        "5m ago",
        "given: All of it works.",
        "tests ok",
        f"candidate   {DIGEST[:12]}\n",
        f"summary: {world.repo}/.superloop/loops/docs-17/summary.md",
        "nothing runs until the next start: opsctl start docs-17",
    ):
        assert part in done.err


# What is sent


async def test_what_is_expected_is_what_was_shown(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await opsctl(world.path, "cancel", "docs-17", "--yes", "--no-wait")
        waits(world, "api 03")
        await opsctl(world.path, "approve", "api 03", "--yes", "--no-wait")

    cancel, approve = requests(world)
    assert cancel.expect == Fence(RUN)
    assert approve.expect == Fence(RUN, 3, DIGEST)


async def test_a_run_that_is_named_is_compared_instead(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        done = await opsctl(world.path, "cancel", "docs-17", "--yes", "--if-run", "2025-12-31T00:00:00Z")

    assert done.code == Exit.REFUSED
    assert "fence_mismatch" in done.out
    assert f"run_id: expected 2025-12-31T00:00:00Z, found {RUN}" in done.out
    assert "next: Look again with `opsctl status docs-17`" in done.out


async def test_every_option_arrives(tmp_path: Path) -> None:
    common = ("--yes", "--no-wait", "--by", "ana", "--note", "noted", "--reason", "because")
    async with a_world(tmp_path) as world:
        await opsctl(world.path, "pause", "docs-17", *common, "--for", "2h", "--confirm-within", "5m")
        await opsctl(
            world.path, "start", "api 03", *common, "--clear-stale", "--override-divergence", "--no-confirm",
            "--idempotency-key", "k-1",
        )  # fmt: skip

    pause, start = requests(world)
    assert {(each.by, each.note, each.reason) for each in (pause, start)} == {("ana", "noted", "because")}
    assert (pause.pause_for_s, pause.timeout_s, pause.confirm, pause.clear_stale) == (7200.0, 300.0, True, False)
    assert (start.clear_stale, start.override_divergence, start.confirm, start.idempotency_key) == (
        True,
        True,
        False,
        "k-1",
    )
    assert len({each.trace_id for each in (pause, start)} - {None}) == 2


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["cancel", "docs-17", "--override-divergence"], "needs a reason"),
        (["cancel", "docs-17", "api 03", "--if-run", "x"], "names the run of one loop"),
        (["approve", "docs-17", "--then-start", "--no-wait"], "waits for the decision to be confirmed"),
        (["approve", "docs-17", "--then-start", "--no-confirm"], "waits for the decision to be confirmed"),
        (["cancel", "docs-17", "--wait=consumed"], "invalid choice: 'consumed'"),
        (["cancel", "--wait", "docs-17"], "'docs-17' cannot be waited for"),
        (["pause", "docs-17", "--for", "31d"], "too long"),
        (["cancel", "docs-17", "--confirm-within", "2h"], "too long"),
        (["mode", "normal", "--for", "2h"], "normal mode has no end"),
        (["mode", "--reason", "x"], "only a mode that is set has a reason"),
    ],
)
async def test_options_that_do_not_go_together_are_refused_at_once(tmp_path: Path, args: list[str], says: str) -> None:
    async with a_world(tmp_path) as world:
        done = await opsctl(world.path, *args)

    assert (done.code, done.out) == (Exit.USAGE, "")
    assert says in done.err
    assert world.desk.asked == []


async def test_one_unknown_loop_keeps_everything_from_being_asked(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        done = await opsctl(world.path, "cancel", "docs-17", "docs-71", "--yes")

    assert done.code == Exit.UNKNOWN_LOOP
    assert "did you mean 'docs-17'?" in done.err
    assert world.desk.asked == []


# How it ends


@pytest.mark.parametrize(
    ("outcome", "code", "shown"),
    [
        (IntentStatus.CONFIRMED, Exit.OK, "state.json"),
        (IntentStatus.EXECUTED_UNCONFIRMED, Exit.OK, "superloop.sh cancel"),
        (IntentStatus.AMBIGUOUS, Exit.AMBIGUOUS, "opsctl intent ack intent-1 --reason ..."),
        (IntentStatus.FAILED_COMMAND, Exit.FAILED, "  | superloop: no such loop"),
        (IntentStatus.EXPIRED, Exit.REFUSED, "next: Nothing was done"),
    ],
)
async def test_every_outcome_has_its_exit_code(tmp_path: Path, outcome: IntentStatus, code: Exit, shown: str) -> None:
    async with a_world(tmp_path) as world:
        world.desk.outcomes["docs-17"] = outcome
        done = await opsctl(world.path, "cancel", "docs-17", "--yes")

    assert (done.code, done.err) == (code, "")
    assert done.lines()[0].startswith(f"docs-17  cancel  {outcome}")
    assert shown in done.out
    assert "intent intent-1" in done.out


async def test_a_refusal_is_exit_10_with_the_next_step(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.refusals["docs-17"] = a_refusal("stale_active")
        done = await opsctl(world.path, "start", "docs-17", "--yes")

    assert done.code == Exit.REFUSED
    assert "stale_active: " in done.out
    assert "opsctl start docs-17 --clear-stale" in done.out


async def test_it_waits_until_the_intent_is_settled(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, running(world.path, "cancel", "docs-17", "--yes") as cancel:
        await eventually(lambda: world.desk.waiting > 0)
        assert cancel.process.returncode is None
        world.desk.move("intent-1", IntentStatus.CONFIRMED)

        assert (await cancel.line()).startswith("docs-17  cancel  confirmed")
        assert await cancel.ended() == Exit.OK


async def test_without_waiting_it_ends_once_it_is_recorded(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        done = await opsctl(world.path, "cancel", "docs-17", "--yes", "--no-wait")

    assert (done.code, done.err) == (Exit.OK, "")
    assert done.lines()[0] == "docs-17  cancel  recorded"
    assert "opsctl intents docs-17 -f" in done.out


async def test_a_dry_run_asks_nobody_and_records_nothing(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        would = await opsctl(world.path, "cancel", "docs-17", "--dry-run")
        world.desk.refusals["docs-17"] = a_refusal("nothing_to_cancel")
        refused = await opsctl(world.path, "cancel", "docs-17", "--dry-run")

    assert would.code == Exit.OK
    assert f"superloop.sh cancel --repo {world.repo}" in would.out
    assert refused.code == Exit.REFUSED
    assert "nothing_to_cancel" in refused.out
    assert "intent-1" not in would.out + refused.out, "it cannot be asked for"
    assert world.desk.intents == ()


async def test_several_loops_are_all_asked_before_one_is_waited_for(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, running(world.path, "cancel", "docs-17", "api 03", "--yes") as cancel:
        await eventually(lambda: len(world.desk.intents) == 2)
        assert {each.status for each in world.desk.intents} == {IntentStatus.RECORDED}
        world.desk.move("intent-2", IntentStatus.AMBIGUOUS)
        world.desk.move("intent-1", IntentStatus.CONFIRMED)

        rows = [await cancel.line() for _ in range(3)]
        assert await cancel.ended() == Exit.AMBIGUOUS, "the worst of them"

    assert rows[0].split() == ["LOOP", "INTENT", "STATUS", "ID", "WHAT"]
    assert rows[1].startswith("docs-17  cancel  confirmed  intent-1")
    assert rows[2].startswith("api 03   cancel  ambiguous  intent-2")


async def test_a_loop_that_cannot_be_asked_does_not_keep_the_others_from_it(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.outcomes["docs-17"] = IntentStatus.CONFIRMED
        done = await opsctl(world.path, "cancel", "fleet", "docs-17", "--yes")

    assert done.code == Exit.NO
    assert "fleet    cancel  not asked" in done.out
    assert "docs-17  cancel  confirmed" in done.out
    assert "mend its registry entry" in done.err


async def test_the_laggard_is_named_when_the_time_is_up(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.outcomes["docs-17"] = IntentStatus.CONFIRMED
        done = await opsctl(world.path, "cancel", "docs-17", "api 03", "--yes", "--timeout", "0.3")

    assert done.code == Exit.TIMEOUT
    assert "docs-17  cancel  confirmed" in done.out
    assert "the cancel of api 03 is recorded" in done.err
    assert "opsctl intents 'api 03' -f" in done.err
    assert "docs-17" not in done.err


async def test_a_key_replays_and_another_request_under_it_is_a_conflict(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.outcomes["docs-17"] = IntentStatus.CONFIRMED
        args = ("docs-17", "--yes", "--idempotency-key", "k-1")
        first = await opsctl(world.path, "cancel", *args)
        again = await opsctl(world.path, "cancel", *args)
        other = await opsctl(world.path, "start", *args)

    assert (first.code, again.code, other.code) == (Exit.OK, Exit.OK, Exit.USAGE)
    assert "asked for before" not in first.out
    assert "asked for before; nothing new was done" in again.out
    assert "opsctl intent show intent-1" in other.err
    assert len(world.desk.intents) == 1


async def test_what_cannot_be_written_down_is_not_done(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.broken = a_full_disk()
        done = await opsctl(world.path, "cancel", "docs-17", "--yes")

    assert (done.code, done.out) == (Exit.REFUSED, "")
    assert "No space left on device" in done.err
    assert "make room on the disk" in done.err


@only_root
async def test_who_may_only_read_is_told_what_to_do() -> None:
    readers = Access(owner_uid=0, socket_gid=STRANGER_GID, operator_gid=64_003)
    with open_folder() as folder:
        async with a_world(folder, readers) as world:
            done = await opsctl_as_stranger(world.path, "cancel", "docs-17", "--yes")

    assert (done.code, done.out) == (Exit.DENIED, "")
    assert "may not write here; ask for membership of the daemon's operator group" in done.err
    assert world.desk.asked == []


# Decisions and what follows on them


async def test_a_decision_then_a_start_are_two_intents_with_two_outcomes(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        waits(world)
        world.desk.outcomes["docs-17"] = IntentStatus.CONFIRMED
        done = await opsctl(
            world.path, "approve", "docs-17", "--yes", "--then-start", "--note", "read it", "--idempotency-key", "k"
        )

    approve, start = requests(world)
    assert done.code == Exit.OK
    assert (approve.intent, approve.idempotency_key, approve.note) == (IntentKind.APPROVE, "k", "read it")
    assert (start.intent, start.idempotency_key, start.expect) == (IntentKind.START, "k-start", Fence(RUN))
    assert [line.split()[:3] for line in done.lines() if line.startswith("docs-17")] == [
        ["docs-17", "approve", "confirmed"],
        ["docs-17", "start", "confirmed"],
    ]
    assert done.out.count("next: ") == 1, "what to do next is done already"


async def test_nothing_is_started_on_a_decision_that_is_not_confirmed(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        waits(world)
        world.desk.outcomes["docs-17"] = IntentStatus.AMBIGUOUS
        done = await opsctl(world.path, "reject", "docs-17", "--yes", "--then-start")

    assert done.code == Exit.AMBIGUOUS
    assert kinds(world) == [("docs-17", "reject")]
    assert "docs-17 is not started" in done.err


async def test_where_the_start_comes_to_nothing_nobody_waits_for_a_run(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        waits(world)
        args = ("approve", "docs-17", "--yes", "--then-start", "--wait=complete", "-o", "jsonl")
        async with running(world.path, *args) as approve:
            await eventually(lambda: world.desk.waiting > 0)
            world.desk.refusals["docs-17"] = a_refusal("run_active")
            world.desk.move("intent-1", IntentStatus.CONFIRMED)

            ends = [json.loads(await approve.line()) for _ in range(2)]
            assert await approve.ended() == Exit.REFUSED

    assert [(end["kind"], end["exitCode"]) for end in ends] == [("approve", Exit.OK), ("start", Exit.REFUSED)]


@pytest.mark.parametrize(("wait", "stage"), [("consumed", Stage.CONSUMED), ("complete", Stage.COMPLETED)])
async def test_one_can_wait_until_a_decision_is_taken_up_or_through(tmp_path: Path, wait: str, stage: Stage) -> None:
    async with a_world(tmp_path) as world:
        waits(world)
        world.desk.outcomes["docs-17"] = IntentStatus.CONFIRMED
        async with running(world.path, "approve", "docs-17", "--yes", "--wait-for", wait) as approve:
            await eventually(lambda: world.desk.waiting > 0)
            world.desk.stage("intent-1", stage)

            assert (await approve.line()).startswith(f"docs-17  approve  confirmed ({stage})")
            assert await approve.ended() == Exit.OK


async def test_a_decision_that_no_run_takes_up_is_a_timeout(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        waits(world)
        world.desk.outcomes["docs-17"] = IntentStatus.CONFIRMED
        done = await opsctl(world.path, "approve", "docs-17", "--yes", "--wait=consumed", "--timeout", "0.3")

    assert done.code == Exit.TIMEOUT
    assert "docs-17  approve  confirmed (recorded)" in done.out
    assert "not consumed within" in done.err


@pytest.mark.parametrize(
    ("lifecycle", "phase", "code"),
    [
        (Lifecycle.COMPLETE, Phase.COMPLETE, Exit.OK),
        (Lifecycle.FAILED, Phase.CRASHED, Exit.NO),
        (Lifecycle.AWAITING_APPROVAL, Phase.AWAITING_APPROVAL, Exit.NO),
    ],
)
async def test_the_run_that_was_started_is_waited_for_and_not_the_one_before(
    tmp_path: Path, lifecycle: Lifecycle, phase: Phase, code: Exit
) -> None:
    """The loop's picture may still be that of its last run when the start is confirmed."""
    async with a_world(tmp_path) as world:
        now = world.clock.now()
        world.fleet.put(a_supervised_run("docs-17", now, lifecycle=Lifecycle.STOPPED, phase=Phase.STOPPED))
        world.desk.outcomes["docs-17"] = IntentStatus.CONFIRMED
        async with running(world.path, "start", "docs-17", "--yes", "--wait=complete") as start:
            await eventually(lambda: world.fleet.feed.readers > 0)
            world.fleet.put(of_another_run(a_supervised_run("docs-17", now)))
            world.fleet.put(of_another_run(a_supervised_run("docs-17", now, lifecycle=lifecycle, phase=phase)))

            lines = await start.until("ended: ")
            assert lines[0].startswith("docs-17  start  confirmed")
            assert lines[-1].strip().startswith(f"run {LATER} ended: {lifecycle}")
            assert await start.ended() == code


# For programs


async def test_the_same_outcomes_stand_behind_every_form(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.outcomes["docs-17"] = IntentStatus.CONFIRMED
        args = ("cancel", "docs-17", "--yes", "--idempotency-key", "k", "-o")
        whole, lines, names, yaml = [
            await opsctl(world.path, *args, form) for form in ("json", "jsonl", "name", "yaml")
        ]
        kept = json.loads((await world.get("/v1/intents/intent-1")).body)["intent"]

    (row,) = outcomes_in(whole)
    assert (row["loopId"], row["kind"], row["exitCode"], row["id"]) == ("docs-17", "cancel", 0, "intent-1")
    assert row["intent"] == kept, "nothing that the daemon says of it is lost"
    assert json.loads(lines.out)["intent"] == kept
    assert json.loads(lines.out)["replayed"] is True
    assert names.out == "intent-1\n"
    assert "  - loopId: docs-17\n" in yaml.out


async def test_what_went_wrong_on_the_way_is_in_the_record_too(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.outcomes["docs-17"] = IntentStatus.CONFIRMED
        done = await opsctl(world.path, "cancel", "docs-17", "fleet", "--yes", "-o", "json")
        names = await opsctl(world.path, "cancel", "docs-17", "fleet", "--yes", "-o", "name")

    well, ill = outcomes_in(done)
    assert (well["exitCode"], ill["exitCode"]) == (Exit.OK, Exit.NO)
    error = ill["error"]
    assert isinstance(error, dict)
    assert "listed and not looked at" in error["message"]
    assert names.lines() == ["intent-2"]


# Interrupted


async def test_ctrl_c_ends_the_waiting_and_says_what_goes_on(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, running(world.path, "cancel", "docs-17", "--yes") as cancel:
        await eventually(lambda: world.desk.waiting > 0)

        assert await cancel.interrupt() == Exit.INTERRUPTED
        assert await cancel.note() == "opsctl: interrupted"
        assert await cancel.note() == (
            "opsctl: the cancel of docs-17 is recorded, and goes on: opsctl intent show intent-1"
        )
        assert world.desk.intents[0].is_in_flight


async def test_ctrl_c_before_the_start_says_that_nothing_was_started(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        waits(world)
        async with running(world.path, "approve", "docs-17", "--yes", "--then-start") as approve:
            await eventually(lambda: world.desk.waiting > 0)

            assert await approve.interrupt() == Exit.INTERRUPTED
            notes = [await approve.note() for _ in range(3)]
        assert notes[-1] == "opsctl: no start was asked for yet: opsctl start docs-17"
        assert kinds(world) == [("docs-17", "approve")]


async def test_whoever_waits_long_is_told_for_what(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, running(world.path, "cancel", "docs-17", "--yes") as cancel:
        assert "waiting: the cancel of docs-17 is recorded" in await cancel.note()
