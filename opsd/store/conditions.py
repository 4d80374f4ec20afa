"""What the escalations journal says is still open, and how often each condition stands in it.

The rows are written by the core's decision; which of them someone must still hear of is judged there as well.
"""

from collections.abc import Iterable

import msgspec

from opsd.model.escalation import Category, OpenEscalation
from opsd.model.ids import EscalationId
from opsd.model.runtime import Aware
from opsd.store.codec import decode
from opsd.store.faults import Corrupt
from opsd.store.journal import Line, Unreadable


class Conditions(msgspec.Struct, frozen=True):
    """`open` is oldest first. `counts` has the key `category|condition|onset` of `opsd.model.run.Run`.

    `foreign_rows` have no id: another manager wrote them, and only it knows what became of them.
    `open_rows` are the lines behind `open` (and those of categories that this opsd does not know), for a rotation.
    """

    open: tuple[OpenEscalation, ...] = ()
    counts: dict[str, int] = {}
    foreign_rows: int = 0
    open_rows: tuple[bytes, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()


class _Row(msgspec.Struct, rename="camel"):
    id: EscalationId | None = None
    category: str = ""
    condition: str = ""
    onset: str = ""
    since: Aware | None = None
    resolves: EscalationId | None = None


def fold(lines: Iterable[Line | Unreadable]) -> Conditions:
    """`lines` come newest first: a condition is open unless a row after its own resolves it.

    A row that stands twice (carried over by a rotation, or repeated by a retry) is one condition and counts once.
    """
    opened: list[OpenEscalation] = []
    open_rows: list[bytes] = []
    unreadable: list[Unreadable] = []
    counts: dict[str, int] = {}
    foreign_rows = 0
    resolved: set[EscalationId] = set()
    seen: set[EscalationId] = set()
    for line in lines:
        if isinstance(line, Unreadable):
            unreadable.append(line)
            continue
        try:
            row = decode(line.data, _Row, line.path)
        except Corrupt as error:
            unreadable.append(Unreadable(line.path, line.offset, f"{error.where}: {error.problem}"))
            continue
        if row.id is None:
            foreign_rows += 1
            continue
        if row.resolves is not None:
            resolved.add(row.resolves)
        # A change of health ends the former one and begins another in a single row; a `_resolved` row only ends.
        if row.id not in seen and not row.category.endswith("_resolved"):
            seen.add(row.id)
            key = f"{row.category}|{row.condition}|{row.onset}"
            counts[key] = counts.get(key, 0) + 1
            if row.id in resolved:
                continue
            open_rows.append(line.data)
            try:
                category = Category(row.category)
            except ValueError:
                unreadable.append(Unreadable(line.path, line.offset, f"open, of unknown category {row.category!r}"))
                continue
            opened.append(OpenEscalation(row.id, category, row.condition, row.onset, row.since))
    return Conditions(
        open=tuple(reversed(opened)),
        counts=counts,
        foreign_rows=foreign_rows,
        open_rows=tuple(reversed(open_rows)),
        unreadable=tuple(reversed(unreadable)),
    )
