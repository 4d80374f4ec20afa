"""Evaluate once whether advice for another threshold profile has lasted long enough to act on it.

Writes the loop's drift state and a row of its history. Advice only: no profile is changed.
Source: status-and-tuning 3.1.
"""

import argparse
import os
from collections.abc import Mapping
from typing import Final, get_args

import msgspec

from opsd.app.tuning import drift_pass
from opsd.batch import thresholds
from opsd.batch.command import (
    CommandError,
    Outcome,
    Outside,
    Parser,
    add_loop,
    add_pretty,
    loop_of,
    one_of,
    printed,
    repo_of,
    whole_number,
)
from opsd.batch.home import HeldByDaemon, cannot_honour, claim, forwarded
from opsd.model.effects import Document, Journal
from opsd.model.ids import LoopId
from opsd.model.oneshot import DriftOptions, DriftRequest, OneShotReply
from opsd.model.tuning import Confidence
from opsd.store.layout import Layout
from opsd.store.store import Store

MOVABLE: Final[Mapping[str, Document | Journal]] = {
    "drift_state_file": Document.PROFILE_DRIFT,
    "drift_history_file": Journal.PROFILE_DRIFT,
}
_ANSWER_WITHIN_S: Final = 30.0


class _Catalog(msgspec.Struct):
    """As much of a catalog as this command asks of it."""

    profiles: dict[str, msgspec.Raw]


def add_arguments(parser: Parser) -> None:
    add_loop(parser)
    parser.add_argument("--applied-profile", default="", metavar="NAME", help="the profile in force, if there is one")
    parser.add_argument("--recommended-profile", default="", metavar="NAME", help="the profile that is advised, if any")
    parser.add_argument("--thresholds-file", metavar="FILE", help=f"{thresholds.CATALOG_VARIABLE} by default")
    parser.add_argument(
        "--recommendation-confidence", default="low", metavar="LEVEL", help="low (default), medium or high"
    )
    parser.add_argument("--min-confidence", default="medium", metavar="LEVEL", help="low, medium (default) or high")
    parser.add_argument("--required-streak", default="3", metavar="N", help="evaluations in a row until it counts (3)")
    parser.add_argument("--summary-window", default="200", metavar="N", help="recorded only (200)")
    parser.add_argument("--rationale", default="", metavar="TEXT", help="recorded only")
    for name in MOVABLE:
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="FILE", help="instead of the loop's own file")
    add_pretty(parser)


def run(given: argparse.Namespace, outside: Outside) -> Outcome:
    repo, loop_id = repo_of(given), loop_of(given)
    request = request_of(given, outside)
    moved = {what: os.path.abspath(path) for name, what in MOVABLE.items() if (path := getattr(given, name))}
    reply = _evaluated(Layout(repo, moved), loop_id, request, outside, moved)
    if reply.error is not None:
        raise CommandError(reply.error, reply.exit_code)
    return Outcome(printed(reply.document, pretty=given.pretty), reply.exit_code)


def request_of(given: argparse.Namespace, outside: Outside) -> DriftRequest:
    """Every flag judged before anything is done."""
    streak = whole_number("--required-streak", given.required_streak, least=1)
    window = whole_number("--summary-window", given.summary_window, least=1)
    path = thresholds.catalog_path(given.thresholds_file, outside)
    names = _names(path, thresholds.catalog_bytes(path, outside))
    for what, name in (("applied", given.applied_profile), ("recommended", given.recommended_profile)):
        if name and name not in names:
            raise CommandError(f"unknown {what} profile: {name} ({path} has: {', '.join(names)})")
    return DriftRequest(
        applied_profile=given.applied_profile or None,
        recommended_profile=given.recommended_profile or None,
        confidence=_confidence("--recommendation-confidence", given.recommendation_confidence),
        rationale=given.rationale,
        options=DriftOptions(_confidence("--min-confidence", given.min_confidence), streak, window, names),
    )


def _evaluated(
    layout: Layout,
    loop_id: LoopId,
    request: DriftRequest,
    outside: Outside,
    moved: Mapping[Document | Journal, str],
) -> OneShotReply:
    def here() -> OneShotReply:
        return drift_pass(Store(layout, outside.files), layout, outside.files, loop_id, request, outside.now())

    try:
        with claim(layout, outside):
            return here()
    except HeldByDaemon as held:
        if len(moved) == len(MOVABLE):
            return here()  # nothing is written in the home, whoever holds it
        if moved:
            raise cannot_honour(held, [_flag(name) for name, what in MOVABLE.items() if what in moved]) from None
        return forwarded(held, _where(loop_id), request, limit_s=_ANSWER_WITHIN_S)


def _names(path: str, data: bytes) -> tuple[str, ...]:
    """Source: status-and-tuning 3.1: an object `profiles` is all that is asked for."""
    try:
        return tuple(sorted(msgspec.json.decode(data, type=_Catalog).profiles))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CommandError(
            f"threshold profiles file has invalid shape: {path}: {error}; it needs an object `profiles`"
        ) from None


def _confidence(flag: str, text: str) -> Confidence:
    level: Confidence = one_of(flag, text, get_args(Confidence))  # type: ignore[assignment]  # one of them, as was just seen
    return level


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _where(loop_id: LoopId) -> str:
    from opsctl.client import loop_path

    return loop_path(loop_id, "oneshot", "profile-drift")
