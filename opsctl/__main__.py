"""`opsctl`: the process. It turns whatever happens into an exit code and a message with a remedy."""

import os
import sys

from opsd import VERSION


def main() -> int:
    """The exit code for this command line; `opsctl.exits` says what each means."""
    if sys.argv[1:] == ["--version"]:
        print(f"opsctl {VERSION}")
        return 0
    from opsctl.errors import OpsctlError
    from opsctl.exits import Exit

    try:
        from opsctl.dispatch import dispatch

        return dispatch()
    except OpsctlError as error:
        _complain(f"opsctl: {error.message}" + (f"\nnext: {error.remedy}" if error.remedy else ""))
        return error.exit_code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader has what it wanted. Python would complain once more when it closes stdout by itself.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.PIPE_CLOSED


def _complain(text: str) -> None:
    # Messages quote what was typed and what daemons said: neither may steer the terminal.
    from opsctl.defuse import defuse_lines

    print(defuse_lines(text), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
