"""One request to a service and what became of it, in records. Making it is `way`, repeating it `calls`."""

from datetime import datetime

import msgspec

from opsd.model.defuse import defuse
from opsd.model.observation import Malformed, Unreachable, UnreachableCause

REQUEST_FAILED = "service_request_failed"
RESPONSE_INVALID = "service_response_invalid"
PROJECTION_FAILED = "projection_failed"
"""The contract's failure codes of this transport. Source: control-and-service 11."""

EVIDENCE_BYTES = 200


class Limits(msgspec.Struct, frozen=True):
    """Seconds and bytes that bound a call, whatever the service does; what it may hold back for news comes on top.

    `answer_s` is for one attempt, `total_s` for all of them with the pauses in between. `retry_after_max_s` is the
    longest that a service's wish to be left alone is believed. Of the ways that nobody uses `idle_max` are kept.
    """

    connect_s: float = 5.0
    answer_s: float = 15.0
    total_s: float = 30.0
    pause_longest_s: float = 10.0
    retry_after_max_s: float = 900.0
    answer_bytes: int = 32 * 1024 * 1024
    idle_max: int = 1_024


class Request(msgspec.Struct, frozen=True):
    """`target` is what follows the base URL, encoded. `wait_s` is for how long the answer may be held back.

    `again` is what to send after a failure, where that is not the same: without a wait, so that it is answered in the
    time that is left. `is_repeatable`: to be received twice does nothing twice. `patience_s` replaces `answer_s`.
    """

    method: str
    target: str
    body: bytes | None = None
    trace_id: str | None = None
    wait_s: float = 0.0
    is_repeatable: bool = True
    patience_s: float | None = None
    again: "Request | None" = None


class Reply(msgspec.Struct, frozen=True):
    """A whole answer. `features` is what it announced, None without that header; `retry_after` as it was written."""

    status: int
    body: bytes
    features: frozenset[str] | None = None
    retry_after: str | None = None

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300


class Trouble(msgspec.Struct, frozen=True):
    """Why a request did not come to what was asked for. `word` stands in telemetry, `problem` is for people.

    `cause` is None where an answer came that cannot be believed; `code` says then in which way. `is_sent`: some of the
    request may have reached the service. `is_stale`: a connection that was kept from before was closed meanwhile.
    `passes`: the same request may fare better in a moment. `turned_down` is the service's own code where it answered
    that it does not take the request.
    """

    word: str
    problem: str
    cause: UnreachableCause | None
    code: str = REQUEST_FAILED
    evidence: bytes = b""
    is_sent: bool = True
    is_stale: bool = False
    passes: bool = False
    turned_down: str | None = None

    def observed(self, at: datetime) -> Unreachable | Malformed:
        if self.cause is not None:
            return Unreachable(at, self.cause, self.code, self.problem)
        return Malformed(at, self.code, self.problem, head(self.evidence))


class Called(msgspec.Struct, frozen=True):
    """What a call came to after all its attempts. Exactly one of `reply`, a 2xx, and `trouble` tells.

    With `trouble`, `answered` is the answer behind it, if there was one. `is_sent`: some of any attempt may have
    reached the service.
    """

    reply: Reply | None = None
    trouble: Trouble | None = None
    answered: Reply | None = None
    attempts: int = 0
    codes: tuple[str, ...] = ()
    took_s: float = 0.0
    is_sent: bool = False
    retry_after_s: float | None = None


def invalid(problem: str, evidence: bytes = b"", *, word: str = "invalid") -> Trouble:
    """An answer that is not what was asked for."""
    return Trouble(word, problem, None, RESPONSE_INVALID, evidence)


def foreign(problem: str, evidence: bytes = b"") -> Trouble:
    """An answer in the right shape that speaks of something else: another loop, another version."""
    return Trouble("projection", problem, None, PROJECTION_FAILED, evidence)


def head(evidence: bytes) -> str:
    """The first bytes of an answer, fit for terminals and messages: one line."""
    return one_line(evidence[:EVIDENCE_BYTES].decode("utf-8", "backslashreplace"))


def one_line(text: str) -> str:
    """Text from a service, fit to stand in a sentence of ours."""
    return defuse(" ".join(text.split()))
