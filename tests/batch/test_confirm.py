"""`ops-manager confirm-intent`: what proves an intent, and how long it looks. Source: control-and-service 3."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.batch.confirm import watch
from opsd.core.contract_confirmation import INTENTS, Sight, proof
from tests.batch.checkout import LOOP, Checkout
from tests.batch.cli import Done, run, spawn
from tests.batch.trees import STATUSES, approval

ONCE = ("--timeout-seconds", "0")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def asked(checkout: Checkout, intent: str, *words: str) -> Done:
    return run("confirm-intent", *checkout.flags, "--intent", intent, *ONCE, *words)


def reason(checkout: Checkout, intent: str) -> str:
    """Why it is confirmed, or `timeout`; the exit code says the same."""
    done = asked(checkout, intent)
    told: str = done.document["reason"]
    assert (done.code, done.document["confirmed"]) == ((1, False) if told == "timeout" else (0, True))
    return told


CANCELLED = {"awaiting_approval", "complete", "stopped", "failed", "idle", "unknown"}


class TestCancel:
    @pytest.mark.parametrize("status", STATUSES)
    def test_by_nothing_that_runs(self, checkout: Checkout, status: str) -> None:
        STATUSES[status](checkout)

        assert reason(checkout, "cancel") == ("inactive_not_running" if status in CANCELLED else "timeout")

    def test_a_state_that_was_removed_is_inactive(self, checkout: Checkout) -> None:
        checkout.running()
        (checkout.runtime / "state.json").unlink()

        assert reason(checkout, "cancel") == "inactive_not_running"

    def test_another_loop_that_runs_keeps_the_repository_active(self, checkout: Checkout) -> None:
        checkout.running().state(current_loop_id="other")

        done = asked(checkout, "cancel")

        assert (done.code, done.document["observedActive"]) == (1, True)


class TestApprove:
    def test_by_completion(self, checkout: Checkout) -> None:
        assert reason(STATUSES["complete"](checkout), "approve") == "completion_observed"

    def test_by_the_last_event_alone(self, checkout: Checkout) -> None:
        assert reason(checkout.event("loop_complete"), "approve") == "completion_observed"

    def test_by_a_summary_that_another_request_follows(self, checkout: Checkout) -> None:
        assert reason(approval(STATUSES["complete"](checkout), "pending"), "approve") == "completion_observed"

    def test_by_the_file_that_carries_the_decision(self, checkout: Checkout) -> None:
        STATUSES["awaiting_approval"](checkout)
        assert reason(checkout, "approve") == "timeout"

        approval(checkout, "approved")

        assert reason(checkout, "approve") == "decision_recorded"

    def test_by_the_event_of_the_decision(self, checkout: Checkout) -> None:
        checkout.event("approval_decision", role="human", status="approved")

        assert reason(checkout, "approve") == "decision_recorded"

    def test_not_by_an_event_that_others_follow(self, checkout: Checkout) -> None:
        checkout.event("approval_decision", status="approved").event("loop_start")

        assert reason(checkout, "approve") == "timeout"

    def test_not_by_a_rejection(self, checkout: Checkout) -> None:
        checkout.event("approval_decision", status="rejected")

        assert reason(approval(checkout, "rejected"), "approve") == "timeout"


class TestReject:
    @pytest.mark.parametrize("event", ["approval_rejected", "approval_decision"])
    def test_by_the_event(self, checkout: Checkout, event: str) -> None:
        assert reason(checkout.event(event, status="rejected"), "reject") == "rejection_observed"

    def test_by_the_file(self, checkout: Checkout) -> None:
        assert reason(approval(checkout.event("x"), "rejected"), "reject") == "rejection_observed"

    def test_by_a_decision_that_does_not_say_which(self, checkout: Checkout) -> None:
        assert reason(checkout.event("approval_decision"), "reject") == "rejection_observed"

    def test_not_by_a_decision_that_approved(self, checkout: Checkout) -> None:
        assert reason(checkout.event("approval_decision", status="approved"), "reject") == "timeout"

    def test_not_by_a_decision_whose_file_says_approved(self, checkout: Checkout) -> None:
        assert reason(approval(checkout.event("approval_decision"), "approved"), "reject") == "timeout"


class TestTheDocument:
    def test_in_full(self, checkout: Checkout) -> None:
        approval(STATUSES["idle"](checkout), "approved").event("approval_decision", status="approved")
        before = {path: path.read_bytes() for path in checkout.folder.rglob("*") if path.is_file()}

        told = asked(checkout, "reject").document

        assert told.pop("observedAt").endswith("Z")
        assert told.pop("evidence") == []
        assert told == {
            "intent": "reject",
            "confirmed": False,
            "reason": "timeout",
            "attempts": 1,
            "timeoutSeconds": 0,
            "observedStatus": "idle",
            "observedLastEvent": "approval_decision",
            "observedApprovalStatus": "approved",
            "observedActive": False,
        }
        assert {path: path.read_bytes() for path in checkout.folder.rglob("*") if path.is_file()} == before

    def test_nothing_that_could_be_seen(self, tmp_path: Path) -> None:
        done = run("confirm-intent", "--repo", str(tmp_path), "--loop", LOOP, "--intent", "approve", *ONCE)

        told = done.document
        assert (done.code, told["attempts"], told["observedStatus"]) == (1, 1, "unknown")
        assert told["observedLastEvent"] is told["observedApprovalStatus"] is None
        assert told["observedActive"] is False

    def test_a_loop_that_cannot_be_seen_is_not_taken_for_cancelled(self, checkout: Checkout) -> None:
        """What is told of it reads as inactive; nobody could look."""
        assert reason(checkout, "cancel") == "timeout"

    def test_pretty(self, checkout: Checkout) -> None:
        assert asked(checkout.running(), "cancel", "--pretty").out.startswith('{\n  "intent": "cancel"')

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("--intent", "pause"), "intent must be one of"),
            (("--timeout-seconds", "-1"), "--timeout-seconds must be a non-negative integer"),
            (("--interval-seconds", "x"), "--interval-seconds must be a non-negative integer"),
            (("--nonsense",), "unrecognized arguments"),
        ],
    )
    def test_bad_words(self, checkout: Checkout, words: tuple[str, ...], says: str) -> None:
        done = asked(checkout.running(), "cancel", *words)

        assert (done.code, done.out) == (1, "")
        assert says in done.err.splitlines()[-1]

    def test_an_intent_is_required(self, checkout: Checkout) -> None:
        done = spawn("confirm-intent", *checkout.flags)

        assert (done.code, done.out) == (1, "")
        assert "--intent" in done.err


class Hours:
    """A clock that moves when somebody waits, and while somebody looks."""

    def __init__(self, look_s: float = 0.0) -> None:
        self.at, self.look_s, self.waits = 100.0, look_s, list[float]()

    def now(self) -> float:
        return self.at

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.at += seconds

    def looking(self, sights: Iterator[Sight | None]) -> Callable[[], Sight | None]:
        def look() -> Sight | None:
            self.at += self.look_s
            return next(sights, None)

        return look


BUSY, GONE = Sight(status="running", active=True), Sight(status="stopped")


class TestHowLong:
    def watched(
        self, hours: Hours, *sights: Sight | None, timeout_s: float, interval_s: float
    ) -> tuple[str | None, int]:
        told = watch(
            "cancel",
            hours.looking(iter(sights)),
            timeout_s=timeout_s,
            interval_s=interval_s,
            monotonic=hours.now,
            wait=hours.wait,
        )
        return told.reason, told.attempts

    def test_until_it_shows(self) -> None:
        hours = Hours()

        assert self.watched(hours, BUSY, BUSY, GONE, timeout_s=30, interval_s=2) == ("inactive_not_running", 3)
        assert hours.waits == [2, 2]

    def test_once_without_time(self) -> None:
        assert self.watched(Hours(), BUSY, GONE, timeout_s=0, interval_s=1) == (None, 1)

    def test_a_last_look_when_the_time_is_up_and_no_longer(self) -> None:
        hours = Hours()

        assert self.watched(hours, *[BUSY] * 9, timeout_s=3, interval_s=2) == (None, 3)
        assert hours.waits == [2, 1]

    def test_a_look_that_brings_nothing_counts_and_leaves_what_was_seen(self) -> None:
        told = watch(
            "cancel",
            Hours().looking(iter([BUSY, None])),
            timeout_s=1,
            interval_s=1,
            monotonic=(hours := Hours()).now,
            wait=hours.wait,
        )

        assert (told.attempts, told.sight) == (2, BUSY)

    @given(
        st.integers(0, 20),
        st.integers(1, 5),
        st.floats(0, 3),
        st.lists(st.sampled_from([BUSY, None]), max_size=30),
    )
    def test_never_longer_than_asked_and_one_look(
        self, timeout_s: int, interval_s: int, look_s: float, sights: list[Sight | None]
    ) -> None:
        hours = Hours(look_s)

        _, attempts = self.watched(hours, *sights, *[BUSY] * 40, timeout_s=timeout_s, interval_s=interval_s)

        assert attempts >= 1
        assert hours.at - 100 <= timeout_s + 2 * look_s + 1e-6
        assert all(0 <= wait <= interval_s for wait in hours.waits)

    @pytest.mark.slow
    def test_a_real_wait_for_a_real_file(self, checkout: Checkout) -> None:
        checkout.running()

        done = run("confirm-intent", *checkout.flags, "--intent", "cancel", "--timeout-seconds", "1")

        assert (done.code, done.document["attempts"]) == (1, 2)
        assert json.loads(done.out)["timeoutSeconds"] == 1


@given(st.sampled_from(INTENTS), st.builds(Sight, decision=st.none(), approval_status=st.just("pending")))
def test_a_pending_request_proves_no_decision(intent: str, sight: Sight) -> None:
    assert proof(intent, sight) != "decision_recorded"
