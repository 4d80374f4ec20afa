"""The sprites of the benchmark: told apart by their addresses, and read whole. One for all of them would flatter."""

import http.client
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.cases import far
from benchmarks.cases.case import Plan
from benchmarks.eventlog import write_log
from benchmarks.served import ServedFleet, make_served_fleet
from opsd.core.registry import loop_refs, read_registry

LINES = 30


def ask(base_url: str, token: str, loop_id: str) -> tuple[int, Mapping[str, object]]:
    host, _, port = base_url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    body = json.dumps({"loopId": loop_id})
    connection.request("POST", "/ops/observe", body, {"Authorization": f"Bearer {token}"})
    with connection.getresponse() as response:
        told = response.status, json.loads(response.read())
    connection.close()
    return told


def a_fleet(root: Path, loops: int) -> ServedFleet:
    made = make_served_fleet(str(root), loops, [("steady", "iteration-1")])
    for role in made.fleet.roles:
        write_log(role.repo, role.loop_id, lines=LINES)
    return made


@pytest.mark.slow
def test_each_address_serves_its_own_loop_to_its_own_token(short_path: Path) -> None:
    made = a_fleet(short_path, 3)
    registry = json.loads(Path(made.fleet.layout.registry).read_text())
    services = [entry["service"] for entry in registry["loops"]]
    tokens = [(Path(made.token_folder) / service["tokenEnv"]).read_text() for service in services]

    with made.served(str(short_path)):
        own = [
            ask(service["baseUrl"], token, role.loop_id)
            for service, token, role in zip(services, tokens, made.fleet.roles, strict=True)
        ]
        strange = ask(services[0]["baseUrl"], tokens[1], made.fleet.roles[0].loop_id)
        other, _ = ask(services[0]["baseUrl"], tokens[0], made.fleet.roles[1].loop_id)

    assert len({service["baseUrl"] for service in services}) == len(set(tokens)) == 3
    for role, (status, said) in zip(made.fleet.roles, own, strict=True):
        assert status == 200
        assert said["source"]["repoPath"] == role.repo  # type: ignore[index]  # an object, as JSON has it
        assert len(said["observation"]["events"]) >= LINES  # type: ignore[index]
    assert (strange[0], other) == (401, 200), "another's token is refused; another's loop is just not there"


@pytest.mark.slow
def test_a_log_that_is_read_through_a_service_is_read_whole(short_path: Path) -> None:
    outcome = far.measure(Plan(str(short_path), quick=True))

    assert outcome.details["events"] >= 10_000  # type: ignore[operator]  # a count
    assert all(figure.value for figure in outcome.figures)


def test_the_managers_registry_is_valid_and_leads_to_no_checkout(short_path: Path) -> None:
    made = make_served_fleet(str(short_path), 300, [("steady", "iteration-1")])
    reading = read_registry(Path(made.fleet.layout.registry).read_bytes(), "registry")

    assert reading.registry is not None, reading.errors
    refs = loop_refs(reading.registry, made.fleet.layout.home, remote=True)
    assert len({ref.service.base_url for ref in refs if ref.service is not None}) == 300
    assert {ref.has_checkout for ref in refs} == {False}
