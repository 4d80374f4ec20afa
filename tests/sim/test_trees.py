"""Trees laid down at once: they end when they were told to, and at the moment they were told."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opsd.sim.scenarios import SCENARIOS
from opsd.sim.trees import lay_down

AT = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
LOOP = Path(".superloop/loops/demo-loop")


def events(repo: Path, loop_id: str = "demo-loop") -> list[dict[str, str]]:
    text = (repo / ".superloop/loops" / loop_id / "events.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_in_a_tree_is_younger_than_it_was_told_to_be(scenario: str, tmp_path: Path) -> None:
    """A reader with `now = at` must never see the future, nor wonder about a file that changed later."""
    loops = lay_down(scenario, tmp_path, at=AT)

    stamps = [event["timestamp"] for loop_id in loops for event in events(tmp_path, loop_id)]
    assert max(stamps) <= "2026-11-21T12:00:00Z"
    assert stamps == sorted(stamps)
    for file in (tmp_path / ".superloop").rglob("*"):
        assert file.is_dir() or file.stat().st_mtime <= AT.timestamp() + 0.001


def test_a_tree_ends_exactly_at_the_given_second(tmp_path: Path) -> None:
    lay_down("complete", tmp_path, at=AT)

    assert json.loads((tmp_path / ".superloop/state.json").read_text())["updated_at"] == "2026-11-21T12:00:00Z"


@pytest.mark.parametrize(
    ("scenario", "until", "last_event", "approval", "active"),
    [
        ("approval", None, "approval_requested", "pending", False),
        ("approved", "pending", "approval_requested", "pending", False),
        ("approved", "2-still-pending", "approval_wait", "pending", False),
        ("approved", "3-approved", "approval_decision", "approved", False),
        ("approved", "complete", "loop_complete", None, False),
        ("rejected", "2-rejected", "approval_decision", "rejected", False),
        ("rejected", None, "approval_requested", "pending", False),
        ("killed", "running", "role_start", None, True),
        ("killed", "2-killed", "role_start", None, True),
        ("killed", "4-complete", "loop_complete", None, False),
        ("role-error", None, "role_start", None, True),
        ("steady", "iteration-5", "iteration_end", None, True),
    ],
)
def test_a_tree_stands_where_the_recordings_stood(
    scenario: str, until: str | None, last_event: str, approval: str | None, active: bool, tmp_path: Path
) -> None:
    lay_down(scenario, tmp_path, at=AT, until=until)

    assert events(tmp_path)[-1]["event"] == last_event
    state = json.loads((tmp_path / ".superloop/state.json").read_text())
    assert state["active"] is active
    request = tmp_path / LOOP / "approval.json"
    assert (json.loads(request.read_text())["status"] if request.exists() else None) == approval


def test_cancelling_leaves_neither_state_nor_active_run_nor_an_event(tmp_path: Path) -> None:
    """Only absence shows it: the last event stays the role's start."""
    lay_down("cancelled", tmp_path, at=AT)

    assert not (tmp_path / ".superloop/state.json").exists()
    assert not (tmp_path / ".superloop/active-run.json").exists()
    assert events(tmp_path)[-1]["event"] == "role_start"


def test_equal_seeds_lay_down_equal_trees(tmp_path: Path) -> None:
    def tree(repo: Path) -> dict[str, bytes]:
        return {str(file.relative_to(repo)): file.read_bytes() for file in repo.rglob("*") if file.is_file()}

    repo = tmp_path / "repo"
    lay_down("rejected", repo, at=AT)
    first = tree(repo)
    lay_down("rejected", repo, at=AT)

    assert tree(repo) == first


def test_an_unknown_moment_is_refused_and_the_known_ones_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"never comes to 'apporved'.*still-pending"):
        lay_down("approved", tmp_path, at=AT, until="apporved")
    with pytest.raises(ValueError, match="no scenario named 'complet'"):
        lay_down("complet", tmp_path, at=AT)
