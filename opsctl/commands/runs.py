"""`opsctl runs LOOP`: the loop's runs so far, and how each ended."""

from opsctl.client import Client, loop_path
from opsctl.exits import Exit
from opsctl.output import Output
from opsctl.render.history import render_runs


def run(client: Client, out: Output, loop_id: str) -> Exit:
    out.show(client.get(loop_path(loop_id, "runs")), render_runs, rows="runs", name="runId")
    return Exit.OK
