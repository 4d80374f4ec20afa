"""`opsctl watch [LOOP...]`: the fleet now, then every change, until Ctrl-C."""

from opsctl.client import Client
from opsctl.errors import OpsctlError
from opsctl.exits import Exit
from opsctl.feed import Following, IntentsToo, is_passing
from opsctl.modes import note_modes
from opsctl.output import JSONL, Output
from opsctl.render.changes import change_line


def run(client: Client, out: Output, loops: tuple[str, ...]) -> Exit:
    for news in Following(client, loops, out.note, intents=IntentsToo()):
        if news.item.kind == "hello":
            _note_modes(client, out, loops)
        if out.form == JSONL:
            out.raw(news.raw)
        elif text := change_line(news.item, news.before, out.look):
            out.text(text)
    return Exit.OK


def _note_modes(client: Client, out: Output, loops: tuple[str, ...]) -> None:
    try:
        note_modes(client, out.note, loops)
    except OpsctlError as error:
        if not is_passing(error):
            raise
