"""The operator status of a loop that a real daemon looks after, before and after that daemon was killed."""

import json
from pathlib import Path
from typing import Any

import pytest

from opsctl.client import Client
from tests.api.test_operator_status import without_time
from tests.batch.checkout import LOOP, Checkout
from tests.batch.cli import Done, run
from tests.doubles.process import OpsdProcess, wait_until

pytestmark = pytest.mark.slow


def test_daemon_and_command_say_the_same_until_nobody_is_there(short_path: Path) -> None:
    checkout = Checkout(short_path).running()
    with OpsdProcess(checkout.folder) as daemon:
        wait_until(lambda: checkout.ours.joinpath("cursor.json").exists(), "the daemon has looked")

        def both() -> tuple[bytes, Done]:
            return Client(daemon.socket).get(f"/v1/loops/{LOOP}/operator-status"), run("status", *checkout.flags)

        answered, command = both()
        here, there = _managers(answered, command)
        assert without_time(answered) == without_time(command.out)
        assert here["heldBy"] == there["heldBy"]
        assert here["heldBy"]["socketPath"] == daemon.socket
        assert (here["status"], there["status"]) == ("alive", "alive")

        document = command.document
        assert document["lifecycle"]["phase"]
        assert document["health"]["findings"] is not None
        assert document["overallStatus"] == document["health"]["overallStatus"]

        daemon.kill()
        wait_until(lambda: "heldBy" not in run("status", *checkout.flags).document["manager"], "nobody is there")


def _managers(answered: bytes, command: Done) -> tuple[dict[str, Any], dict[str, Any]]:
    return json.loads(answered)["manager"], command.document["manager"]
