"""What was asked and what waits: lists, one in full, an operator's word, modes; as processes against a real server."""

import json
from pathlib import Path

import pytest

from opsctl.exits import Exit
from opsd.model.intent import IntentStatus
from opsd.model.mode import Mode
from tests.api.world import World, a_world
from tests.doubles.desk import a_full_disk
from tests.opsctl.cli import opsctl
from tests.opsctl.loops import a_waiting_run


async def ask_both(world: World) -> None:
    """An intent on each loop, of which that on `docs-17` is ambiguous."""
    world.desk.outcomes["docs-17"] = IntentStatus.AMBIGUOUS
    for loop_id in ("docs-17", "api 03"):
        await opsctl(world.path, "cancel", loop_id, "--yes", "--no-wait", "--by", "ana")


async def test_intents_are_listed_for_all_or_one_loop_or_only_the_open(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await ask_both(world)
        every = await opsctl(world.path, "intents")
        one = await opsctl(world.path, "intents", "docs-17", "-o", "name")
        world.desk.move("intent-2", IntentStatus.CONFIRMED)
        still_open = await opsctl(world.path, "intents", "--open", "-o", "name")
        newest = await opsctl(world.path, "intents", "-n", "1", "-o", "name")
        whole = json.loads((await opsctl(world.path, "intents", "-o", "json")).out)
        rows = [json.loads(line) for line in (await opsctl(world.path, "intents", "-o", "jsonl")).lines()]

    assert (every.code, every.err) == (Exit.OK, "")
    assert [line.split()[:1] for line in every.lines()[1:3]] == [["intent-1"], ["intent-2"]]
    assert "next: opsctl intent show intent-1" in every.out
    assert one.lines() == ["intent-1"]
    assert still_open.lines() == ["intent-1"]
    assert newest.lines() == ["intent-2"]
    assert rows == whole["intents"]


async def test_one_intent_is_shown_in_full(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await ask_both(world)
        shown = await opsctl(world.path, "intent", "show", "intent-1")
        record = json.loads((await opsctl(world.path, "intent", "show", "intent-1", "-o", "json")).out)
        unknown = await opsctl(world.path, "intent", "show", "intent-9")

    assert shown.code == Exit.OK
    assert shown.lines()[0] == "docs-17  cancel  ambiguous"
    assert "What is known of its effect\n  not proven (timeout)" in shown.out
    assert "next: " in shown.out
    assert (record["intent"]["id"], record["intent"]["status"]) == ("intent-1", "ambiguous")
    assert unknown.code == Exit.NO
    assert "'opsctl intents' lists those that there are" in unknown.err


async def test_an_ambiguous_intent_is_settled_by_one_s_word_once(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await ask_both(world)
        settled = await opsctl(world.path, "intent", "ack", "intent-1", "--reason", "it is gone", "--by", "ben")
        again = await opsctl(world.path, "intent", "ack", "intent-1", "--reason", "it is gone")
        without = await opsctl(world.path, "intent", "ack", "intent-1")

    assert settled.code == Exit.OK
    assert "settled by the word of ben" in settled.out
    assert "it is gone" in settled.out
    assert again.code == Exit.NO
    assert "next: opsctl intent show intent-1" in again.err
    assert (without.code, "--reason" in without.err) == (Exit.USAGE, True)


async def test_what_waits_for_a_human_comes_with_the_command_to_type(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        none = await opsctl(world.path, "approvals")
        await ask_both(world)
        world.fleet.put(a_waiting_run("api 03", world.clock.now(), world.repo))
        waiting = await opsctl(world.path, "approvals")
        names = await opsctl(world.path, "approvals", "-o", "name")
        items = json.loads((await opsctl(world.path, "approvals", "-o", "json")).out)["items"]

    assert "nothing waits for a human" in none.out
    assert waiting.code == Exit.OK
    heads = [line for line in waiting.lines() if line.endswith(("  approval_pending", "  control_ambiguous"))]
    assert [line.split("  ")[-2:] for line in heads] == [
        ["api 03", "approval_pending"],
        ["docs-17", "control_ambiguous"],
    ]
    assert "next: opsctl approve 'api 03'" in waiting.out
    assert "next: opsctl intent ack intent-1 --reason ..." in waiting.out
    assert names.lines() == ["api 03", "docs-17"]
    assert [item["kind"] for item in items] == ["approval_pending", "control_ambiguous"]


async def test_a_mode_is_set_shown_and_lifted(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        before = await opsctl(world.path, "mode")
        fleet = await opsctl(world.path, "mode", "observe", "--reason", "disks", "--for", "2h", "--by", "ana")
        loop = await opsctl(world.path, "mode", "observe", "docs-17", "--by", "ben")
        shown = await opsctl(world.path, "mode")
        record = json.loads((await opsctl(world.path, "mode", "-o", "json")).out)
        await opsctl(world.path, "mode", "normal", "docs-17")
        lifted = await opsctl(world.path, "mode", "normal")
        unknown = await opsctl(world.path, "mode", "observe", "docs-71")

    assert before.out == lifted.out == "normal mode: intents are carried out\n"
    assert fleet.lines()[0].startswith("observe mode for the fleet: by ana since ")
    assert fleet.out.endswith("(disks)\n")
    assert "observe mode for loop docs-17: by ben since " in loop.out
    assert shown.out == loop.out
    assert [mode["mode"] for mode in record["modes"]] == [Mode.OBSERVE, Mode.OBSERVE]
    assert unknown.code == Exit.UNKNOWN_LOOP


async def test_a_mode_that_cannot_be_written_down_is_not_set(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.broken = a_full_disk()
        done = await opsctl(world.path, "mode", "observe")

    assert (done.code, done.out) == (Exit.REFUSED, "")
    assert "No space left on device" in done.err


@pytest.mark.parametrize("args", [["status", "docs-17"], ["approvals"], ["intents"], ["intents", "docs-17"]])
async def test_whoever_looks_is_told_of_observe_mode_beside_the_answer(tmp_path: Path, args: list[str]) -> None:
    async with a_world(tmp_path) as world:
        await opsctl(world.path, "mode", "observe", "--by", "ana", "--reason", "disks")
        people = await opsctl(world.path, *args)
        programs = await opsctl(world.path, *args, "-o", "json")

    assert "opsctl: observe mode for the fleet: by ana since " in people.err
    assert "(disks): no intent is carried out" in people.err
    assert "observe mode" not in programs.err


async def test_the_table_of_the_fleet_has_a_line_about_observe_mode(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await opsctl(world.path, "mode", "observe", "--by", "ana")
        fleet = await opsctl(world.path, "status")
        loop = await opsctl(world.path, "status", "docs-17")
        refused = await opsctl(world.path, "start", "docs-17", "--yes")

    assert fleet.lines()[1].startswith("opsd: observe mode for the fleet: by ana")
    assert "observe mode until somebody ends it" in loop.out
    assert refused.code == Exit.REFUSED
    assert "observe_mode: " in refused.out
