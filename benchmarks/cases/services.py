"""(g) A thousand loops behind services: how soon a change in a sprite is seen at the manager, and what asking costs it.

Each loop has an address, a token and connections of its own. Services, writer and reader of the feed are processes
beside the manager; the services are the product's own code, many to a process (`benchmarks.sprites`).
"""

import os
import time
from collections.abc import Sequence

from benchmarks.arrivals import latencies_ms, sightings_of
from benchmarks.cases.case import Outcome, Plan, sleep_until
from benchmarks.child import Child, found
from benchmarks.daemon import Daemon
from benchmarks.figures import Figure, figure, percentile
from benchmarks.fleet import BYTES_PER_LOOP, FILES_PER_LOOP
from benchmarks.runtime import RuntimeTask, Stamp
from benchmarks.sampler import top
from benchmarks.scratch import part
from benchmarks.served import make_served_fleet
from benchmarks.usage import cpu_s, memory
from benchmarks.watcher import WatcherTask, pictures

WARM_UP_S = 5.0
GRACE_S = 10.0
"""How long after the last event it may still be seen; later is never."""


def measure(plan: Plan) -> Outcome:
    loops = plan.loops or (40 if plan.quick else 1_000)
    rate = 20.0 if plan.quick else 100.0
    seconds = plan.seconds or (5.0 if plan.quick else 20.0)
    # Twice: the manager's files and those of the processes that serve.
    size_bytes, files = 2 * loops * BYTES_PER_LOOP, 2 * loops * FILES_PER_LOOP
    folder = part(plan.scratch, "services", size_bytes=size_bytes, files=files)
    profile_file = os.path.join(folder, "profile") if plan.profile else None
    made = make_served_fleet(folder, loops, [("steady", "iteration-1")])
    stamps_file, pieces_file = os.path.join(folder, "w"), os.path.join(folder, "r")
    events = int(rate * (WARM_UP_S + seconds))
    with Child("runtime", RuntimeTask(made.fleet.roles, stamps_file, rate, events), folder) as runtime:
        runtime.hear("ready", within_s=300)
        with (
            made.served(folder) as serving,
            Daemon(made.fleet, folder, profile_file=profile_file, flags=made.flags) as daemon,
        ):
            full_s = daemon.wait_for_picture(loops)
            with Child("watcher", WatcherTask(daemon.socket, pieces_file), folder) as watcher:
                watcher.hear("ready", within_s=30)
                begin_s = time.monotonic() + 0.5
                runtime.say(str(int(begin_s * 1e9)))
                sleep_until(begin_s + WARM_UP_S)
                daemon.profile_from_now()
                measured_s, passes = time.monotonic(), daemon.metric("opsd_passes_total")
                before_s, serving_s = cpu_s(daemon.pid), sum(cpu_s(child.pid) for child in serving)
                sleep_until(begin_s + WARM_UP_S + seconds)
                took_s = time.monotonic() - measured_s
                percent = 100 * (cpu_s(daemon.pid) - before_s) / took_s
                serving_percent = 100 * (sum(cpu_s(child.pid) for child in serving) - serving_s) / took_s
                passes = daemon.metric("opsd_passes_total") - passes
                runtime.hear("done", within_s=seconds + 60)
                sleep_until(time.monotonic() + GRACE_S)
                used = memory(daemon.pid)
                watcher.stop()

    written = found(stamps_file, list[Stamp])
    stamps = [stamp for stamp in written if stamp.at_ns / 1e9 >= begin_s + WARM_UP_S]
    seen_ms = latencies_ms(stamps, sightings_of(pictures(found(pieces_file, list[tuple[int, bytes]])), written))
    return Outcome(
        _figures(loops, rate, seen_ms, percent, used.peak_mb, full_s),
        {
            "events": float(len(stamps)),
            "never seen": float(sum(latency == float("inf") for latency in seen_ms)),
            "writer late p99 ms": percentile([stamp.late_ns / 1e6 for stamp in stamps], 0.99),
            "passes per event": passes / len(stamps),
            "CPU of the services %": serving_percent,
            "memory now MB": used.now_mb,
        },
        top(profile_file) if profile_file else "",
    )


def _figures(
    loops: int, rate: float, seen_ms: Sequence[float], percent: float, peak_mb: float, full_s: float
) -> tuple[Figure, ...]:
    at = f"{loops:,} services, {rate:,.0f} events/s"
    return (
        figure("g", f"event in a sprite → seen by a watcher of the API, p50 ({at})", percentile(seen_ms, 0.5), "ms"),
        figure("g", "the same, p99", percentile(seen_ms, 0.99), "ms"),
        figure("g", "CPU of the daemon, share of one core", percent, "%"),
        figure("g", "memory of the daemon, at most", peak_mb, "MB"),
        figure("g", f"first start → full picture of {loops:,} services", full_s, "s"),
    )
