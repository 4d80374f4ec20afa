"""Which thresholds are in force. Source: loop-core 12.1 to 12.3."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.core import thresholds
from opsd.core.thresholds import ThresholdError, catalog_from, resolve
from opsd.model.thresholds import Thresholds

SHIPPED = Path(__file__).parents[2] / "config" / "ops-manager-threshold-profiles.v1.json"
GOOD = {
    "degradedIngestLagSeconds": 1,
    "criticalIngestLagSeconds": 2,
    "degradedTransportFailureStreak": 3,
    "criticalTransportFailureStreak": 4,
}


def resolved(document: Any, profile: str | None = None, overrides: Mapping[str, int] | None = None) -> Thresholds:
    return resolve(catalog_from(json.dumps(document).encode(), "p.json"), profile=profile, overrides=overrides or {})


def refused(document: Any, profile: str | None = None, overrides: Mapping[str, int] | None = None) -> ThresholdError:
    with pytest.raises(ThresholdError) as caught:
        resolved(document, profile, overrides)
    return caught.value


def a_catalog(default: str | None = "a", **profiles: Any) -> dict[str, Any]:
    return {"schemaVersion": "v1", "defaultProfile": default, "profiles": profiles or {"a": GOOD}}


@pytest.mark.parametrize(
    ("profile", "ingest", "streak"),
    [("strict", (120, 300), (1, 2)), ("balanced", (300, 900), (2, 4)), ("relaxed", (600, 1800), (3, 6))],
)
def test_the_shipped_catalog_has_the_contracts_three_profiles(
    profile: str, ingest: tuple[int, int], streak: tuple[int, int]
) -> None:
    values = resolve(catalog_from(SHIPPED.read_bytes(), "shipped"), profile=profile, overrides={})

    assert values.profile == profile
    assert (values.degraded_ingest_lag_seconds, values.critical_ingest_lag_seconds) == ingest
    assert (values.degraded_transport_failure_streak, values.critical_transport_failure_streak) == streak
    assert (values.degraded_heartbeat_lag_seconds, values.critical_heartbeat_lag_seconds) == (120, 300)


@pytest.mark.parametrize("profile", [None, ""])
def test_without_a_name_the_catalogs_default_holds(profile: str | None) -> None:
    """An empty name counts as absent; the shipped default is what `Thresholds()` says."""
    assert resolve(catalog_from(SHIPPED.read_bytes(), "shipped"), profile=profile, overrides={}) == Thresholds()


def test_an_override_changes_one_value_and_keeps_the_profiles_name() -> None:
    values = resolved(a_catalog(), overrides={"critical_ingest_lag_seconds": 777})

    assert values.profile == "a"
    assert (values.degraded_ingest_lag_seconds, values.critical_ingest_lag_seconds) == (1, 777)


def test_pairs_are_checked_after_combining() -> None:
    """`strict` with a degraded ingest lag of 400 s is refused because its critical one is 300 (loop-core 12.3)."""
    shipped = catalog_from(SHIPPED.read_bytes(), "shipped")

    with pytest.raises(ThresholdError, match=r"critical_ingest_lag_seconds \(300\) .* \(400\)") as caught:
        resolve(shipped, profile="strict", overrides={"degraded_ingest_lag_seconds": 400})
    assert caught.value.code == thresholds.INVALID_THRESHOLD


@pytest.mark.parametrize(
    ("document", "profile", "code", "message"),
    [
        (a_catalog(), "z", thresholds.UNKNOWN_PROFILE, "unknown threshold profile: z (the catalog has: a)"),
        (
            a_catalog(default=None),
            None,
            thresholds.NAME_MISSING,
            "profile name is required and defaultProfile is missing",
        ),
        ([1], None, thresholds.INVALID_SHAPE, "threshold profiles file has invalid shape: p.json"),
        (a_catalog() | {"schemaVersion": "v2"}, "a", thresholds.INVALID_SHAPE, "threshold profiles file has invalid"),
        (a_catalog() | {"profiles": {}}, "a", thresholds.INVALID_SHAPE, "threshold profiles file has invalid shape"),
        (a_catalog() | {"profiles": []}, "a", thresholds.INVALID_SHAPE, "threshold profiles file has invalid shape"),
        (
            a_catalog(a=GOOD | {"criticalIngestLagSeconds": "2"}),
            "a",
            thresholds.INVALID_VALUES,
            "threshold profile values are invalid: a",
        ),
        (
            a_catalog(a=GOOD | {"criticalIngestLagSeconds": 0}),
            "a",
            thresholds.INVALID_VALUES,
            "threshold profile values are invalid: a",
        ),
        (a_catalog(a={}), "a", thresholds.INVALID_VALUES, "threshold profile values are invalid: a"),
        (a_catalog(a=7), "a", thresholds.INVALID_VALUES, "threshold profile values are invalid: a"),
    ],
)
def test_what_cannot_be_used_is_refused_in_the_contracts_words(
    document: Any, profile: str | None, code: str, message: str
) -> None:
    """Scripts match these beginnings; what follows names the value."""
    error = refused(document, profile)

    assert error.code == code
    assert str(error).startswith(message)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_not_json_is_said_to_be_so(data: bytes) -> None:
    with pytest.raises(ThresholdError, match=r"^invalid threshold profiles JSON: p\.json") as caught:
        catalog_from(data, "p.json")
    assert caught.value.code == thresholds.NOT_JSON


def test_one_bad_profile_does_not_cost_the_others() -> None:
    """Only the selected profile is checked (loop-core 12.2)."""
    assert resolved(a_catalog(a=GOOD, b={"criticalIngestLagSeconds": "soon"}), "a").profile == "a"


def test_an_override_of_nothing_known_is_refused() -> None:
    assert "no threshold named ingest_lag" in str(refused(a_catalog(), overrides={"ingest_lag": 3}))


NAMES = [name for name in Thresholds.__struct_fields__ if name != "profile"]


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(min_value=-5, max_value=2000)))
def test_thresholds_are_in_order_whatever_is_overridden(overrides: dict[str, int]) -> None:
    """Refused exactly where a pair is out of order, so nothing downstream meets a critical value below its other."""
    wanted = msgspec.structs.asdict(resolved(a_catalog())) | overrides
    in_order = all(
        0 <= wanted[f"degraded_{what}"] <= wanted[f"critical_{what}"]
        for what in ("ingest_lag_seconds", "heartbeat_lag_seconds", "transport_failure_streak")
    )
    if in_order:
        assert msgspec.structs.asdict(resolved(a_catalog(), overrides=overrides)) == wanted
    else:
        assert refused(a_catalog(), overrides=overrides).code == thresholds.INVALID_THRESHOLD
