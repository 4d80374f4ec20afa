"""One pass as a whole: what it shows, what it writes and in which order, and what a replay or a restart changes."""

from datetime import datetime

import msgspec

from opsd.core.reconcile import Decision, Pass, Rules, decide
from opsd.model.cursor import Stream
from opsd.model.effects import Append, Document, Journal, Replace
from opsd.model.health import HealthStatus
from opsd.model.ids import TraceId
from opsd.model.lifecycle import Lifecycle, Phase
from opsd.model.observation import (
    Artifacts,
    Malformed,
    Observation,
    ProcessSighting,
    QuarantinedLine,
    StreamChange,
    Unreachable,
    UnreachableCause,
)
from opsd.model.run import Run
from opsd.model.state import StateDocument
from tests.core.builders import a_run, a_seen, a_state, an_active_run, an_approval, an_event, moment

RULES = Rules(home="/srv/home")
STREAM = Stream(1, 2, 0, 100, "f", 4, 7)
AT_WORK = Artifacts(state=a_state(), active_run=an_active_run())
HISTORY = (an_event("loop_start"), an_event("iteration_start", 1), an_event("role_start", 2, role="planner"))


def a_pass(run: Run, seen: Observation, *, from_start: bool = False, rules: Rules = RULES) -> Decision:
    return decide(run, seen, rules, Pass(TraceId("trace"), from_start), seen.at)


def a_working_run() -> Run:
    seen = a_seen(HISTORY, after_s=3, artifacts=AT_WORK, process=ProcessSighting.ALIVE, stream=STREAM)
    return a_pass(a_run(), seen).run


def unreachable(after_s: float) -> Unreachable:
    return Unreachable(moment(after_s), UnreachableCause.ARTIFACTS_MISSING, "snapshot_unavailable", "no such folder")


def documents(decision: Decision) -> list[Document]:
    return [effect.document for effect in decision.effects if isinstance(effect, Replace)]


def journals(decision: Decision) -> list[Journal]:
    return [effect.journal for effect in decision.effects if isinstance(effect, Append)]


def state_of(decision: Decision) -> StateDocument:
    (state,) = [e.record for e in decision.effects if isinstance(e, Replace) and e.document is Document.STATE]
    assert isinstance(state, StateDocument)
    return state


def test_a_first_look_writes_every_document_and_the_cursor_last() -> None:
    seen = a_seen(HISTORY, after_s=3, artifacts=AT_WORK, process=ProcessSighting.ALIVE, stream=STREAM)

    decision = a_pass(a_run(), seen)

    assert documents(decision)[-1] is Document.CURSOR
    assert set(documents(decision)) == set(Document) - {Document.HEARTBEAT, Document.PROFILE_DRIFT}
    assert (decision.changed, decision.run.revision, decision.events_ingested) == (True, 1, 3)


def test_escalations_reach_the_disk_before_any_document() -> None:
    """Whoever reads a degraded health document must find its escalation in the journal."""
    waiting = Artifacts(state=a_state(active=False), approval=an_approval(4))

    asked = a_seen((an_event("approval_requested", 4),), after_s=5, first_line=4, artifacts=waiting, stream=STREAM)
    decision = a_pass(a_working_run(), asked)

    kinds = [isinstance(effect, Append) for effect in decision.effects]
    assert kinds == sorted(kinds, reverse=True)
    (row,) = [e for e in decision.effects if isinstance(e, Append) and e.journal is Journal.ESCALATIONS]
    assert row.durable


def test_a_pass_that_finds_nothing_new_writes_nothing() -> None:
    run = a_working_run()

    again = a_pass(run, a_seen((), after_s=4, first_line=4, artifacts=AT_WORK, process=ProcessSighting.ALIVE))

    assert (again.effects, again.changed, again.run.revision) == ((), False, run.revision)


def test_one_new_event_costs_one_document_while_the_cursor_may_lag() -> None:
    """Writing is the budget of a busy host: lines read twice change nothing, and a row that says nothing is none."""
    more = a_seen(
        (an_event("role_end", 5, role="planner"),),
        after_s=5,
        first_line=4,
        artifacts=AT_WORK,
        process=ProcessSighting.ALIVE,
        stream=STREAM,
    )

    decision = a_pass(a_working_run(), more)

    assert documents(decision) == [Document.STATE]
    assert journals(decision) == []
    assert decision.wake is not None
    assert decision.wake.when == moment(13), "ten seconds after the cursor was last written, if no pass comes before"
    caught_up = a_pass(
        decision.run,
        a_seen((), after_s=8, first_line=5, artifacts=AT_WORK, process=ProcessSighting.ALIVE, stream=STREAM),
    )
    assert documents(caught_up) == [Document.CURSOR]
    assert not caught_up.changed


def test_a_running_loop_leaves_a_sample_at_each_interval_though_nothing_changes() -> None:
    run = a_working_run()
    later = a_seen((), after_s=63, first_line=4, artifacts=AT_WORK, process=ProcessSighting.ALIVE, stream=STREAM)

    decision = a_pass(run, later)

    (row,) = [e.row for e in decision.effects if isinstance(e, Append)]
    assert msgspec.to_builtins(row)["sample"] is True
    assert Document.STATE in documents(decision)
    assert not decision.changed
    assert decision.wake is not None
    assert decision.wake.when <= moment(123)


def test_a_loop_that_was_never_read_gets_a_health_document_and_no_state() -> None:
    """Source: loop-core 5.4 E."""
    decision = a_pass(a_run(), unreachable(0))

    assert decision.failed
    assert Document.STATE not in documents(decision)
    assert Document.CURSOR not in documents(decision)
    assert decision.run.health is not None
    assert decision.run.health.reason_codes == ("transport_unreachable",)
    assert [finding.code for finding in decision.run.health.findings] == ["artifacts_missing"]


def test_local_trouble_is_told_to_people_as_what_it_is() -> None:
    """The contract's code speaks of a transport; nobody should go and look for a service on a local checkout."""
    once = a_pass(a_run(), unreachable(0))

    twice = a_pass(once.run, unreachable(30))

    (row,) = twice.escalations
    assert row.reason_codes == ("transport_unreachable",)
    assert row.summary == "The loop's folder or its event log is not there."


def test_a_failed_look_keeps_what_was_believed_and_says_that_it_failed() -> None:
    run = a_working_run()

    decision = a_pass(run, unreachable(10))

    assert decision.run.projection == run.projection
    assert state_of(decision).transition.current_state is Lifecycle.RUNNING
    assert state_of(decision).health is decision.run.health
    assert decision.run.transport_health is not None
    assert decision.run.transport_health.failure_streak == 1


def test_an_answer_that_cannot_be_believed_is_the_contracts_invalid_payload() -> None:
    decision = a_pass(a_working_run(), Malformed(moment(10), "service_response_invalid", "another loop answered"))

    assert decision.run.health is not None
    assert decision.run.health.reason_codes == ("invalid_transport_payload",)


def test_a_success_after_failures_ends_the_streak() -> None:
    failed = a_pass(a_pass(a_working_run(), unreachable(10)).run, unreachable(11)).run

    decision = a_pass(failed, a_seen((), after_s=12, first_line=4, artifacts=AT_WORK, process=ProcessSighting.ALIVE))

    assert decision.run.transport_health is not None
    assert decision.run.transport_health.failure_streak == 0
    assert decision.run.health is not None
    assert decision.run.health.status is HealthStatus.HEALTHY


def test_a_burst_larger_than_one_slice_is_judged_whole_or_after_five_seconds() -> None:
    """Its middle is already history; only a log that outruns the reading is judged behind its end."""
    slice_ = a_seen(
        (an_event("role_end", 5, role="planner"),),
        after_s=5,
        first_line=4,
        artifacts=AT_WORK,
        process=ProcessSighting.ALIVE,
        backlog_bytes=900,
    )
    run = a_working_run()

    first = a_pass(run, slice_)
    late = a_pass(first.run, msgspec.structs.replace(slice_, at=moment(10), events=(), lines=range(0)))

    assert (first.again, first.changed, first.run.projection) == (True, False, run.projection)
    assert (late.again, late.changed) == (True, True)


class TestReplay:
    """A log may be read anew, and half a log tells yesterday's story."""

    def test_half_a_replay_changes_no_verdict_and_stores_no_progress(self) -> None:
        run = a_working_run()

        half = a_pass(run, a_seen(HISTORY[:1], after_s=6, artifacts=AT_WORK, backlog_bytes=500), from_start=True)

        assert (half.effects, half.changed, half.again) == ((), False, True)
        assert half.run.projection == run.projection
        assert half.run.fold == run.fold

    def test_a_replay_that_has_caught_up_is_no_drift_and_escalates_nothing(self) -> None:
        run = a_working_run()
        seen = a_seen(HISTORY, after_s=6, artifacts=AT_WORK, process=ProcessSighting.ALIVE, stream=STREAM)

        whole = a_pass(run, seen, from_start=True)

        assert whole.run.fold == run.fold
        assert whole.run.sequence is not None
        assert not whole.run.sequence.drift_active
        assert whole.escalations == ()

    def test_a_replay_writes_every_document_again(self) -> None:
        """It is asked for when the files are in doubt, or were removed."""
        run = a_working_run()
        seen = a_seen(HISTORY, after_s=6, artifacts=AT_WORK, process=ProcessSighting.ALIVE, stream=STREAM)

        whole = a_pass(run, seen, from_start=True)

        assert set(documents(whole)) == set(Document) - {Document.HEARTBEAT, Document.PROFILE_DRIFT}

    def test_runs_that_ended_before_are_told_once(self) -> None:
        ended = (*HISTORY, an_event("loop_stop", 8, data={"reason": "max_iterations", "max_iterations": 2}))
        idle = Artifacts(state=a_state(8, active=False))
        first = a_pass(a_run(), a_seen(ended, after_s=9, artifacts=idle, stream=STREAM))

        second = a_pass(first.run, a_seen(ended, after_s=20, artifacts=idle, stream=STREAM), from_start=True)

        assert journals(first).count(Journal.RUNS) == 1
        assert Journal.RUNS not in journals(second)

    def test_runs_that_ended_in_any_part_of_a_long_replay_are_told(self) -> None:
        """A long log is read in slices: the runs of the earlier ones belong to the loop's history as well."""
        ended = (*HISTORY, an_event("loop_stop", 8, data={"reason": "max_iterations", "max_iterations": 2}))

        half = a_pass(a_run(), a_seen(ended, after_s=9, artifacts=AT_WORK, backlog_bytes=500, stream=STREAM))
        whole = a_pass(half.run, a_seen((), after_s=10, first_line=5, artifacts=AT_WORK, stream=STREAM))

        assert journals(half) == [Journal.RUNS]
        assert Journal.RUNS not in journals(whole)

    def test_a_truncated_log_starts_a_new_epoch_and_is_named(self) -> None:
        run = a_working_run()
        anew = msgspec.structs.replace(STREAM, epoch=1, byte_offset=40)

        decision = a_pass(
            run,
            a_seen(
                HISTORY[:1],
                after_s=9,
                artifacts=AT_WORK,
                process=ProcessSighting.ALIVE,
                stream=anew,
                change=StreamChange.TRUNCATED,
            ),
        )

        assert decision.run.fold.epoch == 1
        assert decision.run.projection is not None
        assert decision.run.projection.divergence.cursor_regression
        assert decision.run.health is not None
        assert "stream_truncated" in {finding.code for finding in decision.run.health.findings}


def test_a_bad_line_is_set_aside_counted_and_known() -> None:
    bad = QuarantinedLine(4, 100, 9, "00", "not json", "not JSON")
    more = a_seen(
        (an_event("role_end", 5, role="planner"),),
        after_s=5,
        first_line=5,
        artifacts=AT_WORK,
        process=ProcessSighting.ALIVE,
        stream=STREAM,
        quarantined=(bad,),
    )

    decision = a_pass(a_working_run(), more)

    assert journals(decision)[0] is Journal.QUARANTINE
    assert decision.run.fold.quarantined_count == 1
    assert decision.run.health is not None
    assert "event_quarantined" in {finding.code for finding in decision.run.health.findings}


def test_lines_that_a_lagging_cursor_brings_again_change_nothing() -> None:
    """After a crash the fold on disk may be ahead of the cursor."""
    run = a_working_run()
    twice = a_seen(
        HISTORY[1:], after_s=4, first_line=2, artifacts=AT_WORK, process=ProcessSighting.ALIVE, stream=STREAM
    )

    decision = a_pass(run, twice)

    assert decision.run.fold == run.fold
    assert (decision.events_ingested, decision.changed, decision.escalations) == (0, False, ())
    assert decision.run.sequence is not None
    assert not decision.run.sequence.drift_active


def test_a_log_that_ends_in_blank_lines_is_folded_to_its_end() -> None:
    """Else fold and cursor would seem not to belong together, and every restart would replay the log."""
    blank = a_seen((), after_s=4, first_line=4, artifacts=AT_WORK, process=ProcessSighting.ALIVE, line_offset=6)

    decision = a_pass(a_working_run(), blank)

    assert decision.run.fold.line == decision.run.cursor_line == 6


def test_the_state_document_carries_the_last_event_in_contract_form() -> None:
    decision = a_pass(
        a_run(), a_seen(HISTORY, after_s=3, artifacts=AT_WORK, process=ProcessSighting.ALIVE, stream=STREAM)
    )

    envelope = state_of(decision).evidence.last_event_envelope

    assert envelope is not None
    assert (envelope.sequence.value, envelope.event.name, envelope.event.role) == (3, "role_start", "planner")
    assert msgspec.json.decode(envelope.event.raw)["event"] == "role_start"


def test_the_phase_keeps_its_beginning_while_it_lasts() -> None:
    run = a_working_run()
    later: datetime = moment(30)

    same = decide(
        run,
        a_seen((), after_s=30, first_line=4, artifacts=AT_WORK, process=ProcessSighting.ALIVE),
        RULES,
        Pass(TraceId("t")),
        later,
    )

    assert same.run.projection is not None
    assert same.run.projection.phase in (Phase.RUNNING, Phase.STARTING)
    assert same.run.phase_since == run.phase_since
