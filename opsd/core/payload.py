"""What an event's `data` says, as far as it is looked at. Source: runtime-artifacts 4.

A payload of another shape says nothing, and never costs its event. What the words mean is decided in `fold`.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec

from opsd.core.instants import LATEST_S
from opsd.model.runtime import EventLine, RateLimitInfo

TEXT_LENGTH_MAX: Final = 200


class Said(msgspec.Struct, gc=False):
    """The members that are looked at, over all events but `gates_evaluated`."""

    reason: str | None = None
    status: str | None = None
    action: str | None = None
    failure_policy: str | None = None
    max_iterations: int | None = None
    timeout_seconds: int | None = None
    info: RateLimitInfo | None = None


class _Gates(msgspec.Struct, gc=False):
    tests: str | None = None
    validation: str | None = None
    prerequisites: str | None = None
    checklist: str | None = None
    evidence: str | None = None
    lifecycle: str | None = None
    approval: str | None = None


_said = msgspec.json.Decoder(Said)
_gates = msgspec.json.Decoder(_Gates)


def said(event: EventLine) -> Said:
    """The event's payload; empty where there is none or it is of another shape."""
    try:
        return _said.decode(event.data)
    except msgspec.DecodeError:
        return Said()


def gates(event: EventLine) -> dict[str, str] | None:
    """The gates of a `gates_evaluated` by name; None where its payload is of another shape."""
    try:
        found = _gates.decode(event.data)
    except msgspec.DecodeError:
        return None
    return {gate: status for gate, status in msgspec.structs.asdict(found).items() if status is not None}


def limit_end(info: RateLimitInfo, since: datetime | None) -> datetime | None:
    """When a limit reported at `since` ends; None where its numbers do not say, or are none that a calendar holds."""
    ends_s = info.resets_at
    if ends_s is None and info.resets_in is not None and since is not None:
        ends_s = int(since.timestamp()) + info.resets_in
    return datetime.fromtimestamp(ends_s, UTC) if ends_s is not None and 0 <= ends_s < LATEST_S else None


def defused(text: str | None) -> str | None:
    """Text from a run is shown to people: bounded, and without control or direction characters."""
    if text is None:
        return None
    return "".join(character if character.isprintable() else "?" for character in text[:TEXT_LENGTH_MAX])
