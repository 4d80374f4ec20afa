"""The one reader of environment variables in the client."""

import os


def socket_path() -> str | None:
    """`OPSD_SOCKET`, or None where it is not set or empty."""
    return os.environ.get("OPSD_SOCKET") or None


def wants_plain() -> bool:
    """Whether `NO_COLOR` is set to anything, or the terminal is a dumb one (https://no-color.org)."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
