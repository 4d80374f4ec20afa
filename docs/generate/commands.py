"""`reference/commands.md`: every command with its arguments and exit codes, from the parsers that read them.

Laid out here rather than by argparse, whose own help differs with the terminal's width and Python's version.
"""

import argparse
from collections.abc import Iterator, Mapping, Set

from docs.generate.markdown import code, page, table
from opsctl.arguments import build_parser
from opsctl.exits import SAYS
from opsd.__main__ import build_parser as opsd_parser
from opsd.__main__ import launch_parser, run_parser, sim_parser, sprite_service_parser
from opsd.exits import ExitCode

_OPSCTL = """
`opsctl` asks a running opsd over its control socket. Data goes to stdout, notes to stderr. `-o json` is the daemon's
answer as it came; `jsonl` one row a line; `yaml` the same for people; `name` only the names, for other commands. Text
from runs is defused before it reaches a terminal.
"""


_OPSD = """
`opsd run` and `opsd sprite-service` stay in the foreground and log to stderr. Both take a flag for every
[setting](settings.md), and `--config` for a file of them; `opsd --repo HOME` is short for `opsd run --repo HOME`.
SIGTERM and Ctrl-C stop them, SIGHUP makes them read their settings again.
"""


def render() -> str:
    return page(
        "Commands",
        "`opsd/__main__.py`, `opsd/exits.py`, `opsctl/arguments.py`, `opsctl/acting.py` and `opsctl/exits.py`",
        "## opsd",
        _OPSD,
        table(("command", "what it does"), _overview(opsd_parser())),
        *_command(sprite_service_parser(), known=_settings()),
        *_command(launch_parser(), known=frozenset()),
        *_command(sim_parser(), known=frozenset()),
        "### opsd: exit codes",
        _exit_codes({each.value: each.says for each in ExitCode}),
        "## opsctl",
        _OPSCTL,
        *_program(build_parser()),
        "### opsctl: exit codes",
        _exit_codes({each.value: says for each, says in SAYS.items()}),
    )


def _settings() -> Set[str]:
    """The options that stand in the reference of settings; the repository belongs to the command itself."""
    options = {option for action in run_parser()._actions for option in action.option_strings}
    return options - {"--repo"}


def _program(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The options that all commands share, then each command."""
    general = [action for action in parser._actions if action.option_strings and action.dest != "help"]
    if general:
        yield f"### {parser.prog}: options of every command"
        yield table(("option", "meaning"), map(_row, general))
    known = {option for action in general for option in action.option_strings}
    for command in _commands(parser):
        yield from _command(command, known)


def _overview(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._get_subactions():
                yield code(f"{parser.prog} {choice.dest}"), choice.help or ""


def _commands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Every command; where one has commands of its own, those in its place."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return [one for below in action.choices.values() for one in _commands(below) or (below,)]
    return []


def _command(parser: argparse.ArgumentParser, known: Set[str]) -> Iterator[str]:
    """A command's synopsis, its own arguments and its examples; an argument whose name says all has no row."""
    own = [each for each in parser._actions if each.dest != "help" and known.isdisjoint(each.option_strings)]
    own.sort(key=lambda action: bool(action.option_strings))
    rows = [_row(action) for action in own if action.help]
    yield f"### {parser.prog}"
    yield parser.description or ""
    yield code(" ".join([parser.prog, *map(_synopsis, own)]))
    if rows:
        yield table(("argument", "meaning"), rows)
    if parser.epilog:
        lines = parser.epilog.removeprefix("examples:\n").splitlines()
        yield "\n".join(["```sh", *(line.strip() for line in lines), "```"])


def _synopsis(action: argparse.Action) -> str:
    name = _name(action)
    if not action.option_strings:
        return {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} [{name} ...]"}.get(str(action.nargs), name)
    given = action.option_strings[0] + (f" {name}" if name else "")
    return given if action.required else f"[{given}]"


def _name(action: argparse.Action) -> str:
    """What stands for the value; empty for a switch."""
    if action.nargs == 0:
        return ""
    if action.metavar is not None:
        return str(action.metavar)
    return "|".join(map(str, action.choices)) if action.choices else action.dest.upper()


def _row(action: argparse.Action) -> tuple[str, str]:
    listed = bool(action.choices) and action.metavar is None
    name = "" if listed else _name(action)
    shown = [f"{option} {name}".strip() for option in action.option_strings] or [_name(action)]
    says = (action.help or "") % vars(action)
    if listed and action.choices:
        says += f"; one of {', '.join(map(str, action.choices))}"
    return ", ".join(map(code, shown)), says


def _exit_codes(says: Mapping[int, str]) -> str:
    return table(("code", "meaning"), ((str(number), meaning) for number, meaning in says.items()))
