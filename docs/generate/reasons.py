"""`reference/reasons.md`: every reason code, its meaning and the next step, from the registry of reasons."""

from docs.generate.markdown import code, page, table, yes
from opsd.core.escalation import CATEGORY_OF
from opsd.model.reasons import REASONS, ReasonEntry

_INTRODUCTION = """
A finding carries one of these codes. `opsctl status LOOP` shows the findings of a loop, `opsctl explain LOOP` shows for
every code whether it holds and why. In the next steps LOOP stands for the loop's id and REPO for its checkout; opsctl
fills both in.

*Worst* is the usual worst severity: a finding may begin milder. `info` leaves a loop healthy. *Contract* codes are
those that tooling outside knows; only they appear in `reasonCodes` of `health.json`, and so in the contract's health
status. Ours count for the overall status only; `artifacts_missing` and `artifacts_unreadable` are told to the contract
as its own `transport_unreachable`. *Human*: it does not pass by itself, somebody has to decide or act.
"""


def render() -> str:
    return page(
        "Reason codes",
        "`opsd/model/reasons.py`",
        _INTRODUCTION,
        table(
            ("code", "worst", "contract", "human"),
            (
                (f"[`{entry.code}`](#{entry.code})", entry.severity.value, yes(entry.contract), yes(entry.needs_human))
                for entry in REASONS.values()
            ),
        ),
        *(_section(entry) for entry in REASONS.values()),
    )


def _section(entry: ReasonEntry) -> str:
    facts = [
        f"Worst severity {entry.severity.value}",
        "known to the contract" if entry.contract else "ours",
        "somebody has to act" if entry.needs_human else "nobody has to act",
        _escalates(entry),
    ]
    return f"## {entry.code}\n\n{entry.says}\n\nNext: {entry.next_step}\n\n*{'; '.join(facts)}.*"


def _escalates(entry: ReasonEntry) -> str:
    category = CATEGORY_OF.get(entry.code)
    ways = [code(category.value)] if category is not None else []
    if entry.contract:
        ways.append("the loop's health")
    return f"escalates as {' and with '.join(ways)}" if ways else "does not escalate by itself"
