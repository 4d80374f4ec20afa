"""The end of what a command prints, in bounded memory however much that is, and safe to show."""

from typing import Final

from opsd.model.defuse import defuse_lines

LINES_MAX: Final = 40
SIZE_BYTES_MAX: Final = 16 * 1024
# Defusing makes text longer, but for the carriage returns of foreign line ends: twice as much is always enough.
_KEPT_BYTES: Final = 2 * SIZE_BYTES_MAX
_CONTINUATION: Final = bytes(range(0x80, 0xC0))


class Tail:
    """Takes bytes in, gives the last lines out."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._cut = False

    def add(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > 2 * _KEPT_BYTES:
            del self._kept[:-_KEPT_BYTES]
            self._cut = True

    def text(self) -> str:
        """At most 40 lines and 16 KiB, defused; what is no UTF-8 is replaced. Source: control-and-service 2.2."""
        kept = bytes(self._kept)
        if self._cut:
            # The cut may have gone through a character.
            kept = kept[:4].lstrip(_CONTINUATION) + kept[4:]
        text = defuse_lines(kept.decode("utf-8", "replace").rstrip("\r\n"))
        shown = "\n".join(text.split("\n")[-LINES_MAX:]).encode()
        return shown[-SIZE_BYTES_MAX:].decode("utf-8", "ignore")
