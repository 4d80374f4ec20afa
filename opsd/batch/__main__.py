"""`ops-manager COMMAND`: finds the command's module, imports that alone, runs it, and ends the process."""

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

COMMANDS = {
    "loop-run-snapshot": "snapshot",
    "poll-events": "poll",
    "project-state": "project",
    "reconcile": "reconcile",
    "health": "health",
    "control": "control",
    "confirm-intent": "confirm",
    "service-client": "client",
    "sprite-service": "service",
    "status": "status",
    "telemetry-summary": "summary",
    "threshold-profile": "profile",
    "profile-drift": "drift",
}
"""By the names that the runbook calls them, the modules of this package."""

_FAILED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code. `ops-manager NAME --help` says what a command takes."""
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] not in COMMANDS:
        return _help(given)
    try:
        code = _run(_loaded(given[0]), given[0], given[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read has gone; what is still buffered has nowhere to go, not even at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"error: the answer could not be written out: {error.strerror or error}", file=sys.stderr)
        return _FAILED
    return code


def _loaded(name: str) -> ModuleType:
    # What is loaded stays to the end: looking through it for garbage would take a sixth of a short command's life.
    gc.disable()
    try:
        _load_msgspec()
        return import_module(f"opsd.batch.{COMMANDS[name]}")
    finally:
        gc.freeze()
        gc.enable()


def _load_msgspec() -> None:
    """Without `typing_extensions`, which it takes where it is there and which is a third of its own loading time.

    What it wants of it, `typing` has in every Python that we run on. Later importers find it as ever.
    """
    if "typing_extensions" in sys.modules or "msgspec" in sys.modules:
        return
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]  # how an import is made to fail
    try:
        import_module("msgspec")
    finally:
        del sys.modules["typing_extensions"]


def _run(module: ModuleType, name: str, given: Sequence[str]) -> int:
    from opsd import environ
    from opsd.batch.command import CommandError, Outside, Parser
    from opsd.clock import monotonic, now
    from opsd.disk import Disk
    from opsd.processes import ProcFs

    parser = Parser(name, _for_people(module.__doc__ or ""))
    module.add_arguments(parser)
    try:
        outcome = module.run(parser.parse_args(given), Outside(environ.variables(), Disk(), ProcFs(), now, monotonic))
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    sys.stdout.buffer.write(outcome.stdout)
    return int(outcome.exit_code)


def _for_people(text: str) -> str:
    """A module's own words without the sections of the contract that they go back to."""
    return "\n".join([line.partition("Source: ")[0].rstrip() for line in text.splitlines()])


def _help(given: Sequence[str]) -> int:
    asked = given[:1] in (["--help"], ["-h"], ["help"])
    told = sys.stdout if asked else sys.stderr
    print("usage: ops-manager COMMAND [--flag value ...]   (ops-manager COMMAND --help says more)", file=told)
    print(f"commands: {', '.join(COMMANDS)}", file=told)
    if asked:
        return 0
    print(f"error: unknown command {given[0]!r}" if given else "error: a command is required", file=sys.stderr)
    return _FAILED


if __name__ == "__main__":
    sys.exit(main())
