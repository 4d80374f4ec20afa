"""What the API needs of the rest of the daemon, and nothing more: the fleet, the control desk, questions to files."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from opsd.model.explain import Explanation
from opsd.model.ids import LoopId
from opsd.model.intent import Actor, Intent
from opsd.model.oneshot import ControlCommand, DriftRequest, OneShotReply, PassOptions, ProjectRequest
from opsd.model.operator_status import OperatorStatus
from opsd.model.run import LoopRef, Run
from opsd.model.service import PageAnswer
from opsd.model.wire import PageRequest
from opsd.protocol import (
    AckRequest,
    DaemonStatus,
    EscalationPage,
    EscalationsQuery,
    EventPage,
    EventsQuery,
    FleetStatus,
    IntentPage,
    IntentRequest,
    IntentsQuery,
    LogPage,
    LogsQuery,
    LoopSummary,
    ModePage,
    ModeRequest,
    OperatorStatusQuery,
    ProfilePage,
    ProfileReply,
    ProfileRequest,
    ReconcileReply,
    RunHistory,
    Submitted,
    TransportReply,
    TransportRequest,
    VerificationReport,
    WaitFor,
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


class Desk(Protocol):
    """Takes intents in and says what became of them; keeps the modes. Called on the event loop's thread.

    `actor` is who asks by the kernel's word; the claimed `by` of a request is filled in before it comes here. What may
    be raised is in `opsd.app.desk`, and for the loop itself in `opsd.supervisor.fleet`.
    """

    async def submit(self, loop_id: LoopId, request: IntentRequest, actor: Actor) -> Submitted:
        """Returns once the intent is on the disk, refused or replayed, and does not wait for its outcome.

        Raises:
            FleetError: there is no such loop, or it is not looked at.
            IdempotencyConflict: its key stands for another request.
            CannotRecord: it could not be written down.
        """

    def intent(self, intent_id: str) -> Intent | None:
        """What is held in memory: everything open and the newest of the rest; older ones are `Queries.intent`'s."""

    async def wait(self, intent_id: str, until: WaitFor, wait_s: float) -> Intent | None:
        """The intent once `until` has come true or cannot any more, at the latest after `wait_s` seconds."""

    async def acknowledge(self, intent_id: str, request: AckRequest, actor: Actor) -> Intent:
        """
        Raises:
            UnknownIntent: it is not held.
            NotAmbiguous: there is nothing to settle by a word.
            CannotRecord: the word could not be written down.
        """

    def modes(self, now: datetime) -> ModePage: ...

    async def set_mode(self, request: ModeRequest, actor: Actor) -> ModePage:
        """
        Raises:
            CannotRecord: the mode is what it was.
        """

    def transport(self, loop_id: LoopId) -> TransportReply:
        """
        Raises:
            FleetError: there is no such loop, or it is not looked at.
        """

    async def set_transport(self, loop_id: LoopId, request: TransportRequest, actor: Actor) -> TransportReply:
        """
        Raises:
            FleetError: there is no such loop, or it is not looked at.
            CannotSwitch: the registry names no such way to it.
            CannotRecord: it is reached as it was.
        """

    def profiles(self) -> ProfilePage: ...

    def profile(self, loop_id: LoopId) -> ProfileReply:
        """
        Raises:
            FleetError: there is no such loop, or it is not looked at.
        """

    async def set_profile(self, loop_id: LoopId, request: ProfileRequest, actor: Actor) -> ProfileReply:
        """
        Raises:
            FleetError: there is no such loop, or it is not looked at.
            UnknownProfile, UnusableProfile: it cannot be judged by that profile.
            CannotRecord: it is judged as it was.
        """


class OneShots(Protocol):
    """What one-shot commands ask for where a daemon holds their home. Each returns what the command prints."""

    async def reconcile(self, loop_id: LoopId, options: PassOptions) -> OneShotReply:
        """
        Raises:
            FleetError: nothing came of it; the message says why.
        """

    async def project_state(self, loop_id: LoopId, request: ProjectRequest) -> OneShotReply: ...

    async def profile_drift(self, loop_id: LoopId, request: DriftRequest) -> OneShotReply: ...

    async def control(self, loop_id: LoopId, command: ControlCommand, actor: Actor) -> OneShotReply: ...


class Afar(Protocol):
    """What is read of the files of loops behind services."""

    async def page(self, ref: LoopRef, request: PageRequest, *, wait_s: float) -> PageAnswer: ...


class Queries(Protocol):
    """Questions that files answer: synchronous, called in a worker thread. May raise OSError and LookupError.

    A LookupError is about what was asked for (no such role, no such iteration); its text names what there is.
    """

    def explain(self, run: Run, now: datetime) -> Explanation: ...

    def events(self, run: Run, query: EventsQuery) -> EventPage: ...

    def logs(self, run: Run, query: LogsQuery) -> LogPage: ...

    def runs(self, run: Run, now: datetime) -> RunHistory: ...

    def operator_status(self, run: Run, query: OperatorStatusQuery, now: datetime) -> OperatorStatus:
        """May raise a StatusError: a file stands in the way of all the rest."""

    def escalations(self, runs: Sequence[Run], query: EscalationsQuery, now: datetime) -> EscalationPage: ...

    def verify(self, runs: Sequence[Run], now: datetime) -> VerificationReport: ...

    def intents(self, runs: Sequence[Run], query: IntentsQuery, now: datetime) -> IntentPage: ...

    def intent(self, intent_id: str, runs: Sequence[Run]) -> Intent | None:
        """The newest row of this intent of one of these loops, however old; None where there is none."""
