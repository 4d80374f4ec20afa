"""What to do next: every intent leads to a sentence with a command that can be typed."""

import re

import pytest
from msgspec.structs import replace

from opsctl.arguments import build_parser
from opsd.core.intents import life
from opsd.core.intents.advice import next_step
from opsd.model.acts import ActProblem
from opsd.model.ids import LoopId
from opsd.model.intent import Execution, Intent, IntentKind, IntentStatus, Refusal, Stage
from opsd.model.refusals import REFUSALS
from tests.core.builders import moment
from tests.core.intents.asking import RIYA, a_confirmation, an_intent


def standing(status: IntentStatus, kind: IntentKind = IntentKind.CANCEL, problem: str | None = None) -> Intent:
    return an_intent(kind, status=status, execution=Execution("do it", moment(0), problem=problem))


@pytest.mark.parametrize("kind", IntentKind)
@pytest.mark.parametrize("status", IntentStatus)
def test_there_is_always_something_to_say(kind: IntentKind, status: IntentStatus) -> None:
    sentence = next_step(standing(status, kind))

    assert sentence.endswith(".")
    assert sentence[0].isupper() or sentence[0] == "`"


@pytest.mark.parametrize("kind", IntentKind)
@pytest.mark.parametrize("status", IntentStatus)
def test_every_command_can_be_typed(kind: IntentKind, status: IntentStatus) -> None:
    parser = build_parser()

    for typed in re.findall(r"`opsctl ([^`]+)`", next_step(standing(status, kind))):
        parser.parse_args(typed.split())


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_leads_to_the_registrys_next_step(code: str) -> None:
    refused = life.refused(an_intent(), Refusal(code, "So."), moment(1))

    assert next_step(refused) == REFUSALS[code].next_step.replace("LOOP", "demo-loop")


def test_a_refusal_of_a_newer_build_leads_somewhere_too() -> None:
    refused = life.refused(an_intent(), Refusal("from_the_future", "So."), moment(1))

    assert "`opsctl status demo-loop`" in next_step(refused)


@pytest.mark.parametrize("kind", [IntentKind.APPROVE, IntentKind.REJECT])
def test_a_decision_says_that_nothing_runs_by_it(kind: IntentKind) -> None:
    decided = standing(IntentStatus.CONFIRMED, kind)

    for stage in (None, Stage.RECORDED):
        sentence = next_step(replace(decided, stage=stage))
        assert sentence.startswith("Nothing runs until")
        assert "`opsctl start demo-loop`" in sentence
    assert "taken the decision up" in next_step(replace(decided, stage=Stage.CONSUMED))
    assert "completed" in next_step(replace(decided, stage=Stage.COMPLETED))


def test_an_ambiguous_one_is_looked_at_before_it_is_settled_or_repeated() -> None:
    sentence = next_step(standing(IntentStatus.AMBIGUOUS))

    assert sentence.index("opsctl status demo-loop") < sentence.index("opsctl intent ack i-1 --reason ...")
    assert "do not repeat it before" in sentence


def test_a_failure_leads_to_its_cause() -> None:
    failed = IntentStatus.FAILED_COMMAND

    assert "`opsctl intent show i-1`" in next_step(standing(failed))
    assert next_step(standing(failed, problem=ActProblem.COMMAND_MISSING)) == (
        REFUSALS["runtime_command_missing"].next_step
    )
    assert next_step(standing(failed, problem=ActProblem.START_UNAVAILABLE)) == (
        REFUSALS["start_unavailable"].next_step
    )
    assert "whether its service answers" in next_step(standing(failed, problem=ActProblem.SERVICE_UNREACHED))
    assert next_step(standing(failed, problem=ActProblem.SERVICE_REFUSED)).startswith("Nothing was done")
    done_all_the_same = replace(standing(failed), confirmation=a_confirmation())
    assert "done all the same" in next_step(done_all_the_same)


def test_whose_word_settled_it_is_told() -> None:
    word = life.acknowledged(standing(IntentStatus.AMBIGUOUS), "noor", RIYA, "seen", moment(9))

    assert "noor" in next_step(word)


def test_a_loop_with_a_blank_in_its_name_can_be_typed_too() -> None:
    sentence = next_step(replace(standing(IntentStatus.CONFIRMED), loop_id=LoopId("two words")))

    assert "'two words'" in sentence
