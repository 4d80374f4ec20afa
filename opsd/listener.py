"""The control socket's place in the file system: made with its final mode before anyone can connect, removed after.

A socket that somebody answers on is never taken away. What is served on it is `opsd.api`.
"""

import os
import socket
import stat

BACKLOG = 128


class ListenerError(Exception):
    """The socket cannot be made; the message names the path, the cause and the remedy."""


class SocketInUse(ListenerError):  # noqa: N818  it names a state of the path
    """Somebody answers there already."""


class Listener:
    """A listening Unix socket at `path`."""

    def __init__(self, path: str, sock: socket.socket, inode: int) -> None:
        self.path = path
        self.socket = sock
        self._inode = inode

    @classmethod
    def open(cls, path: str, *, mode: int, gid: int | None) -> "Listener":
        """Listen at `path`, where a stale socket gives way.

        Raises:
            SocketInUse: somebody answers there.
            ListenerError: there is something else, or the folder does not take a socket from us.
        """
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _make_room(path)
            return cls._bind(path, mode, gid)
        except OSError as error:
            raise ListenerError(
                f"the control socket {path} cannot be made: {error.strerror or error}; "
                "make its folder writable for opsd, or name another place with --socket-path"
            ) from error

    @classmethod
    def _bind(cls, path: str, mode: int, gid: int | None) -> "Listener":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        # For nobody until mode and group are right; nobody can connect before `listen` anyway.
        umask = os.umask(0o777)
        try:
            sock.bind(path)
        except OSError:
            sock.close()
            raise
        finally:
            os.umask(umask)
        listener = cls(path, sock, os.lstat(path).st_ino)
        try:
            if gid is not None:
                os.chown(path, -1, gid)
            os.chmod(path, mode)
            sock.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener

    def close(self) -> None:
        """Stop listening, and remove the socket unless another one lies there by now."""
        self.socket.close()
        try:
            if os.lstat(self.path).st_ino == self._inode:
                os.unlink(self.path)
        except OSError:
            pass  # gone already, or not ours to remove any more


def _make_room(path: str) -> None:
    """Remove a socket that nobody answers on.

    Raises:
        ListenerError: somebody answers, or what lies there is no socket.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ListenerError(f"{path} is there and no socket; remove it, or name another place with --socket-path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as caller:
        try:
            caller.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # a queue that is full is somebody's
    raise SocketInUse(f"somebody answers on {path} already; ask `opsctl status --socket {path}` who, and stop that one")
