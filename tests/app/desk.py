"""One loop at work on the real disk, and an opsd that may be started on it again and again."""

from datetime import timedelta
from pathlib import Path

from opsd.disk import Disk
from opsd.model.effects import Document
from opsd.model.ids import LoopId
from opsd.model.observation import ProcessSighting
from opsd.model.run import LoopRef, Run
from opsd.transports.tail import STANDARD_LIMITS, Limits
from tests.faults.fleet import START, Manager, lay_down_from
from tests.transports.trees import Table

LOOP = LoopId("loop")
PID = 4_711
AT_WORK = Table({PID: ProcessSighting.ALIVE})


class Desk:
    """One loop at work, and an opsd that may be started again and again."""

    def __init__(self, root: Path) -> None:
        self.repo, self.home = root / "checkout", root / "home"
        self.home.mkdir()
        self.now = lay_down_from(START, "steady", self.repo, loop_id=LOOP, until="iteration-2", pid=PID)
        self.log = self.repo / ".superloop/loops" / LOOP / "events.jsonl"

    def start(self, boot_id: str = "boot", processes: Table = AT_WORK, limits: Limits = STANDARD_LIMITS) -> Manager:
        self.now += timedelta(seconds=1)
        return Manager(str(self.home), [LoopRef(LOOP, str(self.repo))], self.now, processes, Disk(), boot_id, limits)

    def look(self, manager: Manager) -> tuple[Run, list[str]]:
        """The run after one pass and its commit, and what that escalated."""
        self.now += timedelta(seconds=1)
        (result,) = manager.look_and_commit(self.now)
        assert result.decision is not None
        return result.run, [row.category for row in result.decision.escalations]

    def file(self, document: Document) -> Path:
        return self.home / ".superloop/ops-manager" / LOOP / document.value
