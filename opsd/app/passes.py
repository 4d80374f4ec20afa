"""One pass over a batch of loops: ask the transport, decide, hand back what is to be written and when to look again.

Synchronous, and shared by the daemon (in a worker thread) and the command line. Writing is the caller's next step: the
daemon gathers several batches into one commit, the command line commits at once.
"""

import traceback
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from opsd.app.tuning import Telemetry
from opsd.core.reconcile import Decision, Pass, Rules, decide
from opsd.model.ids import TraceId
from opsd.model.run import Run
from opsd.ports import Ask, Transport


class PassRequest(msgspec.Struct, frozen=True):
    """Look at `run`. `from_start` reads its log anew; `asked` marks an operator's own request."""

    run: Run
    trace_id: TraceId
    from_start: bool = False
    asked: bool = False


class PassResult(msgspec.Struct, frozen=True):
    """`decision` is None where this loop's pass broke on a fault of ours, and `error` says where."""

    run: Run
    decision: Decision | None
    error: str | None = None


class Passes:
    """Runs passes with one transport and one set of rules; `rules` may be replaced between batches.

    Without `telemetry` nothing is concluded from the samples that passes leave: verdicts are the same.
    """

    def __init__(
        self,
        transport: Transport,
        rules: Rules,
        monotonic: Callable[[], float],
        telemetry: Telemetry | None = None,
    ) -> None:
        self.rules = rules
        self._telemetry = telemetry
        self._transport = transport
        self._monotonic = monotonic

    def run(self, requests: Sequence[PassRequest], now: datetime) -> list[PassResult]:
        """One result per request, in order. Blocks for as long as the disk does."""
        began = self._monotonic()
        asks = [Ask(request.run.ref, request.run.cursor, request.from_start) for request in requests]
        observations = self._transport.observe(asks, now)
        took_s = self._monotonic() - began
        results = []
        for request, observation in zip(requests, observations, strict=True):
            this = Pass(request.trace_id, request.from_start, took_s)
            try:
                rules = self.rules.of(request.run.ref.loop_id)
                decision = decide(request.run, observation, rules, this, now)
                if self._telemetry is not None:
                    decision = self._telemetry.tuned(decision, rules, request.trace_id, now)
            except Exception:  # noqa: BLE001  a fault in our own rules for one loop must not blind us to all others
                results.append(PassResult(request.run, None, traceback.format_exc(limit=-3)))
            else:
                results.append(PassResult(decision.run, decision))
        return results
