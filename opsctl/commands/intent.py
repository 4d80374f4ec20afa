"""`opsctl intent show ID`, `opsctl intent ack ID`: one intent in full; an ambiguous one settled by one's word."""

import shlex

import msgspec

from opsctl.client import Client, quoted
from opsctl.errors import RefusedError
from opsctl.exits import Exit
from opsctl.output import Output
from opsctl.render.intents import render_one
from opsd.protocol import AckRequest


def show(client: Client, out: Output, intent_id: str) -> Exit:
    out.show(client.get(_path(intent_id)), render_one, rows=None, name=None)
    return Exit.OK


def ack(client: Client, out: Output, intent_id: str, *, reason: str, by: str | None) -> Exit:
    body = msgspec.json.encode(AckRequest(reason, by))
    try:
        answer = client.post(f"{_path(intent_id)}/ack", body)
    except RefusedError as error:
        if error.code == "not_ambiguous":
            error.remedy = f"opsctl intent show {shlex.quote(intent_id)}"
        raise
    out.show(answer, render_one, rows=None, name=None)
    return Exit.OK


def _path(intent_id: str) -> str:
    return f"/v1/intents/{quoted(intent_id)}"
