"""Every verdict can be recomputed from the files; what no file tells is no difference, and what differs is named."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from opsd.app.verify import compare, recompute
from opsd.core.reconcile import Rules
from opsd.disk import Disk
from opsd.model.lifecycle import Phase
from opsd.model.run import Run
from opsd.protocol import Verification
from opsd.transports.local import LocalTransport
from opsd.transports.tail import Limits
from tests.app.desk import AT_WORK, LOOP, Desk
from tests.faults.fleet import Manager
from tests.transports.trees import Table

SLICES = Limits(lines_per_pass=3)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def verified(desk: Desk, manager: Manager, run: Run, processes: Table = AT_WORK) -> Verification:
    """As `opsctl verify` does it: against memory and disk, by a transport that remembers nothing, in small slices."""
    anew = LocalTransport(Disk(), processes, limits=SLICES)
    rules = Rules(home=str(desk.home), boot_id="boot")
    fresh = recompute(run, anew, rules, desk.now, lambda: 0.0)
    (stored,) = manager.store.load([LOOP], desk.now, mend=False)
    return compare(run, fresh, stored.state, stored.health)


def test_a_loop_that_grew_from_look_to_look_is_recomputed_as_it_is_held(desk: Desk) -> None:
    """Reading a log from its first line is no drift, however the passes before had cut it."""
    whole = desk.log.read_bytes().splitlines(keepends=True)
    manager = desk.start()
    for end in range(1, len(whole) + 1):
        desk.log.write_bytes(b"".join(whole[:end]))
        run, _ = desk.look(manager)

        verification = verified(desk, manager, run)
        assert verification.differences == ()
        assert verification.events_read == end


@pytest.mark.parametrize(
    ("where", "spoil"),
    [
        ("eventCount", lambda run: replace(run, fold=replace(run.fold, event_count=run.fold.event_count + 1))),
        ("phase", lambda run: replace(run, projection=replace(run.projection, phase=Phase.COMPLETE))),
        ("health.findings", lambda run: replace(run, health=replace(run.health, findings=run.health.findings[:0]))),
    ],
)
def test_a_verdict_that_the_files_do_not_bear_out_is_named(where: str, spoil: Callable[[Run], Run], desk: Desk) -> None:
    with desk.log.open("ab") as log:
        log.write(b"no event\n")
    manager = desk.start()
    run, _ = desk.look(manager)

    verification = verified(desk, manager, spoil(run))

    assert not verification.ok
    assert {(each.holder, each.where) for each in verification.differences} == {("memory", where)}


def test_a_loop_that_cannot_be_read_now_is_noted_and_ends(desk: Desk) -> None:
    """Also in the middle of reading it up, which would otherwise be gone on with for ever."""
    manager = desk.start()
    run, _ = desk.look(manager)
    desk.log.unlink()
    for name in ("state.json", "active-run.json"):
        (desk.repo / ".superloop" / name).unlink()

    verification = verified(desk, manager, run)
    halfway = verified(desk, manager, replace(run, backlog_bytes=100))

    assert [each.note for each in (verification, halfway)] == ["cannot be read now"] * 2
    assert verification.ok


def test_a_log_that_has_just_gone_backwards_is_verified_after_the_next_look(desk: Desk) -> None:
    manager = desk.start()
    desk.look(manager)
    os.truncate(desk.log, len(desk.log.read_bytes().splitlines(keepends=True)[0]))
    cut, _ = desk.look(manager)
    then, _ = desk.look(manager)

    assert "went backwards" in (verified(desk, manager, cut).note or "")
    assert verified(desk, manager, then).differences == ()


def test_a_crash_whose_traces_another_loop_has_overwritten_is_still_a_crash(desk: Desk) -> None:
    """The checkout has one state and one active run, and the next loop to run takes both."""
    manager = desk.start(processes=Table())
    desk.now += timedelta(minutes=1)
    crashed, _ = desk.look(manager)
    for name in ("state.json", "active-run.json"):
        path = desk.repo / ".superloop" / name
        path.write_text(path.read_text().replace(f'"{LOOP}"', '"another"'), encoding="utf-8")
    run, _ = desk.look(manager)

    assert crashed.projection is not None
    assert run.projection is not None
    assert (crashed.projection.phase, run.projection.phase) == (Phase.CRASHED, Phase.CRASHED)
    assert verified(desk, manager, run, Table()).differences == ()
