"""After a restart opsd goes on from what its files say, however they came to lie there, and tells nothing twice."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from opsd.disk import Disk
from opsd.model.effects import Document, Journal
from opsd.model.run import LoopRef
from opsd.transports.tail import Limits
from tests.app.desk import LOOP, Desk
from tests.doubles.files import MemoryFiles
from tests.faults.fleet import START, Manager, lay_down_from
from tests.simulation.machine import Killed, Machine
from tests.transports.trees import Table

BAD_LINE = b"Segmentation fault\n"


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
@pytest.mark.parametrize("document", [each for each in Document if each is not Document.HEARTBEAT])
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
