"""`opsd`: the daemon, the service inside a sprite, the launcher, the simulator, the demo.

Parses the command line and hands over. Imports only what is asked for, because a launcher runs beside every loop. Which
code the process ends with is `opsd.exits`; what may be set is `opsd.settings`.
"""

import argparse
import sys
from collections.abc import Sequence

from opsd import VERSION
from opsd.exits import ExitCode, table

COMMANDS = ("run", "sprite-service", "launch", "sim", "demo", "version")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code. `opsd --repo HOME` is short for `opsd run --repo HOME`."""
    given = list(sys.argv[1:] if argv is None else argv)
    match given:
        case ["version"] | ["--version"]:
            print(f"opsd {VERSION}")
            return ExitCode.OK
        case ["sim", *rest]:
            return _sim(rest)
        case ["demo", *rest]:
            return _demo(rest)
        case ["run", *rest]:
            return _run(rest)
        case ["sprite-service", *rest]:
            return _sprite_service(rest)
        case ["launch", *rest]:
            return _launch(rest)
        case [first, *_] if first.startswith("-") and first not in ("-h", "--help"):
            return _run(given)
        case _:
            return _help(given)


def build_parser() -> argparse.ArgumentParser:
    """The commands and what they do; what each of them takes, its own parser knows."""
    parser = argparse.ArgumentParser(
        prog="opsd",
        description="The operations manager for Superloop loop runs.",
        epilog=f"`opsd --repo HOME` is short for `opsd run --repo HOME`. Exit codes:\n{table()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    commands.add_parser("run", help="supervise the loops of a home (`opsd run --help` lists every setting)")
    commands.add_parser("sprite-service", help="serve one repository over HTTP to a manager elsewhere")
    commands.add_parser("launch", help="begin a loop's run, and keep its heartbeat until it ends")
    commands.add_parser("sim", help="play a fleet of simulated runs")
    commands.add_parser("demo", help="a simulated fleet, supervised live for a minute")
    commands.add_parser("version", help="print the version")
    return parser


def run_parser() -> argparse.ArgumentParser:
    """`opsd run`: a flag for every setting, and the file in which they may stand."""
    parser = argparse.ArgumentParser(
        prog="opsd run",
        description="Supervise the loops of a home until SIGTERM; SIGHUP reads the settings again.",
        epilog=f"Exit codes:\n{table()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    _add_settings(parser)
    return parser


def sprite_service_parser() -> argparse.ArgumentParser:
    """`opsd sprite-service`: what `opsd run` takes, and where to listen for whom."""
    from opsd.sprite.service import options

    parser = argparse.ArgumentParser(
        prog="opsd sprite-service",
        description="Serve one repository over HTTP to a manager elsewhere, and carry out what it asks. The repository "
        "is home and checkout in one: its loops are what lies in it. Every setting of `opsd run` may be given as well.",
        epilog="examples:\n  opsd sprite-service --repo /srv/docs --host 0.0.0.0 --token-file /run/opsd/token",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    options.add_arguments(parser)
    _add_settings(parser)
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    from opsd import settings

    parser.add_argument("--config", metavar="FILE", help="a TOML file with settings (OPSD_CONFIG)")
    for name, says, is_switch in settings.flags():
        action: dict[str, object] = {"action": argparse.BooleanOptionalAction} if is_switch else {"metavar": "VALUE"}
        parser.add_argument(settings.flag(name), dest=name, help=says.replace("%", "%%"), **action)  # type: ignore[arg-type]  # two forms of one call


def launch_parser() -> argparse.ArgumentParser:
    from opsd.sprite import plan

    parser = argparse.ArgumentParser(
        prog="opsd launch",
        description="Begin a loop's run, and keep its heartbeat until it ends. The exit code is the run's, 128 and the "
        "number of the signal that ended it, 2 for a request that makes no sense, 126 or 127 where the command cannot "
        "be begun. SIGTERM, SIGINT and SIGHUP are passed on to the run; SIGKILL leaves it running.",
        epilog="examples:\n  opsd launch --repo /srv/docs --loop docs-17 -- superloop.sh run --loop docs-17",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    plan.add_arguments(parser)
    return parser


def sim_parser() -> argparse.ArgumentParser:
    from opsd.sim import cli

    parser = argparse.ArgumentParser(prog="opsd sim", description="Play a fleet of simulated runs.")
    cli.add_arguments(parser)
    return parser


def _help(given: Sequence[str]) -> int:
    build_parser().parse_args(given)  # ends the process: with help, or saying what is wrong
    return ExitCode.USAGE


def _run(given: Sequence[str]) -> int:
    from opsd import environ, settings

    flags = vars(run_parser().parse_args(given))
    config = flags.pop("config", None)
    variables = environ.variables()

    def load() -> settings.Loaded:
        return settings.load(flags, config=config, environment=variables)

    try:
        loaded = load()
    except settings.SettingsError as error:
        return _unusable(error.problems)

    from opsd import daemon
    from opsd.systemd import Systemd

    return daemon.run(loaded, reload=load, variables=variables, systemd=Systemd(environ.take_systemd_variables()))


def _sprite_service(given: Sequence[str]) -> int:
    from opsd import settings
    from opsd.sprite.service import command

    try:
        return command.run(vars(sprite_service_parser().parse_args(given)))
    except settings.SettingsError as error:
        return _unusable(error.problems)


def _unusable(problems: Sequence[str]) -> int:
    for problem in problems:
        print(f"opsd: {problem}", file=sys.stderr)
    return ExitCode.USAGE


def _launch(given: Sequence[str]) -> int:
    from opsd.sprite import launch

    return launch.run(launch_parser().parse_args(given))


def _sim(given: Sequence[str]) -> int:
    from opsd.sim import cli

    return cli.run(sim_parser().parse_args(given))


def _demo(given: Sequence[str]) -> int:
    from opsd.sim import demo

    return int(demo.main(given))


if __name__ == "__main__":
    sys.exit(main())
