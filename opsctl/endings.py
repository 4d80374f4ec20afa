"""How the runs end that intents have set going: for whoever waits for them to be complete."""

from collections.abc import Mapping
from typing import NamedTuple

from opsctl.client import Client
from opsctl.errand import Note
from opsctl.feed import Following
from opsctl.render.words import reasons, state
from opsd.model.ids import UNKNOWN_RUN
from opsd.model.lifecycle import Lifecycle
from opsd.protocol import LoopSummary

_ENDED = frozenset(Lifecycle) - {Lifecycle.NONE, Lifecycle.UNKNOWN, Lifecycle.RUNNING}


class Ending(NamedTuple):
    is_complete: bool
    says: str


def see_runs_end(
    client: Client, run_before: Mapping[str, str | None], note: Note, deadline_s: float
) -> dict[str, Ending]:
    """By loop, how the run ended that followed on the one in `run_before`; without those that go on at the deadline."""
    endings: dict[str, Ending] = {}
    if not run_before:
        return endings
    for news in Following(client, tuple(run_before), note, deadline_s=deadline_s):
        loop, removed = news.item.loop, news.item.removed
        if loop is not None and loop.loop_id in run_before and loop.loop_id not in endings:
            ending = _ending(loop, run_before[loop.loop_id])
            if ending is not None:
                endings[loop.loop_id] = ending
        elif removed is not None and removed in run_before:
            endings[removed] = Ending(False, "the loop is no longer in the fleet")
        if len(endings) == len(run_before):
            break
    return endings


def _ending(loop: LoopSummary, run_before: str | None) -> Ending | None:
    run_id = loop.progress.run_id
    if run_id in (run_before, UNKNOWN_RUN) or loop.lifecycle not in _ENDED:
        return None
    return Ending(loop.lifecycle is Lifecycle.COMPLETE, f"run {run_id} ended: {state(loop)}, {reasons(loop)}")
