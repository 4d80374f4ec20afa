"""Scripts are pure: a seed fixes every step, and what no recording shows follows the contract's tables."""

import itertools
import json
from collections.abc import Iterator

import pytest

from opsd.sim.part import Part
from opsd.sim.pen import WRITE_BYTES_MAX
from opsd.sim.scenarios import SCENARIOS, loops_of
from opsd.sim.script import look, run_script
from opsd.sim.steps import Append, Document, Exit, Mark, Rename, Step, Truncate
from opsd.sim.tree import MemoryTree

LOG = ".superloop/loops/demo-loop/events.jsonl"


def script(part: Part, tree: MemoryTree | None = None, only: str | None = "demo-loop") -> Iterator[Step]:
    """The first run's steps of a part, from the same moment each time."""
    loops = loops_of(part.scenario, "demo-loop")
    return run_script(
        part,
        repo="/srv/repo",
        loop_ids=loops,
        only=only,
        found=look(tree or MemoryTree(), loops),
        pid=7,
        pgid=7,
        start_s=1.8e9,
    )


def told(part: Part) -> list[Document]:
    """The events of a part's first run."""
    text = "".join(step.op.text for step in script(part) if isinstance(step.op, Append) and step.op.path == LOG)
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_seed_alone_decides(scenario: str) -> None:
    def steps(seed: int) -> list[Step]:
        return list(itertools.islice(script(Part(scenario=scenario, seed=seed)), 300))

    assert steps(3) == steps(3)
    assert steps(3) != steps(4)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_steps_never_go_back_in_time(scenario: str) -> None:
    times = [step.at_s for step in itertools.islice(script(Part(scenario=scenario)), 300)]

    assert times == sorted(times)


def test_speed_shortens_life_but_not_the_moment_of_emptiness() -> None:
    slow, fast = (list(script(Part(speed=speed, gap_s=0.5))) for speed in (1.0, 1e9))

    gaps = sum(isinstance(step.op, Truncate) for step in slow)
    assert fast[-1].at_s < 0.5 * (gaps + 10)
    assert fast[-1].at_s > 0.5 * (gaps - 10)
    assert slow[-1].at_s > 200


def test_steady_goes_on_for_ever() -> None:
    marks = (step.op.name for step in script(Part(scenario="steady")) if isinstance(step.op, Mark))

    assert "iteration-40" in itertools.islice(marks, 50)


def test_silence_is_a_step_that_nobody_lives_to_see() -> None:
    *_, last = script(Part(scenario="silent-stall"))

    assert isinstance(last.op, Exit)
    assert last.at_s > 365 * 86_400


def test_torn_lines_come_in_several_writes_and_some_are_long() -> None:
    """A reader must see final lines without their end, of both kinds: short ones cut anywhere, long ones at 4096."""
    writes = [
        step.op.text
        for step in script(Part(scenario="torn-lines"))
        if isinstance(step.op, Append) and step.op.path == LOG
    ]
    lines = "".join(writes).splitlines()

    assert sum(not text.endswith("\n") for text in writes) > 5
    assert max(map(len, lines)) > WRITE_BYTES_MAX >= max(map(len, writes))
    assert [json.loads(line)["event"] for line in lines].count("pre_commit_executed") == 2


def test_a_rotated_log_is_cut_once_and_moved_away_once() -> None:
    ops = [step.op for step in script(Part(scenario="rotated"))]

    assert len([op for op in ops if isinstance(op, Truncate) and op.path == LOG]) == 1
    assert [op.to for op in ops if isinstance(op, Rename)] == [LOG + ".1"]


def test_recovery_mends_the_first_failure_and_escalates_the_second() -> None:
    events = told(Part(scenario="recovery"))

    names = [event["event"] for event in events]
    mended = names.index("recovery_proposed")
    assert names[mended - 1 : mended + 5] == [
        "tests_end",
        "recovery_proposed",
        "recovery_approved",
        "recovery_executed",
        "tests_rerun_start",
        "tests_rerun_end",
    ]
    assert names.count("recovery_proposed") == 2
    escalated = events[names.index("recovery_escalated")]["data"]
    assert isinstance(escalated, dict)
    assert escalated.keys() == {"command", "category", "confidence", "reason"}


@pytest.mark.parametrize(
    ("scenario", "event", "status", "members"),
    [
        ("usage-limited", "usage_limit_blocked", "error", {"runner", "role", "action"}),
        ("lifecycle-failed", "loop_stop", None, {"reason", "status", "audit_file", "output_file"}),
        ("role-timeout", "role_timeout", "timeout", {"role", "timeout_seconds"}),
    ],
)
def test_unrecorded_endings_have_the_contracts_members(
    scenario: str, event: str, status: str | None, members: set[str]
) -> None:
    last = told(Part(scenario=scenario))[-1]

    assert (last["event"], last.get("status")) == (event, status)
    assert isinstance(last["data"], dict)
    assert last["data"].keys() == members


def test_an_active_state_refuses_the_same_loop_but_not_another() -> None:
    """The runtime checks the loop named in the state, never whether anyone is behind it."""
    tree = MemoryTree()
    tree.files[".superloop/state.json"] = '{"active": true, "current_loop_id": "demo-loop"}'

    same, every = (list(script(Part(scenario="two-loops"), tree, only)) for only in ("demo-loop", None))
    other = list(script(Part(scenario="two-loops"), tree, "demo-loop-docs"))

    assert [type(step.op) for step in same] == [Exit]
    assert [type(step.op) for step in every] == [Exit]
    assert other[-1].op == Exit(0, "Loop 'demo-loop-docs' complete.")


def test_a_stuck_loop_is_refused_without_an_event() -> None:
    tree = MemoryTree()
    tree.files[".superloop/loops/demo-loop/stuck.json"] = '{"streak": 3}'

    steps = list(script(Part(scenario="stuck"), tree))

    last = steps[-1].op
    assert isinstance(last, Exit)
    assert last.code == 1
    assert not [step for step in steps if isinstance(step.op, Append) and step.op.path == LOG]
