"""The local transport: one observation per loop, whatever its folder looks like, and never at a neighbour's cost."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opsd.disk import Disk
from opsd.model.ids import LoopId
from opsd.model.observation import Malformed, Observation, ProcessSighting, Seen, Unreachable, UnreachableCause
from opsd.model.run import LoopRef
from opsd.model.runtime import Presence
from opsd.ports import Ask, FileStat
from opsd.transports.local import LocalTransport
from tests.transports.trees import LOOP, RUN, Checkout, CountingDisk, Table, aged, cursor_after, event, real_now


def a_transport(files: Disk | None = None, table: Table | None = None) -> LocalTransport:
    return LocalTransport(files or Disk(), table or Table())


def look(transport: LocalTransport, checkout: Checkout, *asks: Ask) -> Observation:
    [found] = transport.observe(list(asks) or [Ask(checkout.ref, None)], real_now())
    return found


def seen(found: Observation) -> Seen:
    assert isinstance(found, Seen), found
    return found


def unreachable(found: Observation) -> Unreachable:
    assert isinstance(found, Unreachable), found
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_loop_is_seen_with_its_events_files_and_process(checkout: Checkout) -> None:
    checkout.append(event("loop_start") + event("role_start"))
    checkout.runs(pid=20031)
    table = Table({20031: ProcessSighting.ALIVE})
    transport = a_transport(table=table)

    first = seen(look(transport, checkout))
    checkout.append(event("role_end") + b"bad\n")
    second = seen(look(transport, checkout, Ask(checkout.ref, cursor_after(first))))

    assert [e.name for e in first.events] == ["loop_start", "role_start"]
    assert first.process is ProcessSighting.ALIVE
    assert table.asked[0] == (20031, datetime(2026, 11, 21, 1, 38, 44, tzinfo=UTC))
    assert [e.name for e in second.events] == ["role_end"]
    assert (list(second.lines), second.line_offset, len(second.quarantined)) == ([3], 4, 1)
    assert second.last_raw == event("role_end").strip()


def test_answers_come_in_the_order_of_the_asks(tmp_path: Path) -> None:
    """One broken neighbour of each kind among them."""
    names = ["a", "missing", "b", "folder", "c"]
    checkouts = {name: Checkout(tmp_path / name) for name in names}
    for name in ("a", "b", "c"):
        checkouts[name].append(event(name))
    checkouts["folder"].log.mkdir()

    found = a_transport().observe([Ask(checkouts[name].ref, None) for name in names], real_now())

    assert [answer.events[0].name if isinstance(answer, Seen) else "-" for answer in found] == ["a", "-", "b", "-", "c"]


def test_a_folder_without_a_log_is_missing(checkout: Checkout) -> None:
    found = unreachable(look(a_transport(), checkout))

    assert (found.cause, found.failure_code) == (UnreachableCause.ARTIFACTS_MISSING, "snapshot_unavailable")
    assert found.problem == f"required artifact missing: {checkout.log}"


def test_a_checkout_that_is_gone_is_missing(tmp_path: Path) -> None:
    [found] = a_transport().observe([Ask(LoopRef(LOOP, str(tmp_path / "nowhere")), None)], real_now())

    assert unreachable(found).cause is UnreachableCause.ARTIFACTS_MISSING


@pytest.mark.parametrize("named_by", ["state.json", "active-run.json"])
def test_a_run_that_just_starts_is_seen_before_its_first_event(checkout: Checkout, named_by: str) -> None:
    checkout.runs()
    for name in {"state.json", "active-run.json"} - {named_by}:
        (checkout.runtime / name).unlink()

    found = seen(look(a_transport(), checkout))

    assert (found.events, found.line_offset, found.stream) == ((), 0, None)


def test_a_log_deleted_under_a_run_keeps_the_position(checkout: Checkout) -> None:
    """So that the next log in its place is known to be another one."""
    checkout.append(event("a") * 2)
    checkout.runs()
    transport = a_transport()
    first = seen(look(transport, checkout))

    checkout.log.unlink()
    second = seen(look(transport, checkout, Ask(checkout.ref, cursor_after(first))))

    assert (second.line_offset, second.stream) == (2, first.stream)


def test_a_log_that_stays_away_is_missing_also_under_a_run(checkout: Checkout) -> None:
    """A loop with a summary has logged before; a rotation takes a moment, and who looks first knows of none."""
    checkout.append(event("loop_start"))
    checkout.runs(pid=20031)
    checkout.write("run-summary.json", {"version": 1, "entries": []})
    transport = a_transport()
    ask = Ask(checkout.ref, cursor_after(seen(look(transport, checkout))))
    checkout.log.unlink()

    at_once = look(transport, checkout, ask)
    [later] = transport.observe([ask], real_now() + timedelta(seconds=3))

    assert isinstance(at_once, Seen)
    assert unreachable(later).cause is UnreachableCause.ARTIFACTS_MISSING
    assert "required artifact missing" in unreachable(later).problem
    assert unreachable(look(a_transport(), checkout)).failure_code == "snapshot_unavailable"


def test_one_look_alone_takes_a_log_that_was_read_before_for_missing(checkout: Checkout) -> None:
    checkout.append(event("loop_start"))
    checkout.runs(pid=20031)
    ask = Ask(checkout.ref, cursor_after(seen(look(a_transport(), checkout))))
    checkout.log.unlink()

    [alone] = LocalTransport(Disk(), Table(), one_shot=True).observe([ask], real_now())

    assert unreachable(alone).failure_code == "snapshot_unavailable"
    assert isinstance(look(a_transport(), checkout, ask), Seen)


@pytest.mark.parametrize("kind", ["folder", "fifo", "link in a circle"])
def test_a_log_that_is_no_file_is_unreadable_and_never_waited_for(checkout: Checkout, kind: str) -> None:
    if kind == "folder":
        checkout.log.mkdir()
    elif kind == "fifo":
        os.mkfifo(checkout.log)
    else:
        checkout.log.symlink_to(checkout.log)

    found = unreachable(look(a_transport(), checkout))

    assert (found.cause, found.failure_code) == (UnreachableCause.ARTIFACTS_UNREADABLE, "events_unavailable")
    assert str(checkout.log) in found.problem


class Forbidden(Disk):
    """A disk on which one file may not be read: what a wrong owner looks like, for tests that run as root."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def read(self, path: str, offset: int, size_bytes: int) -> tuple[FileStat, bytes]:
        if path == self.path:
            raise PermissionError(13, "Permission denied", path)
        return super().read(path, offset, size_bytes)


def test_a_log_that_may_not_be_read_is_unreadable(checkout: Checkout) -> None:
    checkout.append(event())

    found = unreachable(look(a_transport(Forbidden(checkout.log)), checkout))

    assert (found.cause, found.failure_code) == (UnreachableCause.ARTIFACTS_UNREADABLE, "events_unavailable")
    assert found.problem == f"{checkout.log} cannot be read: Permission denied"


def test_a_small_file_that_may_not_be_read_costs_only_itself(checkout: Checkout) -> None:
    checkout.append(event())
    path = checkout.write("approval.json", {"status": "pending"})

    found = seen(look(a_transport(Forbidden(path)), checkout))

    assert found.artifacts.approval.presence is Presence.UNREADABLE
    assert found.artifacts.approval.problem == f"{path} cannot be read: Permission denied"
    assert len(found.events) == 1


class Broken(Disk):
    """A disk with a fault of its own, for one path."""

    def stat(self, path: str) -> FileStat | None:
        if "/broken/" in path:
            raise ZeroDivisionError("no such luck")
        return super().stat(path)


def test_an_error_nobody_thought_of_stays_with_its_loop(tmp_path: Path) -> None:
    good, bad = Checkout(tmp_path / "good"), Checkout(tmp_path / "broken")
    good.append(event())

    found = a_transport(Broken()).observe([Ask(bad.ref, None), Ask(good.ref, None)], real_now())

    assert "ZeroDivisionError: no such luck" in unreachable(found[0]).problem
    assert len(seen(found[1]).events) == 1


@pytest.mark.parametrize("what", ["folder", "log", "loops"])
def test_links_may_not_lead_out_of_the_checkout(tmp_path: Path, what: str) -> None:
    """Whoever may write into a checkout must not make us read, and show, what lies elsewhere."""
    outside = Checkout(tmp_path / "outside")
    outside.append(event("secret"))
    checkout = Checkout(tmp_path / "repo")
    inside, target = {
        "folder": (checkout.folder, outside.folder),
        "log": (checkout.log, outside.log),
        "loops": (checkout.runtime / "loops", outside.runtime / "loops"),
    }[what]
    if what == "loops":
        checkout.folder.rmdir()
    if what != "log":
        inside.rmdir()
    inside.symlink_to(target)

    found = unreachable(look(a_transport(), checkout))

    assert found.cause is UnreachableCause.ARTIFACTS_UNREADABLE
    assert "leads out of" in found.problem


def test_a_folder_that_becomes_a_link_outside_is_noticed(tmp_path: Path) -> None:
    outside, checkout = Checkout(tmp_path / "outside"), Checkout(tmp_path / "repo")
    outside.append(event("secret"))
    checkout.append(event("own"))
    transport = a_transport()
    seen(look(transport, checkout))

    checkout.folder.rename(tmp_path / "moved")
    checkout.folder.symlink_to(outside.folder)

    assert "leads out of" in unreachable(look(transport, checkout)).problem


def test_links_within_the_checkout_and_to_it_are_followed(tmp_path: Path) -> None:
    real = Checkout(tmp_path / "real")
    real.append(event("a"))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (real.runtime / "loops" / "alias").symlink_to(real.folder)

    [found] = a_transport().observe([Ask(LoopRef(LoopId("alias"), str(tmp_path / "link")), None)], real_now())

    assert [e.name for e in seen(found).events] == ["a"]


@pytest.mark.parametrize("loop_id", ["..", ".", "a/../../b", "", "nul\0byte", "fleet", "bell\x07", "x" * 200])
def test_an_unsafe_id_never_reaches_a_path(tmp_path: Path, loop_id: str) -> None:
    disk = CountingDisk()

    [found] = a_transport(disk).observe([Ask(LoopRef(LoopId(loop_id), str(tmp_path)), None)], real_now())

    assert "rename the loop" in unreachable(found).problem
    assert disk.stats == 0


def test_only_a_fresh_record_that_names_this_loop_is_asked_about(checkout: Checkout) -> None:
    """A kept value may name the run before, whose process is rightly gone."""
    checkout.append(event())
    table = Table()
    transport = a_transport(table=table)

    def process_with(active_run: object | None) -> ProcessSighting:
        if active_run is None:
            (checkout.runtime / "active-run.json").unlink(missing_ok=True)
        else:
            checkout.write("active-run.json", active_run)
        return seen(look(transport, checkout)).process

    assert process_with(None) is ProcessSighting.NONE
    assert process_with({"pid": 5, "loop_id": "other"}) is ProcessSighting.NONE
    assert process_with({"pid": 5, "loop_id": None}) is ProcessSighting.NONE
    assert process_with({"pid": "5", "loop_id": LOOP}) is ProcessSighting.UNKNOWN
    assert table.asked == []
    assert process_with({"pid": 5, "loop_id": LOOP, "updated_at": "yesterday"}) is ProcessSighting.ABSENT
    assert table.asked == [(5, None)]
    assert process_with(b"") is ProcessSighting.UNKNOWN
    assert len(table.asked) == 1


def test_an_end_that_files_show_is_never_seen_without_its_events(checkout: Checkout) -> None:
    """The runtime logs the end first and puts away its state after; looking in between must not read as a crash."""
    checkout.append(event("loop_start"))
    checkout.runs()

    class EndsWhileLookedAt(Table):
        def sighting(self, pid: int, begun_by: datetime | None) -> ProcessSighting:
            checkout.append(event("loop_complete"))
            return super().sighting(pid, begun_by)

    found = seen(look(a_transport(table=EndsWhileLookedAt()), checkout))

    assert found.process is ProcessSighting.ABSENT
    assert [e.name for e in found.events] == ["loop_start", "loop_complete"]


def test_the_newest_output_of_an_active_loops_iteration_is_told(checkout: Checkout) -> None:
    checkout.append(event())
    checkout.runs(iteration=2)
    logs = checkout.folder / "logs" / "iter-2"
    logs.mkdir(parents=True)
    old = checkout.folder / "logs" / "iter-9"
    old.mkdir()
    for path, at in ((logs / "planner.log", 100), (logs / "tester.log", 200), (logs / "errors.log", 300)):
        path.touch()
        os.utime(path, (at, at))
    (old / "planner.log").touch()  # of a run before, which went further

    active = seen(look(a_transport(), checkout)).last_output_at
    checkout.write("state.json", {"active": False, "iteration": 2, "current_loop_id": LOOP})
    finished = seen(look(a_transport(), checkout)).last_output_at

    assert active == datetime.fromtimestamp(200, UTC)
    assert finished is None


def test_an_unchanged_loop_is_looked_at_without_reading_anything(checkout: Checkout) -> None:
    checkout.append(event())
    checkout.write("state.json", {"active": False})
    for path in (checkout.log, checkout.runtime / "state.json"):
        aged(path)
    disk = CountingDisk()
    transport = a_transport(disk)
    first = seen(look(transport, checkout))
    disk.reads.clear()
    disk.stats = 0

    second = seen(look(transport, checkout, Ask(checkout.ref, cursor_after(first))))

    assert disk.reads == []
    assert disk.stats <= 12
    assert (second.events, second.artifacts, second.stream) == ((), first.artifacts, first.stream)


def test_a_forgotten_loop_starts_afresh(checkout: Checkout) -> None:
    checkout.append(event())
    checkout.runs()
    transport = a_transport()
    look(transport, checkout)

    checkout.write("state.json", b"")
    transport.forget(checkout.ref)
    transport.forget(checkout.ref)

    assert seen(look(transport, checkout)).artifacts.state.value is None


def test_nothing_of_the_runtimes_is_ever_written(checkout: Checkout) -> None:
    """Watching must not disturb the watched."""
    checkout.append(event() + b"torn")
    checkout.runs()
    before = {path: path.stat().st_mtime_ns for path in checkout.runtime.rglob("*")}

    found = look(a_transport(), checkout)

    assert not isinstance(found, Malformed)
    assert {path: path.stat().st_mtime_ns for path in checkout.runtime.rglob("*")} == before
    assert RUN in checkout.log.read_text()
