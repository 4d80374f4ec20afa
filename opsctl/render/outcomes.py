"""What came of what was asked just now: one intent as a few lines, several as a table with the steps that follow."""

import msgspec

from opsctl.output import Look
from opsctl.render.intents import STYLE_OF_STATUS, evidence_lines, gist, status, title, why_not
from opsctl.render.table import Cell, painted, table
from opsctl.render.words import since
from opsd.model.intent import IntentStatus
from opsd.protocol import IntentReply

HEADERS = ("LOOP", "INTENT", "STATUS", "ID", "WHAT")
# So much of what a failed command printed last; all that is kept of it is in the intent.
_PRINTED = 5


class Told(msgspec.Struct, frozen=True):
    """One of the things asked: its newest answer, or why there is none. `ending` is how the run went on to end.

    A dry run's intent is not recorded, so that nobody can ask for it by its id.
    """

    loop_id: str
    intent: str
    reply: IntentReply | None = None
    problem: str | None = None
    ending: str | None = None
    is_recorded: bool = True


def outcome(told: Told, look: Look) -> str:
    """One of them, with everything that speaks for it. Empty where there is no answer: then the problem is an error."""
    reply = told.reply
    if reply is None:
        return ""
    if reply.would:
        would = [f"  {painted(each, '', look)}" for each in reply.would]
        return "\n".join([painted(f"{told.loop_id}: {told.intent} would do", "strong", look), *would])
    intent = reply.intent
    head = title(intent, look)
    if intent.settled_at is not None and intent.execution is not None:
        head += f"  after {since(intent.recorded_at, intent.settled_at)}"
    lines = [head + ("  (asked for before; nothing new was done)" if reply.replayed else "")]
    lines += why_not(intent, look)
    if intent.status is IntentStatus.CONFIRMED and intent.confirmation is not None:
        # That a decision is recorded is what confirms it: the same evidence stands for both.
        lines += evidence_lines(dict.fromkeys((*intent.confirmation.evidence, *intent.stage_evidence)), look)
    elif intent.refusal is None and (said := gist(intent)) != "-":
        lines.append(f"  {painted(said, '', look)}")
    if told.ending:
        lines.append(f"  {painted(told.ending, '', look)}")
    if intent.status is IntentStatus.FAILED_COMMAND and intent.execution is not None:
        lines += [f"  | {painted(line, 'dim', look)}" for line in intent.execution.output.splitlines()[-_PRINTED:]]
    if told.is_recorded:
        lines.append(f"  {painted(f'intent {intent.id}', 'dim', look)}")
    if reply.next and told.ending is None:
        lines.append(f"  {painted(f'next: {reply.next}', '', look)}")
    return "\n".join(lines)


def outcomes(several: list[Told], look: Look) -> str:
    shown = table(HEADERS, [_row(each) for each in several], look)
    going_on = [(each.loop_id, each.reply.next) for each in several if each.reply and each.ending is None]
    steps = [f"{loop_id}: {step}" for loop_id, step in going_on if step]
    if not steps or not look.headers:
        return shown
    return "\n".join([shown, "", *(painted(f"next: {step}", "", look) for step in steps)])


def _row(told: Told) -> tuple[Cell | str, ...]:
    name = Cell(told.loop_id, "strong")
    if told.reply is None:
        return (name, told.intent, Cell("not asked", "warn"), "-", told.problem or "-")
    intent, would = told.reply.intent, told.reply.would
    if would:
        return (name, told.intent, "would do", "-", "; ".join(would))
    what = told.ending or told.problem or gist(intent)
    shown = Cell(status(intent), STYLE_OF_STATUS.get(intent.status, ""))
    return (name, told.intent, shown, intent.id if told.is_recorded else "-", what)
