"""A scenario as a story: runs, and what operators do between them, told against a tree without any waiting.

The named moments are those of the recordings (`pending`, `approved`, `killed`, ...). Live runs are played by
`opsd.sim.runtime`; this is for trees that are wanted at once and for digests.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from opsd.sim import documents
from opsd.sim.decisions import decision_script
from opsd.sim.part import Part
from opsd.sim.scenarios import behaviour_of, loops_of
from opsd.sim.script import look, run_script
from opsd.sim.steps import Delete, Die, Exit, Mark, Step
from opsd.sim.tree import Tree, read_document

DEAD_PID = 4_194_305
"""One above the largest pid that Linux hands out, so that no process ever has it."""

STEPS_MAX = 100_000


class Run(NamedTuple):
    """`run` until it ends, or until a mark of its script, where the tree is left as it is."""

    until: str = ""


class Decide(NamedTuple):
    """`approve`, or with `reject`, `approve --reject`."""

    note: str
    reject: bool = False


class Cancel(NamedTuple):
    """`cancel`: both of the checkout's files go, nothing says so."""


class Moment(NamedTuple):
    """A state at rest that has a name."""

    name: str


Act: TypeAlias = Run | Decide | Cancel | Moment

_ASKED: tuple[Act, ...] = (Run(), Moment("pending"))
_STORIES: Mapping[str, tuple[Act, ...]] = {
    "complete": (Run(), Moment("complete")),
    "approval": _ASKED,
    "approved": (
        *_ASKED,
        Run(),
        Moment("still-pending"),
        Decide("looks right"),
        Moment("approved"),
        Run(),
        Moment("complete"),
    ),
    "rejected": (
        *_ASKED,
        Decide("tests too thin", reject=True),
        Moment("rejected"),
        Run(),
        Moment("pending-again"),
    ),
    "cancelled": (Run("running"), Moment("running"), Cancel(), Moment("cancelled")),
    "killed": (
        Run("running"),
        Moment("running"),
        Moment("killed"),
        Run(),
        Cancel(),
        Moment("cleared"),
        Run(),
        Moment("complete"),
    ),
    "stuck": (Run(), Moment("stuck"), Run(), Moment("refused")),
    "no-progress": (Run(), Moment("no-progress")),
    "max-iterations": (Run(), Moment("max-iterations")),
    "tests-failing": (Run(), Moment("max-iterations")),
    "role-timeout": (Run(), Moment("timed-out")),
    "role-error": (Run(), Moment("failed"), Run(), Moment("refused")),
    "rate-limited": (Run(), Moment("rate-limited")),
    "usage-limited": (Run(), Moment("usage-limited")),
    "lifecycle-failed": (Run(), Moment("lifecycle-failed")),
    "two-loops": (Run(), Moment("both-complete")),
    "silent-stall": (Run("stalled"),),
    "torn-lines": (Run(), Moment("complete")),
    "rotated": (Run(), Moment("complete")),
    "recovery": (Run(), Moment("max-iterations")),
    "steady": (Run(),),
}
_ENDLESS: Mapping[str, str] = {"steady": "iteration-3"}


class _Reached(Exception):  # noqa: N818 -- not an error: the story was wanted up to here
    pass


class Stage(NamedTuple):
    """Where a story is told. `moved` hears the wall time and the step of everything that happens."""

    repo: str
    loop_id: str
    pid: int = DEAD_PID
    moved: Callable[[float, Step], None] = lambda at_s, step: None


def tell(part: Part, tree: Tree, stage: Stage, *, start_s: float, until: str | None = None) -> float:
    """Tell the part's scenario against `tree`, begun at wall time `start_s`; returns the wall time of its last step.

    `until` names a moment (`approved`, or `3-approved` as the recordings number it) or a mark inside a run
    (`running`, `iteration-2`, ...): the telling ends where that first comes. Default: the story's end; for `steady`,
    which has none, its third iteration's.

    Raises:
        ValueError: the scenario is unknown, or its story never comes to `until`; names what it comes to.
    """
    behaviour_of(part.scenario)
    until = until or _ENDLESS.get(part.scenario)
    teller = _Teller(part, tree, stage, start_s, until)
    for act in _STORIES[part.scenario]:
        try:
            teller.act(act)
        except _Reached:
            return teller.now_s
    if until is not None:
        passed = ", ".join(dict.fromkeys(teller.passed))
        raise ValueError(f"scenario {part.scenario!r} never comes to {until!r}; it comes to {passed}")
    return teller.now_s


class _Teller:
    def __init__(self, part: Part, tree: Tree, stage: Stage, start_s: float, until: str | None) -> None:
        self.now_s = start_s
        self.passed: list[str] = []
        self._part, self._tree, self._stage, self._until = part, tree, stage, until
        self._moments = 0

    def act(self, act: Act) -> None:
        loops = loops_of(self._part.scenario, self._stage.loop_id)
        match act:
            case Moment(name):
                self._moments += 1
                self._pass(name, f"{self._moments}-{name}")
            case Run(stop_at):
                only = None if len(loops) > 1 else loops[0]
                found = look(self._tree, loops)
                script = run_script(
                    self._part,
                    repo=self._stage.repo,
                    loop_ids=loops,
                    only=only,
                    found=found,
                    pid=self._stage.pid,
                    pgid=self._stage.pid,
                    start_s=self.now_s,
                )
                self._play(script, stop_at)
            case Decide(note, reject):
                request = read_document(self._tree, f"{documents.folder(self._stage.loop_id)}/approval.json")
                script = decision_script(
                    self._part,
                    request or {},
                    loop_id=self._stage.loop_id,
                    by="alex",
                    note=note,
                    reject=reject,
                    start_s=self.now_s,
                )
                self._play(script, "")
            case Cancel():
                cleared = (Step(0.0, Delete(documents.STATE)), Step(1.0, Delete(documents.ACTIVE_RUN)))
                self._play(cleared, "")

    def _play(self, script: Iterable[Step], stop_at: str) -> None:
        begin_s = self.now_s
        for count, step in enumerate(script):
            if count > STEPS_MAX:
                raise ValueError(
                    f"scenario {self._part.scenario!r} does not come to {self._until!r} in {STEPS_MAX} steps"
                )
            op = step.op
            if isinstance(op, Exit | Die):
                return
            self.now_s = begin_s + step.at_s
            self._stage.moved(self.now_s, step)
            if isinstance(op, Mark):
                self._pass(op.name)
                if op.name == stop_at:
                    return
                continue
            self._tree.perform(op)

    def _pass(self, *names: str) -> None:
        self.passed.extend(names)
        if self._until in names:
            raise _Reached
