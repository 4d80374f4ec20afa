"""`opsctl explain LOOP`: from what the verdict follows."""

from opsctl.client import Client, loop_path
from opsctl.exits import Exit
from opsctl.output import Output
from opsctl.render.explain import render


def run(client: Client, out: Output, loop_id: str) -> Exit:
    out.show(client.get(loop_path(loop_id, "explain")), render, rows=None, name=None)
    return Exit.OK
