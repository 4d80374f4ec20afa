"""What every parser of the command line is made of: its form, the options that all share, the kinds of values."""

import argparse

from opsctl.output import JSON, JSONL, NAME, TABLE, YAML

EVERY_FORM = (TABLE, JSON, JSONL, YAML, NAME)


class Help(argparse.RawDescriptionHelpFormatter):
    """Of a fixed width: argparse makes one for each argument, which would load a module to measure the screen."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=100)


class Parser(argparse.ArgumentParser):
    """Says how to get help with every complaint."""

    def error(self, message: str) -> None:  # type: ignore[override]  # exit() does not return, as the base has it
        self.exit(2, f"opsctl: {message}\ntry: {self.prog} --help\n")


def add_general(parser: argparse.ArgumentParser, default: object) -> None:
    """Options that may stand before or behind the command."""
    parser.add_argument("--socket", metavar="PATH", default=default, help="the daemon's socket")
    parser.add_argument(
        "--answer-within", metavar="SECONDS", type=seconds, default=default, help="how long an answer may take (10)"
    )


def command(
    commands: "argparse._SubParsersAction[Parser]",
    name: str,
    says: str,
    examples: str,
    forms: tuple[str, ...] = EVERY_FORM,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=says,
        description=says[0].upper() + says[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=Help,
    )
    add_general(parser, argparse.SUPPRESS)
    parser.add_argument("-o", "--output", choices=forms, default=forms[0], help="the form of the answer (%(default)s)")
    if TABLE in forms:
        parser.add_argument("--no-headers", action="store_true", help="only the rows of a table")
    return parser


def count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"'{text}' is no count from 1 to 10000")
    return int(text)


def seconds(text: str) -> float:
    """`90`, `1.5`, `90s`, `10m`, `2h`, `1d`."""
    number, factor = (text[:-1], _FACTORS[text[-1]]) if text[-1:] in _FACTORS else (text, 1)
    try:
        total_s = float(number) * factor
    except ValueError:
        total_s = -1.0
    if not 0 < total_s < 1e7:
        raise argparse.ArgumentTypeError(f"'{text}' is no time such as 90, 10m, 2h")
    return total_s


_FACTORS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
