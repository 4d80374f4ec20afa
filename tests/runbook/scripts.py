"""The scripts as existing tooling calls them: from anywhere, and with standard error joined to standard output."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

from opsd.sim.player import KEEPER
from tests.docs.prose import ROOT

LIMIT_S = 60.0
"""Only a failure takes so long."""


class Told(NamedTuple):
    """The exit code, and everything that was printed, wherever."""

    code: int
    text: str

    @property
    def document(self) -> Any:
        """All that was printed is this one document."""
        try:
            return json.loads(self.text)
        except ValueError:
            raise AssertionError(f"exit {self.code}: {self.text}") from None


def script(name: str, *words: str, variables: Mapping[str, str] | None = None) -> Told:
    """`scripts/ops-manager-NAME.sh WORDS`, without anything of this process's environment but a way to the tools."""
    done = subprocess.run(
        [f"{ROOT}/scripts/ops-manager-{name}.sh", *words],
        cwd=tempfile.gettempdir(),
        env={"PATH": "/usr/bin:/bin", KEEPER: str(os.getpid()), **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return Told(done.returncode, done.stdout)
