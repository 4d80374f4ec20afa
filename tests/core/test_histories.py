"""What holds of every history of a loop, whatever its runtime does and whenever the manager dies.

Histories are drawn at random over all that the runtime, its files and the way to them can do (`worlds`).
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from opsd.core import wake
from opsd.core.explain import explain, last_ingest
from opsd.core.reconcile import Decision, Pass, decide
from opsd.model.health import HealthStatus, Severity
from opsd.model.ids import TraceId
from opsd.model.reasons import REASONS
from opsd.model.run import Run
from tests.core.builders import moment
from tests.core.managers import RULES, Manager, lives
from tests.core.worlds import OPERATIONS, Operation, World

PASSES_S = (0, 1, 2, 3, 11, 61, 121, 300, 601, 901, 4000)
# Much of what can happen needs a run; drawn evenly, most histories would be of loops at rest.
COMMON = (World.start, World.start, World.start, World.role_starts, World.tests_start, World.dies, World.shows_again)

histories = st.lists(
    st.tuples(st.sampled_from((*OPERATIONS, *COMMON)), st.sampled_from(PASSES_S)), min_size=1, max_size=12
)
History = list[tuple[Operation, int]]
thorough = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

AT_REST = (World.boot, World.neighbour_starts)
EVERYTHING: History = [
    (operation, 2)
    for told in OPERATIONS
    for operation in (World.role_fails if told in AT_REST else World.start, told, World.shows_again)
]


def lived(history: History, **manager: Any) -> Manager:
    watching = Manager(World(), **manager)
    for _ in lives(watching.world, watching, history):
        pass
    return watching


def test_the_histories_reach_everything_the_runtime_can_do() -> None:
    """The properties below are worth what their histories contain."""
    done = lived(EVERYTHING).world.done

    assert set(done) == {operation.__name__ for operation in OPERATIONS}


@given(histories)
@example(EVERYTHING)
@thorough
def test_every_picture_is_in_order(history: History) -> None:
    """One finding a code, each registered, worst first; the overall status is the worst, the contract's its own."""
    world = World()
    manager = Manager(world)
    for decision in lives(world, manager, history):
        health = decision.run.health
        if health is None:
            continue
        codes = [finding.code for finding in health.findings]
        ranks = [list(Severity)[::-1].index(finding.severity) for finding in health.findings]
        assert len(codes) == len(set(codes))
        assert set(codes) <= set(REASONS)
        assert ranks == sorted(ranks)
        worst = max((list(Severity).index(finding.severity) for finding in health.findings), default=0)
        assert health.overall_status is list(HealthStatus)[worst]
        assert (health.status is HealthStatus.HEALTHY) is (health.reason_codes == ())


@given(histories)
@example(EVERYTHING)
@thorough
def test_the_journal_tells_each_condition_once_and_its_end_once(history: History) -> None:
    """No id twice; nothing ends that was not open; of one condition, and of health, at most one stands open."""
    opened: dict[str, str] = {}
    seen: set[str] = set()
    for row in lived(history).journal:
        assert row["id"] not in seen
        seen.add(row["id"])
        if "resolves" in row:
            opened.pop(row["resolves"])  # KeyError: ended what was not open
        if not row["category"].endswith("_resolved"):
            what = "health" if row["category"].startswith("health") else f"{row['category']} {row['condition']}"
            assert what not in opened.values(), "already open"
            opened[row["id"]] = what


@given(histories)
@example(EVERYTHING)
@thorough
def test_ids_come_from_evidence_and_never_from_the_pass(history: History) -> None:
    """Another trace, another moment within the second: the same rows by the same ids."""
    one, other = lived(history), lived(history, trace_id="another", jitter_s=0.4)
    # What lasted to the very second for which a process is waited for is told or not by a hair.
    assume([category for category, _ in one.told] == [category for category, _ in other.told])

    assert one.told == other.told


@given(histories, st.lists(st.none() | st.floats(0, 1), max_size=20))
@example(EVERYTHING, [1.0, 0.5, 0.3, 0.0] * 100)
@thorough
def test_a_death_at_any_effect_of_any_pass_adds_no_row_and_loses_none(
    history: History, deaths: list[float | None]
) -> None:
    """The journal after crashes, restarts and the same look again is the journal of a manager that never died.

    Left out is what a single look sees and no file keeps: that a log was cut, and a beat that the heartbeat file has
    lost again before our next document. A failed look is counted, so a second one is another.
    """
    unseen = (World.is_cut, World.beats_badly)
    known = [(World.start, 1), *((operation, s) for operation, s in history if operation not in unseen)]
    left: Iterator[float | None] = iter(deaths)

    def fate(decision: Decision) -> int | None:
        survived = next(left, None)
        return None if survived is None or decision.failed else round(survived * len(decision.effects))

    assert lived(known, fate=fate).told == lived(known).told


@given(histories)
@example(EVERYTHING)
@thorough
def test_reading_the_log_in_pieces_tells_the_same(history: History) -> None:
    """After an absence the log comes in pieces; what only held in the middle of it is nobody's business today."""
    assert lived(history, events_max=1).told == lived(history).told


def _timed(run: Run) -> set[tuple[str, Severity]]:
    """The findings that time can change. That the log went backwards is what one look saw, and the next clears it."""
    assert run.health is not None
    return {
        (finding.code, finding.severity)
        for finding in run.health.findings
        if finding.code not in ("ordering_drift_detected", "divergence_detected")
    }


@given(histories, st.integers(1, 999))
@example(EVERYTHING, 999)
@thorough
def test_nothing_changes_before_the_next_look_is_due(history: History, permille: int) -> None:
    """Looked at again at any moment before it, with nothing new on disk, the loop gives the same picture.

    Where nothing is due, nothing ever changes: an idle fleet costs nothing.
    """
    world = World()
    manager = Manager(world)
    for decision in lives(world, manager, history):
        run, now = decision.run, moment(world.clock_s)
        if decision.failed or run.health is None:
            continue
        due = wake.next_look(run, RULES.thresholds, now)
        assert due is None or due.when > now
        when = now + ((due.when if due is not None else now + timedelta(days=365)) - now) * permille / 1000
        seen = world.observed(run, (when - moment(0)).total_seconds())

        later = decide(run, seen, RULES, Pass(TraceId("probe")), when).run

        assert _timed(later) == _timed(run)
        assert later.projection is not None
        assert run.projection is not None
        assert (later.projection.phase, later.process.liveness) == (run.projection.phase, run.process.liveness)


@given(histories)
@example(EVERYTHING)
@thorough
def test_a_loop_left_alone_comes_to_rest(history: History) -> None:
    """A look is due only where time changes something, so the chain of them ends."""
    manager = lived(history)
    run, now = manager.run, moment(manager.world.clock_s)
    looks = 0
    while (due := wake.next_look(run, RULES.thresholds, now)) is not None:
        now, looks = due.when, looks + 1
        seen = manager.world.observed(run, (now - moment(0)).total_seconds())
        run = decide(run, seen, RULES, Pass(TraceId("rest")), now).run
        assert looks < 20, f"still due: {due}"


@given(histories)
@example(EVERYTHING)
@thorough
def test_the_explanation_agrees_with_the_verdict(history: History) -> None:
    """For each pass: the codes that hold, their severities, and the rule of the phase that decided."""
    world = World()
    manager = Manager(world)
    for decision in lives(world, manager, history):
        run = decision.run
        if run.health is None:
            continue
        explained = explain(run, last_ingest(run), RULES.thresholds, moment(world.clock_s))

        holding = {step.code: (step.severity, step.why, step.onset) for step in explained.findings if step.holds}
        assert holding == {
            finding.code: (finding.severity, finding.evidence, finding.onset) for finding in run.health.findings
        }
        opened = {one.id for one in run.open_escalations}
        for step in explained.findings:
            assert step.why
            assert step.holds is (step.escalation is not None or step.not_escalated is not None)
            assert step.escalation is None or step.escalation in opened
        if run.projection is not None and not decision.failed:
            deciding = [step.phase for step in explained.steps if step.decides]
            assert deciding in ([run.projection.phase], []), "no rule decides where the phase is unknown"
