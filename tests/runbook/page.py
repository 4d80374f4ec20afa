"""The page of one-shot commands as its reader sees it: sections, and in each the blocks that can be copied."""

import re
from collections.abc import Mapping, Sequence

from tests.docs.prose import ROOT, blocks, text_of

PAGE = ROOT / "docs" / "one-shot.md"
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)


def sections() -> Mapping[str, Sequence[str]]:
    """By its heading, the blocks of shell of each section that has any."""
    _, *parts = _SECTION.split(text_of(PAGE))
    shell = {heading: blocks(body, "sh") for heading, body in zip(parts[::2], parts[1::2], strict=True)}
    return {heading: found for heading, found in shell.items() if found}
