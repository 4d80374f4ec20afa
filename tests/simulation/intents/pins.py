"""Histories in which rare things happen, so that few have to be lived through to see all of them.

What happens in a history changes with opsd. Then the tests still search, only for longer, and these numbers are to be
found anew: those of `EVERYTHING` by `python -m tests.simulation.intents --seed 0 --until 699 --cover`, that of a mutant
by `--seed 0 --until 699 --mutant NAME`.
"""

from collections.abc import Mapping

EVERYTHING = (
    1, 2, 3, 4, 6, 8, 9, 15, 17, 21, 22, 23, 24, 25, 27, 28, 32, 33, 34, 38, 39, 42, 43, 45, 54, 72, 76, 77, 85, 87,
    89, 98, 102, 106, 109, 136, 142, 179, 204, 209, 215, 221, 230, 239, 290, 343, 376, 422, 463, 556, 572, 629,
)  # fmt: skip
"""Among them, every accident that can be planned strikes."""
CAUGHT: Mapping[str, int] = {
    "the log of intents is not flushed": 0,
    "what cannot be written down is done": 4,
    "what was only recorded is executed by the next start": 2,
    "what was being executed is executed again by the next start": 0,
    "the watermark counts for nothing": 5,
    "what stands at the watermark counts as beyond it": 227,
    "a decision counts on whichever candidate it is": 111,
    "a cancel is believed while the process lives": 127,
    "nobody asks when a process began": 223,
    "neighbours are not looked at": 14,
    "there is no last look": 15,
    "the last look does not see the mode": 74,
    "a key answers for any request": 10,
    "keys are forgotten": 15,
    "what is told outside is flushed before the log": 1,
    "what a crash kept from being told stays untold": 10,
    "a log that was left unflushed is told of": 76,
    "what the disk refuses is dropped": 14,
    "a log that cannot be read counts as empty": 32,
    "what is ambiguous is never looked at again": 18,
    "two words on one intent both count": 326,
}
"""The history by which each mutant is found out."""
