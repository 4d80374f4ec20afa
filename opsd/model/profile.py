"""Which profile of thresholds an operator chose for a loop. Rules: `opsd.core.profiles`."""

import msgspec

from opsd.model.intent import Actor
from opsd.model.runtime import Aware


class ProfileRow(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A line of `fleet/profiles.jsonl`; the last row of a loop holds. `profile` None ends what was chosen before."""

    timestamp: Aware
    loop_id: str
    by: str
    actor: Actor
    schema_version: str
    profile: str | None = None
    reason: str = ""
