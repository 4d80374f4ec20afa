"""Markdown as all generated pages use it: the notice at the top, tables, words for yes and no."""

from collections.abc import Iterable, Sequence


def page(title: str, source: str, *parts: str) -> str:
    """A whole page; `source` names the file to edit instead of this one. Parts are set apart by an empty line."""
    notice = f"Written by `make docs` from {source}.\nEdit that instead of this page."
    return "\n\n".join([f"# {title}", notice, *(part.strip() for part in parts if part.strip())]) + "\n"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(headers), _row(["---"] * len(headers)), *(_row(row) for row in rows)]
    return "\n".join(lines)


def code(text: str) -> str:
    return f"`{text}`"


def yes(value: bool) -> str:
    """For table cells: `yes`, or nothing, so that the eye finds the exceptions."""
    return "yes" if value else ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"
