"""`opsctl escalations [LOOP]`: what somebody had to hear of, and its end; on request as it happens."""

from msgspec import UNSET

from opsctl.client import Client, target
from opsctl.exits import Exit
from opsctl.feed import Following
from opsctl.output import JSONL, Output
from opsctl.render.history import escalation_line, render_escalations


def run(client: Client, out: Output, loop_id: str | None, *, follow: bool, count: int) -> Exit:
    if not follow:
        body = client.get(target("/v1/escalations", loop=loop_id, tail=count))
        out.show(body, render_escalations, rows="rows", name="id")
        return Exit.OK
    for news in Following(client, (loop_id,) if loop_id else (), out.note, history=count):
        row = news.item.escalation
        if row is not UNSET:
            if out.form == JSONL:
                out.raw(bytes(row))
            else:
                out.text(escalation_line(bytes(row), out.look))
    return Exit.OK
