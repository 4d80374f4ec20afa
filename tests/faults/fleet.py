"""A small fleet on the real disk, its runtime files laid down at one moment and then at a later one.

What opsd makes of it is the tests' business. Process ids are the test's, and say what its table says.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from opsd.app.passes import Passes, PassRequest, PassResult
from opsd.app.restore import restore
from opsd.app.tuning import Telemetry
from opsd.core.reconcile import Rules
from opsd.disk import Disk
from opsd.model.ids import LoopId, TraceId
from opsd.model.observation import ProcessSighting
from opsd.model.run import LoopRef, Run
from opsd.ports import Files
from opsd.sim.part import Part
from opsd.sim.story import DEAD_PID, Stage, tell
from opsd.sim.tree import MemoryTree
from opsd.sim.trees import lay_down
from opsd.store.commit import LoopCommit
from opsd.store.layout import Layout
from opsd.store.store import Store
from opsd.transports.local import LocalTransport
from opsd.transports.tail import STANDARD_LIMITS, Limits
from tests.transports.trees import Table

START = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)
PART = Part(role_s=60.0)


class Life(NamedTuple):
    """A loop's scenario, and between which two of its moments something happens. `pid` lives until the second."""

    scenario: str
    before: str
    after: str | None
    pid: int

    @property
    def loop_id(self) -> LoopId:
        return LoopId(f"{self.scenario}-loop")


LIVES = (
    Life("approval", "running", "pending", 102),
    Life("killed", "running", "killed", 104),
    Life("max-iterations", "running", None, 105),
    Life("torn-lines", "running", None, 106),
)
RUNNING = Table({life.pid: ProcessSighting.ALIVE for life in LIVES})
ENDED = Table()
BAD_LINE = b"Segmentation fault (core dumped)\n"


def lay_down_from(
    start: datetime, scenario: str, repo: Path, *, loop_id: str, until: str | None, pid: int | None = None
) -> datetime:
    """The tree of a scenario that began at `start`, and when its last step was: however far, it begins the same.

    Of an earlier tree the log stays the same file; everything else gives way.
    """
    for path in repo.rglob("*"):
        if path.is_file() and path.name != "events.jsonl":
            path.unlink()
    cast, pid = PART._replace(scenario=scenario, gap_s=0.0), DEAD_PID if pid is None else pid
    took_s = tell(cast, MemoryTree(), Stage(str(repo), loop_id, pid), start_s=0.0, until=until)
    at = start + timedelta(seconds=took_s)
    lay_down(scenario, repo, at=at, until=until, loop_id=loop_id, part=PART, pid=pid)
    return at


def refs(checkouts: Path) -> list[LoopRef]:
    return [LoopRef(life.loop_id, f"{checkouts}/{life.loop_id}") for life in LIVES]


def lay_down_lives(checkouts: Path, *, later: bool) -> datetime:
    """Every loop's files at its first or its second moment; the time just after the last of them was written.

    The files stay the same ones: what was logged at the first moment stands at the head of what is at the second.
    """
    last = START
    for life in LIVES:
        until = life.after if later else life.before
        repo = checkouts / life.loop_id
        last = max(last, lay_down_from(START, life.scenario, repo, loop_id=life.loop_id, until=until, pid=life.pid))
    if later:
        with (checkouts / "torn-lines-loop/.superloop/loops/torn-lines-loop/events.jsonl").open("ab") as log:
            log.write(BAD_LINE)
    return last + timedelta(seconds=20)


class Manager:
    """opsd's passes and commits on one home, from a start on. `files` is the disk that its own files lie on."""

    def __init__(
        self,
        home: str,
        loops: Sequence[LoopRef],
        now: datetime,
        processes: Table,
        files: Files,
        boot_id: str,
        limits: Limits = STANDARD_LIMITS,
        rules: Rules | None = None,
    ) -> None:
        rules = replace(rules or Rules(home), home=home, boot_id=boot_id)
        layout = Layout(home)
        self.store = Store(layout, files)
        transport = LocalTransport(files, processes, limits=limits)
        self.passes = Passes(transport, rules, lambda: 0.0, Telemetry(layout, files))
        restored, self.faults = restore(self.store, loops, now, boot_id=boot_id)
        self.runs = [each.run for each in restored]

    def look(self, now: datetime, *, from_start: bool = False) -> list[PassResult]:
        requests = [PassRequest(run, TraceId("trace"), from_start=from_start) for run in self.runs]
        results = self.passes.run(requests, now)
        self.runs = [result.run for result in results]
        return results

    def look_and_commit(self, now: datetime, *, from_start: bool = False) -> list[PassResult]:
        """One pass over all loops, and one commit of what follows. Raises AssertionError if either went wrong."""
        results = self.look(now, from_start=from_start)
        assert all(result.error is None for result in results), [result.error for result in results]
        effects = [LoopCommit(each.run.ref.loop_id, each.decision.effects) for each in results if each.decision]
        assert self.store.commit(effects, now).failures == ()
        return results


def managed(
    home: str, checkouts: Path, now: datetime, processes: Table, files: Files | None = None, *, boot_id: str = "boot"
) -> Manager:
    """A manager of the lives in `checkouts`, on the real disk unless told otherwise."""
    return Manager(home, refs(checkouts), now, processes, files or Disk(), boot_id)


def seen(run: Run) -> dict[str, object]:
    """What an operator would be shown of a run."""
    projection, health = run.projection, run.health
    assert projection is not None
    assert health is not None
    return {
        "phase": projection.phase.value,
        "run": (projection.run_id, projection.iteration),
        "findings": [(finding.code, finding.severity.value, finding.onset) for finding in health.findings],
        "events": (run.fold.event_count, run.fold.quarantined_count, run.fold.line, run.cursor_line),
        "open": [(one.category.value, one.condition) for one in run.open_escalations],
    }
