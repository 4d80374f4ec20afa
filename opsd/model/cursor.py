"""How far a loop's event log was ingested, and which file that is. Source: loop-core 3.5.

The contract's seven members are kept correct; `stream` is ours and makes the cursor exact to the byte.
"""

from typing import Annotated

import msgspec

from opsd.model.runtime import Aware

Count = Annotated[int, msgspec.Meta(ge=0)]
"""Refused when read back negative: the file is within an operator's reach."""


class Stream(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Identity of the log file and our position in it.

    `fingerprint` is the sha256 of the first `fingerprint_bytes` (at most 4,096) bytes; `tail` is the crc32 of the up
    to 4,096 bytes before `byte_offset`. `epoch` counts how often the log was found truncated or replaced.
    """

    device: int
    inode: int
    epoch: int
    byte_offset: Count
    fingerprint: str
    fingerprint_bytes: Count
    tail: int

    @property
    def is_by_line(self) -> bool:
        """Whether the position is known by its line alone: no file has inode 0."""
        return self.inode == 0


def by_line(epoch: int, fingerprint: str = "") -> Stream:
    """The stream of a log whose bytes were never seen, only its lines and their numbers.

    `fingerprint` is of the last line that was taken; empty where none was, or nobody knows which.
    """
    return Stream(0, 0, epoch, 0, fingerprint, 0, 0)


class Cursor(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """`cursor.json`. `event_line_offset` is the last consumed physical line, counted from 1; blank lines count."""

    repo_path: str
    loop_id: str
    events_file: str
    event_line_offset: Count
    event_line_count: Count
    updated_at: Aware
    schema_version: str = "v1"
    stream: Stream | None = None
