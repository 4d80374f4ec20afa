"""(a) From an appended event to what the API shows and what lies on disk, at a steady rate over all loops;
(f) what the API and `opsctl` answer meanwhile.

The writer, the reader of the feed, the reader of the disk and the asker are four processes, and none is the daemon.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from benchmarks.arrivals import latencies_ms, sightings_of
from benchmarks.cases.case import Outcome, Plan
from benchmarks.child import Child, found
from benchmarks.daemon import Daemon
from benchmarks.figures import Figure, figure, percentile
from benchmarks.fleet import BYTES_PER_LOOP, FILES_PER_LOOP, Fleet, make_fleet
from benchmarks.observer import ObserverTask, Sighting
from benchmarks.prober import Answer, ProberTask
from benchmarks.runtime import RuntimeTask, Stamp
from benchmarks.sampler import top
from benchmarks.scratch import part
from benchmarks.usage import Memory, cpu_s, memory
from benchmarks.watcher import WatcherTask, pictures

SIZES = (100, 1_000, 5_000)
LIMITED_AT = 1_000
"""The number of loops for which limits are set."""
WARM_UP_S = 5.0
GRACE_S = 5.0
"""How long after the last event its verdict may still come; later is never."""
ASKED_PER_S = 20.0
COLD_STARTS = 12
QUIET_S = 3.0


class _Heard(NamedTuple):
    """What the processes around the daemon found, and what the daemon used, within the measured window."""

    stamps: Sequence[Stamp]
    seen: Sequence[Sighting]
    stored: Sequence[Sighting]
    answers: Sequence[Answer]
    quiet_ms: Sequence[float]
    """Whole `opsctl status` processes before the load began."""
    cold_ms: Sequence[float]
    """The same during the load."""
    cpu_percent: float
    memory: Memory
    harness_percent: float
    passes: float


def measure(plan: Plan) -> Outcome:
    rate = 200.0 if plan.quick else 1_000.0
    seconds = plan.seconds or (5.0 if plan.quick else 20.0)
    sizes = (plan.loops,) if plan.loops else (100,) if plan.quick else SIZES
    outcomes = []
    for loops in sizes:
        folder = part(plan.scratch, f"live-{loops}", size_bytes=loops * BYTES_PER_LOOP, files=loops * FILES_PER_LOOP)
        profile_file = os.path.join(folder, "profile") if plan.profile else None
        heard = _load(make_fleet(folder, loops, [("steady", "iteration-1")]), folder, rate, seconds, profile_file)
        profile = top(profile_file) if profile_file else ""
        outcomes.append(Outcome(tuple(_figures(loops, rate, heard)), _details(loops, heard), profile))
    return Outcome(
        tuple(one for outcome in outcomes for one in outcome.figures),
        {name: value for outcome in outcomes for name, value in outcome.details.items()},
        "\n\n".join(outcome.profile for outcome in outcomes if outcome.profile),
    )


def _load(fleet: Fleet, folder: str, rate: float, seconds: float, profile_file: str | None) -> _Heard:
    """Put the load on a daemon, and gather what was found once it is over."""
    events = int(rate * (WARM_UP_S + seconds))
    stamps, pieces, sightings, answers = (os.path.join(folder, name) for name in ("w", "r", "d", "q"))
    with ExitStack() as stack:
        runtime = stack.enter_context(Child("runtime", RuntimeTask(fleet.roles, stamps, rate, events), folder))
        runtime.hear("ready", within_s=300)
        daemon = stack.enter_context(Daemon(fleet, folder, profile_file=profile_file))
        daemon.wait_for_picture(len(fleet.roles))
        fleet.wait_for_files(within_s=60)
        watching = (
            stack.enter_context(Child("watcher", WatcherTask(daemon.socket, pieces), folder)),
            stack.enter_context(Child("observer", ObserverTask(fleet.folders(), sightings), folder)),
            stack.enter_context(
                Child("prober", ProberTask(daemon.socket, _targets(fleet), ASKED_PER_S, answers), folder)
            ),
        )
        for child in watching:
            child.hear("ready", within_s=30)
        quiet_ms = _cold_starts(daemon.socket, (time.monotonic(), time.monotonic() + QUIET_S))

        begin_s = time.monotonic() + 0.5
        runtime.say(str(int(begin_s * 1e9)))
        window_s = (begin_s + WARM_UP_S, begin_s + WARM_UP_S + seconds)
        pids = [runtime.pid, *(child.pid for child in watching)]
        _sleep_until(window_s[0])
        daemon.profile_from_now()
        before_s, others_s = cpu_s(daemon.pid), sum(map(cpu_s, pids))
        passes_before = daemon.metric("opsd_passes_total")
        cold_ms = _cold_starts(daemon.socket, window_s)
        _sleep_until(window_s[1])
        took_s = time.monotonic() - window_s[0]
        cpu_percent = 100 * (cpu_s(daemon.pid) - before_s) / took_s
        harness_percent = 100 * (sum(map(cpu_s, pids)) - others_s) / took_s
        passes = daemon.metric("opsd_passes_total") - passes_before
        used = memory(daemon.pid)
        runtime.hear("done", within_s=seconds + 60)
        _sleep_until(time.monotonic() + GRACE_S)
        for child in watching:
            child.stop()

    written = found(stamps, list[Stamp])
    return _Heard(
        [stamp for stamp in written if window_s[0] <= stamp.at_ns / 1e9 < window_s[1]],
        sightings_of(pictures(found(pieces, list[tuple[int, bytes]])), written),
        found(sightings, list[Sighting]),
        [answer for answer in found(answers, list[Answer]) if window_s[0] <= answer.due_ns / 1e9 < window_s[1]],
        quiet_ms,
        cold_ms,
        cpu_percent,
        used,
        harness_percent,
        passes,
    )


def _targets(fleet: Fleet) -> tuple[str, ...]:
    """One loop after the other, and now and then the whole fleet."""
    loops = [f"/v1/loops/{role.loop_id}" for role in fleet.roles[:9]]
    return (*loops, "/v1/fleet")


def _cold_starts(socket: str, window_s: tuple[float, float]) -> list[float]:
    """Milliseconds of whole `opsctl status` processes, spread over the window."""
    took_ms = []
    every_s = (window_s[1] - window_s[0]) / COLD_STARTS
    for number in range(COLD_STARTS):
        _sleep_until(window_s[0] + number * every_s)
        took_ms.append(opsctl_status_ms(socket))
    return took_ms


def opsctl_status_ms(socket: str) -> float:
    words = [os.path.join(os.path.dirname(sys.executable), "opsctl"), "--socket", socket, "status", "-o", "json"]
    begin_s = time.perf_counter()
    # The exit status tells the fleet's health, which is not the question here; that it answered is.
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    took_ms = (time.perf_counter() - begin_s) * 1e3
    if not done.stdout.startswith(b"{"):
        raise RuntimeError(f"opsctl status answered {done.returncode}: {done.stderr.decode()}")
    return took_ms


def _sleep_until(due_s: float) -> None:
    time.sleep(max(0.0, due_s - time.monotonic()))


def _figures(loops: int, rate: float, heard: _Heard) -> Sequence[Figure]:
    seen, stored = latencies_ms(heard.stamps, heard.seen), latencies_ms(heard.stamps, heard.stored)
    whole = [_ms(answer) for answer in heard.answers if answer.target == "/v1/fleet"]
    single = [_ms(answer) for answer in heard.answers if answer.target != "/v1/fleet"]
    at = f"{loops:,} loops, {rate:,.0f} events/s"
    limited = loops == LIMITED_AT

    def limit(value: float) -> float | None:
        return value if limited else None

    return (
        figure("a", f"event → seen by a watcher of the API, p50 ({at})", percentile(seen, 0.5), "ms"),
        figure("a", "the same, p99", percentile(seen, 0.99), "ms", at_most=limit(60)),
        figure("a", "event → state file on disk, p50", percentile(stored, 0.5), "ms"),
        figure("a", "the same, p99", percentile(stored, 0.99), "ms", at_most=limit(250)),
        figure("a", "CPU of the daemon, share of one core", heard.cpu_percent, "%", at_most=limit(30)),
        figure("a", "memory of the daemon, at most", heard.memory.peak_mb, "MB", at_most=limit(120)),
        figure(
            "f",
            "status of a loop over the socket during the load, p99",
            percentile(single, 0.99),
            "ms",
            at_most=limit(10),
        ),
        figure("f", "status of the whole fleet during the load, p99", percentile(whole, 0.99), "ms"),
        figure(
            "f",
            "`opsctl status -o json` from the shell, quiet, median",
            statistics.median(heard.quiet_ms),
            "ms",
            at_most=limit(60),
        ),
        figure("f", "the same during the load", statistics.median(heard.cold_ms), "ms"),
    )


def _ms(answer: Answer) -> float:
    return float("inf") if answer.took_ms is None else answer.took_ms


def _details(loops: int, heard: _Heard) -> dict[str, float | None]:
    late_ms = [stamp.late_ns / 1e6 for stamp in heard.stamps]
    return {
        f"{name} at {loops}": value
        for name, value in {
            "events": float(len(heard.stamps)),
            "never seen": float(sum(map(_lost, latencies_ms(heard.stamps, heard.seen)))),
            "never stored": float(sum(map(_lost, latencies_ms(heard.stamps, heard.stored)))),
            "writer late p99 ms": percentile(late_ms, 0.99),
            "passes per event": heard.passes / len(heard.stamps),
            "answers": float(len(heard.answers)),
            "memory now MB": heard.memory.now_mb,
            "CPU of the other processes %": heard.harness_percent,
        }.items()
    }


def _lost(latency_ms: float) -> bool:
    return latency_ms == float("inf")
