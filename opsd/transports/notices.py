"""What a changed path means to us: which loop, or which checkout, may have something new.

A notice is a hint that carries a name and no news. How changes are heard is `opsd.transports.watch`; that none is
missed is `opsd.transports.sweep`.
"""

from collections.abc import Container
from typing import NamedTuple

from opsd.transports.artifacts import CHECKOUT_FILES, LOOP_FILES

EVENT_LOG = "events.jsonl"
_LOOP_NAMES = frozenset({EVENT_LOG, *LOOP_FILES})
_CHECKOUT_NAMES = frozenset({*CHECKOUT_FILES, "loops"})
_RUNTIME = "/.superloop/"


class Notice(NamedTuple):
    """Something may have changed for one loop, or, where `loop_id` is None, for every loop of the checkout.

    The id is a folder's name as found: it may be one that no registry knows, or that nobody should manage.
    """

    repo_path: str
    loop_id: str | None = None


def notice_of(path: str, roots: Container[str]) -> Notice | None:
    """The notice that a change of `path` gives; None for everything that no verdict rests on, such as role logs."""
    at = path.rfind(_RUNTIME)
    while at >= 0:
        # A checkout may itself lie below such a folder: the innermost one that is watched counts.
        if path[:at] in roots:
            return _below(path[:at], path[at + len(_RUNTIME) :].split("/"))
        at = path.rfind(_RUNTIME, 0, at)
    return None


def _below(root: str, names: list[str]) -> Notice | None:
    match names:
        case [name]:
            return Notice(root) if name in _CHECKOUT_NAMES else None
        case ["loops", loop_id]:
            return Notice(root, loop_id) if loop_id else None
        case ["loops", loop_id, name]:
            return Notice(root, loop_id) if name in _LOOP_NAMES else None
        case _:
            return None
