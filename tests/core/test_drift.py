"""For how long advice was not followed. Source: status-and-tuning 3.2 to 3.4."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.core.drift import evaluate, memory_of, remembered
from opsd.model.oneshot import DriftOptions
from opsd.model.tuning import Confidence, DriftDocument, DriftMemory

NOW = datetime(2026, 11, 4, 9, 52, 31, 7, UTC)
ALWAYS = {
    *("schemaVersion", "updatedAt", "loopId", "status", "recommendationConfidence", "minimumConfidence"),
    *("recommendationRank", "minimumRank", "requiredStreak", "summaryWindow", "mismatch", "confidenceOk"),
    *("eligibleMismatch", "mismatchStreak", "driftActive", "transitioned"),
}


def judged(
    before: DriftMemory | None = None,
    *,
    applied: str | None = "balanced",
    recommended: str | None = "strict",
    confidence: Confidence = "medium",
    options: DriftOptions | None = None,
    rationale: str = "",
    now: datetime = NOW,
) -> DriftDocument:
    return evaluate(
        before or DriftMemory(),
        applied=applied,
        recommended=recommended,
        confidence=confidence,
        options=options or DriftOptions(),
        rationale=rationale,
        loop_id="checkout-flow",
        now=now,
    )


def test_active_drift_is_the_contracts_document() -> None:
    found = judged(DriftMemory(2, mismatch_since=NOW - timedelta(minutes=2)), rationale="stable, tighten")

    assert msgspec.to_builtins(found) == {
        "schemaVersion": "v1",
        "updatedAt": "2026-11-04T09:52:31Z",
        "loopId": "checkout-flow",
        "status": "drift_active",
        "reasonCode": "profile_drift_detected",
        "appliedProfile": "balanced",
        "recommendedProfile": "strict",
        "recommendationConfidence": "medium",
        "minimumConfidence": "medium",
        "recommendationRank": 2,
        "minimumRank": 2,
        "requiredStreak": 3,
        "summaryWindow": 200,
        "mismatch": True,
        "confidenceOk": True,
        "eligibleMismatch": True,
        "mismatchStreak": 3,
        "driftActive": True,
        "transitioned": {"toActive": True, "toResolved": False},
        "rationale": "stable, tighten",
        "action": "review_threshold_profile",
        "mismatchSince": "2026-11-04T09:50:31.000007Z",
    }


@pytest.mark.parametrize(
    ("given_", "status", "action"),
    [
        ({"recommended": None}, "no_recommendation", None),
        ({"recommended": None, "applied": None, "confidence": "low"}, "no_recommendation", None),
        ({"recommended": "balanced", "confidence": "low"}, "aligned", None),
        ({"applied": None}, "aligned", None),
        ({"confidence": "low"}, "insufficient_confidence", "collect_more_confident_telemetry"),
        ({}, "mismatch_pending", "monitor_additional_windows"),
    ],
)
def test_of_what_is_not_active_only_what_it_has_is_told(
    given_: dict[str, Any], status: str, action: str | None
) -> None:
    told = msgspec.to_builtins(judged(**given_))

    assert (told["status"], told.get("action")) == (status, action)
    assert "reasonCode" not in told
    assert set(told) >= ALWAYS
    assert None not in told.values()


def test_advice_that_the_catalog_does_not_know_is_none() -> None:
    """A catalog may have names of its own; a pass goes on all the same."""
    own = DriftOptions(profiles=("fast", "slow"))

    told = msgspec.to_builtins(judged(DriftMemory(7, drift_active=True), applied="fast", options=own))

    assert (told["status"], "recommendedProfile" in told) == ("no_recommendation", False)
    assert told["transitioned"] == {"toActive": False, "toResolved": True}


def test_a_streak_that_flips_between_two_other_profiles_goes_on() -> None:
    first = judged()
    second = judged(memory_of(first), recommended="relaxed", now=NOW + timedelta(minutes=1))

    assert (second.mismatch_streak, second.mismatch_since) == (2, NOW.replace(microsecond=0))


def test_a_raised_streak_resolves_drift_that_goes_on_to_count() -> None:
    found = judged(DriftMemory(3, drift_active=True), options=DriftOptions(required_streak=9))

    assert (found.status, found.mismatch_streak, found.transitioned.to_resolved) == ("mismatch_pending", 4, True)


@given(
    st.integers(1, 4),
    st.sampled_from(("low", "medium", "high")),
    st.lists(
        st.tuples(
            st.sampled_from(("strict", "balanced", "relaxed", "unheard-of", None)),
            st.sampled_from(("low", "medium", "high")),
        ),
        min_size=1,
        max_size=30,
    ),
)
def test_any_history_is_that_of_a_counter(
    required: int, least: Confidence, history: list[tuple[str | None, Confidence]]
) -> None:
    """Active exactly while the newest evaluations that mattered, without a gap, are as many as asked for."""
    options, order = DriftOptions(least, required), ("low", "medium", "high")
    document: DriftDocument | None = None
    counted: list[bool] = []
    turns: list[str] = []
    for number, (recommended, confidence) in enumerate(history):
        at = NOW + timedelta(minutes=number)
        written = None if document is None else msgspec.json.decode(msgspec.json.encode(document), type=DriftDocument)
        document = judged(memory_of(written), recommended=recommended, confidence=confidence, options=options, now=at)
        counted.append(recommended in ("strict", "relaxed") and order.index(confidence) >= order.index(least))
        run = next((n for n, each in enumerate(reversed(counted)) if not each), len(counted))
        assert document.mismatch_streak == run
        assert document.drift_active is (run >= required)
        assert document.eligible_mismatch is counted[-1]
        turns += ["on"] * document.transitioned.to_active + ["off"] * document.transitioned.to_resolved
        if run:
            began = (NOW + timedelta(minutes=number - run + 1)).replace(microsecond=0)
            assert document.mismatch_since == began
        assert turns.count("on") - turns.count("off") == document.drift_active
    assert turns == [("on", "off")[n % 2] for n in range(len(turns))]


@pytest.mark.parametrize(
    ("said", "memory"),
    [
        ({}, DriftMemory()),
        ({"mismatchStreak": 4, "driftActive": True}, DriftMemory(4, drift_active=True)),
        ({"mismatchStreak": "4", "driftActive": "true"}, DriftMemory()),
        ({"mismatchStreak": True, "driftActive": 1}, DriftMemory()),
        ({"mismatchStreak": -4, "driftActive": None}, DriftMemory()),
        ({"mismatchStreak": 2, "mismatchSince": "yesterday"}, DriftMemory(2)),
        ({"mismatchStreak": 2, "mismatchSince": "2026-11-04T09:52:31"}, DriftMemory(2)),
        (
            {"mismatchStreak": 2, "mismatchSince": "2026-11-04T09:52:31Z"},
            DriftMemory(2, mismatch_since=NOW.replace(microsecond=0)),
        ),
    ],
)
def test_what_is_missing_or_odd_in_the_last_document_is_nought(said: object, memory: DriftMemory) -> None:
    assert remembered(json.dumps(said).encode()) == memory


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"7"])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        remembered(data)
