"""A log that was cut or replaced is drift; reading a whole one again is not."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.core.sequence import diagnose, row
from opsd.model.observation import StreamChange
from opsd.model.sequence import SequenceDocument, SequenceStatus
from tests.core.builders import LOOP, moment

EVENT, SNAPSHOT = "event_sequence_regression", "snapshot_sequence_regression"


def diagnosed(
    previous: SequenceDocument | None = None,
    lines: range = range(0),
    *,
    log_lines: int | None = None,
    replay_asked: bool = False,
    new_epoch: StreamChange | None = None,
) -> SequenceDocument:
    """A pass that read `lines` of a log that ends there, unless said otherwise."""
    return diagnose(
        previous,
        loop_id=LOOP,
        trace_id="t",
        transport="local",
        first=lines[0] if lines else None,
        last=lines[-1] if lines else None,
        count=len(lines),
        log_lines=log_lines if log_lines is not None else lines[-1] if lines else 0,
        replay_asked=replay_asked,
        new_epoch=new_epoch,
        now=moment(0.7),
    )


REPLAYS: list[dict[str, Any]] = [{"replay_asked": True}, {"new_epoch": StreamChange.CURSOR_RESET}]
BASELINE = diagnosed(lines=range(1, 4))


def test_a_first_batch_is_in_order() -> None:
    assert (BASELINE.status, BASELINE.violations, BASELINE.reason_code) == (SequenceStatus.OK, (), msgspec.UNSET)
    assert (BASELINE.snapshot.previous, BASELINE.snapshot.current) == (None, 3)
    assert (BASELINE.events.first, BASELINE.events.last, BASELINE.events.ingested_count) == (1, 3, 3)
    assert BASELINE.updated_at == moment(0)


def test_gaps_and_equal_lines_are_no_violations() -> None:
    """Blank and quarantined lines leave gaps."""
    assert diagnosed(BASELINE, range(9, 12)).violations == ()
    assert diagnosed(BASELINE, range(3, 5)).violations == ()
    assert diagnosed(BASELINE, log_lines=3).violations == ()


def test_a_cut_log_read_from_its_start_is_drift_in_both_sequences() -> None:
    drifted = diagnosed(BASELINE, range(1, 2), new_epoch=StreamChange.TRUNCATED)

    assert (drifted.status, drifted.reason_code) == (SequenceStatus.DRIFT, "ordering_drift_detected")
    assert drifted.violations == (EVENT, SNAPSHOT)
    assert (drifted.snapshot.regressed, drifted.snapshot.monotonic) == (True, False)
    assert (drifted.events.regressed, drifted.events.monotonic_across_batches) == (True, False)
    assert drifted.transition.transitioned_to_drift


@pytest.mark.parametrize("asked", REPLAYS)
def test_a_cut_log_is_drift_even_where_a_replay_was_asked_for(asked: dict[str, Any]) -> None:
    """An operator who replays does not hide what happened to the log."""
    assert diagnosed(BASELINE, range(1, 2), **asked).violations == (EVENT, SNAPSHOT)


def test_a_replaced_log_that_has_outgrown_the_old_one_is_drift_by_its_events() -> None:
    drifted = diagnosed(BASELINE, range(1, 9), new_epoch=StreamChange.REPLACED)

    assert drifted.violations == (EVENT,)


def test_a_log_cut_to_nothing_is_drift_by_its_length() -> None:
    assert diagnosed(BASELINE, log_lines=0, new_epoch=StreamChange.TRUNCATED).violations == (SNAPSHOT,)


@pytest.mark.parametrize("asked", REPLAYS)
def test_reading_a_whole_log_again_is_no_drift(asked: dict[str, Any]) -> None:
    """The reference reports drift, and writes two escalations, whenever an operator follows its runbook."""
    again = diagnosed(BASELINE, range(1, 4), **asked)

    assert (again.violations, again.events.regressed) == ((), False)


def test_reading_back_unasked_is_drift() -> None:
    assert diagnosed(BASELINE, range(2, 4)).violations == (EVENT,)


def test_an_empty_batch_does_not_forget_where_the_log_was() -> None:
    """The reference does, and its check is off in steady state."""
    quiet = diagnosed(BASELINE, log_lines=3)
    assert (quiet.events.last, quiet.last_known_event) == (None, 3)

    assert diagnosed(quiet, range(2, 4)).violations == (EVENT,)
    assert diagnosed(quiet, range(4, 6)).events.previous_last == 3


def test_a_new_log_is_compared_with_the_old_one_once() -> None:
    emptied = diagnosed(BASELINE, log_lines=0, new_epoch=StreamChange.TRUNCATED)
    refilled = diagnosed(emptied, range(1, 3))

    assert refilled.violations == ()
    assert (refilled.transition.recovered_from_drift, refilled.transition.transitioned_to_drift) == (True, False)


def test_drift_that_goes_on_is_entered_once() -> None:
    first = diagnosed(BASELINE, range(1, 2))
    second = diagnosed(first, range(0), log_lines=0)

    assert (second.drift_active, second.transition.previous_drift_active) == (True, True)
    assert not second.transition.transitioned_to_drift


def test_the_history_of_the_reference_scripts_is_taken_over() -> None:
    """Their documents know only the last batch."""
    theirs = msgspec.structs.replace(BASELINE, last_known_event=None)

    assert diagnosed(theirs, range(2, 4)).violations == (EVENT,)


@given(st.lists(st.integers(0, 5), max_size=12))
def test_a_log_that_only_grows_never_drifts(growth: list[int]) -> None:
    document, end = None, 0
    for more in growth:
        document = diagnosed(document, range(end + 1, end + 1 + more), log_lines=end + more)
        end += more
        assert not document.drift_active
        assert document.last_known_event == (end or None)


def test_the_row_says_what_the_document_says() -> None:
    drifted = diagnosed(BASELINE, range(1, 2))
    line = msgspec.json.decode(msgspec.json.encode(row(drifted)))

    assert line["category"] == "envelope_sequence"
    assert line["reasonCode"] == "ordering_drift_detected"
    document = msgspec.json.decode(msgspec.json.encode(drifted))
    assert {member: line[member] for member in ("violations", "snapshot", "events", "transition")} == {
        member: document[member] for member in ("violations", "snapshot", "events", "transition")
    }
    assert "reasonCode" not in msgspec.json.decode(msgspec.json.encode(row(BASELINE)))
