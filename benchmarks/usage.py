"""What a process costs, as the kernel counts it: CPU seconds and memory, from /proc."""

import os
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Memory(NamedTuple):
    """Resident memory of a process: now, and the most it ever had."""

    now_mb: float
    peak_mb: float


def cpu_s(pid: int) -> float:
    """User and system time of all threads of `pid` so far, in steps of a clock tick (10 ms)."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        # The command's name may hold blanks and brackets; behind the last bracket the fields are numbers.
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def memory(pid: int) -> Memory:
    """Both figures in MB (10^6 bytes)."""
    found = {}
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        for line in file:
            key, _, value = line.partition(":")
            if key in ("VmRSS", "VmHWM"):
                found[key] = int(value.split()[0]) * 1024 / 1e6
    return Memory(found["VmRSS"], found["VmHWM"])
