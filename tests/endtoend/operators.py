"""Operators at their terminals: the real opsctl and the real daemon, over runs that are real processes.

How often something was done is counted from the runtime command's own ledger; what is written of it is read from the
daemon's files. The situations that the loops are in are `tests.doubles.situations`.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from opsctl.exits import Exit
from opsd.model.intent import Intent
from opsd.processes import ProcFs
from tests.doubles.process import OpsdProcess, wait_until
from tests.doubles.situations import Place, Plan, situations
from tests.endtoend.audience import read_rows
from tests.opsctl.cli import COMMAND, Done, environment, opsctl

TOLD = ("intents.jsonl", "telemetry/control.jsonl", "telemetry/control-invocations.jsonl")


class Outcome(msgspec.Struct, frozen=True):
    """What opsctl made of one intent: its exit code, and the intent, if there is one."""

    code: int
    intent: Intent | None
    replayed: bool
    err: str

    @property
    def ends(self) -> tuple[str, int]:
        """Status and exit code."""
        return (self.intent.status.value if self.intent is not None else "none", self.code)

    @property
    def refusal(self) -> str | None:
        return self.intent.refusal.code if self.intent is not None and self.intent.refusal is not None else None

    @property
    def known(self) -> Intent:
        assert self.intent is not None, self.err
        return self.intent


class Live:
    """Loops in their situations, each under its own id, and the daemon over them all."""

    def __init__(self, home: Path, places: Mapping[str, Place], opsd: OpsdProcess) -> None:
        self.home, self.places, self.opsd = home, places, opsd

    async def opsctl(self, *words: str) -> Done:
        return await opsctl(self.opsd.socket, *words)

    async def ask(self, kind: str, loop_id: str, *words: str) -> Outcome:
        """`opsctl KIND LOOP --yes ...`, to its end."""
        done = await self.opsctl(kind, loop_id, "--yes", "-o", "json", *words)
        return outcomes(done)[0] if done.out else Outcome(done.code, None, False, done.err)

    async def show(self, intent_id: str) -> Intent:
        """The intent as `opsctl intent show` has it."""
        done = await self.opsctl("intent", "show", intent_id, "-o", "json")
        assert done.code == Exit.OK, done.err
        return msgspec.convert(json.loads(done.out)["intent"], Intent)

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        await anyio.to_thread.run_sync(wait_until, holds, what)

    def picture(self, loop_id: str) -> dict[str, Any]:
        return self.opsd.loop(loop_id)

    def findings(self, loop_id: str) -> list[str]:
        return [finding["code"] for finding in self.picture(loop_id)["findings"]]

    def rows(self, loop_id: str, file: str) -> list[dict[str, Any]]:
        """The rows of one of the daemon's files about the loop."""
        path = self.home / ".superloop/ops-manager" / loop_id / file
        return read_rows(path.read_text()) if path.exists() else []

    def steps(self, loop_id: str) -> list[str]:
        """The statuses in the loop's intent log, in their order."""
        return [row["status"] for row in self.rows(loop_id, "intent-log.jsonl")]

    def told(self, loop_id: str) -> tuple[list[str], ...]:
        """What each of the three files for outside programs says of outcomes."""
        intents, control, invocations = (self.rows(loop_id, file) for file in TOLD)
        return (
            [row["status"] for row in intents],
            [row["status"] for row in control],
            [row["outcome"]["status"] for row in invocations],
        )


def outcomes(done: Done) -> list[Outcome]:
    """What `opsctl ... -o json` says of each intent; an exit code of its own beside that of the whole command."""
    return [
        Outcome(
            row["exitCode"],
            msgspec.convert(row["intent"], Intent) if "intent" in row else None,
            row.get("replayed", False),
            done.err,
        )
        for row in json.loads(done.out)["outcomes"]
    ]


def once(status: str) -> tuple[list[str], ...]:
    """What is told of one intent that settled so."""
    return ([status], [status], [status])


@contextmanager
def living(plans: Mapping[str, Plan], **variables: str) -> Iterator[Live]:
    """A fleet of situations and opsd over it; nobody of all that is alive at the end of the block."""
    with (
        tempfile.TemporaryDirectory(prefix="opsd-") as root,
        situations(Path(root), plans) as fleet,
        OpsdProcess(fleet.home, variables=variables) as opsd,
    ):
        yield Live(fleet.home, fleet.places, opsd)


def family(pid: int) -> list[str]:
    """What the kernel says that each process of the run of `pid` does."""
    return [sighting.value for sighting in ProcFs().family(pid, pid)]


async def asked_back(live: Live, *words: str, before_the_answer: Callable[[], object]) -> Done:
    """`opsctl ...` at a terminal, whose operator reads, lets something happen, and says yes; `err` is what it shows."""
    ours, theirs = os.openpty()
    shown = bytearray()

    def read() -> None:
        """Until nobody has the other side open any more, which is an error to the kernel."""
        try:
            while piece := os.read(ours, 65_536):
                shown.extend(piece)
        except OSError:
            pass

    try:
        process = await anyio.open_process(
            [*COMMAND, *words], env=environment(live.opsd.socket), stdin=theirs, stdout=subprocess.PIPE, stderr=theirs
        )
        os.close(theirs)
        assert process.stdout is not None
        with anyio.fail_after(40):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.to_thread.run_sync, read)
                await live.until(lambda: b"[y/N]" in shown, "opsctl asks back")
                before_the_answer()
                os.write(ours, b"y\n")
                out = b"".join([piece async for piece in process.stdout])
            code = await process.wait()
    finally:
        os.close(ours)
    return Done(code, out.decode(), shown.decode().replace("\r\n", "\n"))
