"""The page on intents says of statuses, kinds, codes and settings what the code makes of them."""

import re
from datetime import UTC, datetime

import pytest

from opsctl.outcomes import exit_of
from opsd.model.ids import LoopId
from opsd.model.intent import NEVER_EXECUTED, NEXT, Actor, Intent, IntentKind, IntentStatus
from opsd.model.reasons import REASONS
from opsd.model.refusals import REFUSALS
from opsd.settings import Settings
from opsd.supervisor.desk import TURN_WITHIN
from tests.docs.prose import ROOT, anchors, text_of

PAGE = text_of(ROOT / "docs" / "intents.md")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def an_intent(status: IntentStatus) -> Intent:
    return Intent(
        id="i1",
        loop_id=LoopId("docs-17"),
        intent=IntentKind.CANCEL,
        status=status,
        recorded_at=NOW,
        updated_at=NOW,
        expires_at=NOW + TURN_WITHIN,
        requested_by="riya",
        actor=Actor(1000, "riya", 77),
        trace_id="t1",
        idempotency_key="k1",
        fingerprint="f1",
        ordinal=1,
        schema_version="v1",
    )


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_status_is_explained_with_the_exit_code_that_it_gives() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", section("Outcomes"), re.MULTILINE)

    assert {status: int(code) for status, code in rows} == {
        status.value: int(exit_of(an_intent(status))) for status in IntentStatus
    }


def test_of_what_was_never_executed_the_page_says_that_nothing_was_done() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section("Outcomes"), re.MULTILINE))

    assert {status for status, says in rows.items() if "nothing was done" in says} == NEVER_EXECUTED


@pytest.mark.parametrize("status", IntentStatus)
def test_the_picture_of_its_life_has_the_ways_that_the_table_allows(status: IntentStatus) -> None:
    """Those behind a service have more ways, which the service's own record takes; the picture is of a local one."""
    allowed = {each.value for each in NEXT[status]}
    ways = {
        "recorded": {"executing", "refused", "expired"},
        "executing": {"executed", "failed_command", "refused", "confirmed", "ambiguous"},
        "executed": {"confirmed", "executed_unconfirmed", "failed_command", "ambiguous"},
        "ambiguous": {"confirmed", "failed_command", "acknowledged"},
    }.get(status.value, set())
    picture = section("Its life").partition("```\n")[2].partition("```")[0]

    assert ways <= allowed
    assert allowed - ways <= {"expired", "executed_unconfirmed"}
    assert {status.value, *ways} <= set(re.findall(r"\w+", picture))


def test_every_kind_has_a_section() -> None:
    told = {word for title in anchors(PAGE) for word in re.split(r"\W+", title)}

    assert {kind.value for kind in IntentKind} <= told


def test_the_codes_that_stand_in_brackets_are_codes_settings_or_counters() -> None:
    named = set(re.findall(r"\(`(\w+)`\)", PAGE))

    assert len(named) > 10
    assert named - set(REFUSALS) - set(REASONS) - set(Settings.model_fields) == {"opsd_intents_total"}


def test_the_settings_are_there_with_their_defaults() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section("Settings"), re.MULTILINE)

    assert {name for name, _ in rows} <= set(Settings.model_fields)
    told = {name: float(found[1]) for name, says in rows if (found := re.search(r"\((\d+)(?: s)?\)", says))}
    assert told == {name: Settings.model_fields[name].default for name in told}
    assert len(told) == 2


def test_the_time_within_which_a_turn_has_to_come_is_the_desks() -> None:
    assert f"{TURN_WITHIN.total_seconds():.0f} s at most" in section("Outcomes")
