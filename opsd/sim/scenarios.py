"""Which scenarios there are and how a run behaves in each: one literal table, nothing else.

The order of a run's steps is in `opsd.sim.script`; what operators do around the runs is in `opsd.sim.story`.
"""

from typing import NamedTuple


class Behaviour(NamedTuple):
    """How the runs of a scenario go. The defaults are an uneventful run.

    promise_in: the iteration that gives the promise (0: never). ending: what befalls the implementer of the first
    iteration (`timeout`, `rate-limit`, `usage-limit`, `kill`, `stall`, `cancel`) or its tester (`error`), in the
    checkout's first run only where `once` is set.
    """

    promise_in: int = 2
    max_iterations: int = 4
    approval: bool = False
    tests_ok: bool = True
    changes: bool = True
    open_items: int = 0
    stuck_threshold: int = 3
    timeout_s: int = 0
    lifecycle_ok: bool = True
    recovery: bool = False
    torn: bool = False
    rotated: bool = False
    two_loops: bool = False
    ending: str = ""
    once: bool = False


SCENARIOS: dict[str, Behaviour] = {
    "complete": Behaviour(),
    "approval": Behaviour(promise_in=1, approval=True),
    "approved": Behaviour(promise_in=1, approval=True),
    "rejected": Behaviour(promise_in=1, approval=True),
    "cancelled": Behaviour(promise_in=1, ending="cancel", once=True),
    "killed": Behaviour(promise_in=1, ending="kill", once=True),
    "stuck": Behaviour(promise_in=0, changes=False),
    "no-progress": Behaviour(promise_in=0, changes=False, open_items=1),
    "max-iterations": Behaviour(promise_in=0, max_iterations=2, stuck_threshold=0),
    "tests-failing": Behaviour(promise_in=1, max_iterations=2, tests_ok=False),
    "role-timeout": Behaviour(ending="timeout", timeout_s=300),
    "role-error": Behaviour(ending="error"),
    "rate-limited": Behaviour(ending="rate-limit", timeout_s=900),
    "usage-limited": Behaviour(ending="usage-limit"),
    "lifecycle-failed": Behaviour(lifecycle_ok=False),
    "two-loops": Behaviour(promise_in=1, two_loops=True),
    "silent-stall": Behaviour(ending="stall"),
    "torn-lines": Behaviour(torn=True),
    "rotated": Behaviour(promise_in=3, rotated=True),
    "recovery": Behaviour(promise_in=0, max_iterations=2, tests_ok=False, recovery=True),
    "steady": Behaviour(promise_in=0, max_iterations=0),
}


def behaviour_of(scenario: str) -> Behaviour:
    """The scenario's row. Raises ValueError naming the known ones for an unknown name."""
    if scenario not in SCENARIOS:
        raise ValueError(f"no scenario named {scenario!r}; there are {', '.join(SCENARIOS)}")
    return SCENARIOS[scenario]


def loops_of(scenario: str, loop_id: str) -> tuple[str, ...]:
    """The loops that a checkout of this scenario holds: `loop_id`, and a second one in `two-loops`."""
    return (loop_id, f"{loop_id}-docs") if behaviour_of(scenario).two_loops else (loop_id,)
