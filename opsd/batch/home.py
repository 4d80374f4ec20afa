"""Whose turn it is to write in a home: ours, after the commands before us, or the daemon's, which is then asked to.

Source: message-fragments; the lock is `opsd.store.lock`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

import msgspec

from opsd.batch.command import CommandError, Outside
from opsd.model.oneshot import OneShotReply
from opsd.store.faults import StoreError
from opsd.store.holder import Holder
from opsd.store.layout import Layout
from opsd.store.lock import HomeLock, HomeLocked

TURN_WITHIN_S: Final = 30.0
"""Other commands on the same home take a moment each; one that takes longer is worth being told about."""

_LOOK_AGAIN_S: Final = 0.25


class HeldByDaemon(Exception):  # noqa: N818  it says what the home is
    """A daemon works on this home: what is to be written, it writes."""

    def __init__(self, holder: Holder, socket_path: str) -> None:
        super().__init__(f"the opsd with pid {holder.pid} holds this home; it answers on {socket_path}")
        self.holder = holder
        self.socket_path = socket_path


def claim(layout: Layout, outside: Outside) -> HomeLock:
    """Become the writer of the home, once the one-shot commands before us are done.

    A daemon that is just starting or stopping is waited for: then it answers, or the home is free.

    Raises:
        HeldByDaemon: see there.
        CommandError: the lock cannot be had.
    """
    holder, ends_s = Holder(os.getpid(), outside.now()), outside.monotonic() + TURN_WITHIN_S
    wait_s = 0.0
    while True:
        try:
            return HomeLock.acquire(layout.lock, holder, wait_s=wait_s)
        except HomeLocked as error:
            is_late, wait_s = outside.monotonic() >= ends_s, _LOOK_AGAIN_S
            by = error.holder
            if by is not None and by.socket_path is not None and (is_late or not _may_yet_answer(by, by.socket_path)):
                raise HeldByDaemon(by, by.socket_path) from None
            if is_late:
                raise CommandError(str(error)) from None
        except StoreError as error:
            raise CommandError(str(error)) from None


def _may_yet_answer(holder: Holder, socket_path: str) -> bool:
    """Whether another process lives that nobody listens for yet, or any more: a daemon that begins, or ends."""
    if holder.pid == os.getpid() or not os.path.exists(f"/proc/{holder.pid}"):
        return False
    import socket  # only where a daemon is there at all

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            sock.connect(socket_path)
        except (FileNotFoundError, ConnectionRefusedError):
            return True
        except OSError:
            return False  # it is busy, or not for us: asking it will tell
    return False


class Turn:
    """Being the writer of the home for the length of the block, and not while it is lent.

    Raises:
        HeldByDaemon, CommandError: as `claim`, at the beginning.
    """

    def __init__(self, layout: Layout, outside: Outside) -> None:
        self._layout, self._outside = layout, outside
        self._lock = claim(layout, outside)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let others write while an answer is waited for, which may take one of them to be written.

        Raises:
            LostTurn: it did not come back.
        """
        self._lock.release()
        try:
            yield
        finally:
            try:
                self._lock = claim(self._layout, self._outside)
            except (HeldByDaemon, CommandError) as error:
                raise LostTurn(str(error)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()


class LostTurn(Exception):  # noqa: N818  it says what became of it
    """Somebody else writes in the home since the turn was lent; the message says who."""


def cannot_honour(held: HeldByDaemon, flags: list[str]) -> CommandError:
    """For flags that only a command that writes by itself can honour."""
    return CommandError(
        f"{', '.join(flags)}: {held}, and it writes its own files only; leave the flag out, or stop the daemon "
        f"(pid {held.holder.pid}) for as long as this takes"
    )


def forwarded(held: HeldByDaemon, where: str, request: msgspec.Struct, *, limit_s: float) -> OneShotReply:
    """What the daemon makes of the request: the same document as without it.

    Raises:
        CommandError: it does not answer, or turns the request down; in its words.
    """
    from opsctl.client import Client
    from opsctl.errors import OpsctlError

    try:
        body = Client(held.socket_path).post(where, msgspec.json.encode(request), limit_s=limit_s)
        return msgspec.json.decode(body, type=OneShotReply)
    except OpsctlError as error:
        raise CommandError(f"{held}: {error}") from None
    except msgspec.DecodeError as error:
        raise CommandError(f"{held}, and its answer makes no sense ({error}); is it another version?") from None
