"""A fleet as real runs leave it: a checkout with a whole tree for each loop, and the home that registers them.

Each loop is alone in its checkout, as the runtime demands. The trees are written by the child that then is the process
all of them name (`benchmarks.runtime`).
"""

import json
import os
import time
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.runtime import Role
from opsd.model.ids import LoopId
from opsd.sim.names import loop_ids
from opsd.store.layout import Layout

FILES_PER_LOOP = 45
"""Files and folders of one loop, its checkout's and ours together: what the disk must have room for."""
BYTES_PER_LOOP = 300_000
LOOK_S = 0.02


class Fleet(NamedTuple):
    """`roles` are the loops as the runtime child is to play them."""

    layout: Layout
    roles: tuple[Role, ...]

    def folders(self) -> dict[str, str]:
        """Where the daemon keeps its files of each loop, by loop id."""
        return {role.loop_id: self.layout.folder(LoopId(role.loop_id)) for role in self.roles}

    def wait_for_files(self, within_s: float) -> float:
        """Return once every loop has a state file; the monotonic second at which that was seen.

        Raises:
            RuntimeError: not all have one in time.
        """
        missing = [os.path.join(folder, "state.json") for folder in self.folders().values()]
        deadline_s = time.monotonic() + within_s
        while missing := [path for path in missing if not os.path.exists(path)]:
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"{len(missing)} state files were never written, such as {missing[0]}")
            time.sleep(LOOK_S)
        return time.monotonic()


def make_fleet(root: str, loops: int, cast: Sequence[tuple[str, str | None]]) -> Fleet:
    """Register `loops` loops under `root`; `cast` (scenario, moment to lay the tree down to) is dealt round."""
    roles = cast_of(root, loops, cast)
    layout = Layout(os.path.join(root, "home"))
    register(layout, [local(role) for role in roles])
    return Fleet(layout, roles)


def cast_of(root: str, loops: int, cast: Sequence[tuple[str, str | None]]) -> tuple[Role, ...]:
    """The loops as they are to be played, each in a checkout below `root`."""
    return tuple(
        Role(os.path.join(root, "checkouts", loop_id), loop_id, *cast[number % len(cast)])
        for number, loop_id in enumerate(loop_ids(loops, seed=1))
    )


def local(role: Role) -> dict[str, object]:
    """The loop in the registry of a home on the same host."""
    return {"loopId": role.loop_id, "transport": "local", "repoPath": role.repo}


def register(layout: Layout, entries: Sequence[dict[str, object]]) -> None:
    os.makedirs(os.path.dirname(layout.registry))
    with open(layout.registry, "w", encoding="utf-8") as file:
        json.dump({"schemaVersion": "v1", "fleetId": "benchmark", "loops": entries}, file)
