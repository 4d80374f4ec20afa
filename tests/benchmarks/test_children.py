"""The processes around the daemon, for real: each is started, does its part, and leaves what it found."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.child import Child, found
from benchmarks.observer import ObserverTask, Sighting
from benchmarks.runtime import Role, RuntimeTask, Stamp
from benchmarks.sampler import sampling, top
from benchmarks.scratch import part, scratch
from benchmarks.usage import cpu_s, memory


def state_saying(line: int) -> bytes:
    return msgspec.json.encode({"cursor": {"eventLineOffset": line, "eventLineCount": line}})


def test_the_observer_notes_every_replaced_state_file(tmp_path: Path) -> None:
    """It must see a file that is renamed into place, and pass over all others."""
    folder = tmp_path / "loop"
    folder.mkdir()
    sightings = str(tmp_path / "sightings")

    with Child("observer", ObserverTask({"loop": str(folder)}, sightings), str(tmp_path)) as observer:
        observer.hear("ready", within_s=20)
        for name, line in (("state.json", 4), ("health.json", 9), ("state.json", 6)):
            (folder / "new").write_bytes(state_saying(line))
            os.rename(folder / "new", folder / name)
        observer.stop()

    seen = found(sightings, list[Sighting])
    # Both renames may lie behind us when the first is told of: then the file says 6 twice.
    assert [one.line for one in seen] in ([4, 6], [6, 6])
    assert seen[0].at_ns <= seen[1].at_ns


def test_the_runtime_lays_a_tree_down_plays_it_and_is_the_process_it_names(tmp_path: Path) -> None:
    """A loop whose process is not alive would be judged a crashed one, and be another load altogether."""
    repo, stamps = tmp_path / "repo", str(tmp_path / "stamps")
    task = RuntimeTask((Role(str(repo), "loop", "steady", "iteration-1"),), stamps, rate=1e6, events=7)

    with Child("runtime", task, str(tmp_path)) as runtime:
        runtime.hear("ready", within_s=20)
        active_run = msgspec.json.decode((repo / ".superloop/active-run.json").read_bytes())
        laid_down = len((repo / ".superloop/loops/loop/events.jsonl").read_bytes().splitlines())
        runtime.say("0")
        runtime.hear("done", within_s=20)
        pid = runtime.pid

    assert active_run["pid"] == pid
    assert [stamp.line for stamp in found(stamps, list[Stamp])] == list(range(laid_down + 1, laid_down + 8))


def test_a_child_that_dies_is_said_to_have_died(tmp_path: Path) -> None:
    """A watcher without a daemon must end the benchmark, not leave it waiting."""
    with (
        Child("observer", ObserverTask({"loop": str(tmp_path / "missing")}, ""), str(tmp_path)) as observer,
        pytest.raises(RuntimeError, match=r"benchmarks\.observer: no 'ready'"),
    ):
        observer.hear("ready", within_s=20)


def test_cpu_and_memory_are_those_of_the_process_asked_about(tmp_path: Path) -> None:
    """Counted by the kernel and from outside, whatever the process says of itself."""
    script = "import sys; x = bytearray(50_000_000)\nfor _ in range(3_000_000): pass\nprint('on', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        assert busy.stdout.readline() == b"on\n"
        used, held = cpu_s(busy.pid), memory(busy.pid)
        busy.communicate(b"\n")

    assert used > 0
    assert held.peak_mb >= held.now_mb > 50


def test_the_sampler_charges_the_function_that_was_busy(tmp_path: Path) -> None:
    path = str(tmp_path / "samples")

    with sampling(path):
        spin(1_000_000)
        os.kill(os.getpid(), signal.SIGUSR1)
        spin_more(3_000_000)

    assert "test_children.py spin_more" in top(path)
    assert "test_children.py spin\n" not in top(path)


def spin(rounds: int) -> None:
    for _ in range(rounds):
        pass


def spin_more(rounds: int) -> None:
    for _ in range(rounds):
        pass


def test_scratch_is_gone_afterwards_and_refuses_what_the_disk_has_no_room_for(tmp_path: Path) -> None:
    with scratch(str(tmp_path)) as folder:
        Path(part(folder, "small", size_bytes=1, files=1), "left").write_text("behind")
        with pytest.raises(OSError, match="--scratch"):
            part(folder, "large", size_bytes=1 << 60, files=1)

    assert list(tmp_path.iterdir()) == []
