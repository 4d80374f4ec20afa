"""After a restart opsd goes on from what its files say, however they came to lie there, and tells nothing twice."""

import errno
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from opsd.app.restore import Restored, restore
from opsd.disk import Disk
from opsd.model.effects import Document, Journal
from opsd.model.intent import QUIET, Intent, IntentKind, IntentStatus
from opsd.model.run import LoopRef
from opsd.store.commit import LoopCommit
from opsd.store.faults import StoreFault
from opsd.store.layout import Layout
from opsd.store.load import LastControl
from opsd.store.store import Store
from opsd.transports.tail import Limits
from tests.app.desk import LOOP, Desk
from tests.doubles.files import FaultyFiles, MemoryFiles
from tests.faults.fleet import START, Manager, lay_down_from
from tests.simulation.machine import Killed, Machine
from tests.store.examples import LOOP as INTENT_LOOP
from tests.store.examples import NOW
from tests.store.intents import TOLD, WORKED, an_intent, commits_of, life_of, must_be_told, told_ids
from tests.transports.trees import Table

BAD_LINE = b"Segmentation fault\n"
WRITTEN_IN_THEIR_OWN_TIME = {Document.HEARTBEAT, Document.PROFILE_DRIFT}
"""With the next beat that there is, and with the next sample."""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_log_that_was_cut_and_grew_while_opsd_was_down_is_read_anew_though_the_cursor_lagged(desk: Desk) -> None:
    """The cursor on disk may lag behind the fold; what was cut away behind it would look untouched."""
    whole = desk.log.read_bytes()
    lines = whole.splitlines(keepends=True)
    desk.log.write_bytes(b"".join(lines[:2]))
    manager = desk.start()
    desk.look(manager)
    with desk.log.open("ab") as log:
        log.write(b"".join(lines[2:9]))
    run, _ = desk.look(manager)
    assert json.loads(desk.file(Document.CURSOR).read_bytes())["eventLineOffset"] < run.fold.line

    desk.log.write_bytes(b"".join(lines[:2]) + lines[-1] * 4)
    run, _ = desk.look(desk.start())

    assert (run.fold.event_count, run.fold.line) == (6, 6)


def test_a_sequence_document_that_is_a_pass_ahead_of_the_fold_is_no_drift(desk: Desk) -> None:
    """A kill between the two documents leaves them so."""
    manager = desk.start()
    desk.look(manager)
    sequence = json.loads(desk.file(Document.SEQUENCE).read_bytes())
    sequence["lastKnownEvent"] += 7
    sequence["events"]["last"] = sequence["lastKnownEvent"]
    sequence["snapshot"]["current"] += 7
    desk.file(Document.SEQUENCE).write_text(json.dumps(sequence), encoding="utf-8")
    with desk.log.open("ab") as log:
        log.write(desk.log.read_bytes().splitlines(keepends=True)[-1])

    run, told = desk.look(desk.start())

    assert told == []
    assert run.sequence is not None
    assert not run.sequence.drift_active


@pytest.mark.parametrize("how", ["removed", "emptied", "half there"])
@pytest.mark.parametrize("document", [each for each in Document if each not in WRITTEN_IN_THEIR_OWN_TIME])
def test_a_document_that_is_lost_is_written_again_by_the_first_pass(document: Document, how: str, desk: Desk) -> None:
    """Others read it too, and a finished loop may never change again."""
    desk.look(desk.start())
    path = desk.file(document)
    if how == "removed":
        path.unlink()
    else:
        path.write_bytes(b"" if how == "emptied" else path.read_bytes()[:40])

    run, told = desk.look(desk.start())

    assert told == []
    assert json.loads(path.read_bytes())["schemaVersion"] == "v1"
    assert run.sequence is not None
    assert not run.sequence.drift_active


def test_after_the_hosts_restart_what_was_never_flushed_is_not_believed(desk: Desk) -> None:
    """Documents are not flushed, and a power cut may leave old halves of them: the log is read again."""
    known, _ = desk.look(desk.start("before"))
    state = json.loads(desk.file(Document.STATE).read_bytes())
    state["memory"]["fold"]["eventCount"] += 5
    desk.file(Document.STATE).write_text(json.dumps(state), encoding="utf-8")

    run, told = desk.look(desk.start("after"))

    assert run.fold == known.fold
    assert told == []


def test_a_replay_finds_a_known_bad_line_that_is_no_news_any_more(desk: Desk) -> None:
    with desk.log.open("ab") as log:
        log.write(BAD_LINE)
    manager = desk.start()
    first, _ = desk.look(manager)
    desk.now += timedelta(hours=1)
    (replayed,) = manager.look_and_commit(desk.now, from_start=True)

    rows = manager.store.rows(LOOP, Journal.QUARANTINE, limit=10).rows
    assert replayed.run.fold.quarantined_count == 1
    assert replayed.run.quarantined_at == first.quarantined_at
    assert len(rows) == 1


def test_a_journal_whose_maker_was_killed_before_it_flushed_the_names_above_keeps_what_is_promised_later(
    tmp_path: Path,
) -> None:
    """A file may be flushed again and again, and still be gone with the power if its name never was."""
    repo, home = tmp_path / "checkout", "/srv/home"
    now = lay_down_from(START, "approval", repo, loop_id=LOOP, until=None) + timedelta(seconds=5)
    machine = Machine(MemoryFiles(home), Disk(), f"{home}/.superloop/ops-manager")

    def manager(at: datetime) -> Manager:
        return Manager(home, [LoopRef(LOOP, str(repo))], at, Table(), machine, "boot")

    machine.kill_at(4, torn=False)  # the folder and the journal are made; the next call would flush the journal
    with pytest.raises(Killed):
        manager(now).look_and_commit(now)
    machine.heal()
    approval = repo / ".superloop/loops" / LOOP / "approval.json"
    request = json.loads(approval.read_bytes())
    approval.write_text(json.dumps(request | {"requested_at": "2026-11-21T02:00:00Z"}), encoding="utf-8")
    later = manager(now)
    (result,) = later.look_and_commit(now + timedelta(hours=2))
    assert result.decision is not None
    told = [row.id for row in result.decision.escalations]
    assert told

    machine.lose_power(None)

    (stored,) = manager(now).store.load([LOOP], now)
    assert set(told) & {one.id for one in stored.open_escalations}


def test_a_replay_that_was_interrupted_by_a_failed_look_and_a_kill_is_begun_again(desk: Desk) -> None:
    """What a failed look writes has the fold from before the replay, and the cursor from within it."""
    slices = Limits(lines_per_pass=4)
    whole = desk.log.read_bytes()
    lines = whole.count(b"\n")
    manager = desk.start()
    desk.look(manager)
    manager = desk.start(limits=slices)
    manager.look_and_commit(desk.now, from_start=True)
    desk.log.unlink()
    desk.log.mkdir()
    desk.look(manager)
    desk.log.rmdir()
    desk.log.write_bytes(whole)

    manager = desk.start(limits=slices)
    while desk.look(manager)[0].fold.line < lines:
        pass

    assert manager.runs[0].fold.event_count == lines


# Intents


CONFIRMED = life_of(an_intent(1, kind=IntentKind.PAUSE), *WORKED, IntentStatus.CONFIRMED)
AMBIGUOUS = life_of(an_intent(2), *WORKED, IntentStatus.AMBIGUOUS)


def _home_with(steps: list[Intent], *, told: bool = True) -> MemoryFiles:
    """Without `told`, a crash kept the rows of the last step from the files that others read."""
    files = MemoryFiles("/srv/app")
    store = Store(Layout("/srv/app"), files)
    *before, last = commits_of(steps)
    for commit in before:
        store.commit([commit], NOW)
    store.commit([last if told else LoopCommit(INTENT_LOOP, last.effects[:1])], NOW)
    return files


def _restored(files: MemoryFiles | FaultyFiles) -> tuple[Restored, list[StoreFault]]:
    (loop,), faults = restore(Store(Layout("/srv/app"), files), [LoopRef(INTENT_LOOP, "/srv/app")], NOW)
    return loop, faults


def test_a_restart_knows_what_is_open_and_who_paused_the_run() -> None:
    loop, faults = _restored(_home_with([*CONFIRMED, *AMBIGUOUS]))

    assert (loop.intents, faults) == ((CONFIRMED[-1], AMBIGUOUS[-1]), [])
    control = loop.run.control
    assert (control.last_status, control.last_is_ours) == ("ambiguous", True)
    assert [one.id for one in control.ambiguous] == ["intent-2"]
    assert control.pause is not None
    assert control.pause.intent_id == "intent-1"
    assert loop.last_control == LastControl("ambiguous", ours=True)


def test_a_restart_leaves_an_intent_that_was_being_carried_out_as_it_was() -> None:
    """What it did is a question of evidence, and of the desk's."""
    loop, _ = _restored(_home_with(AMBIGUOUS[:2]))

    assert loop.intents == (AMBIGUOUS[1],)
    assert loop.run.control.in_flight is not None
    assert loop.last_control == LastControl()


def test_what_a_crash_kept_from_others_is_told_by_the_restart_and_counts_as_the_last() -> None:
    files = _home_with([*CONFIRMED, *AMBIGUOUS], told=False)

    loop, faults = _restored(files)

    assert loop.last_control == LastControl("ambiguous", ours=True)
    assert loop.run.control.last_status == "ambiguous"
    assert {fault.path.rpartition("/")[2] for fault in faults} == {
        "intents.jsonl",
        "control.jsonl",
        "control-invocations.jsonl",
    }
    assert [must_be_told([*CONFIRMED, *AMBIGUOUS], journal) for journal in TOLD] == [
        told_ids(Layout("/srv/app"), files, journal) for journal in TOLD
    ]
    again, faults = _restored(files)
    assert (again.last_control, faults) == (loop.last_control, [])


def test_what_the_disk_still_refuses_is_handed_to_who_writes_next() -> None:
    files = FaultyFiles(_home_with(AMBIGUOUS, told=False))
    files.fail("append", errno.ENOSPC)

    loop, faults = _restored(files)

    assert [append.journal for append in loop.untold] == list(TOLD)
    assert {fault.code for fault in faults} == {"store_unwritable"}
    assert loop.last_control == LastControl("ambiguous", ours=True)


@pytest.mark.parametrize("file", ["intent-log.jsonl", "/intents.jsonl", "control.jsonl", "control-invocations.jsonl"])
def test_what_cannot_be_read_of_intents_leaves_everything_as_it_is(file: str) -> None:
    files = FaultyFiles(_home_with(AMBIGUOUS, told=False))
    files.fail("read", errno.EIO, path=file)

    loop, _ = _restored(files)

    assert loop.unread is not None
    assert file in loop.unread
    assert not {what for what, _ in files.calls} & {"append", "replace", "truncate", "rename"}
    files.heal()
    loop, _ = _restored(files)
    assert loop.unread is None
    assert loop.last_control == LastControl("ambiguous", ours=True)


def test_a_loop_that_was_never_asked_anything_costs_a_restart_one_stat() -> None:
    files = FaultyFiles(MemoryFiles("/srv/app"))

    loop, _ = _restored(files)

    assert loop.run.control == QUIET
    assert [what for what, path in files.calls if "intent-log" in path or "control" in path] == ["stat"]
