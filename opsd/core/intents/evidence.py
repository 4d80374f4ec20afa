"""What proves that an intent had its effect? Only what lies beyond its watermark, and what the runtime left behind.

`judge` is asked again and again until it knows; how long that may take, and what follows for the intent, is decided in
`life` and by the control desk. An exit code proves nothing here. What is looked for is in a file per pair of kinds:
`cancel_start`, `decision`, `pause_resume`, and for callers of the contract's command `contractual`.
Source: control-and-service 3, runtime-artifacts 6, 7.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from opsd.core.clues import on_file
from opsd.core.intents.cancel_start import cancelled, started
from opsd.core.intents.contractual import observed
from opsd.core.intents.decision import decided, stage
from opsd.core.intents.pause_resume import paused, resumed
from opsd.core.intents.scenery import is_marked_active
from opsd.core.intents.verdict import TIMEOUT, Outcome, Verdict
from opsd.model.acts import Scene
from opsd.model.intent import Confirmation, Intent, IntentKind, Watermark
from opsd.model.run import Run

__all__ = ["Outcome", "Verdict", "confirmation", "judge", "run_status", "stage", "unseen"]

_JUDGES: Final[Mapping[IntentKind, Callable[[Intent, Watermark, Run, Scene], Verdict]]] = {
    IntentKind.CANCEL: cancelled,
    IntentKind.APPROVE: decided,
    IntentKind.REJECT: decided,
    IntentKind.START: started,
    IntentKind.PAUSE: paused,
    IntentKind.RESUME: resumed,
}
_STOPS: Final = frozenset({"loop_stop", "rate_limit_stop", "no_progress_stop"})
_FAILURES: Final = frozenset({"error", "timeout", "blocked", "rate_limited"})


def judge(intent: Intent, run: Run, scene: Scene, now: datetime) -> Verdict:
    """Whether `intent` has had its effect, by `run` as the newest pass left it and by a close look at its files.

    `scene` was looked at with the intent's watermark. What is found does not depend on `now`, only when it is asked.

    Raises:
        ValueError: it has no watermark, because nothing was ever done for it.
    """
    mark = intent.watermark
    if mark is None:
        raise ValueError(f"intent {intent.id} is {intent.status} and has no watermark: there is nothing to look for")
    verdict = _JUDGES[intent.intent](intent, mark, run, scene)
    if verdict.outcome is Outcome.NOT_YET and intent.options.as_contract:
        return observed(intent, mark, run, scene) or verdict
    return verdict


def confirmation(
    intent: Intent, verdict: Verdict, run: Run, scene: Scene, attempts: int, now: datetime
) -> Confirmation:
    """What is written down of the looks after the act; `attempts` counts them. Source: control-and-service 3."""
    state, approval = on_file(scene.state), on_file(scene.approval)
    last = run.fold.last
    return Confirmation(
        confirmed=verdict.outcome is Outcome.CONFIRMED,
        reason=verdict.reason,
        attempts=attempts,
        observed_at=now,
        observed_status=run_status(run, scene),
        observed_last_event=last.name if last is not None else None,
        observed_approval_status=approval.status if approval is not None else None,
        observed_active=state is not None and state.active is True,
        evidence=verdict.evidence,
        missing=verdict.missing,
    )


def unseen(attempts: int, missing: str, now: datetime) -> Confirmation:
    """What is written down where nobody could look (any more); `missing` says why, in one sentence."""
    return Confirmation(confirmed=False, reason=TIMEOUT, attempts=attempts, observed_at=now, missing=missing)


def run_status(run: Run, scene: Scene) -> str:
    """The contract's `run.status`, first match wins. Source: control-and-service 3."""
    approval, state, last = on_file(scene.approval), on_file(scene.state), run.fold.last
    summary = on_file(run.artifacts.summary)
    entry = summary.latest if summary is not None else None
    if approval is not None and approval.status == "pending":
        return "awaiting_approval"
    if entry is not None and entry.completion_ok is True:
        return "complete"
    if is_marked_active(scene, run.ref.loop_id):
        return "running"
    if last is not None and last.name in _STOPS:
        return "stopped"
    if last is not None and last.status in _FAILURES:
        return "failed"
    if state is not None and state.active is False and entry is not None:
        return "idle"
    return "unknown"
