"""What carrying an intent out takes: exactly the runtime's own commands, or a signal."""

import pytest
from msgspec.structs import replace

from opsd.core.intents.acts import acts_for, watermark, words
from opsd.model.acts import Act, LaunchRun, RunCommand, Scene, SignalRun, SignalWord
from opsd.model.intent import Intent, IntentKind, Watermark
from opsd.model.lifecycle import Phase
from opsd.model.observation import Artifact
from tests.core.builders import LOOP, RUN_ID, a_fold, a_run, a_state, an_active_run, an_event, moment, stamp
from tests.core.intents.asking import (
    ABSENT,
    ALIVE,
    BEGUN,
    COMMAND,
    LOG,
    PID,
    REPO,
    STOPPED,
    a_candidate,
    a_run_at_work,
    a_run_that_asks,
    a_scene,
    an_intent,
    at_work,
    options,
)
from tests.core.judging import a_projection

CANCELLING = RunCommand((COMMAND, "cancel", "--repo", REPO), cwd=REPO, timeout_s=60)
LAUNCHING = LaunchRun((COMMAND, "run", "--repo", REPO, "--loop", LOOP), REPO, LOOP, "i-1", LOG)


def acts(intent: Intent, scene: Scene) -> tuple[Act, ...]:
    return acts_for(intent, scene, repo=REPO, log=LOG, timeout_s=60)


def signal(word: SignalWord, *, pgid: int | None = PID) -> SignalRun:
    return SignalRun(PID, pgid, moment(0), word)


class TestArgv:
    """Source: control-and-service 2.2."""

    def test_cancel_names_the_checkout_alone(self) -> None:
        """Neither who asks nor why ever reaches the runtime."""
        intent = an_intent(IntentKind.CANCEL, note="so", reason="why")

        assert acts(intent, at_work()) == (CANCELLING,)

    @pytest.mark.parametrize(
        ("kind", "note", "tail"),
        [
            (IntentKind.APPROVE, "", ()),
            (IntentKind.APPROVE, "ship it", ("--note", "ship it")),
            (IntentKind.REJECT, "", ("--reject",)),
            (IntentKind.REJECT, "not yet", ("--reject", "--note", "not yet")),
        ],
    )
    def test_a_decision_names_loop_and_actor(self, kind: IntentKind, note: str, tail: tuple[str, ...]) -> None:
        argv = (COMMAND, "approve", "--repo", REPO, "--loop", LOOP, "--by", "riya", *tail)

        assert acts(an_intent(kind, note=note), a_scene(approval=a_candidate())) == (RunCommand(argv, REPO, 60),)

    def test_to_the_contracts_callers_a_missing_command_is_one_that_fails(self) -> None:
        intent = an_intent(IntentKind.CANCEL, options=options(as_contract=True))

        (act,) = acts(intent, replace(at_work(), command=None))

        assert isinstance(act, RunCommand)
        assert act.argv == ("superloop.sh", "cancel", "--repo", REPO)

    def test_a_start_is_launched(self) -> None:
        assert acts(an_intent(IntentKind.START), a_scene()) == (LAUNCHING,)


class TestOrder:
    @pytest.mark.parametrize(
        "scene", [at_work(STOPPED), at_work(ALIVE, family=(ALIVE, STOPPED))], ids=["all", "one of them"]
    )
    def test_what_is_stopped_is_continued_before_it_is_cancelled(self, scene: Scene) -> None:
        """A stopped process does not see the runtime's TERM, and is killed ten seconds later."""
        assert acts(an_intent(IntentKind.CANCEL), scene) == (signal(SignalWord.CONTINUE), CANCELLING)

    @pytest.mark.parametrize(
        ("scene", "clears"),
        [
            (a_scene(state=a_state()), True),
            (at_work(ABSENT), True),
            (at_work(ABSENT, state=Artifact()), True),
            (a_scene(), False),
        ],
        ids=["state", "both", "active-run", "nothing"],
    )
    def test_leftovers_are_cleared_before_a_start_that_asks_for_it(self, scene: Scene, clears: bool) -> None:
        clearing = an_intent(IntentKind.START, options=options(clear_stale=True))

        assert acts(clearing, scene) == ((CANCELLING, LAUNCHING) if clears else (LAUNCHING,))
        assert acts(an_intent(IntentKind.START), scene) == (LAUNCHING,)


class TestSignals:
    @pytest.mark.parametrize(
        ("kind", "word"), [(IntentKind.PAUSE, SignalWord.STOP), (IntentKind.RESUME, SignalWord.CONTINUE)]
    )
    def test_they_go_to_the_process_on_file(self, kind: IntentKind, word: SignalWord) -> None:
        assert acts(an_intent(kind), at_work()) == (signal(word),)

    @pytest.mark.parametrize(
        ("kind", "scene"),
        [
            (IntentKind.PAUSE, a_scene()),
            (IntentKind.RESUME, at_work(active_run=an_active_run(pid=None))),
            (IntentKind.CANCEL, at_work(command=None)),
            (IntentKind.START, a_scene(command=None)),
        ],
    )
    def test_what_the_gate_should_have_refused_is_not_made_up(self, kind: IntentKind, scene: Scene) -> None:
        with pytest.raises(ValueError, match="the gate should have refused"):
            acts(an_intent(kind), scene)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (CANCELLING, f"{COMMAND} cancel --repo /srv/repo"),
        (LAUNCHING, f"{COMMAND} run --repo /srv/repo --loop demo-loop"),
        (RunCommand((COMMAND, "--note", "ship it; now"), REPO, 1), f"{COMMAND} --note 'ship it; now'"),
        (signal(SignalWord.STOP), f"signal STOP to process group {PID}"),
        (signal(SignalWord.CONTINUE, pgid=7), f"signal CONTINUE to process {PID} and its descendants"),
        (signal(SignalWord.CONTINUE, pgid=None), f"signal CONTINUE to process {PID} and its descendants"),
    ],
)
def test_an_act_reads_as_one_would_type_it(act: Act, said: str) -> None:
    assert words(act) == said


class TestWatermark:
    def test_it_is_where_the_last_pass_stood_and_what_the_look_shows(self) -> None:
        fold = replace(a_fold(*BEGUN, an_event("role_start", 2, iteration=3)), epoch=2)

        assert watermark(a_run_at_work(fold=fold), at_work(), moment(60)) == Watermark(
            at=moment(60),
            epoch=2,
            line=3,
            run_id=RUN_ID,
            iteration=3,
            pid=PID,
            pgid=PID,
            begun=stamp(0),
            marked_active=True,
        )

    def test_the_candidate_that_is_pending_is_marked(self) -> None:
        approval = a_candidate().value
        assert approval is not None

        mark = watermark(a_run_that_asks(), a_scene(approval=a_candidate()), moment(60))

        assert (mark.candidate, mark.candidate_run_id, mark.candidate_iteration, mark.approval_status) == (
            approval.digest,
            RUN_ID,
            1,
            "pending",
        )
        assert (mark.pid, mark.marked_active) == (None, False)

    def test_a_process_of_another_loop_is_marked_too(self) -> None:
        """It is on file, so that it cannot be taken for one that began since."""
        mark = watermark(a_run_at_work(), at_work(ABSENT, loop_id="other"), moment(60))

        assert (mark.pid, mark.begun, mark.marked_active) == (PID, stamp(0), False)

    def test_a_loop_that_never_ran_has_one(self) -> None:
        assert watermark(a_run(), a_scene(), moment(60)) == Watermark(at=moment(60), epoch=0, line=0)

    def test_a_run_known_by_its_summary_alone_is_named(self) -> None:
        """Its log was rotated away."""
        run = a_run(projection=a_projection(Phase.COMPLETE, run_id="r-9"))

        assert watermark(run, a_scene(), moment(60)).run_id == "r-9"
