"""What must hold of intents whatever happens. Each check raises AssertionError and says what was expected.

What must hold of an act is checked at that moment, in `hands`.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from opsd.model.effects import Journal
from opsd.model.ids import LoopId
from opsd.model.intent import NEXT, ControlState, IntentStatus
from opsd.model.observation import ProcessSighting
from opsd.sim import documents
from opsd.sim.tree import read_document
from tests.simulation.intents.logs import IN_FLIGHT, NEVER_EXECUTED, Logs, Row, moment, observes, once, steps

if TYPE_CHECKING:
    from tests.simulation.intents.hands import Execution
    from tests.simulation.intents.world import Boot, World

A_MOMENT = timedelta(seconds=2)
DECIDED = {"approve": "approved", "reject": "rejected"}


class Shown(NamedTuple):
    """What the picture says of a loop's intents."""

    control: ControlState
    """What modes mean for it left out: they run out by themselves."""
    is_observing: bool
    codes: frozenset[str]


def nothing_lost(world: "World") -> None:
    """What opsd said it had taken in is in the log."""
    newest = world.logs().newest()
    lost = [asked.intent.id for asked in world.asked if asked.intent.id not in newest]
    assert not lost, f"{lost} were taken in, and no log has them any more"


def known_as_logged(logs: Logs, boot: "Boot") -> None:
    """opsd knows of every intent, and how far it has come: of one that is only recorded, that it never will."""
    for intent_id, row in logs.newest().items():
        held = boot.desk.intent(intent_id)
        if held is None and row["status"] == "recorded" and not boot.is_new:
            continue  # its operator was told that it could not be written down
        assert held is not None, f"{intent_id} is in the log, and opsd does not know it"
        known = "expired" if row["status"] == "recorded" else row["status"]
        assert held.status == known, f"{intent_id} is {held.status} in memory and {row['status']} in the log"


def told_once(logs: Logs) -> None:
    """Each step by which an intent settled has its rows once and in order; what has not settled has none."""
    for loop_id in logs.loop_ids:
        settling = [row for row in steps(logs.rows(loop_id, Journal.INTENT_LOG)) if _settles(row)]
        executed = [row for row in settling if row["status"] not in NEVER_EXECUTED]
        first = [row for row in settling if "resolvedAt" not in row and row["status"] != "acknowledged"]
        wanted = {
            Journal.INTENTS: [(row["id"], _told(row)) for row in executed],
            Journal.CONTROL: [(row["id"], row["status"]) for row in first if row in executed],
            Journal.INVOCATIONS: [(row["id"], row["status"]) for row in first],
        }
        for journal, expected in wanted.items():
            # A rotation carries the last row of `intents.jsonl` over.
            rows = logs.rows(loop_id, journal)
            rows = [row for before, row in zip([None, *rows], rows, strict=False) if row != before]
            found = [(row["intentId"], row.get("status") or row["outcome"]["status"]) for row in rows]
            assert Counter(found) == Counter(expected), f"{journal.value} of {loop_id} has {found}, not {expected}"
            assert found[-1:] == expected[-1:], f"{journal.value} of {loop_id} ends with {found[-1]}, not {expected}"


def lives_well_led(logs: Logs) -> None:
    """Each intent went only where an intent may go, and says when."""
    for loop_id in logs.loop_ids:
        last: dict[str, Row] = {}
        for row in once(logs.rows(loop_id, Journal.INTENT_LOG)):
            before = last.get(row["id"])
            last[row["id"]] = row
            if before is None:
                assert row["status"] in ("recorded", "refused"), f"{row['id']} begins as {row['status']}"
            elif before["status"] != row["status"]:
                may = NEXT[IntentStatus(before["status"])]
                assert row["status"] in may, f"{row['id']} was {before['status']} and became {row['status']}"


def executed_as_told(world: "World") -> None:
    """At most once, never what was refused or expired, and by what is called executed something was done."""
    newest = world.logs().newest()
    for intent_id, row in newest.items():
        done = world.ledger.of(intent_id)
        twice = [what for what, times in Counter(each.what for each in done).items() if times > 1]
        assert not twice, f"{intent_id} was executed twice: {twice}"
        assert not (done and row["status"] in NEVER_EXECUTED), f"{intent_id} is {row['status']}, and did {done}"
    for each in world.ledger.executions:
        assert each.intent_id in newest, f"{each} was done, and no log has its intent"
    keys = Counter((loop_id, key) for loop_id, key, _ in {_keyed(each) for each in world.ledger.executions if each.key})
    assert all(times == 1 for times in keys.values()), f"a key was executed more than once: {keys}"


def _keyed(execution: "Execution") -> tuple[str, str | None, str]:
    return execution.loop_id, execution.key, execution.intent_id


def confirmed_by_what_happened(world: "World") -> None:
    """What is called confirmed truly came to be after the watermark, and before it was said."""
    for row in world.logs().newest().values():
        if row["status"] != "confirmed":
            continue
        since, until = moment(row["watermark"]["at"]), moment(row["confirmation"]["observedAt"])
        happened = _happened(world, row, since, until)
        assert happened, f"{row['intent']} {row['id']} of {row['loopId']} is confirmed, and did not happen: {row}"
        stage = row.get("stage", "recorded")
        if stage != "recorded":
            taken_up = ("approval_consumed",) if row["intent"] == "approve" else ("approval_rejected",)
            now = world.clock.now()
            assert world.chronicle.was_said(row["loopId"], taken_up, since, now), f"{row['id']} was not taken up"
            complete = world.chronicle.was_said(row["loopId"], ("loop_complete",), since, now)
            assert stage == "consumed" or complete, f"{row['id']} did not complete"


def not_left_open_for_nothing(world: "World") -> None:
    """What is ambiguous at rest did not happen, as far as the runtime's files still tell."""
    for row in world.logs().newest().values():
        if row["status"] == "ambiguous" and row["intent"] in ("cancel", "approve", "reject", "start"):
            since = moment(row["watermark"]["at"])
            happened = _still_shows(world, row) and _happened(world, row, since, world.clock.now())
            assert not happened, f"{row['intent']} {row['id']} of {row['loopId']} happened, and is ambiguous: {row}"


def _still_shows(world: "World", row: Row) -> bool:
    """Whether nothing came over the effect since, so that a look must find it."""
    loop_id, mark = row["loopId"], row["watermark"]
    tree = world.loops[loop_id].tree
    active_run = read_document(tree, documents.ACTIVE_RUN) or {}
    state = read_document(tree, documents.STATE) or {}
    filed = world.chronicle.candidate_now(loop_id)
    is_named = bool(active_run.get("loop_id") == loop_id)
    match row["intent"]:
        case "cancel":
            return not is_named and (state.get("active"), state.get("current_loop_id")) != (True, loop_id)
        case "start":
            return not is_named
    return filed is not None and bool(filed.candidate == mark.get("candidate"))


def _happened(world: "World", row: Row, since: datetime, until: datetime) -> bool:
    loop_id, mark = row["loopId"], row["watermark"]
    repo = world.loops[loop_id].repo
    process = world.kernel.of(mark["pid"], moment(mark["begun"])) if "pid" in mark else None
    match row["intent"]:
        case "approve" | "reject":
            status = DECIDED[row["intent"]]
            return world.chronicle.decided(loop_id, mark.get("candidate", ""), status, since, until)
        case "start":
            return world.chronicle.was_said(loop_id, ("loop_start",), since, until)
        case "pause":
            return process is not None and process.turned(ProcessSighting.STOPPED, since, until)
        case "resume":
            return process is not None and process.turned(ProcessSighting.ALIVE, since, until)
        case "cancel":
            gone = process is None or (process.ended is not None and process.ended <= until)
            return gone and world.chronicle.cleared(repo, loop_id, since, until)
    raise AssertionError(f"no intent is called {row['intent']}")


def at_rest(world: "World", boot: "Boot") -> None:
    """Everything, when nothing is in flight and the disk is well."""
    logs = world.logs()
    known_as_logged(logs, boot)
    if not world.leaves_leftovers:
        told_once(logs)
        lives_well_led(logs)
    executed_as_told(world)
    confirmed_by_what_happened(world)
    not_left_open_for_nothing(world)
    newest, seen = logs.newest(), shown(world, boot)
    for loop_id in world.loops:
        ambiguous = {row["id"] for row in newest.values() if (row["loopId"], row["status"]) == (loop_id, "ambiguous")}
        codes = seen[loop_id].codes
        # A mode that is over is noticed within a moment.
        observing = {observes(logs.modes(), loop_id, world.clock.now() - lag) for lag in (A_MOMENT, timedelta())}
        assert seen[loop_id].is_observing in observing, f"{loop_id}: observing is {observing} by {logs.modes()}"
        assert bool(ambiguous) == ("control_ambiguous" in codes), f"{loop_id}: {ambiguous} are ambiguous, shown {codes}"


def shown(world: "World", boot: "Boot") -> dict[LoopId, Shown]:
    found = {}
    for loop_id in world.loops:
        run = boot.supervisor.fleet.run(loop_id)
        assert run is not None
        assert run.health is not None, f"{loop_id} was never looked at"
        codes = frozenset(finding.code for finding in run.health.findings if finding.code.startswith("control_"))
        found[loop_id] = Shown(replace(run.control, observing=False, observe_until=None), run.control.observing, codes)
    return found


def same_picture(before: Mapping[LoopId, Shown], after: Mapping[LoopId, Shown]) -> None:
    """A restart changes nothing of what is believed of intents."""
    for loop_id, one in before.items():
        other = after[loop_id]
        alike = (one.control, one.codes) == (other.control, other.codes)
        assert alike, f"{loop_id} is seen otherwise after a restart:\n  {one}\n  {other}"


def _settles(row: Row) -> bool:
    return row["status"] not in IN_FLIGHT


def _told(row: Row) -> str:
    return "executed_unconfirmed" if row["status"] == "acknowledged" else str(row["status"])
