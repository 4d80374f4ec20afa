"""One-shot commands as their callers see them: words in; exit code, standard output and standard error out."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from opsd.batch.__main__ import main


class Done(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document of a command that succeeded as the contract has it: nothing beside it, nowhere."""
        assert self.err == ""
        assert self.out.endswith("\n")
        return json.loads(self.out)


def run(*words: str) -> Done:
    """`ops-manager WORDS` in this process, which is much faster than one of its own."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as ended:  # `--help` ends the process
            code = int(ended.code or 0)
    out.flush()
    return Done(code, out.buffer.getvalue().decode(), err.getvalue())


def spawn(*words: str, variables: Mapping[str, str] | None = None, timeout_s: float = 30.0) -> Done:
    """The same in a process of its own, with these variables beside those of this one."""
    told = {name: value for name, value in os.environ.items() if not name.startswith("OPS_MANAGER_")}
    done = subprocess.run(
        [sys.executable, "-I", "-m", "opsd.batch", *words],
        env={**told, **(variables or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
