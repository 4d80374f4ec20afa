"""One request to the platform, over the socket that it shows inside a sprite. Source: sprites-platform 11."""

import http.client
import json
import socket
from typing import Final

ANSWER_WITHIN_S: Final = 1.0
"""A run's heartbeat waits for so long, and nothing else does."""


def ask(socket_path: str, method: str, where: str, body: dict[str, str] | None = None) -> str | None:
    """What went wrong, or None."""
    asked = f"{method} {where} at {socket_path}"
    connection = _UnixConnection(socket_path)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, where, data, {} if body is None else {"Content-Type": "application/json"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{asked}: {error!r}"
    finally:
        connection.close()
    return None if 200 <= status < 300 else f"{asked}: HTTP {status}"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("sprite", timeout=ANSWER_WITHIN_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_WITHIN_S)
        self.sock.connect(self._path)
