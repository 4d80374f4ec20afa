"""Digests and keys: what makes two approvals, two requests or two presses the same."""

import hashlib
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.core.intents.identity import candidate_digest, default_key, fingerprint
from opsd.model.intent import Fence, IntentKind, Options
from tests.core.builders import moment
from tests.core.story import FOLDER

ASKED: dict[str, object] = {
    "status": "pending",
    "loop_id": "docs-17",
    "run_id": "2026-11-21T02:00:00Z",
    "iteration": 3,
    "requested_at": "2026-11-21T02:09:00Z",
    "candidate": {"promise": {"expected": "READY", "text": "READY", "matched": True}, "gates": {"tests": "ok"}},
}
DECIDED = ASKED | {
    "status": "approved",
    "decision": {"status": "approved", "by": "riya", "note": None, "at": "2026-11-21T02:10:00Z"},
    "decided_at": "2026-11-21T02:10:00Z",
}


class TestCandidate:
    def recorded(self, name: str) -> list[dict[str, Any]]:
        """Every content that `approval.json` had in a recorded run, in order."""
        lines = [msgspec.json.decode(line) for line in (FOLDER / f"{name}.jsonl").read_bytes().splitlines()]
        return [line["value"] for line in lines if line.get("put") == "approval.json" and line["value"] is not None]

    def test_it_is_the_sha256_of_canonical_json(self) -> None:
        """Anyone can make it again: members sorted, no spaces, UTF-8 as it stands."""
        asked = {"run_id": "r", "iteration": 1, "requested_at": "é", "candidate": {"b": 1, "a": 2}}
        spelt = '{"candidate":{"a":2,"b":1},"iteration":1,"requested_at":"é","run_id":"r"}'

        assert candidate_digest(asked) == hashlib.sha256(spelt.encode()).hexdigest()

    @pytest.mark.parametrize(("name", "decision"), [("approved", "approved"), ("rejected", "rejected")])
    def test_a_recorded_approval_keeps_it_when_it_is_decided(self, name: str, decision: str) -> None:
        asked, decided = self.recorded(name)[:2]

        assert (asked["status"], decided["status"]) == ("pending", decision)
        assert candidate_digest(asked) == candidate_digest(decided)

    def test_the_next_candidate_of_a_rejected_loop_is_another(self) -> None:
        digests = [candidate_digest(value) for value in self.recorded("rejected")]

        assert len(set(digests)) == 2

    @pytest.mark.parametrize(
        "changed",
        [
            {"run_id": "2026-11-21T02:00:01Z"},
            {"iteration": 4},
            {"requested_at": "2026-11-21T02:09:01Z"},
            {"candidate": {"promise": {"expected": "READY", "text": "READY", "matched": False}, "gates": {}}},
            {"candidate": None},
        ],
        ids=lambda changed: next(iter(changed)),
    )
    def test_whatever_is_asked_counts(self, changed: dict[str, object]) -> None:
        assert candidate_digest(ASKED | changed) != candidate_digest(ASKED)

    def test_what_is_decided_does_not(self) -> None:
        assert candidate_digest(DECIDED) == candidate_digest(ASKED)

    @given(st.permutations(list(ASKED)), st.permutations(["promise", "gates"]))
    def test_the_order_of_members_does_not(self, order: list[str], inner: list[str]) -> None:
        candidate = ASKED["candidate"]
        assert isinstance(candidate, dict)
        shuffled = {name: ASKED[name] for name in order} | {"candidate": {name: candidate[name] for name in inner}}

        assert candidate_digest(shuffled) == candidate_digest(ASKED)

    def test_a_missing_member_counts_as_null(self) -> None:
        assert candidate_digest({}) == candidate_digest(dict.fromkeys(("run_id", "iteration", "requested_at")))


class TestFingerprint:
    def of(self, **changed: Any) -> str:
        asked: dict[str, Any] = {
            "loop_id": "docs-17",
            "kind": IntentKind.PAUSE,
            "by": "riya",
            "note": "",
            "reason": "",
            "expect": Fence(),
            "options": Options(),
        }
        return fingerprint(**(asked | changed))

    @pytest.mark.parametrize(
        "changed",
        [
            {"loop_id": "docs-18"},
            {"kind": IntentKind.RESUME},
            {"by": "noor"},
            {"note": "so"},
            {"reason": "so"},
            {"expect": Fence(run_id="r")},
            {"expect": Fence(iteration=1)},
            {"expect": Fence(candidate="c")},
            {"options": Options(confirm=False)},
            {"options": Options(timeout_s=31)},
            {"options": Options(override_divergence=True)},
            {"options": Options(clear_stale=True)},
            {"pause_for_s": 60.0},
        ],
        ids=str,
    )
    def test_whatever_is_asked_counts(self, changed: dict[str, Any]) -> None:
        assert self.of(**changed) != self.of()

    def test_a_note_is_no_reason(self) -> None:
        assert self.of(note="so") != self.of(reason="so")

    def test_the_moment_until_which_a_pause_lasts_does_not(self) -> None:
        """Asked again with the same key a minute later it is the same request, and ends another time."""
        assert self.of(options=Options(pause_until=moment(60))) == self.of(options=Options(pause_until=moment(120)))


class TestDefaultKey:
    def of(self, **changed: Any) -> str:
        asked: dict[str, Any] = {
            "loop_id": "docs-17",
            "run_id": "2026-11-21T02:00:00Z",
            "iteration": 3,
            "kind": IntentKind.CANCEL,
            "candidate": None,
            "ordinal": 4,
        }
        return default_key(**(asked | changed))

    def test_it_says_what_it_is_for(self) -> None:
        assert re.fullmatch(r"cancel-[0-9a-f]{16}", self.of())

    @pytest.mark.parametrize(
        "changed",
        [
            {"loop_id": "docs-18"},
            {"run_id": None},
            {"iteration": 2},
            {"kind": IntentKind.PAUSE},
            {"candidate": "c"},
            {"ordinal": 5},
        ],
        ids=lambda changed: next(iter(changed)),
    )
    def test_another_situation_has_another(self, changed: dict[str, Any]) -> None:
        assert self.of(**changed).partition("-")[2] != self.of().partition("-")[2]

    def test_the_same_situation_has_the_same(self) -> None:
        assert self.of() == self.of()
