"""What lies beyond a watermark: the only part of a log that is evidence of what was done then."""

import pytest
from msgspec.structs import replace

from opsd.core.intents.beyond import begun_since, is_beyond
from opsd.model.intent import Watermark
from opsd.model.lifecycle import EventMark
from tests.core.builders import a_fold, an_event, moment, stamp
from tests.core.intents.asking import BEGUN

MARK = Watermark(at=moment(60.4), epoch=0, line=2)
FOLD = a_fold(*BEGUN)


def spoken(line: int, after_s: float | None) -> EventMark:
    at = moment(after_s) if after_s is not None else None
    return EventMark(line, "role_start", stamp(after_s or 0), at)


@pytest.mark.parametrize(
    ("line", "after_s", "beyond"),
    [
        (3, 61, True),
        (3, 60, True),  # events are dated in whole seconds: it may have been spoken just after
        (3, 59, False),  # on the disk by then, and not read yet
        (3, None, True),
        (2, 61, False),
        (2, 60, False),
        (1, None, False),
    ],
)
def test_it_begins_after_the_line_and_not_before_the_second_of_the_mark(
    line: int, after_s: float | None, beyond: bool
) -> None:
    assert is_beyond(spoken(line, after_s), MARK, FOLD) is beyond


@pytest.mark.parametrize(("after_s", "beyond"), [(60, False), (61, True), (None, False)])
@pytest.mark.parametrize("line", [1, 2, 3])
@pytest.mark.parametrize("epoch", [1, -1])
def test_in_another_log_lines_mean_nothing(epoch: int, line: int, after_s: float | None, beyond: bool) -> None:
    """Cut or exchanged since, or read anew after its cursor was removed."""
    assert is_beyond(spoken(line, after_s), MARK, replace(FOLD, epoch=epoch)) is beyond


def test_a_run_is_quoted_by_the_line_on_which_it_began() -> None:
    again = a_fold(an_event("loop_start", 62, run_id=stamp(62)), onto=FOLD)

    assert [(one.says, one.line) for one in begun_since(MARK, again)] == [(f"Run {stamp(62)} began.", 3)]
    assert begun_since(MARK, FOLD) == ()
    assert begun_since(MARK, a_fold()) == ()
