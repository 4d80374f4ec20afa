"""The six intents, and what is refused, on a loop of this host and on its like behind a real service.

Both sides have runs that are real processes, in trees of their own. Compared is what the operator is told; how often
something was done is counted by each side's own runtime.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from opsd.sim.fleet import REGISTRY
from tests.doubles.process import OpsdProcess, wait_until
from tests.doubles.situations import Place, Plan, situations
from tests.doubles.sprites import VARIABLES, SpriteProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PLANS = {
    "cancelled": Plan("running"),
    "approved": Plan("awaiting approval"),
    "rejected": Plan("awaiting approval"),
    "started": Plan("never run"),
    "paused": Plan("running"),
    "complete": Plan("complete"),
    "killed": Plan("killed"),
    "failing": Plan("running", {"cancel": [{"kind": "fail", "code": 3}]}),
    "lying": Plan("running", {"cancel": [{"kind": "lie"}]}),
}
ASKED = (
    ("cancelled", "cancel"), ("approved", "approve"), ("rejected", "reject"), ("started", "start"),
    ("paused", "pause"), ("paused", "resume"),
    ("complete", "cancel"), ("complete", "approve"), ("complete", "pause"), ("complete", "resume"),
    ("paused", "start"), ("paused", "reject"), ("killed", "start"), ("killed", "pause"),
    ("failing", "cancel"), ("lying", "cancel"),
)  # fmt: skip
"""In this order: which loop is asked for what."""

MAY_DIFFER = frozenset(
    {
        "id", "recordedAt", "updatedAt", "expiresAt", "settledAt", "actor", "traceId", "idempotencyKey", "fingerprint",
        "transport", "expect.runId", "expect.candidate", "watermark", "execution.command", "execution.startedAt",
        "execution.endedAt", "execution.pid", "execution.replayed", "execution.output", "execution.attempts",
        "execution.codes", "confirmation.attempts", "confirmation.observedAt", "options.pauseUntil",
    }
)  # fmt: skip
"""Names, times, processes, places, the requests on the way, and the sentences that quote them."""

QUOTES = frozenset({"confirmation.evidence", "stageEvidence"})
"""Of evidence, where the first of it lies is compared: what else was there by then is chance, and it names times."""


class World(NamedTuple):
    opsd: OpsdProcess
    places: Mapping[str, Place]

    def ask(self, loop_id: str, intent: str) -> dict[str, Any]:
        """The intent, when it is settled."""
        request = {"intent": intent, "by": "riya", "timeoutS": 8}
        asked = self.opsd.post(f"/v1/loops/{loop_id}/intents", request)["intent"]["id"]

        def intent_now() -> dict[str, Any]:
            found: dict[str, Any] = self.opsd.get(f"/v1/intents/{asked}")["intent"]
            return found

        wait_until(lambda: intent_now()["status"] not in ("recorded", "executing", "executed"), f"{intent} {loop_id}")
        return intent_now()


@pytest.fixture(scope="module")
def told() -> Iterator[dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]]]:
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="opsd-")))
        here, away = (_world(root / name, stack, is_away=name == "away") for name in ("here", "away"))
        for loop_id in PLANS:
            for world in (here, away):
                world.opsd.post(f"/v1/loops/{loop_id}/reconcile", {})
        found = {}
        for loop_id, intent in ASKED:
            pair = here.ask(loop_id, intent), away.ask(loop_id, intent)
            command = _COMMANDS.get(intent, intent)
            runs = [{"executions": world.places[loop_id].executions(command)} for world in (here, away)]
            found[loop_id, intent] = (pair[0] | runs[0], pair[1] | runs[1])
        yield found


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: "-".join(asked))
def test_an_intent_comes_to_the_same_wherever_its_loop_is(
    told: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]], asked: tuple[str, str]
) -> None:
    here, away = (dict(_leaves(one, "")) for one in told[asked])
    if asked[1] == "start":  # a run goes on at once: how far it had come when it was seen to have begun is chance
        for one in (here, away):
            seen = one.pop("confirmation.observedLastEvent", None)
            assert seen in (None, "loop_start", "iteration_start", "role_start")

    assert away == here


_COMMANDS = {"reject": "approve", "start": "run"}


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """(path, value), without what may differ and without the numbers of processes."""
    if place in MAY_DIFFER:
        return
    if place in QUOTES and value is not None:
        yield place, [each["where"].removeprefix("sprite:") for each in value][:1]
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _leaves(each, f"{place}.{name}".lstrip("."))
    else:
        yield place, re.sub(r"(?i)(process) \d+", r"\1", value) if isinstance(value, str) else value


def _world(root: Path, stack: ExitStack, *, is_away: bool) -> World:
    root.mkdir()
    fleet = stack.enter_context(situations(root, PLANS))
    if is_away:
        entries = []
        for loop_id, place in fleet.places.items():
            service = stack.enter_context(SpriteProcess(Path(place.repo)))
            entries.append(service.entry(loop_id))
        listed = {"schemaVersion": "v1", "fleetId": "parity", "loops": entries}
        (fleet.home / REGISTRY).write_text(json.dumps(listed))
    return World(stack.enter_context(OpsdProcess(fleet.home, variables=VARIABLES)), fleet.places)
