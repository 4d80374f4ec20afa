"""The logs that a run's roles write: which there are, how fresh they are, and reading them from the end or on.

They are shown to operators and prove that something is being written; what they say is never interpreted.
Source: runtime-artifacts 2.2.
"""

from datetime import datetime

import msgspec

from opsd.model.ids import LoopId
from opsd.ports import Files, FileStat
from opsd.transports.artifacts import loop_folder
from opsd.transports.confine import is_within
from opsd.transports.small import written_at

# Bounds on folders that another program fills: more than this many roles or iterations are not looked at.
_ROLES_MAX = 64
_ITERATIONS_MAX = 10_000


class RoleLog(msgspec.Struct, frozen=True, rename="camel"):
    """One log file. A later run of the loop starts at iteration 1 again and overwrites."""

    iteration: int
    role: str
    path: str
    size_bytes: int
    modified_at: datetime


class LogPart(msgspec.Struct, frozen=True, rename="camel"):
    """A stretch of a log. `next_offset` is where to go on; `inode` says of which file.

    `restarted` is true where the file was begun anew since the asked-for position: the stretch is from its start.
    """

    data: bytes
    offset: int
    next_offset: int
    size_bytes: int
    inode: int
    restarted: bool = False


def newest_output_at(files: Files, folder: str, iteration: int) -> datetime | None:
    """When a role of this iteration last wrote to its log; None where none has."""
    logs = _logs_of(files, f"{folder}/logs/iter-{iteration}")
    return max((written_at(stat) for _, _, stat in logs), default=None)


def list_logs(files: Files, repo_path: str, loop_id: LoopId) -> list[RoleLog]:
    """Every role log of the loop, the one written last first. None may lead out of the checkout."""
    folder = f"{loop_folder(repo_path, loop_id)}/logs"
    found: list[RoleLog] = []
    try:
        entries = files.scan(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    for name, kind in entries[:_ITERATIONS_MAX]:
        number = name.removeprefix("iter-")
        if kind != "dir" or number == name or not number.isdecimal():
            continue
        for role, path, stat in _logs_of(files, f"{folder}/{name}"):
            if is_within(files, path, repo_path):
                found.append(RoleLog(int(number), role, path, stat.size_bytes, written_at(stat)))
    return sorted(found, key=lambda log: (log.modified_at, log.iteration, log.role), reverse=True)


def read_log_end(files: Files, path: str, *, bytes_max: int, lines_max: int | None = None) -> LogPart:
    """The last `bytes_max` bytes at the most, cut to the last `lines_max` lines and to whole lines at the front."""
    stat, _ = files.read(path, 0, 0)
    start = max(0, stat.size_bytes - bytes_max)
    found, data = files.read(path, start, bytes_max)
    keep = 0
    if start > 0:
        keep = data.find(b"\n") + 1  # 0 where there is no newline: the end of one long line is better than nothing
    if lines_max is not None:
        at = len(data) - 1 if data.endswith(b"\n") else len(data)
        for _ in range(lines_max):
            at = data.rfind(b"\n", keep, max(keep, at))
            if at < 0:
                break
        else:
            keep = max(keep, at + 1) if lines_max else len(data)
    return LogPart(data[keep:], start + keep, start + len(data), found.size_bytes, found.inode)


def read_log_on(files: Files, path: str, *, offset: int, inode: int, bytes_max: int) -> LogPart:
    """What was written behind `offset` of the file `inode`; from the start of the file that now stands there if it is
    another one or has been cut short (a role's log is begun anew with each of its turns)."""
    found, data = files.read(path, offset, bytes_max)
    if found.inode != inode or found.size_bytes < offset:
        found, data = files.read(path, 0, bytes_max)
        return LogPart(data, 0, len(data), found.size_bytes, found.inode, restarted=True)
    return LogPart(data, offset, offset + len(data), found.size_bytes, found.inode)


def _logs_of(files: Files, folder: str) -> list[tuple[str, str, FileStat]]:
    """(role, path, stat) of an iteration's role logs; `errors.log` is the runtime's own, of all roles together."""
    try:
        entries = files.scan(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    logs: list[tuple[str, str, FileStat]] = []
    for name, kind in entries[:_ROLES_MAX]:
        role = name.removesuffix(".log")
        if kind != "file" or role in (name, "", "errors"):
            continue
        stat = files.stat(path := f"{folder}/{name}")
        if stat is not None and stat.kind == "file":
            logs.append((role, path, stat))
    return logs
