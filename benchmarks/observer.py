"""The child that looks at the state files on disk, as an outside program would, and notes which line each has reached.

The kernel wakes it for each rename in a loop's folder. It asks inotify itself, because the watchers of libraries gather
for some milliseconds and look at far more. The stamp is taken after the file was read: late rather than early.
"""

import ctypes
import os
import select
import struct
import sys
import time

import msgspec

from benchmarks.child import leave, task, tell

IN_MOVED_TO = 0x80
_EVENT = struct.Struct("iIII")
_QUEUE_BYTES = 1 << 18


class ObserverTask(msgspec.Struct, frozen=True):
    """`folders` are the loops' own folders by loop id, which must exist."""

    folders: dict[str, str]
    sightings_file: str


class Sighting(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A state file that says `line`, at `at_ns` of the monotonic clock."""

    loop_id: str
    line: int
    at_ns: int


class _Cursor(msgspec.Struct, rename="camel"):
    event_line_offset: int


class _State(msgspec.Struct):
    cursor: _Cursor


def watch(folders: dict[str, str]) -> tuple[int, dict[int, tuple[str, str]]]:
    """An inotify descriptor that tells of files renamed into any of `folders`; loop id and state file by watch."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(os.O_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1 failed")
    loops = {}
    for loop_id, folder in folders.items():
        number: int = libc.inotify_add_watch(fd, os.fsencode(folder), IN_MOVED_TO)
        if number < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch failed", folder)
        loops[number] = (loop_id, os.path.join(folder, "state.json"))
    return fd, loops


def renamed(data: bytes) -> list[tuple[int, bytes]]:
    """(watch, file name) of each event in what an inotify descriptor gave; watch -1 says that some were lost."""
    found, at = [], 0
    while at < len(data):
        number, _, _, size = _EVENT.unpack_from(data, at)
        at += _EVENT.size
        found.append((number, data[at : at + size].rstrip(b"\0")))
        at += size
    return found


def main() -> None:
    mine = task(ObserverTask)
    fd, loops = watch(mine.folders)
    decode = msgspec.json.Decoder(_State).decode
    sightings: list[Sighting] = []
    tell("ready")
    while fd in select.select([fd, sys.stdin], [], [])[0]:
        for number, name in renamed(os.read(fd, _QUEUE_BYTES)):
            if number < 0:
                raise RuntimeError("the kernel's queue of renames overflowed: what was seen is not all there was")
            if name == b"state.json":
                loop_id, path = loops[number]
                with open(path, "rb") as file:
                    line = decode(file.read()).cursor.event_line_offset
                sightings.append(Sighting(loop_id, line, time.monotonic_ns()))
    leave(mine.sightings_file, sightings)


if __name__ == "__main__":
    main()
