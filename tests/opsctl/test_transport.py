"""`opsctl transport`: shown, switched for a reason, and what it says where it cannot be; against a real server."""

import json
from pathlib import Path

from opsctl.exits import Exit
from opsd.model.ids import LoopId
from tests.api.world import a_world
from tests.opsctl.cli import opsctl


async def test_a_loop_is_switched_and_switched_back(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.served.add(LoopId("docs-17"))
        before = await opsctl(world.path, "transport", "docs-17")
        switched = await opsctl(
            world.path, "transport", "docs-17", "sprite_service", "--reason", "slow disk", "--by", "ana"
        )
        record = json.loads((await opsctl(world.path, "transport", "docs-17", "-o", "json")).out)
        back = await opsctl(world.path, "transport", "docs-17", "declared", "--reason", "mended", "--by", "ana")

    assert before.out == "docs-17  local\n"
    assert switched.lines()[:2] == ["docs-17  sprite_service", "  the registry says local"]
    assert "switched by ana at" in switched.out
    assert switched.out.endswith(": slow disk\n")
    assert (record["transport"], record["declared"], record["events"]) == ("sprite_service", "local", True)
    assert back.lines()[0] == "docs-17  local"


async def test_events_are_switched_off_without_a_word_about_the_way(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.served.add(LoopId("docs-17"))
        await opsctl(world.path, "transport", "docs-17", "sprite_service", "--reason", "slow disk")
        off = await opsctl(world.path, "transport", "docs-17", "--events", "off", "--reason", "too many")

    assert off.lines()[0] == "docs-17  sprite_service, snapshots only"


async def test_a_switch_needs_a_reason(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        done = await opsctl(world.path, "transport", "docs-17", "local")

    assert done.code == Exit.USAGE
    assert "--reason" in done.err


async def test_a_reason_alone_switches_nothing(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        done = await opsctl(world.path, "transport", "docs-17", "--reason", "because")

    assert done.code == Exit.USAGE


async def test_a_way_that_there_is_not_is_a_no(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        done = await opsctl(world.path, "transport", "docs-17", "sprite_service", "--reason", "slow disk")

    assert done.code == Exit.NO
    assert "service.baseUrl" in done.err
