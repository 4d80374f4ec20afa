"""What `opsd launch` is asked for, and whether it makes sense. Carrying it out is `opsd.sprite.launch`."""

import argparse
import json
import os
from typing import Final, NamedTuple

REFUSED: Final = 2
NOT_EXECUTABLE: Final = 126
MISSING: Final = 127
"""Exit codes of our own, as a shell has them."""

BEAT_EVERY_S: Final = 15.0
PLATFORM_SOCKET: Final = "/.sprite/api.sock"
"""Where a sprite's platform is asked to hold the sprite awake. Source: sprites-platform 11."""
_RUN: Final = "superloop.sh run"


class Plan(NamedTuple):
    """What was asked for, and found to make sense. Paths are absolute."""

    repo: str
    loop_id: str
    launch_id: str | None
    log: str | None
    interval_s: float
    detach: bool
    argv: tuple[str, ...]
    platform_socket: str = PLATFORM_SOCKET

    @property
    def folder(self) -> str:
        return f"{self.repo}/.superloop/loops/{self.loop_id}"


class Refused(Exception):  # noqa: N818  an answer, not an error
    """Nothing was begun; the message says why and `code` is what to exit with."""

    def __init__(self, message: str, code: int = REFUSED) -> None:
        super().__init__(message)
        self.code = code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `opsd launch` to `parser`."""
    parser.add_argument("--repo", required=True, metavar="DIR", help="the checkout")
    parser.add_argument("--loop", required=True, metavar="ID", help="the loop that is run")
    parser.add_argument("--launch-id", metavar="ID", help="named in the heartbeat: which launch this is")
    parser.add_argument("--log", metavar="FILE", help="where the run prints to, at most 8 MiB (default: where we do)")
    parser.add_argument(
        "--interval", type=_seconds, default=BEAT_EVERY_S, metavar="S", help="seconds between two beats (default 15)"
    )
    parser.add_argument("--detach", action="store_true", help="return once the run has begun; needs --log")
    parser.add_argument(
        "--platform-socket",
        default=PLATFORM_SOCKET,
        metavar="FILE",
        help="where, inside a sprite, the platform is asked to hold it awake while the run lives; '' asks nobody "
        f"(default {PLATFORM_SOCKET})",
    )
    parser.add_argument("argv", nargs="+", metavar="COMMAND", help="after --: superloop.sh run --repo DIR --loop ID")


def plan_of(args: argparse.Namespace) -> Plan:
    """
    Raises:
        Refused: there is no such loop, or the command is no run of it.
    """
    repo, loop_id, argv = os.path.abspath(args.repo), args.loop, tuple(args.argv)
    if "/" in argv[0]:
        argv = (os.path.abspath(argv[0]), *argv[1:])
    if not os.path.isdir(f"{repo}/.superloop"):
        raise Refused(f"{repo} is no checkout of a loop: there is no folder .superloop in it; give another --repo")
    if loop_id in ("", ".", "..") or "/" in loop_id or not _is_known(repo, loop_id):
        raise Refused(f"{repo} has no loop {loop_id!r}: neither a folder nor a line in its config.json; mend --loop")
    if len(argv) < 2 or not argv[0].endswith("superloop.sh") or argv[1] != "run":
        # By these words the runtime's own cancel knows a run; any other would go on when it was cancelled.
        raise Refused(f"what is to be begun must read `{_RUN} ...`, and it reads {' '.join(argv)!r}")
    for flag, given in (("--repo", repo), ("--loop", loop_id)):
        if flag in argv[:-1]:
            said = argv[argv.index(flag) + 1]
            # The run begins in its checkout, so that is where its own words are read.
            if (os.path.normpath(os.path.join(repo, said)) if flag == "--repo" else said) != given:
                raise Refused(f"{flag} is {given!r}, and of the run it is {said!r}: beats would tell of another loop")
    if args.detach and args.log is None:
        raise Refused("--detach needs --log: where we print now may be gone before the run is")
    log = None if args.log is None else os.path.abspath(args.log)
    return Plan(repo, loop_id, args.launch_id, log, args.interval, args.detach, argv, args.platform_socket)


def _is_known(repo: str, loop_id: str) -> bool:
    """A loop that never ran has no folder yet: then the checkout's configuration names it."""
    if os.path.isdir(f"{repo}/.superloop/loops/{loop_id}"):
        return True
    try:
        with open(f"{repo}/.superloop/config.json", "rb") as file:
            loops = json.load(file)["loops"]
        return any(loop["id"] == loop_id for loop in loops)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number <= 3600:
        raise argparse.ArgumentTypeError(f"needs seconds, more than 0 and at most 3600, got {text}")
    return number
