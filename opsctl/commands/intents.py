"""`opsctl intents [LOOP]`: what was asked, and what became of it; on request every step as it happens."""

import msgspec

from opsctl.client import Client, target
from opsctl.exits import Exit
from opsctl.feed import Following, IntentsToo
from opsctl.modes import note_modes
from opsctl.output import JSONL, NAME, TABLE, Output
from opsctl.render.intents import intent_line, render_list


class _Carrying(msgspec.Struct):
    """A line of the feed, of which the intent is wanted as it came."""

    intent: msgspec.Raw


def run(client: Client, out: Output, loop_id: str | None, *, follow: bool, open_only: bool, count: int) -> Exit:
    loops = (loop_id,) if loop_id is not None else ()
    if not follow:
        body = client.get(target("/v1/intents", loop=loop_id, open=str(open_only).lower(), tail=count))
        if out.form == TABLE:
            note_modes(client, out.note, loops)
        out.show(body, render_list, rows="intents", name="id")
        return Exit.OK
    if out.form == TABLE:
        note_modes(client, out.note, loops)
    for news in Following(client, loops, out.note, intents=IntentsToo(history=count, open_only=open_only)):
        intent = news.item.intent
        if intent is None:
            continue
        if out.form == JSONL:
            out.raw(bytes(msgspec.json.decode(news.raw, type=_Carrying).intent))
        else:
            out.text(intent.id if out.form == NAME else intent_line(intent, out.look))
    return Exit.OK
