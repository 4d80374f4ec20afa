"""Who looks at a fleet in observe mode is told so, whatever he asked for: a note on stderr, beside the answer."""

from collections.abc import Callable, Sequence

import msgspec

from opsctl.client import Client
from opsctl.render.control import mode_words
from opsd.protocol import ModePage


def note_modes(client: Client, note: Callable[[str], None], loops: Sequence[str] = ()) -> None:
    """The modes in force that are not normal: of the fleet, and of `loops` or of every loop."""
    for mode in msgspec.json.decode(client.get("/v1/mode"), type=ModePage).modes:
        if mode.loop_id is None or not loops or mode.loop_id in loops:
            note(f"{mode_words(mode)}: no intent is carried out")
