"""`python -m tests.simulation.intents --seed N [--until N2]`: one history again, or all of them, with what happened.

Exits 1 with the first thing that did not hold, and with the command that shows it again. `--mutant NAME` puts a fault
into opsd first: see `mutants`. The order of sets is fixed, so that a seed is a history.
"""

import argparse
import os
import sys
import time
from collections import Counter

_HASH_SEED = "PYTHONHASHSEED"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.intents")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--until", type=int)
    parser.add_argument("--story", action="store_true", help="tell what happened when")
    arguments = parser.parse_args()
    if os.environ.get(_HASH_SEED) != "0":
        words = [sys.executable, "-m", "tests.simulation.intents", *sys.argv[1:]]
        os.execve(sys.executable, words, {**os.environ, _HASH_SEED: "0"})
    from tests.simulation.intents.history import Broken, live

    began_s = time.monotonic()
    counts: Counter[str] = Counter()
    last = arguments.until or arguments.seed
    try:
        for seed in range(arguments.seed, last + 1):
            world = live(seed)
            counts += world.counts
            if arguments.story:
                print("\n".join(world.story))
    except Broken as broken:
        print(broken, file=sys.stderr)
        return 1
    took_s = time.monotonic() - began_s
    for kind, count in sorted(counts.items()):
        print(f"{count:8} {kind}")
    print(f"{took_s:.2f} s for {last - arguments.seed + 1} histories")
    return 0


if __name__ == "__main__":
    sys.exit(main())
