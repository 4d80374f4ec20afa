"""The one reader of environment variables outside the settings: what the system that started us says.

Standard library only, so that every command may use it. What may be set as `OPSD_*` is `opsd.settings`.
"""

import os
from collections.abc import Mapping

# What is meant for this very process: our settings, and what systemd tells one service about itself.
_OURS = ("OPSD_", "LISTEN_", "WATCHDOG_")
_OURS_EXACTLY = frozenset(
    {
        "NOTIFY_SOCKET",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "CREDENTIALS_DIRECTORY",
        "MAINPID",
        "MANAGERPID",
        "SYSTEMD_EXEC_PID",
        "OPS_MANAGER_SERVICE_TOKEN",
    }
)


def variables() -> Mapping[str, str]:
    """The environment as it was handed to this process; parts take what they need from it as an argument."""
    return os.environ


def for_others(given: Mapping[str, str]) -> dict[str, str]:
    """What of the environment `given` a process that we start may have: all but what is meant for us alone."""
    return {name: value for name, value in given.items() if not name.startswith(_OURS) and name not in _OURS_EXACTLY}


def take_systemd_variables() -> dict[str, str]:
    """What systemd told this very process, removed so that no child believes it was told the same."""
    taken = {}
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        value = os.environ.pop(name, None)
        if value is not None:
            taken[name] = value
    return taken
