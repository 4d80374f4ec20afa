"""`opsctl watch [LOOP...]`: the fleet now, then every change, until Ctrl-C."""

from opsctl.client import Client
from opsctl.exits import Exit
from opsctl.feed import Following
from opsctl.output import JSONL, Output
from opsctl.render.changes import change_line


def run(client: Client, out: Output, loops: tuple[str, ...]) -> Exit:
    for news in Following(client, loops, out.note):
        if out.form == JSONL:
            out.raw(news.raw)
        elif text := change_line(news.item, news.before, out.look):
            out.text(text)
    return Exit.OK
