"""What stands in our own files about intents and modes, read as a person would: JSON lines, oldest first."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from opsd.model.effects import Journal
from opsd.model.ids import LoopId
from opsd.ports import Files
from opsd.store.journal import Retention
from opsd.store.layout import Layout
from tests.simulation.story import rows_of

Row = Mapping[str, Any]
IN_FLIGHT = frozenset({"recorded", "executing", "executed"})
NEVER_EXECUTED = frozenset({"refused", "expired"})


class Logs:
    """The journals of some loops as they lie on `files` now."""

    def __init__(
        self, files: Files, layout: Layout, loop_ids: Iterable[LoopId], retention: Mapping[Journal, Retention]
    ) -> None:
        self.loop_ids = tuple(loop_ids)
        self._files, self._layout, self._retention = files, layout, retention

    def rows(self, loop_id: LoopId, journal: Journal) -> list[Row]:
        """Rows that a rotation carried over stand twice."""
        return [*rows_of(self._files, self._layout.journal(loop_id, journal), self._retention[journal])]

    def newest(self) -> dict[str, Row]:
        """The newest row of every intent of every loop."""
        return {row["id"]: row for loop_id in self.loop_ids for row in self.rows(loop_id, Journal.INTENT_LOG)}

    def modes(self) -> Sequence[Row]:
        return rows_of(self._files, self._layout.modes, Retention(1 << 40, kept=0))


def steps(rows: Iterable[Row]) -> list[Row]:
    """The rows by which an intent took another status, of all rows of a loop's log.

    A rotation may leave rows twice, a whole file of them where a crash broke it off.
    """
    last: dict[str, str] = {}
    found = []
    for row in once(rows):
        if last.get(row["id"]) != row["status"]:
            last[row["id"]] = row["status"]
            found.append(row)
    return found


def once(rows: Iterable[Row]) -> list[Row]:
    """Each row where it stands first."""
    return list({json.dumps(row): row for row in rows}.values())


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def observes(modes: Iterable[Row], loop_id: str, now: datetime) -> bool:
    """Whether one of the rows has the loop observe: its own last one, or the fleet's."""
    last: dict[str | None, Row] = {row.get("loopId"): row for row in modes}
    holding = (last.get(None), last.get(loop_id))
    return any(
        row is not None and row["mode"] == "observe" and (row.get("until") is None or now < moment(row["until"]))
        for row in holding
    )
