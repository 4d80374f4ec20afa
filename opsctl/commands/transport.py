"""`opsctl transport`: how a loop is reached; switched to another way, or shown."""

import msgspec

from opsctl.client import Client, loop_path
from opsctl.errors import UsageError
from opsctl.exits import Exit
from opsctl.output import Look, Output
from opsd.model.transport import TransportMode
from opsd.protocol import TransportReply, TransportRequest

DECLARED = "declared"
_SET = "opsctl transport LOOP local --reason ..., or LOOP declared --reason ... for what the registry says"


def run(
    client: Client, out: Output, loop_id: str, way: str | None, *, events: str | None, reason: str, by: str | None
) -> Exit:
    where = loop_path(loop_id, "transport")
    if way is None and events is None:
        if reason or by is not None:
            raise UsageError("only a switch has a reason and somebody who made it", _SET)
        body = client.get(where)
    else:
        if not reason.strip():
            raise UsageError("a switch needs a --reason; it is recorded, and shown to everybody who looks", _SET)
        wanted = _wanted(client, where, way)
        request = TransportRequest(reason=reason, transport=wanted, events=events != "off", by=by)
        body = client.post(where, msgspec.json.encode(request))
    out.show(body, render, rows=None, name="loopId")
    return Exit.OK


def _wanted(client: Client, where: str, way: str | None) -> TransportMode | None:
    """Without a word about the way it stays what it is; None is what the registry says."""
    if way is not None:
        return None if way == DECLARED else TransportMode(way)
    now = msgspec.json.decode(client.get(where), type=TransportReply)
    return None if now.transport is now.declared else now.transport


def render(body: bytes, look: Look) -> str:
    reply = msgspec.json.decode(body, type=TransportReply)
    lines = [f"{reply.loop_id}  {reply.transport}" + ("" if reply.events else ", snapshots only")]
    if reply.transport is not reply.declared:
        lines.append(f"  the registry says {reply.declared}")
    if reply.since is not None:
        lines.append(f"  switched by {reply.by} at {reply.since:%Y-%m-%d %H:%M:%SZ}: {reply.reason}")
    return "\n".join(lines)
