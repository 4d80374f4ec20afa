"""What a daemon left on the disk: artifacts against their published schemas, and nobody else's file touched."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it comes without types

SCHEMAS = Path(__file__).parents[2] / "docs" / "reference" / "schemas"
NOT_OF_A_LOOP = frozenset({"fleet"})


@cache
def _validators() -> Mapping[str, jsonschema.Draft202012Validator]:
    """By the path, below a loop's folder, of the file whose content (or whose lines) the schema describes."""
    schemas = [json.loads(path.read_bytes()) for path in SCHEMAS.glob("*.json")]
    return {schema["title"]: jsonschema.Draft202012Validator(schema) for schema in schemas}


def validated(home: Path) -> dict[str, int]:
    """How many documents and rows of each kind lie in the home; each was held against its schema.

    Raises:
        AssertionError: there is a file that no schema describes.
        jsonschema.ValidationError: a document or row is not what its schema says.
    """
    counts: dict[str, int] = {}
    for folder in (home / ".superloop" / "ops-manager").iterdir():
        if not folder.is_dir() or folder.name in NOT_OF_A_LOOP:
            continue
        for name, value in _values(folder):
            assert name in _validators(), f"{folder.name}/{name} is described by no schema"
            _validators()[name].validate(value)
            counts[name] = counts.get(name, 0) + 1
    return counts


def _values(folder: Path) -> Iterator[tuple[str, Any]]:
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.name.startswith("."):
            continue  # the spare copy with which a document trades places
        name = str(path.relative_to(folder))
        for text in path.read_bytes().splitlines() if path.suffix == ".jsonl" else [path.read_bytes()]:
            yield name, json.loads(text)


def traces(root: Path) -> dict[str, tuple[int, int, str]]:
    """Every path below `root` but those of the daemon's own folder: inode, time of change, content."""
    return {
        str(path): (stat.st_ino, stat.st_ctime_ns, _content(path))
        for path in sorted(root.rglob("*"))
        if "ops-manager" not in path.parts
        for stat in [os.lstat(path)]
    }


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
