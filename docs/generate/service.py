"""`reference/service.md`: what the service inside a sprite answers, from its table of endpoints."""

from docs.generate.markdown import code, page, table, yes
from opsd.api.errors import ERRORS, ErrorCode
from opsd.model.wire import FEATURES, FEATURES_HEADER, WAIT_MAX_S
from opsd.sprite.service.app import ENDPOINTS
from opsd.sprite.service.errors import ERROR_CODES
from opsd.sprite.service.limits import Limits

_LIMITS = Limits()
_ELSEWHERE = {
    ErrorCode.BAD_REQUEST,
    ErrorCode.NOT_FOUND,
    ErrorCode.NO_PEER_IDENTITY,
    ErrorCode.NOT_PERMITTED,
    ErrorCode.METHOD_NOT_ALLOWED,
    ErrorCode.CANNOT_SWITCH,
    ErrorCode.UNKNOWN_PROFILE,
    ErrorCode.UNUSABLE_PROFILE,
}
"""What the service has another word for, or no use for."""
_FEATURES = ", ".join(map(code, FEATURES))

_INTRODUCTION = f"""
`opsd sprite-service` answers over TCP, for one repository; how it is started is in [commands](commands.md). Every path
needs its token, as `Authorization: Bearer` or as `X-Ops-Token`. What the contract does not know is announced in
`{FEATURES_HEADER}` on every answer: {_FEATURES}. There is no TLS: put it behind something that has.

`/ops/observe` and `/ops/intents` take and return the records of `opsd/model/wire.py` and of the
[control API](api.md). An answer is held back for up to {WAIT_MAX_S:g} s. One address may ask
{_LIMITS.requests_s:g} times a second, and {_LIMITS.burst} times at once.
"""

_CONTROL = """
The contract's shapes and statuses, with these differences:

- A key is bound to its request. Under the same key, the same request is answered with what is known by now, also over
  restarts; another request is refused. The intent log is the only store of keys; those in a `service-idempotency.json`
  that an earlier service left are honoured, and the file is not written.
- What is refused was not done, and is answered with 422: a client that knows the contract alone neither repeats it nor
  takes it for done. The body has `error.reason`, and the control response beside it.
- An answer comes within `wait` seconds. An intent that is still under way by then is 409 with `accepted`, or 202 for a
  client that sends `intents.v1` in `X-Ops-Features`; under the same key it can be waited for.
- `noConfirm` is a boolean: the word `"false"` is refused, and not taken for true.
- Success is proven by evidence that is newer than the act; `approve` and `reject` by the decision on file.
"""


def render() -> str:
    return page(
        "Service",
        "`opsd/sprite/service/app.py` and `opsd/sprite/service/errors.py`",
        _INTRODUCTION,
        table(
            ("request", "what it answers", "in the contract", "may be held back"),
            (
                (code(f"{each.method} {each.path}"), each.says, yes(not each.ours), yes(each.waits))
                for each in ENDPOINTS
            ),
        ),
        "## Control",
        _CONTROL,
        "## Errors",
        'Every refusal has the body `{"ok": false, "error": {"code", "message", "reason", "details"}}`, the last two\n'
        "where there is something to say. Codes and reasons are stable; messages are for people.",
        table(("code", "status", "meaning"), _errors()),
    )


def _errors() -> list[tuple[str, str, str]]:
    """Those of the control socket that can come here, too."""
    both = {name: (entry.status, entry.says) for name, entry in ERROR_CODES.items()}
    both |= {each.value: (entry.status, entry.says) for each, entry in ERRORS.items() if each not in _ELSEWHERE}
    return [(code(name), str(status), says) for name, (status, says) in sorted(both.items(), key=lambda one: one[1][0])]
