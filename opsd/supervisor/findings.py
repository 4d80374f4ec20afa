"""What is wrong with the daemon itself, as findings beside those of the loops.

What is wrong with a loop is judged in `opsd.core`; what each code means is `opsd.model.reasons`.
"""

from datetime import datetime

from opsd.model.health import Finding
from opsd.model.reasons import REASONS


class DaemonFindings:
    """Each finding lasts until it is cleared, or until its time is over. `about` tells findings of one code apart: a
    loop's id, a file."""

    def __init__(self) -> None:
        self._current: dict[tuple[str, str], Finding] = {}
        self._until: dict[tuple[str, str], datetime] = {}

    def add(self, code: str, evidence: str, now: datetime, *, about: str = "", until: datetime | None = None) -> bool:
        """Whether it is new. One that lasts keeps its `since` and tells the newest evidence.

        `until` is for what happened and is over, but should be seen.
        """
        if until is not None:
            self._until[code, about] = until
        else:
            self._until.pop((code, about), None)
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
        self._until.pop((code, about), None)
        return self._current.pop((code, about), None) is not None

    def current(self, now: datetime) -> tuple[Finding, ...]:
        """Longest lasting first."""
        for (code, about), until in list(self._until.items()):
            if until <= now:
                self.clear(code, about=about)
        return tuple(self._current.values())
