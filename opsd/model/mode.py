"""Whether intents may execute at all: for the fleet, or for one loop. Rules: `opsd.core.modes`."""

from enum import StrEnum

import msgspec

from opsd.model.intent import Actor
from opsd.model.runtime import Aware


class Mode(StrEnum):
    """In `observe` opsd looks and tells, and carries no intent out."""

    NORMAL = "normal"
    OBSERVE = "observe"


class ModeRow(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A line of `fleet/modes.jsonl`: somebody set a mode. `loop_id` None is the whole fleet; `until` None is for good.

    The last row of a scope holds until its `until`; a fleet in `observe` holds every loop.
    """

    timestamp: Aware
    mode: Mode
    by: str
    actor: Actor
    schema_version: str
    loop_id: str | None = None
    reason: str = ""
    until: Aware | None = None


class Modes(msgspec.Struct, frozen=True):
    """The newest row of the fleet and of each loop. With `unreadable`, what is wrong with the file, none is known."""

    fleet: ModeRow | None = None
    loops: dict[str, ModeRow] = {}
    unreadable: str | None = None
