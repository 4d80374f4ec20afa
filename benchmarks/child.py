"""A measuring process and the short dialogue with it: it says `ready` and `done`, and is told to begin and to stop.

Each child is `python -m benchmarks.<module> <file>`, where the file holds its task as JSON; what it found it leaves in
a file that the task names. It ends when its input ends. The first half is the parent's side, the second the child's.
"""

import os
import select
import subprocess
import sys
import time
from types import TracebackType
from typing import Self, TypeVar

import msgspec

Found = TypeVar("Found")
END_S = 30.0


class Child:
    """Starts at once, and is gone when the block is left."""

    def __init__(self, module: str, task: msgspec.Struct, folder: str) -> None:
        self._module = module
        task_file = os.path.join(folder, f"{module}.task.json")
        with open(task_file, "wb") as file:
            file.write(msgspec.json.encode(task))
        words = [sys.executable, "-m", f"benchmarks.{module}", task_file]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_S if kind is None else 1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()

    def stop(self) -> None:
        """Returns once what the child found is on file."""
        self.say("stop")
        self.hear("done", within_s=END_S)

    def hear(self, word: str, *, within_s: float) -> None:
        """Wait for the child's next line, which must be `word`.

        Raises:
            RuntimeError: it said something else, died, or said nothing in time.
        """
        stdout = self._process.stdout
        assert stdout is not None
        deadline_s = time.monotonic() + within_s
        said = b""
        while not said.endswith(b"\n"):
            readable, _, _ = select.select([stdout], [], [], max(0.0, deadline_s - time.monotonic()))
            byte = os.read(stdout.fileno(), 1) if readable else b""
            if not byte:
                raise RuntimeError(f"benchmarks.{self._module}: no {word!r} within {within_s} s, only {said!r}")
            said += byte
        if said.decode().strip() != word:
            raise RuntimeError(f"benchmarks.{self._module}: expected {word!r}, got {said!r}")


def found(path: str, kind: type[Found]) -> Found:
    """What a child left in a file."""
    with open(path, "rb") as file:
        return msgspec.msgpack.decode(file.read(), type=kind)


def task(kind: type[Found]) -> Found:
    """The task that this process was started for."""
    with open(sys.argv[1], "rb") as file:
        return msgspec.json.decode(file.read(), type=kind)


def tell(word: str) -> None:
    """What the parent hears."""
    print(word, flush=True)


def leave(path: str, what: object) -> None:
    """Leave what was found, say so, and wait for the end of input."""
    with open(path, "wb") as file:
        file.write(msgspec.msgpack.encode(what))
    tell("done")
    sys.stdin.read()


def stopped() -> bool:
    """Whether the parent has said `stop`, without waiting for it."""
    return bool(select.select([sys.stdin], [], [], 0)[0])
