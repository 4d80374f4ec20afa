"""What a one-shot command may ask of a single pass; the daemon honours it for a pass that is forwarded to it.

Source: loop-core 5.1. Thresholds arrive resolved: flags, environment, profile and catalog are the caller's.
"""

from typing import Annotated, Literal

import msgspec

from opsd.model.projected import BatchSays, SnapshotSays
from opsd.model.thresholds import Thresholds
from opsd.model.transport import TransportMode
from opsd.model.tuning import Confidence


class DriftOptions(msgspec.Struct, frozen=True, rename="camel"):
    """How profile drift is judged. `profiles` are the names in the catalog: no other can be recommended."""

    min_confidence: Confidence = "medium"
    required_streak: int = 3
    summary_window: int = 200
    profiles: tuple[str, ...] = ("balanced", "relaxed", "strict")


class ServiceWay(msgspec.Struct, frozen=True, rename="camel"):
    """Where to ask for this pass, and with which token."""

    base_url: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"<the service at {self.base_url}>"


class PassOptions(msgspec.Struct, frozen=True, rename="camel"):
    """`max_events` 0 is all there are. `retry_attempts` counts all attempts of one request of a service."""

    trace_id: str
    transport: TransportMode = TransportMode.LOCAL
    service: ServiceWay | None = None
    from_start: bool = False
    max_events: int = 0
    retry_attempts: int = 3
    retry_backoff_seconds: int = 1
    thresholds: Thresholds = Thresholds()
    drift: DriftOptions = DriftOptions()


class DriftRequest(msgspec.Struct, frozen=True, rename="camel"):
    """One evaluation of drift, with names that are in the catalog. Source: status-and-tuning 3.1."""

    applied_profile: str | None = None
    recommended_profile: str | None = None
    confidence: Confidence = "low"
    rationale: str = ""
    options: DriftOptions = DriftOptions()


class ProjectRequest(msgspec.Struct, frozen=True, rename="camel"):
    """What a projection is made of: whoever asks has read and judged the envelopes. Source: loop-core 4.1.

    Without a `snapshot` a fresh one is taken. The two names are told on as evidence. `pretty` is how the document is
    written to its file.
    """

    snapshot: SnapshotSays | None = None
    batch: BatchSays = msgspec.field(default_factory=BatchSays)
    snapshot_file: str | None = None
    events_file: str | None = None
    pretty: bool = False


class ControlCommand(msgspec.Struct, frozen=True, rename="camel"):
    """An intent as the contract's command asks for it. Source: control-and-service 2.

    `key_given`: its caller made the key, so that it stands for this request for good. `timeout_seconds` 0 is one look.
    """

    intent: Literal["cancel", "approve", "reject"]
    by: str
    trace_id: str
    idempotency_key: str
    key_given: bool = False
    note: str = ""
    transport: TransportMode = TransportMode.LOCAL
    service: ServiceWay | None = None
    confirm: bool = True
    timeout_seconds: Annotated[int, msgspec.Meta(ge=0)] = 30
    interval_seconds: Annotated[int, msgspec.Meta(ge=0)] = 2
    retry_attempts: Annotated[int, msgspec.Meta(ge=1)] = 3
    retry_backoff_seconds: Annotated[int, msgspec.Meta(ge=0)] = 1


class OneShotReply(msgspec.Struct, frozen=True, rename="camel"):
    """What the command prints and ends with, made by whoever holds the home."""

    exit_code: int
    document: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))
    error: str | None = None
    """What goes to standard error where there is no document."""
