"""Each rule of the registry by its number, and what a valid one comes to. Source: fleet 2."""

import json
from typing import Any

import msgspec
import pytest

from opsd.core.registry import loop_refs, read_registry
from opsd.model.registry import PolicyMode, Registry
from opsd.model.transport import TransportMode

SERVICE = {"transport": "sprite_service"}


def document(*loops: object, **members: object) -> dict[str, Any]:
    return {"schemaVersion": "v1", "loops": list(loops) or [{"loopId": "a"}]} | members


def errors(value: object) -> tuple[str, ...]:
    reading = read_registry(json.dumps(value).encode(), "registry.v1.json")
    assert (reading.registry is None) == bool(reading.errors)
    return reading.errors


def registry(value: object) -> Registry:
    reading = read_registry(json.dumps(value).encode(), "registry.v1.json")
    assert reading.registry, reading.errors
    return reading.registry


def a_loop(**members: object) -> dict[str, Any]:
    return document({"loopId": "a"} | members)


def policy(**members: object) -> dict[str, Any]:
    return document(policy=members)


@pytest.mark.parametrize(
    ("rule", "value", "error"),
    [
        ("V3", [], "must hold one JSON object"),
        ("V3", None, "must hold one JSON object"),
        ("V4", {"loops": [{"loopId": "a"}]}, 'schemaVersion must be "v1" (found null)'),
        ("V4", document(schemaVersion="v2"), 'schemaVersion must be "v1" (found "v2")'),
        ("V5", document(fleetId=5), "fleetId must be a string (found 5)"),
        ("V6", document(loops={}), "loops must be an array"),
        ("V6", document(loops=None), "loops must be an array"),
        ("V7", document(loops=[]), "loops must not be empty"),
        ("V8", document({"loopId": "a"}, {"loopId": "b"}, {"loopId": "a"}), "loops[2].loopId must be unique; loops[0]"),
        ("V9", document("a"), "loops[0] must be an object"),
        ("V9", document(None), "loops[0] must be an object"),
        ("V10", document({}), "loops[0].loopId must be a string"),
        ("V10", document({"loopId": ""}), "loops[0].loopId must be a string"),
        ("V10", document({"loopId": 7}), "loops[0].loopId must be a string"),
        ("V11", a_loop(enabled=0), "loops[0].enabled must be true or false"),
        ("V11", a_loop(enabled="yes"), "loops[0].enabled must be true or false"),
        ("V12", a_loop(transport=""), "loops[0].transport must be local or sprite_service"),
        ("V12", a_loop(transport="ssh"), "loops[0].transport must be local or sprite_service"),
        ("V13", a_loop(sprite="s"), "loops[0].sprite must be an object"),
        ("V14", a_loop(sprite={"id": ""}), "loops[0].sprite.id must be a string"),
        ("V14", a_loop(sprite={"id": 3}), "loops[0].sprite.id must be a string"),
        ("V15", a_loop(service=[]), "loops[0].service must be an object"),
        ("V16", a_loop(service={"tokenEnv": ""}), "loops[0].service.tokenEnv must be a string"),
        ("V17", a_loop(service={"retryAttempts": 0}), "loops[0].service.retryAttempts must be a number >= 1"),
        ("V17", a_loop(service={"retryAttempts": "3"}), "loops[0].service.retryAttempts must be a number >= 1"),
        ("V17", a_loop(service={"retryAttempts": True}), "loops[0].service.retryAttempts must be a number >= 1"),
        (
            "V18",
            a_loop(service={"retryBackoffSeconds": -1}),
            "loops[0].service.retryBackoffSeconds must be a number >=",
        ),
        ("V19", a_loop(**SERVICE), "sprite_service loops require service.baseUrl or sprite.serviceBaseUrl"),
        (
            "V19",
            a_loop(**SERVICE, service={"baseUrl": ""}, sprite={"serviceBaseUrl": "http://x"}),
            "sprite_service loops require service.baseUrl or sprite.serviceBaseUrl",
        ),
        ("V20", a_loop(metadata=[]), "loops[0].metadata must be an object"),
        ("V21", document(policy="strict"), "policy must be an object"),
        ("V21", document(policy=False), "policy must be an object"),
        ("V22", policy(mode="auto"), "policy.mode must be advisory or guarded_auto"),
        ("V23", policy(noiseControls=[]), "policy.noiseControls must be an object"),
        ("V24", policy(noiseControls={"dedupeWindowSeconds": "5"}), "dedupeWindowSeconds must be an integer >= 0"),
        ("V24", policy(noiseControls={"dedupeWindowSeconds": 1.5}), "dedupeWindowSeconds must be an integer >= 0"),
        ("V24", policy(noiseControls={"dedupeWindowSeconds": -1}), "dedupeWindowSeconds must be an integer >= 0"),
        ("V25", policy(suppressions=[]), "policy.suppressions must be an object"),
        ("V26", policy(suppressions={"z": "nonsense"}), "policy.suppressions['z'] names no declared loop"),
        ("V27", policy(suppressions={"a": None}), "policy.suppressions['a'] must be an array"),
        ("V28", policy(suppressions={"a": ["health_critical", 3]}), "policy.suppressions['a'] must hold strings only"),
        ("V29", policy(suppressions={"*": ["health_critical", "noise"]}), "contains unknown categories"),
        ("ours", a_loop(repoPath=""), "loops[0].repoPath must be a path"),
        ("ours", a_loop(repoPath="/srv/\0"), "loops[0].repoPath must be a path"),
    ],
)
def test_what_breaks_a_rule_is_named_by_its_field(rule: str, value: object, error: str) -> None:
    [found] = errors(value)

    assert error in found, rule


@pytest.mark.parametrize("data", [b"", b"{", b'{"schemaVersion":"v1"} {}', b"\xff", b"[" * 100_000])
def test_what_is_not_one_json_document_is_refused(data: bytes) -> None:
    [error] = read_registry(data, "registry.v1.json").errors

    assert error.startswith("registry.v1.json is not JSON: ")


def test_every_violation_is_told_at_once() -> None:
    """An operator mends a registry in one go."""
    value = document({"loopId": ""}, "x", {"loopId": "c", **SERVICE}, policy={"mode": 1, "suppressions": {"q": []}})

    assert len(errors(value)) == 5


def test_a_long_value_is_cut_in_the_message() -> None:
    [error] = errors(a_loop(enabled="x" * 5000))

    assert len(error) < 200


def test_defaults_are_filled_in() -> None:
    found = registry(document({"loopId": "a"}))

    assert found.fleet_id == "default"
    assert found.policy.mode is PolicyMode.ADVISORY
    assert json.loads(msgspec.json.encode(found)) == {
        "schemaVersion": "v1",
        "fleetId": "default",
        "loops": [
            {
                "loopId": "a",
                "enabled": True,
                "transport": "local",
                "sprite": {},
                "service": {"retryAttempts": 3, "retryBackoffSeconds": 1},
                "metadata": {},
            }
        ],
        "policy": {
            "mode": "advisory",
            "suppressions": {},
            "noiseControls": {"dedupeWindowSeconds": 300},
            "autonomous": {},
        },
    }


def test_what_is_given_is_kept_and_what_is_unknown_is_dropped() -> None:
    found = registry(
        document(
            {
                "loopId": "d",
                "enabled": False,
                "transport": "sprite_service",
                "sprite": {"id": "sprite-7", "assignment": ["any"], "colour": "red"},
                "service": {"baseUrl": "http://s:1", "tokenEnv": "TOKEN", "retryAttempts": 1.5},
                "metadata": {"team": {"name": "core"}},
                "note": 1,
            },
            fleetId="",
            policy={
                "mode": "guarded_auto",
                "suppressions": {"d": ["health_degraded", "health_degraded"], "*": []},
                "noiseControls": {"dedupeWindowSeconds": 1e3},
                "autonomous": {"safety": {"killSwitch": True}},
            },
        )
    )

    encoded = json.loads(msgspec.json.encode(found))
    assert encoded["fleetId"] == ""
    assert encoded["loops"] == [
        {
            "loopId": "d",
            "enabled": False,
            "transport": "sprite_service",
            "sprite": {"id": "sprite-7", "assignment": ["any"], "serviceBaseUrl": "http://s:1"},
            "service": {"baseUrl": "http://s:1", "tokenEnv": "TOKEN", "retryAttempts": 1.5, "retryBackoffSeconds": 1},
            "metadata": {"team": {"name": "core"}},
        }
    ]
    assert encoded["policy"] == {
        "mode": "guarded_auto",
        "suppressions": {"d": ["health_degraded", "health_degraded"], "*": []},
        "noiseControls": {"dedupeWindowSeconds": 1000},
        "autonomous": {"safety": {"killSwitch": True}},
    }


def test_two_different_base_urls_both_stay() -> None:
    [loop] = registry(
        a_loop(**SERVICE, service={"baseUrl": "http://one"}, sprite={"serviceBaseUrl": "http://two"})
    ).loops

    assert (loop.service.base_url, loop.sprite.service_base_url) == ("http://one", "http://two")


@pytest.mark.parametrize("absent", [None, False])
def test_null_and_false_count_as_absent_where_the_contract_has_it_so(absent: object) -> None:
    found = registry(
        document(
            {"loopId": "a", "transport": absent, "sprite": {"id": absent}, "metadata": absent},
            fleetId=absent,
            policy={"mode": absent, "suppressions": absent},
        )
    )

    assert found == registry(document({"loopId": "a"}, policy={}))


def test_loops_stand_for_references_in_the_registrys_order() -> None:
    found = registry(
        document(
            {"loopId": "home"},
            {"loopId": "far", "repoPath": "/srv/far"},
            {"loopId": "near", "repoPath": "../near/", "metadata": {"team": "core"}},
            {"loopId": "off", "enabled": False},
            {"loopId": "sprite", **SERVICE, "service": {"baseUrl": "http://s"}},
            {"loopId": "../up"},
            {"loopId": "fleet"},
        )
    )

    refs = loop_refs(found, "/srv/home")

    assert [(ref.loop_id, ref.repo_path, ref.fault) for ref in refs] == [
        ("home", "/srv/home", None),
        ("far", "/srv/far", None),
        ("near", "/srv/near", None),
        ("off", "/srv/home", None),
        ("sprite", "/srv/home", "transport_not_supported"),
        ("../up", "/srv/home", "loop_id_unsafe"),
        ("fleet", "/srv/home", "loop_id_reserved"),
    ]
    assert [ref.enabled for ref in refs] == [True, True, True, False, True, True, True]
    assert bytes(refs[2].metadata) == b'{"team":"core"}'
    assert refs[4].transport is TransportMode.SPRITE_SERVICE
    assert all(ref.fault_detail for ref in refs if ref.fault)
