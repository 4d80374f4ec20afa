"""How long things take in the client, and the one place that waits. What moment it is, only `events --since` asks."""

import time


def monotonic_s() -> float:
    return time.monotonic()


def pause(seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251  between two attempts to reach the daemon there is nothing else to do
