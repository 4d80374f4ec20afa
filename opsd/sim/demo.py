"""`opsd demo`: a live simulated fleet, a real daemon over it, and what an operator sees and does; then everything ends.

Whatever is shown is what the real commands print (`opsd.sim.showing`). The demo fails unless it saw on the socket each
change that it promises: it is a test of the whole as well.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from opsd.sim.fleet import Fleet, FleetPlay, make_fleet
from opsd.sim.ledger import executions
from opsd.sim.part import Part
from opsd.sim.showing import DemoError, Watched, ask, daemon_over, say, show, wait
from opsd.sim.sprites import Sprite, register, sprites_of

CAST = (
    "steady", "approval", "silent-stall", "role-error", "complete", "tests-failing", "rate-limited", "stuck",
    "recovery",
)  # fmt: skip
BEHIND_SERVICES = ("steady", "approval")
"""What plays in sprites, each with a service of its own."""
SPEED = 6.0
SEED = 11
SPRITES_SEED = 12
_PART = Part(role_s=15.0)

Promises = dict[str, Callable[[], bool]]


def main(given: Sequence[str] = ()) -> int:
    """Run the demo in a temporary folder. Exit code 0 only if every promised change was seen and all ended cleanly."""
    argparse.ArgumentParser(prog="opsd demo", description=__doc__).parse_args(given)
    try:
        # Where something failed, a run that was just started may still write: the failure is what must be told.
        with tempfile.TemporaryDirectory(prefix="opsd-demo-", ignore_cleanup_errors=True) as root:
            _demo(root)
    except DemoError as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _demo(root: str) -> None:
    fleet = make_fleet(os.path.join(root, "host"), len(CAST), SEED, SPEED, CAST, part=_PART)
    behind = len(BEHIND_SERVICES)
    away = make_fleet(os.path.join(root, "away"), behind, SPRITES_SEED, SPEED, BEHIND_SERVICES, part=_PART)
    token_folder = os.path.join(root, "tokens")
    say(
        f"A simulated fleet of {len(CAST)} loop runs on this host and {behind} in sprites, each behind a "
        "service of its own, and opsd over all of them (thresholds of seconds instead of minutes)."
    )
    with ExitStack() as stack:
        sprites = stack.enter_context(sprites_of(away))
        register(fleet, sprites, token_folder)
        plays = [stack.enter_context(FleetPlay(each, stagger_s=0.5, rerun=False)) for each in (fleet, away)]
        daemon = stack.enter_context(daemon_over(fleet, "--service-token-folder", token_folder))

        def keep(promises: Promises) -> None:
            for promise, kept in promises.items():
                wait(promise, kept, daemon, lambda: [play.poll() for play in plays])

        watched = Watched(fleet)
        try:
            loops = len(CAST) + len(sprites)
            keep({"the daemon to know every loop": lambda: len(watched.loops) == loops})
            show(fleet, "status")
            for sprite in sprites:
                show(fleet, "transport", sprite.loop_id)
            say("Following live until the fleet has shown what it can do ...")
            watched.show()
            keep(_unasked(fleet, watched))
            watched.hide()
            for deed in (*_deeds(fleet, sprites, watched), *_outage(fleet, sprites[0], watched)):
                say(deed.says)
                deed.happens()
                for words in deed.commands:
                    show(fleet, *words)
                keep(deed.promises)
        finally:
            watched.stop()
        show(fleet, "intents")
        show(fleet, "status")
        show(fleet, "explain", _loop(fleet, "silent-stall"))
        show(fleet, "escalations", "-n", "8")
        show(fleet, "verify")
        say("Stopping.")
    say("The daemon and every run have ended; nothing is left behind.")


def _unasked(fleet: Fleet, watched: Watched) -> Promises:
    """What the demo promises to show without anybody's doing, each as a question to what came over the socket."""
    stalled, asking = _loop(fleet, "silent-stall"), _loop(fleet, "approval")
    finishing, crashing = _loop(fleet, "complete"), _loop(fleet, "role-error")
    return {
        f"{stalled} to stall and turn degraded": lambda: watched.saw(
            stalled, before=("overallStatus", "healthy"), after=("health", "degraded")
        ),
        f"{asking} to ask for an approval": lambda: watched.saw(
            asking, before=("lifecycle", "running"), after=("phase", "awaiting_approval")
        ),
        f"{finishing} to complete": lambda: watched.saw(
            finishing, before=("lifecycle", "running"), after=("phase", "complete")
        ),
        f"{crashing} to crash in a role": lambda: watched.saw(
            crashing, before=("lifecycle", "running"), after=("phase", "crashed")
        ),
    }


def _nothing() -> None:
    pass


class _Deed(NamedTuple):
    """What happens, what an operator does, and what must come of it: more than that a command said so."""

    says: str
    commands: Sequence[Sequence[str]]
    promises: Promises
    happens: Callable[[], None] = _nothing


def _deeds(fleet: Fleet, sprites: Sequence[Sprite], watched: Watched) -> Sequence[_Deed]:
    working = _loop(fleet, "steady")
    here = next(checkout for checkout in fleet.checkouts if checkout.scenario == "approval")
    away = next(sprite for sprite in sprites if sprite.scenario == "approval")
    note = ("--note", "all gates are green", "--then-start", "--yes")
    return (
        _Deed(
            "Two loops wait for a human, one of them in a sprite. Approving is a record only, which the next run takes "
            "up; what is done in a sprite is judged, carried out and proved there.",
            (
                ("approvals",),
                ("approve", here.loops[0], *note),
                ("approve", away.loop_id, *note),
            ),
            {
                **_approved(here.loops[0], here.repo, watched),
                **_approved(away.loop_id, away.repo, watched),
            },
        ),
        _Deed(
            "Another is held for a while, as it stands, and goes on.",
            (
                ("pause", working, "--for", "10m", "--reason", "the test database is restored", "--yes"),
                ("status", working),
                ("resume", working, "--yes"),
            ),
            {
                f"{working} to be paused": _confirmed(watched, working, "pause"),
                f"{working} to be resumed": _confirmed(watched, working, "resume"),
                f"{working} to be shown as paused, and then as running": lambda: watched.saw(
                    working, before=("phase", "paused"), after=("phase", "running")
                ),
            },
        ),
    )


def _confirmed(watched: Watched, loop: str, intent: str, **more: object) -> Callable[[], bool]:
    return lambda: watched.saw_intent(loop, intent, status="confirmed", **more)


def _approved(loop: str, repo: str, watched: Watched) -> Promises:
    return {
        f"{loop}'s approval to be confirmed": _confirmed(watched, loop, "approve"),
        f"{loop} to be started": _confirmed(watched, loop, "start"),
        f"{loop}'s approval to be taken up and {loop} to be complete": _confirmed(
            watched, loop, "approve", stage="completed"
        ),
        f"{loop} to be shown as complete": lambda: watched.saw(
            loop, before=("phase", "awaiting_approval"), after=("phase", "complete")
        ),
        f"{loop} to have been approved once": lambda: executions(repo, "approve") == 1,
    }


def _outage(fleet: Fleet, sprite: Sprite, watched: Watched) -> Sequence[_Deed]:
    """A sprite's service goes and comes back; then its run, which went on meanwhile, is cancelled over it."""
    loop, code = sprite.loop_id, "transport_unreachable"

    def is_whole() -> bool:
        cursor = ask(fleet, "status", loop)["cursor"]
        return isinstance(cursor, dict) and cursor["eventLineOffset"] == sprite.events()

    return (
        _Deed(
            "The service of one sprite is gone; the run inside goes on.",
            (),
            {f"{loop} to be shown as unreachable": lambda: watched.saw_finding(loop, code)},
            sprite.stop,
        ),
        _Deed(
            "What was seen last is still there, and why there is nothing newer.",
            (("status", loop),),
            {},
        ),
        _Deed(
            "The service comes back, and is read on where it stood.",
            (),
            {f"{loop} to be within reach again": lambda: watched.saw_finding(loop, code, ended=True)},
            sprite.start,
        ),
        _Deed(
            "That run is not wanted any more.",
            (("cancel", loop, "--reason", "superseded", "--yes"),),
            {
                f"{loop} to be cancelled": _confirmed(watched, loop, "cancel"),
                f"{loop} to be shown as cancelled": lambda: watched.saw(
                    loop, before=("lifecycle", "running"), after=("phase", "cancelled")
                ),
                f"{loop} to have been cancelled once": lambda: executions(sprite.repo, "cancel") == 1,
                f"every event that {loop} logged to have been read once": is_whole,
            },
        ),
    )


def _loop(fleet: Fleet, scenario: str) -> str:
    return next(checkout.loops[0] for checkout in fleet.checkouts if checkout.scenario == scenario)
