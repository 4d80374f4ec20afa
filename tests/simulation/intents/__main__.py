"""`python -m tests.simulation.intents --seed N [--until N2]`: one history again, or all of them, with what happened.

`--complete N3` goes on until everything that can be planned has happened, and fails if it has not by history N3. Exits
1 with the first thing that did not hold, and with the command that shows it again. `--mutant NAME` puts a fault into
opsd first: see `mutants`. The order of sets is fixed, so that a seed is a history.
"""

import argparse
import os
import sys
import time
from collections import Counter

from tests.simulation.intents.mutants import MUTANTS
from tests.simulation.mutants import put_in

_HASH_SEED = "PYTHONHASHSEED"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.intents")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--until", type=int)
    parser.add_argument("--complete", type=int, metavar="N")
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
    from tests.simulation.intents.plan import PLANNED

    began_s = time.monotonic()
    counts: Counter[str] = Counter()
    seed, last = arguments.seed, arguments.until or arguments.seed
    try:
        while seed <= last or (arguments.complete is not None and seed <= arguments.complete and PLANNED - set(counts)):
            world = live(seed)
            counts += world.counts
            if arguments.story:
                print("\n".join(world.story))
            seed += 1
    except Broken as broken:
        print(broken, file=sys.stderr)
        return 1
    for kind, count in sorted(counts.items()):
        print(f"{count:8} {kind}")
    print(f"histories {arguments.seed} to {seed - 1}", file=sys.stderr)
    print(f"{time.monotonic() - began_s:.2f} s for {seed - arguments.seed} of them", file=sys.stderr)
    missing = PLANNED - set(counts) if arguments.complete is not None else ()
    if missing:
        print(f"planned, and never met: {sorted(missing)}", file=sys.stderr)
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
