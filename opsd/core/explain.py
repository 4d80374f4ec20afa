"""Why does it say that? The same rules that judge a run, asked one by one and quoted. Composes, and judges nothing.

No rule is written down a second time here, so an explanation cannot disagree with the verdict it explains.
"""

from collections.abc import Iterator
from datetime import datetime

from opsd.core import escalation, findings, health, phase, wake
from opsd.core.clues import clues_of
from opsd.core.rules.look import Look, Rule, look_at
from opsd.core.rules.reaching import FAILED_LOOKS, FILES, every_file
from opsd.model.explain import Explanation, FileSeen, FindingStep, LogSeen, PhaseStep
from opsd.model.health import Finding
from opsd.model.observation import UnreachableCause
from opsd.model.process import Liveness
from opsd.model.run import Ingest, Run
from opsd.model.thresholds import Thresholds


def explain(run: Run, ingest: Ingest, thresholds: Thresholds, now: datetime) -> Explanation:
    """Every rule's answer about `run` as of `now`, with what it was measured by.

    The findings that hold are those of `findings.judge` for the same arguments. `run` and `ingest` are a finished
    pass's; a run only held in memory has its `last_ingest`.
    """
    look = look_at(run, ingest, thresholds, now)
    return Explanation(
        loop_id=run.ref.loop_id,
        at=now,
        lifecycle=look.lifecycle,
        phase=look.phase,
        basis=look.projection.basis,
        steps=tuple(_phase_steps(run, thresholds, now)),
        process=run.process,
        liveness_basis=_liveness(run),
        log=_log(run),
        files=tuple(
            FileSeen(name, file.presence, file.mtime, file.since, file.problem)
            for name, file in zip(FILES.values(), every_file(run.artifacts), strict=True)
        ),
        findings=tuple(_finding_steps(look)),
        open_escalations=run.open_escalations,
        next_look=wake.next_look(run, thresholds, now),
    )


def last_ingest(run: Run) -> Ingest:
    """How the last pass's look went, read off the health document that it left."""
    if run.health is None or run.health.transport.ingest_status == "success":
        return Ingest()
    code = run.health.transport.failure_code
    told = next((finding for finding in run.health.findings if finding.code in FAILED_LOOKS), None)
    causes = {cause.value: cause for cause in UnreachableCause}
    cause = causes.get(told.code if told is not None else "") or causes.get(code or "")
    return Ingest(False, code, cause, told.evidence if told is not None else None)


def _phase_steps(run: Run, thresholds: Thresholds, now: datetime) -> Iterator[PhaseStep]:
    clues = clues_of(
        run.ref.loop_id,
        run.fold,
        run.artifacts,
        run.process,
        run.projection,
        batch_last=None,
        last_output_at=run.last_output_at,
        thresholds=thresholds,
        now=now,
    )
    decided = False
    for rule in phase.RULES:
        believed = rule.judge(clues)
        if believed is None:
            yield PhaseStep(rule.name, rule.when, holds=False, decides=False)
        else:
            yield PhaseStep(rule.name, rule.when, True, not decided, believed.phase, believed.basis)
            decided = True


def _liveness(run: Run) -> str:
    """What is believed of the process, in a sentence."""
    memory = run.process
    who = f"process {memory.pid} of the active run of {memory.begun}"
    match memory.liveness:
        case Liveness.ALIVE:
            return f"{who} lives"
        case Liveness.PAUSED:
            return f"{who} is stopped by a signal"
        case Liveness.GONE if memory.pid is None:
            return f"active-run.json is missing since {memory.missing_since}, and the log tells no end"
        case Liveness.GONE:
            return f"{who} is missing since {memory.missing_since}"
        case Liveness.FOREIGN:
            return f"{who} is not visible here, and the log goes on growing: it runs elsewhere"
        case Liveness.UNKNOWN if memory.settles_at is not None:
            return f"not found, and believed gone at {memory.settles_at} unless something moves before"
        case Liveness.UNKNOWN:
            return "this host cannot judge the process, or has not looked yet"
        case Liveness.NONE:
            return "no active-run.json names this loop: there is no process to ask about"


def _log(run: Run) -> LogSeen:
    fold = run.fold
    return LogSeen(
        epoch=fold.epoch,
        line=fold.line,
        event_count=fold.event_count,
        quarantined_count=fold.quarantined_count,
        backlog_bytes=run.backlog_bytes,
        last=fold.last,
        run_first_line=fold.run.first_line if fold.run else None,
        run_ended=fold.run.ended if fold.run else None,
    )


def _finding_steps(look: Look) -> Iterator[FindingStep]:
    told = _Told(look)
    for rule in findings.RULES:
        answer = rule.find(look)
        for code in rule.codes:
            yield _step(look, rule, code, answer, told)


def _step(look: Look, rule: Rule, code: str, answer: Finding | str, told: "_Told") -> FindingStep:
    span = rule.span(look) if rule.span is not None else ""
    measured_since = limits_s = next_turn = observed_s = None
    if not isinstance(span, str):
        measured_since = span.since
        observed_s = (look.now - span.since).total_seconds()
        limits_s = tuple((turn - span.since).total_seconds() for turn in span.turns)
        next_turn = next((turn for turn in span.turns if turn > look.now), None)
    finding = answer if not isinstance(answer, str) and answer.code == code else None
    if isinstance(answer, str):
        why = answer
    elif finding is None:
        why = f"What holds instead is {answer.code}."
    else:
        why = finding.evidence
    escalated, not_escalated = told.of(finding) if finding is not None else (None, None)
    return FindingStep(
        code=code,
        holds=finding is not None,
        why=why,
        severity=finding.severity if finding else None,
        since=finding.since if finding else None,
        onset=finding.onset if finding else None,
        line=finding.line if finding else None,
        measured_since=measured_since,
        observed_s=observed_s,
        limits_s=limits_s or (),
        next_turn=next_turn,
        escalation=escalated,
        not_escalated=not_escalated,
    )


class _Told:
    """Which of the findings that hold are told by an open escalation, and why the others are not."""

    def __init__(self, look: Look) -> None:
        self._run = look.run
        found = findings.judge(look.run, look.ingest, look.thresholds, look.now)
        self._health = health.document(look.run, found, look.ingest, look.thresholds, trace_id="explain", now=look.now)
        self._conditions = tuple(escalation.conditions(look.run, self._health))

    def of(self, finding: Finding) -> tuple[str | None, str | None]:
        """The id of the open escalation that tells of `finding`, else why there is none."""
        telling = [
            one
            for one in self._conditions
            if one.finding == finding or (one.finding is None and finding.code in self._health.reason_codes)
        ]
        standing = {f"{one.category}|{one.condition}": one.id for one in self._run.open_escalations}
        for one in telling:
            if one.key in standing:
                return standing[one.key], None
        if not telling:
            return None, "A finding of this code and severity is shown, not escalated."
        why = escalation.why_not_begun(telling[0], self._run, self._health)
        return None, why or "It is escalated by the next pass."
