"""What is found of a run: each reason where it holds, and above all where it must not. Source: loop-core 8.2."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opsd.model.health import Severity
from opsd.model.intent import ControlState, IntentKind, IntentStatus, OpenIntent, PauseNote
from opsd.model.lifecycle import DivergenceFlags, Ending, EventMark, Limit, Phase, RunFacts
from opsd.model.observation import Artifact, Artifacts, StreamChange, StreamNote, UnreachableCause
from opsd.model.process import Liveness, ProcessMemory
from opsd.model.run import Ingest, LoopRef, Run
from opsd.model.runtime import Heartbeat, LoopConfig, Presence, RecoveryRequest, Timeouts
from opsd.model.thresholds import Thresholds
from opsd.model.transport import TransportMode
from tests.core.builders import (
    LOOP,
    RUN_ID,
    a_run,
    a_state,
    an_approval,
    moment,
    on_file,
    stamp,
)
from tests.core.judging import (
    a_beat,
    a_mark,
    a_projection,
    a_story,
    drifted,
    failing,
    judged,
    projected,
)

YEARS_S = 3 * 365 * 86_400
QUIET = [
    Phase.NEVER_RUN,
    Phase.BUSY,
    Phase.LIMITED,
    Phase.PAUSED,
    Phase.AWAITING_APPROVAL,
    Phase.APPROVED,
    Phase.REJECTED,
    Phase.COMPLETE,
    Phase.STOPPED,
    Phase.STUCK,
    Phase.RATE_LIMITED,
    Phase.FAILED,
    Phase.CANCELLED,
    Phase.IDLE,
]
INFO, DEGRADED, CRITICAL = Severity.INFO, Severity.DEGRADED, Severity.CRITICAL


def refused(code: str | None = "snapshot_unavailable", cause: UnreachableCause | None = None) -> Ingest:
    return Ingest(False, code, cause, "it did not work.")


class TestSilence:
    """Rules 4 and 5, and where silence is no news."""

    @pytest.mark.parametrize("phase", QUIET)
    def test_expected_quiet_is_never_stale(self, phase: Phase) -> None:
        """A finished, waiting or paused loop that turned critical after 15 minutes is what made people stop looking."""
        assert "ingest_stale" not in judged(projected(phase), YEARS_S)

    @pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.UNKNOWN, Phase.CRASHED])
    def test_silence_where_something_may_run_is_found_at_the_threshold(self, phase: Phase) -> None:
        run = projected(phase)

        assert "ingest_stale" not in judged(run, 299.999)
        found = judged(run, 300)["ingest_stale"]
        assert (found.severity, found.since, found.line) == (DEGRADED, moment(300), 12)
        assert found.evidence == (
            f"The last event is role_start of {stamp(0)}, line 12; "
            "the limits are 300 s (degraded) and 900 s (critical)."
        )
        assert judged(run, 900)["ingest_stale"].severity is CRITICAL

    def test_the_same_silence_keeps_its_onset_whatever_it_grows_to(self) -> None:
        assert judged(projected(), 300)["ingest_stale"].onset == judged(projected(), YEARS_S)["ingest_stale"].onset

    def test_an_event_whose_time_cannot_be_read_is_no_silence(self) -> None:
        """Unknown lag is no reason (loop-core 8.2)."""
        fold = a_story(last=EventMark(12, "role_start", "yesterday"))

        assert "ingest_stale" not in judged(projected(fold=fold), YEARS_S)
        assert "ingest_stale" not in judged(projected(fold=a_story(last=None)), YEARS_S)

    def test_an_event_in_the_future_is_fresh(self) -> None:
        """Clocks get set back; lags are clamped to zero."""
        assert "ingest_stale" not in judged(projected(fold=a_story(3600)), 0)

    def test_a_log_not_read_to_its_end_is_not_called_silent(self) -> None:
        """Its newest event is still unread: after a restart, an old one says nothing of the present."""
        assert "ingest_stale" not in judged(projected(backlog_bytes=1, backlog_since=moment(0)), 900)

    def test_a_run_that_starts_is_given_ten_minutes_from_its_process(self) -> None:
        """The last event is an older run's then, perhaps years old."""
        starting = projected(Phase.STARTING, fold=a_story(-YEARS_S), process=alive())

        assert "ingest_stale" not in judged(starting, 599.999)
        found = judged(starting, 600)["ingest_stale"]
        assert (found.severity, found.line) == (DEGRADED, None)
        assert found.evidence.startswith(f"No event since the process began at {stamp(0)}")
        assert judged(starting, 900)["ingest_stale"].severity is CRITICAL

    def test_a_run_that_starts_and_never_logs_anything_is_found_too(self) -> None:
        starting = projected(Phase.STARTING, fold=a_story(last=None, run=None), process=alive())

        assert "ingest_stale" not in judged(starting, 599)
        assert "ingest_stale" in judged(starting, 600)


class TestHeartbeat:
    """Rules 6 and 7."""

    def test_the_lag_keeps_growing_when_beats_stop(self) -> None:
        """A stored lag that froze let a dead runtime look alive for ever (oddity 12)."""
        run = projected(Phase.BUSY, beat=a_beat(0))

        assert "runtime_heartbeat_stale" not in judged(run, 119.999)
        assert judged(run, 120)["runtime_heartbeat_stale"].severity is DEGRADED
        assert judged(run, 300)["runtime_heartbeat_stale"].severity is CRITICAL
        assert judged(run, 300)["runtime_heartbeat_stale"].since == moment(120)

    @pytest.mark.parametrize(
        "run",
        [
            projected(beat=None),
            projected(beat=a_beat(0, exited=True)),
            projected(Phase.PAUSED, beat=a_beat(0)),
            *(projected(phase, beat=a_beat(0)) for phase in QUIET if phase not in (Phase.BUSY, Phase.LIMITED)),
            projected(beat=a_beat(0, pid=1), process=ProcessMemory(pid=2)),
        ],
    )
    def test_nothing_is_late_where_no_beat_is_due(self, run: Run) -> None:
        """Never written, the last by design, of a run that is over or paused, or another process's."""
        assert "runtime_heartbeat_stale" not in judged(run, YEARS_S)

    @pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.BUSY, Phase.LIMITED, Phase.STARTING, Phase.UNKNOWN])
    def test_a_process_at_work_must_beat_however_quiet_its_log(self, phase: Phase) -> None:
        run = projected(phase, beat=a_beat(0, pid=4711), process=ProcessMemory(pid=4711))

        assert "runtime_heartbeat_stale" in judged(run, 120)

    @pytest.mark.parametrize(
        ("said", "evidence"),
        [
            (Heartbeat(), "heartbeat.v1.json has neither `timestamp` nor `updatedAt`."),
            (
                Heartbeat(timestamp="just now"),
                "heartbeat.v1.json says 'just now' where YYYY-MM-DDTHH:MM:SSZ is expected.",
            ),
        ],
    )
    def test_a_beat_without_a_usable_time_is_noted(self, said: Heartbeat, evidence: str) -> None:
        found = judged(projected(artifacts=Artifacts(heartbeat=on_file(said))))["heartbeat_unreadable"]

        assert (found.severity, found.evidence) == (INFO, evidence)

    @pytest.mark.parametrize("said", [Heartbeat(timestamp=stamp(0)), Heartbeat(updatedAt=stamp(0))])
    def test_a_beat_with_a_usable_time_is_not(self, said: Heartbeat) -> None:
        assert "heartbeat_unreadable" not in judged(projected(artifacts=Artifacts(heartbeat=on_file(said))))


def alive(liveness: Liveness = Liveness.ALIVE) -> ProcessMemory:
    return ProcessMemory(pid=4711, begun=stamp(0), seen_alive=True, liveness=liveness)


def at_work(role: str = "tester", *, timeouts: Timeouts | None, **members: Any) -> Run:
    facts = RunFacts(RUN_ID, 1, moment(0), role=role, activity="role_start", activity_since=moment(0))
    config = Artifacts(config=on_file(LoopConfig(timeouts=timeouts))) if timeouts else Artifacts()
    members.setdefault("process", alive())
    return projected(fold=a_story(run=facts), artifacts=config, **members)


class TestOverdueRole:
    def test_a_role_is_overdue_a_minute_after_its_limit(self) -> None:
        run = at_work(timeouts=Timeouts(True, default=900, tester=300))

        assert "role_overdue" not in judged(run, 359.999)
        found = judged(run, 360)["role_overdue"]
        assert (found.severity, found.since) == (DEGRADED, moment(360))
        assert found.evidence == f"The role tester has run since {stamp(0)}; its limit is 300 s."

    def test_a_role_without_a_limit_of_its_own_has_the_default(self) -> None:
        assert "role_overdue" in judged(at_work("openprose", timeouts=Timeouts(True, default=10)), 70)

    @pytest.mark.parametrize(
        "run",
        [
            at_work(timeouts=None),
            at_work(timeouts=Timeouts(True, default=0)),
            at_work(timeouts=Timeouts(False, default=10)),
            at_work(timeouts=Timeouts(True, default=10), process=alive(Liveness.UNKNOWN)),
            projected(fold=a_story(run=RunFacts(RUN_ID, 1, activity="tests_start", activity_since=moment(0)))),
            projected(fold=a_story(run=None), process=alive()),
        ],
    )
    def test_nothing_is_overdue_without_a_limit_a_role_and_a_living_process(self, run: Run) -> None:
        assert "role_overdue" not in judged(run, YEARS_S)


class TestClocks:
    @pytest.mark.parametrize("run", [projected(fold=a_story(3600)), projected(beat=a_beat(3600))])
    def test_what_lies_in_the_future_is_noted_until_the_clock_has_caught_up(self, run: Run) -> None:
        assert judged(run, 3594.999)["clock_stepped"].severity is INFO
        assert "clock_stepped" not in judged(run, 3595)

    def test_a_moment_at_the_end_of_the_calendar_is_never_late(self) -> None:
        """Logs are other people's: a date that nothing can be added to must not cost the pass."""
        last = EventMark(12, "role_start", "9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
        run = projected(fold=a_story(last=last))

        assert list(judged(run, YEARS_S)) == ["clock_stepped"]
        assert "role_overdue" not in judged(at_work(timeouts=Timeouts(True, default=10**15)), 60)

    def test_a_second_or_two_is_only_rounding(self) -> None:
        assert "clock_stepped" not in judged(projected(fold=a_story(5)), 0)


def a_service(**members: Any) -> Run:
    return Run(LoopRef(LOOP, "/srv/repo", TransportMode.SPRITE_SERVICE), baselined=True, **members)


class TestReaching:
    """Rules 8, 9 and 11 to 15, told apart by where the way ended."""

    @pytest.mark.parametrize("cause", [UnreachableCause.ARTIFACTS_MISSING, UnreachableCause.ARTIFACTS_UNREADABLE])
    def test_local_trouble_is_no_transports(self, cause: UnreachableCause) -> None:
        """A missing folder must start no circuit breaker and join no outage."""
        found = judged(projected(transport_health=failing(9, since_s=-60)), ingest=refused(cause=cause))

        assert list(found) == [cause]
        assert (found[cause].severity, found[cause].since) == (DEGRADED, moment(-60))
        assert found[cause].evidence == "it did not work."

    @pytest.mark.parametrize(("streak", "severity"), [(1, DEGRADED), (2, DEGRADED), (3, DEGRADED), (4, CRITICAL)])
    def test_a_service_that_does_not_answer_is_unreachable_and_critical_by_streak(
        self, streak: int, severity: Severity
    ) -> None:
        ingest = refused("service_request_failed", UnreachableCause.SERVICE_REQUEST_FAILED)

        found = judged(a_service(transport_health=failing(streak)), ingest=ingest)

        assert {code: finding.severity for code, finding in found.items()} == {"transport_unreachable": severity}

    def test_answers_that_cannot_be_believed_count_as_unreachable_once_they_last(self) -> None:
        ingest = refused("service_response_invalid")

        assert list(judged(a_service(transport_health=failing(1)), ingest=ingest)) == ["invalid_transport_payload"]
        lasting = judged(a_service(transport_health=failing(4)), ingest=ingest)
        assert lasting["transport_unreachable"].severity is CRITICAL
        assert lasting["invalid_transport_payload"].severity is DEGRADED

    @pytest.mark.parametrize(
        ("code", "found"),
        [
            ("service_response_invalid", "invalid_transport_payload"),
            ("projection_failed", "projection_failed"),
            ("", "reconcile_failed"),
            (None, "reconcile_failed"),
            ("out_of_cheese", "reconcile_failed"),
        ],
    )
    def test_what_came_and_could_not_be_used_has_its_own_code(self, code: str | None, found: str) -> None:
        assert list(judged(projected(transport_health=failing(1)), ingest=refused(code))) == [found]

    def test_a_look_that_succeeded_ends_them_all(self) -> None:
        assert judged(a_service()) == {}


class TestTheLog:
    def test_drift_is_the_sequences_own_word(self) -> None:
        found = judged(projected(sequence=drifted()))["ordering_drift_detected"]

        assert found.severity is DEGRADED
        assert "event_sequence_regression, snapshot_sequence_regression" in found.evidence
        assert "1 lines after 10" in found.evidence

    @pytest.mark.parametrize("change", [StreamChange.TRUNCATED, StreamChange.REPLACED])
    def test_a_cut_or_exchanged_log_is_news_for_an_hour(self, change: StreamChange) -> None:
        run = projected(Phase.IDLE, stream_note=StreamNote(change, moment(0), 1), fold=a_story(-9, epoch=1))

        found = judged(run, 3599.999)[change.value]
        assert (found.severity, found.since, found.onset) == (DEGRADED, moment(0), "e1")
        assert change.value not in judged(run, 3600)

    def test_a_new_run_ends_that_news(self) -> None:
        note = StreamNote(StreamChange.TRUNCATED, moment(0), 1)
        newer = a_story(5, epoch=1, run=RunFacts("2026-11-21T02:00:05Z", 1, moment(5)))

        assert "stream_truncated" not in judged(projected(stream_note=note, fold=newer), 10)

    def test_a_cursor_that_an_operator_removed_is_no_news(self) -> None:
        run = projected(Phase.IDLE, stream_note=StreamNote(StreamChange.CURSOR_RESET, moment(0), 0))

        assert judged(run) == {}

    def test_a_bad_line_is_degraded_for_a_quarter_of_an_hour_and_then_a_note(self) -> None:
        run = projected(Phase.IDLE, fold=a_story(quarantined_count=3), quarantined_at=moment(0))

        assert judged(run, 899.999)["event_quarantined"].severity is DEGRADED
        assert judged(run, 900)["event_quarantined"].severity is INFO
        assert judged(run, 900)["event_quarantined"].evidence.startswith("3 of the log's lines")

    def test_reading_behind_is_a_note_for_a_minute(self) -> None:
        run = projected(Phase.IDLE, backlog_bytes=10, backlog_since=moment(0))

        assert judged(run, 59.999)["ingest_backlog"].severity is INFO
        assert judged(run, 60)["ingest_backlog"].severity is DEGRADED

    def test_unreadable_small_files_are_named(self) -> None:
        broken: Artifact[Any] = Artifact(Presence.UNREADABLE, since=moment(3), problem="approval.json: not JSON.")
        also: Artifact[Any] = Artifact(Presence.UNREADABLE, since=moment(1))

        found = judged(projected(artifacts=Artifacts(approval=broken, summary=also)), 9)["file_unreadable"]

        assert (found.severity, found.since) == (DEGRADED, moment(1))
        assert found.evidence == "run-summary.json cannot be read. approval.json: not JSON."

    def test_a_file_caught_being_written_is_not_unreadable(self) -> None:
        settling: Artifact[Any] = Artifact(Presence.SETTLING, since=moment(0))

        assert judged(projected(artifacts=Artifacts(approval=settling, state=settling))) == {}


def ended(ending: Ending | None, phase: Phase, name: str = "loop_stop") -> Run:
    facts = RunFacts(RUN_ID, 1, moment(0), ending=ending, ended=a_mark(50, name=name, line=11))
    return projected(phase, fold=a_story(60, run=facts))


class TestHowItEnded:
    @pytest.mark.parametrize(
        ("ending", "phase", "code", "severity"),
        [
            (Ending.RATE_LIMITED, Phase.RATE_LIMITED, "run_rate_limited", DEGRADED),
            (Ending.STUCK, Phase.STUCK, "run_stuck", DEGRADED),
            (Ending.NO_PROGRESS, Phase.STUCK, "no_progress", DEGRADED),
            (Ending.MAX_ITERATIONS, Phase.STOPPED, "max_iterations_reached", DEGRADED),
            (Ending.LIFECYCLE_GATE_FAILED, Phase.STOPPED, "lifecycle_gate_failed", DEGRADED),
            (Ending.STOPPED, Phase.STOPPED, "run_stopped", DEGRADED),
            (Ending.ROLE_TIMEOUT, Phase.FAILED, "role_timed_out", DEGRADED),
            (Ending.USAGE_LIMITED, Phase.FAILED, "usage_limited", DEGRADED),
            (Ending.FAILED, Phase.FAILED, "run_failed", DEGRADED),
            (Ending.CANCELLED, Phase.CANCELLED, "run_cancelled", INFO),
        ],
    )
    def test_each_end_has_its_code_its_moment_and_its_line(
        self, ending: Ending, phase: Phase, code: str, severity: Severity
    ) -> None:
        found = judged(ended(ending, phase), YEARS_S)

        assert list(found) == [code]
        assert found[code].severity is severity
        if phase is not Phase.CANCELLED:
            assert (found[code].since, found[code].line, found[code].onset) == (moment(50), 11, "e0:l11")

    def test_a_completed_run_leaves_nothing_to_find(self) -> None:
        assert judged(ended(Ending.COMPLETE, Phase.COMPLETE), YEARS_S) == {}

    @pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.STARTING, Phase.BUSY])
    def test_a_newer_run_ends_what_the_last_one_left(self, phase: Phase) -> None:
        assert judged(ended(Ending.STUCK, phase), 60) == {}

    def test_a_crash_is_critical_and_told_apart_by_its_process(self) -> None:
        """A restart that dies before its first event leaves the log as it was, and is a second crash all the same."""
        gone = ProcessMemory(pid=1, begun=stamp(0), seen_alive=True, liveness=Liveness.GONE)
        again = ProcessMemory(pid=2, begun=stamp(30), seen_alive=True, liveness=Liveness.GONE)

        first = judged(projected(Phase.CRASHED, process=gone), 40)["runtime_process_missing"]
        second = judged(projected(Phase.CRASHED, process=again), 40)["runtime_process_missing"]

        assert first.severity is CRITICAL
        assert first.onset != second.onset

    def test_a_usage_limit_that_is_waited_for_is_a_note(self) -> None:
        fold = a_story(limit=Limit("usage_limit", moment(0), moment(600)))
        waiting = projected(projection=a_projection(Phase.LIMITED, since=moment(0)), fold=fold)

        found = judged(waiting, 60)["usage_limited"]

        assert (found.severity, found.since) == (INFO, moment(0))

    def test_a_usage_limit_without_a_process_that_waits_is_an_end(self) -> None:
        """The log does not say that the run left; that nothing runs any more does."""
        fold = a_story(limit=Limit("usage_limit", moment(0), None))

        assert judged(projected(Phase.FAILED, fold=fold))["usage_limited"].severity is DEGRADED

    def test_the_evidence_is_the_belief_in_a_sentence(self) -> None:
        assert judged(ended(Ending.STUCK, Phase.STUCK))["run_stuck"].evidence == "It was made stuck."


class TestWaiting:
    def test_a_pending_approval_is_known_by_run_iteration_and_request(self) -> None:
        projection = a_projection(Phase.AWAITING_APPROVAL, has_pending_approval=True)
        run = projected(projection=projection, artifacts=Artifacts(approval=an_approval(7)))

        found = judged(run, YEARS_S)["approval_pending"]

        assert (found.severity, found.since) == (INFO, moment(7))
        assert found.onset == f"{RUN_ID}#1@{stamp(7)}"

    @pytest.mark.parametrize("phase", [Phase.APPROVED, Phase.REJECTED])
    def test_a_decision_that_nobody_took_up_is_noted(self, phase: Phase) -> None:
        run = projected(phase, artifacts=Artifacts(approval=an_approval(7, status="approved")))

        assert judged(run, YEARS_S)["decision_not_taken_up"].severity is INFO

    def test_a_recovery_that_the_log_says_waits(self) -> None:
        found = judged(projected(fold=a_story(5, recovery=a_mark(5, name="recovery_escalated", line=9))), 6)

        assert (found["recovery_waiting"].severity, found["recovery_waiting"].line) == (DEGRADED, 9)

    @pytest.mark.parametrize(
        ("request_", "waits"),
        [
            (RecoveryRequest(stamp(5), 1, "pending", "not_in_auto_approve"), True),
            (RecoveryRequest(stamp(-5), 1, "pending", "an older run's: nothing ever clears this file"), False),
            (RecoveryRequest(stamp(5), 1, "done"), False),
            (RecoveryRequest("later", 1, "pending"), False),
        ],
    )
    def test_a_recovery_on_file_counts_only_for_the_run_that_wrote_it(
        self, request_: RecoveryRequest, *, waits: bool
    ) -> None:
        run = projected(artifacts=Artifacts(recovery=on_file(request_)))

        assert ("recovery_waiting" in judged(run, 6)) is waits

    def test_a_completed_run_waits_for_no_recovery(self) -> None:
        assert judged(projected(Phase.COMPLETE, fold=a_story(recovery=a_mark())), 6) == {}


class TestTheCourse:
    @pytest.mark.parametrize(("streak", "severity"), [(0, None), (1, None), (2, INFO), (3, DEGRADED), (9, DEGRADED)])
    def test_tests_that_keep_failing(self, streak: int, severity: Severity | None) -> None:
        run = projected(fold=a_story(run=RunFacts(RUN_ID, 1, tests_failed_streak=streak)))

        found = judged(run).get("tests_failing")

        assert (found.severity if found else None) is severity

    def test_a_run_that_gave_up_over_failing_tests_says_so_as_a_note(self) -> None:
        """`max_iterations_reached` alone would leave the reason to be searched for."""
        over = RunFacts(RUN_ID, 1, tests_failed_streak=4, ending=Ending.MAX_ITERATIONS)

        found = judged(projected(Phase.STOPPED, fold=a_story(run=over)))

        assert found["tests_failing"].severity is INFO

    def test_a_run_that_is_over_fails_no_tests(self) -> None:
        run = projected(Phase.COMPLETE, fold=a_story(run=RunFacts(RUN_ID, 1, tests_failed_streak=9)))

        assert judged(run) == {}

    @pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.UNKNOWN, Phase.IDLE])
    def test_another_loop_in_the_checkout_is_noted_while_ours_has_no_end(self, phase: Phase) -> None:
        files = Artifacts(state=a_state(3, loop_id="other"))

        assert judged(projected(phase, artifacts=files), 4)["state_contested"].severity is INFO

    @pytest.mark.parametrize(
        "run",
        [
            projected(artifacts=Artifacts(state=a_state())),
            projected(artifacts=Artifacts(state=a_state(active=False, loop_id="other"))),
            projected(artifacts=Artifacts(state=a_state(loop_id=""))),
            projected(fold=a_story(run=None), artifacts=Artifacts(state=a_state(loop_id="other"))),
            projected(
                fold=a_story(run=RunFacts(RUN_ID, 1, ending=Ending.COMPLETE)),
                artifacts=Artifacts(state=a_state(loop_id="other")),
            ),
        ],
    )
    def test_a_checkout_of_our_own_is_not_contested(self, run: Run) -> None:
        assert "state_contested" not in judged(run)

    @pytest.mark.parametrize(("written_s", "contested"), [(9, False), (10, False), (11, True)])
    def test_a_state_from_before_our_turn_contests_nothing(self, written_s: int, contested: bool) -> None:
        """In a run of several loops the next one logs its start while the state still names the one before."""
        fold = a_story(run=RunFacts(RUN_ID, 1, started_at=moment(10)))
        files = Artifacts(state=a_state(written_s, loop_id="other"))

        assert ("state_contested" in judged(projected(fold=fold, artifacts=files), 12)) is contested

    @pytest.mark.parametrize(
        ("flags", "says"),
        [
            (DivergenceFlags(active_mismatch=True), "state.json that it is not active"),
            (DivergenceFlags(approval_completion_conflict=True), "calls complete"),
            (DivergenceFlags(cursor_regression=True), "became shorter"),
        ],
    )
    def test_each_divergence_says_which_files_disagree(self, flags: DivergenceFlags, says: str) -> None:
        found = judged(projected(flags=flags))["divergence_detected"]

        assert found.severity is DEGRADED
        assert says in found.evidence


def open_intent(intent_id: str, after_s: float, kind: IntentKind = IntentKind.CANCEL) -> OpenIntent:
    return OpenIntent(intent_id, kind, IntentStatus.AMBIGUOUS, "riya", moment(after_s))


class TestWhatWasAsked:
    """Rules 2 and 3 of the contract."""

    @pytest.mark.parametrize("status", [None, "confirmed", "executed", "refused"])
    def test_a_control_request_that_went_well_is_none_of_ours(self, status: str | None) -> None:
        assert judged(projected(control=ControlState(last_status=status))) == {}

    def test_an_ambiguous_intent_stands_until_it_is_settled_whatever_came_after_it(self) -> None:
        later = ControlState("confirmed", last_is_ours=True, ambiguous=(open_intent("i-1", 30),))

        found = judged(projected(control=later))["control_ambiguous"]

        assert (found.severity, found.since, found.onset) == (DEGRADED, moment(30), "i-1")
        assert "`opsctl intent ack i-1`" in found.evidence

    def test_several_are_one_finding_that_names_them_all(self) -> None:
        both = ControlState(ambiguous=(open_intent("i-1", 30), open_intent("i-2", 20, IntentKind.START)))

        found = judged(projected(control=both))["control_ambiguous"]

        assert (found.since, found.onset) == (moment(20), "i-1 i-2")
        assert "start i-2" in found.evidence

    def test_of_a_row_that_others_wrote_its_status_is_all_there_is(self) -> None:
        theirs = judged(projected(control=ControlState("ambiguous", last_is_ours=False)))
        ours = judged(projected(control=ControlState("ambiguous", last_is_ours=True)))

        assert theirs["control_ambiguous"].onset == "ambiguous"
        assert ours == {}, "it has been settled since: no intent is open"

    @pytest.mark.parametrize("is_ours", [False, True])
    def test_a_failed_request_stands_until_the_next_one(self, is_ours: bool) -> None:
        control = ControlState("failed_command", last_is_ours=is_ours)

        assert set(judged(projected(control=control))) == {"control_failed_command"}

    def test_both_may_be_true_at_once(self) -> None:
        control = ControlState("failed_command", last_is_ours=True, ambiguous=(open_intent("i-1", 30),))

        assert set(judged(projected(control=control))) == {"control_ambiguous", "control_failed_command"}


class TestPause:
    NOTE = PauseNote("i-1", "riya", moment(10), "backup", moment(60), pid=7)
    PROCESS = ProcessMemory(pid=7, begun=stamp(0), liveness=Liveness.PAUSED)

    def paused(self, note: PauseNote | None, phase: Phase = Phase.PAUSED, process: ProcessMemory = PROCESS) -> Run:
        return projected(phase, control=ControlState(pause=note), process=process)

    def test_it_says_who_paused_the_run_since_when_until_when_and_why(self) -> None:
        found = judged(self.paused(self.NOTE), 30)["run_paused"]

        assert (found.severity, found.since, found.onset) == (INFO, moment(10), "i-1")
        assert found.evidence == f"Paused by riya at {stamp(10)} until {stamp(60)}: backup."

    def test_a_pause_for_good_never_expires(self) -> None:
        run = self.paused(PauseNote("i-1", "riya", moment(10), pid=7))

        found = judged(run, YEARS_S)
        assert set(found) == {"run_paused"}
        assert "until somebody resumes it." in found["run_paused"].evidence

    @pytest.mark.parametrize(("after_s", "expired"), [(59.999, False), (60, True), (YEARS_S, True)])
    def test_at_its_moment_a_pause_is_too_long(self, after_s: float, expired: bool) -> None:
        found = judged(self.paused(self.NOTE), after_s)

        assert ("pause_expired" in found) is expired
        if expired:
            assert (found["pause_expired"].severity, found["pause_expired"].since) == (DEGRADED, moment(60))
            assert "run_paused" in found

    @pytest.mark.parametrize("note", [None, PauseNote("i-1", "riya", moment(10), until=moment(60), pid=8)])
    def test_a_run_that_somebody_stopped_without_us_is_paused_by_nobody_we_know(self, note: PauseNote | None) -> None:
        """A note about another process is a note about another run."""
        found = judged(self.paused(note), YEARS_S)

        assert set(found) == {"run_paused"}
        assert found["run_paused"].evidence == "Process 7 is stopped by a signal, and no pause of it is recorded."
        assert found["run_paused"].onset == f"process 7 of {stamp(0)}"

    @pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.PAUSED])
    def test_a_run_that_goes_on_is_not_paused_whatever_was_noted(self, phase: Phase) -> None:
        assert {"run_paused", "pause_expired"} & set(judged(self.paused(self.NOTE, phase), YEARS_S)) == set()


def test_findings_come_worst_first_and_then_by_code() -> None:
    run = projected(
        Phase.UNKNOWN,
        flags=DivergenceFlags(active_mismatch=True),
        beat=a_beat(0),
        control=ControlState(last_status="ambiguous"),
        backlog_bytes=1,
        backlog_since=moment(299),
    )

    assert list(judged(run, 300)) == [
        "runtime_heartbeat_stale",
        "control_ambiguous",
        "divergence_detected",
        "ingest_backlog",
    ]


def test_a_loop_never_looked_at_has_no_findings() -> None:
    assert judged(a_run(), YEARS_S) == {}


def test_the_contracts_own_example_of_a_stale_log() -> None:
    """Loop-core 13: an event of 2020 and a threshold of one second are `ingest_stale`, degraded."""
    limits = Thresholds(degraded_ingest_lag_seconds=1, critical_ingest_lag_seconds=999_999_999)
    run = projected(fold=a_story(-timedelta(days=365 * 6).total_seconds()))

    assert {code: found.severity for code, found in judged(run, limits=limits).items()} == {"ingest_stale": DEGRADED}
