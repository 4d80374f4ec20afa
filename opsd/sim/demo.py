"""`opsd demo`: a live simulated fleet, a real daemon over it, and what an operator sees and does; then everything ends.

Whatever is shown is what the real commands print (`opsd.sim.showing`). The demo fails unless it saw on the socket each
change that it promises: it is a test of the whole as well.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import NamedTuple

from opsd.sim.fleet import Fleet, FleetPlay, make_fleet
from opsd.sim.ledger import executions
from opsd.sim.part import Part
from opsd.sim.showing import DemoError, Watched, daemon_over, say, show, wait

CAST = (
    "steady", "approval", "silent-stall", "role-error", "complete", "steady",
    "tests-failing", "rate-limited", "stuck", "recovery", "torn-lines", "cancelled",
)  # fmt: skip
SPEED = 6.0
SEED = 11

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
    fleet = make_fleet(root, len(CAST), SEED, SPEED, CAST, part=Part(role_s=15.0))
    say(f"A simulated fleet of {len(CAST)} loop runs, and opsd over it (thresholds of seconds instead of minutes).")
    with FleetPlay(fleet, stagger_s=1.0, rerun=False) as play, daemon_over(fleet) as daemon:

        def keep(promises: Promises) -> None:
            for promise, kept in promises.items():
                wait(promise, kept, daemon, play)

        watched = Watched(fleet)
        try:
            keep({"the daemon to know every loop": lambda: len(watched.loops) == len(CAST)})
            show(fleet, "status")
            say("Following live until the fleet has shown what it can do ...")
            watched.show()
            keep(_unasked(fleet, watched))
            watched.hide()
            for deed in _deeds(fleet, watched):
                say(deed.says)
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


class _Deed(NamedTuple):
    """What an operator does, and what must come of it: more than that a command said so."""

    says: str
    commands: Sequence[Sequence[str]]
    promises: Promises


def _deeds(fleet: Fleet, watched: Watched) -> Sequence[_Deed]:
    asking, working, unwanted = _loop(fleet, "approval"), _loop(fleet, "steady"), _loop(fleet, "steady", nth=1)
    repos = {checkout.loops[0]: checkout.repo for checkout in fleet.checkouts}

    def confirmed(loop: str, intent: str, **more: object) -> Callable[[], bool]:
        return lambda: watched.saw_intent(loop, intent, status="confirmed", **more)

    return (
        _Deed(
            "One loop waits for a human. Approving it is a record only, which the loop's next run takes up.",
            (
                ("approvals",),
                ("approve", asking, "--note", "all gates are green", "--then-start", "--yes"),
            ),
            {
                f"{asking}'s approval to be confirmed": confirmed(asking, "approve"),
                f"{asking} to be started": confirmed(asking, "start"),
                f"{asking}'s approval to be taken up and {asking} to be complete": confirmed(
                    asking, "approve", stage="completed"
                ),
                f"{asking} to be shown as complete": lambda: watched.saw(
                    asking, before=("phase", "awaiting_approval"), after=("phase", "complete")
                ),
                f"{asking} to have been approved once": lambda: executions(repos[asking], "approve") == 1,
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
                f"{working} to be paused": confirmed(working, "pause"),
                f"{working} to be resumed": confirmed(working, "resume"),
                f"{working} to be shown as paused, and then as running": lambda: watched.saw(
                    working, before=("phase", "paused"), after=("phase", "running")
                ),
            },
        ),
        _Deed(
            "A third is not wanted any more.",
            (("cancel", unwanted, "--reason", "superseded", "--yes"),),
            {
                f"{unwanted} to be cancelled": confirmed(unwanted, "cancel"),
                f"{unwanted} to be shown as cancelled": lambda: watched.saw(
                    unwanted, before=("lifecycle", "running"), after=("phase", "cancelled")
                ),
                f"{unwanted} to have been cancelled once": lambda: executions(repos[unwanted], "cancel") == 1,
            },
        ),
    )


def _loop(fleet: Fleet, scenario: str, nth: int = 0) -> str:
    return [checkout.loops[0] for checkout in fleet.checkouts if checkout.scenario == scenario][nth]
