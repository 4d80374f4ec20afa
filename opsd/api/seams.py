"""What the API needs of the rest of the daemon, and nothing more: the fleet in memory, and questions to files."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from opsd.model.explain import Explanation
from opsd.model.ids import LoopId
from opsd.model.run import Run
from opsd.protocol import (
    DaemonStatus,
    EscalationPage,
    EscalationsQuery,
    EventPage,
    EventsQuery,
    FleetStatus,
    LogPage,
    LogsQuery,
    LoopSummary,
    ReconcileReply,
    RunHistory,
    VerificationReport,
)

Metrics = Mapping[str, float | Mapping[tuple[str, ...], float]]


class Feed(Protocol):
    def subscribe(self, start_id: str | None, after: int | None, loops: frozenset[str] | None) -> AsyncIterator[bytes]:
        """Encoded lines of `FeedItem`: a picture, then changes; ends after `bye`. A slow reader hears what it lost."""


class Fleet(Protocol):
    """The fleet as it is in memory. Everything here is called on the event loop's thread."""

    @property
    def start_id(self) -> str: ...

    @property
    def feed(self) -> Feed: ...

    def run(self, loop_id: LoopId) -> Run | None: ...

    def summaries(self, now: datetime) -> Sequence[LoopSummary]: ...

    def status(self, now: datetime) -> FleetStatus: ...

    def daemon_status(self, now: datetime) -> DaemonStatus: ...

    def metrics(self) -> Metrics: ...

    async def reconcile(self, loop_id: LoopId, *, from_start: bool) -> ReconcileReply: ...


class Queries(Protocol):
    """Questions that files answer: synchronous, called in a worker thread. May raise OSError and LookupError.

    A LookupError is about what was asked for (no such role, no such iteration); its text names what there is.
    """

    def explain(self, run: Run, now: datetime) -> Explanation: ...

    def events(self, run: Run, query: EventsQuery) -> EventPage: ...

    def logs(self, run: Run, query: LogsQuery) -> LogPage: ...

    def runs(self, run: Run, now: datetime) -> RunHistory: ...

    def escalations(self, runs: Sequence[Run], query: EscalationsQuery, now: datetime) -> EscalationPage: ...

    def verify(self, runs: Sequence[Run], now: datetime) -> VerificationReport: ...
