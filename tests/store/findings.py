"""What a test asks of the files after a commit: how far each kind of file tells, and what may be told again."""

import json

from opsd.model.effects import Append, Journal, Replace
from opsd.model.escalation import EscalationRow
from opsd.model.ids import LoopId
from opsd.store.load import StoredLoop
from opsd.store.store import Store
from tests.store.examples import pass_


def cursor_line(found: StoredLoop) -> int:
    return found.cursor.event_line_offset if found.cursor else 0


def state_line(found: StoredLoop) -> int:
    return found.state.memory.fold.line if found.state and found.state.memory else 0


def escalation_ids(store: Store, loop_id: LoopId) -> list[str]:
    tail = store.rows(loop_id, Journal.ESCALATIONS, limit=1_000)
    assert tail.unreadable == ()
    return [json.loads(row)["id"] for row in tail.rows]


def sampled(store: Store, loop_id: LoopId) -> list[int]:
    tail = store.rows(loop_id, Journal.RECONCILE, limit=1_000)
    assert tail.unreadable == ()
    return [json.loads(row)["cursorOffsetAfter"] for row in tail.rows]


def once_more(number: int, loop_id: LoopId, told: list[str]) -> tuple[Append | Replace, ...]:
    """The pass as the core decides it again after a restart: what the journal already tells is left out."""
    return tuple(
        effect
        for effect in pass_(number, loop_id).effects
        if not (isinstance(effect, Append) and isinstance(effect.row, EscalationRow) and effect.row.id in told)
    )
