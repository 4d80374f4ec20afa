"""A server on a real socket, its fleet, and the files of its loops."""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from opsd.api.peer import Access
from opsd.api.server import STANDARD_LIMITS, Limits
from opsd.clock import SystemClock
from opsd.model.health import Severity
from opsd.model.ids import LoopId
from opsd.model.lifecycle import Lifecycle, Phase
from opsd.model.run import LoopRef, Run
from tests.api.wire import Answer, ask
from tests.doubles.daemon import serving
from tests.doubles.desk import StandInDesk
from tests.doubles.fleet import StandInFleet, StandInQueries, a_finding, a_supervised_run


class World:
    """`docs-17` runs, `api 03` has crashed, `fleet` is listed and not managed."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "opsd.sock")
        self.repo = str(folder / "repo")
        self.clock = SystemClock()
        self.fleet = self.a_fleet("start-1")
        self.desk = StandInDesk(self.fleet)
        self.queries = StandInQueries()

    def a_fleet(self, start_id: str) -> StandInFleet:
        """The same loops under another start of the daemon."""
        now = self.clock.now()
        gone = a_finding("runtime_process_missing", Severity.CRITICAL)
        crashed = a_supervised_run(
            "api 03", now, lifecycle=Lifecycle.FAILED, phase=Phase.CRASHED, findings=(gone,), repo_path=self.repo
        )
        listed = Run(LoopRef(LoopId("fleet"), self.repo, fault="loop_id_reserved", fault_detail="the name is taken"))
        return StandInFleet(
            self.clock, start_id, a_supervised_run("docs-17", now, repo_path=self.repo), crashed, listed
        )

    def write_events(self, loop_id: str, names: Iterable[str], *, anew: bool = False) -> None:
        path = Path(self.repo, ".superloop", "loops", loop_id, "events.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        if anew:
            path.unlink()
        with path.open("a") as file:
            for name in names:
                file.write(f'{{"event": "{name}", "timestamp": "2026-01-01T00:00:00Z", "iteration": 1}}\n')

    def write_log(self, loop_id: str, iteration: int, role: str, text: str) -> None:
        path = Path(self.repo, ".superloop", "loops", loop_id, "logs", f"iter-{iteration}", f"{role}.log")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(text)

    async def get(self, target: str) -> Answer:
        return await ask(self.path, target)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter: pytest keeps its own to itself, and sees to it while tests run."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@asynccontextmanager
async def a_world(folder: Path, access: Access | None = None, limits: Limits = STANDARD_LIMITS) -> AsyncIterator[World]:
    made = World(folder)
    async with serving(made.path, made.fleet, made.queries, access, limits, made.desk):
        yield made
