"""A one-shot pass judges by the profile that an operator chose for the loop, unless it is told another one."""

import json
from pathlib import Path

import pytest

from opsd.disk import Disk
from opsd.model.intent import Actor
from opsd.model.profile import ProfileRow
from opsd.store.layout import Layout
from opsd.store.store import Store
from tests.batch.checkout import LONG_AGO, LOOP, Checkout
from tests.batch.cli import Done, run, spawn


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path).running()


def choose(checkout: Checkout, profile: str | None, loop_id: str = LOOP) -> None:
    row = ProfileRow(LONG_AGO, loop_id, "riya", Actor(1_000, "riya", 7), "v1", profile, "long roles")
    Store(Layout(str(checkout.folder)), Disk()).append_profile(row)


def profile_in(done: Done) -> tuple[str, int]:
    thresholds = done.document["health"]["thresholds"]
    return thresholds["profile"], thresholds["criticalIngestLagSeconds"]


def test_the_choice_for_the_loop_holds_until_it_is_ended(checkout: Checkout) -> None:
    choose(checkout, "strict", "another")
    assert profile_in(run("reconcile", *checkout.flags)) == ("balanced", 900)

    choose(checkout, "relaxed")
    assert profile_in(run("reconcile", *checkout.flags)) == ("relaxed", 1_800)
    assert profile_in(run("reconcile", *checkout.flags, "--critical-ingest-lag-seconds", "1801")) == ("relaxed", 1_801)

    choose(checkout, None)
    assert profile_in(run("reconcile", *checkout.flags)) == ("balanced", 900)


def test_flag_and_environment_win_over_the_choice(checkout: Checkout) -> None:
    choose(checkout, "relaxed")

    assert profile_in(run("reconcile", *checkout.flags, "--threshold-profile", "balanced")) == ("balanced", 900)
    by_variable = spawn("reconcile", *checkout.flags, variables={"OPS_MANAGER_THRESHOLD_PROFILE": "strict"})
    assert profile_in(by_variable) == ("strict", 300)


def test_a_choice_that_the_catalog_does_not_know_ends_the_command_before_anything_is_done(checkout: Checkout) -> None:
    choose(checkout, "gone")

    done = run("reconcile", *checkout.flags)

    assert (done.code, done.out) == (1, "")
    assert "unknown threshold profile: gone" in done.err
    assert "fleet/profiles.jsonl" in done.err
    assert "--threshold-profile" in done.err
    assert not (checkout.folder / ".superloop/ops-manager" / LOOP).exists()


@pytest.mark.parametrize("damage", ["<<<<\n", json.dumps({"schemaVersion": "v9"}) + "\n"])
def test_choices_that_cannot_be_read_are_nobodys_guess(checkout: Checkout, damage: str) -> None:
    choose(checkout, "relaxed")
    path = Path(Layout(str(checkout.folder)).profiles)
    path.write_text(path.read_text() + damage)

    done = run("reconcile", *checkout.flags)

    assert (done.code, done.out) == (1, "")
    assert f"{path}, line 2" in done.err
    assert profile_in(run("reconcile", *checkout.flags, "--threshold-profile", "strict")) == ("strict", 300)
