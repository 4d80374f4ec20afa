"""Cancel a loop's run, or decide on what waits for approval, and see whether it had its effect.

Prints the row of `intents.jsonl`. Exit code 0: confirmed, or executed where nobody wanted it confirmed; 2: ambiguous;
1: failed, or nothing was done. Source: control-and-service 2.
"""

import argparse
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from opsd.app.oneshot_control import (
    Host,
    KeyTaken,
    Locally,
    Settled,
    SoloDesk,
    ThroughService,
    UnderWay,
    Unwritable,
    Way,
)
from opsd.app.restore import restore
from opsd.app.whereabouts import ref_for
from opsd.batch.command import (
    CommandError,
    Outcome,
    Outside,
    Parser,
    add_loop,
    loop_of,
    one_of,
    printed,
    repo_of,
    trace_id_of,
    whole_number,
)
from opsd.batch.home import HeldByDaemon, LostTurn, Turn, cannot_honour, forwarded
from opsd.batch.whereabouts import checkout_of
from opsd.controls.host import HostControls
from opsd.core.intents.rows import AMBIGUOUS_EXIT, exit_code, intent_row
from opsd.core.reconcile import Rules
from opsd.model.acts import Act, ActResult
from opsd.model.ids import LoopId
from opsd.model.intent import Confirmation, Intent
from opsd.model.observation import ProcessSighting
from opsd.model.oneshot import ControlCommand, ServiceWay
from opsd.model.run import LoopRef
from opsd.model.transport import TransportMode
from opsd.processes import boot_id
from opsd.store.layout import Layout
from opsd.store.store import Store

if TYPE_CHECKING:
    from opsd.services.http import HttpServices

INTENTS: Final = ("cancel", "approve", "reject")
CONFIRM_VARIABLE: Final = "OPS_MANAGER_CONFIRM_SCRIPT"
COMMAND_VARIABLE: Final = "SUPERLOOP_BIN"
_TURN_AND_COMMAND_S: Final = 240.0
"""Beyond its window, what an intent may take that a daemon carries out: its turn, the command, a service's silence."""


def add_arguments(parser: Parser) -> None:
    add_loop(parser)
    parser.add_argument("--intent", required=True, metavar="INTENT", help=f"one of {', '.join(INTENTS)}")
    parser.add_argument("--transport", default="local", metavar="MODE", help="local (default) or sprite_service")
    parser.add_argument("--service-base-url", metavar="URL", help="required for sprite_service")
    parser.add_argument("--service-token", metavar="TOKEN", help="OPS_MANAGER_SERVICE_TOKEN by default")
    parser.add_argument(
        "--idempotency-key", metavar="KEY", help="what was asked for under this key before is told, and not done again"
    )
    parser.add_argument("--trace-id", metavar="ID", help="OPS_MANAGER_TRACE_ID, else a new one, by default")
    parser.add_argument("--retry-attempts", default="3", metavar="N", help="of the request to the service (3)")
    parser.add_argument("--retry-backoff-seconds", default="1", metavar="N", help="the first pause between them (1)")
    parser.add_argument("--by", metavar="NAME", help="who asks; USER by default")
    parser.add_argument("--note", default="", metavar="TEXT", help="recorded with a decision")
    parser.add_argument(
        "--timeout-seconds", default="30", metavar="N", help="how long its effect is looked for (30; 0: one look)"
    )
    parser.add_argument("--interval-seconds", default="2", metavar="N", help="the pause between two looks (2)")
    parser.add_argument("--no-confirm", action="store_true", help="executed is enough")


def run(given: argparse.Namespace, outside: Outside) -> Outcome:
    repo, loop_id = repo_of(given), loop_of(given)
    command = command_of(given, outside)
    layout = Layout(repo)
    try:
        with Turn(layout, outside) as turn:
            settled = _carried_out(layout, loop_id, command, outside, turn)
    except HeldByDaemon as held:
        return _forwarded(held, loop_id, command, outside)
    return Outcome(printed(intent_row(settled.intent), pretty=False), exit_code(settled.intent))


def command_of(given: argparse.Namespace, outside: Outside) -> ControlCommand:
    """Every flag judged before anything is done; what is wrong with one records nothing."""
    intent = one_of("intent", given.intent, INTENTS)
    mode = TransportMode(one_of("--transport", given.transport, tuple(TransportMode)))
    service = None
    if mode is TransportMode.SPRITE_SERVICE:
        if not given.service_base_url:
            raise CommandError("--service-base-url is required when --transport sprite_service")
        token = given.service_token or outside.variable("OPS_MANAGER_SERVICE_TOKEN")
        service = ServiceWay(given.service_base_url.removesuffix("/"), token)
    key = given.idempotency_key or f"{intent}-{int(outside.now().timestamp())}-{os.getpid()}"
    return ControlCommand(
        intent=intent,  # type: ignore[arg-type]  # one of them, as was just seen
        by=given.by or outside.variable("USER") or "unknown",
        trace_id=trace_id_of(given, outside),
        idempotency_key=key,
        key_given=bool(given.idempotency_key),
        note=given.note,
        transport=mode,
        service=service,
        confirm=not given.no_confirm,
        timeout_seconds=whole_number("--timeout-seconds", given.timeout_seconds),
        interval_seconds=whole_number("--interval-seconds", given.interval_seconds),
        retry_attempts=whole_number("--retry-attempts", given.retry_attempts, least=1),
        retry_backoff_seconds=whole_number("--retry-backoff-seconds", given.retry_backoff_seconds),
    )


def _carried_out(layout: Layout, loop_id: LoopId, command: ControlCommand, outside: Outside, turn: Turn) -> Settled:
    store, boot = Store(layout, outside.files), boot_id()
    ref = LoopRef(loop_id, checkout_of(layout, loop_id, outside))
    (loop,), _ = restore(store, [ref], outside.now(), boot_id=boot)
    if command.service is not None:
        way = _through(ref, command, outside, turn)
    else:
        way = _locally(layout, ref, boot, outside, turn)
    try:
        return SoloDesk(store, loop, way, outside.now, waited_for=partial(_is_waited_for, outside)).carry_out(command)
    except (KeyTaken, UnderWay) as error:
        raise CommandError(str(error)) from None
    except LostTurn as error:
        raise CommandError(
            f"the {command.intent} was begun, and what comes of it cannot be written down here: {error}; the intent "
            "stays open, and whoever holds the home looks what became of it",
            AMBIGUOUS_EXIT,
        ) from None
    except Unwritable as error:
        if error.after is None:
            raise CommandError(f"nothing was done: {error}") from None
        raise CommandError(
            f"the {command.intent} is {error.after.status}, and that could not be written down: {error}; intent "
            f"{error.after.id} in intent-log.jsonl stays open, and the next command or opsd looks what became of it",
            AMBIGUOUS_EXIT,
        ) from None


def _forwarded(held: HeldByDaemon, loop_id: LoopId, command: ControlCommand, outside: Outside) -> Outcome:
    from opsctl.client import loop_path

    local = command.transport is TransportMode.LOCAL
    named = [name for name in (COMMAND_VARIABLE, CONFIRM_VARIABLE) if local and outside.variable(name)]
    if named:
        raise cannot_honour(held, named)
    limit_s = command.timeout_seconds + _TURN_AND_COMMAND_S
    reply = forwarded(held, loop_path(loop_id, "oneshot", "control"), command, limit_s=limit_s)
    if reply.error is not None:
        raise CommandError(reply.error, reply.exit_code)
    return Outcome(printed(reply.document, pretty=False), reply.exit_code)


# On this host


def _locally(layout: Layout, ref: LoopRef, boot: str, outside: Outside, turn: Turn) -> Way:
    script = outside.variable(CONFIRM_VARIABLE)
    told = _asking(script, ref, outside, turn) if script is not None else None

    def pause(seconds: float) -> None:
        with turn.lent():
            threading.Event().wait(seconds)

    host = Host(
        layout, outside.files, outside.processes, _controls(outside), outside.now, outside.monotonic, pause, told
    )
    return Locally(host, ref, Rules(layout.home, boot, every_pass_samples=True))


class _Named:
    """As the host's controls, with a command that was named by the caller: whatever it is, it is tried."""

    def __init__(self, host: HostControls, named: str | None) -> None:
        self._host = host
        self._named = named

    def carry_out(self, act: Act) -> ActResult:
        return self._host.carry_out(act)

    def command(self, repo_path: str) -> str | None:
        return self._named or self._host.command(repo_path)


def _controls(outside: Outside) -> _Named:
    host = HostControls(superloop_bin=None, launcher="session", under_systemd=False, variables=outside.variables)
    return _Named(host, _program(outside.variable(COMMAND_VARIABLE), outside))


def _program(name: str | None, outside: Outside) -> str | None:
    """A path is meant as seen from where the caller stands, a bare name as a shell would find it."""
    if name is None:
        return None
    if "/" in name:
        return os.path.abspath(name)
    return shutil.which(name, path=outside.variables.get("PATH", os.defpath)) or name


def _asking(script: str, ref: LoopRef, outside: Outside, turn: Turn) -> Callable[[Intent], Confirmation]:
    """The caller's own confirmation program: its exit code decides, and the JSON object it prints is told on."""

    def told(intent: Intent) -> Confirmation:
        import subprocess

        from opsd.environ import for_others

        options = intent.options
        argv = [
            _program(script, outside) or script, "--repo", ref.repo_path, "--loop", ref.loop_id,
            "--intent", intent.intent, "--timeout-seconds", f"{options.timeout_s:.0f}",
            "--interval-seconds", f"{options.interval_s:.0f}",
        ]  # fmt: skip
        limit_s = options.timeout_s + options.interval_s + _TURN_AND_COMMAND_S
        code, data = 127, b""
        with turn.lent(), suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=limit_s,
                check=False,
                env=for_others(outside.variables),
            )
            code, data = done.returncode, done.stdout
        return _confirmation(script, code, data, outside)

    return told


class _Told(msgspec.Struct):
    reason: str = ""
    attempts: int = 1


def _confirmation(script: str, code: int, data: bytes, outside: Outside) -> Confirmation:
    text, told = "", _Told()
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if isinstance(found := msgspec.json.decode(data), dict):
            text = msgspec.json.encode(found).decode()
            told = msgspec.json.decode(data, type=_Told)
    return Confirmation(
        confirmed=code == 0,
        reason=told.reason or ("confirm_script" if code == 0 else "timeout"),
        attempts=told.attempts,
        observed_at=outside.now(),
        missing=None if code == 0 else f"{script} ended with exit code {code}.",
        told=text,
        exit_code=code if code >= 0 else 128 - code,
    )


# Through a service


def _is_waited_for(outside: Outside, intent: Intent) -> bool:
    """Whether the command that asked for it is still there."""
    sighting = outside.processes.sighting(intent.actor.pid, intent.recorded_at)
    return intent.actor.pid != os.getpid() and sighting in (ProcessSighting.ALIVE, ProcessSighting.STOPPED)


def _through(ref: LoopRef, command: ControlCommand, outside: Outside, turn: Turn) -> Way:
    assert command.service is not None
    service, behind = command.service, ref_for(command, ref.loop_id, ref.repo_path)

    def ask(intent: Intent) -> tuple[Intent, ...]:
        from opsd.app.service_control import asked
        from opsd.batch.services import with_services

        async def talk(services: "HttpServices") -> tuple[Intent, ...]:
            return await asked(services, behind, intent, outside.now)

        with turn.lent():  # a service over this very home has it carried out by a command of its own
            return with_services(service.token, outside, talk)

    def follow(intent: Intent) -> tuple[Intent, ...]:
        from opsd.app.service_control import followed
        from opsd.batch.services import with_services

        async def talk(services: "HttpServices") -> tuple[Intent, ...]:
            return await followed(services, behind, intent, outside.now)

        with turn.lent():
            return with_services(service.token, outside, talk)

    return ThroughService(behind, outside.now, ask=ask, follow=follow)
