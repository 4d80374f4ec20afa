"""opsctl as its users run it: a process with arguments, two streams and an exit code."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import anyio.to_thread
import msgspec
import pytest
from anyio.streams.text import TextReceiveStream

COMMAND = (sys.executable, "-m", "opsctl")


class Done(msgspec.Struct, frozen=True):
    code: int
    out: str
    err: str

    def lines(self) -> list[str]:
        return self.out.splitlines()


def environment(socket_path: str | None) -> dict[str, str]:
    """What a plain terminal has; a socket only if one is named."""
    kept = {name: value for name, value in os.environ.items() if name not in ("OPSD_SOCKET", "NO_COLOR")}
    return kept | ({"OPSD_SOCKET": socket_path} if socket_path else {})


async def opsctl(socket_path: str | None, *args: str, cwd: str | None = None) -> Done:
    with anyio.fail_after(40):
        done = await anyio.run_process(
            [*COMMAND, *args], check=False, cwd=cwd, env=environment(socket_path), stdin=subprocess.DEVNULL
        )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
STRANGER_UID, STRANGER_GID = 64_001, 64_002
# Everything is loaded before: another user may not even be able to read this checkout.
_AS_STRANGER = f"""
import json, os, sys, uuid
import opsctl.defuse, opsctl.commands.act, opsctl.commands.status, opsctl.dispatch
from opsctl.__main__ import main
opsctl.dispatch.build_parser()
os.setgroups([]); os.setgid({STRANGER_GID}); os.setuid({STRANGER_UID})
sys.exit(main())
"""


async def opsctl_as_stranger(socket_path: str, *args: str) -> Done:
    """As another user, whom nobody knows; in the one group `STRANGER_GID`."""
    command = [sys.executable, "-c", _AS_STRANGER, *args]
    done = await anyio.run_process(command, check=False, env=environment(socket_path), stdin=subprocess.DEVNULL)
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


async def opsctl_at_a_terminal(socket_path: str, *args: str, typed: str) -> Done:
    """As from a shell in a terminal: what is `typed` is heard, and `err` is what the terminal showed."""
    ours, theirs = os.openpty()
    try:
        os.write(ours, typed.encode())
        process = await anyio.open_process(
            [*COMMAND, *args], env=environment(socket_path), stdin=theirs, stdout=subprocess.PIPE, stderr=theirs
        )
        os.close(theirs)
        assert process.stdout is not None
        shown = bytearray()
        with anyio.fail_after(40):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.to_thread.run_sync, _read_terminal, ours, shown)
                out = b"".join([piece async for piece in process.stdout])
            code = await process.wait()
    finally:
        os.close(ours)
    return Done(code, out.decode(), shown.decode().replace("\r\n", "\n"))


def _read_terminal(terminal: int, shown: bytearray) -> None:
    """Until nobody has it open on the other side any more, which is an error to the kernel."""
    try:
        while piece := os.read(terminal, 65_536):
            shown += piece
    except OSError:
        pass


class Running:
    """A command that goes on: its lines as they come, and its end."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self._out = TextReceiveStream(process.stdout)
        self._err = TextReceiveStream(process.stderr)
        self._rest = {id(self._out): "", id(self._err): ""}

    async def line(self) -> str:
        """The next line on stdout."""
        return await self._line(self._out)

    async def note(self) -> str:
        """The next line on stderr."""
        return await self._line(self._err)

    async def until(self, text: str) -> list[str]:
        """Lines of stdout up to and with the first that contains `text`."""
        lines = [await self.line()]
        while text not in lines[-1]:
            lines.append(await self.line())
        return lines

    async def interrupt(self) -> int:
        """Ctrl-C, and the exit code."""
        self.process.send_signal(signal.SIGINT)
        return await self.ended()

    async def ended(self) -> int:
        with anyio.fail_after(20):
            return await self.process.wait()

    async def _line(self, stream: TextReceiveStream) -> str:
        with anyio.fail_after(20):
            while "\n" not in self._rest[id(stream)]:
                self._rest[id(stream)] += await stream.receive()
        line, _, self._rest[id(stream)] = self._rest[id(stream)].partition("\n")
        return line


@asynccontextmanager
async def running(socket_path: str, *args: str) -> AsyncIterator[Running]:
    process = await anyio.open_process([*COMMAND, *args], env=environment(socket_path), stdin=subprocess.DEVNULL)
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()
