"""How long something took, as telemetry tells it: in buckets, which can be counted."""

from typing import Final

_BELOW: Final = ((0.1, "<100ms"), (0.5, "<500ms"), (2.0, "<2s"), (10.0, "<10s"))
_LONGER: Final = ">=10s"
BUCKETS: Final = (*(name for _, name in _BELOW), _LONGER)


def latency_bucket(took_s: float) -> str:
    """One of `BUCKETS`; what a clock that was set back makes negative took no time."""
    return next((name for limit_s, name in _BELOW if took_s < limit_s), _LONGER)
