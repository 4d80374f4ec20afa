"""Print the events behind a cursor, one envelope a line, and move the cursor behind the last of them.

Every line is looked at, and the new cursor laid beside the old one, before the first envelope is printed; it takes the
old one's place once they are all delivered. Whoever stops reading early finds them again. Source: loop-core 3.
"""

import argparse
import os
import sys
from typing import Final

import msgspec

from opsd.app.envelopes import EnvelopeError, EventPage
from opsd.batch.command import (
    CommandError,
    Outcome,
    Outside,
    Parser,
    add_loop,
    add_pretty,
    loop_of,
    repo_of,
    whole_number,
)
from opsd.batch.told import check_replaceable, read_told
from opsd.core.instants import whole
from opsd.model.cursor import Cursor
from opsd.model.ids import LoopId
from opsd.transports.artifacts import loop_folder

CURSOR_NAME: Final = "ops-manager.cursor.json"
"""In the loop's own folder, where the manager's cursor is not. Source: loop-core 1.1."""


class _Offset(msgspec.Struct, rename="camel"):
    event_line_offset: object = None


def add_arguments(parser: Parser) -> None:
    add_loop(parser)
    parser.add_argument("--cursor-file", metavar="FILE", help=f"{CURSOR_NAME} in the loop's folder by default")
    parser.add_argument("--from-start", action="store_true", help="begin at the log's first line")
    parser.add_argument("--max-events", default="0", metavar="N", help="print at most so many (0: all there are)")
    parser.add_argument("--trace-id", metavar="ID", help="null by default")
    add_pretty(parser)


def run(given: argparse.Namespace, outside: Outside) -> Outcome:
    repo, loop_id = repo_of(given), loop_of(given)
    max_events = whole_number("--max-events", given.max_events)
    folder = loop_folder(repo, loop_id)
    path = os.path.abspath(given.cursor_file) if given.cursor_file else f"{folder}/{CURSOR_NAME}"
    check_replaceable("--cursor-file", path, outside)
    try:
        page = EventPage(
            outside.files,
            repo,
            loop_id,
            outside.now(),
            cursor=0 if given.from_start else _offset(path, outside),
            events_max=max_events,
            trace_id=given.trace_id or None,
        )
        staged = _stage(path, _cursor(page, repo, loop_id, outside), outside)
        _deliver(page, staged, pretty=given.pretty, outside=outside)
    except EnvelopeError as error:
        raise CommandError(str(error)) from None
    try:
        outside.files.rename(staged, path)
    except OSError as error:
        raise _unwritable(path, error) from None
    return Outcome()


def _offset(path: str, outside: Outside) -> int:
    """The line that the cursor stands behind; 0 where there is none yet. Source: loop-core 3.2, 3.3."""
    data = read_told(path, outside)
    if data is None:
        return 0
    invalid = f"invalid cursor offset in {path}: {{}}; correct it, remove the file, or use --from-start"
    if not data.strip():
        raise CommandError(invalid.format("the file is empty"))
    try:
        told = msgspec.json.decode(data, type=_Offset).event_line_offset
    except msgspec.ValidationError:
        raise CommandError(invalid.format("it is not an object")) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CommandError(f"invalid JSON in cursor file: {path} ({error}); remove it, or use --from-start") from None
    if told is None or told is False:
        return 0
    if isinstance(told, bool | int | str) and (text := str(told)).isascii() and text.isdecimal():
        return int(text)
    raise CommandError(invalid.format(f"eventLineOffset is {told!r}, not a non-negative integer"))


def _cursor(page: EventPage, repo: str, loop_id: LoopId, outside: Outside) -> bytes:
    cursor = Cursor(
        repo_path=repo,
        loop_id=loop_id,
        events_file=f"{loop_folder(repo, loop_id).removeprefix(f'{repo}/')}/events.jsonl",
        event_line_offset=page.last_line,
        event_line_count=page.line_count,
        updated_at=whole(outside.now()),
    )
    members = msgspec.to_builtins(cursor)
    del members["stream"]  # a cursor by lines alone, as the contract has it
    return msgspec.json.format(msgspec.json.encode(members), indent=2) + b"\n"


def _stage(path: str, data: bytes, outside: Outside) -> str:
    """Lay the new cursor beside the old one: a disk that refuses it does so before anything is told.

    Named by our own process: pollers that share a cursor are nobody's business to forbid.
    """
    staged = f"{path}.{os.getpid()}.next"
    try:
        outside.files.make_dirs(os.path.dirname(path))
        outside.files.replace(staged, data, sync=False)
    except OSError as error:
        raise _unwritable(path, error) from None
    return staged


def _deliver(page: EventPage, staged: str, *, pretty: bool, outside: Outside) -> None:
    """Everything on standard output, or the cursor's new version gone again."""
    try:
        for piece in page.pieces(b"\n"):
            for line in piece.strip(b"\n").splitlines():
                sys.stdout.buffer.write((msgspec.json.format(line, indent=2) if pretty else line) + b"\n")
        sys.stdout.flush()
    except BaseException as error:
        outside.files.remove(staged)
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            # What is still buffered would be tried, and fail, once more at the interpreter's end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            problem = f"{error.filename or 'standard output'}: {error.strerror or error}"
            raise CommandError(f"not delivered, and the cursor stays: {problem}") from None
        raise


def _unwritable(path: str, error: OSError) -> CommandError:
    return CommandError(f"cursor file {path} cannot be written: {error.strerror or error}; name one with --cursor-file")
