"""`opsctl cancel|approve|reject|start|pause|resume LOOP...`: look, ask back, hand in, wait, and show what came of it.

What is asked for is `opsctl.wish`, one intent and its answers `opsctl.errand`, a run that it began `opsctl.endings`.
"""

import argparse
import json
import shlex
from datetime import datetime

import msgspec
from msgspec.structs import replace

from opsctl.client import Client, loop_path
from opsctl.clock import monotonic_s
from opsctl.defuse import defuse
from opsctl.endings import Ending, see_runs_end
from opsctl.errand import Errand, hand_in, see_to_its_end
from opsctl.errors import UsageError
from opsctl.exits import Exit, worst
from opsctl.outcomes import exit_of, has_come_true
from opsctl.output import TABLE, Look, Output, somebody_answers
from opsctl.render.before import before
from opsctl.render.outcomes import Told, outcome, outcomes
from opsctl.render.words import duration
from opsctl.wish import Wish, request_for, start_after, wish_of
from opsd.model.intent import DECISIONS, IntentStatus
from opsd.protocol import IntentRequest, LoopStatus, WaitFor


def run(client: Client, out: Output, args: argparse.Namespace) -> Exit:
    wish = wish_of(args)
    if wish.asks_back and not somebody_answers():
        raise UsageError(
            f"{wish.kind} asks back, and there is no terminal to answer on",
            f"opsctl {wish.kind} ... --yes, or --dry-run to see what it would do",
        )
    seen = [_look(client, loop_id) for loop_id in wish.loops]
    if wish.asks_back and not _agreed(out, wish, seen):
        out.note("nothing was asked of opsd")
        return Exit.NO
    return _Asking(client, out, wish, seen).go()


def _look(client: Client, loop_id: str) -> LoopStatus:
    return msgspec.json.decode(client.get(loop_path(loop_id)), type=LoopStatus)


def _agreed(out: Output, wish: Wish, seen: list[LoopStatus]) -> bool:
    look = Look(paint=out.look.paint)
    for status in seen:
        out.aside(before(wish.kind, status, look, then_start=wish.then_start, if_run=wish.if_run) + "\n")
    which = defuse(seen[0].summary.loop_id) if len(seen) == 1 else f"these {len(seen)} loops"
    return out.ask(f"{wish.kind} {which}?")


class _Asking:
    """From the first request to the last outcome, under one deadline. Ctrl-C ends the waiting, and no intent."""

    def __init__(self, client: Client, out: Output, wish: Wish, seen: list[LoopStatus]) -> None:
        self._client = client
        self._out = out
        self._wish = wish
        self._seen = seen
        self._deadline_s = monotonic_s() + wish.limit_s
        self._errands: list[Errand] = []
        self._starts: list[Errand] = []
        self._endings: dict[str, Ending] = {}

    def go(self) -> Exit:
        try:
            for status in self._seen:
                request = request_for(self._wish, status)
                self._hand_in(self._errands, status.summary.loop_id, request, status.at)
            if self._wish.until is not None and not self._wish.request.dry_run:
                self._wait()
        except KeyboardInterrupt:
            self._say_what_goes_on()
            return Exit.INTERRUPTED
        return self._tell()

    def _hand_in(self, where: list[Errand], loop_id: str, request: IntentRequest, seen_at: datetime) -> None:
        errand = Errand(loop_id, request, seen_at)
        where.append(errand)
        hand_in(self._client, errand, self._out.note, self._deadline_s)

    def _wait(self) -> None:
        for errand in self._errands:
            self._follow(errand, WaitFor.SETTLED)
        if self._wish.then_start:
            self._start()
        for errand in self._errands:
            if self._until(errand) is not WaitFor.SETTLED and errand.request.intent in DECISIONS:
                self._follow(errand, WaitFor.CONSUMED)
        if self._wish.until is WaitFor.COMPLETE:
            going = {each.loop_id: each.request.expect.run_id for each in self._errands if self._has_set_going(each)}
            self._endings = see_runs_end(self._client, going, self._out.note, self._deadline_s)

    def _until(self, errand: Errand) -> WaitFor | None:
        """For what it is waited for. A run takes a decision up; where its start came to nothing, there is none to."""
        started = [self._exit_of_start(start) for start in self._starts if start.loop_id == errand.loop_id]
        if self._wish.then_start and (errand in self._starts or started != [Exit.OK]):
            return WaitFor.SETTLED
        return self._wish.until

    def _exit_of_start(self, start: Errand) -> Exit:
        return exit_of(start.intent) if start.intent is not None and start.error is None else Exit.NO

    def _follow(self, errand: Errand, until: WaitFor) -> None:
        if errand.error is None:
            see_to_its_end(self._client, errand, until, self._out.note, self._deadline_s)

    def _start(self) -> None:
        """What was decided and confirmed; the start is an intent of its own, with an outcome of its own."""
        for errand in self._errands:
            if errand.reply is not None and errand.reply.intent.status is IntentStatus.CONFIRMED:
                self._hand_in(self._starts, errand.loop_id, start_after(errand.request), errand.reply.at)
            else:
                self._out.note(f"{errand.loop_id} is not started, since the {errand.request.intent} is not confirmed")
        for errand in self._starts:
            self._follow(errand, WaitFor.SETTLED)

    def _has_set_going(self, errand: Errand) -> bool:
        """Whether there is a run of which it is still open how it ends."""
        intent = errand.intent
        if intent is None or has_come_true(intent, WaitFor.COMPLETE):
            return False
        if errand.request.intent in DECISIONS:
            return has_come_true(intent, WaitFor.CONSUMED)
        return exit_of(intent) is Exit.OK and not intent.is_in_flight

    def _tell(self) -> Exit:
        errands = [*self._errands, *self._starts]
        exits = [self._exit(errand) for errand in errands]
        self._show(errands, exits)
        if len(errands) == 1 and errands[0].error is not None:
            raise errands[0].error
        for errand, code in zip(errands, exits, strict=True):
            if errand.error is not None:
                remedy = f"; next: {errand.error.remedy}" if errand.error.remedy else ""
                self._out.note(f"{errand.loop_id}: {errand.error.message}{remedy}")
            elif code is Exit.TIMEOUT:
                self._name_laggard(errand)
        return worst(exits)

    def _exit(self, errand: Errand) -> Exit:
        intent, until = errand.intent, self._until(errand)
        if errand.error is not None or intent is None:
            return errand.error.exit_code if errand.error else Exit.DAEMON_ERROR
        code = exit_of(intent)
        if code is not Exit.OK or until is None or self._wish.request.dry_run:
            return code
        if until is WaitFor.SETTLED:
            return Exit.TIMEOUT if intent.is_in_flight else code
        ending = self._endings.get(errand.loop_id) if until is WaitFor.COMPLETE else None
        if ending is not None:
            return Exit.OK if ending.is_complete else Exit.NO
        return code if has_come_true(intent, until) else Exit.TIMEOUT

    def _show(self, errands: list[Errand], exits: list[Exit]) -> None:
        out = self._out
        if out.form == TABLE:
            several = [self._told(errand) for errand in errands]
            if len(self._errands) == 1:
                text = "\n".join(text for each in several if (text := outcome(each, out.look)))
            else:
                text = outcomes(several, out.look)
            if text:
                out.text(text)
            return
        rows = [_row(errand, code) for errand, code in zip(errands, exits, strict=True)]
        body = json.dumps({"outcomes": rows}, separators=(",", ":")).encode()
        out.show(body, lambda *_: "", rows="outcomes", name="id")

    def _told(self, errand: Errand) -> Told:
        ending = self._endings.get(errand.loop_id) if errand not in self._starts else None
        problem = errand.error.message if errand.error else None
        says, is_recorded = ending.says if ending else None, not self._wish.request.dry_run
        reply = errand.reply
        if reply is not None and any(errand.loop_id == start.loop_id and errand is not start for start in self._starts):
            reply = replace(reply, next=None)  # which is to start the loop
        return Told(errand.loop_id, errand.request.intent, reply, problem, says, is_recorded)

    def _name_laggard(self, errand: Errand) -> None:
        intent, until = errand.intent, self._until(errand)
        assert intent is not None
        assert until is not None
        stage = f", {intent.stage}" if intent.stage else ""
        name = shlex.quote(errand.loop_id)
        self._out.note(
            f"not {until} within {duration(self._wish.limit_s)}: the {intent.intent} of {errand.loop_id} is "
            f"{intent.status}{stage}; it goes on: opsctl intents {name} -f"
        )

    def _say_what_goes_on(self) -> None:
        kind, note = self._wish.kind, self._out.note
        note("interrupted")
        for errand in [*self._errands, *self._starts]:
            what, intent = f"the {errand.request.intent} of {errand.loop_id}", errand.intent
            if intent is None:
                where = f"opsctl intents {shlex.quote(errand.loop_id)}"
                note(errand.error.message if errand.error else f"{what} may have been recorded: {where}")
            elif intent.is_in_flight:
                note(f"{what} is {intent.status}, and goes on: opsctl intent show {intent.id}")
            else:
                note(f"{what} is {intent.status}: opsctl intent show {intent.id}")
        asked = {errand.loop_id for errand in self._errands}
        for status in self._seen:
            if status.summary.loop_id not in asked:
                note(f"{status.summary.loop_id} was not reached: no {kind} was asked of it")
        if self._wish.then_start and len(self._starts) < len(self._errands):
            note(f"no start was asked for yet: opsctl start {' '.join(map(shlex.quote, self._wish.loops))}")


def _row(errand: Errand, code: Exit) -> dict[str, object]:
    """An answer as it came, with the loop, the exit code that it alone would give, and what went wrong on the way."""
    row: dict[str, object] = {"loopId": errand.loop_id, "kind": errand.request.intent.value, "exitCode": int(code)}
    if errand.body is not None and errand.reply is not None:
        known = {} if errand.request.dry_run else {"id": errand.reply.intent.id}
        row |= known | json.loads(errand.body) | {"replayed": errand.reply.replayed}
    if errand.error is not None:
        row["error"] = {"message": errand.error.message, "remedy": errand.error.remedy}
    return row
