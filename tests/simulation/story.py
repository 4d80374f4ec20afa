"""What an escalations journal tells, read as a person would: what began, what ended, and what is open now."""

import json
from collections.abc import Iterator
from typing import Any

from opsd.model.effects import Journal
from opsd.ports import Files
from opsd.store.journal import RETENTION, Retention, generations

_ALL_BYTES = 1 << 40


def rows_of(files: Files, path: str, retention: Retention = RETENTION[Journal.ESCALATIONS]) -> list[dict[str, Any]]:
    """The whole lines of a journal and of its rotated files, oldest first."""
    return [json.loads(line) for name in reversed(generations(path, retention)) for line in _lines(files, name)]


def _lines(files: Files, path: str) -> Iterator[bytes]:
    try:
        _, data = files.read(path, 0, _ALL_BYTES)
    except FileNotFoundError:
        return
    yield from filter(None, data[: data.rfind(b"\n") + 1].split(b"\n"))


def open_after(rows: list[dict[str, Any]], *, rotated: bool) -> dict[str, str]:
    """`category|condition` of everything that began and did not end, by id.

    Raises AssertionError where something is told twice, or ends without having begun. A rotation carries open rows
    over into the new file: `rotated` says that a row may therefore stand twice.
    """
    open_now: dict[str, str] = {}
    told: set[str] = set()
    for row in rows:
        id_, category = row["id"], row["category"]
        if id_ in told:
            assert rotated, f"told twice: {row}"
            continue
        told.add(id_)
        ended = row.get("resolves")
        if ended is not None:
            assert ended in open_now, f"ends what is not open: {row}"
            del open_now[ended]
        if not category.endswith("_resolved"):
            key = f"{category}|{row['condition']}"
            assert key not in open_now.values(), f"begins again without having ended: {row}"
            open_now[id_] = key
    health = [key for key in open_now.values() if key.startswith("health_")]
    assert len(health) <= 1, f"two states of health at once: {health}"
    return open_now
