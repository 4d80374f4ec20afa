"""The fleet changes under the running daemon: loops found in the home; registries that come, change, break and go."""

import json
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opsd.exits import ExitCode
from opsd.sim.trees import lay_down
from tests.doubles.process import OpsdProcess
from tests.endtoend.audience import Audience, listening

pytestmark = pytest.mark.slow


class House:
    """A home in which loops live, and a place for others; the daemon is told of neither."""

    def __init__(self, root: Path) -> None:
        self.home, self.elsewhere = root / "home", root / "elsewhere"
        self.registry = self.home / ".superloop" / "ops-manager" / "fleet" / "registry.v1.json"
        self.registry.parent.mkdir(parents=True)

    def moves_in(self, loop_id: str) -> None:
        lay_down("complete", self.home, at=datetime.now(UTC), loop_id=loop_id)

    def moves_out(self, loop_id: str) -> None:
        shutil.rmtree(self.home / ".superloop" / "loops" / loop_id)

    def registers(self, *entries: dict[str, Any]) -> None:
        self.registry.write_text(json.dumps({"schemaVersion": "v1", "loops": entries}))

    def entry(self, loop_id: str, **members: Any) -> dict[str, Any]:
        repo = self.elsewhere / loop_id
        if not repo.exists():
            lay_down("complete", repo, at=datetime.now(UTC), loop_id=loop_id)
        return {"loopId": loop_id, "repoPath": str(repo), **members}


@pytest.fixture
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house"))  # a socket's path must be short


@pytest.fixture
def opsd(house: House) -> Iterator[OpsdProcess]:
    with OpsdProcess(house.home) as opsd:
        yield opsd


def fleet(opsd: OpsdProcess) -> dict[str, str]:
    """The loops, and what is believed of each, or why it is not managed."""
    return {loop["loopId"]: loop["fault"] or loop["phase"] for loop in opsd.get("/v1/fleet")["loops"]}


def becomes(opsd: OpsdProcess, **expected: str) -> None:
    opsd.until(lambda: fleet(opsd) == expected, f"the fleet is {expected}")


def removals(audience: Audience) -> int:
    return audience.kinds.count("removed")


def test_loops_are_found_when_they_appear_and_leave_when_they_vanish(house: House, opsd: OpsdProcess) -> None:
    with listening(opsd) as audience:
        becomes(opsd)
        house.moves_in("first")
        becomes(opsd, first="complete")
        house.moves_in("second")
        becomes(opsd, first="complete", second="complete")
        house.moves_out("first")
        becomes(opsd, second="complete")
        opsd.until(lambda: removals(audience) == 1, "who watches hears that it left")
        assert opsd.get("/v1/fleet")["daemon"]["registry"] == "discovery"
        assert opsd.stop() == ExitCode.OK

    assert (house.home / ".superloop/ops-manager/first/state.json").exists(), "what was found out of it stays"


def test_a_registry_is_followed_through_all_that_happens_to_it(house: House, opsd: OpsdProcess) -> None:
    house.moves_in("found")
    becomes(opsd, found="complete")

    house.registers(house.entry("listed"))
    becomes(opsd, listed="complete")
    assert opsd.get("/v1/fleet")["daemon"]["registry"] == str(house.registry)

    house.registers(house.entry("listed", enabled=False), house.entry("added"))
    opsd.until(lambda: fleet(opsd).keys() == {"listed", "added"}, "the added loop is there")
    opsd.until(lambda: not opsd.loop("listed")["enabled"], "the other one is switched off")

    house.registry.write_text('{"schemaVersion": "v1", "loops": [{"loopId": ')
    opsd.until(lambda: "registry_invalid" in opsd.findings(), "the broken registry is said")
    assert fleet(opsd).keys() == {"listed", "added"}, "the last good one stays in force"

    house.registers(house.entry("added"))
    becomes(opsd, added="complete")
    opsd.until(lambda: opsd.findings() == [], "the mended registry is taken")

    house.registry.unlink()
    becomes(opsd, found="complete")
    assert opsd.get("/v1/fleet")["daemon"]["registry"] == "discovery"


def test_a_loop_whose_service_is_not_there_is_unreachable_and_holds_up_nobody(house: House, opsd: OpsdProcess) -> None:
    service = {"transport": "sprite_service", "service": {"baseUrl": "http://127.0.0.1:1"}}
    house.registers(house.entry("here"), house.entry("there", **service))

    becomes(opsd, here="complete", there="unknown")
    opsd.until(lambda: "transport_unreachable" in opsd.loop("there")["reasonCodes"], "the failure is told")


def test_sighup_reads_the_registry_at_once_and_keeps_what_is_known(house: House, opsd: OpsdProcess) -> None:
    house.registers(house.entry("one"))
    becomes(opsd, one="complete")
    revision = opsd.loop("one")["revision"]

    house.registers(house.entry("one"), house.entry("two"))
    opsd.process.send_signal(signal.SIGHUP)

    becomes(opsd, one="complete", two="complete")
    assert opsd.loop("one")["revision"] >= revision
    assert opsd.stop() == ExitCode.OK
