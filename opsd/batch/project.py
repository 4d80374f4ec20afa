"""Project a snapshot and a batch of events into the loop's state document: written to its file, and printed.

With `--state-file` only that file is written, whoever holds the home. Source: loop-core 4.
"""

import argparse
import os
from typing import Final

from opsd.app.given_envelopes import ProjectError, read_batch, read_snapshot
from opsd.app.project import project_state
from opsd.batch.command import CommandError, Outcome, Outside, Parser, add_loop, add_pretty, loop_of, printed, repo_of
from opsd.batch.home import HeldByDaemon, claim, forwarded
from opsd.batch.told import check_replaceable, read_told
from opsd.batch.whereabouts import checkout_of
from opsd.model.effects import Document
from opsd.model.ids import LoopId
from opsd.model.oneshot import ProjectRequest
from opsd.model.projected import BatchSays
from opsd.store.layout import Layout

_ANSWER_WITHIN_S: Final = 60.0


def add_arguments(parser: Parser) -> None:
    add_loop(parser)
    parser.add_argument("--snapshot-file", metavar="FILE", help="a snapshot envelope; a fresh one by default")
    parser.add_argument("--events-file", metavar="FILE", help="event envelopes, one a line; none by default")
    parser.add_argument("--state-file", metavar="FILE", help="what is read and replaced; the loop's own by default")
    add_pretty(parser)


def run(given: argparse.Namespace, outside: Outside) -> Outcome:
    repo, loop_id = repo_of(given), loop_of(given)
    layout = Layout(repo)
    own = layout.document(loop_id, Document.STATE)
    elsewhere = os.path.abspath(given.state_file) if given.state_file else own
    check_replaceable("--state-file", elsewhere, outside)
    request = _request(given, loop_id, outside)
    if elsewhere != own:
        return _projected(Layout(repo, {Document.STATE: elsewhere}), loop_id, request, outside)
    try:
        with claim(layout, outside):
            return _projected(layout, loop_id, request, outside)
    except HeldByDaemon as held:
        reply = forwarded(held, _where(loop_id), request, limit_s=_ANSWER_WITHIN_S)
        if reply.error is not None:
            raise CommandError(reply.error, reply.exit_code) from None
        return Outcome(printed(reply.document, pretty=given.pretty), reply.exit_code)


def _request(given: argparse.Namespace, loop_id: LoopId, outside: Outside) -> ProjectRequest:
    snapshot, batch = None, BatchSays()
    try:
        if given.snapshot_file:
            snapshot = read_snapshot(_told("snapshot", given.snapshot_file, outside), loop_id, given.snapshot_file)
        if given.events_file:
            batch = read_batch(_told("events", given.events_file, outside), loop_id, given.events_file)
    except ProjectError as error:
        raise CommandError(str(error)) from None
    return ProjectRequest(snapshot, batch, given.snapshot_file or None, given.events_file or None, given.pretty)


def _told(what: str, path: str, outside: Outside) -> bytes:
    data = read_told(path, outside)
    if data is None:
        raise CommandError(f"{what} file not found: {path}")
    return data


def _projected(layout: Layout, loop_id: LoopId, request: ProjectRequest, outside: Outside) -> Outcome:
    try:
        checkout = checkout_of(layout, loop_id, outside) if request.snapshot is None else layout.home
        document = project_state(outside.files, layout, loop_id, checkout, request, outside.now())
    except ProjectError as error:
        raise CommandError(str(error)) from None
    return Outcome(printed(document, pretty=request.pretty))


def _where(loop_id: LoopId) -> str:
    from opsctl.client import loop_path

    return loop_path(loop_id, "oneshot", "project-state")
