"""JSON Schemas (2020-12) of our artifacts, exported from the records, so that the two cannot drift apart.

Members that a schema does not list are legal: readers must ignore them, as we do. Writing them beside the documentation
is `docs.generate`'s business.
"""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from opsd.model.control import ControlRow, IntentRow, InvocationRow
from opsd.model.effects import Journal
from opsd.model.envelopes import LoopRunEvent
from opsd.model.escalation import EscalationRow
from opsd.model.heartbeat import HeartbeatRow
from opsd.model.intent import Intent
from opsd.model.lifecycle import RunRow
from opsd.model.mode import ModeRow
from opsd.model.profile import ProfileRow
from opsd.model.sequence import SequenceRow
from opsd.model.switch import SwitchRow
from opsd.model.telemetry import QuarantineRow, ReconcileRow
from opsd.model.tuning import DriftRow
from opsd.store.codec import RECORDS, SCHEMA_VERSION

ROWS: Mapping[Journal, type[msgspec.Struct]] = {
    Journal.ESCALATIONS: EscalationRow,
    Journal.RUNS: RunRow,
    Journal.QUARANTINE: QuarantineRow,
    Journal.RECONCILE: ReconcileRow,
    Journal.HEARTBEAT: HeartbeatRow,
    Journal.SEQUENCE: SequenceRow,
    Journal.PROFILE_DRIFT: DriftRow,
    Journal.INTENTS: IntentRow,
    Journal.INTENT_LOG: Intent,
    Journal.CONTROL: ControlRow,
    Journal.INVOCATIONS: InvocationRow,
}

FLEET: Mapping[str, type[msgspec.Struct]] = {
    "fleet/modes.jsonl": ModeRow,
    "fleet/profiles.jsonl": ProfileRow,
    "fleet/transports.jsonl": SwitchRow,
}
"""What we write for the fleet as a whole: path below `ops-manager/` to the record."""

# Whatever else outside programs read: a name here is a file `<name>.v1.json` there.
ENVELOPES: Mapping[str, type[msgspec.Struct]] = {
    "loop-run-event": LoopRunEvent,
}


def schemas() -> dict[str, bytes]:
    """File name to content, ready to be written; the order and every byte are stable."""
    artifacts = {document.value: record for document, record in RECORDS.items()}
    artifacts |= {journal.value: row for journal, row in ROWS.items()}
    artifacts |= FLEET
    named = {_name(path): (path, record) for path, record in artifacts.items()}
    named |= {name: (name, record) for name, record in ENVELOPES.items()}
    return {f"{name}.{SCHEMA_VERSION}.json": _schema(name, *what) for name, what in sorted(named.items())}


def _name(path: str) -> str:
    """`telemetry/reconcile.jsonl` is described by `telemetry-reconcile-row`, `state.json` by `state`."""
    stem, _, suffix = path.rpartition(".")
    return stem.replace("/", "-") + ("-row" if suffix == "jsonl" else "")


def _schema(name: str, title: str, record: type[msgspec.Struct]) -> bytes:
    (reference,), definitions = msgspec.json.schema_components([record], ref_template="#/$defs/{name}")
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:opsd:schema:{name}:{SCHEMA_VERSION}",
        "title": title,
        **reference,
        "$defs": dict(sorted(definitions.items())),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False).encode() + b"\n"
