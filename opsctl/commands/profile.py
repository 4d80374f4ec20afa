"""`opsctl profile`: by which thresholds a loop is judged; chosen for it, or shown."""

import msgspec

from opsctl.client import Client, loop_path
from opsctl.errors import UsageError
from opsctl.exits import Exit
from opsctl.output import Look, Output
from opsd.protocol import ProfileRequest

USUAL = "default"
_SET = "opsctl profile LOOP --set PROFILE --reason ..., or LOOP --clear --reason ... for what all others have"


def run(
    client: Client,
    out: Output,
    loop_id: str | None,
    wanted: str | None,
    *,
    clear: bool,
    listing: bool,
    reason: str,
    by: str | None,
) -> Exit:
    chooses = wanted is not None or clear
    if not chooses and (reason or by is not None):
        raise UsageError("only a choice has a reason and somebody who made it", _SET)
    if listing:
        out.show(client.get("/v1/profiles"), _page, rows="profiles", name="name")
        return Exit.OK
    if loop_id is None:
        raise UsageError("name the loop", f"{_SET}; opsctl profile --list for what there is")
    where = loop_path(loop_id, "profile")
    if not chooses:
        body = client.get(where)
    else:
        if not reason.strip():
            raise UsageError("a choice needs a --reason; it is recorded, and shown to everybody who looks", _SET)
        request = ProfileRequest(None if clear or wanted == USUAL else wanted, reason, by)
        body = client.post(where, msgspec.json.encode(request))
    out.show(body, _one, rows=None, name="loopId")
    return Exit.OK


# Records and tables are loaded when a table is drawn.


def _one(body: bytes, look: Look) -> str:
    from opsctl.render import profile

    return profile.render_one(body, look)


def _page(body: bytes, look: Look) -> str:
    from opsctl.render import profile

    return profile.render_page(body, look)
