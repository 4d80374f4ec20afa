"""Why it says that: the rules themselves, quoted, with what they measured and who was told.

That an explanation agrees with the verdict on every history is held by `test_histories`.
"""

import msgspec
import pytest
from msgspec.structs import replace

from opsd.core import escalation
from opsd.core.explain import explain, last_ingest
from opsd.core.phase import RULES as PHASE_RULES
from opsd.model.explain import Explanation, FindingStep
from opsd.model.intent import ControlState
from opsd.model.lifecycle import DivergenceFlags, Phase
from opsd.model.observation import Artifacts, UnreachableCause
from opsd.model.process import Liveness, ProcessMemory
from opsd.model.reasons import REASONS
from opsd.model.run import Ingest, Run
from tests.core.builders import a_state, an_active_run, moment, stamp
from tests.core.judging import LIMITS, a_beat, a_story, failing, health_of, projected


def explained(run: Run, after_s: float = 0) -> Explanation:
    return explain(run, Ingest(), LIMITS, moment(after_s))


def step(explanation: Explanation, code: str) -> FindingStep:
    (found,) = [step for step in explanation.findings if step.code == code]
    return found


def test_every_code_that_can_be_found_is_answered_for() -> None:
    codes = [step.code for step in explained(projected()).findings]

    assert len(codes) == len(set(codes))
    assert set(codes) <= set(REASONS)
    assert {code for code, entry in REASONS.items() if entry.contract} <= set(codes)


def test_a_measured_rule_shows_what_it_measured_and_when_it_turns() -> None:
    fresh = step(explained(projected(), 299.5), "ingest_stale")
    stale = step(explained(projected(), 300), "ingest_stale")
    critical = step(explained(projected(), 901), "ingest_stale")

    assert (fresh.holds, fresh.observed_s, fresh.limits_s, fresh.next_turn) == (False, 299.5, (300, 900), moment(300))
    assert fresh.why == "It is younger than the threshold."
    assert (stale.holds, stale.severity, stale.next_turn) == (True, "degraded", moment(900))
    assert (critical.severity, critical.next_turn, critical.measured_since) == ("critical", None, moment(0))


def test_what_is_excused_says_why() -> None:
    found = step(explained(projected(Phase.BUSY), 9999), "ingest_stale")

    assert (found.holds, found.limits_s, found.next_turn) == (False, (), None)
    assert found.why == "A role, tests or validation are known to be at work, so silence is normal."


def test_of_several_codes_of_one_rule_the_others_name_the_one_that_holds() -> None:
    found = explained(projected(Phase.STUCK))

    assert step(found, "run_stuck").holds
    assert step(found, "run_failed").why == "What holds instead is run_stuck."


class TestWhoWasTold:
    def told(self, run: Run) -> Run:
        """`run` after the pass that escalated what is true of it."""
        escalated = escalation.escalate(run, health_of(run), home="/srv/home", trace_id="t", now=moment(0))
        return replace(run, open_escalations=escalated.open, baseline=escalated.baseline, baselined=True)

    def test_the_open_escalation_is_named(self) -> None:
        run = self.told(projected(Phase.STUCK))

        assert step(explained(run), "run_stuck").escalation == run.open_escalations[0].id

    def test_what_health_tells_is_found_in_healths_escalation(self) -> None:
        run = self.told(projected(control=ControlState(last_status="ambiguous")))

        assert step(explained(run), "control_ambiguous").escalation == run.open_escalations[0].id

    @pytest.mark.parametrize(
        ("run", "code", "why"),
        [
            (projected(Phase.CANCELLED), "run_cancelled", "is shown, not escalated"),
            (projected(Phase.LIMITED), "usage_limited", "is shown, not escalated"),
            (projected(Phase.STUCK, baselined=False), "run_stuck", "was there at the first look"),
            (
                projected(Phase.STUCK, backlog_bytes=1, backlog_since=moment(0)),
                "run_stuck",
                "has not been read to its end",
            ),
        ],
    )
    def test_what_is_told_to_nobody_says_why(self, run: Run, code: str, why: str) -> None:
        found = step(explained(self.told(run)), code)

        assert found.escalation is None
        assert found.not_escalated is not None
        assert why in found.not_escalated

    def test_what_is_new_is_told_by_the_next_pass(self) -> None:
        assert step(explained(projected(Phase.STUCK)), "run_stuck").not_escalated == "It is escalated by the next pass."


class TestPhaseAndEvidence:
    def test_the_rules_of_the_phase_are_asked_in_order_and_one_decides(self) -> None:
        files = Artifacts(state=a_state(), active_run=an_active_run())
        run = projected(artifacts=files, process=ProcessMemory(pid=4711, begun=stamp(0), liveness=Liveness.ALIVE))

        steps = explained(run).steps

        assert [step.rule for step in steps] == [rule.name for rule in PHASE_RULES]
        assert [(step.rule, step.phase) for step in steps if step.decides] == [("running", Phase.RUNNING)]

    @pytest.mark.parametrize("liveness", Liveness)
    def test_what_is_believed_of_the_process_is_said(self, liveness: Liveness) -> None:
        memory = ProcessMemory(pid=4711, begun=stamp(0), missing_since=moment(0), liveness=liveness)

        assert explained(projected(process=memory)).liveness_basis

    def test_a_process_in_the_balance_says_until_when(self) -> None:
        memory = ProcessMemory(settles_at=moment(10))

        assert str(moment(10)) in explained(projected(process=memory)).liveness_basis

    def test_a_missing_active_run_is_told_apart_from_a_missing_process(self) -> None:
        gone = ProcessMemory(missing_since=moment(0), liveness=Liveness.GONE)

        assert explained(projected(process=gone)).liveness_basis.startswith("active-run.json is missing since")

    def test_the_log_and_the_files_are_shown_as_they_were_found(self) -> None:
        found = explained(projected(fold=a_story(3, line=12), artifacts=Artifacts(state=a_state(2))))

        assert (found.log.line, found.log.last and found.log.last.timestamp) == (12, stamp(3))
        state = next(file for file in found.files if file.name == "state.json")
        assert (state.presence, state.modified_at) == ("present", moment(2))

    def test_the_next_look_is_named(self) -> None:
        found = explained(projected(beat=a_beat(0))).next_look

        assert found is not None
        assert (found.when, found.why) == (moment(120), "runtime_heartbeat_stale")


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("snapshot_unavailable", UnreachableCause.ARTIFACTS_MISSING),
        ("snapshot_unavailable", UnreachableCause.ARTIFACTS_UNREADABLE),
        ("service_response_invalid", None),
        ("projection_failed", None),
    ],
)
def test_how_the_last_look_went_is_read_off_the_health_it_left(code: str, cause: UnreachableCause | None) -> None:
    """Memory keeps the document, not the look."""
    ingest = Ingest(False, code, cause, "It did not work.")
    run = projected(transport_health=failing(1))

    assert last_ingest(replace(run, health=health_of(run, ingest=ingest))) == ingest
    assert last_ingest(replace(run, health=health_of(run))) == Ingest()
    assert last_ingest(run) == Ingest()


def test_an_explanation_travels_as_json() -> None:
    run = projected(Phase.CRASHED, flags=DivergenceFlags(active_mismatch=True), beat=a_beat(0))

    whole = explained(run, 400)

    assert msgspec.json.decode(msgspec.json.encode(whole), type=Explanation) == whole
