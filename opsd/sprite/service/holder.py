"""The daemon that holds the home, asked over its control socket on behalf of whoever asks this service."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar
from urllib.parse import quote, urlencode

import anyio
import httpx
import msgspec

from opsd.api.errors import ApiError, ErrorCode
from opsd.api.replies import JSON
from opsd.ports import Offload
from opsd.protocol import ErrorReply
from opsd.sprite.service.errors import HOLDER_GONE, ServiceError
from opsd.store.holder import Holder

R = TypeVar("R", bound=msgspec.Struct)
_CONNECT_S: Final = 5.0
_CONNECTIONS: Final = 64


class Heard(msgspec.Struct, frozen=True):
    """An answer as it came."""

    status: int
    body: bytes

    def read(self, record: type[R]) -> R:
        """
        Raises:
            ServiceError: it is something else; the daemon is of another version.
        """
        try:
            return msgspec.json.decode(self.body, type=record)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            problem = (
                f"what holds the home answers with something else than was asked for ({error}); is it another version?"
            )
            raise ServiceError(HOLDER_GONE, problem) from None


class HolderLink:
    """`holder` says who holds the home now: one that was started again is found again. Never two requests for one."""

    def __init__(self, holder: Callable[[], Holder | None], *, reads: Offload) -> None:
        self._holder = holder
        self._reads = reads
        self._path: str | None = None
        self._client: httpx.AsyncClient | None = None

    async def ask(
        self, method: str, path: str, *, query: Mapping[str, object] | None = None, body: bytes = b"", limit_s: float
    ) -> Heard:
        """
        Raises:
            ServiceError: nobody holds the home, or what does so does not answer.
            ApiError: it turned the request down.
        """
        client = await self._connected()
        where = f"http://holder{path}" + (f"?{urlencode(query, doseq=True)}" if query else "")
        try:
            with anyio.fail_after(limit_s):
                answer = await client.request(method, where, content=body, headers={"Content-Type": JSON})
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise ServiceError(HOLDER_GONE, f"what held the home does not answer ({error}); start it again") from None
        except (httpx.TransportError, TimeoutError) as error:
            if method == "GET":
                raise ServiceError(HOLDER_GONE, f"what holds the home broke off ({error}); ask again") from None
            problem = (
                f"what holds the home broke off ({error}); what was asked for may be done: look, or use the same key"
            )
            raise ServiceError(ErrorCode.TIMED_OUT, problem, status=504) from None
        if answer.status_code >= 300:
            raise _refusal(answer)
        return Heard(answer.status_code, answer.content)

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _connected(self) -> httpx.AsyncClient:
        holder = await self._reads.run(self._holder)
        path = holder.socket_path if holder is not None else None
        if path is None:
            raise ServiceError(HOLDER_GONE, "nobody holds the home any more; start the daemon, or this service, again")
        if self._client is None or path != self._path:
            await self.aclose()
            transport = httpx.AsyncHTTPTransport(uds=path, limits=httpx.Limits(max_connections=_CONNECTIONS))
            self._client = httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(None, connect=_CONNECT_S))
            self._path = path
        return self._client


def loop_path(loop_id: str, below: str) -> str:
    return f"/v1/loops/{quote(loop_id, safe='')}/{below}"


def _refusal(answer: httpx.Response) -> Exception:
    try:
        error = msgspec.json.decode(answer.content, type=ErrorReply).error
        return ApiError(ErrorCode(error.code), error.message, **error.details)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return ServiceError(HOLDER_GONE, f"what holds the home answers with status {answer.status_code}, and no reason")
