"""How an operator had a loop reached otherwise than the registry says. Rules: `opsd.core.switches`."""

import msgspec

from opsd.model.intent import Actor
from opsd.model.runtime import Aware
from opsd.model.transport import TransportMode


class SwitchRow(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A line of `fleet/transports.jsonl`; the last row of a loop holds.

    `transport` None is the registry's own. Without `events` a service is asked for snapshots only: what the run logs
    is not read.
    """

    timestamp: Aware
    loop_id: str
    by: str
    actor: Actor
    schema_version: str
    transport: TransportMode | None = None
    events: bool = True
    reason: str = ""
