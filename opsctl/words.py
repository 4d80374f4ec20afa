"""The words that `wait --for` takes: lifecycle states, phases, health, and `finding:CODE`. Unknown ones are refused."""

import difflib

from opsctl.errors import UsageError
from opsd.model.health import HealthStatus
from opsd.model.lifecycle import Lifecycle, Phase
from opsd.model.reasons import REASONS
from opsd.protocol import LoopSummary

FINDING = "finding:"
# `none` is only ever a state before the first: nobody can wait for it.
KNOWN = tuple(
    dict.fromkeys(
        [
            *(state.value for state in Lifecycle if state is not Lifecycle.NONE),
            *(phase.value for phase in Phase),
            *(health.value for health in HealthStatus),
        ]
    )
)


def checked(word: str) -> str:
    """`word`, if a loop can ever be that.

    Raises:
        UsageError: it cannot; near words, or all of them, are in the message.
    """
    if word.startswith(FINDING):
        code = word.removeprefix(FINDING)
        if code not in REASONS:
            raise UsageError(f"there is no finding '{code}'; {_near(code, sorted(REASONS))}")
    elif word not in KNOWN:
        raise UsageError(
            f"no loop is ever '{word}'; {_near(word, KNOWN)}\nknown: {', '.join(KNOWN)}, and {FINDING}CODE"
        )
    return word


def is_so(summary: LoopSummary, word: str) -> bool:
    """Whether a loop is what `word` says, as its lifecycle, its phase, its overall health, or by a finding."""
    if word.startswith(FINDING):
        return any(finding.code == word.removeprefix(FINDING) for finding in summary.findings)
    return word in (summary.lifecycle.value, summary.phase.value, summary.overall_status.value)


def _near(word: str, words: tuple[str, ...] | list[str]) -> str:
    near = difflib.get_close_matches(word, words, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else "the next line names them"
