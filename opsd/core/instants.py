"""Moments and ages: the contract's spelling of a time, and whole seconds between two. Source: loop-core 1.

Where `now` comes from is the shell's business.
"""

import re
from datetime import datetime, timedelta
from functools import lru_cache

# Nothing that runs writes the year 9000, and every patience can still be added to the years before it.
_SPELLING = re.compile(r"(?!19[0-6])(?!1[0-8])(?!0)[0-8][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


LATEST_S = 221_845_392_000
"""1 January 9000 in seconds since 1970."""
_LONGEST_S = 1_000_000_000


# The same few stamps are asked about in every pass over a loop, until it writes new ones.
@lru_cache(maxsize=8192)
def parse(text: str | None) -> datetime | None:
    """The moment that `text` names, or None where it is not exactly `YYYY-MM-DDTHH:MM:SSZ` of the years 1970 to 8999.

    Fractions, offsets, a lower-case or missing `Z` and dates that no calendar has are all "not comparable".
    """
    if text is None or not _SPELLING.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


@lru_cache(maxsize=64)
def whole(now: datetime) -> datetime:
    """`now` without its fraction of a second, as documents carry it."""
    return now.replace(microsecond=0)


@lru_cache(maxsize=1024)
def seconds(count: float) -> timedelta:
    """A span that some file or setting asks for; more than 30 years counts as that, so that no date overflows."""
    return timedelta(seconds=min(count, _LONGEST_S))


def lag_s(then: datetime, now: datetime) -> int:
    """Whole seconds from `then` to `now`; 0 where `then` lies in the future."""
    return max(0, int((now - then).total_seconds()))
