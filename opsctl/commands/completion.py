"""`opsctl completion bash|zsh`: a script for the shell; loop names are asked of the daemon while one types."""

import argparse

import shtab

from opsctl.exits import Exit
from opsctl.output import Output

# A daemon that does not answer at once must not hold up the keyboard.
_ASK = "opsctl --answer-within 0.5 status -o name 2>/dev/null"
# Names come from folders that runs make. The shell must not expand one, so only plain ones are offered, one by one;
# bash's `compgen -W` would carry out a `$(...)` in them.
_BASH = f"""
_opsctl_loops() {{
  local loop
  {_ASK} | while IFS= read -r loop; do
    [[ $loop == "$1"* && $loop =~ ^[A-Za-z0-9_@+=,:~%.-]+$ ]] && printf '%s\\n' "$loop"
  done
}}
"""
_ZSH = f"""
_opsctl_loops() {{
  local -a loops
  loops=("${{(@f)$({_ASK})}}")
  compadd -a loops
}}
"""
_PREAMBLES = {"bash": _BASH, "zsh": _ZSH}
_LOOPS = {"bash": "_opsctl_loops", "zsh": "_opsctl_loops"}


def run(parser: argparse.ArgumentParser, out: Output, shell: str) -> Exit:
    _mark(parser)
    out.text(shtab.complete(parser, shell, preamble=_PREAMBLES[shell]))
    return Exit.OK


def _mark(parser: argparse.ArgumentParser) -> None:
    """Every argument that is a loop's name is completed with the live ones."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                _mark(below)
        elif action.metavar == "LOOP":
            action.complete = _LOOPS  # type: ignore[attr-defined]  # this is how shtab is told
