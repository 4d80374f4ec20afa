"""Evidence in recorded runs of the real runtime: asked after each of its writes, it says yes at the right one."""

from collections.abc import Sequence

import msgspec
import pytest
from msgspec.structs import replace

from opsd.core.fold import fold_events
from opsd.core.intents import life
from opsd.core.intents.acts import acts_for, watermark
from opsd.core.intents.evidence import Outcome, judge, stage
from opsd.core.intents.gate import refuse
from opsd.core.intents.identity import candidate_digest
from opsd.model.acts import ActResult, Scene
from opsd.model.intent import Intent, IntentKind, Stage, Watermark
from opsd.model.lifecycle import Fold
from opsd.model.observation import Artifact, ProcessSighting
from opsd.model.run import Run
from opsd.model.runtime import Approval, Presence
from tests.core.builders import LOOP, a_run
from tests.core.intents.asking import COMMAND, LOG, REPO, a_confirmation, an_intent, options
from tests.core.story import Moment, moments, watched

CONFIRMED, NOT_YET, CONTRARY = Outcome
CANCEL, APPROVE, REJECT, START, PAUSE, RESUME = tuple(IntentKind)


def run_at(moment: Moment) -> Run:
    """The loop after a pass at that moment."""
    fold = fold_events(Fold(), moment.events, range(1, len(moment.events) + 1), epoch=0).fold
    return a_run(fold=fold, artifacts=moment.artifacts, last_contact_at=moment.at)


def scene_at(moment: Moment, mark: Watermark | None = None) -> Scene:
    """A close look at that moment."""
    files = moment.artifacts
    active_run = files.active_run.value
    seen = ProcessSighting.NONE
    if mark is not None and mark.pid is not None:
        own = active_run is not None and active_run.pid == mark.pid
        seen = moment.process if own else ProcessSighting.ABSENT
    return Scene(
        at=moment.at,
        state=files.state,
        active_run=files.active_run,
        approval=_digested(files.approval),
        heartbeat=files.heartbeat,
        active_process=moment.process,
        watched=seen,
        family=(moment.process,) if moment.process is ProcessSighting.ALIVE else (),
        command=COMMAND,
    )


def _digested(approval: Artifact[Approval]) -> Artifact[Approval]:
    if approval.value is None:
        return approval
    asked = msgspec.to_builtins(replace(approval.value, decision=None))
    return replace(approval, value=replace(approval.value, digest=candidate_digest(asked)))


def carried_out(kind: IntentKind, moment: Moment) -> Intent:
    """An intent of that kind, executed at that moment by a command that does what the recording shows."""
    run, scene = run_at(moment), scene_at(moment)
    intent = an_intent(kind, recorded_at=moment.at, updated_at=moment.at)
    acts = acts_for(intent, scene, repo=REPO, log=LOG, timeout_s=60)
    begun = life.executing(intent, watermark(run, scene, moment.at), acts, moment.at)
    return life.executed(begun, [ActResult(exit_code=0)], moment.at)


def outcomes(intent: Intent, later: Sequence[Moment]) -> list[Outcome]:
    return [judge(intent, run_at(one), scene_at(one, intent.watermark), one.at).outcome for one in later]


def is_pending(moment: Moment) -> bool:
    approval = moment.artifacts.approval
    return approval.presence is Presence.PRESENT and approval.value is not None and approval.value.status == "pending"


class TestDecisions:
    def asked(self, name: str) -> tuple[list[Moment], int]:
        """The recording, and the last moment of it before the decision is made."""
        told = moments(name, LOOP)
        made = next(index for index, one in enumerate(told) if any("human" in (e.role or "") for e in one.events))
        return told, max(index for index in range(made) if is_pending(told[index]))

    @pytest.mark.parametrize(("name", "kind"), [("approved", APPROVE), ("rejected", REJECT)])
    def test_it_is_confirmed_once_recorded_and_stays_so_when_its_file_is_gone(
        self, name: str, kind: IntentKind
    ) -> None:
        told, before = self.asked(name)

        found = outcomes(carried_out(kind, told[before]), told[before + 1 :])

        # In between the file is caught while it is exchanged, and nothing can be said.
        confirmed = found.index(CONFIRMED)
        assert set(found[:confirmed]) <= {NOT_YET}
        assert set(found[confirmed:]) == {CONFIRMED}
        assert told[-1].artifacts.approval.presence is Presence.ABSENT or is_pending(told[-1])

    @pytest.mark.parametrize(("name", "kind"), [("approved", REJECT), ("rejected", APPROVE)])
    def test_the_other_decision_is_contrary_once_it_is_recorded(self, name: str, kind: IntentKind) -> None:
        told, before = self.asked(name)

        found = outcomes(carried_out(kind, told[before]), told[before + 1 :])

        assert CONFIRMED not in found
        assert found[-1] is CONTRARY

    @pytest.mark.parametrize(
        ("name", "kind", "stages"),
        [
            ("approved", APPROVE, [Stage.CONSUMED, Stage.COMPLETED]),
            ("rejected", REJECT, [Stage.CONSUMED]),  # the next run asked again
        ],
    )
    def test_what_became_of_it_is_followed(self, name: str, kind: IntentKind, stages: list[Stage]) -> None:
        told, before = self.asked(name)
        intent = life.settled(carried_out(kind, told[before]), a_confirmation(), told[before].at)

        reached = []
        for one in told[before:]:
            further = stage(intent, run_at(one))
            if further is not None:
                intent = life.staged(intent, *further, one.at)
                reached.append(further[0])

        assert reached == stages


class TestCancel:
    def at_work(self, name: str) -> tuple[list[Moment], list[int]]:
        """The recording, and the moments of its first run at which a process is on file and the state says active."""
        told = moments(name, LOOP)
        working = [
            index
            for index, one in enumerate(told)
            if one.process is ProcessSighting.ALIVE
            and one.artifacts.state.presence is Presence.PRESENT
            and one.artifacts.active_run.presence is Presence.PRESENT
        ]
        return told, working

    def test_from_wherever_it_is_cancelled_the_last_write_of_the_cancel_confirms_it(self) -> None:
        told, working = self.at_work("cancelled")

        for index in working:
            found = outcomes(carried_out(CANCEL, told[index]), told[index + 1 :])

            assert found[-1] is CONFIRMED
            confirmed = found.index(CONFIRMED)
            assert set(found[confirmed:]) == {CONFIRMED}
            done = told[index + 1 + confirmed].artifacts
            assert (done.state.presence, done.active_run.presence) == (Presence.ABSENT, Presence.ABSENT)

    @pytest.mark.parametrize("name", ["role-error", "rate-limited"])
    def test_a_run_that_died_by_itself_is_not_cancelled_by_that(self, name: str) -> None:
        """It left the state active, which only a cancel clears."""
        told, working = self.at_work(name)

        assert set(outcomes(carried_out(CANCEL, told[working[0]]), told[working[0] + 1 :])) == {NOT_YET}

    def test_a_killed_run_is_cancelled_when_its_leftovers_are_cleared_and_not_while_the_next_one_runs(self) -> None:
        told, working = self.at_work("killed")
        intent = carried_out(CANCEL, told[working[0]])

        found = outcomes(intent, told[working[0] + 1 :])

        first = working[0] + 1 + found.index(CONFIRMED)
        assert told[first].artifacts.state.presence is Presence.ABSENT
        for one, outcome in zip(told[working[0] + 1 :], found, strict=True):
            assert outcome is not CONFIRMED or one.process is not ProcessSighting.ALIVE


class TestStart:
    @pytest.mark.parametrize("name", ["approved", "complete", "killed", "max-iterations", "rejected", "stuck"])
    def test_from_wherever_it_is_started_only_a_later_beginning_confirms_it(self, name: str) -> None:
        told = moments(name, LOOP)
        begun = [sum(event.event == "loop_start" for event in one.events) for one in told]

        for index in range(0, len(told) - 1, 3):
            found = outcomes(carried_out(START, told[index]), told[index + 1 :])
            expected = [CONFIRMED if count > begun[index] else NOT_YET for count in begun[index + 1 :]]

            assert found == expected


def test_the_gate_lets_pass_what_the_runtime_would_do() -> None:
    """At the end of each recording: what may be asked for of a loop that was left like that."""
    may = {}
    for name in ("approved", "cancelled", "complete", "killed", "rate-limited", "rejected", "role-error", "stuck"):
        last, watch = moments(name, LOOP)[-1], watched(name, LOOP)
        run, scene = replace(run_at(last), projection=watch.projection, process=watch.process), scene_at(last)
        asked = {kind.value: an_intent(kind) for kind in IntentKind}
        asked["start --clear-stale"] = an_intent(START, options=options(clear_stale=True))
        may[name] = [what for what, intent in asked.items() if refuse(intent, run, scene, last.at) is None]

    at_rest = ["start", "start --clear-stale"]
    left_active = ["cancel", "start --clear-stale"]
    assert may == {
        "approved": at_rest,
        "cancelled": at_rest,
        "complete": at_rest,
        "killed": at_rest,  # cleared, and run again to its end
        "rate-limited": left_active,
        "rejected": ["approve", "reject"],
        "role-error": left_active,
        "stuck": at_rest,
    }
