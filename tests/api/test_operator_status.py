"""`GET /v1/loops/{id}/operator-status`, and `opsctl status LOOP` for programs: what `ops-manager status` prints."""

import json
from pathlib import Path
from typing import Any

import anyio.to_thread

from opsctl.exits import Exit
from tests.api.world import a_world
from tests.batch.cli import Done, spawn
from tests.batch.status_files import put, write
from tests.opsctl.cli import opsctl

LOOP = "docs-17"
PATH = f"/v1/loops/{LOOP}/operator-status"


def _ours(folder: Path) -> Path:
    return folder / "repo" / ".superloop" / "ops-manager" / LOOP


async def _command(folder: Path, *flags: str) -> Done:
    words = ("status", "--repo", str(folder / "repo"), "--loop", LOOP, *flags)
    return await anyio.to_thread.run_sync(lambda: spawn(*words))


def without_time(text: str | bytes) -> str:
    """All but what differs from one moment to the next, in its order."""
    document: dict[str, Any] = json.loads(text)
    return json.dumps({name: each for name, each in document.items() if name not in ("generatedAt", "ages", "manager")})


async def test_the_same_document_comes_over_the_socket_from_the_client_and_from_the_command(tmp_path: Path) -> None:
    write(_ours(tmp_path))
    async with a_world(tmp_path) as world:
        answered = await world.get(f"{PATH}?summaryWindow=30")
        usual = await world.get(PATH)
        client = await opsctl(world.path, "status", LOOP, "-o", "json")
        yaml = await opsctl(world.path, "status", LOOP, "-o", "yaml")
        row = await opsctl(world.path, "status", LOOP, "-o", "jsonl")
    command = await _command(tmp_path)
    narrow = await _command(tmp_path, "--summary-window", "30")

    assert (answered.status, client.code, command.code) == (200, Exit.OK, 0)
    assert without_time(usual.body) == without_time(command.out) == without_time(client.out) == without_time(row.out)
    assert without_time(answered.body) == without_time(narrow.out) != without_time(command.out)
    assert yaml.lines()[0] == "schemaVersion: v1"
    assert any(line.startswith("overallStatus: ") for line in yaml.lines())


async def test_a_loop_of_which_nothing_is_written_has_none(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answered = await world.get(PATH)
        unknown = await world.get("/v1/loops/nowhere/operator-status")
        client = await opsctl(world.path, "status", LOOP, "-o", "json")

    status, code, message = answered.error()
    assert (status, code) == (404, "not_found")
    assert "make a first pass" in message
    assert unknown.error()[:2] == (404, "unknown_loop")
    assert client.code != Exit.OK
    assert "make a first pass" in client.err


async def test_a_file_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    write(_ours(tmp_path))
    put(_ours(tmp_path), "heartbeat.json", b"")
    async with a_world(tmp_path) as world:
        status, code, message = (await world.get(PATH)).error()

    assert (status, code) == (503, "unavailable")
    assert f"{_ours(tmp_path)}/heartbeat.json is empty" in message


async def test_a_window_of_nothing_is_refused(tmp_path: Path) -> None:
    write(_ours(tmp_path))
    async with a_world(tmp_path) as world:
        status, code, message = (await world.get(f"{PATH}?summaryWindow=0")).error()

    assert (status, code) == (400, "bad_request")
    assert "summaryWindow" in message
