"""(h) A long event log read through a service, and the same one read from the disk: events a second, as a ratio.

Both ways end in the same passes and commits, and are taken in turns, because the machine is never equally quiet twice.
The service is another process, so that the two of them have both cores.
"""

import os
import shutil
import statistics
import time
from collections.abc import Callable

import anyio

from benchmarks.cases.case import Outcome, Plan
from benchmarks.eventlog import write_log
from benchmarks.figures import figure
from benchmarks.pipeline import Pipeline
from benchmarks.scratch import part
from benchmarks.served import ServedFleet, make_served_fleet
from opsd.clock import SystemClock
from opsd.core.registry import loop_refs, read_registry
from opsd.disk import Disk
from opsd.model.observation import Seen
from opsd.model.run import LoopRef
from opsd.ports import Ask
from opsd.services.http import HttpServices
from opsd.services.tokens import Tokens
from opsd.services.trust import Trust
from opsd.store.layout import Layout
from opsd.supervisor.offload import Threads
from opsd.transports.service import ServiceTransport

TURNS = 3


def measure(plan: Plan) -> Outcome:
    lines = 10_000 if plan.quick else 100_000
    folder = part(plan.scratch, "far", size_bytes=lines * 450, files=200)
    made = make_served_fleet(folder, 1, [("steady", "iteration-1")])
    (role,) = made.fleet.roles
    log = write_log(role.repo, role.loop_id, lines=lines)
    turns = []
    with made.served(folder):
        ref = _ref(made)
        for turn in range(TURNS):
            near = Pipeline(os.path.join(folder, f"near-{turn}"), role.loop_id, repo=role.repo)
            near_s = _timed(near.catch_up, log.lines)
            shutil.rmtree(made.fleet.layout.folder(ref.loop_id), ignore_errors=True)
            far_s = _timed(lambda: anyio.run(_catch_up, made, ref), log.lines)
            turns.append((near_s, far_s))
    near_s, far_s = (statistics.median(column) for column in zip(*turns, strict=True))
    ratio = statistics.median(near_s / far_s for near_s, far_s in turns)
    return Outcome(
        (
            figure("h", f"{log.lines:,} events from the disk", log.lines / near_s, "events/s"),
            figure("h", "the same through a service", log.lines / far_s, "events/s"),
            figure("h", "through a service, as a share of from the disk", 100 * ratio, "%"),
        ),
        {"events": float(log.lines), "sizeMb": log.size_bytes / 1e6, "diskSeconds": near_s, "serviceSeconds": far_s},
    )


def _ref(made: ServedFleet) -> LoopRef:
    """The one loop as the manager's registry has it."""
    with open(made.fleet.layout.registry, "rb") as file:
        registry = read_registry(file.read(), "the registry").registry
    if registry is None:
        raise RuntimeError("the benchmark's registry is not valid")
    (ref,) = loop_refs(registry, made.fleet.layout.home, remote=True)
    return ref


async def _catch_up(made: ServedFleet, ref: LoopRef) -> int:
    """Ask, take what comes, ask for what follows it, as the poller does; the number of events taken."""
    behind, reading = ServiceTransport(), Threads(1)
    tokens = Tokens(Disk(), reading, folders=[made.token_folder], variables={})
    services = HttpServices(trust=Trust(), tokens=tokens, clock=SystemClock(), offload=reading)
    pipeline = Pipeline(Layout(ref.repo_path).home, ref.loop_id, ref=ref, transport=behind)
    events = 0
    while True:
        answer = await services.observe(Ask(ref, pipeline.run.cursor), known=None, wait_s=0.0)
        if not isinstance(answer.observation, Seen):
            raise RuntimeError(f"the service brought {answer.observation}")
        behind.deposit(ref.loop_id, answer.observation)
        decision = await anyio.to_thread.run_sync(pipeline.one_pass)
        events += decision.events_ingested
        if not decision.again:
            await services.aclose()
            return events


def _timed(work: Callable[[], int], wanted: int) -> float:
    """Seconds.

    Raises:
        RuntimeError: it took another number of events.
    """
    begin_s = time.perf_counter()
    taken = work()
    took_s = time.perf_counter() - begin_s
    if taken != wanted:
        raise RuntimeError(f"{wanted} events written, {taken} taken")
    return took_s
