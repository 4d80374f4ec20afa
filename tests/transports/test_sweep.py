"""The sweep finds every change by itself, in turns, and counts what no notice told of."""

import os
import shutil
from pathlib import Path

import pytest

from opsd.disk import Disk
from opsd.model.ids import LoopId
from opsd.transports.notices import Notice
from opsd.transports.sweep import Pace, Sweep, Swept
from tests.transports.trees import LOOP, Checkout, CountingDisk, event

NOTHING = Swept()


def settled(checkout: Checkout, *, pace: Pace | None = None, files: Disk | None = None) -> Sweep:
    """A sweep that knows this checkout. It has looked at it in the seconds up to 100."""
    sweep = Sweep(files or Disk(), pace or Pace())
    sweep.set_loops({checkout.ref.repo_path: [checkout.ref.loop_id]})
    for second in range(70, 101):
        sweep.look(float(second))
    return sweep


def of(checkout: Checkout) -> Notice:
    return Notice(checkout.ref.repo_path, checkout.ref.loop_id)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    checkout = Checkout(tmp_path)
    checkout.append(event())
    checkout.write("state.json", {"active": False})
    return checkout


def test_what_is_seen_first_counts_as_changed_but_not_as_missed(checkout: Checkout) -> None:
    sweep = Sweep(Disk())
    sweep.set_loops({checkout.ref.repo_path: [LOOP]})

    first = sweep.look(100.0)

    assert first == Swept(changed=frozenset({of(checkout), Notice(checkout.ref.repo_path)}))
    assert sweep.look(101.0) == NOTHING
    assert sweep.missed_count == 0


@pytest.mark.parametrize(
    "name",
    ["events.jsonl", "approval.json", "run-summary.json", "heartbeat.v1.json", "rate-limit.json", "escalation.json"],
)
def test_every_file_of_a_loop_is_swept(checkout: Checkout, name: str) -> None:
    """Written anew, written in place and removed; a summary is only ever replaced."""
    sweep = settled(checkout)
    path = checkout.folder / name

    found = list[frozenset[Notice]]()
    for second, text in enumerate((b"one", b"two words", None), 120):
        if text is None:
            path.unlink()
        elif name == "run-summary.json":
            checkout.write("run-summary.json.tmp", text).rename(path)
        else:
            path.write_bytes(text)
        found.append(sweep.look(float(second)).changed)

    assert found == [{of(checkout)}] * 3


@pytest.mark.parametrize("name", ["state.json", "active-run.json", "config.json"])
def test_a_checkouts_own_files_name_the_checkout(checkout: Checkout, name: str) -> None:
    sweep = settled(checkout)

    checkout.write(f"{name}", b"something new").stat()
    (checkout.runtime / "other").touch()

    assert sweep.look(120.0) == Swept(changed=frozenset({Notice(checkout.ref.repo_path)}))


def test_other_files_are_nobodys_concern(checkout: Checkout) -> None:
    sweep = settled(checkout)

    (checkout.folder / "plan.md").write_text("plan")
    (checkout.runtime / "ops-manager").mkdir()

    assert [sweep.look(float(second)) for second in range(120, 140)] == [NOTHING] * 20


def test_idle_folders_are_looked_at_once_in_the_interval_and_take_turns(tmp_path: Path) -> None:
    checkouts = [Checkout(tmp_path / str(number)) for number in range(100)]
    disk = CountingDisk()
    sweep = Sweep(disk)
    sweep.set_loops({checkout.ref.repo_path: [LOOP] for checkout in checkouts})
    for second in range(100, 140):
        sweep.look(float(second))

    counts = list[int]()
    for second in range(140, 160):
        disk.stats = 0
        sweep.look(float(second))
        counts.append(disk.stats)

    assert sum(counts[:10]) == sum(counts[10:])
    assert max(counts) < 2 * sum(counts) / len(counts)
    for checkout in checkouts:
        checkout.append(event())
    changed = [notice for second in range(160, 170) for notice in sweep.look(float(second)).changed]
    assert sorted(changed) == sorted(map(of, checkouts))


def test_what_changed_lately_is_looked_at_every_time(checkout: Checkout) -> None:
    sweep = settled(checkout, pace=Pace(idle_s=1000.0, lively_s=5.0))
    checkout.append(event())
    assert sweep.look(100.5, {of(checkout)}).changed == {of(checkout)}

    checkout.append(event())
    assert sweep.look(105.0).changed == {of(checkout)}
    sweep.look(110.0)
    checkout.append(event())
    assert sweep.look(110.1) == NOTHING


def test_what_runs_or_waits_is_looked_at_every_time_with_its_checkout(checkout: Checkout) -> None:
    sweep = settled(checkout, pace=Pace(idle_s=1000.0))

    checkout.append(event())
    checkout.write("state.json", {"active": True})

    assert sweep.look(101.0) == NOTHING
    assert sweep.look(102.0, {of(checkout)}).changed == {of(checkout), Notice(checkout.ref.repo_path)}


def test_a_change_without_a_notice_is_counted_once(checkout: Checkout) -> None:
    sweep = settled(checkout)

    checkout.append(event())
    sweep.look(120.0)
    assert sweep.missed_count == 0  # a notice may still be on its way
    sweep.look(121.0)
    sweep.look(122.0)

    assert sweep.missed_count == 1


@pytest.mark.parametrize("order", ["notice first", "sweep first"])
def test_a_change_with_a_notice_is_not_missed_whichever_came_first(checkout: Checkout, order: str) -> None:
    sweep = settled(checkout)

    checkout.append(event())
    if order == "notice first":
        sweep.announced([of(checkout)])
    assert sweep.look(120.0).changed == {of(checkout)}
    if order == "sweep first":
        sweep.announced([of(checkout)])
    sweep.look(121.0)

    assert sweep.missed_count == 0


def test_a_notice_excuses_only_changes_up_to_the_next_look(checkout: Checkout) -> None:
    sweep = settled(checkout)
    checkout.append(event())
    sweep.announced([of(checkout)])
    sweep.look(120.0)

    checkout.append(event())
    sweep.look(121.0)
    sweep.look(122.0)

    assert sweep.missed_count == 1


def test_loops_that_come_and_go_are_reported_once(checkout: Checkout) -> None:
    sweep = settled(checkout)

    new = Notice(checkout.ref.repo_path, "new")
    (checkout.runtime / "loops" / "new").mkdir()
    shutil.rmtree(checkout.folder)
    swept = sweep.look(120.0)

    assert swept.appeared == {new}
    assert swept.vanished == {of(checkout)}
    assert of(checkout) in swept.changed
    assert [sweep.look(float(second)) for second in range(121, 140)] == [NOTHING] * 19


def test_a_loop_nobody_named_is_reported_at_the_first_look(checkout: Checkout) -> None:
    (checkout.runtime / "loops" / "unnamed").mkdir()
    sweep = Sweep(Disk())
    sweep.set_loops({checkout.ref.repo_path: [LOOP]})

    assert sweep.look(1.0).appeared == {Notice(checkout.ref.repo_path, "unnamed")}


def test_a_checkout_swapped_for_another_is_reported(tmp_path: Path) -> None:
    """A watcher goes on watching the one that was moved away."""
    checkout = Checkout(tmp_path / "repo")
    sweep = settled(checkout)

    (tmp_path / "repo").rename(tmp_path / "aside")
    Checkout(tmp_path / "repo")

    assert sweep.look(120.0).moved == {checkout.ref.repo_path}
    assert sweep.look(140.0).moved == set()


def test_a_checkout_that_is_not_there_is_quiet_until_it_comes(tmp_path: Path) -> None:
    sweep = Sweep(Disk())
    sweep.set_loops({str(tmp_path / "repo"): [LoopId(LOOP)]})
    sweep.look(100.0)
    assert sweep.look(111.0) == NOTHING

    checkout = Checkout(tmp_path / "repo")
    checkout.append(event())

    assert of(checkout) in sweep.look(130.0).changed


def test_a_name_that_comes_within_the_same_tick_of_the_clock_is_found(checkout: Checkout) -> None:
    sweep = settled(checkout)
    (checkout.folder / "plan.md").touch()
    sweep.look(120.0)
    then = checkout.folder.stat().st_mtime_ns

    checkout.write("approval.json", b"new")
    os.utime(checkout.folder, ns=(then, then))

    assert sweep.look(140.0).changed == {of(checkout)}


def test_what_is_known_survives_a_change_of_the_fleet(checkout: Checkout, tmp_path: Path) -> None:
    sweep = settled(checkout)
    other = Checkout(tmp_path, "other")
    other.append(event())

    sweep.set_loops({checkout.ref.repo_path: [LOOP, other.ref.loop_id]})

    assert sweep.look(120.0).changed == {of(other)}
    sweep.set_loops({})
    assert sweep.look(140.0) == NOTHING
