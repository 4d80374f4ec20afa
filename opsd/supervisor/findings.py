"""What is wrong with the daemon itself, as findings beside those of the loops.

What is wrong with a loop is judged in `opsd.core`; what each code means is `opsd.model.reasons`.
"""

from datetime import datetime

from opsd.model.health import Finding
from opsd.model.reasons import REASONS


class DaemonFindings:
    """Each finding lasts until it is cleared. `about` tells findings of one code apart: a loop's id, a file."""

    def __init__(self) -> None:
        self._current: dict[tuple[str, str], Finding] = {}

    def add(self, code: str, evidence: str, now: datetime, *, about: str = "") -> bool:
        """Whether it is new. One that lasts keeps its `since` and tells the newest evidence."""
        known = self._current.get((code, about))
        since = known.since if known else now
        self._current[code, about] = Finding(
            code=code,
            severity=REASONS[code].severity,
            since=since,
            evidence=evidence,
            onset=f"{about}@{since.isoformat()}" if since else about,
        )
        return known is None

    def clear(self, code: str, *, about: str = "") -> bool:
        """Whether it was there."""
        return self._current.pop((code, about), None) is not None

    def has(self, code: str, *, about: str = "") -> bool:
        return (code, about) in self._current

    def current(self) -> tuple[Finding, ...]:
        """Longest lasting first."""
        return tuple(self._current.values())
