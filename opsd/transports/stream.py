"""Is the log still the file we read before, and what do we keep to tell next time? Source of the record: model.cursor.

Reading the lines is `opsd.transports.tail`; everything here costs at most two reads of 4 KiB, whatever the log's size.
"""

import hashlib
import zlib

from opsd.model.cursor import Stream
from opsd.model.observation import StreamChange
from opsd.ports import Files, FileStat

IDENTITY_BYTES = 4096


def window_start(offset: int) -> int:
    """Where to read from, so that the bytes that prove our position come along with what follows it."""
    return max(0, offset - IDENTITY_BYTES)


def change_of(
    files: Files, path: str, stream: Stream, found: FileStat, window: bytes, *, compares_head: bool = True
) -> StreamChange | None:
    """How the log differs from the one `stream` was taken from; None where it is the same, or only longer.

    `window` is the log from `window_start(stream.byte_offset)` on, `found` the stat of the file it was read from. The
    device's number is not compared: it may change with every mount, and inode and content say enough. Without
    `compares_head` the head of a log longer than the window is not read.
    """
    if found.inode != stream.inode:
        return StreamChange.REPLACED
    if found.size_bytes < stream.byte_offset:
        return StreamChange.TRUNCATED
    start = window_start(stream.byte_offset)
    if zlib.crc32(window[: stream.byte_offset - start]) != stream.tail:
        return StreamChange.REPLACED
    if start > 0 and not compares_head:
        return None
    head = window[: stream.fingerprint_bytes]
    if start > 0 or len(head) < stream.fingerprint_bytes:
        again, head = files.read(path, 0, stream.fingerprint_bytes)
        if again.inode != found.inode:
            return StreamChange.REPLACED
    return None if hashlib.sha256(head).hexdigest() == stream.fingerprint else StreamChange.REPLACED


def moved(
    files: Files, path: str, known: Stream | None, found: FileStat, epoch: int, offset: int, start: int, window: bytes
) -> Stream:
    """The identity to keep now that everything before `offset` is consumed; `window` is the log from `start` on.

    `known` is what was verified of the same file before, if anything was. Only consumed bytes go into it: whole lines
    never change, while the torn line behind them may.
    """
    fingerprint_bytes = min(IDENTITY_BYTES, offset)
    if known is not None and known.fingerprint_bytes == fingerprint_bytes:
        fingerprint = known.fingerprint
    else:
        head = window[:fingerprint_bytes] if start == 0 else files.read(path, 0, fingerprint_bytes)[1]
        fingerprint = hashlib.sha256(head).hexdigest()
    tail = window[window_start(offset) - start : offset - start]
    return Stream(
        device=found.device,
        inode=found.inode,
        epoch=epoch,
        byte_offset=offset,
        fingerprint=fingerprint,
        fingerprint_bytes=fingerprint_bytes,
        tail=zlib.crc32(tail),
    )
