"""Telemetry read back from the ends of its journals, as far as a summary counts it. The rules are `opsd.core.tuning`.

Apart from `tuning`, because a command that only shows the advice lives for a moment and must load next to nothing.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from opsd.core import tuning
from opsd.model.effects import Journal
from opsd.model.tuning import Gap, Sample, Summary, SummarySource
from opsd.ports import Files
from opsd.store.journal import RETENTION, Unreadable, generations, newest_first

T = TypeVar("T")

LINES_PER_PLACE_MAX: Final = 10
"""Rows about changes take no place in the window. Beyond so many of them for each place the window stays smaller."""


class Odd(msgspec.Struct, frozen=True):
    """A line that is no row. `is_json`: it is JSON, and no object."""

    path: str
    offset: int
    problem: str
    is_json: bool


class Read(msgspec.Struct, frozen=True):
    """`places` oldest first; None where a file cannot be read at all, of which `fault` tells."""

    places: tuple[Sample | Gap, ...] = ()
    ambiguous_count: int = 0
    odd: tuple[Odd, ...] = ()
    fault: str | None = None


def read_samples(files: Files, paths: Sequence[str], size: int) -> Read:
    """The newest `size` lines of `reconcile.jsonl` and its rotations, without those that are about changes."""
    found, odd, fault = _newest(files, paths, size, tuning.sample_in)
    return Read(tuple(reversed([Gap.UNREADABLE if isinstance(each, Odd) else each for each in found])), 0, odd, fault)


def read_controls(files: Files, paths: Sequence[str], size: int) -> Read:
    """How many of the newest `size` lines of `control.jsonl` are ambiguous."""
    found, odd, fault = _newest(files, paths, size, tuning.is_ambiguous)
    return Read((), sum(each is True for each in found), odd, fault)


def _newest(
    files: Files, paths: Sequence[str], size: int, meaning: Callable[[bytes], T | None]
) -> tuple[list[T | Gap | Odd], tuple[Odd, ...], str | None]:
    """Newest first: what each of so many lines means. Lines without a meaning take no place."""
    found: list[T | Gap | Odd] = []
    odd: list[Odd] = []
    for number, line in enumerate(newest_first(files, paths, physical=True)):
        if isinstance(line, Unreadable):
            return [], (), f"{line.path}: {line.problem}"
        if len(found) == size or number == size * LINES_PER_PLACE_MAX:
            break
        if not line.data.strip():
            found.append(Gap.BLANK)
            continue
        try:
            meant = meaning(line.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            odd.append(Odd(line.path, line.offset, str(error), isinstance(error, msgspec.ValidationError)))
            found.append(odd[-1])
        else:
            if meant is not None:
                found.append(meant)
    return found, tuple(reversed(odd)), None


def summary_of(files: Files, source: SummarySource) -> Summary | None:
    """What the newest telemetry comes to; None where there is none, or where it cannot be read. For readers only."""
    reconcile = generations(source.reconcile_telemetry_file, RETENTION[Journal.RECONCILE])
    control = generations(source.control_telemetry_file, RETENTION[Journal.CONTROL])
    try:
        if files.stat(reconcile[0]) is None and files.stat(reconcile[1]) is None:
            return None
    except OSError:
        return None
    samples = read_samples(files, reconcile, source.window)
    controls = read_controls(files, control, source.window)
    if samples.fault is not None or controls.fault is not None:
        return None
    return tuning.summarize(samples.places, controls.ambiguous_count, len(controls.odd))
