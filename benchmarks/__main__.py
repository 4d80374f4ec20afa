"""The command line: which benchmarks to run, how large, and where the table and its JSON go.

Only a whole run at full size replaces the results kept in the repository, and with --docs the page's table.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from benchmarks.cases import cold, far, idle, increment, live, oneshot, replay, services
from benchmarks.cases.case import Outcome, Plan
from benchmarks.figures import Figure, Report, table
from benchmarks.machine import machine
from benchmarks.page import with_report
from benchmarks.scratch import ROOT, scratch

CASES: Mapping[str, tuple[str, Callable[[Plan], Outcome]]] = {
    "a": ("events under load (and f)", live.measure),
    "b": ("cold start", cold.measure),
    "c": ("replay of a long log", replay.measure),
    "d": ("a pass over a long log", increment.measure),
    "e": ("idle loops", idle.measure),
    "g": ("loops behind services", services.measure),
    "h": ("a long log through a service", far.measure),
    "i": ("one-shot commands", oneshot.measure),
}
HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS = os.path.join(HERE, "results", "latest.json")
PAGE = os.path.join(os.path.dirname(HERE), "docs", "performance.md")


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 however the targets fare: figures of a shared machine are for people to judge."""
    options = _parser().parse_args(arguments)
    letters = sorted({"a" if letter == "f" else letter for letter in options.cases or CASES})
    whole = letters == sorted(CASES) and not (options.quick or options.loops or options.seconds or options.profile)
    figures: list[Figure] = []
    details = {}
    with scratch(options.scratch) as folder:
        plan = Plan(folder, options.quick, options.loops, options.seconds, options.profile)
        for letter in letters:
            what, measure = CASES[letter]
            print(f"({letter}) {what} ...", file=sys.stderr, flush=True)
            outcome = measure(plan)
            figures += outcome.figures
            details[letter] = outcome.details
            if outcome.profile:
                print(outcome.profile)
    now = datetime.now(UTC).strftime("%Y-%m-%d")
    report = Report(now, not whole, machine(options.scratch), tuple(figures), details)
    print(table(report.figures))
    out = options.out or (RESULTS if whole else os.path.join(tempfile.gettempdir(), "opsd-bench.json"))
    with open(out, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    print(f"\nall of it: {out}")
    if options.docs:
        _rewrite(PAGE, report)
    return 0


def _rewrite(page: str, report: Report) -> None:
    with open(page, encoding="utf-8") as file:
        text = file.read()
    with open(page, "w", encoding="utf-8") as file:
        file.write(with_report(text, report))


def _letter(text: str) -> str:
    if text not in (*CASES, "f"):
        raise argparse.ArgumentTypeError(f"{text!r} is no case; there are {', '.join([*CASES, 'f'])}")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = ", ".join(f"{letter}: {what}" for letter, (what, _) in CASES.items())
    # Python 3.11 would refuse the empty default if `choices` were given.
    parser.add_argument("cases", nargs="*", metavar="CASE", type=_letter, help=f"default: all. {known}")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works; no figure to quote")
    parser.add_argument("--loops", type=int, metavar="N", help="this many loops in a, b, e and g")
    parser.add_argument("--seconds", type=float, metavar="S", help="measure for so long in a, e and g")
    parser.add_argument("--profile", action="store_true", help="sample the daemon, and print where its CPU time went")
    parser.add_argument("--scratch", default=ROOT, metavar="DIR", help=f"a folder on disk to work in (default {ROOT})")
    parser.add_argument("--out", metavar="FILE", help="where the JSON goes (default: beside the kept results, or /tmp)")
    parser.add_argument("--docs", action="store_true", help="also put the table into docs/performance.md")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
