"""When was each written event seen? Joins the stamps of who wrote with those of who looked. Pure.

A sighting of line n covers every line up to n: whoever shows a later picture need not show the earlier one.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from benchmarks.observer import Sighting
from benchmarks.runtime import Stamp
from benchmarks.watcher import Picture


def latencies_ms(stamps: Iterable[Stamp], sightings: Iterable[Sighting]) -> list[float]:
    """Milliseconds from each stamp to the first sighting of its line or a later one; infinite where there is none."""
    seen: dict[str, list[Sighting]] = defaultdict(list)
    for sighting in sightings:
        best = seen[sighting.loop_id]
        if not best or sighting.line > best[-1].line:
            best.append(sighting)
    found = []
    for loop_id, written in _by_loop(stamps).items():
        waiting = iter(seen[loop_id])
        next_up = next(waiting, None)
        for stamp in written:
            while next_up is not None and next_up.line < stamp.line:
                next_up = next(waiting, None)
            found.append(math.inf if next_up is None else (next_up.at_ns - stamp.at_ns) / 1e6)
    return found


def sightings_of(pictures: Iterable[Picture], stamps: Iterable[Stamp]) -> list[Sighting]:
    """Which line each picture of the feed had reached, told by its last event's name, iteration and time.

    Where neighbouring events look alike, the earliest that was not seen yet is taken, so an error makes the daemon look
    slower, never faster. Pictures that show nothing new, or nothing that was written, are left out.
    """
    written = _by_loop(stamps)
    reached = dict.fromkeys(written, 0)
    """By loop, how many of its stamps are covered."""
    shown: dict[str, tuple[object, ...]] = {}
    found = []
    for picture in pictures:
        looks = (picture.name, picture.iteration, picture.timestamp)
        if picture.loop_id not in written or shown.get(picture.loop_id) == looks:
            continue
        shown[picture.loop_id] = looks
        place = _place(written[picture.loop_id], reached[picture.loop_id], looks)
        if place is not None:
            stamp = written[picture.loop_id][place]
            reached[picture.loop_id] = place + 1
            found.append(Sighting(picture.loop_id, stamp.line, picture.at_ns))
    return found


def _place(written: Sequence[Stamp], start: int, looks: tuple[object, ...]) -> int | None:
    for place in range(start, len(written)):
        stamp = written[place]
        if (stamp.name, stamp.iteration, stamp.timestamp) == looks:
            return place
    return None


def _by_loop(stamps: Iterable[Stamp]) -> Mapping[str, list[Stamp]]:
    found: dict[str, list[Stamp]] = defaultdict(list)
    for stamp in stamps:
        found[stamp.loop_id].append(stamp)
    return found
