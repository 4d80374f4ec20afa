"""Run as a program: one intent's life in the real daemon, killed at every call by which it does or writes something.

Arguments: kind of intent, `torn` or `between`, folder. Below `folder/N` lies the checkout whose daemon was killed at
the Nth call after the intent's operator had come; then another daemon is started there, asked what became of the
intent, and asked for the same thing again under the same key. A `Fate` is printed for each N, one JSON line; the last
is that of the daemon that survived.
"""

import http.client
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from opsd import daemon  # noqa: F401  every daemon is a fork of this process, and has it loaded already
from opsd.__main__ import main as opsd
from opsd.sim.player import KEEPER
from tests.doubles.killing import doom
from tests.doubles.process import ask, wait_until
from tests.doubles.situations import Place, situation
from tests.sim.checkouts import LOOP

SITUATION = {"cancel": "running", "approve": "awaiting approval", "start": "complete"}
COMMAND = {"cancel": "cancel", "approve": "approve", "start": "run"}
ITS_FILES = ("intent-log.jsonl", "intents.jsonl", "control.jsonl", "control-invocations.jsonl")
WINDOW_S = 2.0
"""Of an act that never was the evidence is looked for so long."""
ITS_REST_S = 0.3
"""What follows from a settled intent is on the disk by then."""
MOST_CALLS = 400
IN_FLIGHT = ("recorded", "executing", "executed")


class Seen(msgspec.Struct):
    """What the second daemon and the files say of one intent: `steps` of its log, `told` per file for others."""

    id: str
    status: str
    steps: list[str]
    told: list[list[str]]


class Fate(msgspec.Struct):
    """`executed` counts calls of the runtime's command before it was asked for again, `effect` is what is true then.

    `accepted` is the intent that the first daemon had promised. `shown`: whether the picture says that an outcome is
    ambiguous. `again` is what asking again under the key came to.
    """

    n: int
    killed: bool
    at: dict[str, str | None]
    accepted: str | None
    known: list[Seen]
    executed: int
    effect: bool
    shown: bool
    again: Seen
    replayed: bool
    executed_in_all: int


class Forked:
    """`opsd run` on the place, as a fork of this process, which is dead at the end of the block."""

    def __init__(self, place: Place, nth: int | None = None, *, torn: bool = False) -> None:
        self.place = place
        self._socket = f"{place.repo}/.superloop/ops-manager/opsd.sock"
        listening, told = os.pipe()
        self._told = listening
        self.pid = os.fork()
        if self.pid == 0:
            os.close(listening)
            self._become(told, nth, torn)
        os.close(told)
        self._ended: int | None = None

    def __enter__(self) -> Self:
        wait_until(self._answers, "it answers")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def _become(self, told: int, nth: int | None, torn: bool) -> None:
        log = os.open(f"{self.place.repo}/opsd.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = 1
        try:
            if nth is not None:
                doom(nth, torn=torn, told=told, concerns=lambda path: path.endswith(ITS_FILES))
            code = opsd(["run", "--repo", str(self.place.repo)])
        finally:
            os._exit(code)

    def arm(self) -> None:
        """From now on its days are numbered."""
        os.kill(self.pid, signal.SIGUSR2)
        assert os.read(self._told, 1) == b"!"

    def last_call(self) -> dict[str, str | None]:
        """What it was about to do when it was killed; empty where it was not."""
        said = os.read(self._told, 65_536)
        call: dict[str, str | None] = json.loads(said) if said else {}
        return call

    def end(self) -> bool:
        """Whether it had ended before; now it has in any case."""
        if self._ended is not None:
            return True
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            os.kill(self.pid, signal.SIGKILL)
            _, self._ended = os.waitpid(self.pid, 0)
            return False
        self._ended = status
        assert os.WIFSIGNALED(status), f"it ended by itself: status {status}"
        return True

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """None where it does not answer any more."""
        try:
            return ask(self._socket, method, path, None if body is None else json.dumps(body))
        except (OSError, http.client.HTTPException, ValueError):
            return None

    def submit(self, kind: str) -> dict[str, Any] | None:
        body = {"intent": kind, "by": "riya", "idempotencyKey": "k-1", "timeoutS": WINDOW_S}
        answer: dict[str, Any] | None = self.ask("POST", f"/v1/loops/{LOOP}/intents", body)
        return answer

    def intents(self) -> list[dict[str, Any]]:
        """As the daemon itself knows them: what it tells is on the disk whole, the files have it a moment earlier."""
        page = self.ask("GET", f"/v1/intents?loop={LOOP}") or {"intents": []}
        known = [self.ask("GET", f"/v1/intents/{intent['id']}") for intent in page["intents"]]
        return [reply["intent"] for reply in known if reply is not None]

    def is_busy(self) -> bool:
        return any(intent["status"] in IN_FLIGHT for intent in self.intents())

    def findings(self) -> list[str]:
        row = self.ask("GET", f"/v1/loops/{LOOP}")["summary"]
        return [finding["code"] for finding in row["findings"]]

    def is_dead(self) -> bool:
        return (
            self._ended is not None or os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        )

    def _answers(self) -> bool:
        assert not self.is_dead(), (self.place.repo / "opsd.log").read_text()[-2_000:]
        loop = self.ask("GET", f"/v1/loops/{LOOP}")
        return loop is not None and loop["summary"]["phase"] != "unknown"


def main(kind: str, how: str, folder: Path) -> None:
    os.environ[KEEPER] = str(os.getpid())
    for n in range(1, MOST_CALLS):
        with situation(folder / str(n), SITUATION[kind]) as place:
            fate = life(place, kind, n, torn=how == "torn")
        print(msgspec.json.encode(fate).decode(), flush=True)
        if not fate.killed:
            return
    sys.exit(f"no daemon survived {MOST_CALLS} calls")


def life(place: Place, kind: str, n: int, *, torn: bool) -> Fate:
    with Forked(place, n, torn=torn) as first:
        first.arm()
        answer = first.submit(kind)
        wait_until(lambda: first.is_dead() or not first.is_busy(), "it is killed, or the intent settles")
        if not first.is_dead():
            signal.sigtimedwait([], ITS_REST_S)
        killed, at = first.end(), first.last_call()

    with Forked(place) as second:
        wait_until(lambda: not second.is_busy(), "the next daemon has made up its mind")
        known = [_seen(place, intent) for intent in second.intents()]
        if any(one.status == "ambiguous" for one in known):
            wait_until(lambda: "control_ambiguous" in second.findings(), "the picture says that it is ambiguous")
        shown = "control_ambiguous" in second.findings()
        executed, effect = place.executions(COMMAND[kind]), _has_effect(place, kind)
        again = second.submit(kind)
        assert again is not None
        wait_until(lambda: not second.is_busy(), "what was asked for again settles")
        newest = next(one for one in second.intents() if one["id"] == again["intent"]["id"])
        return Fate(
            n=n,
            killed=killed,
            at=at,
            accepted=answer["intent"]["id"] if answer is not None else None,
            known=known,
            executed=executed,
            effect=effect,
            shown=shown,
            again=_seen(place, newest),
            replayed=bool(again.get("replayed")),
            executed_in_all=place.executions(COMMAND[kind]),
        )


def _has_effect(place: Place, kind: str) -> bool:
    match kind:
        case "cancel":
            return not place.lives()
        case "approve":
            return (place.approval() or {}).get("status") == "approved"
        case _:
            return "loop_start" in place.told()


def _seen(place: Place, intent: Mapping[str, Any]) -> Seen:
    """Once all of it is on the disk: what a start makes of an intent, it says a moment before."""
    intent_id = intent["id"]

    def told() -> list[list[str]]:
        intents, control, invocations = (
            [row for row in _rows(place, file) if row["intentId"] == intent_id]
            for file in ("intents.jsonl", "telemetry/control.jsonl", "telemetry/control-invocations.jsonl")
        )
        return [
            [row["status"] for row in intents],
            [row["status"] for row in control],
            [row["outcome"]["status"] for row in invocations],
        ]

    wait_until(lambda: told()[-1] != [], "the last of its rows is written")
    steps = [row["status"] for row in _rows(place, "intent-log.jsonl") if row["id"] == intent_id]
    return Seen(intent_id, intent["status"], steps, told())


def _rows(place: Place, file: str) -> list[dict[str, Any]]:
    path = place.repo / ".superloop/ops-manager" / LOOP / file
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines() if line]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
