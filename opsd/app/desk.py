"""Why the control desk does not take a request. A refused intent is no error: its record says so."""


class DeskError(Exception):
    """The request changes nothing.

    DeskError
    ├── UnknownIntent         no intent of this id is held in memory
    ├── IdempotencyConflict   the key stands for another request
    ├── NotAmbiguous          only what is ambiguous can be acknowledged
    ├── CannotSwitch          the registry names no such way to the loop
    ├── UnknownProfile        the catalog has no profile of this name
    ├── UnusableProfile       the profile's values make no sense, by themselves or with the single ones that were set
    └── CannotRecord          it could not be written down, so it does not hold
    """


class UnknownIntent(DeskError, LookupError):  # noqa: N818  it says what the intent is
    """What is settled and old may still be in the files."""


class IdempotencyConflict(DeskError):  # noqa: N818
    """`intent_id` is the intent that was asked for under this key before."""

    def __init__(self, intent_id: str) -> None:
        super().__init__(f"the key stands for intent {intent_id}, which asked for something else")
        self.intent_id = intent_id


class NotAmbiguous(DeskError):  # noqa: N818
    """`status` is that of the intent (`opsd.model.intent.IntentStatus`)."""

    def __init__(self, status: str) -> None:
        super().__init__(f"the intent is {status}, and only an ambiguous one can be acknowledged")
        self.status = status


class CannotRecord(DeskError):  # noqa: N818
    """`problem` names the path and what the disk said."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class CannotSwitch(DeskError):  # noqa: N818
    """`problem` says what the registry lacks."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class UnknownProfile(DeskError):  # noqa: N818  it says what the profile is
    """`problem` names those that there are."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class UnusableProfile(DeskError):  # noqa: N818  it says what the profile is
    """`problem` names the values."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
