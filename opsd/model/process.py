"""What is remembered of the runtime's process between looks, and what is believed of it. Rules: `opsd.core.process`."""

from datetime import datetime
from enum import StrEnum

import msgspec


class Liveness(StrEnum):
    """`gone` only on evidence; `foreign` is a process of another host or PID namespace, so nobody here can say."""

    ALIVE = "alive"
    PAUSED = "paused"
    GONE = "gone"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"
    NONE = "none"


class ProcessMemory(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """`pid` and `begun` name the active run these facts are about; a new active run starts them afresh.

    `missing_since` is when the process was first not found, or with `file_missing` the `active-run.json` of a loop
    marked active (for a tree found like that, when it was last written); `missing_at_line` how far the log had grown by
    then. `settles_at` is when it will be believed gone unless something moves before; None where nothing is in the
    balance.
    """

    pid: int | None = None
    begun: str | None = None
    seen_alive: bool = False
    foreign: bool = False
    file_missing: bool = False
    missing_since: datetime | None = None
    missing_at_line: int = 0
    liveness: Liveness = Liveness.UNKNOWN
    settles_at: datetime | None = None
