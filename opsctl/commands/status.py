"""`opsctl status`: the fleet, or one loop in full."""

from opsctl.client import Client, loop_path
from opsctl.exits import Exit
from opsctl.output import Look, Output


def run(client: Client, out: Output, loop_id: str | None) -> Exit:
    if loop_id is None:
        out.show(client.get("/v1/fleet"), _fleet, rows="loops", name="loopId")
    else:
        out.show(client.get(loop_path(loop_id)), _loop, rows=None, name=None)
    return Exit.OK


# Records and tables are loaded when a table is drawn: with `-o json` the daemon's bytes go through as they are.


def _fleet(body: bytes, look: Look) -> str:
    from opsctl.render import fleet

    return fleet.render(body, look)


def _loop(body: bytes, look: Look) -> str:
    from opsctl.render import loop

    return loop.render(body, look)
