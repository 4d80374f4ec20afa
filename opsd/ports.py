"""What we need of the outside, on one screen: time, files, processes, threads, the way to a loop, acts on it.

Each port has a real side and a test's side, held to the same contract tests. The file and process ports are synchronous
and belong in a worker thread: `Offload` is how the supervisor gets there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

# Only spoken of here. Making these records takes a third of the time that a one-shot command has for its whole life,
# and one that merely reads files needs none of them.
if TYPE_CHECKING:
    from opsd.model.acts import Act, ActResult
    from opsd.model.cursor import Cursor
    from opsd.model.observation import Observation, ProcessSighting
    from opsd.model.run import LoopRef
    from opsd.model.service import ControlAnswer, ControlRequest, IntentAnswer, PageAnswer, ServiceAnswer
    from opsd.model.wire import PageRequest
    from opsd.protocol import AckRequest, IntentRequest

R = TypeVar("R")


class Clock(Protocol):
    """Wall time is for records and is aware UTC; monotonic seconds are for durations and deadlines."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    async def sleep_until(self, monotonic_s: float) -> None: ...


class FileStat(msgspec.Struct, frozen=True, gc=False):
    """`kind` is `file`, `dir`, or `other` (FIFO, socket, device): only a `file` is ever opened for reading."""

    kind: str
    device: int
    inode: int
    size_bytes: int
    mtime_ns: int


class Files(Protocol):
    """The disk. Every method may raise OSError; nothing here interprets content.

    Links are followed when reading (a checkout may lie behind one); whether a path may lead out of its root is the
    caller's question, answered with `real`.
    """

    def stat(self, path: str) -> FileStat | None:
        """None where nothing is there."""

    def read(self, path: str, offset: int, size_bytes: int) -> tuple[FileStat, bytes]:
        """Up to `size_bytes` from `offset`, with the stat of the very file read. Never blocks on a FIFO.

        Raises:
            FileNotFoundError: nothing there.
            OSError (EINVAL): there, but no regular file.
        """

    def scan(self, path: str) -> list[tuple[str, str]]:
        """(name, kind) of each entry, links followed; names that are not UTF-8 are left out."""

    def real(self, path: str) -> str:
        """The path with every link resolved."""

    def make_dirs(self, path: str) -> None: ...

    def append(self, path: str, data: bytes, *, sync: bool) -> int:
        """All of `data` in one write at the file's end, creating it; the file's size afterwards.

        With `sync` it is flushed to the disk before return, and so is the folder when the file is new.

        Raises:
            OSError: the disk is full (ENOSPC, a short write), the flush failed (EIO), ...; nothing of it stays.
        """

    def replace(self, path: str, data: bytes, *, sync: bool) -> None:
        """Put `data` at `path` whole or not at all; with `sync` it survives a power cut once this returns."""

    def sync(self, path: str) -> None:
        """Flush a file's content, or which names a folder has: many appends without `sync` can share one such end."""

    def truncate(self, path: str, size_bytes: int) -> None: ...

    def rename(self, path: str, to: str) -> None:
        """Move a file aside or rotate it; an existing target is replaced."""

    def remove(self, path: str) -> None: ...


class Processes(Protocol):
    """Who runs on this host."""

    def sighting(self, pid: int, begun_by: datetime | None) -> ProcessSighting:
        """Whether `pid` is a process that began no later than `begun_by` plus 2 s (a later one is another process)."""

    def family(self, pid: int, pgid: int | None) -> Sequence[ProcessSighting]:
        """Every process of the run that `pid` leads: it, its descendants, and its group when `pgid` equals `pid`.

        Empty where there is none, or nobody can say.
        """


class Controls(Protocol):
    """What is done to a run. Blocks until it is done or its time is up: for a worker thread."""

    def carry_out(self, act: Act) -> ActResult:
        """Whatever may go wrong outside is in the answer; nothing is ever tried twice."""

    def command(self, repo_path: str) -> str | None:
        """The path of the runtime's command for this checkout; None where there is none."""


class Ask(msgspec.Struct, frozen=True):
    """Look at `ref` for what follows `cursor`; None is a first look. `from_start` reads the log again from line 1."""

    ref: LoopRef
    cursor: Cursor | None
    from_start: bool = False


class Transport(Protocol):
    """How loop runs are reached. Trouble is an answer (`Unreachable`, `Malformed`), not an exception."""

    def observe(self, asks: Sequence[Ask], now: datetime) -> list[Observation]:
        """One observation per ask, in order; one bad loop never costs another its answer."""

    def forget(self, ref: LoopRef) -> None:
        """The loop is no longer supervised: drop what is held for it."""


class Services(Protocol):
    """The ways to the services inside sprites. Each call bounds itself in time and size; trouble is an answer."""

    async def observe(self, ask: Ask, *, known: str | None, wait_s: float) -> ServiceAnswer:
        """Look at a loop. `known` and `wait_s` are for services that can hold an answer back until there is news."""

    async def submit(self, ref: LoopRef, request: IntentRequest) -> IntentAnswer:
        """Ask for an intent under its idempotency key; asking again under the same key does nothing twice."""

    async def intent(self, ref: LoopRef, intent_id: str, *, wait_s: float) -> IntentAnswer:
        """How that intent stands by now; held back until it has settled.

        `intent_id` is the service's own for it, or the key under which it was asked for.
        """

    async def acknowledge(self, ref: LoopRef, intent_id: str, request: AckRequest) -> IntentAnswer:
        """Settle an ambiguous intent there by an operator's word; one that is none (any more) is turned down."""

    async def control(self, ref: LoopRef, request: ControlRequest) -> ControlAnswer:
        """For services that know the contract's control endpoint alone. Sent once: such a service may do it twice."""

    async def page(self, ref: LoopRef, request: PageRequest, *, wait_s: float) -> PageAnswer:
        """Read of the loop's own files what is there for people: its log, its roles' output, a verdict recomputed."""

    def features(self, ref: LoopRef) -> frozenset[str] | None:
        """What the loop's service announced when it last answered; None before it ever did."""

    def forget(self, ref: LoopRef) -> None:
        """The loop is no longer reached that way."""


class Offload(Protocol):
    """Runs blocking work in a worker thread, one call for a whole batch."""

    async def run(self, work: Callable[[], R], /) -> R: ...
