"""The schemas beside the documentation are those of the records, and the records keep to them."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

from opsd.core.intents.rows import rows
from opsd.model.effects import Document, Journal
from opsd.model.intent import IntentKind, IntentStatus
from opsd.model.mode import Mode, ModeRow
from opsd.model.reasons import REASONS
from opsd.store.codec import encode
from opsd.store.faults import StoreCode
from opsd.store.schemas import ROWS, schemas
from tests.store.examples import LOOP, a_cursor, a_health, a_sample, a_state, an_escalation, at
from tests.store.intents import ACTOR, WORKED, an_intent, life_of

DECISION = life_of(an_intent(1, kind=IntentKind.APPROVE), *WORKED, IntentStatus.CONFIRMED)[-1]
DECISION_ROWS = [append.row for append in rows(DECISION)]
PUBLISHED = Path(__file__).parents[2] / "docs" / "reference" / "schemas"


def _schema(name: str) -> Any:
    return json.loads(schemas()[f"{name}.v1.json"])


def test_the_published_schemas_are_those_of_the_records() -> None:
    published = {path.name: path.read_bytes() for path in PUBLISHED.iterdir()}

    assert published == schemas(), "run `make docs` and look at the difference: outside programs rely on these files"


def test_every_artifact_has_a_schema() -> None:
    documents = {f"{document.value.removesuffix('.json').replace('/', '-')}.v1.json" for document in Document}
    rows = {f"{journal.value.removesuffix('.jsonl').replace('/', '-')}-row.v1.json" for journal in ROWS}

    assert documents | rows <= set(schemas())
    assert set(Journal) == set(ROWS)


@pytest.mark.parametrize("name", sorted(schemas()))
def test_each_is_a_valid_schema_of_its_own_id_that_allows_additions(name: str) -> None:
    schema = json.loads(schemas()[name])

    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:opsd:schema:{name.removesuffix('.v1.json')}:v1"
    assert "additionalProperties" not in _keys_of_objects_with_members(schema)


def _keys_of_objects_with_members(schema: Any) -> set[str]:
    """Of every object that lists its members; a map from names to strings may well say what its values are."""
    if isinstance(schema, list):
        return set().union(*map(_keys_of_objects_with_members, schema))
    if not isinstance(schema, dict):
        return set()
    below = set().union(*map(_keys_of_objects_with_members, schema.values()))
    return below | (set(schema) if isinstance(schema.get("properties"), dict) else set())


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("state", a_state(3)),
        ("health", a_health(3)),
        ("cursor", a_cursor(3)),
        ("escalations-row", an_escalation("a")),
        ("telemetry-reconcile-row", a_sample(3)),
        ("intent-log-row", DECISION),
        ("intents-row", DECISION_ROWS[0]),
        ("telemetry-control-row", DECISION_ROWS[1]),
        ("telemetry-control-invocations-row", DECISION_ROWS[2]),
        ("fleet-modes-row", ModeRow(at(1), Mode.OBSERVE, "riya", ACTOR, "v1", loop_id=LOOP, until=at(9))),
    ],
)
def test_what_we_write_keeps_to_its_schema(name: str, record: msgspec.Struct) -> None:
    document = json.loads(encode(record))
    validator = Draft202012Validator(_schema(name))

    validator.validate(document)
    validator.validate(document | {"someFutureMember": 1})
    assert not validator.is_valid({"schemaVersion": "v1"})


def test_our_codes_are_in_the_registry_of_reasons() -> None:
    assert {code.value for code in StoreCode} <= set(REASONS)
