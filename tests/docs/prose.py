"""The project's hand-written pages as the tests read them: their text, links, headings and quoted commands."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = tuple(
    sorted(
        path
        for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
        if "reference" not in path.parts  # those are made by `docs.generate`, and compared with it
    )
)
ALL_PAGES = tuple(sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_PROMPT = "$ "


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def links(text: str) -> list[str]:
    return _LINK.findall(_FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """The names under which a page's headings can be linked to, as Git hosts make them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        for heading in _HEADING.findall(_FENCE.sub("", text))
    }


def code_spans(text: str) -> list[str]:
    return _CODE.findall(_FENCE.sub("", text))


def blocks(text: str, language: str) -> list[str]:
    return [body for found, body in _FENCE.findall(text) if found == language]


def quoted_commands(text: str) -> Iterator[str]:
    """Lines that a reader would type: behind a `$ ` prompt in a `console` block, or any line of a `sh` block."""
    for language, body in _FENCE.findall(text):
        body = body.replace("\\\n", " ")
        for line in body.splitlines():
            if language == "console" and line.startswith(_PROMPT):
                yield line.removeprefix(_PROMPT)
            elif language == "sh" and line.strip() and not line.startswith("#"):
                yield line
