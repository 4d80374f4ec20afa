"""How long to wait before trying again: arithmetic only.

Randomness is passed in and the waiting is done elsewhere: by the work queue, the commits and the supervised services.
"""

import msgspec


class Backoff(msgspec.Struct, frozen=True, gc=False):
    """Full jitter: each wait is drawn from 0 up to a ceiling that doubles with every attempt until `longest_s`.

    Drawing the whole wait, and not only a part of it, keeps thousands of loops that failed together from trying
    again together.
    """

    first_s: float = 1.0
    longest_s: float = 60.0

    def ceiling_s(self, attempt: int) -> float:
        """The longest wait before retry number `attempt`, counted from 1."""
        # Beyond 2^32 the ceiling has long been reached, and a float would overflow after a week of failures.
        return min(self.longest_s, self.first_s * 2.0 ** min(max(attempt, 1) - 1, 32))

    def delay_s(self, attempt: int, jitter: float) -> float:
        """The wait before retry number `attempt`, counted from 1; `jitter` is from 0 up to 1."""
        return self.ceiling_s(attempt) * jitter
