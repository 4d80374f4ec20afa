"""Which thresholds a loop has by what operators chose. Source: loop-core 12.3."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from opsd.core.profiles import judged, of_all, standing
from opsd.model.ids import LoopId
from opsd.model.intent import Actor
from opsd.model.profile import ProfileRow
from opsd.model.thresholds import Profile, ProfileCatalog, ThresholdBasis

QUICK, SLOW = Profile(10, 20, 1, 2), Profile(1_000, 2_000, 5, 6)
CATALOG = ProfileCatalog("v1", {"quick": QUICK, "slow": SLOW}, "slow", {"broken": "not a number"})
CHOICES = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["quick", "slow", "gone", None])))


def a_row(profile: str | None, loop_id: str = "a") -> ProfileRow:
    return ProfileRow(datetime(2026, 1, 1, tzinfo=UTC), loop_id, "riya", Actor(1, "riya", 2), "v1", profile, "why")


@given(CHOICES)
def test_the_last_word_about_a_loop_stands_and_an_end_leaves_none(choices: list[tuple[str, str | None]]) -> None:
    found = standing([a_row(profile, loop_id) for loop_id, profile in choices])

    assert {loop_id: row.profile for loop_id, row in found.items()} == {
        LoopId(loop_id): profile for loop_id, profile in dict(choices).items() if profile is not None
    }


def test_single_values_win_over_the_choice_it_over_what_is_set_for_all_that_over_the_default() -> None:
    default = ThresholdBasis(CATALOG)
    for_all = ThresholdBasis(CATALOG, "quick")
    single = ThresholdBasis(CATALOG, "quick", {"degraded_ingest_lag_seconds": 7})

    assert of_all(default).critical_ingest_lag_seconds == 2_000
    assert of_all(for_all).critical_ingest_lag_seconds == 20
    chosen = judged(a_row("slow"), single).thresholds
    assert chosen is not None
    assert (chosen.profile, chosen.degraded_ingest_lag_seconds, chosen.critical_ingest_lag_seconds) == (
        "slow",
        7,
        2_000,
    )


def test_a_profile_that_the_catalog_lacks_is_unknown_and_the_problem_names_those_that_there_are() -> None:
    found = judged(a_row("gone"), ThresholdBasis(CATALOG))

    assert found.thresholds is None
    assert found.unknown
    assert found.problem is not None
    assert all(name in found.problem for name in ("gone", "quick", "slow", "broken"))


def test_a_profile_whose_values_make_no_sense_is_known_and_not_used() -> None:
    found = judged(a_row("broken"), ThresholdBasis(CATALOG))

    assert (found.thresholds, found.unknown) == (None, False)
    assert "not a number" in (found.problem or "")


def test_single_values_that_contradict_the_choice_keep_it_from_being_used() -> None:
    found = judged(a_row("quick"), ThresholdBasis(CATALOG, None, {"degraded_ingest_lag_seconds": 500}))

    assert (found.thresholds, found.unknown) == (None, False)
    assert "degraded_ingest_lag_seconds (500)" in (found.problem or "")
