"""How little opsctl loads before it answers: counted in modules, since time on a busy machine proves nothing."""

import subprocess
import sys
from pathlib import Path

import anyio

from tests.api.world import a_world
from tests.opsctl.cli import environment

# Runs opsctl as its console script does, then says what was loaded.
_LOADED = """
import sys
from opsctl.__main__ import main
code = main()
print(code, *sorted(sys.modules), file=sys.stderr)
"""
HEAVY = {
    "msgspec",
    "rich",
    "asyncio",
    "anyio",
    "pydantic",
    "structlog",
    "http.client",
    "urllib.request",
    "email",
    "ssl",
}
HEAVY |= {
    "logging",
    "importlib.metadata",
    "dataclasses",
    "inspect",
    "shtab",
    "subprocess",
    "threading",
    "httpx",
    "yaml",
}


async def loaded(socket_path: str, *args: str) -> set[str]:
    command = [sys.executable, "-c", _LOADED, *args]
    done = await anyio.run_process(command, env=environment(socket_path), stdin=subprocess.DEVNULL)
    code, *modules = done.stderr.decode().split()
    assert code == "0"
    return set(modules)


async def test_status_for_programs_loads_next_to_nothing(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        modules = await loaded(world.path, "status", "-o", "json")

    assert not modules & HEAVY
    assert not modules & {"opsd.protocol", "json", "datetime", "shutil", "difflib"}
    assert len(modules) < 110


async def test_names_for_the_shell_load_no_records(tmp_path: Path) -> None:
    """Somebody is waiting with a finger on the TAB key."""
    async with a_world(tmp_path) as world:
        modules = await loaded(world.path, "status", "-o", "name")

    assert not modules & HEAVY
    assert "opsd.protocol" not in modules


async def test_a_table_loads_the_records_and_no_library_for_drawing(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        modules = await loaded(world.path, "status")

    assert modules & HEAVY <= {"msgspec", "dataclasses", "inspect", "subprocess", "threading"}


def test_the_version_is_told_before_anything_is_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "opsctl", "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("opsctl ")
    assert "argparse" not in done.stderr
    assert "socket" not in done.stderr
