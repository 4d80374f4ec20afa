"""Idempotency keys of the service that was here before: `service-idempotency.json` is read once and never written.

Keys of ours are in the intent log and nowhere else. Source: control-and-service 8.
"""

from collections.abc import Mapping

import msgspec

from opsd.logs import logger
from opsd.model.ids import LoopId
from opsd.ports import Files
from opsd.store.layout import Layout

_BYTES_MAX = 64 * 1024 * 1024


class OldAnswer(msgspec.Struct, frozen=True):
    """A stored answer, whole and verbatim, and which intent it was about."""

    body: msgspec.Raw
    intent: str | None


class _Result(msgspec.Struct):
    intent: str | None = None


class _Body(msgspec.Struct):
    result: _Result | None = None


class OldKeys:
    """Synchronous, for a worker thread."""

    def __init__(self, files: Files, layout: Layout) -> None:
        self._files = files
        self._layout = layout
        self._known: dict[LoopId, Mapping[str, OldAnswer]] = {}

    def find(self, loop_id: LoopId, key: str) -> OldAnswer | None:
        known = self._known.get(loop_id)
        if known is None:
            known = self._known[loop_id] = self._read(loop_id)
        return known.get(key)

    def _read(self, loop_id: LoopId) -> Mapping[str, OldAnswer]:
        path = f"{self._layout.folder(loop_id)}/service-idempotency.json"
        try:
            _, data = self._files.read(path, 0, _BYTES_MAX)
            stored = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # The service before us took such a file for an empty one, too.
            logger().warning("sprite.old_keys_unreadable", path=path, problem=str(error))
            return {}
        answers = {key: OldAnswer(msgspec.Raw(body), _intent_in(body)) for key, body in stored.items()}
        logger().info("sprite.old_keys", loop_id=loop_id, keys=len(answers))
        return answers


def _intent_in(body: msgspec.Raw) -> str | None:
    try:
        result = msgspec.json.decode(body, type=_Body).result
    except msgspec.DecodeError:
        return None
    return result.intent if result is not None else None
