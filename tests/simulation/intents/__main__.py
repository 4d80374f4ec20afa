"""`python -m tests.simulation.intents --seed N [N2 ...]`: these histories again, with what happened how often.

`--until M` goes on to history M, and `--complete M` tries history 0 and on until everything that can be planned has
happened, and fails if it has not by history M. `--cover` names a few of the histories in which it happens: those that
`pins` remembers. `--mutant NAME` puts a fault into opsd first: see `mutants`.

Exits 1 with the first thing that did not hold, and with the command that shows it again. The order of sets is fixed, so
that a seed is a history.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping

from tests.simulation.intents.mutants import MUTANTS
from tests.simulation.mutants import put_in

_HASH_SEED = "PYTHONHASHSEED"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.intents")
    parser.add_argument("--seed", type=int, nargs="+", required=True)
    parser.add_argument("--until", type=int, metavar="M")
    parser.add_argument("--complete", type=int, metavar="M")
    parser.add_argument("--cover", action="store_true", help="name few of these histories in which all of it happens")
    parser.add_argument("--story", action="store_true", help="tell what happened when")
    parser.add_argument("--mutant", choices=sorted(MUTANTS))
    arguments = parser.parse_args()
    if os.environ.get(_HASH_SEED) != "0":
        words = [sys.executable, "-m", "tests.simulation.intents", *sys.argv[1:]]
        os.execve(sys.executable, words, {**os.environ, _HASH_SEED: "0"})
    if arguments.mutant is not None:
        put_in(MUTANTS[arguments.mutant])
    # Only now, because a mutant must be there before its module is imported.
    from tests.simulation.intents.history import Broken, live

    began_s = time.monotonic()
    lived: dict[int, Counter[str]] = {}
    try:
        for seed in _seeds(arguments, lived):
            world = live(seed)
            lived[seed] = world.counts
            if arguments.story:
                print("\n".join(world.story))
    except Broken as broken:
        print(broken, file=sys.stderr)
        return 1
    counts = sum(lived.values(), start=Counter[str]())
    for kind, count in sorted(counts.items()):
        print(f"{count:8} {kind}")
    print(f"{time.monotonic() - began_s:.2f} s for {len(lived)} histories", file=sys.stderr)
    if arguments.cover:
        print(f"covered by {_cover(lived)}", file=sys.stderr)
    missing = _missing(lived) if arguments.complete is not None else ()
    if missing:
        print(f"planned, and never met: {sorted(missing)}", file=sys.stderr)
    return bool(missing)


def _seeds(arguments: argparse.Namespace, lived: Mapping[int, Counter[str]]) -> Iterator[int]:
    yield from arguments.seed
    if arguments.until is not None:
        yield from range(arguments.seed[-1] + 1, arguments.until + 1)
    if arguments.complete is not None:
        for seed in range(arguments.complete + 1):
            if not _missing(lived):
                return
            if seed not in lived:
                yield seed


def _missing(lived: Mapping[int, Counter[str]]) -> set[str]:
    from tests.simulation.intents.plan import PLANNED

    return set(PLANNED).difference(*lived.values())


def _cover(lived: Mapping[int, Counter[str]]) -> list[int]:
    """Always the history next in which most of what is still missing happens: few, though not the fewest."""
    from tests.simulation.intents.plan import PLANNED

    wanted = {seed: PLANNED.intersection(counts) for seed, counts in lived.items()}
    left, found = set().union(*wanted.values()), []
    while left:
        seed = max(wanted, key=lambda each: len(wanted[each] & left))
        found.append(seed)
        left -= wanted[seed]
    return sorted(found)


if __name__ == "__main__":
    sys.exit(main())
