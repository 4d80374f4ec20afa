"""`opsctl completion bash|zsh`: a script for the shell; names are asked of the daemon while one types."""

import argparse

import shtab

from opsctl.exits import Exit
from opsctl.output import Output

# A daemon that does not answer at once must not hold up the keyboard.
_ASKED = "opsctl --answer-within 0.5 {} -o name 2>/dev/null"
_LISTED = {"loops": "status", "intents": "intents -n 200"}
# Names come from folders that runs make. The shell must not expand one, so only plain ones are offered, one by one;
# bash's `compgen -W` would carry out a `$(...)` in them.
_BASH = """
_opsctl_{what}() {{
  local name
  {ask} | while IFS= read -r name; do
    [[ $name == "$1"* && $name =~ ^[A-Za-z0-9_@+=,:~%.-]+$ ]] && printf '%s\\n' "$name"
  done
}}
"""
_ZSH = """
_opsctl_{what}() {{
  local -a names
  names=("${{(@f)$({ask})}}")
  compadd -a names
}}
"""
_FUNCTIONS = {"bash": _BASH, "zsh": _ZSH}
_OFFERED = {"LOOP": "_opsctl_loops", "ID": "_opsctl_intents"}


def run(parser: argparse.ArgumentParser, out: Output, shell: str) -> Exit:
    _mark(parser)
    preamble = "".join(
        _FUNCTIONS[shell].format(what=what, ask=_ASKED.format(listing)) for what, listing in _LISTED.items()
    )
    out.text(shtab.complete(parser, shell, preamble=preamble))
    return Exit.OK


def _mark(parser: argparse.ArgumentParser) -> None:
    """Every argument that is a name of a loop or an intent is completed with those that there are."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                _mark(below)
        elif action.metavar in _OFFERED:
            function = _OFFERED[str(action.metavar)]
            action.complete = dict.fromkeys(_FUNCTIONS, function)  # type: ignore[attr-defined]  # so shtab is told
