"""Change notice over real files. Each wait is for a condition, with a deadline."""

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Set
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType

import anyio
import pytest

from opsd.disk import Disk
from opsd.transports.notices import Notice
from opsd.transports.watch import Watch
from tests.transports.trees import Checkout, event

DEADLINE_S = 20


class Listener:
    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.heard: set[Notice] = set()

    def hear(self, notices: Set[Notice]) -> None:
        self.heard |= notices

    async def until(self, condition: Callable[[], object]) -> None:
        with anyio.fail_after(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 a status has no event to wait for
                await anyio.sleep(0.005)

    async def armed(self, times: int) -> None:
        await self.until(lambda: self.watch.status.armed and self.watch.status.armed_count >= times)

    async def hears(self, *notices: Notice) -> None:
        await self.until(lambda: self.heard.issuperset(notices))


@asynccontextmanager
async def watching(*roots: Path) -> AsyncIterator[Listener]:
    watch = Watch(Disk(), debounce_ms=10, step_ms=2, retry_s=0.05, settle_s=0.01)
    watch.set_roots(map(str, roots))
    listener = Listener(watch)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.run, listener.hear)
        await listener.armed(1)
        yield listener
        tasks.cancel_scope.cancel()


async def test_everything_is_told_once_the_watcher_is_armed(tmp_path: Path) -> None:
    """Nobody knows what happened before."""
    refs = [Checkout(tmp_path / name).ref for name in "ab"]

    async with watching(tmp_path / "a", tmp_path / "b") as listener:
        told = {Notice(ref.repo_path) for ref in refs} | {Notice(ref.repo_path, ref.loop_id) for ref in refs}
        await listener.hears(*told)
        assert listener.heard == told


async def test_changes_are_told_by_loop_and_by_checkout(tmp_path: Path) -> None:
    one, two = Checkout(tmp_path / "one"), Checkout(tmp_path / "two")
    async with watching(tmp_path / "one", tmp_path / "two") as listener:
        listener.heard.clear()

        one.append(event())
        two.write("state.json", {"active": True})

        await listener.hears(Notice(one.ref.repo_path, one.ref.loop_id), Notice(two.ref.repo_path))
        assert listener.heard == {Notice(one.ref.repo_path, one.ref.loop_id), Notice(two.ref.repo_path)}


async def test_a_file_replaced_by_rename_is_told(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    async with watching(tmp_path) as listener:
        listener.heard.clear()

        checkout.write("approval.json.tmp", {}).rename(checkout.folder / "approval.json")

        await listener.hears(Notice(str(tmp_path), checkout.ref.loop_id))


async def test_new_and_removed_loops_are_told(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, "old")
    async with watching(tmp_path) as listener:
        listener.heard.clear()

        (checkout.runtime / "loops" / "new").mkdir()
        shutil.rmtree(checkout.folder)

        await listener.hears(Notice(str(tmp_path), "new"), Notice(str(tmp_path), "old"))


async def test_role_logs_and_our_own_files_are_not_told(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    logs, own = checkout.folder / "logs", checkout.runtime / "ops-manager" / "demo-loop"
    logs.mkdir()
    own.mkdir(parents=True)
    async with watching(tmp_path) as listener:
        listener.heard.clear()

        (logs / "planner.log").write_text("output")
        (own / "state.json").write_text("{}")
        (checkout.folder / "plan.md").write_text("plan")
        checkout.write("config.json", {})
        await listener.hears(Notice(str(tmp_path)))

        assert listener.heard == {Notice(str(tmp_path))}


async def test_a_root_removed_and_made_again_is_watched_again(tmp_path: Path) -> None:
    """The operating system goes on watching the folder that is gone, without a word."""
    checkout = Checkout(tmp_path)
    async with watching(tmp_path) as listener:
        shutil.rmtree(checkout.runtime)
        await listener.armed(2)

        again = Checkout(tmp_path)
        await listener.armed(3)
        listener.heard.clear()
        again.append(event())

        await listener.hears(Notice(str(tmp_path), again.ref.loop_id))


async def test_a_runtime_folder_that_appears_later_is_found(tmp_path: Path) -> None:
    async with watching(tmp_path) as listener:
        checkout = Checkout(tmp_path)
        await listener.armed(2)
        checkout.append(event())
        await listener.hears(Notice(str(tmp_path), checkout.ref.loop_id))


async def test_roots_come_and_go_while_it_runs(tmp_path: Path) -> None:
    one, two = Checkout(tmp_path / "one"), Checkout(tmp_path / "two")
    async with watching(tmp_path / "one") as listener:
        listener.watch.set_roots([one.ref.repo_path])  # the same again is nothing new
        listener.watch.set_roots([two.ref.repo_path])
        await listener.hears(Notice(two.ref.repo_path))
        assert listener.watch.status.armed_count == 2

        listener.heard.clear()
        one.append(event())
        two.append(event())
        await listener.hears(Notice(two.ref.repo_path, two.ref.loop_id))
        assert not any(notice.repo_path == one.ref.repo_path for notice in listener.heard)


async def test_without_roots_there_is_nothing_to_be_blind_to() -> None:
    async with watching() as listener:
        assert listener.heard == set()


async def test_a_name_that_is_not_utf8_ends_a_watcher_and_not_the_watch(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    async with watching(tmp_path) as listener:
        os.mkdir(os.fsencode(checkout.runtime / "loops") + b"/\xff")
        await listener.armed(2)

        listener.heard.clear()
        checkout.append(event())
        await listener.hears(Notice(str(tmp_path), checkout.ref.loop_id))


async def test_only_what_is_newly_watched_is_told_when_armed_anew(tmp_path: Path) -> None:
    """A fleet of thousands must not be looked at because one loop came; the old watcher goes when the new one is in."""
    one, two = Checkout(tmp_path, "one"), tmp_path / ".superloop" / "loops" / "two"
    async with watching(tmp_path) as listener:
        await listener.hears(Notice(str(tmp_path), "one"))
        listener.heard.clear()

        two.mkdir()
        await listener.armed(2)
        (two / "events.jsonl").write_bytes(event())
        await listener.hears(Notice(str(tmp_path), "two"))
        assert listener.heard == {Notice(str(tmp_path), "two")}

        one.append(event())
        await listener.hears(Notice(str(tmp_path), "one"))


async def test_no_change_falls_between_two_watchers(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    async with watching(tmp_path) as listener:
        for number in range(2, 12):
            await listener.until(lambda: listener.watch.status.armed)
            listener.heard.clear()
            listener.watch.rearm()
            checkout.append(event())
            await listener.hears(Notice(str(tmp_path), checkout.ref.loop_id))
            await listener.armed(number)


async def test_a_folder_swapped_for_another_is_watched_after_rearming(tmp_path: Path) -> None:
    """Moving a whole checkout aside tells the watcher nothing; the sweep sees it and asks for rearming."""
    old = Checkout(tmp_path / "repo")
    async with watching(tmp_path / "repo") as listener:
        (tmp_path / "repo").rename(tmp_path / "aside")
        new = Checkout(tmp_path / "repo")
        listener.heard.clear()
        listener.watch.rearm()
        await listener.hears(Notice(new.ref.repo_path), Notice(new.ref.repo_path, new.ref.loop_id))

        listener.heard.clear()
        new.append(event())
        await listener.hears(Notice(old.ref.repo_path, new.ref.loop_id))


async def test_no_thread_outlives_it(tmp_path: Path) -> None:
    """Threads of the pool may stay; what runs in them may not."""
    Checkout(tmp_path)
    async with watching(tmp_path):
        assert any(_listens(frame) for frame in sys._current_frames().values())

    assert not any(_listens(frame) for frame in sys._current_frames().values())


def _listens(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "_listen":
            return True
        frame = frame.f_back
    return False


LIMITED = """
import sys, anyio
from opsd.disk import Disk
from opsd.transports.watch import Watch

async def main():
    watch = Watch(Disk(), debounce_ms=10, step_ms=2, retry_s=0.05)
    watch.set_roots([sys.argv[1]])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.run, lambda notices: None)
        with anyio.fail_after(20):
            while watch.status.reason is None or "cannot be watched" not in watch.status.reason:
                await anyio.sleep(0.005)
        print(watch.status.armed, watch.status.reason)
        tasks.cancel_scope.cancel()

anyio.run(main)
"""


def test_at_the_systems_limit_it_says_that_it_is_blind(tmp_path: Path) -> None:
    """In a user namespace of its own, so that the machine's limits stay as they are."""
    for number in range(20):
        Checkout(tmp_path, f"loop-{number}")
    limited = ["unshare", "-U", "-r", "sh", "-c", 'echo 5 > /proc/sys/user/max_inotify_watches && exec "$@"', "sh"]
    if subprocess.run([*limited, "true"], capture_output=True).returncode != 0:
        pytest.skip("user namespaces are not to be had here")

    done = subprocess.run(
        [*limited, sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, timeout=40
    )

    assert done.stdout.startswith("False file changes cannot be watched: "), done
    assert "limit" in done.stdout
