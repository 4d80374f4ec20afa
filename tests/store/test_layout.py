"""Where our files lie is interface: other programs and the runbook name these paths."""

from datetime import timedelta, timezone

import pytest

from opsd.model.effects import Document, Journal
from opsd.model.ids import LoopId
from opsd.store.layout import Layout, rotated, set_aside
from tests.store.examples import LOOP, NOW


def test_the_files_lie_where_the_contract_says() -> None:
    layout = Layout("/srv/app")

    assert layout.document(LOOP, Document.CURSOR) == "/srv/app/.superloop/ops-manager/demo-loop/cursor.json"
    assert (
        layout.journal(LOOP, Journal.RECONCILE) == "/srv/app/.superloop/ops-manager/demo-loop/telemetry/reconcile.jsonl"
    )
    assert layout.registry == "/srv/app/.superloop/ops-manager/fleet/registry.v1.json"
    assert layout.modes == "/srv/app/.superloop/ops-manager/fleet/modes.jsonl"
    assert layout.launch_log(LOOP, "0a1b") == "/srv/app/.superloop/ops-manager/demo-loop/launches/0a1b.log"
    assert layout.socket == "/srv/app/.superloop/ops-manager/opsd.sock"
    assert Layout("/srv/app/").lock == "/srv/app/.superloop/ops-manager/.lock"


@pytest.mark.parametrize("loop_id", ["../../x", "a/b", "", ".", "..", ".hidden", "fleet", "a\nb", "x" * 129])
def test_no_unsafe_id_ever_becomes_a_path(loop_id: str) -> None:
    """The reference manager created folders outside its tree for `--loop ../../x`."""
    with pytest.raises(ValueError, match="cannot name a folder"):
        Layout("/srv/app").document(LoopId(loop_id), Document.STATE)


@pytest.mark.parametrize("intent_id", ["../x", "a/b", "", ".", "..", "a.b", "a b", "a\n", "x" * 129])
def test_no_unsafe_intent_id_ever_becomes_a_path(intent_id: str) -> None:
    with pytest.raises(ValueError, match="cannot name a file"):
        Layout("/srv/app").launch_log(LOOP, intent_id)


def test_a_home_is_absolute() -> None:
    with pytest.raises(ValueError, match="absolute"):
        Layout("app")


def test_a_new_file_lasts_only_with_every_folder_above_it() -> None:
    layout = Layout("/srv/app")

    assert list(layout.folders_above(layout.journal(LOOP, Journal.RECONCILE))) == [
        "/srv/app/.superloop/ops-manager/demo-loop/telemetry",
        "/srv/app/.superloop/ops-manager/demo-loop",
        "/srv/app/.superloop/ops-manager",
        "/srv/app/.superloop",
        "/srv/app",
    ]


def test_rotated_files_keep_their_suffix() -> None:
    assert rotated("/o.p/telemetry/reconcile.jsonl", 2) == "/o.p/telemetry/reconcile.2.jsonl"


def test_what_is_set_aside_says_when_and_why_in_utc() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=2)))

    assert set_aside("/o/state.json", "unreadable", local) == "/o/state.json.unreadable-20261121T013844Z"
