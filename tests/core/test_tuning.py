"""What the newest samples come to, and which profile they speak for. Source: status-and-tuning, Part 2."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.core.tuning import block, document, is_ambiguous, sample_in, summarize
from opsd.model.tuning import Advice, Gap, Sample, SummarySource

SOURCE = SummarySource("/srv/checkout", "demo", "/r.jsonl", "/c.jsonl", 200)
CODES = ("ingest_stale", "control_ambiguous", "transport_unreachable")
GOOD = {"status": "success", "healthStatus": "healthy", "healthReasonCodes": [], "durationSeconds": 1}


def read(*rows: object) -> list[Sample]:
    found = [sample_in(json.dumps(row).encode()) for row in rows]
    return [sample for sample in found if sample is not None]


def good(count: int, **members: object) -> list[dict[str, object]]:
    return [{**GOOD, **members}] * count


class TestOneRow:
    def test_rows_about_changes_are_no_samples(self) -> None:
        assert sample_in(b'{"status":"success","sample":false}') is None

    @pytest.mark.parametrize("said", [{}, {"sample": True}, {"sample": None}, {"sample": "false"}])
    def test_rows_that_do_not_say_so_are(self, said: dict[str, object]) -> None:
        assert read({**GOOD, **said}) == [Sample("success", "healthy", (), 1)]

    def test_a_member_of_an_odd_type_counts_as_absent_and_costs_its_row_nothing_else(self) -> None:
        odd = {"status": 7, "healthStatus": ["critical"], "healthReasonCodes": "ingest_stale", "durationSeconds": {}}

        assert read(odd) == [Sample()]
        assert read({**GOOD, "healthReasonCodes": ["a", 7, None, "b"]})[0].reason_codes == ("a", "b")

    @pytest.mark.parametrize(
        ("said", "meant"),
        [
            (4, 4),
            (1.5, 1.5),
            ("4", 4),
            ("1.5", 1.5),
            ("-2e1", -20.0),
            ("", None),
            ("4 s", None),
            ("1_0", None),
            ("٤", None),
            ("1e999", None),
            (True, None),
            (None, None),
            ([4], None),
        ],
    )
    def test_a_duration_is_a_number_or_a_text_that_is_one(self, said: object, meant: float | None) -> None:
        assert read({"durationSeconds": said})[0].duration_s == meant

    @pytest.mark.parametrize(
        ("line", "error"),
        [
            (b'{"status":"succ', msgspec.DecodeError),
            (b"[]", msgspec.ValidationError),
            (b"7", msgspec.ValidationError),
            (b"null", msgspec.ValidationError),
        ],
    )
    def test_what_is_no_row_is_told_apart(self, line: bytes, error: type[Exception]) -> None:
        with pytest.raises(error) as raised:
            sample_in(line)

        assert type(raised.value) is error

    @pytest.mark.parametrize(
        ("row", "expected"),
        [
            ({"status": "ambiguous"}, True),
            ({"status": "failed", "reasonCode": "control_ambiguous"}, True),
            ({"status": "ambiguous", "reasonCode": "control_ambiguous"}, True),
            ({"status": "confirmed", "reasonCode": None}, False),
            ({"status": ["ambiguous"]}, False),
            ({}, False),
        ],
    )
    def test_an_ambiguous_act_is_one_by_status_or_by_reason(self, row: object, expected: bool) -> None:
        assert is_ambiguous(json.dumps(row).encode()) is expected


class TestAdvice:
    """Boundaries of 2.3, "Boundaries checked" among them."""

    @pytest.mark.parametrize(
        ("critical", "degraded", "failed", "ambiguous", "advice"),
        [
            (20, 0, 0, 0, Advice.RELAXED),
            (19, 0, 0, 0, Advice.BALANCED),
            (0, 0, 25, 0, Advice.RELAXED),
            (0, 0, 24, 0, Advice.BALANCED),
            (0, 5, 2, 0, Advice.STRICT),
            (0, 5, 2, 1, Advice.BALANCED),
            (0, 6, 2, 0, Advice.BALANCED),
            (0, 5, 3, 0, Advice.BALANCED),
            (1, 0, 0, 0, Advice.BALANCED),
        ],
    )
    def test_of_a_hundred_samples(self, critical: int, degraded: int, failed: int, ambiguous: int, advice: str) -> None:
        rows = [
            *good(critical, healthStatus="critical"),
            *good(degraded, healthStatus="degraded"),
            *good(failed, status="failed"),
            *good(100 - critical - degraded - failed),
        ]

        assert summarize(read(*rows), ambiguous).recommended is advice

    def test_nothing_speaks_for_no_change(self) -> None:
        summary = summarize([], 0)

        assert (summary.recommended, summary.confidence) == (Advice.BALANCED, "low")
        assert summary.observed.health.degraded_rate == summary.observed.health.critical_rate == 0
        assert summary.observed.duration_seconds.max is None

    @pytest.mark.parametrize(
        ("count", "confidence"), [(1, "low"), (29, "low"), (30, "medium"), (99, "medium"), (100, "high")]
    )
    def test_confidence_comes_with_samples_alone(self, count: int, confidence: str) -> None:
        places: list[Sample | Gap] = [*read(*good(count)), *[Gap.UNREADABLE, Gap.BLANK] * 50]

        assert summarize(places, 0).confidence == confidence

    def test_each_branch_says_why_in_its_own_words(self) -> None:
        windows = read(), read(*good(9)), read(*good(9, healthStatus="degraded")), read(*good(9, status="failed"))

        assert len({summarize(places, 0).rationale for places in windows}) == 4


_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "status": st.sampled_from(("success", "failed", "odd", None)),
            "healthStatus": st.sampled_from(("healthy", "degraded", "critical", 3)),
            "healthReasonCodes": st.lists(st.sampled_from(CODES), max_size=3),
            "durationSeconds": st.sampled_from((0, 1, 7, 2.5, "3", "x", None)),
        },
        optional={"sample": st.booleans()},
    ),
    max_size=120,
)


def naive(rows: list[dict[str, Any]], ambiguous: int) -> dict[str, Any]:
    """The contract's 2.2, read off once more."""
    rows = [row for row in rows if row.get("sample") is not False]
    count = len(rows)
    codes = [code for row in rows for code in row["healthReasonCodes"]]
    frequency = [{"code": code, "count": codes.count(code)} for code in sorted(set(codes), reverse=True)]
    frequency.sort(key=lambda each: -int(str(each["count"])))
    numbers = sorted(float(row["durationSeconds"]) for row in rows if row["durationSeconds"] not in ("x", None))

    def percentile(share: float) -> float | None:
        return numbers[math.floor((len(numbers) - 1) * share)] if numbers else None

    def having(member: str, value: str) -> int:
        return sum(row[member] == value for row in rows)

    return {
        "reconcileAttempts": count,
        "reconcileSuccessCount": having("status", "success"),
        "reconcileFailedCount": having("status", "failed"),
        "health": {
            "degradedCount": having("healthStatus", "degraded"),
            "criticalCount": having("healthStatus", "critical"),
            "degradedRate": having("healthStatus", "degraded") / count if count else 0,
            "criticalRate": having("healthStatus", "critical") / count if count else 0,
            "reasonCodeFrequency": frequency,
        },
        "control": {"ambiguousCount": ambiguous},
        "durationSeconds": {"p50": percentile(0.5), "p95": percentile(0.95), "max": numbers[-1] if numbers else None},
        "unreadableRows": 0,
    }


@given(_ROWS, st.integers(0, 5))
def test_the_summary_is_what_counting_by_hand_comes_to(rows: list[dict[str, Any]], ambiguous: int) -> None:
    summary = summarize(read(*rows), ambiguous)

    assert json.loads(msgspec.json.encode(summary.observed)) == naive(rows, ambiguous)


@given(st.integers(1, 400))
def test_percentiles_are_those_of_the_contract_for_every_count(count: int) -> None:
    durations = summarize([Sample(duration_s=n) for n in range(count)], 0).observed.duration_seconds

    assert (durations.p50, durations.p95) == (math.floor((count - 1) * 0.5), math.floor((count - 1) * 0.95))


def test_equally_frequent_codes_stand_in_reverse_order() -> None:
    rows = good(1, healthReasonCodes=["a", "b", "c", "b"])

    frequency = summarize(read(*rows), 0).observed.health.reason_code_frequency

    assert [(each.code, each.count) for each in frequency] == [("b", 2), ("c", 1), ("a", 1)]


def test_the_documents_have_the_contracts_members() -> None:
    summary = summarize([*read(*good(1)), Gap.UNREADABLE], 0, 2)

    printed = msgspec.to_builtins(document(summary, SOURCE, datetime(2026, 11, 4, 9, 52, 0, 5, UTC)))
    kept = msgspec.to_builtins(block(summary, SOURCE, "balanced"))

    assert printed["generatedAt"] == "2026-11-04T09:52:00Z"
    assert set(printed) == {
        *("schemaVersion", "generatedAt", "source", "observed", "recommendedProfile", "confidence", "rationale")
    }
    assert printed["observed"]["unreadableRows"] == 3
    assert set(kept) == {
        *("appliedProfile", "recommendedProfile", "confidence", "rationale", "summaryWindow", "telemetrySummary")
    }
    assert kept["telemetrySummary"] == {"observed": printed["observed"], "source": printed["source"]}
