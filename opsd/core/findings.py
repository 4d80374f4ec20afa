"""What an operator should know about a run: every rule asked once, the answers sorted worst first.

The rules themselves are in `opsd.core.rules`, grouped by subject; what the contract makes of them is `health`.
"""

from datetime import datetime

from opsd.core.rules import asked, course, late, reaching
from opsd.core.rules.look import look_at
from opsd.model.health import Finding, Severity
from opsd.model.run import Ingest, Run
from opsd.model.thresholds import Thresholds

RULES = (*reaching.RULES, *late.RULES, *course.RULES, *asked.RULES)
"""Every rule. No two of them find the same code."""

_ASK = tuple(rule.find for rule in RULES)
_RANK = {Severity.CRITICAL: 0, Severity.DEGRADED: 1, Severity.INFO: 2}


def judge(run: Run, ingest: Ingest, thresholds: Thresholds, now: datetime) -> tuple[Finding, ...]:
    """All that is true of `run` now, worst first and then by code; at most one finding a code.

    `run` carries this pass's fold, artifacts, process, beat, projection, sequence and transport health.
    """
    look = look_at(run, ingest, thresholds, now)
    found = [answer for ask in _ASK if not isinstance(answer := ask(look), str)]
    if len(found) > 1:
        found.sort(key=_worst_first)
    return tuple(found)


def _worst_first(finding: Finding) -> tuple[int, str]:
    return _RANK[finding.severity], finding.code
