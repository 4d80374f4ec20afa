"""The one reader of environment variables outside the settings: what the system that started us says.

Standard library only, so that every command may use it. What may be set as `OPSD_*` is `opsd.settings`.
"""

import os
from collections.abc import Mapping


def variables() -> Mapping[str, str]:
    """The environment as it was handed to this process; parts take what they need from it as an argument."""
    return os.environ


def take_systemd_variables() -> dict[str, str]:
    """What systemd told this very process, removed so that no child believes it was told the same."""
    taken = {}
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        value = os.environ.pop(name, None)
        if value is not None:
            taken[name] = value
    return taken
