"""Text that other programs wrote, on its way to a terminal: what could steer it or turn its text around is spelt out.

Lines stay lines. Words within our own sentences are bounded and cleaned by `opsd.core.payload`.
"""

import re

_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def defuse(text: str) -> str:
    """`text` with every unsafe character as its escape; line ends and tabs stay."""
    return _UNSAFE.sub(_shown, text)


def _shown(unsafe: re.Match[str]) -> str:
    return unsafe.group().encode("unicode_escape").decode("ascii")
