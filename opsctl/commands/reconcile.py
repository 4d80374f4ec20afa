"""`opsctl reconcile LOOP`: look now rather than at the next change; on request read its log from the start."""

import json

from opsctl.client import Client, loop_path
from opsctl.exits import Exit
from opsctl.output import Output
from opsctl.render.loop import render_reconciled

# The daemon gives up after 60 s and says so itself.
LIMIT_S = 65.0


def run(client: Client, out: Output, loop_id: str, *, from_start: bool) -> Exit:
    body = json.dumps({"fromStart": from_start}).encode()
    out.show(
        client.post(loop_path(loop_id, "reconcile"), body, limit_s=LIMIT_S), render_reconciled, rows=None, name=None
    )
    return Exit.OK
