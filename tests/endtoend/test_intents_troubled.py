"""What is said of commands of the runtime that fail, lie, hang, or do something else than they were asked for.

Each way to misbehave has the outcome and the exit code that an operator can rely on, whatever the command's own exit
code was. One daemon and one fleet serve all tests of this module.
"""

import os
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest

from opsctl.exits import Exit
from opsd.sim.faults import FLOOD_BYTES
from opsd.sim.steps import Document
from tests.doubles.situations import Plan
from tests.endtoend.operators import TOLD, Live, living, once

pytestmark = pytest.mark.slow

COMMAND_S = 2.0
"""A command that takes longer is ended."""
WINDOW = ("--confirm-within", "1.5")


class Case(NamedTuple):
    """A command that misbehaves, how it ends, and whether its effect is there afterwards."""

    kind: str
    fault: Document
    ends: tuple[str, int]
    exit_code: int
    done: bool
    says: str = ""


CASES: Mapping[str, Case] = {
    "cancel-slow": Case("cancel", {"kind": "slow", "seconds": 0.5}, ("confirmed", Exit.OK), 0, True),
    "cancel-fail": Case(
        "cancel", {"kind": "fail", "code": 9, "says": "the host is busy"}, ("failed_command", Exit.FAILED), 9, False,
        "the host is busy",
    ),
    "cancel-late-fail": Case("cancel", {"kind": "late-fail", "code": 3}, ("failed_command", Exit.FAILED), 3, True),
    "cancel-lie": Case("cancel", {"kind": "lie"}, ("ambiguous", Exit.AMBIGUOUS), 0, False),
    "cancel-partial": Case("cancel", {"kind": "partial"}, ("ambiguous", Exit.AMBIGUOUS), 0, False),
    "cancel-hang": Case("cancel", {"kind": "hang"}, ("ambiguous", Exit.AMBIGUOUS), 124, False),
    "cancel-late-hang": Case("cancel", {"kind": "late-hang"}, ("confirmed", Exit.OK), 124, True),
    "approve-fail": Case("approve", {"kind": "fail", "code": 1}, ("failed_command", Exit.FAILED), 1, False),
    "approve-late-fail": Case("approve", {"kind": "late-fail", "code": 3}, ("failed_command", Exit.FAILED), 3, True),
    "approve-lie": Case("approve", {"kind": "lie"}, ("ambiguous", Exit.AMBIGUOUS), 0, False),
    "approve-partial": Case("approve", {"kind": "partial"}, ("confirmed", Exit.OK), 0, True),
    "approve-hang": Case("approve", {"kind": "hang"}, ("ambiguous", Exit.AMBIGUOUS), 124, False),
    "approve-late-hang": Case("approve", {"kind": "late-hang"}, ("confirmed", Exit.OK), 124, True),
    "start-fail": Case(
        "start", {"kind": "fail", "code": 9, "says": "no such model"}, ("failed_command", Exit.FAILED), 9, False,
        "no such model",
    ),
    "start-lie": Case("start", {"kind": "lie"}, ("failed_command", Exit.FAILED), 1, False),
    "start-partial": Case("start", {"kind": "partial"}, ("confirmed", Exit.OK), 0, True),
}  # fmt: skip
_SITUATION = {"cancel": "running", "approve": "awaiting approval", "start": "complete"}
_WORD = {"start": "run"}
PLANS = {
    **{
        name: Plan(_SITUATION[case.kind], {_WORD.get(case.kind, case.kind): [case.fault]})
        for name, case in CASES.items()
    },
    "flooded": Plan("running", {"cancel": [{"kind": "flood"}]}),
    "left-behind": Plan("running", {"cancel": [{"kind": "fork", "seconds": 30.0}]}),
    "astray": Plan("awaiting approval", {"approve": [{"kind": "other"}]}),
    "hung": Plan("running", {"cancel": [{"kind": "hang"}]}),
    "acknowledged": Plan("running", {"cancel": [{"kind": "lie"}]}),
    "settled-later": Plan("running", {"cancel": [{"kind": "lie"}]}),
    "unwanted": Plan("running", {"cancel": [{"kind": "lie"}]}),
    "no-interpreter": Plan("running"),
    "deaf": Plan("stopped", {"run": [{"kind": "deaf"}]}, then="silent-stall"),
    "never-begins": Plan("never run", {"run": [{"kind": "fail", "code": 9, "says": "no such model"}]}),
}


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with living(PLANS, OPSD_CONTROL_TIMEOUT_S=str(COMMAND_S)) as fleet:
        yield fleet


@pytest.mark.parametrize("loop_id", CASES)
async def test_each_way_to_misbehave_has_its_outcome(live: Live, loop_id: str) -> None:
    place, case = live.places[loop_id], CASES[loop_id]

    done = await live.ask(case.kind, loop_id, *WINDOW)

    assert done.ends == case.ends
    assert place.executions(_WORD.get(case.kind, case.kind)) == 1
    assert has_had_its_effect(live, loop_id, case.kind) == case.done
    assert live.told(loop_id) == once(case.ends[0])
    assert live.rows(loop_id, "intents.jsonl")[0]["exitCode"] == case.exit_code
    assert done.known.execution is not None
    assert case.says in done.known.execution.output
    finding = {"ambiguous": "control_ambiguous", "failed_command": "control_failed_command"}.get(case.ends[0])
    if finding is not None:
        await live.until(lambda: finding in live.findings(loop_id), f"status says {finding}")


def has_had_its_effect(live: Live, loop_id: str, kind: str) -> bool:
    place = live.places[loop_id]
    match kind:
        case "cancel":
            return not place.lives() and place.document("state.json") is None
        case "approve":
            approval = place.approval()
            return approval is not None and approval["status"] == "approved"
        case _:
            return "loop_start" in place.told()


async def test_what_a_command_prints_is_bounded_and_harmless(live: Live) -> None:
    done = await live.ask("cancel", "flooded")
    shown = (await live.opsctl("intent", "show", done.known.id)).out

    assert done.ends == ("confirmed", Exit.OK)
    assert done.known.execution is not None
    output = done.known.execution.output
    assert 0 < len(output) <= 16 * 1024 < FLOOD_BYTES
    assert len(output.splitlines()) <= 40
    for foul in ("\x1b", "\u202e", "\u2066", "\x07", "\x9b"):
        assert foul not in output
        assert foul not in shown
    for file in TOLD:
        text = (live.home / ".superloop/ops-manager/flooded" / file).read_text()
        assert "\\u001b" not in text
        assert "\u202e" not in text


async def test_a_helper_that_a_command_leaves_behind_holds_nobody_up(live: Live) -> None:
    done = await live.ask("cancel", "left-behind")

    assert done.ends == ("confirmed", Exit.OK)
    assert done.known.settled_at is not None
    assert (done.known.settled_at - done.known.recorded_at).total_seconds() < 10.0, "the helper sleeps half a minute"


async def test_a_decision_on_another_candidate_says_so(live: Live) -> None:
    done = await live.ask("approve", "astray")

    assert done.ends == ("ambiguous", Exit.AMBIGUOUS)
    assert done.known.confirmation is not None
    assert done.known.confirmation.reason == "other_candidate"


async def test_a_run_that_never_began_is_told_in_the_runtimes_words(live: Live) -> None:
    """Of a loop without a log, too: that there is none is read to its end at once."""
    begin_s = time.monotonic()
    done = await live.ask("start", "never-begins", "--confirm-within", "60")

    assert done.ends == ("failed_command", Exit.FAILED)
    assert time.monotonic() - begin_s < 20.0
    assert done.known.execution is not None
    assert (done.known.execution.exit_code, done.known.execution.output) == (9, "error: no such model")
    assert live.places["never-begins"].executions("run") == 1


async def test_a_run_that_does_not_hear_is_ended_by_force_and_that_is_said(live: Live) -> None:
    assert (await live.ask("start", "deaf")).ends == ("confirmed", Exit.OK)
    live.places["deaf"].until("role_start")

    done = await live.ask("cancel", "deaf")

    assert done.ends == ("confirmed", Exit.OK)
    assert done.known.execution is not None
    assert "force-stopped" in done.known.execution.output
    assert not live.places["deaf"].lives()


async def test_a_command_that_cannot_be_begun_did_nothing(live: Live) -> None:
    place = live.places["no-interpreter"]
    (place.repo / "superloop.sh").write_text("#!/nowhere/sh\n")

    done = await live.ask("cancel", "no-interpreter", *WINDOW)

    assert done.ends == ("failed_command", Exit.FAILED)
    assert live.rows("no-interpreter", "intents.jsonl")[0]["exitCode"] == 126
    assert "interpreter" in str(done.known.execution)
    assert place.lives()


async def test_an_ambiguous_intent_stands_open_until_somebody_settles_it(live: Live) -> None:
    done = await live.ask("cancel", "acknowledged", *WINDOW)
    intent_id = done.known.id
    assert done.ends == ("ambiguous", Exit.AMBIGUOUS)
    await live.until(lambda: "control_ambiguous" in live.findings("acknowledged"), "status says so")
    shown = (await live.opsctl("status", "acknowledged")).out
    assert "control_ambiguous" in shown
    assert intent_id in shown
    assert intent_id in (await live.opsctl("approvals")).out
    assert intent_id in (await live.opsctl("intents", "--open")).out

    live.opsd.kill()
    live.opsd.start()
    await live.until(lambda: "control_ambiguous" in live.findings("acknowledged"), "a restart does not settle it")
    acked = await live.opsctl("intent", "ack", intent_id, "--reason", "it lives, seen on the host", "--by", "riya")

    assert acked.code == Exit.OK, acked.err
    await live.until(lambda: "control_ambiguous" not in live.findings("acknowledged"), "it is settled")
    assert live.told("acknowledged")[0] == ["ambiguous", "executed_unconfirmed"]
    assert live.rows("acknowledged", "intents.jsonl")[-1]["acknowledgedBy"] == "riya"
    again = await live.opsctl("intent", "ack", intent_id, "--reason", "once more")
    assert again.code == Exit.NO
    assert live.places["acknowledged"].executions("cancel") == 1


async def test_what_comes_true_later_settles_it_without_anybody_asking(live: Live) -> None:
    place = live.places["settled-later"]
    done = await live.ask("cancel", "settled-later", *WINDOW)
    assert done.ends == ("ambiguous", Exit.AMBIGUOUS)

    assert place.call("cancel").returncode == 0
    await live.until(lambda: live.steps("settled-later")[-1] == "confirmed", "its evidence is found")

    await live.until(lambda: "control_ambiguous" not in live.findings("settled-later"), "the picture says so")
    assert live.told("settled-later") == (["ambiguous", "confirmed"], ["ambiguous"], ["ambiguous"])
    assert place.executions("cancel") == 2, "one of them is ours, the other was made by hand"


async def test_who_wants_no_proof_is_told_that_there_is_none(live: Live) -> None:
    done = await live.ask("cancel", "unwanted", "--no-confirm")

    assert done.ends == ("executed_unconfirmed", Exit.OK)
    assert live.places["unwanted"].lives(), "it lied, and nobody looked"


async def test_what_hangs_is_ended_with_all_that_it_began(live: Live) -> None:
    await live.ask("cancel", "hung", *WINDOW)
    command = str(live.places["hung"].repo / "superloop.sh").encode()

    lives = [words for pid in os.listdir("/proc") if pid.isdigit() and command in (words := _words(pid))]

    assert [words for words in lives if b"cancel" in words] == []
    assert [words for words in lives if b"run" in words] != [], "it hung before it did anything"


def _words(pid: str) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []
