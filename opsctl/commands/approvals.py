"""`opsctl approvals`: what waits for a human, oldest first, with the command to type."""

from opsctl.client import Client
from opsctl.exits import Exit
from opsctl.modes import note_modes
from opsctl.output import TABLE, Output
from opsctl.render.approvals import render


def run(client: Client, out: Output) -> Exit:
    body = client.get("/v1/approvals")
    if out.form == TABLE:
        note_modes(client, out.note)
    out.show(body, render, rows="items", name="loopId")
    return Exit.OK
