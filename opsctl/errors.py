"""What can go wrong between the command line and the daemon, each with its exit code and its remedy.

OpsctlError             nothing to show; says why and what to do
├── UnreachedError      no connection: no socket, no permission, or nobody behind it
├── LostError           connected, and the answer broke off or did not come
├── RefusedError        the daemon answered with one of its error codes
└── UsageError          the command line asks for something that there is not
"""

from opsctl.exits import Exit

# Error codes of the API that have an exit code of their own; others go by the HTTP status.
_EXIT_OF_CODE = {
    "unknown_loop": Exit.UNKNOWN_LOOP,
    "not_permitted": Exit.DENIED,
    "no_peer_identity": Exit.DENIED,
    "loop_not_managed": Exit.NO,
    "not_found": Exit.NO,
    "unknown_intent": Exit.NO,
    "not_ambiguous": Exit.NO,
    "cannot_switch": Exit.NO,
    "unknown_profile": Exit.NO,
    "unusable_profile": Exit.NO,
    "idempotency_conflict": Exit.USAGE,
    "store_unwritable": Exit.REFUSED,
}


class OpsctlError(Exception):
    """`remedy` is what to do next, as a command where there is one."""

    def __init__(self, exit_code: Exit, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.message = message
        self.remedy = remedy


class UnreachedError(OpsctlError):
    pass


class LostError(OpsctlError):
    def __init__(self, message: str, exit_code: Exit = Exit.DAEMON_ERROR) -> None:
        super().__init__(exit_code, message, "look how opsd is: opsctl version; journalctl -u opsd -e")


class RefusedError(OpsctlError):
    """`status` is HTTP's, `code` one of the API's stable codes."""

    def __init__(self, status: int, code: str, message: str) -> None:
        fallback = Exit.USAGE if status < 500 else Exit.DAEMON_ERROR
        super().__init__(_EXIT_OF_CODE.get(code, fallback), message)
        self.status = status
        self.code = code


class UsageError(OpsctlError):
    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(Exit.USAGE, message, remedy)
