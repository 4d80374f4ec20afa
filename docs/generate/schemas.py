"""`reference/schemas/` and its index: the JSON Schemas that `opsd.store.schemas` makes from the records."""

import json
from functools import cache

from docs.generate.markdown import code, page, table
from opsd.store.schemas import schemas

_INTRODUCTION = """
JSON Schemas (draft 2020-12) of what opsd writes, made from the records that write it. They say what is there; members
that a schema does not list are legal, and readers must ignore those they do not know. Files are described in
[artifacts](artifacts.md).
"""


@cache
def schema_files() -> dict[str, str]:
    """The schema's file name by what it describes: a path below the loop's folder, or an envelope's name."""
    return {json.loads(data)["title"]: name for name, data in schemas().items()}


def render() -> str:
    return page(
        "Schemas",
        "the records in `opsd/model/`",
        _INTRODUCTION,
        table(
            ("schema", "describes"),
            ((f"[{name}](schemas/{name})", code(title)) for title, name in schema_files().items()),
        ),
    )
