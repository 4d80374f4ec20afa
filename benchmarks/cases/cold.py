"""(b) From the start of the daemon to a full picture of 1,000 loops that have a past.

Once as at the very first start, when all logs are read from their beginnings, and once after a restart.
"""

import os
import statistics

from benchmarks.cases.case import Outcome, Plan
from benchmarks.child import Child
from benchmarks.daemon import Daemon
from benchmarks.figures import figure
from benchmarks.fleet import BYTES_PER_LOOP, FILES_PER_LOOP, make_fleet
from benchmarks.runtime import RuntimeTask
from benchmarks.sampler import top
from benchmarks.scratch import part

RESTARTS = 3


def measure(plan: Plan) -> Outcome:
    loops = plan.loops or (100 if plan.quick else 1_000)
    folder = part(plan.scratch, "cold", size_bytes=loops * BYTES_PER_LOOP, files=loops * FILES_PER_LOOP)
    fleet = make_fleet(folder, loops, [("steady", "iteration-1"), ("complete", None)])
    profile_file = os.path.join(folder, "profile") if plan.profile else None
    with Child("runtime", RuntimeTask(fleet.roles, os.path.join(folder, "w")), folder) as runtime:
        runtime.hear("ready", within_s=300)
        with Daemon(fleet, folder, profile_file=profile_file) as daemon:
            first_s = daemon.wait_for_picture(loops)
            stored_s = fleet.wait_for_files(within_s=60) - daemon.started_s
        again_s = []
        for _ in range(RESTARTS):
            with Daemon(fleet, folder) as daemon:
                again_s.append(daemon.wait_for_picture(loops))
    profile = top(profile_file) if profile_file else ""
    return Outcome(
        (
            figure("b", f"first start → full picture of {loops:,} loops", first_s, "s", at_most=3),
            figure("b", "restart → full picture", statistics.median(again_s), "s", at_most=3),
        ),
        {"first start, all on disk s": stored_s, "restarts": float(RESTARTS)},
        profile,
    )
