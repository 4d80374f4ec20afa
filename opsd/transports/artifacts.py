"""The small files of a loop run, and of its checkout, as the records of `opsd.model.runtime`.

How one such file is followed is `opsd.transports.small`; the event log is `opsd.transports.tail`. Source:
runtime-artifacts 2 and 3.
"""

from datetime import datetime

import msgspec
from msgspec.structs import replace

from opsd.core.intents.identity import candidate_digest
from opsd.model.ids import LoopId
from opsd.model.observation import Artifact, Artifacts
from opsd.model.runtime import (
    ActiveRun,
    Approval,
    Heartbeat,
    LoopConfig,
    RateLimit,
    RecoveryRequest,
    RunSummary,
    RuntimeState,
    SummaryEntry,
)
from opsd.ports import Files, FileStat
from opsd.transports.lenient import decode_object
from opsd.transports.small import SmallFile

SUMMARY_BYTES_MAX = 64 * 1024 * 1024
CHECKOUT_FILES = ("state.json", "active-run.json", "config.json")
"""Below `.superloop/`: one each per checkout, whichever loop they speak of."""
LOOP_FILES = ("run-summary.json", "approval.json", "heartbeat.v1.json", "rate-limit.json", "escalation.json")
"""Beside the loop's `events.jsonl`."""


def runtime_folder(repo_path: str) -> str:
    return f"{repo_path}/.superloop"


def loop_folder(repo_path: str, loop_id: LoopId) -> str:
    return f"{repo_path}/.superloop/loops/{loop_id}"


class CheckoutFiles:
    """The files that a checkout's loops share: read once, however many loops there are."""

    __slots__ = ("__weakref__", "active_run", "config", "state")

    def __init__(self, repo_path: str) -> None:
        folder = runtime_folder(repo_path)
        self.state = SmallFile(f"{folder}/state.json", lambda data: decode_object(data, RuntimeState))
        self.active_run = SmallFile(f"{folder}/active-run.json", lambda data: decode_object(data, ActiveRun))
        self.config = SmallFile(f"{folder}/config.json", read_config)


class LoopFiles:
    """The files of one loop."""

    __slots__ = ("_checkout", "_loop_id", "approval", "heartbeat", "rate_limit", "recovery", "summary")

    def __init__(self, folder: str, loop_id: LoopId, checkout: CheckoutFiles) -> None:
        self._checkout = checkout
        self._loop_id = loop_id
        self.summary = SmallFile(f"{folder}/run-summary.json", read_summary, size_bytes_max=SUMMARY_BYTES_MAX)
        self.approval = SmallFile(f"{folder}/approval.json", read_approval)
        self.heartbeat = SmallFile(f"{folder}/heartbeat.v1.json", read_heartbeat)
        self.rate_limit = SmallFile(f"{folder}/rate-limit.json", lambda data: decode_object(data, RateLimit))
        self.recovery = SmallFile(f"{folder}/escalation.json", lambda data: decode_object(data, RecoveryRequest))

    def look(self, files: Files, now: datetime, settle_s: float, folder: FileStat | None = None) -> Artifacts:
        """`folder` is the stat of the loop's folder, taken before; without it absent files are asked for again."""
        checkout = self._checkout
        return Artifacts(
            state=checkout.state.look(files, now, settle_s),
            active_run=checkout.active_run.look(files, now, settle_s),
            summary=self.summary.look(files, now, settle_s, folder=folder),
            approval=self.approval.look(files, now, settle_s, folder=folder),
            heartbeat=self.heartbeat.look(files, now, settle_s, folder=folder),
            config=self._own(checkout.config.look(files, now, settle_s)),
            rate_limit=self.rate_limit.look(files, now, settle_s, folder=folder),
            recovery=self.recovery.look(files, now, settle_s, folder=folder),
        )

    def _own(self, config: Artifact[dict[str, LoopConfig]]) -> Artifact[LoopConfig]:
        value = (config.value or {}).get(self._loop_id)
        return Artifact(config.presence, value, config.since, config.problem, config.mtime)


class _Summary(msgspec.Struct):
    """Entries stay undecoded: the file grows for ever, and only its newest entry is judged."""

    updated_at: str | None = None
    entries: list[msgspec.Raw] = []


class _Config(msgspec.Struct):
    loops: list[msgspec.Raw] = []


class _LoopName(msgspec.Struct):
    id: str = ""


def read_summary(data: bytes) -> RunSummary:
    document = decode_object(data, _Summary)
    latest = decode_object(document.entries[-1], SummaryEntry) if document.entries else None
    return RunSummary(document.updated_at, latest, len(document.entries))


def read_approval(data: bytes) -> Approval:
    # The digest is made from the object as it stands: it covers members that are not read here.
    approval = decode_object(data, Approval)
    return replace(approval, digest=candidate_digest(msgspec.json.decode(data)))


def read_heartbeat(data: bytes) -> Heartbeat:
    # On one line, since it goes on into journals of one line a row; decoded, so that what goes on is valid.
    verbatim = msgspec.Raw(msgspec.json.encode(msgspec.json.decode(data)))
    return replace(decode_object(data, Heartbeat), verbatim=verbatim)


def read_config(data: bytes) -> dict[str, LoopConfig]:
    """The loops of a `config.json` by id, as far as they can be made out."""
    return {
        decode_object(entry, _LoopName).id: decode_object(entry, LoopConfig)
        for entry in decode_object(data, _Config).loops
    }
