"""`opsctl tuning`: what telemetry advises for a loop's thresholds, and for how long that was not followed."""

from opsctl.client import Client, loop_path
from opsctl.exits import Exit
from opsctl.output import Look, Output


def run(client: Client, out: Output, loop_id: str) -> Exit:
    out.show(client.get(loop_path(loop_id, "tuning")), _table, rows=None, name=None)
    return Exit.OK


def _table(body: bytes, look: Look) -> str:
    from opsctl.render import tuning

    return tuning.render(body, look)
