"""Files that a command is told of by a flag: to read, or to replace."""

from typing import Final

from opsd.batch.command import CommandError, Outside

_BYTES_MAX: Final = 1 << 26


def read_told(path: str, outside: Outside) -> bytes | None:
    """All of the file; None where there is none. Pipes and `/dev/stdin` are read to their end.

    Raises:
        CommandError: it cannot be read, or is larger than 64 MiB.
    """
    try:
        stat = outside.files.stat(path)
        if stat is None:
            return None
        if stat.kind == "other":
            with open(path, "rb") as pipe:
                data = pipe.read(_BYTES_MAX + 1)
        else:
            data = outside.files.read(path, 0, _BYTES_MAX + 1)[1]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(data) > _BYTES_MAX:
        raise CommandError(f"{path} is larger than {_BYTES_MAX} bytes, and no more are read")
    return data


def check_replaceable(flag: str, path: str, outside: Outside) -> None:
    """Whether a file may be put at `path`: what is no file there, such as `/dev/null`, must not be put away for it.

    Raises:
        CommandError: it may not.
    """
    try:
        stat = outside.files.stat(path)
    except OSError as error:
        raise CommandError(f"{flag} {path}: {error.strerror or error}") from None
    if stat is not None and stat.kind != "file":
        raise CommandError(f"{flag} {path} is there, and no regular file, which would be replaced; name another")
