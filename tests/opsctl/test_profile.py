"""`opsctl profile`: shown, chosen for a reason, ended, listed; against a real server."""

import json
from pathlib import Path

import pytest

from opsctl.exits import Exit
from tests.api.world import a_world
from tests.opsctl.cli import opsctl


async def test_a_profile_is_chosen_and_ended(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        before = await opsctl(world.path, "profile", "docs-17")
        chosen = await opsctl(world.path, "profile", "docs-17", "--set", "strict", "--reason", "quick", "--by", "ana")
        record = json.loads((await opsctl(world.path, "profile", "docs-17", "-o", "json")).out)
        ended = await opsctl(world.path, "profile", "docs-17", "--set", "default", "--reason", "no longer")
        cleared = await opsctl(world.path, "profile", "docs-17", "--clear", "--reason", "no longer")

    assert before.lines()[0] == "docs-17  balanced, the catalog's default"
    assert chosen.lines()[0] == "docs-17  strict, chosen for this loop"
    assert any("strict chosen by ana at" in line and line.endswith(": quick") for line in chosen.lines())
    assert [line.split() for line in chosen.lines()[-3:]] == [
        ["silence", "of", "the", "log", "120", "s", "300", "s"],
        ["missing", "heartbeat", "120", "s", "300", "s"],
        ["failed", "looks", "in", "a", "row", "1", "2"],
    ]
    assert (record["source"], record["thresholds"]["profile"]) == ("chosen", "strict")
    assert ended.lines()[0] == cleared.lines()[0] == before.lines()[0]


async def test_the_catalog_is_listed_with_its_values(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        listed = await opsctl(world.path, "profile", "--list")
        names = await opsctl(world.path, "profile", "--list", "-o", "name")

    assert names.lines() == ["balanced", "relaxed", "strict"]
    assert listed.lines()[1].split()[:7] == ["balanced", "300/900", "s", "2/4", "of", "all", "loops"]


async def test_what_became_unusable_is_told_with_the_command_to_type(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await opsctl(world.path, "profile", "docs-17", "--set", "strict", "--reason", "quick")
        del world.desk.basis.catalog.profiles["strict"]
        told = await opsctl(world.path, "profile", "docs-17")

    assert told.lines()[0] == "docs-17  balanced, the catalog's default"
    assert "without effect: unknown threshold profile: strict" in told.out
    assert told.lines()[-1] == "  next: opsctl profile docs-17 --clear --reason ..."


@pytest.mark.parametrize(
    "words",
    [
        ("docs-17", "--set", "strict"),
        ("docs-17", "--clear"),
        ("docs-17", "--reason", "because"),
        ("--set", "strict", "--reason", "because"),
        (),
    ],
)
async def test_half_a_choice_is_none(tmp_path: Path, words: tuple[str, ...]) -> None:
    async with a_world(tmp_path) as world:
        done = await opsctl(world.path, "profile", *words)

        assert done.code == Exit.USAGE
        assert not world.desk.chosen


async def test_a_profile_that_there_is_not_is_a_no(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        done = await opsctl(world.path, "profile", "docs-17", "--set", "stern", "--reason", "why")

    assert done.code == Exit.NO
    assert "balanced, relaxed, strict" in done.err
