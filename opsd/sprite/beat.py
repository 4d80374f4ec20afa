"""`heartbeat.v1.json`: what a beat says, and how it is written. Source: runtime-artifacts 3.6.

Readers find a beat whole or find the one before it; nothing is flushed, because the next one comes soon. When to beat
is `opsd.sprite.launch`; whether a beat is believed is `opsd.core.heartbeat`.
"""

import json
import os
import time
from typing import NamedTuple

FILE = "heartbeat.v1.json"


class Beat(NamedTuple):
    """Times are text, whole seconds UTC. A member that is None is left out.

    `pid` is the runtime's, `pid_started` when it was begun. `exit_code` or `exit_signal`, and `exited_at`, with the
    status `exited`: of the last beat.
    """

    timestamp: str
    status: str
    pid: int
    pid_started: str
    launcher_pid: int
    loop_id: str
    boot_id: str
    stage: str | None = None
    run_id: str | None = None
    launch_id: str | None = None
    last_output_at: str | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    exited_at: str | None = None


def write(folder: str, beat: Beat) -> None:
    """Put `beat` into the loop's folder, readable by all.

    Raises:
        OSError: the folder is not there (yet), the disk is full, ...; the beat before it stays.
    """
    said = {"schemaVersion": "v1", "source": "opsd launch"}
    said |= {name: value for name, value in beat._asdict().items() if value is not None}
    path = f"{folder}/{FILE}"
    fd = os.open(f"{path}.tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.fchmod(fd, 0o644)  # whatever the umask
        data = (json.dumps(said) + "\n").encode()
        if os.write(fd, data) != len(data):
            raise OSError("the disk is full")
    finally:
        os.close(fd)
    os.replace(f"{path}.tmp", path)


def second(epoch_s: float) -> str:
    """The moment as the runtime writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch_s))


def boot_id() -> str:
    """A name for the host's present boot; empty where the kernel does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
