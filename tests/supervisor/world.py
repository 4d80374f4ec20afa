"""A whole supervisor on a virtual clock: memory for a disk, a scripted way to the loops, no thread and no waiting."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime

import anyio

from opsd.core.reconcile import Rules
from opsd.logs import logger
from opsd.model.acts import Act, ActResult
from opsd.model.ids import LoopId
from opsd.model.observation import Artifacts, Observation, ProcessSighting, Seen, Unreachable, UnreachableCause
from opsd.model.run import LoopRef
from opsd.model.transport import TransportMode
from opsd.ports import Ask, Controls, Files, Offload, Services, Transport
from opsd.store.layout import Layout
from opsd.store.store import Store
from opsd.supervisor.oneshots import Outward
from opsd.supervisor.supervisor import Remote, Supervisor, Threads, Tuning
from opsd.transports.local import LocalTransport
from opsd.transports.service import RoutedTransport, ServiceTransport
from opsd.transports.sweep import Sweep
from tests.doubles.clock import VirtualClock, settle
from tests.doubles.files import FaultyFiles, MemoryFiles
from tests.doubles.threads import Inline
from tests.transports.trees import Table

HOME = "/home/fleet"
Entry = Mapping[str, object]


class ScriptedTransport:
    """`opsd.ports.Transport`: every loop is well, or as `real` sees it, except where the test says otherwise."""

    def __init__(self, real: Transport | None = None) -> None:
        self._real = real
        self.looks: Counter[str] = Counter()
        self.asks: list[Ask] = []
        self.forgotten: list[str] = []
        self.missing: set[str] = set()
        self.breaks: set[str] = set()
        self.on_look: Callable[[str], object] = lambda _: None

    def observe(self, asks: Sequence[Ask], now: datetime) -> list[Observation]:
        self.asks += asks
        return [self._look(ask, now) for ask in asks]

    def forget(self, ref: LoopRef) -> None:
        self.forgotten.append(ref.loop_id)
        if self._real is not None:
            self._real.forget(ref)

    def _look(self, ask: Ask, now: datetime) -> Observation:
        ref = ask.ref
        self.looks[ref.loop_id] += 1
        self.on_look(ref.loop_id)
        if ref.loop_id in self.breaks:
            raise ValueError(f"a fault of ours at {ref.loop_id}")
        if ref.loop_id in self.missing:
            return Unreachable(now, UnreachableCause.ARTIFACTS_MISSING, "snapshot_unavailable", "not there")
        if self._real is not None:
            return self._real.observe([ask], now)[0]
        return Seen(now, (), (), b"", 0, None, Artifacts(), ProcessSighting.NONE)


class NoControls:
    """`opsd.ports.Controls` where nobody acts."""

    def carry_out(self, act: Act) -> ActResult:
        raise AssertionError(f"nobody asked for {act}")

    def command(self, repo_path: str) -> str | None:
        return None


def _nothing_lent(token: str | None) -> AbstractAsyncContextManager[Services]:
    raise AssertionError("nobody asks a service here")


def routed(local: Transport, service: ServiceTransport) -> RoutedTransport:
    return RoutedTransport({TransportMode.LOCAL: local, TransportMode.SPRITE_SERVICE: service})


class World:
    """`reads`: loops are looked at as the daemon does it, in the files on `disk` and in the table `processes`."""

    def __init__(
        self,
        home: str = HOME,
        *,
        disk: Files | None = None,
        passes: Offload | None = None,
        deadline_s: float = 30.0,
        controls: Controls | None = None,
        clock: VirtualClock | None = None,
        processes: Table | None = None,
        reads: bool = False,
        commits: Offload | None = None,
        acts: Offload | None = None,
        acts_at_once: int = 8,
        services: Services | None = None,
    ) -> None:
        self.clock = clock or VirtualClock()
        self.processes = processes or Table()
        self.disk = disk or MemoryFiles(f"{HOME}/.superloop/ops-manager/fleet")
        self.files = FaultyFiles(self.disk)
        self.layout = Layout(home)
        self.store = Store(self.layout, self.files)
        self.transport = ScriptedTransport(LocalTransport(self.files, self.processes) if reads else None)
        self.pulses: list[bool] = []
        inline = Inline()
        remote = None if services is None else Remote(services, ServiceTransport())
        self.tuning = Tuning(Rules(home), pass_deadline_s=deadline_s)
        self.supervisor = Supervisor(
            start_id="start-1",
            layout=self.layout,
            files=self.files,
            store=self.store,
            transport=self.transport if remote is None else routed(self.transport, remote.transport),
            processes=self.processes,
            controls=controls or NoControls(),
            watch=None,
            sweep=Sweep(self.files),
            sweep_interval_s=1.0,
            threads=Threads(passes=passes or inline, commits=commits or inline, looks=inline, acts=acts or inline),
            clock=self.clock,
            log=logger(),
            tuning=self.tuning,
            pulse=self.pulses.append,
            acts_at_once=acts_at_once,
            remote=remote,
            outward=Outward(lambda: self.transport, _nothing_lent),
        )
        self.fleet = self.supervisor.fleet
        self.desk = self.supervisor.desk

    def registry(self, *entries: str | Entry) -> None:
        """The registry names these loops; each in a checkout of its own, unless its entry says otherwise."""
        loops = [{"loopId": entry} if isinstance(entry, str) else entry for entry in entries]
        document = {
            "schemaVersion": "v1",
            "loops": [{"repoPath": f"/checkouts/{loop['loopId']}", **loop} for loop in loops],
        }
        self.write(self.layout.registry, json.dumps(document).encode())

    def write(self, path: str, data: bytes) -> None:
        self.disk.make_dirs(path.rpartition("/")[0])
        self.disk.replace(path, data, sync=False)

    def codes(self) -> Collection[str]:
        """What is wrong with the daemon itself."""
        return [finding.code for finding in self.fleet.daemon_status(self.clock.now()).findings]

    def listed(self) -> list[str]:
        return [summary.loop_id for summary in self.fleet.summaries(self.clock.now())]

    def stored(self, loop_id: str) -> bool:
        return self.disk.stat(f"{self.layout.folder(LoopId(loop_id))}/state.json") is not None


@asynccontextmanager
async def supervised(world: World, *entries: str | Entry) -> AsyncIterator[World]:
    """The world with its supervisor running, every loop looked at once, and the first pictures on the disk."""
    if entries:
        world.registry(*entries)
    await world.supervisor.start()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.supervisor.run)
        await world.clock.advance(0.5)
        yield world
        tasks.cancel_scope.cancel()


async def eventually(holds: Callable[[], bool], *, limit_s: float = 10.0) -> None:
    """For what real threads do: wait until it is so, with a limit that only a failure reaches."""
    with anyio.fail_after(limit_s):
        while not holds():
            await anyio.sleep(0.002)
            await settle()
