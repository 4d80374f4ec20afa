"""(i) One-shot commands from the exec of their script to its exit, beside a Python that does nothing.

The commands and the bare interpreter take turns, so that whatever else the machine does befalls all alike.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.cases.case import Outcome, Plan
from benchmarks.figures import figure, percentile
from benchmarks.moves import Life
from benchmarks.scratch import part

LOOP = "asked-about"
_SCRIPTS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "scripts")
_BARE = "python3 -c pass"


def measure(plan: Plan) -> Outcome:
    """Medians in milliseconds, and what they are of the bare interpreter's."""
    rounds = 5 if plan.quick else 30
    repo = part(plan.scratch, "oneshot", size_bytes=1_000_000, files=100)
    Life(repo, LOOP, "steady", pid=os.getpid(), start_s=time.time()).lay_down("iteration-1")
    flags = ("--repo", repo, "--loop", LOOP)
    commands = {
        _BARE: (sys.executable, "-c", "pass"),
        "reconcile": (f"{_SCRIPTS}/ops-manager-reconcile.sh", *flags),
        "status": (f"{_SCRIPTS}/ops-manager-status.sh", *flags),
        "loop-run-snapshot": (f"{_SCRIPTS}/ops-manager-loop-run-snapshot.sh", *flags),
    }
    took_ms: dict[str, list[float]] = {name: [] for name in commands}
    for words in commands.values():
        _timed(words)  # compiled modules and the disk's cache are there from then on
    for _ in range(rounds):
        for name, words in commands.items():
            took_ms[name].append(_timed(words))
    limits = {"reconcile": 120.0, "status": 80.0}
    figures = [figure("i", f"`{_BARE}`, median", statistics.median(took_ms[_BARE]), "ms")]
    for name in list(commands)[1:]:
        what = {"reconcile": "a pass with nothing new (`reconcile`)", "status": "`status`"}.get(name, f"`{name}`")
        figures.append(figure("i", f"{what}, median", statistics.median(took_ms[name]), "ms", at_most=limits.get(name)))
        ratio = statistics.median(mine / bare for mine, bare in zip(took_ms[name], took_ms[_BARE], strict=True))
        figures.append(figure("i", "the same, of a bare interpreter", ratio, "x"))
    details: dict[str, float | None] = {f"{name}P90Ms": percentile(values, 0.9) for name, values in took_ms.items()}
    return Outcome(tuple(figures), {"rounds": float(rounds), **details})


def _timed(words: Sequence[str]) -> float:
    """Milliseconds from exec to exit. Without a time limit, since waiting under one looks at the child only at times.

    Raises:
        CalledProcessError: it failed, and a figure of a failure means nothing.
    """
    begin_s = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begin_s) * 1e3
