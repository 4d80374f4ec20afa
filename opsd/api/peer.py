"""Who is at the other end of the socket, by the kernel's word, and what that lets them do.

The uid and groups are those of the moment of connecting. The pid is recorded and never decides: it may be reused.
"""

import array
import pwd
import socket
import struct
from functools import lru_cache

import msgspec

# <asm-generic/socket.h>; Python's socket module has no name for it.
SO_PEERGROUPS = 59
# The most that `getsockopt` takes in Python is 1,024 bytes: 256 groups.
_GROUPS_BYTES_MAX = 1_024
_UCRED = struct.Struct("3i")


class Peer(msgspec.Struct, frozen=True, gc=False):
    """`groups` are the primary and the supplementary ones."""

    uid: int
    gid: int
    pid: int
    groups: frozenset[int]


def peer_of(connection: socket.socket) -> Peer | None:
    """The identity behind a Unix socket, or None where the kernel gives none: such a peer is refused."""
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, uid, gid = _UCRED.unpack(raw)
    except (OSError, struct.error):
        return None
    if uid < 0 or pid <= 0:  # what the kernel fills in where it knows nobody
        return None
    return Peer(uid, gid, pid, frozenset({gid, *_supplementary(connection)}))


def _supplementary(connection: socket.socket) -> list[int]:
    groups = array.array("I")
    try:
        groups.frombytes(connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, _GROUPS_BYTES_MAX))
    except OSError:  # an old kernel, or more groups than fit: the primary group must do
        return []
    return groups.tolist()


@lru_cache(maxsize=256)
def user_name(uid: int) -> str:
    """The account's name, or the number where it has none. Asks the system's user database: not for the event loop."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


class Access(msgspec.Struct, frozen=True, gc=False):
    """Who may read and who may write. The daemon's own user and root may do both.

    `socket_gid` is the group that may read, `operator_gid` the one that may write; without its own, writers are the
    readers. Without either, nobody else may do anything.
    """

    owner_uid: int
    socket_gid: int | None = None
    operator_gid: int | None = None

    def may_read(self, peer: Peer) -> bool:
        return self._is_owner(peer) or bool(peer.groups & {self.socket_gid, self.operator_gid})

    def may_write(self, peer: Peer) -> bool:
        gid = self.socket_gid if self.operator_gid is None else self.operator_gid
        return self._is_owner(peer) or gid in peer.groups

    def _is_owner(self, peer: Peer) -> bool:
        return peer.uid in (0, self.owner_uid)
