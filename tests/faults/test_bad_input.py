"""Whatever lies where the runtime's files should be: it is named, its neighbours are unharmed, and it passes.

Each row of the table spoils one file of one loop that is at work, says which finding must name it, and mends it again.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from opsd.disk import Disk
from opsd.model.ids import LoopId
from opsd.model.observation import ProcessSighting
from opsd.model.run import LoopRef
from opsd.transports.registry import discover
from tests.faults.fleet import START, Manager, lay_down_from, seen
from tests.transports.trees import Table

PID = 4_711
ALIVE = Table({PID: ProcessSighting.ALIVE})
SETTLED = timedelta(seconds=3)
CLEAN_LOOK = timedelta(seconds=61)
NEWS_ENDS = timedelta(hours=1)
HUGE = b"x" * 10_000_000
DEEP = b"[" * 100_000 + b"]" * 100_000

Deed = Callable[[Path], None]


class Checkout(NamedTuple):
    """Where a loop's files are. `outside` is a folder beside the checkout, which its loop has no business with."""

    runtime: Path
    loop: Path
    outside: Path

    def file(self, name: str) -> Path:
        return (self.runtime if name in ("state.json", "active-run.json", "config.json") else self.loop) / name


def written(data: bytes) -> Deed:
    def deed(path: Path) -> None:
        path.write_bytes(data)

    return deed


def appended(data: bytes) -> Deed:
    def deed(path: Path) -> None:
        with path.open("ab") as file:
            file.write(data)

    return deed


def another(make: Deed) -> Deed:
    """Something else in the file's place."""

    def deed(path: Path) -> None:
        path.unlink(missing_ok=True)
        make(path)

    return deed


def link_to(target: str) -> Deed:
    def deed(path: Path) -> None:
        path.symlink_to(target)

    return another(deed)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def empty(path: Path) -> None:
    os.truncate(path, 0)


def exchange(path: Path) -> None:
    beside = path.with_name("new")
    beside.write_bytes(b'{"event":"x","timestamp":"t"}\n')
    beside.replace(path)


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 70_000_000)


def leads_out(path: Path) -> None:
    """The loop's folder is another one, beside the checkout."""
    outside = path.parents[4] / "outside"
    shutil.copytree(path.parent, outside)
    path.parent.rename(outside.with_name("aside"))
    path.parent.symlink_to(outside)


def leads_back_in(path: Path) -> None:
    path.parent.unlink()
    (path.parents[4] / "aside").rename(path.parent)


LOG: dict[str, tuple[Deed, str | None]] = {
    "is a folder": (another(Path.mkdir), "artifacts_unreadable"),
    "is a FIFO": (another(os.mkfifo), "artifacts_unreadable"),
    "is a link in a circle": (link_to("events.jsonl"), "artifacts_unreadable"),
    "is a link to another loop's secrets": (link_to("/etc/passwd"), "artifacts_unreadable"),
    "lies in a folder that leads out": (leads_out, "artifacts_unreadable"),
    "was emptied": (empty, "stream_truncated"),
    "was exchanged": (exchange, "stream_replaced"),
    "has a line that is no JSON": (appended(b"Killed\n"), "event_quarantined"),
    "has a line that is an array": (appended(b"[]\n"), "event_quarantined"),
    "has a line of 10 MB": (appended(HUGE + b"\n"), "event_quarantined"),
    "has a line nested without end": (appended(DEEP + b"\n"), "event_quarantined"),
    "has a line that is no UTF-8": (appended(b'{"event":"\xff\xfe"}\n'), "event_quarantined"),
    "has a line of control characters": (appended(b"\x1b]0;owned\x07\x00\n"), "event_quarantined"),
    "has an event without a time": (appended(b'{"event":"x"}\n'), "event_quarantined"),
    "has an event of next year": (appended(b'{"event":"x","timestamp":"2027-11-21T01:00:00Z"}\n'), "clock_stepped"),
    "has an event of no calendar": (appended(b'{"event":"x","timestamp":"2026-02-31T99:00:00Z"}\n'), None),
    "has an event of odd types": (appended(b'{"event":7,"timestamp":8,"run_id":[1],"iteration":"x"}\n'), None),
    "ends in half a line": (appended(b'{"event":"role_end","timest'), None),
    "ends in 10 MB without a newline": (appended(HUGE), None),
}
"""What befalls the log, and the finding that names it; None where it is nothing to speak of."""

SMALL_FILES = (
    "state.json",
    "active-run.json",
    "config.json",
    "approval.json",
    "run-summary.json",
    "heartbeat.v1.json",
    "rate-limit.json",
    "escalation.json",
)
SMALL: dict[str, Deed] = {
    "stays empty": written(b""),
    "stays half there": written(b'{"active": tr'),
    "is an array": written(b"[]"),
    "is a text": written(b'"approved"'),
    "is UTF-16": written('{"active":true}'.encode("utf-16")),
    "is nested without end": written(DEEP),
    "is far too large": huge,
    "is a folder": another(Path.mkdir),
    "is a FIFO": another(os.mkfifo),
    "is a link in a circle": another(lambda path: path.symlink_to(path.name)),
}
ODD_MEMBERS = (
    b'{"active":"yes","iteration":"two","current_loop_id":["x"],"pid":"1; rm -rf /","updated_at":5,"status":{}}',
    b'{"pid":-1,"pgid":0,"loop_id":"bad","updated_at":"0000-00-00T00:00:00Z"}',
    b'{"pid":99999999999999999999999,"loop_id":"bad","updated_at":"9999-12-31T23:59:59Z"}',
    b'{"status":"pending","run_id":null,"iteration":-7,"requested_at":"yesterday","candidate":[],"decision":"x"}',
    b'{"entries":[{"run_id":"x","iteration":1e400}],"loops":[{"id":"bad","timeouts":{"default":"long"}}]}',
    b'{"entries":[17],"loops":"none","timestamp":"soon","rate_limit":{"resets_in_seconds":-1}}',
)


class Bench:
    """Two loops at work in checkouts of their own, and opsd watching both."""

    def __init__(self, root: Path) -> None:
        self.now = START
        for name in ("bad", "good"):
            at = lay_down_from(START, "steady", root / name, loop_id=name, until="iteration-2", pid=PID)
            self.now = max(self.now, at + SETTLED)
        loops = [LoopRef(LoopId(name), str(root / name)) for name in ("bad", "good")]
        (root / "home").mkdir()
        self.manager = Manager(str(root / "home"), loops, self.now, ALIVE, Disk(), "boot")
        self.checkout = Checkout(root / "bad/.superloop", root / "bad/.superloop/loops/bad", root / "outside")

    def look(self, after: timedelta = timedelta(0)) -> tuple[dict[str, object], dict[str, object]]:
        """Look until all is read, and once more when `after` has passed; what is shown of the bad and the good loop."""
        for wait in (timedelta(0), after):
            self.now += wait
            while any(
                each.decision is not None and each.decision.again for each in self.manager.look_and_commit(self.now)
            ):
                pass
        bad, good = (seen(run) for run in self.manager.runs)
        return bad, good


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    bench.look()
    yield bench
    state = tmp_path / "home/.superloop/ops-manager"
    assert {path.name for path in state.iterdir()} == {"bad", "good"}, "nothing of ours may lie anywhere else"


def codes(shown: dict[str, object]) -> set[str]:
    findings = shown["findings"]
    assert isinstance(findings, list)
    return {code for code, _, _ in findings}


@pytest.mark.parametrize("how", LOG)
def test_a_log_that_is_not_what_it_should_be_is_named_and_taken_up_again_once_it_is(how: str, bench: Bench) -> None:
    spoil, code = LOG[how]
    log = bench.checkout.file("events.jsonl")
    whole = log.read_bytes()
    bad, good = bench.look()
    assert codes(bad) == set()

    spoil(log)
    spoilt, neighbour = bench.look()

    assert codes(spoilt) - {"ordering_drift_detected", "divergence_detected"} == ({code} if code else set())
    assert neighbour == good
    if log.parent.is_symlink():
        leads_back_in(log)
    elif not log.is_file() or log.is_symlink():
        log.rmdir() if log.is_dir() else log.unlink(missing_ok=True)
        log.write_bytes(whole)
    else:
        log.write_bytes(whole)  # the same file, as it was
    bench.look(CLEAN_LOOK)
    mended, neighbour = bench.look(NEWS_ENDS)
    assert codes(mended) - codes(neighbour) == set()
    assert (mended["phase"], mended["run"], mended["events"]) == (bad["phase"], bad["run"], bad["events"])


def test_a_log_that_stays_away_is_missing_also_while_its_run_goes_on(bench: Bench) -> None:
    """A loop with a summary has logged before; that a log is rotated takes a moment only."""
    log = bench.checkout.file("events.jsonl")
    whole = log.read_bytes()
    bad, good = bench.look()

    log.unlink()
    at_once, _ = bench.look()
    silent, _ = bench.look(timedelta(minutes=6))
    bench.checkout.file("state.json").unlink()
    bench.checkout.file("active-run.json").unlink()
    gone, _ = bench.look()

    assert at_once == bad
    assert "artifacts_missing" in codes(silent)
    assert "artifacts_missing" in codes(gone)
    log.write_bytes(whole)
    back, _ = bench.look(CLEAN_LOOK)
    assert "artifacts_missing" not in codes(back)
    assert (back["events"], good["events"]) == (bad["events"], good["events"])


@pytest.mark.parametrize("how", SMALL)
@pytest.mark.parametrize("name", SMALL_FILES)
def test_a_small_file_that_is_not_what_it_should_be_is_named_and_read_again_once_it_is(
    name: str, how: str, bench: Bench
) -> None:
    """Until then the loop is judged by what the file said before, and by everything else."""
    path = bench.checkout.file(name)
    whole = path.read_bytes() if path.exists() else None
    bad, good = bench.look()

    SMALL[how](path)
    spoilt, neighbour = bench.look(SETTLED)

    assert codes(spoilt) == {"file_unreadable"}
    assert name in str(bench.manager.runs[0].health)
    assert (spoilt["phase"], spoilt["run"], spoilt["events"]) == (bad["phase"], bad["run"], bad["events"])
    assert neighbour == good
    path.rmdir() if path.is_dir() else path.unlink()
    if whole is not None:
        path.write_bytes(whole)
    mended, _ = bench.look(SETTLED)
    assert mended == bad


@pytest.mark.parametrize("data", ODD_MEMBERS)
@pytest.mark.parametrize("name", SMALL_FILES)
def test_members_of_odd_types_and_values_are_as_good_as_missing(name: str, data: bytes, bench: Bench) -> None:
    """Another program's file may say anything; no pass breaks on it, and nobody else is judged by it."""
    path = bench.checkout.file(name)
    whole = path.read_bytes() if path.exists() else None
    bad, good = bench.look()

    path.write_bytes(data)
    spoilt, neighbour = bench.look(SETTLED)

    assert spoilt["events"] == bad["events"]
    assert neighbour == good
    path.unlink()
    if whole is not None:
        path.write_bytes(whole)
    mended, _ = bench.look(timedelta(minutes=1))
    assert codes(mended) == codes(bad)
    assert mended["phase"] == bad["phase"]


@pytest.mark.parametrize("step", [timedelta(days=-400), timedelta(hours=-1), timedelta(hours=1), timedelta(days=400)])
def test_a_clock_that_is_set_and_set_back_leaves_no_trace(step: timedelta, bench: Bench) -> None:
    before = bench.look()

    bench.now += step
    stepped = bench.look()
    bench.now -= step
    after = bench.look()

    assert [codes(shown) for shown in stepped] == [{"clock_stepped" if step < timedelta(0) else "ingest_stale"}] * 2
    assert after == before


@pytest.mark.parametrize("name", ["fleet", ".hidden", "\x1b[31mred", "a\nb", "-rf ~", "x" * 200, "weiß", "a;b", "a$b"])
def test_a_folder_whose_name_is_no_loops_is_listed_with_its_fault_and_never_written_for(
    name: str, tmp_path: Path
) -> None:
    """Names come from whoever may make folders in a checkout; they end up in paths, terminals and messages."""
    (tmp_path / ".superloop/loops" / name).mkdir(parents=True)
    (tmp_path / ".superloop/loops/good").mkdir()

    found = {ref.loop_id: ref.fault for ref in discover(Disk(), str(tmp_path))}

    assert found[LoopId("good")] is None
    harmless = name == "-rf ~"
    assert found[LoopId(name)] == (None if harmless else "loop_id_reserved" if name == "fleet" else "loop_id_unsafe")
    manager = Manager(str(tmp_path), [LoopRef(LoopId(name), str(tmp_path))], _noon(), ALIVE, Disk(), "boot")
    (result,) = manager.look(_noon())
    assert result.error is None
    assert not (tmp_path / ".superloop/ops-manager").exists()


def _noon() -> datetime:
    return START + timedelta(hours=11)
