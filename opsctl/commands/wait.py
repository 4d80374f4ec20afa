"""`opsctl wait LOOP... --for WORD`: until loops are what one waits for, or the time is up."""

import shlex

from opsctl.client import Client
from opsctl.clock import monotonic_s
from opsctl.errors import OpsctlError
from opsctl.exits import Exit
from opsctl.feed import Following
from opsctl.output import NAME, Output
from opsctl.render.words import duration, reasons, state
from opsctl.words import checked, is_so
from opsd.protocol import LoopSummary


class _Waited:
    """Which of the loops are what was waited for. A loop that was so and is no longer counts as not."""

    def __init__(self, loops: tuple[str, ...], words: tuple[str, ...], *, needs_all: bool) -> None:
        self.loops = loops
        self._words = words
        self._needs_all = needs_all
        self._now: dict[str, LoopSummary] = {}

    def see(self, summary: LoopSummary) -> None:
        self._now[summary.loop_id] = summary

    def forget(self, loop_id: str) -> None:
        self._now.pop(loop_id, None)

    def there(self) -> list[str]:
        return [loop_id for loop_id in self.loops if loop_id in self._now and self._is_so(self._now[loop_id])]

    def is_over(self) -> bool:
        count = len(self.there())
        return count == len(self.loops) if self._needs_all else count > 0

    def laggards(self) -> list[str]:
        there = self.there()
        return [f"{loop_id}: {self._said(loop_id)}" for loop_id in self.loops if loop_id not in there]

    def _is_so(self, summary: LoopSummary) -> bool:
        return any(is_so(summary, word) for word in self._words)

    def _said(self, loop_id: str) -> str:
        summary = self._now.get(loop_id)
        if summary is None:
            return "not in the fleet"
        return f"{state(summary)}, {summary.overall_status.value}, {reasons(summary)}"


def run(
    client: Client, out: Output, loops: tuple[str, ...], words: tuple[str, ...], *, needs_all: bool, limit_s: float
) -> Exit:
    waited = _Waited(tuple(dict.fromkeys(loops)), tuple(checked(word) for word in words), needs_all=needs_all)
    for news in Following(client, waited.loops, out.note, deadline_s=monotonic_s() + limit_s):
        if news.item.loop is not None:
            waited.see(news.item.loop)
        elif news.item.removed is not None:
            waited.forget(news.item.removed)
        if waited.is_over():
            for loop_id in waited.there():
                out.text(loop_id if out.form == NAME else f"{loop_id}: {' or '.join(words)}")
            return Exit.OK
    laggards = waited.laggards()
    raise OpsctlError(
        Exit.TIMEOUT,
        f"not {' or '.join(words)} within {duration(limit_s)}:\n  " + "\n  ".join(laggards),
        f"opsctl explain {shlex.quote(laggards[0].partition(':')[0])}",
    )
