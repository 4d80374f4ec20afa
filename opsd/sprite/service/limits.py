"""What one peer, and all of them together, may ask of the service."""

from collections import OrderedDict

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """`requests_s` is how many requests a second a peer may keep up, `burst` how many at once.

    `running` bounds all requests that are being answered. `body_s` is for a request's body to arrive, `request_s` for
    an answer to be made, beside what it was asked to be held back, `send_s` for the peer to take it. `page_bytes`: what
    of a log is longer is sent in pieces.
    """

    requests_s: float = 50.0
    burst: int = 200
    peers: int = 1_024
    running: int = 256
    body_s: float = 10.0
    request_s: float = 30.0
    send_s: float = 300.0
    page_bytes: int = 4 * 1024 * 1024


class Allowance:
    """A bucket for each peer that fills up again with time. Those that were heard of least recently are forgotten."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, peer: str, now_s: float) -> float:
        """0 where the request may be answered; else after how many seconds the next one will be."""
        limits = self._limits
        left, then_s = self._buckets.pop(peer, (float(limits.burst), now_s))
        left = min(float(limits.burst), left + max(0.0, now_s - then_s) * limits.requests_s)
        enough = left >= 1.0
        self._buckets[peer] = (left - 1.0 if enough else left, now_s)
        if len(self._buckets) > limits.peers:
            self._buckets.popitem(last=False)
        return 0.0 if enough else (1.0 - left) / limits.requests_s
