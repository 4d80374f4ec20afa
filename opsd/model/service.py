"""What comes back from a sprite's service, as data: trouble is an answer, never an exception.

Also the contract's own control request and reply (control-and-service 9.4); our additional ones are `opsd.model.wire`.
"""

from datetime import datetime

import msgspec

from opsd.model.intent import Intent
from opsd.model.observation import Malformed, Observation, Unreachable


class ServiceAnswer(msgspec.Struct, frozen=True):
    """What one poll came to, with all its attempts. `observation` is None where nothing has changed since the last.

    `digest` is to be given with the next request; `features` are those that the service announced. `retry_after_s` is
    how long it asked to be left alone. `attempts` counts the requests that were made, `took_s` is for all of them.
    """

    at: datetime
    observation: Observation | None = None
    digest: str | None = None
    features: frozenset[str] = frozenset()
    retry_after_s: float | None = None
    attempts: int = 1
    took_s: float = 0.0
    codes: tuple[str, ...] = ()
    """What each attempt came to: an HTTP status as text, or a word for what kept one from coming."""


class IntentAnswer(msgspec.Struct, frozen=True):
    """What asking a service about an intent came to. `intent` is the service's own record of it.

    `surely_not_sent`: nothing of the request can have reached the service, so nothing was done. `unknown`: the service
    answered that it has no such intent. `turned_down` is the service's own code where it answered that it does not take
    the request, beside `problem`: nothing was done either. `replayed`: it had the intent already, under this key.
    """

    intent: Intent | None = None
    problem: Unreachable | Malformed | None = None
    surely_not_sent: bool = False
    unknown: bool = False
    attempts: int = 1
    turned_down: str | None = None
    replayed: bool = False
    codes: tuple[str, ...] = ()
    """As in `ServiceAnswer`."""


class ControlRequest(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`POST /ops/control` of the contract. Source: control-and-service 9.4."""

    loop_id: str
    intent: str
    by: str
    trace_id: str
    idempotency_key: str
    note: str = ""
    no_confirm: bool = False


class ControlAnswer(msgspec.Struct, frozen=True):
    """`status` is the HTTP status, None where no answer came; `body` the answer's JSON object, verbatim and bounded.

    `problem` is set where the answer is no control response of the contract; `turned_down` as in `IntentAnswer`.
    """

    status: int | None = None
    body: msgspec.Raw = msgspec.Raw(b"null")
    problem: Unreachable | Malformed | None = None
    surely_not_sent: bool = False
    turned_down: str | None = None
    attempts: int = 1
    codes: tuple[str, ...] = ()


class PageAnswer(msgspec.Struct, frozen=True):
    """What reading a page of a loop's files at its service came to. `body` is the answer's JSON, as it came.

    `code` is the service's own where it turned the request down (there is no such log); `problem` says why there is no
    page, in one sentence.
    """

    body: bytes | None = None
    code: str | None = None
    problem: str | None = None


class Reach(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """How asking a loop's service goes. `requests` counts since opsd started; times are None where there is none.

    `resting_until`: the service failed so often that it is left alone until then. `budget_spent`: more of its polls
    failed within the last hour than the error budget allows.
    """

    asked_at: datetime | None = None
    next_at: datetime | None = None
    requests: int = 0
    failures: int = 0
    resting_until: datetime | None = None
    budget_spent: bool = False
    features: tuple[str, ...] = ()
