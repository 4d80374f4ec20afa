"""Intents as the control desk writes them, numbered: step by step, with the rows that follow from a step."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

import msgspec
from msgspec.structs import replace

from opsd.core.intents import rows as contract
from opsd.model.effects import Append, Journal
from opsd.model.ids import LoopId
from opsd.model.intent import (
    DECISIONS,
    NEVER_EXECUTED,
    Acknowledgement,
    Actor,
    Confirmation,
    Execution,
    Intent,
    IntentKind,
    IntentStatus,
    Refusal,
    Stage,
    Watermark,
)
from opsd.ports import Files
from opsd.store.commit import LoopCommit
from opsd.store.layout import Layout, rotated
from tests.store.examples import LOOP, at

ACTOR = Actor(1000, "riya", 4_711)
TOLD = (Journal.INTENTS, Journal.CONTROL, Journal.INVOCATIONS)


def an_intent(
    n: int,
    status: IntentStatus = IntentStatus.RECORDED,
    kind: IntentKind = IntentKind.CANCEL,
    *,
    key: str | None = None,
    note: str = "",
    loop_id: LoopId = LOOP,
) -> Intent:
    """The `n`th intent of the loop; `key` is one that its caller gave."""
    return Intent(
        id=f"intent-{n}",
        loop_id=loop_id,
        intent=kind,
        status=status,
        recorded_at=at(n),
        updated_at=at(n),
        expires_at=at(n + 120),
        requested_by="riya",
        actor=ACTOR,
        trace_id=f"trace-{n}",
        idempotency_key=key or f"{kind}-{n:016x}",
        fingerprint=f"{n:064x}",
        ordinal=n,
        schema_version="v1",
        key_given=key is not None,
        note=note,
    )


def life_of(intent: Intent, *statuses: IntentStatus) -> list[Intent]:
    """The rows of its life: as it is, then with each of `statuses`."""
    steps = [intent]
    for count, status in enumerate(statuses, start=1):
        steps.append(_next(steps[-1], status, count))
    return steps


def _next(intent: Intent, status: IntentStatus, count: int) -> Intent:
    now = intent.recorded_at + timedelta(milliseconds=count)
    moved = replace(intent, status=status, updated_at=now)
    if moved.is_in_flight:
        watermark = Watermark(at=now, epoch=0, line=count, pid=20_031)
        return replace(moved, watermark=watermark, execution=Execution("superloop.sh cancel --repo /srv/app", now))
    if status is IntentStatus.ACKNOWLEDGED:
        return replace(moved, acknowledged=Acknowledgement("riya", ACTOR, "I have looked.", now))
    if intent.status is IntentStatus.AMBIGUOUS:
        return replace(moved, resolved_at=now, confirmation=Confirmation(True, "seen_later", 2, now))
    settled = replace(moved, settled_at=now)
    if status in NEVER_EXECUTED:
        return replace(settled, refusal=Refusal("nothing_to_cancel", "Nobody runs."))
    confirmed = status is IntentStatus.CONFIRMED
    return replace(
        settled,
        confirmation=Confirmation(confirmed, "inactive_not_running" if confirmed else "timeout", 1, now),
        stage=Stage.RECORDED if confirmed and intent.intent in DECISIONS else None,
    )


RECORDED, EXECUTING, EXECUTED = IntentStatus.RECORDED, IntentStatus.EXECUTING, IntentStatus.EXECUTED
WORKED = (EXECUTING, EXECUTED)


def effects_of(step: Intent, before: Intent | None) -> tuple[Append, ...]:
    """What is written of a step: its row in the log, and the contract's rows where it settles by it."""
    settles = not step.is_in_flight and (before is None or before.status is not step.status)
    return (contract.log_row(step), *(contract.rows(step) if settles else ()))


def commits_of(steps: Iterable[Intent]) -> list[LoopCommit]:
    """A commit each."""
    before: dict[str, Intent] = {}
    commits = []
    for step in steps:
        commits.append(LoopCommit(step.loop_id, effects_of(step, before.get(step.id))))
        before[step.id] = step
    return commits


def told_ids(layout: Layout, files: Files, journal: Journal, loop_id: LoopId = LOOP) -> list[tuple[str, str]]:
    """(intent id, status) of the rows that outside programs find, oldest first.

    The row that a rotation of `intents.jsonl` puts in front again, because readers judge by the last, is no other row.
    """
    path = layout.journal(loop_id, journal)
    lines: list[bytes] = []
    for generation in [*(rotated(path, age) for age in range(40, 0, -1)), path]:
        if files.stat(generation) is not None:
            content = files.read(generation, 0, 1 << 24)[1].splitlines()
            lines.extend(content[1:] if lines and content[:1] == lines[-1:] else content)
    rows = [msgspec.json.decode(line) for line in lines]
    return [(row["intentId"], row.get("status") or row["outcome"]["status"]) for row in rows]


def must_be_told(steps: Sequence[Intent], journal: Journal) -> list[tuple[str, str]]:
    """What `told_ids` must be after these steps."""
    rows = [each for commit in commits_of(steps) for each in commit.effects if isinstance(each, Append)]
    decoded = [msgspec.to_builtins(each.row) for each in rows if each.journal is journal]
    return [(row["intentId"], row.get("status") or row["outcome"]["status"]) for row in decoded]
