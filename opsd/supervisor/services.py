"""The parts of the daemon that run all the time: started together, started again when they fail, and watched.

A part says `beat` whenever it has finished its work or found that there is none; how long ago that was is its age. One
that cannot be mended ends the daemon, which must never look fine while doing nothing.
"""

import random
from collections.abc import Awaitable, Callable, Sequence

import anyio
import msgspec

from opsd.logs import Log
from opsd.ports import Clock
from opsd.protocol import Subsystem
from opsd.supervisor.backoff import Backoff
from opsd.supervisor.findings import DaemonFindings

RESTART = Backoff(first_s=0.5, longest_s=10.0)
FAILURES_MAX = 5
"""Failures in a row after which a part is given up. One that ran well for `_WELL_AFTER_S` starts counting anew."""
_WELL_AFTER_S = 60.0

Serve = Callable[[Callable[[], None]], Awaitable[None]]


class Service(msgspec.Struct, frozen=True):
    """`serve` runs for ever; its beats may be `in_time_s` apart, or None where it has no regular work."""

    name: str
    serve: Serve
    in_time_s: float | None


class GaveUp(Exception):  # noqa: N818  it says what happened to the service
    """A part of the daemon failed again and again; its last error is the cause."""


class _State(msgspec.Struct):
    beat_s: float
    problem: str | None = None


class Services:
    """Runs services until cancelled.

    Raises (from `run`):
        GaveUp: one of them cannot be mended; the others are cancelled.
    """

    def __init__(self, services: Sequence[Service], *, clock: Clock, findings: DaemonFindings, log: Log) -> None:
        self._services = services
        self._clock = clock
        self._findings = findings
        self._log = log
        self._states = {service.name: _State(clock.monotonic()) for service in services}

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            for service in self._services:
                tasks.start_soon(self._keep, service, name=service.name)

    def subsystems(self) -> tuple[Subsystem, ...]:
        """How each part is. In time means: it beat no longer ago than its own work allows, and is not failing."""
        now_s = self._clock.monotonic()
        return tuple(self._subsystem(service, now_s) for service in self._services)

    def _subsystem(self, service: Service, now_s: float) -> Subsystem:
        state = self._states[service.name]
        age_s = round(now_s - state.beat_s, 3)
        if service.in_time_s is None:
            return Subsystem(service.name, state.problem is None, None, state.problem)
        late = age_s > service.in_time_s
        detail = state.problem or (f"no sign of life for more than {service.in_time_s:g} s" if late else None)
        return Subsystem(service.name, state.problem is None and not late, age_s, detail)

    async def _keep(self, service: Service) -> None:
        state = self._states[service.name]
        failures = 0
        began_s = self._clock.monotonic()

        def beat() -> None:
            state.beat_s = self._clock.monotonic()
            if state.problem is not None:
                state.problem = None
                self._findings.clear("subsystem_failed", about=service.name)

        while True:
            try:
                await service.serve(beat)
                return  # it was asked to end
            except Exception as error:
                now_s = self._clock.monotonic()
                failures = 1 if now_s - began_s > _WELL_AFTER_S else failures + 1
                state.problem = f"{type(error).__name__}: {error}"
                evidence = f"{service.name} failed {failures} times in a row: {state.problem}"
                self._findings.add("subsystem_failed", evidence, self._clock.now(), about=service.name)
                self._log.error("service.failed", service=service.name, failures=failures, exc_info=error)
                if failures >= FAILURES_MAX:
                    self._log.error("service.gave_up", service=service.name, failures=failures)
                    raise GaveUp(evidence) from error
                pause_s = RESTART.delay_s(failures, random.uniform(0.5, 1.0))
                await self._clock.sleep_until(now_s + pause_s)
                began_s = self._clock.monotonic()
