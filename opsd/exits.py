"""With which code `opsd` ends, and what each means to whoever started it."""

from enum import IntEnum


class ExitCode(IntEnum):
    says: str

    def __new__(cls, value: int, says: str = "") -> "ExitCode":
        member = int.__new__(cls, value)
        member._value_ = value
        member.says = says
        return member

    OK = 0, "it was asked to stop and did, with everything written"
    FAULT = 1, "a fault of ours ended it; the log says where"
    USAGE = 2, "a flag, variable or setting cannot be used; the message names it and the remedy"
    LOCKED = 3, "another process works on this home, or answers on its socket; the message names it"
    UNUSABLE = 4, "the home or the socket's folder cannot be used; the message says what to mend"
    GAVE_UP = 5, "a part of the daemon failed again and again, so it could not do its work"
    UNWRITTEN = 6, "it stopped, but not everything could be written; the next start reads the logs again from there"


def table() -> str:
    """For `--help` and the reference."""
    return "\n".join(f"  {code.value}  {code.says}" for code in ExitCode)
