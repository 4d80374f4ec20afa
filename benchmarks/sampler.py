"""Where a program's CPU time goes, by sampling its threads from inside; it needs no other tool and costs 1 to 2 %.

`python -m benchmarks.sampler FILE MODULE [ARGUMENT ...]` runs the module as `python -m` would. Every few milliseconds
the CPU time that a thread has used since the last look is charged to what it is doing now. SIGUSR1 has it start anew:
a measured window can leave out what came before.
"""

import runpy
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import msgspec

EVERY_S = 0.002
_DEPTH_MAX = 60
# A thread found waiting has used its time since the last look in some burst that nobody saw.
_IDLE = frozenset({"select", "wait"})
_BURST = ("(in bursts between two looks)",)
_SHOWN = 40


class Sampler:
    """CPU seconds by thread and stack, innermost first as `file:line function`, of all Python threads but its own."""

    def __init__(self) -> None:
        self.cpu_s: dict[tuple[str, tuple[str, ...]], float] = defaultdict(float)
        self._before_ns: dict[int, int] = {}

    def look(self) -> None:
        frames = sys._current_frames()
        for thread in threading.enumerate():
            if thread is threading.current_thread() or thread.ident is None or thread.native_id is None:
                continue
            frame, now_ns = frames.get(thread.ident), _on_cpu_ns(thread.native_id)
            used_ns = now_ns - self._before_ns.get(thread.native_id, now_ns)
            self._before_ns[thread.native_id] = now_ns
            if frame is not None and used_ns > 0:
                stack = _BURST if frame.f_code.co_name in _IDLE else _stack(frame)
                self.cpu_s[thread.name, stack] += used_ns / 1e9


def _on_cpu_ns(native_id: int) -> int:
    try:
        with open(f"/proc/self/task/{native_id}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[0])
    except FileNotFoundError:
        return 0  # the thread has just ended


def _stack(frame: FrameType | None) -> tuple[str, ...]:
    found: list[str] = []
    while frame is not None and len(found) < _DEPTH_MAX:
        code = frame.f_code
        found.append(f"{_short(code.co_filename)}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return tuple(found)


def _short(path: str) -> str:
    """From the package on: where it is installed does not matter."""
    for mark in ("/site-packages/", "/opsd/", "/benchmarks/"):
        _, found, rest = path.rpartition(mark)
        if found:
            return rest if mark == "/site-packages/" else mark[1:] + rest
    return path.rpartition("/")[2]


@contextmanager
def sampling(path: str) -> Iterator[None]:
    """Sample this process while the block runs, and leave what was found in the file at `path`."""
    sampler, over = Sampler(), threading.Event()

    def watch() -> None:
        while not over.wait(EVERY_S):
            sampler.look()

    # At the default of 5 ms a sample would fall only where a thread gives way by itself, that is at its system calls.
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    thread = threading.Thread(target=watch, name="sampler", daemon=True)
    thread.start()
    before = signal.signal(signal.SIGUSR1, lambda *_: sampler.cpu_s.clear())
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
        sys.setswitchinterval(interval_s)
        with open(path, "wb") as file:
            samples = [(thread_name, stack, used_s) for (thread_name, stack), used_s in sampler.cpu_s.items()]
            file.write(msgspec.msgpack.encode(samples))


def top(path: str) -> str:
    """What a sampled file says, for people: the time spent itself, under which functions, and in which threads."""
    with open(path, "rb") as file:
        samples = msgspec.msgpack.decode(file.read(), type=list[tuple[str, tuple[str, ...], float]])
    itself: dict[str, float] = defaultdict(float)
    below: dict[str, float] = defaultdict(float)
    threads: dict[str, float] = defaultdict(float)
    for thread, stack, used_s in samples:
        threads[thread] += used_s
        itself[stack[0]] += used_s
        for function in {_function(call) for call in stack}:
            below[function] += used_s
    total_s = sum(itself.values())
    return "\n".join(
        (
            f"CPU of Python threads: {total_s:.2f} s",
            "itself:",
            *_largest(itself, total_s),
            "with all that it calls:",
            *_largest(below, total_s),
            "by thread:",
            *_largest(threads, total_s),
        )
    )


def _function(call: str) -> str:
    place, _, name = call.partition(" ")
    return f"{place.rpartition(':')[0]} {name}"


def _largest(used_s: Mapping[str, float], total_s: float) -> Iterator[str]:
    for what in sorted(used_s, key=used_s.__getitem__, reverse=True)[:_SHOWN]:
        yield f"  {100 * used_s[what] / total_s:5.1f} %  {what}"


def main() -> None:
    _, path, module, *arguments = sys.argv
    sys.argv = [module, *arguments]
    with sampling(path):
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
