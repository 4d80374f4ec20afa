"""One sprite whose loops all wait for approval, each reached over a way of its own on which something goes wrong.

All rows happen at the same time. What was done is counted in the sprite; what goes wrong, at the proxy.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from opsd.sim.fleet import REGISTRY
from opsd.sim.ledger import calls
from opsd.sim.part import Part
from opsd.sim.runtime import write_command
from opsd.sim.trees import lay_down
from tests.doubles.process import OpsdProcess
from tests.doubles.sprites import VARIABLES, Proxy, SpriteProcess

AGE_S = 60.0


class Sprite(NamedTuple):
    """`loops` are reached through `proxy`, over a way that has the loop's name."""

    service: SpriteProcess
    proxy: Proxy
    opsd: OpsdProcess

    def log(self, loop_id: str) -> Path:
        return self.service.repo / ".superloop/loops" / loop_id / "events.jsonl"

    def append(self, loop_id: str, count: int) -> None:
        """More of what the runtime tells while it waits."""
        lines = self.log(loop_id).read_text().splitlines(keepends=True)
        with self.log(loop_id).open("a") as log:
            log.write(lines[-1] * count)

    def executions(self, loop_id: str, command: str = "approve") -> int:
        """How often the command was called for the loop, by its own ledger."""
        return sum(call.phase == "called" and loop_id in call.args for call in calls(self.service.repo, command))

    def is_over_there(self, loop_id: str) -> bool:
        """Whether the sprite's own desk has settled an intent for the loop: it carries out one at a time."""
        return (self.service.repo / ".superloop/ops-manager" / loop_id / "intents.jsonl").exists()

    def picture(self, loop_id: str) -> dict[str, Any]:
        return self.opsd.loop(loop_id)

    def status(self, loop_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.opsd.get(f"/v1/loops/{loop_id}")
        return found

    def reconcile(self, loop_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.opsd.post(f"/v1/loops/{loop_id}/reconcile", {})
        return found


@contextmanager
def sprite(root: Path, loops: Sequence[str], *, ways: Mapping[str, str], **variables: str) -> Iterator[Sprite]:
    """The manager has seen every loop; nothing has gone wrong yet. `ways` are by loop; others have their own names."""
    repo, home = root / "sprite", root / "home"
    at = datetime.now(UTC) - timedelta(seconds=AGE_S)
    for loop_id in loops:
        lay_down("approval", repo, at=at, loop_id=loop_id, part=Part(speed=100.0))
    write_command(str(repo))
    with SpriteProcess(repo) as service, Proxy() as proxy:
        names = {loop_id: ways.get(loop_id, loop_id) for loop_id in loops}
        ports = {name: proxy.open(name, service.port) for name in dict.fromkeys(names.values())}
        entries = [
            service.entry(loop_id, port=ports[name], retryAttempts=1, retryBackoffSeconds=0)
            for loop_id, name in names.items()
        ]
        registry = home / REGISTRY
        registry.parent.mkdir(parents=True)
        registry.write_text(json.dumps({"schemaVersion": "v1", "fleetId": "faults", "loops": entries}))
        with OpsdProcess(home, variables={**VARIABLES, **variables}) as opsd:
            met = Sprite(service, proxy, opsd)
            for loop_id in loops:
                met.reconcile(loop_id)
            yield met
