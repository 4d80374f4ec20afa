"""Gone is believed on evidence only, and each kind of evidence has its own patience."""

import pytest
from msgspec.structs import replace

from opsd.core.process import judge
from opsd.model.ids import LoopId
from opsd.model.lifecycle import Fold
from opsd.model.observation import Artifact, Artifacts, ProcessSighting
from opsd.model.process import Liveness, ProcessMemory
from opsd.model.runtime import EventLine, Presence
from tests.core.builders import LOOP, a_fold, a_state, an_active_run, an_event, moment

AT_WORK = Artifacts(state=a_state(), active_run=an_active_run())
FILE_GONE = Artifacts(state=a_state())
LOG = (an_event("loop_start"), an_event("role_start", 1, role="tester"))


class Watcher:
    """Looks at one loop's process, look after look."""

    def __init__(self, *log: EventLine) -> None:
        self.memory = ProcessMemory()
        self.fold: Fold = a_fold(*(log or LOG))

    def looks(
        self, sighting: ProcessSighting, after_s: float, artifacts: Artifacts = AT_WORK, *news: EventLine
    ) -> Liveness:
        self.fold = a_fold(*news, onto=self.fold)
        self.memory = judge(self.memory, artifacts, LOOP, sighting, self.fold, moment(after_s))
        return self.memory.liveness

    def settles_after_s(self) -> float | None:
        return None if self.memory.settles_at is None else (self.memory.settles_at - moment(0)).total_seconds()


def test_a_process_seen_alive_and_absent_now_is_gone_at_once() -> None:
    watcher = Watcher()

    assert watcher.looks(ProcessSighting.ALIVE, 2) is Liveness.ALIVE
    assert watcher.looks(ProcessSighting.ABSENT, 3) is Liveness.GONE
    assert watcher.looks(ProcessSighting.ABSENT, 9) is Liveness.GONE
    assert watcher.memory.missing_since == moment(3)


def test_a_stopped_process_is_paused_and_its_end_is_still_noticed() -> None:
    watcher = Watcher()

    assert watcher.looks(ProcessSighting.STOPPED, 2) is Liveness.PAUSED
    assert watcher.looks(ProcessSighting.ALIVE, 3) is Liveness.ALIVE
    assert watcher.looks(ProcessSighting.STOPPED, 4) is Liveness.PAUSED
    assert watcher.looks(ProcessSighting.ABSENT, 5) is Liveness.GONE


def test_a_process_never_seen_is_gone_once_nothing_has_moved_for_ten_seconds() -> None:
    """It may live where this host cannot see it, or be about to write its first line."""
    watcher = Watcher()

    assert watcher.looks(ProcessSighting.ABSENT, 2) is Liveness.UNKNOWN
    assert watcher.settles_after_s() == 11  # ten after the log's last word
    assert watcher.looks(ProcessSighting.ABSENT, 10.9) is Liveness.UNKNOWN
    assert watcher.looks(ProcessSighting.ABSENT, 11) is Liveness.GONE
    assert watcher.memory.missing_since == moment(1)


def test_an_old_tree_needs_no_patience() -> None:
    """What has been still for an hour has been still for ten seconds."""
    assert Watcher().looks(ProcessSighting.ABSENT, 3600) is Liveness.GONE


def test_any_moving_file_starts_the_patience_over() -> None:
    watcher = Watcher()
    watcher.looks(ProcessSighting.ABSENT, 2)

    rewritten = Artifacts(state=a_state(8), active_run=an_active_run())
    assert watcher.looks(ProcessSighting.ABSENT, 12, rewritten) is Liveness.UNKNOWN
    assert watcher.looks(ProcessSighting.ABSENT, 18, rewritten) is Liveness.GONE


def test_times_that_lie_ahead_prove_no_life() -> None:
    """A clock that was set back would otherwise keep a dead process unsettled for as long."""
    ahead = Artifacts(state=a_state(9000), active_run=an_active_run(9000))
    watcher = Watcher(an_event("loop_start", 9000))

    assert watcher.looks(ProcessSighting.ABSENT, 2, ahead) is Liveness.UNKNOWN
    assert watcher.looks(ProcessSighting.ABSENT, 12, ahead) is Liveness.GONE


def test_a_log_that_grows_without_its_process_is_written_elsewhere() -> None:
    """Another PID namespace or another host: silence of that process is never again taken for its end."""
    watcher = Watcher()
    watcher.looks(ProcessSighting.ABSENT, 2)

    news = an_event("role_end", 4, role="tester")
    assert watcher.looks(ProcessSighting.ABSENT, 5, AT_WORK, news) is Liveness.FOREIGN
    assert watcher.looks(ProcessSighting.ABSENT, 9999) is Liveness.FOREIGN


def test_a_run_that_lives_elsewhere_still_ends_by_removing_its_file() -> None:
    """The runtime removes the file on every exit it survives, and no process is needed to see that."""
    watcher = Watcher()
    watcher.looks(ProcessSighting.ABSENT, 2)
    assert watcher.looks(ProcessSighting.ABSENT, 4, AT_WORK, an_event("role_end", 4)) is Liveness.FOREIGN

    assert watcher.looks(ProcessSighting.NONE, 6, FILE_GONE) is not Liveness.GONE
    assert watcher.settles_after_s() == 8
    assert watcher.looks(ProcessSighting.NONE, 8, FILE_GONE) is Liveness.GONE


def test_who_was_taken_for_gone_and_speaks_is_foreign() -> None:
    """A long role may be running elsewhere when opsd first looks."""
    watcher = Watcher()
    assert watcher.looks(ProcessSighting.ABSENT, 3600) is Liveness.GONE

    assert watcher.looks(ProcessSighting.ABSENT, 4000, AT_WORK, an_event("role_end", 4000)) is Liveness.FOREIGN


def test_an_approval_logged_meanwhile_is_no_sign_of_life() -> None:
    """`approve` appends to the log while nothing runs."""
    watcher = Watcher()
    watcher.looks(ProcessSighting.ABSENT, 3600)

    decision = an_event("approval_decision", 4000, role="human", status="approved")
    assert watcher.looks(ProcessSighting.ABSENT, 4000, AT_WORK, decision) is Liveness.GONE


def test_reading_up_an_old_log_is_no_sign_of_life() -> None:
    watcher = Watcher()
    watcher.looks(ProcessSighting.ABSENT, 3600)

    assert watcher.looks(ProcessSighting.ABSENT, 3601, AT_WORK, an_event("role_end", 40)) is Liveness.GONE


def test_a_missing_active_run_file_is_gone_after_two_seconds() -> None:
    """A role that fails ends the runtime without an event: its file vanishes, and the state stays active."""
    watcher = Watcher()
    watcher.looks(ProcessSighting.ALIVE, 5)

    assert watcher.looks(ProcessSighting.NONE, 6, FILE_GONE) is Liveness.UNKNOWN
    assert watcher.settles_after_s() == 8
    assert watcher.looks(ProcessSighting.NONE, 7.9, FILE_GONE) is Liveness.UNKNOWN
    assert watcher.looks(ProcessSighting.NONE, 8, FILE_GONE) is Liveness.GONE
    assert watcher.memory.pid == 4711


def test_a_tree_found_without_the_file_needs_no_patience() -> None:
    assert Watcher().looks(ProcessSighting.NONE, 2, FILE_GONE) is Liveness.UNKNOWN
    assert Watcher().looks(ProcessSighting.NONE, 3, FILE_GONE) is Liveness.GONE


def test_a_missing_file_is_no_end_while_the_log_goes_on() -> None:
    """A run that survived its cancel writes its state again, and its file never."""
    watcher = Watcher()
    watcher.looks(ProcessSighting.NONE, 5, FILE_GONE)

    assert watcher.looks(ProcessSighting.NONE, 6, FILE_GONE, an_event("role_end", 6)) is Liveness.FOREIGN


def test_who_writes_on_without_the_file_stays_foreign_through_a_long_role() -> None:
    """Also where the process that the file named was seen alive before."""
    watcher = Watcher()
    watcher.looks(ProcessSighting.ALIVE, 3)
    watcher.looks(ProcessSighting.NONE, 5, FILE_GONE)

    assert watcher.looks(ProcessSighting.NONE, 6, FILE_GONE, an_event("role_start", 6)) is Liveness.FOREIGN
    assert watcher.looks(ProcessSighting.NONE, 600, FILE_GONE) is Liveness.FOREIGN


def test_a_line_that_cannot_be_read_is_no_sign_of_life() -> None:
    watcher = Watcher()
    watcher.looks(ProcessSighting.NONE, 2, FILE_GONE)
    watcher.fold = replace(watcher.fold, line=watcher.fold.line + 1)

    assert watcher.looks(ProcessSighting.NONE, 5, FILE_GONE) is Liveness.GONE


@pytest.mark.parametrize("last", ["loop_complete", "loop_stop", "role_timeout", "rate_limit_stop"])
def test_a_missing_file_after_a_logged_end_is_as_it_should_be(last: str) -> None:
    """A rate limit leaves the state active for good."""
    watcher = Watcher(*LOG, an_event(last, 3))

    assert watcher.looks(ProcessSighting.NONE, 60, FILE_GONE) is Liveness.NONE


def test_nobody_is_missed_where_the_state_is_not_active() -> None:
    assert Watcher().looks(ProcessSighting.NONE, 60, Artifacts(state=a_state(active=False))) is Liveness.NONE
    assert Watcher().looks(ProcessSighting.NONE, 60, Artifacts(state=a_state(loop_id="other"))) is Liveness.NONE
    assert Watcher().looks(ProcessSighting.NONE, 60, Artifacts()) is Liveness.NONE


def test_a_file_caught_while_it_is_written_is_no_answer() -> None:
    watcher = Watcher()
    watcher.looks(ProcessSighting.ALIVE, 2)

    empty = Artifacts(state=a_state(), active_run=Artifact(Presence.SETTLING, None, since=moment(3)))
    assert watcher.looks(ProcessSighting.NONE, 60, empty) is Liveness.ALIVE


def test_a_new_active_run_is_judged_afresh() -> None:
    """A pid may return, so the moment of its active run counts as well."""
    watcher = Watcher()
    watcher.looks(ProcessSighting.ALIVE, 2)
    watcher.looks(ProcessSighting.ABSENT, 3)

    again = Artifacts(state=a_state(active=False), active_run=an_active_run(20))
    assert watcher.looks(ProcessSighting.ABSENT, 21, again) is Liveness.UNKNOWN
    assert not watcher.memory.seen_alive
    assert watcher.looks(ProcessSighting.ALIVE, 22, again) is Liveness.ALIVE


def test_another_loops_active_run_says_nothing_about_a_run_still_marked_active() -> None:
    """A run that is refused writes and removes its own file in passing."""
    watcher = Watcher()
    watcher.looks(ProcessSighting.ALIVE, 2)
    watcher.looks(ProcessSighting.NONE, 3, FILE_GONE)
    watcher.looks(ProcessSighting.NONE, 5, FILE_GONE)

    for passing in (an_active_run(6, loop_id=None), an_active_run(6, loop_id="other")):
        artifacts = Artifacts(state=a_state(), active_run=passing)
        assert watcher.looks(ProcessSighting.NONE, 6, artifacts) is Liveness.GONE


def test_without_process_evidence_nothing_is_ever_gone() -> None:
    watcher = Watcher()

    assert watcher.looks(ProcessSighting.UNKNOWN, 2) is Liveness.UNKNOWN
    assert watcher.looks(ProcessSighting.UNKNOWN, 9999) is Liveness.UNKNOWN
    assert watcher.looks(ProcessSighting.UNKNOWN, 9999, FILE_GONE) is Liveness.UNKNOWN
    assert watcher.memory.settles_at is None


def test_an_active_run_without_a_pid_cannot_be_judged() -> None:
    nameless = Artifacts(state=a_state(), active_run=an_active_run(pid=None))

    assert Watcher().looks(ProcessSighting.NONE, 9999, nameless) is Liveness.UNKNOWN


def test_only_the_loop_named_is_judged() -> None:
    memory = judge(ProcessMemory(), AT_WORK, LoopId("other"), ProcessSighting.NONE, Fold(), moment(60))

    assert memory == ProcessMemory(liveness=Liveness.NONE)
