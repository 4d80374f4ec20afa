"""Names of things: distinct types, so that one kind of id never passes for another.

Ids from outside are judged by `loop_id_fault` before they touch a path; nothing else about them is decided here.
"""

import re
from typing import NewType

LoopId = NewType("LoopId", str)
RunId = NewType("RunId", str)
TraceId = NewType("TraceId", str)
EscalationId = NewType("EscalationId", str)

UNKNOWN_RUN = RunId("unknown")
"""The contract's word where no run id is known (loop-core 2.3)."""

LOOP_ID_LENGTH_MAX = 128
# `ops-manager/fleet/` is the fleet plane's own folder: a loop of that name would write into it.
RESERVED_LOOP_IDS = frozenset({"fleet"})
_SAFE = re.compile(r"[A-Za-z0-9_@+=,:~%-][A-Za-z0-9_@+=,:~%. -]*\Z")


def loop_id_fault(text: str) -> str | None:
    """The reason code that forbids managing a loop of this name, or None where it may be used as a folder name.

    Safe is: 1 to 128 characters of letters, digits, space and `_@+=,:~%.-`, not starting with a dot or a space.
    """
    if text in RESERVED_LOOP_IDS:
        return "loop_id_reserved"
    if len(text) > LOOP_ID_LENGTH_MAX or not _SAFE.match(text):
        return "loop_id_unsafe"
    return None
