"""Files that a command is told to read by a flag."""

from typing import Final

from opsd.batch.command import CommandError, Outside

_BYTES_MAX: Final = 1 << 26


def read_told(path: str, outside: Outside) -> bytes | None:
    """All of the file; None where there is none.

    Raises:
        CommandError: it cannot be read, or is larger than 64 MiB.
    """
    try:
        stat, data = outside.files.read(path, 0, _BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror or error}") from None
    if stat.size_bytes > _BYTES_MAX:
        raise CommandError(f"{path} is {stat.size_bytes} bytes long, and no more than {_BYTES_MAX} are read")
    return data
