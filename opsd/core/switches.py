"""What becomes of the registry's loops by what operators switched: the way to a loop, and whether its events are read.

A switch that the registry leaves no way for is without effect: the loop is reached as the registry says.
"""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from opsd.model.run import LoopRef
from opsd.model.switch import SwitchRow
from opsd.model.transport import TransportMode


def newest(rows: Iterable[SwitchRow]) -> dict[str, SwitchRow]:
    """The row that holds for each loop, from `rows` oldest first."""
    return {row.loop_id: row for row in rows}


def switched(ref: LoopRef, rows: Mapping[str, SwitchRow]) -> LoopRef:
    """The loop as operators want it reached."""
    row = rows.get(ref.loop_id)
    if row is None or ref.fault is not None:
        return ref
    if row.transport is not None and why_not(ref, row.transport) is None:
        ref = replace(ref, transport=row.transport)
    if not row.events and ref.service is not None:
        ref = replace(ref, service=replace(ref.service, events=False))
    return ref


def why_not(ref: LoopRef, transport: TransportMode) -> str | None:
    """Why the loop cannot be reached that way, in one sentence; None where the registry names a way."""
    if transport is TransportMode.SPRITE_SERVICE and ref.service is None:
        return f"The registry names no service for loop {ref.loop_id}: it lacks service.baseUrl."
    if transport is TransportMode.LOCAL and ref.transport is not TransportMode.LOCAL and not ref.has_checkout:
        return f"The registry names no checkout for loop {ref.loop_id}: it lacks repoPath."
    return None
