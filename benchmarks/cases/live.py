"""(a) From an appended event to what the API shows and what lies on disk, at a steady rate over all loops;
(f) what the API and `opsctl` answer under the same load, in a second part of it.

The writer, the reader of the feed, the reader of the disk and the asker are four processes, and none is the daemon.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from benchmarks.arrivals import latencies_ms, sightings_of
from benchmarks.cases.case import Outcome, Plan, sleep_until
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


class _Span(NamedTuple):
    """A part of the load, in seconds of the monotonic clock."""

    begin_s: float
    end_s: float

    def holds(self, at_ns: int) -> bool:
        return self.begin_s <= at_ns / 1e9 < self.end_s


class _Use(NamedTuple):
    """What was used within a span: by the daemon, and by the processes around it."""

    cpu_percent: float
    others_percent: float
    passes: float
    memory: Memory


class _Heard(NamedTuple):
    """What the processes around the daemon found in the two parts of the load, and what the daemon used in them."""

    stamps: Sequence[Stamp]
    """Of the first part, in which nobody asks."""
    seen: Sequence[Sighting]
    stored: Sequence[Sighting]
    use: _Use
    answers: Sequence[Answer]
    asked_use: _Use
    quiet_ms: Sequence[float]
    """Whole `opsctl status` processes before the load began."""
    loaded_ms: Sequence[float]
    """The same in the second part."""


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
    events = int(rate * (WARM_UP_S + 2 * seconds))
    stamps, pieces, sightings, answers = (os.path.join(folder, name) for name in ("w", "r", "d", "q"))
    with ExitStack() as stack:
        runtime = stack.enter_context(Child("runtime", RuntimeTask(fleet.roles, stamps, rate, events), folder))
        runtime.hear("ready", within_s=300)
        daemon = stack.enter_context(Daemon(fleet, folder, profile_file=profile_file))
        daemon.wait_for_picture(len(fleet.roles))
        fleet.wait_for_files(within_s=60)
        quiet_ms = _cold_starts(daemon.socket, _Span(time.monotonic(), time.monotonic() + QUIET_S))
        watcher = stack.enter_context(Child("watcher", WatcherTask(daemon.socket, pieces), folder))
        observer = stack.enter_context(Child("observer", ObserverTask(fleet.folders(), sightings), folder))
        asking = ProberTask(daemon.socket, _targets(fleet), ASKED_PER_S, answers)
        prober = stack.enter_context(Child("prober", asking, folder))
        others = (runtime, watcher, observer, prober)
        for child in others[1:]:
            child.hear("ready", within_s=30)

        begin_s = time.monotonic() + 0.5
        runtime.say(str(int(begin_s * 1e9)))
        watched = _Span(begin_s + WARM_UP_S, begin_s + WARM_UP_S + seconds)
        asked = _Span(watched.end_s, watched.end_s + seconds)
        sleep_until(watched.begin_s)
        daemon.profile_from_now()
        with _measured(daemon, others) as use:
            sleep_until(watched.end_s)
        prober.say("begin")
        with _measured(daemon, others) as asked_use:
            loaded_ms = _cold_starts(daemon.socket, asked)
            sleep_until(asked.end_s)
        runtime.hear("done", within_s=seconds + 60)
        sleep_until(time.monotonic() + GRACE_S)
        for child in (watcher, observer, prober):
            child.stop()

    written = found(stamps, list[Stamp])
    return _Heard(
        stamps=[stamp for stamp in written if watched.holds(stamp.at_ns)],
        seen=sightings_of(pictures(found(pieces, list[tuple[int, bytes]])), written),
        stored=found(sightings, list[Sighting]),
        use=use[0],
        answers=[answer for answer in found(answers, list[Answer]) if asked.holds(answer.due_ns)],
        asked_use=asked_use[0],
        quiet_ms=quiet_ms,
        loaded_ms=loaded_ms,
    )


@contextmanager
def _measured(daemon: Daemon, others: Sequence[Child]) -> Iterator[list[_Use]]:
    """What is used while the block lasts is the list's one entry once it is over."""
    use: list[_Use] = []
    begin_s, passes = time.monotonic(), daemon.metric("opsd_passes_total")
    before_s, others_s = cpu_s(daemon.pid), sum(cpu_s(child.pid) for child in others)
    yield use
    took_s = time.monotonic() - begin_s
    use.append(
        _Use(
            cpu_percent=100 * (cpu_s(daemon.pid) - before_s) / took_s,
            others_percent=100 * (sum(cpu_s(child.pid) for child in others) - others_s) / took_s,
            passes=daemon.metric("opsd_passes_total") - passes,
            memory=memory(daemon.pid),
        )
    )


def _targets(fleet: Fleet) -> tuple[str, ...]:
    """One loop after the other, and now and then the whole fleet."""
    loops = [f"/v1/loops/{role.loop_id}" for role in fleet.roles[:9]]
    return (*loops, "/v1/fleet")


def _cold_starts(socket: str, span: _Span) -> list[float]:
    """Milliseconds of whole `opsctl status` processes, spread over the span."""
    took_ms = []
    for number in range(COLD_STARTS):
        sleep_until(span.begin_s + number * (span.end_s - span.begin_s) / COLD_STARTS)
        took_ms.append(_opsctl_status_ms(socket))
    return took_ms


def _opsctl_status_ms(socket: str) -> float:
    words = [os.path.join(os.path.dirname(sys.executable), "opsctl"), "--socket", socket, "status", "-o", "json"]
    begin_s = time.perf_counter()
    # The exit status tells the fleet's health, which is not the question here; that it answered is.
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    took_ms = (time.perf_counter() - begin_s) * 1e3
    if not done.stdout.startswith(b"{"):
        raise RuntimeError(f"opsctl status answered {done.returncode}: {done.stderr.decode()}")
    return took_ms


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
        figure("a", "CPU of the daemon, share of one core", heard.use.cpu_percent, "%", at_most=limit(30)),
        figure("a", "memory of the daemon, at most", heard.asked_use.memory.peak_mb, "MB", at_most=limit(120)),
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
        figure("f", "the same during the load", statistics.median(heard.loaded_ms), "ms"),
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
            "passes per event": heard.use.passes / len(heard.stamps),
            "answers": float(len(heard.answers)),
            "memory now MB": heard.asked_use.memory.now_mb,
            "CPU while asked %": heard.asked_use.cpu_percent,
            "CPU of the other processes %": heard.use.others_percent,
        }.items()
    }


def _lost(latency_ms: float) -> bool:
    return latency_ms == float("inf")
