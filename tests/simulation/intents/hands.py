"""Whoever acts for one start of opsd: does what the virtual controls do, and checks each act at the very moment.

An act is ascribed to an intent by what is safe on the disk by then, so that one which was not written down first, or is
done a second time, or reaches another loop, is found where it happens.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from opsd.core.intents.acts import words
from opsd.model.acts import Act, ActResult, LaunchRun, RunCommand
from opsd.sim import documents
from opsd.sim.tree import read_document
from tests.doubles.controls import VirtualControls
from tests.simulation.checkouts import Checkout
from tests.simulation.intents.chronicle import Chronicle
from tests.simulation.intents.disk import Crash, Front
from tests.simulation.intents.logs import Logs, Row, moment, observes

A_MOMENT = timedelta(seconds=1)
AROUND_ACTS = (Crash("act", "before"), Crash("act", "between"), Crash("act", "after"))


class Execution(NamedTuple):
    """One act that was done for an intent; `boot` counts the starts of opsd."""

    intent_id: str
    loop_id: str
    key: str | None
    what: str
    boot: int
    at: datetime


class Ledger:
    """Every act of every start, and which start took which intent in."""

    def __init__(self) -> None:
        self.executions: list[Execution] = []
        self.taken_in: dict[str, int] = {}

    def of(self, intent_id: str) -> list[Execution]:
        return [each for each in self.executions if each.intent_id == intent_id]


class Hands:
    """`opsd.ports.Controls`. `durable` gives the logs as a power cut would leave them at this moment."""

    def __init__(
        self,
        controls: VirtualControls,
        checkouts: Sequence[Checkout],
        chronicle: Chronicle,
        front: Front,
        ledger: Ledger,
        *,
        boot: int,
        crash: Crash | None,
        durable: Callable[[], Logs],
        modes: Callable[[], Sequence[Row]],
        now: Callable[[], datetime],
    ) -> None:
        self._controls, self._checkouts, self._chronicle = controls, checkouts, chronicle
        self._front, self._ledger, self._boot, self._crash = front, ledger, boot, crash
        self._durable, self._modes, self._now = durable, modes, now

    def command(self, repo_path: str) -> str | None:
        self._front.check()
        return self._controls.command(repo_path)

    def carry_out(self, act: Act) -> ActResult:
        self._front.check()
        row, is_first = self._whose(act)
        self._check(act, row)
        if is_first and self._crash == AROUND_ACTS[0]:
            self._front.die()
        before = [_seen(each) for each in self._checkouts]
        count = len(self._controls.done)
        result = self._controls.carry_out(act)
        if len(self._controls.done) > count:
            key = row["idempotencyKey"] if row.get("keyGiven") else None
            done = Execution(row["id"], row["loopId"], key, words(act), self._boot, self._now())
            self._ledger.executions.append(done)
        for one, other in zip(before, [_seen(each) for each in self._checkouts], strict=True):
            _check_neighbours(one, other, row, act)
        is_last = row["execution"]["command"].endswith(words(act))
        if (self._crash == AROUND_ACTS[2] and is_last) or (self._crash == AROUND_ACTS[1] and not is_last):
            self._front.die()
        return result

    def _whose(self, act: Act) -> tuple[Row, bool]:
        """The row of the intent that this act is for, and whether it is the first for it."""
        said = words(act)
        found = []
        for row in self._durable().newest().values():
            if row["status"] != "executing" or said not in row["execution"]["command"].split("; "):
                continue
            done = Counter(each.what for each in self._ledger.of(row["id"]))
            if done[said] < 1:
                found.append((row, not done))
        assert found, f"{said!r} is done, and no intent that has yet to do it is safe on the disk as executing"
        return max(found, key=lambda each: str(each[0]["updatedAt"]))

    def _check(self, act: Act, row: Row) -> None:
        """What must be so before the act. Raises AssertionError."""
        intent_id, loop_id = row["id"], row["loopId"]
        boot = self._ledger.taken_in.get(intent_id, self._boot)
        assert boot == self._boot, f"{intent_id} was taken in by start {boot} and is executed by start {self._boot}"
        if row.get("keyGiven"):
            others = {
                each.intent_id
                for each in self._ledger.executions
                if (each.loop_id, each.key) == (loop_id, row["idempotencyKey"]) and each.intent_id != intent_id
            }
            assert not others, f"{intent_id} is executed under the key of {others}"
        assert not observes(self._modes(), loop_id, self._now()), f"{intent_id} is executed in observe mode"
        expect = row.get("expect", {})
        if row["intent"] in ("approve", "reject"):
            filed = self._chronicle.candidate_now(loop_id)
            on_file = filed.candidate if filed is not None else None
            wanted = {row["watermark"].get("candidate"), expect.get("candidate", on_file)}
            assert wanted == {on_file}, f"{intent_id} decides on {on_file}, and was to decide on {wanted}"
        elif "runId" in expect:
            # The last pass may have come a moment before it was taken in.
            newest = self._chronicle.newest_runs(loop_id, moment(row["recordedAt"]) - A_MOMENT) or {expect["runId"]}
            assert expect["runId"] in newest, f"{intent_id} is about run {expect['runId']}, and {newest} began since"
        if isinstance(act, LaunchRun):
            assert act.loop_id == loop_id, f"{intent_id} of {loop_id} launches {act.loop_id}"
        elif isinstance(act, RunCommand) and "--loop" in act.argv:
            assert loop_id in act.argv, f"{intent_id} of {loop_id} calls {act.argv}"


class _Seen(NamedTuple):
    """A checkout before or after an act. `loop_id` is whose run it is that is under way."""

    repo: str
    pid: int | None
    held: bool
    loop_id: str | None
    approvals: dict[str, bytes | None]


def _seen(checkout: Checkout) -> _Seen:
    active_run = read_document(checkout.tree, documents.ACTIVE_RUN) or {}
    return _Seen(
        checkout.repo,
        checkout.pid,
        checkout.held,
        active_run.get("loop_id"),
        {each: checkout.tree.bytes_of(f"{documents.folder(each)}/approval.json") for each in checkout.loop_ids},
    )


def _check_neighbours(before: _Seen, after: _Seen, row: Row, act: Act) -> None:
    loop_id = row["loopId"]
    for other, approval in before.approvals.items():
        assert other == loop_id or after.approvals[other] == approval, f"{words(act)} for {loop_id} decided on {other}"
    if (before.pid, before.held) == (after.pid, after.held):
        return
    assert loop_id in before.approvals, f"{words(act)} for {loop_id} reached a run in {before.repo}"
    if before.pid is not None:
        assert before.loop_id == loop_id, f"{words(act)} for {loop_id} reached a run of {before.loop_id}"
    if after.pid not in (None, before.pid):
        assert isinstance(act, LaunchRun), f"{words(act)} for {loop_id} started a run"
