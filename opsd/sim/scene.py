"""One loop during one run: where it writes, under which run id, what will befall it; and how its part of the run ends.

What happens is in `opsd.sim.script` and `opsd.sim.iteration`; time and dice are the pen's.
"""

from collections.abc import Iterator, Set
from typing import NamedTuple

from opsd.sim import documents, events
from opsd.sim.part import Part
from opsd.sim.pen import Pen
from opsd.sim.scenarios import Behaviour
from opsd.sim.steps import Document, Step


class Ended(NamedTuple):
    """How a loop's part of a run ended. `complete`: a multi-loop run goes on to the next; `dead`: nobody cleans up."""

    code: int
    complete: bool = False
    dead: bool = False
    says: str = ""


class Scene:
    """What everything in a loop's script writes through. `run_id` and `befalls` are set once the loop has begun."""

    def __init__(self, pen: Pen, part: Part, behaviour: Behaviour, repo: str, loop_id: str, index: int) -> None:
        self.pen = pen
        self.part = part
        self.behaviour = behaviour
        self.repo = repo
        self.loop_id = loop_id
        self.index = index
        self.run_id = ""
        self.befalls = ""
        self.involved: Set[str] = frozenset()

    def path(self, name: str) -> str:
        """A file of this loop, relative to the checkout."""
        return f"{documents.folder(self.loop_id)}/{name}"

    def event(self, event: str, data: Document, *, iteration: int, role: str = "", status: str = "") -> Iterator[Step]:
        """Append one event, stamped with the script's time."""
        line = events.line(
            at=self.pen.stamp(),
            event=event,
            loop_id=self.loop_id,
            run_id=self.run_id,
            iteration=iteration,
            data=data,
            role=role,
            status=status,
        )
        yield from self.pen.log(self.path("events.jsonl"), line)

    def state(self, *, active: bool, iteration: int) -> Iterator[Step]:
        """Rewrite the checkout's `state.json` for this loop."""
        at = self.pen.stamp()
        document = documents.state(
            active=active, loop_index=self.index, iteration=iteration, loop_id=self.loop_id, at=at
        )
        yield from self.pen.put(documents.STATE, document)
