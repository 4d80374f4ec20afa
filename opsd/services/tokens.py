"""Tokens by name: from a file that an operator can rotate, from a systemd credential, or from the environment.

A token is never part of a message, a log line or a record. Which name a service's token has, the registry says.
"""

import re
from collections.abc import Mapping, Sequence

from opsd.model.observation import UnreachableCause
from opsd.ports import Files, Offload
from opsd.services.message import Trouble

DEFAULT_NAME = "OPS_MANAGER_SERVICE_TOKEN"
"""The contract's variable, for services that name none; without it they are asked without a token."""
_TOKEN_BYTES_MAX = 8_192
_SAFE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}\Z")
_SENDABLE = re.compile(r"[\x21-\x7e]+\Z")


class Token:
    """A secret that shows itself only to who asks for it by name."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "<token>"


class Tokens:
    """`folders` are searched in order for a file of the token's name, then `variables` for a variable.

    A token is read once, and anew by `again`.
    """

    def __init__(self, files: Files, offload: Offload, *, folders: Sequence[str], variables: Mapping[str, str]) -> None:
        self._files = files
        self._offload = offload
        self._folders = folders
        self._variables = variables
        self._known: dict[str, Token | None] = {}

    async def get(self, name: str | None) -> Token | Trouble | None:
        """None where a service that names no token needs none; trouble where a named one is not to be had."""
        wanted = name or DEFAULT_NAME
        if wanted in self._known:
            return self._known[wanted]
        return await self.again(name)

    async def again(self, name: str | None) -> Token | Trouble | None:
        """The same, read anew: a token may have been rotated."""
        wanted = name or DEFAULT_NAME
        if not _SAFE_NAME.match(wanted):
            return _not_to_be_had(f"{wanted!a} cannot name a token: use letters, digits, '_', '.' and '-'")
        try:
            value = await self._offload.run(lambda: self._read(wanted))
        except (OSError, UnicodeDecodeError) as error:
            why = (error.strerror or str(error)) if isinstance(error, OSError) else "it is not text"
            return _not_to_be_had(f"the token {wanted} cannot be read: {why}")
        if not value and name is not None:
            files = "".join(f", or the file {folder}/{wanted}" for folder in self._folders)
            return _not_to_be_had(f"there is no token {wanted}; set the variable of that name{files}")
        if value and not _SENDABLE.match(value):
            return _not_to_be_had(f"the token {wanted} holds blanks or characters that cannot be sent")
        token = self._known[wanted] = Token(value) if value else None
        return token

    def _read(self, name: str) -> str:
        for folder in self._folders:
            try:
                _, data = self._files.read(f"{folder}/{name}", 0, _TOKEN_BYTES_MAX)
            except (FileNotFoundError, NotADirectoryError):
                continue
            return data.decode().strip()
        return self._variables.get(name, "").strip()


def _not_to_be_had(problem: str) -> Trouble:
    return Trouble("no_token", problem, UnreachableCause.SERVICE_UNAUTHORIZED, is_sent=False)
