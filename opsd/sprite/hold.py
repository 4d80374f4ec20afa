"""Holds the sprite awake while a run lives: a platform task, refreshed long before it expires, put away at the end.

A detached process does not count as activity, so a run that is silent for a while would freeze with its VM. Outside of
a sprite there is no such socket, and nothing is held. Source: sprites-platform 11 and 12.2.
"""

import os
import time
from typing import Final

EXPIRES: Final = "5m"
REFRESH_EVERY_S: Final = 60.0
RETRY_EVERY_S: Final = 10.0
_NAME_LENGTH_MAX: Final = 60


class Hold:
    """One task under the loop's name, at the platform's socket."""

    def __init__(self, socket_path: str, loop_id: str) -> None:
        self._socket_path = socket_path
        self._where = f"/v1/tasks/{task_name(loop_id)}"
        self._due_s = 0.0
        self._held = False
        self._told: str | None = None

    def keep(self) -> str | None:
        """Make the task or refresh it, if that is due; why it could not be done, said once, or None."""
        if time.monotonic() < self._due_s:
            return None
        if not os.path.exists(self._socket_path):
            self._due_s = time.monotonic() + REFRESH_EVERY_S
            return None
        from opsd.sprite import platform  # beside most runs there is none, and they need not carry an HTTP client

        problem = platform.ask(self._socket_path, "PUT", self._where, {"expire": EXPIRES})
        self._held = self._held or problem is None
        self._due_s = time.monotonic() + (REFRESH_EVERY_S if problem is None else RETRY_EVERY_S)
        is_news = problem is not None and problem != self._told
        self._told = problem
        return f"the sprite may fall asleep during the run: {problem}" if is_news else None

    def let_go(self) -> None:
        """Put the task away. One that stays expires by itself."""
        if self._held:
            from opsd.sprite import platform

            platform.ask(self._socket_path, "DELETE", self._where)


def task_name(loop_id: str) -> str:
    """A name that may stand in a path, whatever the loop is called."""
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "_-") else "-" for char in loop_id)
    return f"opsd-run-{plain}"[:_NAME_LENGTH_MAX]
