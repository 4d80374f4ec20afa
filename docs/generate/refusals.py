"""`reference/refusals.md`: every refusal code, when it applies and the next step, from the gate and its registry."""

from collections.abc import Iterable

from docs.generate.markdown import code, page, table
from opsd.core.intents.gate import CONTRACT_RULES, RULES, RULES_FROM_AFAR
from opsd.model.intent import IntentKind
from opsd.model.refusals import REFUSALS

_INTRODUCTION = """
An intent that is refused was not carried out, and never will be. `opsctl` exits with 10 and prints the code, a sentence
about this very case, and the next step, in which LOOP stands for the loop's id. How an intent lives is told in
[Intents](../intents.md).
"""

_RULES_NOTE = """
Asked in this order when an intent is taken in, when its turn has come, and once more right before the act. The first
that objects decides.
"""

_AFAR_NOTE = """
Of a loop behind a service fewer rules are asked here, of what the last look brought. All of the above are asked where
the loop runs.
"""

_CONTRACT_NOTE = """
The contract's command acts in any state of a loop, and leaves it to the runtime's command what can be done. Only these
rules are asked for who relies on that: `ops-manager control`, and `POST /ops/control` of clients that neither say what
they saw nor know `intents.v1`. What is refused then is told as `failed_command` in the contract's files, with the code
in `commandOutput`.
"""

_ELSEWHERE_NOTE = """
These are no rules of that list: `store_unwritable` is found when the intent is to be written down, `start_unavailable`
when the run is to be started, where the intent ends as `failed_command` with this next step. `opsd_restarted` and
`waited_too_long` (120 s) are said of an intent that has expired.
"""


def render() -> str:
    return page(
        "Refusal codes",
        "`opsd/model/refusals.py` and `opsd/core/intents/gate.py`",
        _INTRODUCTION,
        table(
            ("code", "what it says", "next"), ((code(one.code), one.says, one.next_step) for one in REFUSALS.values())
        ),
        "## When they apply",
        _RULES_NOTE,
        table(("code", "asked of", "objects when"), ((code(one.code), _kinds(one.kinds), one.when) for one in RULES)),
        _ELSEWHERE_NOTE,
        "## Behind a service",
        _AFAR_NOTE,
        table(
            ("code", "asked of", "objects when"),
            ((code(one.code), _kinds(one.kinds), one.when) for one in RULES_FROM_AFAR),
        ),
        "## As the contract has it",
        _CONTRACT_NOTE,
        table(
            ("code", "asked of", "objects when"),
            ((code(one.code), _kinds(one.kinds), one.when) for one in CONTRACT_RULES),
        ),
    )


def _kinds(kinds: Iterable[IntentKind]) -> str:
    wanted = set(kinds)
    return "all" if wanted == set(IntentKind) else ", ".join(kind.value for kind in IntentKind if kind in wanted)
