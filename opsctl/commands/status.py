"""`opsctl status`: the fleet, or one loop in full; of one loop programs get the operator status document."""

from opsctl.client import Client, loop_path
from opsctl.exits import Exit
from opsctl.output import TABLE, Look, Output


def run(client: Client, out: Output, loop_id: str | None) -> Exit:
    if loop_id is None:
        out.show(client.get("/v1/fleet"), _fleet, rows="loops", name="loopId")
    elif out.form == TABLE:
        body = client.get(loop_path(loop_id))
        out.show(body, _loop, rows=None, name=None)
        _note_modes(client, out, loop_id, body)
    else:
        # Programs get what `ops-manager status` gives them, byte for byte.
        out.show(client.get(loop_path(loop_id, "operator-status")), _loop, rows=None, name=None)
    return Exit.OK


# Records and tables are loaded when a table is drawn: with `-o json` the daemon's bytes go through as they are.


def _fleet(body: bytes, look: Look) -> str:
    from opsctl.render import fleet

    return fleet.render(body, look)


def _loop(body: bytes, look: Look) -> str:
    from opsctl.render import loop

    return loop.render(body, look)


def _note_modes(client: Client, out: Output, loop_id: str, body: bytes) -> None:
    """Who set the mode and why is not in the loop's own record."""
    import msgspec

    from opsctl.modes import note_modes
    from opsd.protocol import LoopStatus

    control = msgspec.json.decode(body, type=LoopStatus).summary.control
    if control is not None and control.observing:
        note_modes(client, out.note, (loop_id,))
