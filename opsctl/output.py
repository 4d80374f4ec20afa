"""Where answers go: data to stdout in the chosen format, notes to stderr. The same record stands behind each format."""

import os
import sys
from collections.abc import Callable
from typing import NamedTuple

from opsctl.defuse import defuse, defuse_lines
from opsctl.environ import wants_plain

TABLE, JSON, JSONL, YAML, NAME = "table", "json", "jsonl", "yaml", "name"


class Look(NamedTuple):
    """How a table may look. `width` is None where lines may be as long as they like; `paint` allows colour."""

    width: int | None = None
    paint: bool = False
    headers: bool = True


def somebody_answers() -> bool:
    """Whether there is a terminal on which one can be asked, and answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


class Output:
    def __init__(self, form: str = TABLE, *, headers: bool = True) -> None:
        self.form = form
        is_terminal = sys.stdout.isatty()
        self.look = Look(
            width=(os.get_terminal_size(sys.stdout.fileno()).columns or None) if is_terminal else None,
            paint=is_terminal and not wants_plain(),
            headers=headers,
        )

    def text(self, text: str) -> None:
        """A piece of output, shown at once; a line end is added where it lacks one."""
        # Names of files and lone surrogates from a command line are not always encodable; a table must not fail of it.
        self.raw(text.encode("utf-8", "backslashreplace"))

    def raw(self, data: bytes) -> None:
        sys.stdout.buffer.write(data if data.endswith(b"\n") else data + b"\n")
        sys.stdout.buffer.flush()

    def note(self, text: str) -> None:
        print(f"opsctl: {defuse_lines(text)}", file=sys.stderr, flush=True)

    def aside(self, text: str) -> None:
        """What is shown to a person beside the data, as it stands: on stderr."""
        sys.stderr.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
        sys.stderr.flush()

    def ask(self, question: str) -> bool:
        """Whether somebody at the terminal says yes; an empty line, the end of the input and anything else are a no."""
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def show(self, body: bytes, table: Callable[[bytes, Look], str], *, rows: str | None, name: str | None) -> None:
        """An answer of the API. `rows` is the member that holds its rows, `name` what a row is called by."""
        if self.form == TABLE:
            self.text(table(body, self.look))
        elif self.form == JSON:
            self.raw(body)
        elif self.form == YAML:
            import json

            from opsctl import yaml

            self.text(yaml.dump(json.loads(body)))
        else:
            import json

            whole = json.loads(body)
            for row in [whole] if rows is None else whole[rows]:
                if self.form == JSONL:
                    self.text(json.dumps(row, ensure_ascii=False, separators=(",", ":")))
                elif name is not None and row.get(name) is not None:
                    self.text(defuse(str(row[name])))
