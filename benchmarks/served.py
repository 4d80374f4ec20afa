"""A fleet whose every loop is behind a service: checkouts, the processes that serve them, and the manager's home.

The manager has addresses and tokens, and no path that leads to a checkout.
"""

import os
import resource
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from benchmarks.child import Child
from benchmarks.fleet import Fleet, cast_of, local, register
from benchmarks.sprites import Served, SpritesTask
from opsd.store.layout import Layout

PROCESSES = 2
"""So many serve the fleet: a fleet has a machine for each, and this one has two cores."""
UP_WITHIN_S = 120.0
_OTHERS = 512
"""Files that a daemon has open beside a connection to each service, generously."""


class ServedFleet(NamedTuple):
    """`fleet` is the manager's; `token_folder` holds a file for each of its loops."""

    fleet: Fleet
    token_folder: str
    tasks: tuple[SpritesTask, ...]

    @property
    def flags(self) -> tuple[str, ...]:
        """What the manager is started with."""
        return ("--service-token-folder", self.token_folder)

    @contextmanager
    def served(self, folder: str) -> Iterator[Sequence[Child]]:
        """All addresses answer while the block lasts. The checkouts must be there."""
        _allow_files(len(self.fleet.roles) + _OTHERS)
        with ExitStack() as stack:
            children = []
            for number, task in enumerate(self.tasks):
                own = os.path.join(folder, f"sprites-{number}")
                os.makedirs(own)
                children.append(stack.enter_context(Child("sprites", task, own)))
            for child in children:
                child.hear("ready", within_s=UP_WITHIN_S)
            yield children


def make_served_fleet(root: str, loops: int, cast: Sequence[tuple[str, str | None]]) -> ServedFleet:
    """As `benchmarks.fleet.make_fleet`, with each loop at an address of its own of 127.0.0.0/8."""
    roles = cast_of(root, loops, cast)
    served = [
        Served(role.loop_id, role.repo, f"127.{16 + number // 62_500}.{number // 250 % 250}.{number % 250 + 1}", secret)
        for number, role in enumerate(roles)
        if (secret := secrets.token_urlsafe(24))
    ]
    tasks = []
    for number in range(min(PROCESSES, loops)):
        mine = range(number, loops, PROCESSES)
        home = os.path.join(root, f"served-{number}")
        register(Layout(home), [local(roles[place]) for place in mine])
        log_file = os.path.join(root, f"sprites-{number}.log")
        tasks.append(SpritesTask(home, _free_port(), log_file, tuple(served[place] for place in mine)))
    ports = {one.loop_id: task.port for task in tasks for one in task.served}
    layout, token_folder = Layout(os.path.join(root, "home")), os.path.join(root, "tokens")
    register(layout, [_entry(one, ports[one.loop_id]) for one in served])
    os.makedirs(token_folder, mode=0o700)
    for one in served:
        with open(os.path.join(token_folder, _token_name(one)), "w", encoding="ascii") as file:
            file.write(one.token)
    return ServedFleet(Fleet(layout, roles), token_folder, tuple(tasks))


def _entry(one: Served, port: int) -> dict[str, object]:
    service = {"baseUrl": f"http://{one.address}:{port}", "tokenEnv": _token_name(one)}
    return {"loopId": one.loop_id, "transport": "sprite_service", "service": service}


def _token_name(one: Served) -> str:
    return f"TOKEN_{one.address.replace('.', '_')}"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _allow_files(wanted: int) -> None:
    """As a unit's `LimitNOFILE=` does: who is started from here may open so many files at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
