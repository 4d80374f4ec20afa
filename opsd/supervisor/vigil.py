"""Watches over the processes of runs: one that is killed or stopped changes no file, so nothing else would tell of it.

What /proc says is only compared with what is believed; where they differ, the loop is looked at like any other.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

from opsd.core.instants import parse
from opsd.model.ids import LoopId
from opsd.model.observation import ProcessSighting
from opsd.model.process import Liveness
from opsd.ports import Clock, Offload, Processes
from opsd.supervisor.intake import Intake
from opsd.supervisor.roster import Roster
from opsd.supervisor.turns import Turns

EVERY_S = 2.0
AT_ONCE_MAX = 1_000
"""A process costs about 10 us to ask about: of 1,000 running loops each is asked about every two seconds, and ten
thousand cost no more than one thousand."""

_EXPECTED: Mapping[Liveness, ProcessSighting] = {
    Liveness.ALIVE: ProcessSighting.ALIVE,
    Liveness.PAUSED: ProcessSighting.STOPPED,
}


class Vigil:
    """Takes the running loops in turns, at most `AT_ONCE_MAX` at a time."""

    def __init__(self, processes: Processes, *, roster: Roster, intake: Intake, offload: Offload, clock: Clock) -> None:
        self._processes = processes
        self._roster = roster
        self._intake = intake
        self._offload = offload
        self._clock = clock
        self._turns = Turns(AT_ONCE_MAX)

    async def serve(self, beat: Callable[[], None]) -> None:
        """For ever."""
        while True:
            due_s = self._clock.monotonic() + EVERY_S
            chosen = self._chosen()
            if chosen:
                self._intake.trigger(await self._offload.run(partial(_surprises, self._processes, chosen)))
            beat()
            await self._clock.sleep_until(due_s)

    def _chosen(self) -> Sequence[tuple[LoopId, int, datetime | None, ProcessSighting]]:
        return self._turns.share(
            [
                (member.loop_id, process.pid, parse(process.begun), _EXPECTED[process.liveness])
                for member in self._roster
                if not member.run.ref.is_remote
                and (process := member.run.process).pid is not None
                and process.liveness in _EXPECTED
            ]
        )


def _surprises(
    processes: Processes, chosen: Sequence[tuple[LoopId, int, datetime | None, ProcessSighting]]
) -> list[LoopId]:
    """The loops whose process is not what it was believed to be. Runs in a worker thread."""
    return [loop_id for loop_id, pid, begun, expected in chosen if processes.sighting(pid, begun) is not expected]
