"""Which mode is in force for which loop, and until when. The rows are written by whoever sets a mode.

A fleet that observes holds every loop: a loop's own `normal` ends what was set for that loop, and never lifts the
fleet's, so that one command is enough to be sure that nothing acts. Where the rows cannot be read, everything observes:
somebody may have asked for that.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from opsd.model.ids import LoopId
from opsd.model.intent import Actor
from opsd.model.mode import Mode, ModeRow, Modes

NOBODY: Final = Actor(uid=0, user="opsd", pid=0)


def modes_of(rows: Iterable[ModeRow], unreadable: str | None = None) -> Modes:
    """The newest row of each scope, from `rows` oldest first; with `unreadable`, what is wrong with them, none."""
    if unreadable is not None:
        return Modes(unreadable=unreadable)
    fleet: ModeRow | None = None
    loops: dict[str, ModeRow] = {}
    for row in rows:
        if row.loop_id is None:
            fleet = row
        else:
            loops[row.loop_id] = row
    return Modes(fleet, loops)


def in_force(modes: Modes, loop_id: LoopId, now: datetime) -> ModeRow | None:
    """The row that has this loop observe, or None in normal mode: of the fleet's and its own the one that lasts longer.

    At exactly its `until` a row is over.
    """
    holding = [row for row in (_fleets(modes, now), modes.loops.get(loop_id)) if row is not None and _holds(row, now)]
    return max(holding, key=_lasts, default=None)


def next_change(modes: Modes, now: datetime) -> datetime | None:
    """When the next row in force runs out by itself."""
    return min((row.until for row in listed(modes, now) if row.until is not None), default=None)


def listed(modes: Modes, now: datetime) -> tuple[ModeRow, ...]:
    """Every row in force that is not normal: the fleet's first, then the loops' by id."""
    rows = (_fleets(modes, now), *(row for _, row in sorted(modes.loops.items())))
    return tuple(row for row in rows if row is not None and _holds(row, now))


def _fleets(modes: Modes, now: datetime) -> ModeRow | None:
    """The fleet's row; one of ours where the rows cannot be read."""
    if modes.unreadable is None:
        return modes.fleet
    return ModeRow(
        timestamp=now,
        mode=Mode.OBSERVE,
        by=NOBODY.user,
        actor=NOBODY,
        schema_version="v1",
        reason=f"The modes cannot be read: {modes.unreadable}",
    )


def _holds(row: ModeRow, now: datetime) -> bool:
    return row.mode is Mode.OBSERVE and (row.until is None or now < row.until)


def _lasts(row: ModeRow) -> tuple[bool, float]:
    return row.until is None, row.until.timestamp() if row.until is not None else 0.0
