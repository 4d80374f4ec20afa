"""What we and systemd tell each other: sockets it opened for us, readiness, signs of life. Does nothing elsewhere.

Source: sd_listen_fds(3) and sd_notify(3). Which variables these are is `opsd.environ`.
"""

import os
import socket
from collections.abc import Mapping

_FIRST_FD = 3


class Systemd:
    """`variables` as `opsd.environ.take_systemd_variables` gives them: empty where systemd did not start us."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        address = variables.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of an abstract address.
        self._notify_address = f"\0{address[1:]}" if address.startswith("@") else address

    def listening_socket(self) -> socket.socket | None:
        """The first socket that systemd listens on for us, or None where it opened none for this process."""
        if self._variables.get("LISTEN_PID") != str(os.getpid()) or self._variables.get("LISTEN_FDS", "0") == "0":
            return None
        os.set_inheritable(_FIRST_FD, False)
        return socket.socket(fileno=_FIRST_FD)

    @property
    def watchdog(self) -> bool:
        """Whether systemd waits for signs of life of this process."""
        pid = self._variables.get("WATCHDOG_PID")
        return "WATCHDOG_USEC" in self._variables and pid in (None, str(os.getpid()))

    def notify(self, *states: str) -> None:
        """Tell `READY=1`, `STOPPING=1`, `WATCHDOG=1`, `STATUS=...`. Never blocks; a lost word is not worth a stop."""
        if not self._notify_address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
            try:
                sender.sendto("\n".join(states).encode(), self._notify_address)
            except OSError:
                pass
