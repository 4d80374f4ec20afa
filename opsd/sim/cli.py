"""`opsd sim`: make a fleet and play it in the foreground until it is done or interrupted.

Making and playing are `opsd.sim.fleet`; the command that is called on its loops is `opsd.sim.runtime`.
"""

import argparse
import tempfile
from collections.abc import Sequence

from opsd.sim.fleet import Fleet, make_fleet, play_fleet
from opsd.sim.scenarios import SCENARIOS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `opsd sim` to `parser`."""
    parser.add_argument("--loops", type=_count, default=8, metavar="N", help="checkouts, one loop each (default 8)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="the same seed plays the same fleet")
    parser.add_argument("--speed", type=_factor, default=10.0, metavar="X", help="times as fast as life (default 10)")
    parser.add_argument("--root", metavar="DIR", help="where to put everything (default: a new temporary folder)")
    parser.add_argument(
        "--scenario",
        action="append",
        choices=sorted(SCENARIOS),
        metavar="NAME",
        help="what the loops play, dealt round; may be repeated (default: a mix); known: " + ", ".join(SCENARIOS),
    )
    parser.add_argument("--duration", type=_factor, metavar="S", help="stop after so many seconds")


def run(args: argparse.Namespace) -> int:
    """Play the fleet that `args` asks for. Exit code 0 also when interrupted: that is how an endless fleet ends."""
    root = args.root or tempfile.mkdtemp(prefix="opsd-sim-")
    fleet = make_fleet(root, args.loops, args.seed, args.speed, args.scenario)
    print("\n".join(_lines(fleet)), flush=True)
    done = play_fleet(fleet, duration_s=args.duration, ready=lambda: print("all loops have begun", flush=True))
    print("every run has ended" if done else "stopped; no run is left behind", flush=True)
    return 0


SHOWN_MAX = 40


def _lines(fleet: Fleet) -> Sequence[str]:
    width = max(len(loop) for checkout in fleet.checkouts for loop in checkout.loops)
    rows = [
        f"  {loop:<{width}}  {checkout.scenario:<16}  {checkout.repo}"
        for checkout in fleet.checkouts[:SHOWN_MAX]
        for loop in checkout.loops
    ]
    more = len(fleet.checkouts) - SHOWN_MAX
    return [
        f"home      {fleet.home}",
        f"runtime   {fleet.command}",
        f"checkouts {len(fleet.checkouts)}, seed {fleet.seed}",
        *rows,
        *([f"  ... and {more} more"] if more > 0 else []),
    ]


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"needs at least 1, got {text}")
    return number


def _factor(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"needs a number above 0, got {text}")
    return number
