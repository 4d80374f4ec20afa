"""Whether an intent may be carried out: each rule with what it objects to, and with its nearest neighbour.

"Nearest neighbour" is a situation that differs in one thing and is none of the rule's business.
"""

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from opsd.core.intents.acts import watermark
from opsd.core.intents.gate import RULES, moved, refuse
from opsd.model.acts import Scene
from opsd.model.health import Finding, Severity
from opsd.model.intent import (
    ControlState,
    Fence,
    FenceDifference,
    Intent,
    IntentKind,
    IntentStatus,
    OpenIntent,
)
from opsd.model.lifecycle import DivergenceFlags, Fold, Phase
from opsd.model.observation import Artifact
from opsd.model.process import Liveness, ProcessMemory
from opsd.model.refusals import REFUSALS
from opsd.model.run import LoopRef, Run
from opsd.model.runtime import Approval, Presence
from opsd.model.transport import TransportMode
from tests.core.builders import LOOP, RUN_ID, a_run, a_state, an_active_run, moment, on_file, stamp
from tests.core.intents.asking import (
    ABSENT,
    ALIVE,
    AT_S,
    NONE,
    PID,
    STOPPED,
    UNKNOWN,
    a_candidate,
    a_run_at_rest,
    a_run_at_work,
    a_run_that_asks,
    a_scene,
    an_intent,
    at_work,
    options,
)
from tests.core.judging import a_projection, failing, health_of

KINDS = tuple(IntentKind)
CANCEL, APPROVE, REJECT, START, PAUSE, RESUME = KINDS
DECIDING = (APPROVE, REJECT)
LEFT = a_state()
"""What a run that died leaves in `state.json`."""


def refused(intent: Intent, run: Run, scene: Scene) -> str | None:
    refusal = refuse(intent, run, scene, moment(AT_S))
    return refusal.code if refusal is not None else None


def fitting(kind: IntentKind) -> tuple[Run, Scene]:
    """A situation in which an intent of this kind may be carried out."""
    match kind:
        case IntentKind.CANCEL | IntentKind.PAUSE:
            return a_run_at_work(), at_work()
        case IntentKind.RESUME:
            return a_run_at_work(Phase.PAUSED), at_work(STOPPED)
        case IntentKind.START:
            return a_run_at_rest(), a_scene()
        case IntentKind.APPROVE | IntentKind.REJECT:
            return a_run_that_asks(), a_scene(approval=a_candidate())


def seen(scene: Scene, **members: Any) -> Scene:
    return replace(scene, **members)


@pytest.mark.parametrize("kind", KINDS)
def test_where_everything_fits_nothing_objects(kind: IntentKind) -> None:
    assert refused(an_intent(kind), *fitting(kind)) is None


def test_every_code_is_registered() -> None:
    assert {rule.code for rule in RULES} <= set(REFUSALS)


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def after(self, kind: IntentKind, **members: Any) -> str | None:
        run, scene = fitting(kind)
        return refused(an_intent(kind), replace(run, **members), scene)

    def test_nothing_is_carried_out_in_observe_mode(self, kind: IntentKind) -> None:
        assert self.after(kind, control=ControlState(observing=True)) == "observe_mode"
        assert self.after(kind, control=ControlState(observe_until=moment(90))) is None

    def test_the_moment_at_which_observing_ends_is_told(self, kind: IntentKind) -> None:
        run, scene = fitting(kind)
        observed = replace(run, control=ControlState(observing=True, observe_until=moment(90)))

        refusal = refuse(an_intent(kind), observed, scene, moment(AT_S))

        assert refusal is not None
        assert stamp(90) in refusal.message

    def test_one_intent_of_a_loop_is_under_way_at_a_time(self, kind: IntentKind) -> None:
        other = OpenIntent("i-0", CANCEL, IntentStatus.EXECUTING, "noor", moment(0))

        assert self.after(kind, control=ControlState(in_flight=other)) == "intent_in_flight"
        assert self.after(kind, control=ControlState(in_flight=replace(other, id="i-1"))) is None, "it is this one"
        settled = replace(other, status=IntentStatus.AMBIGUOUS)
        assert self.after(kind, control=ControlState(ambiguous=(settled,))) is None

    def test_only_what_is_local_is_reached(self, kind: IntentKind) -> None:
        far = LoopRef(LOOP, "/srv/repo", TransportMode.SPRITE_SERVICE)

        assert self.after(kind, ref=far) == "transport_not_supported"

    @pytest.mark.parametrize(
        "ref",
        [LoopRef(LOOP, "/srv/repo", enabled=False), LoopRef(LOOP, "/srv/repo", fault="loop_outside_repo")],
        ids=["disabled", "faulty"],
    )
    def test_a_loop_that_nobody_manages_is_left_alone(self, kind: IntentKind, ref: LoopRef) -> None:
        assert self.after(kind, ref=ref) == "picture_incomplete"

    @pytest.mark.parametrize(
        "members",
        [
            {"transport_health": failing(1)},
            {"projection": None},
            {"rebuild": Fold()},
            {"backlog_bytes": 1},
        ],
        ids=["failed", "never looked at", "read anew", "unread"],
    )
    def test_a_picture_that_is_not_whole_is_not_acted_on(self, kind: IntentKind, members: Mapping[str, Any]) -> None:
        assert self.after(kind, **members) == "picture_incomplete"

    def test_a_failure_that_is_over_is_over(self, kind: IntentKind) -> None:
        assert self.after(kind, transport_health=failing(0)) is None

    @pytest.mark.parametrize("presence", [Presence.SETTLING, Presence.UNREADABLE])
    @pytest.mark.parametrize("file", ["state", "active_run", "approval"])
    def test_a_file_that_it_is_about_must_be_readable(self, kind: IntentKind, file: str, presence: Presence) -> None:
        """One that it is not about costs nothing: a run can be cancelled whatever its approval looks like."""
        about = {
            CANCEL: {"state", "active_run"},
            APPROVE: {"approval"},
            REJECT: {"approval"},
            START: {"state", "active_run", "approval"},
            PAUSE: {"active_run"},
            RESUME: {"active_run"},
        }[kind]
        run, scene = fitting(kind)
        value = getattr(scene, file).value
        garbled: Artifact[Any] = Artifact(presence, value, problem="It is garbled.")

        found = refused(an_intent(kind), run, seen(scene, **{file: garbled}))

        assert found == ("picture_incomplete" if file in about else None)

    @pytest.mark.parametrize(
        "flags",
        [
            DivergenceFlags(active_mismatch=True),
            DivergenceFlags(approval_completion_conflict=True),
            DivergenceFlags(cursor_regression=True),
        ],
        ids=["active", "approval", "cursor"],
    )
    def test_divergence_freezes_acts_unless_a_reason_overrides_it(
        self, kind: IntentKind, flags: DivergenceFlags
    ) -> None:
        run, scene = fitting(kind)
        diverged = replace(run, projection=a_projection(Phase.RUNNING, divergence=flags))
        overriding = an_intent(kind, options=options(override_divergence=True))

        assert refused(an_intent(kind), diverged, scene) == "divergence_frozen"
        assert refused(an_intent(kind, reason="sure"), diverged, scene) == "divergence_frozen"
        assert refused(overriding, diverged, scene) == "divergence_frozen"
        assert refused(replace(overriding, reason=" "), diverged, scene) == "divergence_frozen"
        assert refused(replace(overriding, reason="sure"), diverged, scene) is None


class TestFence:
    def differs(self, kind: IntentKind, expect: Fence, run: Run | None = None, scene: Scene | None = None) -> list[str]:
        fit_run, fit_scene = fitting(kind)
        refusal = refuse(an_intent(kind, expect=expect), run or fit_run, scene or fit_scene, moment(AT_S))
        if refusal is None:
            return []
        assert refusal.code == "fence_mismatch"
        return [difference.where for difference in refusal.differences]

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_was_seen_is_still_there(self, kind: IntentKind) -> None:
        assert self.differs(kind, Fence(run_id=RUN_ID, iteration=1)) == []
        assert self.differs(kind, Fence()) == []

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_difference_is_listed_with_what_was_found(self, kind: IntentKind) -> None:
        expect = Fence(run_id="earlier", iteration=9, candidate="another")

        refusal = refuse(an_intent(kind, expect=expect), *fitting(kind), moment(AT_S))

        assert refusal is not None
        digest = a_candidate().value
        assert digest is not None
        assert refusal.differences == (
            FenceDifference("run_id", "earlier", RUN_ID),
            FenceDifference("iteration", "9", "1"),
            FenceDifference("candidate", "another", digest.digest or "" if kind in DECIDING else "none"),
        )
        assert "earlier" in refusal.message

    @pytest.mark.parametrize(
        ("expect", "where"),
        [
            (Fence(run_id="earlier"), ["run_id"]),
            (Fence(iteration=2), ["iteration"]),
            (Fence(run_id=RUN_ID, iteration=2), ["iteration"]),
        ],
        ids=str,
    )
    def test_one_difference_is_enough(self, expect: Fence, where: list[str]) -> None:
        assert self.differs(CANCEL, expect) == where

    def test_the_very_candidate_is_compared(self) -> None:
        digest = a_candidate().value
        assert digest is not None
        expect = Fence(candidate=digest.digest)

        assert self.differs(APPROVE, expect) == []
        later = a_scene(approval=a_candidate(asked_s=10))
        assert self.differs(APPROVE, expect, scene=later) == ["candidate"]

    def test_a_candidate_that_a_later_run_found_waiting_is_the_asking_runs_still(self) -> None:
        """Who decides may have seen the run that asked, or the one that found it pending."""
        waits = replace(
            a_run_that_asks(), projection=replace(a_projection(Phase.AWAITING_APPROVAL), run_id=stamp(40), iteration=7)
        )

        for run_id, iteration in ((RUN_ID, 1), (stamp(40), 7)):
            assert self.differs(APPROVE, Fence(run_id=run_id, iteration=iteration), run=waits) == []
        assert self.differs(APPROVE, Fence(run_id=stamp(41), iteration=8), run=waits) == ["run_id", "iteration"]

    @pytest.mark.parametrize("kind", [CANCEL, PAUSE, RESUME])
    @pytest.mark.parametrize(("pid", "begun"), [(PID + 1, stamp(0)), (PID, stamp(1)), (None, None)])
    def test_a_run_begun_since_the_last_pass_is_not_the_one_that_was_seen(
        self, kind: IntentKind, pid: int | None, begun: str | None
    ) -> None:
        """Its log has said nothing yet, so that the last known run id still stands there."""
        run, _ = fitting(kind)
        before = replace(run, process=ProcessMemory(pid=pid, begun=begun))

        assert self.differs(kind, Fence(run_id=RUN_ID), run=before) == ["run_id"]
        assert self.differs(kind, Fence(), run=before) == [], "whatever runs was meant"


class TestCancel:
    def asked(self, scene: Scene, run: Run | None = None) -> str | None:
        return refused(an_intent(CANCEL), run or a_run_at_work(), scene)

    @pytest.mark.parametrize("sighting", [ALIVE, STOPPED, UNKNOWN, NONE])
    def test_another_loop_that_is_not_surely_gone_is_never_reached(self, sighting: Any) -> None:
        assert self.asked(at_work(sighting, loop_id="other")) == "neighbour_active"

    def test_another_loop_whose_process_is_gone_is_not_in_the_way(self) -> None:
        """But there is nothing of ours to cancel either."""
        assert self.asked(at_work(ABSENT, loop_id="other")) == "nothing_to_cancel"
        ours = at_work(ABSENT, loop_id="other", state=a_state())
        assert self.asked(ours) is None

    def test_another_loop_that_the_state_calls_active_counts_too(self) -> None:
        """A second run in a checkout overwrites both files of the first, which goes on living."""
        theirs = a_state(loop_id="other")

        assert self.asked(at_work(state=theirs)) == "neighbour_active"
        assert self.asked(a_scene(state=theirs)) == "neighbour_active"
        assert self.asked(at_work(ABSENT, state=theirs)) == "neighbour_active"
        assert self.asked(at_work(state=a_state(loop_id="other", active=False))) is None

    @pytest.mark.parametrize("sighting", [ALIVE, STOPPED, UNKNOWN])
    def test_a_run_that_has_not_entered_a_loop_may_be_anybodys(self, sighting: Any) -> None:
        assert self.asked(at_work(sighting, loop_id=None, state=a_state(active=False))) == "neighbour_active"
        assert self.asked(at_work(sighting, loop_id=None, state=a_state())) is None, "the state says that it is ours"

    def test_what_a_run_that_never_entered_a_loop_left_is_anybodys_to_clear(self) -> None:
        assert self.asked(at_work(ABSENT, loop_id=None, state=a_state(active=False))) is None
        assert self.asked(at_work(ABSENT, loop_id=None, state=a_state(loop_id="other"))) == "neighbour_active"

    @pytest.mark.parametrize(
        "scene",
        [a_scene(), a_scene(state=Artifact()), a_scene(state=a_state(active=False))],
        ids=["inactive", "no state", "ours, inactive"],
    )
    def test_where_nothing_is_active_there_is_nothing_to_cancel(self, scene: Scene) -> None:
        assert self.asked(scene) == "nothing_to_cancel"

    @pytest.mark.parametrize(
        "scene",
        [
            a_scene(state=LEFT),
            at_work(ABSENT),
            at_work(ABSENT, state=a_state(active=False)),
            at_work(UNKNOWN),
        ],
        ids=["state left", "both left", "active-run left", "unknown"],
    )
    def test_whatever_a_run_of_ours_left_can_be_cleared(self, scene: Scene) -> None:
        assert self.asked(scene) is None

    def test_a_file_that_is_gone_says_nothing_whatever_it_said(self) -> None:
        gone = Artifact(Presence.ABSENT, an_active_run(loop_id="other").value)

        assert self.asked(seen(at_work(), active_run=gone, active_process=NONE, state=LEFT)) is None

    def test_it_needs_the_runtimes_command(self) -> None:
        assert self.asked(seen(at_work(), command=None)) == "runtime_command_missing"


@pytest.mark.parametrize("kind", DECIDING)
class TestDecisions:
    def asked(self, kind: IntentKind, approval: Artifact[Approval], **members: Any) -> str | None:
        return refused(an_intent(kind), a_run_that_asks(), a_scene(approval=approval, **members))

    @pytest.mark.parametrize("status", ["approved", "rejected"])
    def test_what_is_decided_is_not_decided_again(self, kind: IntentKind, status: str) -> None:
        assert self.asked(kind, a_candidate(status)) == "already_decided"

    @pytest.mark.parametrize(
        "approval", [Artifact(), on_file(Approval(status="none")), on_file(Approval())], ids=["absent", "odd", "empty"]
    )
    def test_where_nothing_is_asked_nothing_is_decided(self, kind: IntentKind, approval: Artifact[Approval]) -> None:
        assert self.asked(kind, approval) == "nothing_to_approve"

    def test_it_needs_the_runtimes_command(self, kind: IntentKind) -> None:
        assert self.asked(kind, a_candidate(), command=None) == "runtime_command_missing"
        assert self.asked(kind, Artifact(), command=None) == "nothing_to_approve", "the situation comes first"

    def test_a_neighbour_is_not_touched_by_a_decision(self, kind: IntentKind) -> None:
        scene = at_work(loop_id="other", approval=a_candidate())

        assert refused(an_intent(kind), a_run_that_asks(), scene) is None


class TestStart:
    CLEARING = options(clear_stale=True)

    def asked(self, scene: Scene, run: Run | None = None, *, clearing: bool = False) -> str | None:
        intent = an_intent(START, options=self.CLEARING) if clearing else an_intent(START)
        return refused(intent, run or a_run_at_rest(), scene)

    @pytest.mark.parametrize("clearing", [False, True])
    @pytest.mark.parametrize("loop_id", [LOOP, "other", None])
    @pytest.mark.parametrize("sighting", [ALIVE, STOPPED, UNKNOWN, NONE])
    def test_a_checkout_has_one_run_at_a_time(self, sighting: Any, loop_id: str | None, clearing: bool) -> None:
        """Whichever loop's it is: the runtime would overwrite its files."""
        assert self.asked(at_work(sighting, loop_id=loop_id), clearing=clearing) == "run_active"

    @pytest.mark.parametrize("clearing", [False, True])
    def test_a_run_that_only_its_log_shows_runs_too(self, clearing: bool) -> None:
        def left(liveness: Liveness) -> Run:
            return a_run_at_work(process=ProcessMemory(liveness=liveness))

        assert self.asked(a_scene(state=LEFT), left(Liveness.FOREIGN), clearing=clearing) == "run_active"
        expected = None if clearing else "stale_active"
        assert self.asked(a_scene(state=LEFT), left(Liveness.GONE), clearing=clearing) == expected
        assert self.asked(a_scene(), left(Liveness.FOREIGN)) is None, "the state on file is newer than that belief"

    @pytest.mark.parametrize("clearing", [False, True])
    def test_a_pending_approval_comes_first(self, clearing: bool) -> None:
        assert self.asked(a_scene(approval=a_candidate()), clearing=clearing) == "approval_waits"
        assert self.asked(a_scene(approval=a_candidate("approved")), clearing=clearing) is None

    @pytest.mark.parametrize(
        "scene",
        [
            a_scene(state=LEFT),
            at_work(ABSENT),
            at_work(ABSENT, state=a_state(active=False)),
            at_work(ABSENT, loop_id="other"),
            at_work(ABSENT, loop_id=None, state=Artifact()),
        ],
        ids=["state", "both", "active-run", "another's", "nobody's"],
    )
    def test_what_a_dead_run_left_is_cleared_only_on_request(self, scene: Scene) -> None:
        assert self.asked(scene) == "stale_active"
        assert self.asked(scene, clearing=True) is None

    @pytest.mark.parametrize("active_run", [Artifact(), an_active_run()], ids=["none", "ours"])
    def test_clearing_never_reaches_another_loop_that_is_not_surely_gone(self, active_run: Artifact[Any]) -> None:
        scene = a_scene(state=a_state(loop_id="other"), active_run=active_run, active_process=ABSENT)

        assert self.asked(scene) == "stale_active"
        assert self.asked(scene, clearing=True) == "neighbour_active"

    def test_nothing_left_over_needs_no_clearing(self) -> None:
        assert self.asked(a_scene(), clearing=True) is None

    def test_a_loop_that_never_ran_may_be_started(self) -> None:
        """Neither folder nor log is there yet, which is why it could not be looked at."""
        missing = Finding("artifacts_missing", Severity.DEGRADED, None, "There is no log.", "o")
        unread = a_run(transport_health=failing(3))
        unread = replace(unread, health=replace(health_of(unread), findings=(missing,)))

        assert refused(an_intent(START), unread, a_scene(state=Artifact())) is None
        assert refused(an_intent(CANCEL), unread, at_work()) == "picture_incomplete"
        assert refused(an_intent(START), replace(unread, health=None), a_scene()) == "picture_incomplete"
        once_ran = replace(unread, fold=a_run_at_rest().fold)
        assert refused(an_intent(START), once_ran, a_scene()) == "picture_incomplete"

    def test_it_needs_the_runtimes_command(self) -> None:
        assert self.asked(a_scene(command=None)) == "runtime_command_missing"


@pytest.mark.parametrize("kind", [PAUSE, RESUME])
class TestPauseAndResume:
    def asked(self, kind: IntentKind, scene: Scene) -> str | None:
        return refused(an_intent(kind), a_run_at_work(), scene)

    @pytest.mark.parametrize(
        "scene",
        [
            a_scene(),
            at_work(ABSENT),
            at_work(loop_id="other"),
            at_work(loop_id=None),
            at_work(STOPPED, loop_id="other"),
        ],
        ids=["nothing", "gone", "another's", "nobody's", "another's stopped"],
    )
    def test_only_a_process_of_this_loop_is_signalled(self, kind: IntentKind, scene: Scene) -> None:
        assert self.asked(kind, scene) == "not_running"

    @pytest.mark.parametrize("sighting", [UNKNOWN, NONE])
    def test_a_process_that_nobody_can_judge_is_left_alone(self, kind: IntentKind, sighting: Any) -> None:
        assert self.asked(kind, at_work(sighting)) == "process_unknown"

    def test_it_needs_no_command_of_the_runtime(self, kind: IntentKind) -> None:
        run, scene = fitting(kind)

        assert refused(an_intent(kind), run, seen(scene, command=None)) is None

    @pytest.mark.parametrize(
        ("leader", "family", "stopped", "going"),
        [
            (ALIVE, (ALIVE, ALIVE), False, True),
            (STOPPED, (STOPPED, STOPPED), True, False),
            (STOPPED, (STOPPED, ALIVE), False, False),
            (ALIVE, (ALIVE, STOPPED), False, False),
            (STOPPED, (), True, False),
            (ALIVE, (), False, True),
        ],
    )
    def test_what_was_reached_half_may_be_asked_again(
        self, kind: IntentKind, leader: Any, family: Any, stopped: bool, going: bool
    ) -> None:
        found = self.asked(kind, at_work(leader, family=family))

        if kind is PAUSE:
            assert found == ("already_paused" if stopped else None)
        else:
            assert found == ("not_paused" if going else None)


class TestLastLook:
    """Between the watermark and the act: what was meant must still be there, even where nobody fenced it."""

    def marked(self, kind: IntentKind) -> tuple[Intent, Scene]:
        run, scene = fitting(kind)
        return an_intent(kind, watermark=watermark(run, scene, moment(AT_S))), scene

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_stayed_as_it_was_is_acted_on(self, kind: IntentKind) -> None:
        intent, scene = self.marked(kind)

        assert moved(intent, scene) is None
        assert moved(replace(intent, watermark=None), scene) is None

    @pytest.mark.parametrize("kind", DECIDING)
    def test_another_candidate_is_not_decided_on(self, kind: IntentKind) -> None:
        intent, _ = self.marked(kind)

        for approval in (a_candidate(asked_s=10), Artifact()):
            refusal = moved(intent, a_scene(approval=approval))
            assert refusal is not None
            assert [one.where for one in refusal.differences] == ["candidate"]

    @pytest.mark.parametrize("kind", [CANCEL, PAUSE, RESUME])
    @pytest.mark.parametrize("active_run", [an_active_run(pid=PID + 1), an_active_run(1)], ids=["pid", "begun"])
    def test_another_run_is_neither_cancelled_nor_signalled(self, kind: IntentKind, active_run: Artifact[Any]) -> None:
        intent, scene = self.marked(kind)

        refusal = moved(intent, seen(scene, active_run=active_run))
        assert refusal is not None
        assert refusal.code == "fence_mismatch"
        assert moved(intent, seen(scene, active_run=Artifact())) is None, "the end of a run takes nothing's place"


def test_the_first_rule_that_objects_decides() -> None:
    """What concerns opsd comes before what concerns the loop, and that before what concerns this kind of intent."""
    run = a_run_at_rest(
        control=ControlState(observing=True),
        backlog_bytes=1,
        projection=a_projection(Phase.RUNNING, divergence=DivergenceFlags(active_mismatch=True)),
    )
    intent, scene = an_intent(CANCEL, expect=Fence(run_id="earlier")), a_scene(command=None)

    told = []
    for mended in (
        {"control": ControlState()},
        {"backlog_bytes": 0},
        {},
        {"projection": a_projection(Phase.RUNNING)},
        None,
    ):
        told.append(refused(intent, run, scene))
        if mended == {}:
            intent = replace(intent, expect=Fence())
        elif mended is not None:
            run = replace(run, **mended)

    assert told == ["observe_mode", "picture_incomplete", "fence_mismatch", "divergence_frozen", "nothing_to_cancel"]
