"""HTTP over the daemon's Unix socket, by the standard library alone."""

import http.client
import socket


class Connection(http.client.HTTPConnection):
    """One keep-alive connection. Connects with the first request, so errors of connecting surface there."""

    def __init__(self, path: str, timeout_s: float | None = 30.0) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise

    def fetch(self, target: str) -> bytes:
        """The body of the answer to a GET.

        Raises:
            RuntimeError: the answer is not 200.
        """
        return self.stream(target).read()

    def stream(self, target: str) -> http.client.HTTPResponse:
        """The answer to a GET, whose body is read by the caller. Raises as `fetch`."""
        self.request("GET", target)
        answer = self.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"GET {target}: {answer.status} {answer.read().decode(errors='replace')}")
        return answer
