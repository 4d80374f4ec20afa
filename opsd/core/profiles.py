"""Which thresholds a loop has by what operators chose for it, and by what was set for all loops.

Single values that were set win over the chosen profile, it over the one that was set for all, that over the catalog's
default. A choice that cannot be used any more is without effect: the loop has the thresholds of all others. Nothing
here ever chooses by itself. Source: loop-core 12.3.
"""

from collections.abc import Iterable

import msgspec

from opsd.core.thresholds import UNKNOWN_PROFILE, ThresholdError, resolve
from opsd.model.ids import LoopId
from opsd.model.profile import ProfileRow
from opsd.model.thresholds import ThresholdBasis, Thresholds


class Chosen(msgspec.Struct, frozen=True):
    """What became of a choice: `thresholds`, or None with the `problem` that keeps it from being used.

    `unknown`: the problem is that the catalog has no such profile.
    """

    row: ProfileRow
    thresholds: Thresholds | None
    problem: str | None = None
    unknown: bool = False


def standing(rows: Iterable[ProfileRow]) -> dict[LoopId, ProfileRow]:
    """The choice that stands for each loop, from `rows` oldest first; loops whose choice was ended are not there."""
    newest = {LoopId(row.loop_id): row for row in rows}
    return {loop_id: row for loop_id, row in newest.items() if row.profile is not None}


def judged(row: ProfileRow, basis: ThresholdBasis) -> Chosen:
    """Whether the choice can be used with the catalog and the single values that are in force now."""
    try:
        return Chosen(row, resolve(basis.catalog, profile=row.profile, overrides=basis.overrides))
    except ThresholdError as error:
        return Chosen(row, None, str(error), unknown=error.code == UNKNOWN_PROFILE)


def of_all(basis: ThresholdBasis) -> Thresholds:
    """The thresholds of every loop for which nobody chose.

    Raises:
        ThresholdError: what was set for all cannot be used.
    """
    return resolve(basis.catalog, profile=basis.profile, overrides=basis.overrides)
