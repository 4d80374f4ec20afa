"""Histories that nobody would write by hand: logs and trees, orderly in the large and odd in the small."""

from typing import Any

from hypothesis import strategies as st

from opsd.model.observation import Artifact, Artifacts
from opsd.model.runtime import EventLine, LoopConfig, Presence, Timeouts, UsageCheck
from tests.core.builders import (
    LOOP,
    RUN_ID,
    a_state,
    a_summary,
    an_active_run,
    an_approval,
    an_event,
    on_file,
    stamp,
)

EVENT_NAMES = [
    "loop_start",
    "iteration_start",
    "role_start",
    "role_end",
    "tests_start",
    "tests_end",
    "tests_rerun_end",
    "gates_evaluated",
    "iteration_end",
    "loop_complete",
    "loop_stop",
    "no_progress_stop",
    "role_timeout",
    "delegation_fail_role",
    "rate_limit_stop",
    "usage_limit_blocked",
    "approval_requested",
    "approval_decision",
    "approval_consumed",
    "approval_rejected",
    "approval_wait",
    "recovery_blocked",
    "recovery_executed",
    "promise_checked",
]
RUN_IDS = [RUN_ID, stamp(100), stamp(200)]

_PAYLOADS: st.SearchStrategy[dict[str, Any] | None] = st.one_of(
    st.none(),
    st.fixed_dictionaries({"status": st.sampled_from(["ok", "failed", "skipped"])}),
    st.fixed_dictionaries({"reason": st.sampled_from(["stuck", "max_iterations", "\u202eodd"])}),
    st.fixed_dictionaries({"max_iterations": st.sampled_from([0, 3, "three"])}),
    st.just({"info": {"resets_in": 60, "message": "slow down"}}),
)


def logs() -> st.SearchStrategy[list[EventLine]]:
    """Up to 20 events of three runs: missing, repeated, out of time, of nobody; often with a run at work after them."""
    anything = st.builds(
        an_event,
        st.sampled_from(EVENT_NAMES),
        st.integers(0, 999),
        run_id=st.sampled_from([None, "unknown", *RUN_IDS]),
        iteration=st.integers(0, 3),
        role=st.sampled_from([None, "tester"]),
        status=st.sampled_from([None, "error", "timeout"]),
        data=_PAYLOADS,
    )
    at_work = st.builds(_at_work, st.integers(0, 999), st.sampled_from(["role_start", "tests_start", "iteration_end"]))
    return st.builds(list.__add__, st.lists(anything, max_size=20), st.just([]) | at_work)


def _at_work(after_s: int, last: str) -> list[EventLine]:
    return [
        an_event("loop_start", after_s, run_id=RUN_IDS[-1]),
        an_event("iteration_start", after_s + 1, run_id=RUN_IDS[-1]),
        an_event(last, after_s + 2, run_id=RUN_IDS[-1], role="tester" if last == "role_start" else None),
    ]


def trees() -> st.SearchStrategy[Artifacts]:
    """Any of the small files, there or not, agreeing or not; this loop's or another's."""
    when = st.integers(0, 999)
    loops = st.sampled_from([LOOP, LOOP, "other"])
    absent: st.SearchStrategy[Artifact[Any]] = st.sampled_from([Artifact(), Artifact(Presence.SETTLING)])
    config = LoopConfig(timeouts=Timeouts(enabled=True, tester=600), usage_check=UsageCheck(wait_on_limit=True))
    runs = st.sampled_from(RUN_IDS)
    return st.builds(
        Artifacts,
        state=absent | st.builds(a_state, when, active=st.booleans(), loop_id=loops),
        active_run=absent | st.builds(an_active_run, when, loop_id=loops),
        summary=absent | st.builds(a_summary, when, run_id=runs, complete=st.booleans()),
        approval=absent
        | absent
        | absent
        | st.builds(an_approval, when, status=st.sampled_from(["pending", "approved", "rejected"]), run_id=runs),
        config=st.sampled_from([Artifact(), on_file(config)]),
    )
