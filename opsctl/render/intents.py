"""Intents: as rows, as lines while one follows, and one of them in full with the evidence for its outcome."""

import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from opsctl.output import Look
from opsctl.render.table import Cell, painted, table
from opsctl.render.words import duration, moment, since
from opsd.model.intent import DECISIONS, Evidence, Execution, Fence, Intent, IntentStatus, Options, Watermark
from opsd.protocol import IntentPage, IntentReply

HEADERS = ("ID", "LOOP", "INTENT", "STATUS", "BY", "AGE", "WHAT")
SHORT = 12
"""So much of a digest is shown: enough to compare by eye."""

STYLE_OF_STATUS: Mapping[IntentStatus, str] = {
    IntentStatus.CONFIRMED: "good",
    IntentStatus.AMBIGUOUS: "bad",
    IntentStatus.FAILED_COMMAND: "bad",
    IntentStatus.REFUSED: "warn",
    IntentStatus.EXPIRED: "warn",
}


def render_list(body: bytes, look: Look) -> str:
    page = msgspec.json.decode(body, type=IntentPage)
    if not page.intents:
        return "no intent yet" if look.headers else ""
    shown = table(HEADERS, [_row(intent, page.at) for intent in page.intents], look)
    ambiguous = [each for each in page.intents if each.status is IntentStatus.AMBIGUOUS]
    if not ambiguous or not look.headers:
        return shown
    return "\n".join([shown, "", *(painted(f"next: opsctl intent show {each.id}", "dim", look) for each in ambiguous)])


def _row(intent: Intent, at: datetime) -> tuple[Cell | str, ...]:
    return (
        intent.id,
        Cell(intent.loop_id, "strong"),
        intent.intent.value,
        Cell(status(intent), STYLE_OF_STATUS.get(intent.status, "")),
        intent.requested_by,
        since(intent.recorded_at, at),
        gist(intent),
    )


def status(intent: Intent) -> str:
    """`confirmed`, or `confirmed (recorded)` where a decision is confirmed and a run has yet to take it up."""
    return f"{intent.status.value} ({intent.stage.value})" if intent.stage else intent.status.value


def gist(intent: Intent) -> str:
    """Why it stands as it does, in a line: what was seen, what was missing, or why nothing was done."""
    if intent.acknowledged is not None:
        return f"{intent.acknowledged.by}: {intent.acknowledged.reason}"
    if intent.refusal is not None:
        return f"{intent.refusal.code}: {intent.refusal.message}"
    evidence = intent.stage_evidence[-1:] or (intent.confirmation.evidence if intent.confirmation else ())
    if intent.status is IntentStatus.AMBIGUOUS and intent.confirmation is not None and intent.confirmation.missing:
        return intent.confirmation.missing
    if evidence and intent.status is IntentStatus.CONFIRMED:
        return quoted(evidence[0])
    if intent.execution is not None:
        return _executed(intent.execution)
    return intent.reason or intent.note or "-"


def _executed(execution: Execution) -> str:
    """How the command ended; what it said last, where it failed."""
    if execution.problem is None and not execution.exit_code:
        return execution.command
    said = execution.detail or (execution.output.strip().splitlines() or [""])[-1].strip()
    code = f"exit code {execution.exit_code}" if execution.exit_code is not None else "no exit code"
    return ": ".join(part for part in (execution.problem or code, said) if part)


def quoted(evidence: Evidence) -> str:
    where = evidence.where if evidence.line is None else f"{evidence.where}, line {evidence.line}"
    return f"{where}: {evidence.says}"


def intent_line(intent: Intent, look: Look) -> str:
    """A step of an intent as a line of a follow, with what to type next where somebody has to look."""
    said = painted(f"{intent.intent.value} {status(intent)}", STYLE_OF_STATUS.get(intent.status, ""), look)
    about = painted(f"by {intent.requested_by}: {gist(intent)}", "", look)
    step = f"  (next: opsctl intent show {intent.id})" if intent.status is IntentStatus.AMBIGUOUS else ""
    name = painted(intent.loop_id, "strong", look)
    return f"{moment(intent.updated_at)}  {name}  {said}  {about}{painted(step, 'dim', look)}"


def render_one(body: bytes, look: Look) -> str:
    reply = msgspec.json.decode(body, type=IntentReply)
    intent = reply.intent
    sections = [
        "\n".join([title(intent, look), *_facts(_asked(intent, reply.at), look)]),
        _section("Just before it", _facts(_watermark(intent.watermark), look) if intent.watermark else []),
        _section("Carried out", _carried_out(intent.execution, look) if intent.execution else []),
        _section("What is known of its effect", _known(intent, look)),
        _section("What became of the decision", _staged(intent, look)),
        _section("Why nothing was done", why_not(intent, look)),
        painted(f"next: {reply.next}", "", look) if reply.next else "",
    ]
    return "\n\n".join(section for section in sections if section)


def title(intent: Intent, look: Look) -> str:
    return "  ".join(
        [
            painted(intent.loop_id, "strong", look),
            painted(intent.intent.value, "", look),
            painted(status(intent), STYLE_OF_STATUS.get(intent.status, ""), look),
        ]
    )


def why_not(intent: Intent, look: Look) -> list[str]:
    """The refusal, and where what is true differs from what was expected."""
    if intent.refusal is None:
        return []
    lines = [f"{intent.refusal.code}: {intent.refusal.message}"]
    lines += [f"{each.where}: expected {each.expected}, found {each.found}" for each in intent.refusal.differences]
    return [f"  {painted(line, '', look)}" for line in lines]


def evidence_lines(evidence: Iterable[Evidence], look: Look) -> list[str]:
    return [f"  {painted(quoted(each), '', look)}" for each in evidence]


def _section(name: str, lines: list[str]) -> str:
    return "\n".join([name, *lines]) if lines else ""


def _facts(facts: Iterable[tuple[str, str]], look: Look) -> list[str]:
    return [f"  {name:<10} {painted(text, '', look)}" for name, text in facts if text]


def _asked(intent: Intent, at: datetime) -> list[tuple[str, str]]:
    actor = intent.actor
    key = "given" if intent.key_given else "made from what it is about"
    return [
        ("id", intent.id),
        ("asked", f"{moment(intent.recorded_at)}, {since(intent.recorded_at, at)} ago"),
        ("by", f"{intent.requested_by}; account {actor.user}, uid {actor.uid}, pid {actor.pid}"),
        ("reason", intent.reason),
        ("note", intent.note),
        ("expected", fence(intent.expect)),
        ("how", _options(intent.options)),
        ("settled", _after(intent, intent.settled_at) + (", as ambiguous" if intent.resolved_at else "")),
        ("resolved", _after(intent, intent.resolved_at)),
        ("expires", f"{moment(intent.expires_at)}, unless it is carried out" if intent.execution is None else ""),
        ("key", f"{intent.idempotency_key} ({key})"),
        ("trace", intent.trace_id),
        ("as of", moment(at)),
    ]


def _after(intent: Intent, then: datetime | None) -> str:
    """When that was, and how long after it was asked for; empty where it was not."""
    return f"{moment(then)}, after {since(intent.recorded_at, then)}" if then else ""


def fence(of: Fence) -> str:
    """What the operator saw; empty where nothing is compared."""
    parts = [f"run {of.run_id}"] if of.run_id is not None else []
    parts += [f"iteration {of.iteration}"] if of.iteration is not None else []
    parts += [f"candidate {of.candidate[:SHORT]}"] if of.candidate is not None else []
    return ", ".join(parts)


def _options(options: Options) -> str:
    parts = [f"effect looked for during {duration(options.timeout_s)}" if options.confirm else "no effect looked for"]
    parts += ["although the files contradict each other"] if options.override_divergence else []
    parts += ["clearing what a dead run left"] if options.clear_stale else []
    parts += [f"until {moment(options.pause_until)}"] if options.pause_until else []
    return ", ".join(parts)


def _watermark(mark: Watermark) -> list[tuple[str, str]]:
    begun = mark.begun or "an unknown time"
    process = f"pid {mark.pid}, group {mark.pgid}, since {begun}" if mark.pid is not None else "none on file"
    candidate = f"{mark.candidate[:SHORT]}, {mark.approval_status or 'no status'}" if mark.candidate else ""
    return [
        ("looked", moment(mark.at)),
        ("event log", f"line {mark.line}, epoch {mark.epoch}"),
        ("run", f"{mark.run_id or 'unknown'}, iteration {mark.iteration}" + (", marked active" * mark.marked_active)),
        ("process", process),
        ("candidate", candidate),
    ]


def _carried_out(execution: Execution, look: Look) -> list[str]:
    end = execution.ended_at
    ended = f"{moment(end)}, after {since(execution.started_at, end)}" if end else "nobody knows when"
    facts = [
        ("command", execution.command),
        ("started", moment(execution.started_at)),
        ("ended", ended),
        ("exit code", "unknown" if execution.exit_code is None else str(execution.exit_code)),
        ("problem", ": ".join(part for part in (execution.problem, execution.detail) if part)),
    ]
    printed = [f"    {painted(line, 'dim', look)}" for line in execution.output.splitlines()]
    return [*_facts(facts, look), *(["  printed", *printed] if printed else [])]


def _known(intent: Intent, look: Look) -> list[str]:
    found, word = intent.confirmation, intent.acknowledged
    lines: list[str] = []
    if found is not None:
        looks = f"{found.attempts} look{'' if found.attempts == 1 else 's'}"
        verdict = "proven" if found.confirmed else "not proven"
        lines.append(f"  {painted(f'{verdict} ({found.reason}), {looks}, last {moment(found.observed_at)}', '', look)}")
        lines += evidence_lines(found.evidence, look)
        lines += [f"  missing: {painted(found.missing, '', look)}"] if found.missing else []
        seen = f"{found.observed_status}, {'active' if found.observed_active else 'not active'}"
        seen += f", last event {found.observed_last_event}" if found.observed_last_event else ""
        seen += f", approval {found.observed_approval_status}" if found.observed_approval_status else ""
        lines.append(f"  seen last: {painted(seen, '', look)}")
    if word is not None:
        said = f"settled by the word of {word.by} (account {word.actor.user}) at {moment(word.at)}: {word.reason}"
        lines.append(f"  {painted(said, '', look)}")
    return lines


def _staged(intent: Intent, look: Look) -> list[str]:
    if intent.intent not in DECISIONS or intent.stage is None:
        return []
    return [f"  {painted(intent.stage.value, 'strong', look)}", *evidence_lines(intent.stage_evidence, look)]


def next_start(loop_id: str) -> str:
    return f"opsctl start {shlex.quote(loop_id)}"
