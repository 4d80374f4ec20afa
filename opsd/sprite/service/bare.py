"""The contract's service with nobody behind it: it reads the runtime's files, and has acts carried out one by one.

It supervises nothing, writes nothing and holds no lock, so that a manager may work in the very same repository. An act
is a call of `ops-manager control` in a process of its own, which takes the home's lock for as long as it needs, or
hands the act to the daemon that has it. The service with a supervisor is `opsd sprite-service`.
Source: control-and-service 9.
"""

import sys
from collections.abc import Mapping
from functools import partial
from typing import Final

import anyio
import anyio.abc
import msgspec
from starlette.responses import Response

from opsd.api.errors import ErrorCode
from opsd.api.replies import JSON
from opsd.core.intents.rows import exit_code, intent_row
from opsd.model.control import IntentRow
from opsd.model.ids import LoopId
from opsd.model.intent import Intent
from opsd.protocol import IntentRequest
from opsd.sprite.service import reading
from opsd.sprite.service.app import Endpoint
from opsd.sprite.service.calls import Call, Ground, converted, json_object, loop_of
from opsd.sprite.service.control import UNNAMED, ControlBody, kind_of, old_answer, text_of
from opsd.sprite.service.errors import REFUSED, ServiceError
from opsd.store.store import Store

CONFIRM_WITHIN_S: Final = 15
"""How long an act's effect is looked for: with a slow cancel before it, the answer still comes before the contract's
client gives up after 30 s. Source: control-and-service 12, A4."""
_STDERR_LINES: Final = 40
_STATUS: Final[Mapping[int, int]] = {0: 200, 2: 409}
_FAILED: Final = 500


class Bare(Ground, frozen=True, kw_only=True):
    """`store` is for reading what was asked for before; `variables` is the environment of the acts' processes."""

    store: Store
    variables: Mapping[str, str]


class _Reply(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The contract's control response. Source: control-and-service 9.4."""

    ok: bool
    exit_code: int
    result: IntentRow | msgspec.Raw | None = None
    stderr: str = ""
    replayed: bool
    trace_id: str | None = None


async def healthz(sprite: Bare, call: Call) -> Response:
    return Response(b'{"ok":true}', media_type=JSON)


async def control(sprite: Bare, call: Call) -> Response:
    given = json_object(call.body)
    loop_id = loop_of(text_of(given, "loopId"))
    kind = kind_of(given)
    body = converted({name: value for name, value in given.items() if value is not None}, ControlBody)
    key, trace_id = body.idempotency_key or call.key, body.trace_id or call.trace_id
    if key and (old := await sprite.reads.run(lambda: sprite.old_keys.find(loop_id, key))) is not None:
        return old_answer(old, kind)
    if key and (known := await sprite.reads.run(partial(sprite.store.find_intent, loop_id, key))) is not None:
        if known.intent is not kind:
            problem = f"the key stands for an earlier {known.intent}; use a key of its own for this {kind}"
            raise ServiceError(REFUSED, problem, reason=ErrorCode.IDEMPOTENCY_CONFLICT)
        if not known.is_in_flight:
            return _replayed(known)
    # What may not stand in a command's words is refused before one is begun.
    request = converted(
        {
            "intent": kind,
            "by": (body.by or "").strip() or UNNAMED,
            "note": body.note or "",
            "idempotencyKey": key or None,
            "traceId": trace_id or None,
        },
        IntentRequest,
    )
    return await _carried_out(sprite, loop_id, request, confirm=not body.no_confirm)


async def _carried_out(sprite: Bare, loop_id: LoopId, request: IntentRequest, *, confirm: bool) -> Response:
    words = [
        *("control", f"--repo={sprite.repo_path}", f"--loop={loop_id}", f"--intent={request.intent}"),
        *(f"--by={request.by}", f"--note={request.note}", f"--timeout-seconds={CONFIRM_WITHIN_S}"),
        *([f"--idempotency-key={request.idempotency_key}"] if request.idempotency_key else []),
        *([f"--trace-id={request.trace_id}"] if request.trace_id else []),
        *([] if confirm else ["--no-confirm"]),
    ]
    with anyio.CancelScope(shield=True):  # what was begun is not broken off because nobody listens any more
        done = await anyio.run_process(
            [sys.executable, "-I", "-m", "opsd.batch", *words], env=dict(sprite.variables), check=False
        )
    said = "\n".join([line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()])
    reply = _Reply(
        ok=done.returncode == 0,
        exit_code=done.returncode,
        result=_last_row(done.stdout),
        stderr="\n".join(said.splitlines()[-_STDERR_LINES:]),
        replayed=False,
        trace_id=request.trace_id,
    )
    return Response(msgspec.json.encode(reply), status_code=_STATUS.get(done.returncode, _FAILED), media_type=JSON)


def _replayed(intent: Intent) -> Response:
    """What came of it when it was asked for first; always 200. Source: control-and-service 8."""
    code = exit_code(intent)
    reply = _Reply(ok=code == 0, exit_code=code, result=intent_row(intent), replayed=True, trace_id=intent.trace_id)
    return Response(msgspec.json.encode(reply), media_type=JSON)


def _last_row(stdout: bytes) -> msgspec.Raw | None:
    lines = stdout.strip().splitlines()
    try:
        row = msgspec.json.decode(lines[-1]) if lines else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return msgspec.Raw(lines[-1]) if isinstance(row, dict) else None


ENDPOINTS: Final[tuple[Endpoint[Bare], ...]] = (
    Endpoint("GET", "/healthz", healthz, "Whether the service answers.", ours=False),
    Endpoint("GET", "/ops/snapshot", reading.snapshot, "See the service with a supervisor.", ours=False),
    Endpoint("GET", "/ops/events", reading.events, "See the service with a supervisor.", ours=False),
    Endpoint("POST", "/ops/control", control, "Cancel, approve or reject.", waits=True, acts=True, ours=False),
)
