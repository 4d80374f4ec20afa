"""What is shown of a loop's thresholds and of the advice that telemetry gives for them."""

from datetime import UTC, datetime

import msgspec
import pytest
from msgspec.structs import replace

from opsd.app.profiles import profile_of, profile_page, tuning_of
from opsd.core import drift, tuning
from opsd.core.profiles import judged
from opsd.model.ids import LoopId
from opsd.model.intent import Actor
from opsd.model.oneshot import DriftOptions
from opsd.model.profile import ProfileRow
from opsd.model.run import LoopRef, Run
from opsd.model.thresholds import Profile, ProfileCatalog, ThresholdBasis
from opsd.model.tuning import DriftMemory, Sample, SummarySource
from opsd.protocol import ProfileSource

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
A = LoopId("api 03")
PROFILES = {"balanced": Profile(300, 900, 2, 4), "strict": Profile(120, 300, 1, 2, "Short fuse.")}
BASIS = ThresholdBasis(ProfileCatalog("v1", PROFILES, "balanced", {"odd": "Expected `int`"}))


def a_run(samples: int) -> Run:
    """A steadily healthy loop with so many samples, which speaks for `strict`."""
    summary = tuning.summarize([Sample("success", "healthy")] * samples, 0)
    document = drift.evaluate(
        DriftMemory(),
        applied="balanced",
        recommended=summary.recommended,
        confidence=summary.confidence,
        options=DriftOptions(),
        rationale=summary.rationale,
        loop_id=A,
        now=NOW,
    )
    block = tuning.block(summary, SummarySource("/srv", A, "reconcile.jsonl", "control.jsonl", 200), "balanced")
    return Run(LoopRef(A, "/srv"), drift=document, tuning=msgspec.Raw(msgspec.json.encode(block)))


def test_a_profile_that_makes_no_sense_is_listed_with_its_problem() -> None:
    contrary = replace(BASIS.catalog, profiles={**PROFILES, "upside": Profile(9, 1, 1, 2)})

    page = profile_page(replace(BASIS, catalog=contrary), NOW)

    assert page.of_all == "balanced"
    assert [(item.name, item.values is not None) for item in page.profiles] == [
        ("balanced", True),
        ("odd", False),
        ("strict", True),
        ("upside", False),
    ]
    assert "Expected" in (page.profiles[1].problem or "")
    assert "critical_ingest_lag_seconds (1)" in (page.profiles[3].problem or "")


def test_where_a_profile_comes_from_is_told() -> None:
    row = ProfileRow(NOW, A, "riya", Actor(1, "riya", 2), "v1", "strict", "quick")
    for_all = replace(BASIS, profile="strict", overrides={"degraded_heartbeat_lag_seconds": 5})

    assert profile_of(A, None, BASIS, NOW).source is ProfileSource.CATALOG
    chosen = profile_of(A, judged(row, BASIS), BASIS, NOW)
    assert (chosen.source, chosen.description, chosen.since) == (ProfileSource.CHOSEN, "Short fuse.", NOW)
    told = profile_of(A, None, for_all, NOW)
    assert (told.source, told.overridden) == (ProfileSource.SETTINGS, ("degraded_heartbeat_lag_seconds",))
    assert told.thresholds.degraded_heartbeat_lag_seconds == 5


def test_advice_that_could_be_followed_names_the_command() -> None:
    told = tuning_of(a_run(40), profile_of(A, None, BASIS, NOW), profile_page(BASIS, NOW))

    assert told.tuning is not None
    assert (told.tuning.recommended_profile, told.tuning.confidence) == ("strict", "medium")
    assert told.next == "opsctl profile 'api 03' --set strict --reason ..."


@pytest.mark.parametrize("why", ["followed", "unsure", "unknown"])
def test_advice_is_only_shown_where_nobody_should_or_can_follow_it(why: str) -> None:
    run = a_run(3 if why == "unsure" else 40)
    basis = replace(BASIS, profile="strict") if why == "followed" else BASIS
    if why == "unknown":
        catalog = replace(BASIS.catalog, profiles={"balanced": PROFILES["balanced"]})
        basis = replace(BASIS, catalog=catalog)

    told = tuning_of(run, profile_of(A, None, basis, NOW), profile_page(basis, NOW))

    assert told.tuning is not None
    assert told.next is None


def test_a_block_that_another_manager_wrote_otherwise_is_none() -> None:
    run = replace(a_run(40), tuning=msgspec.Raw(b'{"appliedProfile":7}'))

    assert tuning_of(run, profile_of(A, None, BASIS, NOW), profile_page(BASIS, NOW)).tuning is None
