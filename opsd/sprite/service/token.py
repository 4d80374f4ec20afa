"""The one token of the service: where it is read, when it is read anew, and whether what came with a request is it.

Its text is in no message, no log line and no representation. What is asked of requests is `app`.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable

from opsd.logs import logger
from opsd.ports import Files, FileStat

_BYTES_MAX = 8_192
_SENDABLE = re.compile(rb"[\x21-\x7e]+\Z")


class TokenUnusable(Exception):  # noqa: N818  it says what the token is
    """There is none to be had; the message says where, and never what."""


class Token:
    """The token in a file, which may be rotated at any time, or one that was given for good; None: none is needed.

    While its file cannot be read, or holds none, nobody is let in.
    """

    def __init__(self, files: Files, *, path: str | None, value: str | None) -> None:
        self._files = files
        self._path = path
        self._value = value.encode("utf-8", "surrogateescape") if value and path is None else None
        self._seen: FileStat | None = None
        self._is_told = False

    def __repr__(self) -> str:
        return "<token>"

    @property
    def is_needed(self) -> bool:
        return self._path is not None or self._value is not None

    def check(self) -> None:
        """
        Raises:
            TokenUnusable: what there is cannot be sent in a header, or is not there at all.
        """
        if self._path is not None:
            self._value, self._seen = self._read(self._path)
        elif self._value is not None and not _SENDABLE.match(self._value):
            raise TokenUnusable("the token holds blanks or characters that no header can carry")

    def is_among(self, presented: Iterable[bytes]) -> bool:
        """Whether one of these is the token as it is now. Takes the same time for every wrong one."""
        current = self._current()
        if current is None:
            return False
        wanted = hashlib.sha256(current).digest()
        found = False
        for each in presented:
            found |= hmac.compare_digest(hashlib.sha256(each).digest(), wanted)
        return found

    def _current(self) -> bytes | None:
        if self._path is None:
            return self._value
        try:
            seen = self._files.stat(self._path)
            if seen != self._seen or seen is None:
                self._value, self._seen = self._read(self._path)
        except (OSError, TokenUnusable) as error:
            self._value = self._seen = None
            if not self._is_told:
                self._is_told = True
                logger().error("sprite.token_unusable", path=self._path, problem=str(error))
            return None
        self._is_told = False
        return self._value

    def _read(self, path: str) -> tuple[bytes, FileStat]:
        try:
            stat, data = self._files.read(path, 0, _BYTES_MAX)
        except OSError as error:
            raise TokenUnusable(f"the token file {path} cannot be read: {error.strerror or error}") from None
        value = data.strip()
        if not value:
            raise TokenUnusable(f"the token file {path} is empty")
        if not _SENDABLE.match(value):
            raise TokenUnusable(f"the token in {path} holds blanks or characters that no header can carry")
        return value, stat
