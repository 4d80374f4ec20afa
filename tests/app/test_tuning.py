"""What follows from a loop's telemetry, pass by pass, over restarts and kills, on files as they come to lie there."""

import errno
import json
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from opsd.core.reconcile import Rules
from opsd.disk import Disk
from opsd.model.effects import Append, Document, Journal
from opsd.model.oneshot import DriftOptions
from opsd.model.run import LoopRef
from opsd.model.thresholds import Thresholds
from opsd.ports import Files
from tests.app.desk import AT_WORK, LOOP, PID, Desk
from tests.doubles.files import FaultyFiles, MemoryFiles
from tests.faults.fleet import START, Manager, lay_down_from
from tests.simulation.machine import Killed, Machine

EAGER = DriftOptions(min_confidence="low", required_streak=3, summary_window=5)
RULES = Rules("", telemetry_interval_s=1.0, drift=EAGER)
"""Every look is a sample, and a healthy loop's third speaks for `strict` once too often."""
STRICT = replace(RULES, thresholds=Thresholds(profile="strict"))


class Tuned(Desk):
    """A desk whose manager's drift is looked at."""

    def begin(self, rules: Rules = RULES, files: Files | None = None) -> Manager:
        self.now += timedelta(seconds=1)
        loops = [LoopRef(LOOP, str(self.repo))]
        return Manager(str(self.home), loops, self.now, AT_WORK, files or Disk(), "boot", rules=rules)

    def sample(self, manager: Manager, times: int = 1) -> list[str]:
        """The profile drift that so many passes told of."""
        told = []
        for _ in range(times):
            told += [category for category in self.look(manager)[1] if category.startswith("profile_drift")]
        return told

    def document(self, document: Document) -> Any:
        return json.loads(self.file(document).read_bytes())

    def journal(self, journal: Journal) -> Path:
        return self.home / ".superloop/ops-manager" / LOOP / journal.value

    def rows(self, journal: Journal) -> list[Any]:
        return [json.loads(line) for line in self.journal(journal).read_bytes().splitlines()]

    @property
    def status(self) -> str:
        return str(self.document(Document.PROFILE_DRIFT)["status"])


@pytest.fixture
def desk(tmp_path: Path) -> Tuned:
    return Tuned(tmp_path)


def test_drift_is_told_with_the_sample_that_makes_it_active_and_never_again(desk: Tuned) -> None:
    manager = desk.begin()

    assert [desk.sample(manager) for _ in range(5)] == [[], [], ["profile_drift_detected"], [], []]
    assert [row["drift"]["status"] for row in desk.rows(Journal.PROFILE_DRIFT)] == [
        *["mismatch_pending"] * 2,
        *["drift_active"] * 3,
    ]
    assert len(desk.rows(Journal.RECONCILE)) == 5
    assert desk.document(Document.PROFILE_DRIFT) == desk.rows(Journal.PROFILE_DRIFT)[-1]["drift"]


def test_the_row_has_the_contracts_members_and_ours(desk: Tuned) -> None:
    desk.sample(desk.begin(), 3)

    (row,) = desk.rows(Journal.ESCALATIONS)
    folder = f"{desk.home}/.superloop/ops-manager/{LOOP}"
    assert row["stateFile"] == f"{folder}/state.json"
    assert row["driftStateFile"] == f"{folder}/profile-drift.json"
    assert row["driftHistoryFile"] == f"{folder}/telemetry/profile-drift.jsonl"
    assert (row["transport"], row["traceId"], row["reasonCode"]) == ("local", "trace", "profile_drift_detected")
    drift = desk.document(Document.PROFILE_DRIFT)
    members = ("status", "appliedProfile", "recommendedProfile", "recommendationConfidence", "mismatchStreak")
    assert row["drift"] == {name: drift[name] for name in (*members, "requiredStreak", "action", "rationale")}
    assert "severity" not in row
    assert (row["onset"], row["since"]) == (f"{drift['mismatchSince'].removesuffix('Z')}+00:00", drift["mismatchSince"])
    assert "strict" in row["summary"]


def test_the_state_of_the_very_pass_tells_of_both(desk: Tuned) -> None:
    manager = desk.begin()
    desk.sample(manager, 2)

    state = desk.document(Document.STATE)
    assert state["drift"] == desk.document(Document.PROFILE_DRIFT) | {"traceId": "trace"}
    assert state["tuning"]["telemetrySummary"]["observed"]["reconcileAttempts"] == 2
    assert (state["tuning"]["appliedProfile"], state["tuning"]["recommendedProfile"]) == ("balanced", "strict")
    assert state["tuning"]["summaryWindow"] == state["tuning"]["telemetrySummary"]["source"]["window"] == 5


def test_a_change_between_samples_is_no_evidence_and_keeps_what_the_state_says_of_drift(desk: Tuned) -> None:
    manager = desk.begin(replace(RULES, telemetry_interval_s=3600.0))
    desk.sample(manager)
    before = desk.document(Document.STATE)
    with desk.log.open("ab") as log:
        log.write(b"Segmentation fault\n")

    desk.sample(manager)

    assert [row["sample"] for row in desk.rows(Journal.RECONCILE)] == [True, False]
    after = desk.document(Document.STATE)
    assert after["cursor"] != before["cursor"]
    assert (after["drift"], after["tuning"]) == (before["drift"], before["tuning"])
    assert len(desk.rows(Journal.PROFILE_DRIFT)) == 1


def test_its_end_is_told_once_and_names_what_ended(desk: Tuned) -> None:
    manager = desk.begin()
    desk.sample(manager, 3)
    manager.passes.rules = replace(STRICT, home=str(desk.home), boot_id="boot")

    assert desk.sample(manager, 3) == ["profile_drift_detected_resolved"]
    began, ended = desk.rows(Journal.ESCALATIONS)
    assert (ended["resolves"], ended["onset"], ended["severity"]) == (began["id"], began["onset"], "info")
    assert desk.status == "aligned"


def test_a_restart_goes_on_counting_and_tells_nothing_twice(desk: Tuned) -> None:
    told = [category for _ in range(6) for category in desk.sample(desk.begin())]

    assert told == ["profile_drift_detected"]
    assert desk.status == "drift_active"


@pytest.mark.parametrize("size", [1, 3, 5, 50])
def test_a_window_that_is_carried_along_is_the_one_on_disk(desk: Tuned, size: int) -> None:
    rules = replace(RULES, drift=replace(EAGER, summary_window=size))
    manager = desk.begin(rules)
    control = desk.journal(Journal.CONTROL)
    for number in range(7):
        if number == 3:
            with desk.journal(Journal.RECONCILE).open("ab") as journal:
                journal.write(b"\x00\n\n[]\n")
            manager = desk.begin(rules)
        if number in (4, 5):
            control.parent.mkdir(parents=True, exist_ok=True)
            with control.open("ab") as journal:
                journal.write(b'{"status":"ambiguous"}\n')
        desk.sample(manager)
    observed = desk.document(Document.STATE)["tuning"]["telemetrySummary"]["observed"]
    assert observed["control"]["ambiguousCount"] == min(size, 2)

    again = desk.begin(rules)
    desk.sample(again)
    desk.sample(manager)  # it knows nothing of the other, and has read nothing since

    read, held = again.runs[0].window, manager.runs[0].window
    assert read is not None
    assert held is not None
    assert len(read.places) == min(size, 8 + 3)
    assert read.places == held.places
    assert read.controls == held.controls


def test_a_torn_line_of_telemetry_ends_no_drift(desk: Tuned) -> None:
    desk.sample(desk.begin(), 3)
    with desk.journal(Journal.RECONCILE).open("ab") as journal:
        journal.write(b'{"timestamp":"2026-11-2\n')

    assert desk.sample(desk.begin(), 3) == []
    assert desk.status == "drift_active"
    assert desk.document(Document.STATE)["tuning"]["telemetrySummary"]["observed"]["unreadableRows"] == 1


def test_a_journal_that_cannot_be_read_ends_no_drift(desk: Tuned) -> None:
    desk.sample(desk.begin(), 3)
    files = FaultyFiles(Disk())
    unreadable = files.fail("read", errno.EIO, path="telemetry/reconcile.jsonl")

    (result,) = desk.begin(files=files).look(desk.now + timedelta(seconds=1))

    assert unreadable.fired
    assert result.decision is not None
    assert Journal.RECONCILE in [each.journal for each in result.decision.effects if isinstance(each, Append)]
    assert Journal.PROFILE_DRIFT not in [each.journal for each in result.decision.effects if isinstance(each, Append)]
    assert result.run.drift is not None
    assert result.run.drift.drift_active


def test_an_ambiguous_act_is_seen_although_the_journal_was_read_before(desk: Tuned) -> None:
    manager = desk.begin()
    desk.sample(manager, 3)
    control = desk.journal(Journal.CONTROL)
    control.write_bytes(b'{"status":"confirmed"}\n{"status":"ambiguous"}\n')

    assert desk.sample(manager) == ["profile_drift_detected_resolved"]
    assert desk.document(Document.STATE)["tuning"]["recommendedProfile"] == "balanced"


def test_failed_looks_are_evidence_too(desk: Tuned) -> None:
    manager = desk.begin()
    desk.sample(manager, 2)
    desk.log.unlink()
    desk.log.mkdir()

    desk.sample(manager)

    state = desk.document(Document.STATE)
    assert state["tuning"]["telemetrySummary"]["observed"]["reconcileFailedCount"] == 1
    assert (state["tuning"]["recommendedProfile"], state["drift"]["mismatchStreak"]) == ("relaxed", 3)


def test_a_catalog_with_names_of_its_own_has_no_drift_and_breaks_no_pass(desk: Tuned) -> None:
    own = replace(RULES, drift=replace(EAGER, profiles=("fast", "slow")))

    assert desk.sample(desk.begin(own), 4) == []
    assert desk.status == "no_recommendation"


@pytest.mark.parametrize("how", ["removed", "emptied", "half there", "odd"])
def test_without_its_document_the_streak_begins_anew_and_the_open_drift_ends(desk: Tuned, how: str) -> None:
    desk.sample(desk.begin(), 3)
    path = desk.file(Document.PROFILE_DRIFT)
    whole = path.read_bytes()
    path.unlink()
    if how != "removed":
        path.write_bytes({"emptied": b"", "half there": whole[:60], "odd": b'{"mismatchStreak":"2"}'}[how])
    manager = desk.begin()

    assert desk.sample(manager, 3) == ["profile_drift_detected_resolved", "profile_drift_detected"]
    assert len({row["id"] for row in desk.rows(Journal.ESCALATIONS)}) == 3


def test_drift_that_another_manager_told_of_is_not_told_again(desk: Tuned) -> None:
    """Its rows have no ids; its document says that it is active."""
    path = desk.file(Document.PROFILE_DRIFT)
    desk.sample(desk.begin(), 3)
    drift = {name: value for name, value in json.loads(path.read_bytes()).items() if name != "mismatchSince"}
    for each in desk.file(Document.STATE).parent.rglob("*.json*"):
        each.unlink()
    path.write_text(json.dumps(drift), encoding="utf-8")
    desk.journal(Journal.ESCALATIONS).write_bytes(b'{"category":"profile_drift_detected","loopId":"loop"}\n')

    assert desk.sample(desk.begin(), 2) == []
    assert (desk.status, desk.document(Document.PROFILE_DRIFT)["mismatchStreak"]) == ("drift_active", 5)


def test_a_kill_at_any_write_of_any_sample_tells_of_drift_once(tmp_path: Path) -> None:
    repo, home = tmp_path / "checkout", "/srv/home"
    at = lay_down_from(START, "steady", repo, loop_id=LOOP, until="iteration-2", pid=PID)
    kills = 0
    for calls in range(1, 200):
        machine = Machine(MemoryFiles(home), Disk(), f"{home}/.superloop/ops-manager")
        machine.kill_at(calls, torn=bool(calls % 2))
        now, killed = at, False
        begin = partial(
            Manager, home, [LoopRef(LOOP, str(repo))], processes=AT_WORK, files=machine, boot_id="boot", rules=RULES
        )
        manager: Manager | None = None
        for _ in range(7):
            now += timedelta(seconds=2)
            try:
                manager = manager or begin(now=now)
                manager.look_and_commit(now)
            except Killed:
                machine.heal()
                manager, killed = None, True
        manager = begin(now=now)
        rows = [json.loads(row) for row in manager.store.rows(LOOP, Journal.ESCALATIONS, limit=99).rows]
        drift = [row for row in rows if row["category"].startswith("profile_drift")]
        assert [row["category"] for row in drift] == ["profile_drift_detected"], f"killed at call {calls}"
        assert manager.runs[0].drift is not None
        assert manager.runs[0].drift.drift_active
        assert [one.id for one in manager.runs[0].open_escalations] == [drift[0]["id"]]
        kills += killed
        if not killed:
            break
    assert kills == calls - 1 > 20
