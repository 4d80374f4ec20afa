"""The projection of a loop as its command asks for it: read, judged by the contract's rules, and written in one step.

The command line runs it by itself, the daemon for a request that was forwarded to it. Synchronous, for the writer of
the document. Source: loop-core 4.
"""

from datetime import datetime
from typing import Final

import msgspec

from opsd.app import envelopes
from opsd.app.given_envelopes import ProjectError, read_snapshot
from opsd.core.contract_projection import PreviousSays, project
from opsd.model.effects import Document
from opsd.model.ids import LoopId
from opsd.model.lifecycle import Lifecycle
from opsd.model.oneshot import ProjectRequest
from opsd.model.state import Source
from opsd.ports import Files
from opsd.store.codec import encode
from opsd.store.layout import Layout
from opsd.transports.lenient import decode_object
from opsd.transports.small import NotAnObjectError

_DOCUMENT_BYTES_MAX: Final = 1 << 26
_UNPARSABLE: Final = (NotAnObjectError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Position(msgspec.Struct, frozen=True, rename="camel"):
    event_line_offset: int = 0


class _CurrentState(msgspec.Struct, frozen=True, rename="camel"):
    current_state: Lifecycle = Lifecycle.NONE


class _Previous(msgspec.Struct, frozen=True):
    transition: _CurrentState = _CurrentState()
    cursor: _Position = _Position()


class _Memory(msgspec.Struct, frozen=True):
    memory: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def project_state(
    files: Files, layout: Layout, loop_id: LoopId, repo_path: str, request: ProjectRequest, now: datetime
) -> msgspec.Raw:
    """The document as it was written to where `layout` has the loop's state, which is also where the previous one is.

    `repo_path` is the checkout that a fresh snapshot is taken of.

    Raises:
        ProjectError: see there.
    """
    snapshot = request.snapshot
    if snapshot is None:
        try:
            fresh = envelopes.snapshot(files, repo_path, loop_id, now)
        except envelopes.EnvelopeError as error:
            raise ProjectError(str(error)) from None
        snapshot = read_snapshot(msgspec.json.encode(fresh), loop_id, "a fresh one")
    path = layout.document(loop_id, Document.STATE)
    document = project(
        Source(layout.home, loop_id),
        snapshot,
        request.batch,
        _previous(files, path),
        snapshot_file=request.snapshot_file,
        events_file=request.events_file,
        now=now,
    )
    data = encode(document)
    _write(files, path, msgspec.json.format(data, indent=2) + b"\n" if request.pretty else data)
    return msgspec.Raw(data.rstrip())


def _previous(files: Files, path: str) -> PreviousSays:
    """What cannot be read is no previous state. Source: loop-core 4.1."""
    try:
        data = files.read(path, 0, _DOCUMENT_BYTES_MAX)[1]
        found = decode_object(data, _Previous)
        memory = msgspec.json.decode(data, type=_Memory).memory
    except (OSError, *_UNPARSABLE):
        return PreviousSays()
    return PreviousSays(found.transition.current_state, found.cursor.event_line_offset, memory)


def _write(files: Files, path: str, data: bytes) -> None:
    folder = path.rpartition("/")[0]
    try:
        files.make_dirs(folder)
        files.replace(path, data, sync=False)
    except OSError as error:
        raise ProjectError(f"{path} cannot be written: {error.strerror or error}") from None
