"""What the core asks the shell to do, and the files of our own it may name.

The store carries out appends and replacements in a fixed order that makes a crash at any point harmless: journals
first, then documents, the cursor last.
"""

from datetime import datetime
from enum import Enum

import msgspec


class Journal(Enum):
    """Our append-only files of one loop; the value is the path below the loop's folder."""

    ESCALATIONS = "escalations.jsonl"
    RUNS = "runs.jsonl"
    QUARANTINE = "quarantine.jsonl"
    INTENTS = "intents.jsonl"
    INTENT_LOG = "intent-log.jsonl"
    CONTROL = "telemetry/control.jsonl"
    INVOCATIONS = "telemetry/control-invocations.jsonl"
    RECONCILE = "telemetry/reconcile.jsonl"
    HEARTBEAT = "telemetry/heartbeat.jsonl"
    SEQUENCE = "telemetry/sequence.jsonl"
    PROFILE_DRIFT = "telemetry/profile-drift.jsonl"


class Document(Enum):
    """Our replaced files of one loop; the value is the path below the loop's folder."""

    STATE = "state.json"
    HEALTH = "health.json"
    HEARTBEAT = "heartbeat.json"
    SEQUENCE = "sequence-state.json"
    TRANSPORT_HEALTH = "telemetry/transport-health.json"
    PROFILE_DRIFT = "profile-drift.json"
    CURSOR = "cursor.json"


class Append(msgspec.Struct, frozen=True):
    """`durable` rows are flushed to the disk before anything after them in the same commit is written."""

    journal: Journal
    row: msgspec.Struct
    durable: bool = False


class Replace(msgspec.Struct, frozen=True):
    document: Document
    record: msgspec.Struct


class WakeAt(msgspec.Struct, frozen=True):
    """Look at the loop again at `when`, even if nothing changes: `why` names the threshold that would be crossed."""

    when: datetime
    why: str


Effect = Append | Replace | WakeAt
