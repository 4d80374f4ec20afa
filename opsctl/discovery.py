"""Which socket is meant. The order is the same for every command, and part of the documented interface."""

import os

HOME_SOCKET = os.path.join(".superloop", "ops-manager", "opsd.sock")
SYSTEM_SOCKET = "/run/opsd/opsd.sock"


def find_socket(option: str | None, variable: str | None, start: str) -> str:
    """The first of: `--socket`, `OPSD_SOCKET`, the home repository above `start`, `/run/opsd/opsd.sock`.

    The first two are taken at their word. The last is also the answer where there is no socket anywhere: connecting to
    it says so.
    """
    return option or variable or _in_home(start) or SYSTEM_SOCKET


def _in_home(start: str) -> str | None:
    try:
        folder = os.path.abspath(start)
    except FileNotFoundError:  # whoever calls stands in a folder that was removed
        return None
    while True:
        path = os.path.join(folder, HOME_SOCKET)
        if _is_there(path):
            return path
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above


def _is_there(path: str) -> bool:
    try:
        os.stat(path)
    except PermissionError:
        return True  # there, and locked away: connecting then says "denied", which is the truth
    except OSError:
        return False
    return True
