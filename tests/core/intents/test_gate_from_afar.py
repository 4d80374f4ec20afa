"""Whether an intent is sent to a service: what can be known of a loop that nobody here can look at closely."""

import pytest
from msgspec.structs import replace

from opsd.core.intents.gate import RULES_FROM_AFAR, refuse
from opsd.model.acts import Scene
from opsd.model.intent import ControlState, Fence, Intent, IntentKind
from opsd.model.lifecycle import DivergenceFlags, Phase
from opsd.model.observation import Artifacts
from opsd.model.refusals import REFUSALS
from opsd.model.run import LoopRef, Run, ServiceRef
from opsd.model.service import Reach
from opsd.model.transport import TransportMode
from opsd.model.wire import FEATURES
from tests.core.builders import LOOP, a_state, an_active_run, moment
from tests.core.intents.asking import (
    AT_S,
    a_candidate,
    a_run_at_rest,
    a_run_at_work,
    a_run_that_asks,
    an_intent,
    options,
)
from tests.core.judging import a_projection, failing

KINDS = tuple(IntentKind)
CANCEL, APPROVE, REJECT, START, PAUSE, RESUME = KINDS
DECIDING = (APPROVE, REJECT)
REF = LoopRef(LOOP, "/srv/sprite", TransportMode.SPRITE_SERVICE, service=ServiceRef("http://sprite:8787"))
AT_WORK = Artifacts(state=a_state(), active_run=an_active_run())


def far(run: Run, *, features: tuple[str, ...] = FEATURES, **members: object) -> Run:
    return replace(run, ref=REF, reach=Reach(features=features), **members)


def fitting(kind: IntentKind) -> Run:
    """A loop behind a service, on which such an intent may be carried out as far as that can be known."""
    match kind:
        case IntentKind.APPROVE | IntentKind.REJECT:
            return far(a_run_that_asks(artifacts=Artifacts(approval=a_candidate())))
        case IntentKind.START:
            return far(a_run_at_rest())
        case _:
            return far(a_run_at_work(artifacts=AT_WORK))


def refused(intent: Intent, run: Run) -> str | None:
    refusal = refuse(intent, run, None, moment(AT_S))
    return refusal.code if refusal is not None else None


def test_every_code_is_registered() -> None:
    assert {rule.code for rule in RULES_FROM_AFAR} <= set(REFUSALS)


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def after(self, kind: IntentKind, **members: object) -> str | None:
        return refused(an_intent(kind), replace(fitting(kind), **members))

    def test_where_everything_fits_it_is_sent(self, kind: IntentKind) -> None:
        assert refused(an_intent(kind), fitting(kind)) is None

    def test_by_a_look_at_files_of_this_host_it_is_not(self, kind: IntentKind) -> None:
        refusal = refuse(an_intent(kind), fitting(kind), Scene(moment(AT_S)), moment(AT_S))

        assert refusal is not None
        assert refusal.code == "transport_not_supported"

    def test_nothing_is_sent_in_observe_mode(self, kind: IntentKind) -> None:
        assert self.after(kind, control=ControlState(observing=True)) == "observe_mode"

    def test_nothing_is_sent_by_a_picture_that_is_not_whole(self, kind: IntentKind) -> None:
        for lacking in ({"transport_health": failing(1)}, {"projection": None}, {"backlog_bytes": 1}):
            assert self.after(kind, **lacking) == "picture_incomplete"

    def test_the_fence_is_held_against_the_picture_in_memory(self, kind: IntentKind) -> None:
        for expect in (Fence(run_id="earlier"), Fence(iteration=9), Fence(candidate="another")):
            assert refused(an_intent(kind, expect=expect), fitting(kind)) == "fence_mismatch"

    def test_files_that_contradict_each_other_freeze_it_unless_a_reason_overrides_that(self, kind: IntentKind) -> None:
        run = fitting(kind)
        assert run.projection is not None
        diverged = replace(run, projection=replace(run.projection, divergence=DivergenceFlags(active_mismatch=True)))
        overriding = an_intent(kind, options=options(override_divergence=True), reason="I know")

        assert refused(an_intent(kind), diverged) == "divergence_frozen"
        assert refused(overriding, diverged) is None


@pytest.mark.parametrize("kind", [START, PAUSE, RESUME])
def test_a_service_that_knows_the_contract_alone_is_not_asked_for_more(kind: IntentKind) -> None:
    assert refused(an_intent(kind), replace(fitting(kind), reach=Reach())) == "transport_not_supported"
    assert refused(an_intent(kind), replace(fitting(kind), reach=None)) == "transport_not_supported"


@pytest.mark.parametrize("kind", [CANCEL, APPROVE, REJECT])
def test_what_the_contract_knows_is_asked_of_any_service(kind: IntentKind) -> None:
    assert refused(an_intent(kind), replace(fitting(kind), reach=Reach())) is None


@pytest.mark.parametrize("kind", DECIDING)
def test_only_what_waits_to_be_decided_is(kind: IntentKind) -> None:
    asks = fitting(kind)

    assert refused(an_intent(kind), replace(asks, artifacts=Artifacts())) == "nothing_to_approve"
    decided = Artifacts(approval=a_candidate("approved"))
    assert refused(an_intent(kind), replace(asks, artifacts=decided)) == "already_decided"


def test_where_nothing_runs_nothing_is_cancelled() -> None:
    still = far(a_run_at_rest(), projection=a_projection(Phase.COMPLETE))

    assert refused(an_intent(CANCEL), still) == "nothing_to_cancel"


def test_an_old_service_is_not_asked_to_cancel_where_another_loop_may_run() -> None:
    """It would end that one. A service that knows intents looks who really runs."""
    for files in (
        Artifacts(state=a_state(), active_run=an_active_run(loop_id="another")),
        Artifacts(state=a_state(loop_id="another"), active_run=an_active_run()),
    ):
        run = replace(fitting(CANCEL), artifacts=files)
        assert refused(an_intent(CANCEL), replace(run, reach=Reach())) == "neighbour_active"
        assert refused(an_intent(CANCEL), run) != "neighbour_active"
