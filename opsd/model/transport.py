"""How reaching a loop goes: the contract's transport health. Source: loop-core 5.5."""

from enum import StrEnum

import msgspec

from opsd.model.runtime import Aware


class TransportMode(StrEnum):
    LOCAL = "local"
    SPRITE_SERVICE = "sprite_service"


class TransportHealth(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`telemetry/transport-health.json`. `failing_since` (ours) is when the present row of failures began."""

    updated_at: Aware
    trace_id: str
    transport: TransportMode
    last_result: str
    failure_streak: int
    schema_version: str = msgspec.field(default_factory=lambda: "v1")  # a plain default would be omitted
    last_failure_code: str | None = None
    last_success_at: Aware | None = None
    last_failure_at: Aware | None = None
    failing_since: Aware | None = None
