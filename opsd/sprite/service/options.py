"""What can be said of the service alone; everything else is a setting of the daemon (`opsd.settings`).

There is no flag for the token itself: command lines are there for everybody to read.
"""

import argparse
import ipaddress
import os
from collections.abc import Mapping

import msgspec

TOKEN_VARIABLE = "OPS_MANAGER_SERVICE_TOKEN"
"""The contract's. Source: control-and-service 9.1."""
CREDENTIAL = "ops-manager-token"
"""The name of the systemd credential (`LoadCredential=`)."""
_CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"


class UnusableOptions(Exception):  # noqa: N818  it says what the options are
    """The service cannot be started like this; the message names the flag and the remedy."""


class Options(msgspec.Struct, frozen=True):
    """Where to listen, and where the token is: in `token_file`, else in `token_variable` (the variable's value)."""

    host: str = "127.0.0.1"
    port: int = 8787
    token_file: str | None = None
    token_variable: str | None = None
    insecure_no_token: bool = False

    def __repr__(self) -> str:
        return f"<options of the service at {self.host}:{self.port}>"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default 127.0.0.1)")
    parser.add_argument("--port", default=8787, type=_port, metavar="PORT", help="0 takes any free one (default 8787)")
    parser.add_argument(
        "--token-file",
        default=None,
        metavar="FILE",
        help="the file that holds the token, read anew when it changes; by default the systemd credential "
        f"{CREDENTIAL}, then the variable {TOKEN_VARIABLE}",
    )
    parser.add_argument(
        "--insecure-no-token",
        action="store_true",
        default=False,
        help="serve whoever can connect, without a token; on a loopback address only",
    )


def read(given: Mapping[str, object], variables: Mapping[str, str]) -> Options:
    """The options from the parsed arguments and the environment.

    Raises:
        UnusableOptions: there is no token, and nobody said that there need be none.
    """
    token_file = str(given["token_file"]) if given["token_file"] is not None else _credential(variables)
    options = Options(
        host=str(given["host"]),
        port=msgspec.convert(given["port"], int),
        token_file=token_file,
        token_variable=(variables.get(TOKEN_VARIABLE) or "").strip() or None,
        insecure_no_token=bool(given["insecure_no_token"]),
    )
    if options.insecure_no_token and not _is_loopback(options.host):
        raise UnusableOptions(
            f"--insecure-no-token goes with a loopback address only, and --host is {options.host}; give a token with "
            f"--token-file or {TOKEN_VARIABLE}"
        )
    if not options.insecure_no_token and options.token_file is None and options.token_variable is None:
        raise UnusableOptions(
            f"there is no token; give one with --token-file FILE, the systemd credential {CREDENTIAL} or the variable "
            f"{TOKEN_VARIABLE}, or say --insecure-no-token on a loopback address"
        )
    return options


def _credential(variables: Mapping[str, str]) -> str | None:
    """Where the token lies as a systemd credential; None where systemd was not told of one."""
    folder = variables.get(_CREDENTIALS_VARIABLE)
    path = f"{folder}/{CREDENTIAL}"
    return path if folder and os.path.isfile(path) else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give a whole number from 0 to 65535")
    return port
