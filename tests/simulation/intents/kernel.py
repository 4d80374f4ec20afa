"""A process table that gives numbers out again: a process is its number and the moment at which it began.

What became of every process is kept, for the checks to compare with what opsd believes.
"""

from datetime import datetime, timedelta

from opsd.model.observation import ProcessSighting
from tests.doubles.clock import VirtualClock
from tests.transports.trees import Table

SLACK = timedelta(seconds=2)
"""Source: `opsd.ports.Processes`: a process that began so much later than it should have is another one."""


class Process:
    """One process. `turns` are the moments at which it was seen otherwise than before, its end last."""

    def __init__(self, pid: int, begun: datetime) -> None:
        self.pid = pid
        self.begun = begun
        self.turns: list[tuple[datetime, ProcessSighting]] = [(begun, ProcessSighting.ALIVE)]

    @property
    def ended(self) -> datetime | None:
        at, last = self.turns[-1]
        return at if last is ProcessSighting.ABSENT else None

    def turned(self, to: ProcessSighting, since: datetime, until: datetime) -> bool:
        """Whether it became so between these moments, both included."""
        return any(since <= at <= until for at, sighting in self.turns[1:] if sighting is to)


class Kernel(Table):
    """`opsd.ports.Processes` on the virtual clock."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.processes: list[Process] = []
        self._clock = clock
        self._newest: dict[int, Process] = {}
        self.sightings = _Sightings(self)

    def sighting(self, pid: int, begun_by: datetime | None) -> ProcessSighting:
        process = self._newest.get(pid)
        if process is not None and begun_by is not None and process.begun > begun_by + SLACK:
            return ProcessSighting.ABSENT
        return super().sighting(pid, begun_by)

    def of(self, pid: int, begun_by: datetime) -> Process | None:
        """The process that had this number and had begun by then, as an observer without hindsight means it."""
        begun = [each for each in self.processes if each.pid == pid and each.begun <= begun_by + SLACK]
        return begun[-1] if begun else None

    def give_away(self, pid: int) -> bool:
        """Some program of no concern to anybody begins under the number of a process that is gone."""
        if self.sightings.get(pid) is not ProcessSighting.ABSENT:
            return False
        self.sightings[pid] = ProcessSighting.ALIVE
        return True

    def note(self, pid: int, sighting: ProcessSighting) -> None:
        process, now = self._newest.get(pid), self._clock.now()
        if process is None or process.ended is not None:
            if sighting is not ProcessSighting.ABSENT:
                self._newest[pid] = Process(pid, now)
                self.processes.append(self._newest[pid])
        elif process.turns[-1][1] is not sighting:
            process.turns.append((now, sighting))


class _Sightings(dict[int, ProcessSighting]):
    """What the checkouts write into, so that nothing happens to a process unheard."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self._kernel = kernel

    def __setitem__(self, pid: int, sighting: ProcessSighting) -> None:
        self._kernel.note(pid, sighting)
        super().__setitem__(pid, sighting)
