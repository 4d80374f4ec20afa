"""What proves that a decision on an approval was recorded, and what became of it then. Source: runtime-artifacts 7.3.

A decision is done when it is recorded: nothing runs by it until the loop's next run takes it up.
"""

from collections.abc import Mapping
from typing import Final

from opsd.core.clues import on_file
from opsd.core.instants import parse, whole
from opsd.core.intents.beyond import is_beyond, is_on_candidate, quoted
from opsd.core.intents.verdict import (
    DECIDED_OTHERWISE,
    DECISION_RECORDED,
    OTHER_CANDIDATE,
    Verdict,
    confirmed,
    contrary,
    not_yet,
)
from opsd.model.acts import Scene
from opsd.model.intent import DECISIONS, Evidence, Intent, IntentKind, IntentStatus, Stage, Watermark
from opsd.model.lifecycle import Ending, EventMark, Fold
from opsd.model.run import Run
from opsd.model.runtime import Approval, Presence

WANTED: Final[Mapping[IntentKind, str]] = {IntentKind.APPROVE: "approved", IntentKind.REJECT: "rejected"}
"""What the runtime calls a decision once it is made."""

_CONSUMED: Final = "approval_consumed"
_REJECTED: Final = "approval_rejected"
_STAGES: Final = tuple(Stage)


def decided(intent: Intent, mark: Watermark, run: Run, scene: Scene) -> Verdict:
    """The decision stands on the very candidate of the watermark, which was pending then.

    The runtime's command names no candidate, so that it may decide on another one than was seen.
    """
    wanted = WANTED[intent.intent]
    if mark.approval_status != "pending" or mark.candidate is None:
        return not_yet("No candidate was pending before the decision, so none can be said to be decided since.")
    if scene.approval.presence in (Presence.SETTLING, Presence.UNREADABLE):
        return not_yet("approval.json could not be read.")
    approval = on_file(scene.approval)
    if approval is not None and approval.digest == mark.candidate:
        return _as_filed(approval, wanted, mark)
    logged = _as_logged(wanted, mark, run.fold)
    if approval is None:
        return logged or not_yet("approval.json is gone, and the log has no decision on the candidate.")
    if (approval.run_id, approval.iteration) == (mark.candidate_run_id, mark.candidate_iteration):
        logged = None  # the log names run and iteration only, so that it may mean the other candidate
    if logged is not None:
        return logged
    if approval.run_id is None and approval.iteration is None:
        found = Evidence("approval.json", f"It says {approval.status}, and of no run.")
        return not_yet("approval.json does not say on which candidate it is.", found)
    what = f"It is about another candidate: run {approval.run_id}, iteration {approval.iteration}, {approval.status}."
    other = Evidence("approval.json", what)
    if approval.status in WANTED.values():
        missing = "The decision was recorded on another candidate than the one that was pending."
        return contrary(OTHER_CANDIDATE, missing, other)
    return not_yet("Another candidate is pending now, and the log has no decision on the former.", other)


def _as_filed(approval: Approval, wanted: str, mark: Watermark) -> Verdict:
    if approval.status not in WANTED.values():
        return not_yet(f"approval.json is still {approval.status}.")
    decision = approval.decision
    by, at = (decision.by, decision.at) if decision is not None else (None, None)
    says = f"Run {approval.run_id}, iteration {approval.iteration}: {approval.status} by {by} at {at}."
    found = Evidence("approval.json", says)
    decided_at = parse(at)
    if decided_at is not None and decided_at < whole(mark.at):
        return not_yet("The decision on file is dated before the act.", found)
    return _is_wanted(approval.status, wanted, found)


def _as_logged(wanted: str, mark: Watermark, fold: Fold) -> Verdict | None:
    """By the log alone, where a next run has taken the decision up and removed the file.

    It names no candidate but by run and iteration, in which a run asks once.
    """
    for event, status in (
        (fold.decided, fold.decided.status if fold.decided is not None else None),
        (fold.taken_up, "approved" if fold.taken_up is not None and fold.taken_up.name == _CONSUMED else None),
    ):
        if event is not None and status is not None and is_beyond(event, mark, fold) and is_on_candidate(event, mark):
            return _is_wanted(status, wanted, quoted(event))
    return None


def _is_wanted(status: str | None, wanted: str, found: Evidence) -> Verdict:
    if status != wanted:
        return contrary(DECIDED_OTHERWISE, f"It was to be {wanted}.", found)
    return confirmed(DECISION_RECORDED, found)


def stage(intent: Intent, run: Run, scene: Scene | None = None) -> tuple[Stage, tuple[Evidence, ...]] | None:
    """How far a confirmed decision has come, with what shows it; None where it has come no further than is known.

    Consumed is a decision that a later run took up, completed one whose run said `loop_complete`. A look at the files
    adds nothing to what the log says of that, and may be left out.
    """
    mark, fold = intent.watermark, run.fold
    if intent.intent not in DECISIONS or intent.status is not IntentStatus.CONFIRMED or mark is None:
        return None
    reached, evidence = Stage.RECORDED, intent.confirmation.evidence if intent.confirmation is not None else ()
    taken_up = fold.taken_up
    if taken_up is not None and _takes_up(taken_up, intent.intent, mark, fold):
        reached, evidence = Stage.CONSUMED, (quoted(taken_up),)
        facts = fold.run
        # A newer run than the one that took the decision up says nothing of what became of it.
        ended = facts.ended if facts is not None and facts.ending is Ending.COMPLETE else None
        if facts is not None and ended is not None and facts.first_line <= taken_up.line < ended.line:
            reached, evidence = Stage.COMPLETED, (quoted(taken_up), quoted(ended))
    if intent.stage is not None and _STAGES.index(reached) <= _STAGES.index(intent.stage):
        return None
    return reached, evidence


def _takes_up(event: EventMark, kind: IntentKind, mark: Watermark, fold: Fold) -> bool:
    """`approval_consumed` names the candidate; `approval_rejected` only the run that found it rejected."""
    if not is_beyond(event, mark, fold):
        return False
    if kind is IntentKind.APPROVE:
        return event.name == _CONSUMED and is_on_candidate(event, mark)
    decision = fold.decided
    return (
        event.name == _REJECTED
        and decision is not None
        and decision.status == WANTED[kind]
        and is_on_candidate(decision, mark)
        and decision.line < event.line
    )
