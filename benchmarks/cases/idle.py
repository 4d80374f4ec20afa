"""(e) What 10,000 loops cost while nothing happens: half have a live process that is silent, half have ended.

All trees are whole. The window is as long as the interval of regular samples, so that each running loop has its share
of them in it.
"""

import os
import time

from benchmarks.cases.case import Outcome, Plan
from benchmarks.child import Child
from benchmarks.daemon import Daemon
from benchmarks.figures import figure
from benchmarks.fleet import BYTES_PER_LOOP, FILES_PER_LOOP, make_fleet
from benchmarks.runtime import RuntimeTask
from benchmarks.sampler import top
from benchmarks.scratch import part
from benchmarks.usage import cpu_s, memory

SETTLE_S = 20.0
SILENCE_S = 4 * 3600


def measure(plan: Plan) -> Outcome:
    loops = plan.loops or (500 if plan.quick else 10_000)
    seconds = plan.seconds or (10.0 if plan.quick else 60.0)
    settle_s = 3.0 if plan.quick else SETTLE_S
    folder = part(plan.scratch, "idle", size_bytes=loops * BYTES_PER_LOOP, files=loops * FILES_PER_LOOP)
    fleet = make_fleet(folder, loops, [("steady", "running"), ("complete", None)])
    profile_file = os.path.join(folder, "profile") if plan.profile else None
    task = RuntimeTask(fleet.roles, os.path.join(folder, "w"), silence_s=SILENCE_S)
    with Child("runtime", task, folder) as runtime:
        runtime.hear("ready", within_s=600)
        with Daemon(fleet, folder, profile_file=profile_file) as daemon:
            daemon.wait_for_picture(loops, within_s=300)
            fleet.wait_for_files(within_s=300)
            time.sleep(settle_s)
            daemon.profile_from_now()
            begin_s, before_s = time.monotonic(), cpu_s(daemon.pid)
            time.sleep(seconds)
            percent = 100 * (cpu_s(daemon.pid) - before_s) / (time.monotonic() - begin_s)
            used = memory(daemon.pid)
    profile = top(profile_file) if profile_file else ""
    return Outcome(
        (
            figure("e", f"CPU of the daemon over {loops:,} idle loops, share of one core", percent, "%", at_most=2),
            figure("e", "memory of the daemon, now", used.now_mb, "MB", at_most=300),
        ),
        {"peak MB": used.peak_mb, "seconds": seconds},
        profile,
    )
