"""What makes two approvals, two requests or two presses of a key the same one: digests and keys.

What a key that is known already leads to is decided in `book`.
"""

import hashlib
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from opsd.model.intent import Fence, IntentKind, Options

CONTRACT_WINDOW_S = 30.0
"""For so long the contract's service looks for an effect, whoever asked. Source: control-and-service 2.3."""
_USUAL = Options()
_ASKED = ("run_id", "iteration", "requested_at", "candidate")


def candidate_digest(request: Mapping[str, object]) -> str:
    """What is asked in a decoded `approval.json`, as sha256 in hex: the same before and after the decision.

    Made from the canonical JSON (members sorted, compact, UTF-8) of run id, iteration, time of asking and candidate; a
    missing member counts as null.
    """
    return _digest({member: request.get(member) for member in _ASKED})


def fingerprint(
    loop_id: str,
    kind: IntentKind,
    by: str,
    note: str,
    reason: str,
    expect: Fence,
    options: Options,
    *,
    pause_for_s: float | None = None,
) -> str:
    """What a request says, as sha256 in hex: a key that comes again with another one is a conflict.

    Not when it was said: of a pause that ends, its length counts and not the moment of its end. Nor, for a caller of
    the contract's command, how long he looks for the effect: asked again he may have more patience, or less.
    """
    if options.as_contract:
        options = replace(_USUAL, confirm=options.confirm, timeout_s=CONTRACT_WINDOW_S)
    lasting = msgspec.to_builtins(replace(options, pause_until=None))
    return _digest([loop_id, kind.value, by, note, reason, msgspec.to_builtins(expect), lasting, pause_for_s])


def default_key(
    loop_id: str, run_id: str | None, iteration: int | None, kind: IntentKind, candidate: str | None, ordinal: int
) -> str:
    """The key of a request that brings none, like `cancel-3f9a0c2b71d4e855`.

    `ordinal` counts the loop's intents that have left the flight (`book.settled`), so that only presses made while one
    is under way share a key, and the same wish later is a new one.
    """
    return f"{kind.value}-{_digest([loop_id, run_id, iteration, kind.value, candidate, ordinal])[:16]}"


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()
