"""`opsctl mode`: whether intents are carried out; set for the fleet or for one loop, or shown."""

import msgspec

from opsctl.client import Client
from opsctl.errors import UsageError
from opsctl.exits import Exit
from opsctl.output import Output
from opsctl.render.control import render_modes
from opsd.model.mode import Mode
from opsd.protocol import ModeRequest


def run(
    client: Client,
    out: Output,
    mode: str | None,
    loop_id: str | None,
    *,
    reason: str,
    for_s: float | None,
    by: str | None,
) -> Exit:
    if mode is None:
        if reason or for_s is not None or by is not None:
            raise UsageError("only a mode that is set has a reason, an end and somebody who set it", _SET)
        body = client.get("/v1/mode")
    else:
        if mode == Mode.NORMAL and for_s is not None:
            raise UsageError("normal mode has no end; it lasts until another is set", _SET)
        request = ModeRequest(Mode(mode), loop_id, reason, by, for_s)
        body = client.post("/v1/mode", msgspec.json.encode(request))
    out.show(body, render_modes, rows="modes", name=None)
    return Exit.OK


_SET = "opsctl mode observe --reason ... --for 2h, opsctl mode normal"
