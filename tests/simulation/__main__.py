"""`python -m tests.simulation --seed N [--steps M]`: one history again, with what happened in it.

With `--until N2`, every history from N to N2. Exits 1 with the first thing that did not hold, and with the command that
shows it again. `--mutant NAME` puts a fault into opsd first: see `mutants`.
"""

import argparse
import sys
import time
from collections import Counter

from tests.simulation.mutants import MUTANTS, breed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--until", type=int)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--mutant", choices=sorted(MUTANTS))
    arguments = parser.parse_args()
    if arguments.mutant is not None:
        breed(arguments.mutant)
    # Only now, because a mutant must be there before its module is imported.
    from tests.simulation.history import Broken, run

    began_s = time.monotonic()
    counts: Counter[str] = Counter()
    try:
        for seed in range(arguments.seed, (arguments.until or arguments.seed) + 1):
            counts += run(seed, arguments.steps)
    except Broken as broken:
        print(broken, file=sys.stderr)
        return 1
    took_s = time.monotonic() - began_s
    for kind, count in counts.most_common():
        print(f"{count:8} {kind}")
    print(f"{took_s:.2f} s, {counts['steps'] / took_s:,.0f} steps a second")
    return 0


if __name__ == "__main__":
    sys.exit(main())
