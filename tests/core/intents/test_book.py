"""What is remembered of a loop's intents: the same by whatever way, and what a key leads to."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from msgspec.structs import replace

from opsd.core.intents import life
from opsd.core.intents.book import EMPTY, KEYS_MAX, Book, Conflict, book_of, control_state, noted, replay, settled
from opsd.model.acts import ActProblem, ActResult
from opsd.model.intent import (
    QUIET,
    ControlState,
    Intent,
    IntentKind,
    IntentStatus,
    OpenIntent,
    PauseNote,
    Refusal,
    Stage,
)
from opsd.model.mode import Mode, ModeRow
from tests.core.builders import moment
from tests.core.intents.asking import (
    AT_S,
    PID,
    RIYA,
    a_candidate,
    a_confirmation,
    a_run_at_work,
    a_run_that_asks,
    a_scene,
    an_intent,
    at_work,
    carried_out,
    options,
)

CANCEL, APPROVE, REJECT, START, PAUSE, RESUME = tuple(IntentKind)
LATE = moment(AT_S + 30)


def nth(ordinal: int, kind: IntentKind = CANCEL, **members: Any) -> Intent:
    return an_intent(kind, id=f"i-{ordinal}", ordinal=ordinal, **members)


def executed(ordinal: int, kind: IntentKind = CANCEL, *results: ActResult, **members: Any) -> Intent:
    intent = nth(ordinal, kind, **members)
    if kind in (APPROVE, REJECT):
        return carried_out(intent, a_run_that_asks(), a_scene(approval=a_candidate()), *results)
    return carried_out(intent, a_run_at_work(), at_work(), *results)


def confirmed(ordinal: int, kind: IntentKind = CANCEL, **members: Any) -> Intent:
    return life.settled(executed(ordinal, kind, **members), a_confirmation(), LATE)


def ambiguous(ordinal: int, kind: IntentKind = CANCEL, **members: Any) -> Intent:
    return life.ambiguous(executed(ordinal, kind, **members), a_confirmation(False), LATE)


class TestOpen:
    def test_what_is_not_settled_is_open_and_sorted(self) -> None:
        book = book_of([ambiguous(1), confirmed(2), nth(3)])

        assert [intent.id for intent in book.open] == ["i-1", "i-3"]
        assert book.in_flight == nth(3)
        assert [intent.id for intent in book.ambiguous] == ["i-1"]
        assert (book.ordinal, book.last) == (3, nth(3))

    def test_one_that_settles_is_open_no_more(self) -> None:
        book = noted(book_of([ambiguous(1), nth(2)]), life.settled_later(ambiguous(1), a_confirmation(), LATE))

        assert [intent.id for intent in book.open] == ["i-2"]
        assert book.last == nth(2), "that it moved last does not make it the newest"

    def test_intents_that_have_left_the_flight_are_counted(self) -> None:
        """A press while one is under way is the same press; while one is ambiguous it is a new attempt."""
        assert [settled(book_of(intents)) for intents in ([], [nth(1)], [confirmed(1)], [ambiguous(1)])] == [0, 0, 1, 1]
        assert settled(book_of([confirmed(1), nth(2)])) == 1


class TestPause:
    def test_a_confirmed_pause_is_remembered_with_who_why_and_until_when(self) -> None:
        pause = confirmed(1, PAUSE, reason="backup", options=options(pause_until=moment(900)))

        assert book_of([pause]).pause == PauseNote("i-1", "riya", moment(AT_S + 1), "backup", moment(900), PID)

    @pytest.mark.parametrize("kind", [RESUME, CANCEL, START])
    def test_what_ends_a_pause_ends_the_note(self, kind: IntentKind) -> None:
        book = book_of([confirmed(1, PAUSE), confirmed(2, kind)])

        assert book.pause is None
        again = noted(book, confirmed(3, PAUSE)).pause
        assert again is not None
        assert again.intent_id == "i-3"

    @pytest.mark.parametrize("kind", [APPROVE, REJECT])
    def test_a_decision_does_not(self, kind: IntentKind) -> None:
        assert book_of([confirmed(1, PAUSE), confirmed(2, kind)]).pause is not None

    def test_only_what_was_done_counts(self) -> None:
        failed = executed(2, RESUME, ActResult(problem=ActProblem.PROCESS_CHANGED))
        refused = life.refused(nth(2, RESUME), Refusal("not_paused", "It goes on."), LATE)

        for nothing in (failed, refused, ambiguous(2, RESUME), nth(2, RESUME)):
            assert book_of([confirmed(1, PAUSE), nothing]).pause is not None
        assert book_of([ambiguous(1, PAUSE)]).pause is None
        unconfirmed = life.unconfirmed(executed(1, PAUSE), LATE)
        assert book_of([unconfirmed]).pause is not None

    def test_a_pause_that_settles_late_does_not_outdo_a_later_resume(self) -> None:
        late = life.settled_later(ambiguous(1, PAUSE), a_confirmation(), LATE)

        assert noted(book_of([ambiguous(1, PAUSE), confirmed(2, RESUME)]), late).pause is None


class TestTracked:
    def test_the_newest_confirmed_decision_is_followed_until_it_is_completed(self) -> None:
        decided = confirmed(2, APPROVE)
        book = book_of([confirmed(1, REJECT), decided, confirmed(3)])

        assert book.tracked == decided
        consumed = life.staged(decided, Stage.CONSUMED, (), LATE)
        assert noted(book, consumed).tracked == consumed
        completed = life.staged(consumed, Stage.COMPLETED, (), LATE)
        assert noted(noted(book, consumed), completed).tracked is None

    def test_one_that_is_not_confirmed_is_not(self) -> None:
        assert book_of([ambiguous(1, APPROVE)]).tracked is None


class TestKeys:
    def given(self, ordinal: int, key: str, **members: Any) -> Intent:
        return nth(ordinal, idempotency_key=key, key_given=True, **members)

    def test_keys_that_callers_gave_lead_to_their_intents(self) -> None:
        book = book_of([self.given(1, "a"), self.given(2, "b"), nth(3)])

        assert {key: keyed.id for key, keyed in book.keys.items()} == {"a": "i-1", "b": "i-2"}

    def test_a_key_whose_intent_was_never_executed_is_free_again(self) -> None:
        book = book_of([self.given(1, "a"), self.given(2, "b")])

        freed = noted(book, life.expired(self.given(1, "a"), "waited_too_long", LATE))

        assert set(freed.keys) == {"b"}
        assert noted(freed, self.given(3, "a")).keys["a"].id == "i-3"
        late = noted(noted(freed, self.given(3, "a")), life.expired(self.given(1, "a"), "waited_too_long", LATE))
        assert late.keys["a"].id == "i-3", "another's end frees nothing"

    def test_only_so_many_are_remembered_and_the_newest(self) -> None:
        book = book_of([self.given(ordinal, f"k{ordinal}") for ordinal in range(1, KEYS_MAX + 2)])

        assert len(book.keys) == KEYS_MAX
        assert "k1" not in book.keys
        assert noted(book, self.given(1, "k1")).keys == book.keys


class TestReplay:
    def held(self, status: IntentStatus = IntentStatus.CONFIRMED, **members: Any) -> Intent:
        return nth(1, status=status, idempotency_key="k", fingerprint="f", key_given=True, **members)

    @pytest.mark.parametrize(
        "status", [one for one in IntentStatus if one not in (IntentStatus.REFUSED, IntentStatus.EXPIRED)]
    )
    def test_a_key_that_is_known_leads_to_what_came_of_it(self, status: IntentStatus) -> None:
        held = self.held(status)

        assert replay([held], "k", "f") is held
        assert replay([held], "k", "g") == Conflict("i-1")
        assert replay([held], "other", "f") is None

    @pytest.mark.parametrize("status", [IntentStatus.REFUSED, IntentStatus.EXPIRED])
    @pytest.mark.parametrize("print_", ["f", "g"])
    def test_what_was_never_executed_binds_no_key(self, status: IntentStatus, print_: str) -> None:
        assert replay([self.held(status)], "k", print_) is None
        again = replace(self.held(), id="i-2", ordinal=2)
        assert replay([again, self.held(status)], "k", "f") is again

    def test_a_key_of_ours_is_no_promise_to_anybody(self) -> None:
        ours = replace(self.held(IntentStatus.EXECUTING), key_given=False)

        assert replay([ours], "k", "f") is ours
        assert replay([ours], "k", "g") is None

    def test_the_newest_holds(self) -> None:
        newer = replace(self.held(), id="i-2", ordinal=2)

        assert replay([newer, self.held()], "k", "f") is newer


class TestControlState:
    def test_of_a_loop_nobody_asked_anything_of_there_is_nothing_to_say(self) -> None:
        assert control_state(EMPTY, None, last_is_ours=False, mode_row=None) == QUIET

    def test_it_tells_what_is_open_since_when(self) -> None:
        book = book_of([ambiguous(1), confirmed(2, PAUSE), nth(3, RESUME)])

        state = control_state(book, "ambiguous", last_is_ours=True, mode_row=None)

        assert state == ControlState(
            last_status="ambiguous",
            last_is_ours=True,
            in_flight=OpenIntent("i-3", RESUME, IntentStatus.RECORDED, "riya", moment(AT_S)),
            ambiguous=(OpenIntent("i-1", CANCEL, IntentStatus.AMBIGUOUS, "riya", LATE),),
            pause=book.pause,
        )
        assert state.pause is not None

    @pytest.mark.parametrize(
        ("last_status", "as_contract", "told"),
        [
            ("ambiguous", True, ["i-1"]),
            (None, True, ["i-1"]),
            ("confirmed", True, []),
            ("failed_command", True, []),
            ("confirmed", False, ["i-1"]),
        ],
    )
    def test_a_newer_row_is_the_end_of_what_the_contracts_callers_left_open(
        self, last_status: str | None, as_contract: bool, told: list[str]
    ) -> None:
        book = book_of([ambiguous(1, options=options(as_contract=as_contract)), confirmed(2)])

        state = control_state(book, last_status, last_is_ours=True, mode_row=None)

        assert [each.id for each in state.ambiguous] == told
        assert [each.id for each in book.ambiguous] == ["i-1"]

    @pytest.mark.parametrize("until", [None, moment(900)])
    def test_a_mode_in_force_is_told(self, until: Any) -> None:
        row = ModeRow(moment(0), Mode.OBSERVE, "riya", RIYA, "v1", until=until)

        state = control_state(EMPTY, None, last_is_ours=False, mode_row=row)

        assert (state.observing, state.observe_until) == (True, until)


@st.composite
def logs(draw: st.DrawFn) -> list[Intent]:
    """The rows of a log: intents one after the other, older ambiguous ones and decisions moving on in between."""
    rows: list[Intent] = []
    settling: list[Intent] = []
    for ordinal in range(1, draw(st.integers(1, 9)) + 1):
        kind = draw(st.sampled_from(IntentKind))
        given_: bool = draw(st.booleans())
        members: dict[str, Any] = {"idempotency_key": f"key-{ordinal}", "key_given": given_}
        rows.append(nth(ordinal, kind, **members))
        match draw(st.sampled_from(["refused", "expired", "executed"])):
            case "refused":
                rows.append(life.refused(rows[-1], Refusal("run_active", "It runs."), LATE))
                continue
            case "expired":
                rows.append(life.expired(rows[-1], "waited_too_long", LATE))
                continue
        done = executed(ordinal, kind, **members)
        begun = replace(done, status=IntentStatus.EXECUTING)
        end = draw(st.sampled_from(["confirmed", "unconfirmed", "failed", "ambiguous"]))
        if end == "failed":
            rows += [begun, life.executed(begun, [ActResult(exit_code=1)], LATE)]
        elif end == "unconfirmed":
            rows += [begun, done, life.unconfirmed(done, LATE)]
        elif end == "confirmed":
            rows += [begun, done, life.settled(done, a_confirmation(), LATE)]
        else:
            rows += [begun, done, life.ambiguous(done, a_confirmation(False), LATE)]
        settling.append(rows[-1])
        moves: bool = draw(st.booleans())
        if moves:
            moved = _moved(draw, settling)
            if moved is not None:
                rows.append(moved)
    event(f"kinds {len({row.intent for row in rows})}")
    return rows


def _moved(draw: st.DrawFn, settling: list[Intent]) -> Intent | None:
    index = draw(st.integers(0, len(settling) - 1))
    before = settling[index]
    after = None
    if before.status is IntentStatus.AMBIGUOUS:
        event("settled later")
        settle = draw(st.sampled_from(["confirmed", "acknowledged"]))
        after = (
            life.settled_later(before, a_confirmation(), LATE)
            if settle == "confirmed"
            else life.acknowledged(before, "noor", RIYA, "seen", LATE)
        )
    elif before.stage in (Stage.RECORDED, Stage.CONSUMED):
        event("staged")
        following = Stage.CONSUMED if before.stage is Stage.RECORDED else Stage.COMPLETED
        after = life.staged(before, following, (), LATE)
    if after is not None:
        settling[index] = after
    return after


def newest(rows: Sequence[Intent]) -> list[Intent]:
    """What a restart reads: the newest row of each intent, oldest intent first."""
    found = {row.id: row for row in rows}
    return sorted(found.values(), key=lambda one: one.ordinal)


@given(logs())
def test_what_is_noted_step_by_step_is_what_a_restart_reads(rows: list[Intent]) -> None:
    book: Book = EMPTY
    for count, row in enumerate(rows, 1):
        book = noted(book, row)
        assert book == book_of(newest(rows[:count]))


@given(logs(), st.data())
def test_a_row_noted_twice_changes_nothing(rows: list[Intent], data: st.DataObject) -> None:
    book = book_of(newest(rows))

    assert noted(book, data.draw(st.sampled_from(newest(rows)))) == book


@given(logs())
def test_a_book_stands_on_few_intents(rows: list[Intent]) -> None:
    """What is carried over a rotation of the log is enough for everything but the keys."""
    book = book_of(newest(rows))
    kept = {one.id for one in (*book.open, book.last, book.turn, book.decision) if one is not None}

    again = book_of([row for row in newest(rows) if row.id in kept])

    assert replace(again, keys={}) == replace(book, keys={})
