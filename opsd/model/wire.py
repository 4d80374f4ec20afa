"""What travels between opsd and the service inside a sprite beyond the contract's own endpoints: records only.

The contract's requests and replies (`/ops/snapshot`, `/ops/events`, `/ops/control`) are `opsd.model.service`; these are
additive, and a service that has them says so in the header `X-Ops-Features`. An observation travels as it is, so that
what is made of it cannot depend on the way it came.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from opsd.model.cursor import Cursor
from opsd.model.observation import Observation

FEATURES_HEADER = "X-Ops-Features"
OBSERVE = "observe.v1"
INTENTS = "intents.v1"
PAGES = "pages.v1"
FEATURES = (OBSERVE, INTENTS, PAGES)
"""What this build's service announces, blank-separated."""

WAIT_MAX_S = 25.0
"""A held-back answer comes within this time: below every idle timeout on the way."""


class ObserveRequest(msgspec.Struct, frozen=True, rename="camel"):
    """`POST /ops/observe`: look at a loop for what follows `cursor` (None: a first look).

    `known` is the `digest` of the newest answer: while the loop still looks like that, and nothing follows the cursor,
    the answer is held back for up to `wait_s` seconds and then brings no observation. `ask_id` comes back with the
    answer, which on a connection that is kept could otherwise be taken for that of another request.
    """

    loop_id: str
    cursor: Cursor | None = None
    from_start: bool = False
    known: str | None = None
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=WAIT_MAX_S)] = 0.0
    ask_id: Annotated[str, msgspec.Meta(max_length=64)] = ""


class ObserveSource(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Who answered: the sprite's checkout, the loop, and a name for this start of the service."""

    repo_path: str
    loop_id: str
    service_id: str


class ObserveReply(msgspec.Struct, frozen=True, rename="camel"):
    """`observation` is None where the loop still looks as the request's `known` says."""

    ok: bool
    schema_version: str
    source: ObserveSource
    digest: str
    observation: Observation | None = None
    ask_id: str = ""


class PageKind(StrEnum):
    """What can be read of a loop's own files, or found out from them."""

    EVENTS = "events"
    LOGS = "logs"
    VERIFY = "verify"


class PageRequest(msgspec.Struct, frozen=True, rename="camel"):
    """`POST /ops/pages`: an answer as the control socket gives it. `query` has the parameters of that endpoint."""

    loop_id: str
    kind: PageKind
    query: dict[str, object] = {}
