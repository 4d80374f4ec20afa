"""What people read of the files of loops behind services: fetched there, and answered as if the files were here."""

from typing import TypeVar

import msgspec

from opsd.api.endpoint import Services
from opsd.api.errors import ApiError, ErrorCode
from opsd.model.run import Run
from opsd.model.wire import WAIT_MAX_S, PageKind, PageRequest
from opsd.protocol import Verification, VerificationReport, VerifyQuery

R = TypeVar("R", bound=msgspec.Struct)


async def page_of(
    services: Services, run: Run, kind: PageKind, query: msgspec.Struct, reply: type[R], *, wait_s: float = 0.0
) -> R:
    """
    Raises:
        ApiError: the service has no such log, does not answer, or answers with something else.
    """
    if services.afar is None:
        raise ApiError(ErrorCode.UNAVAILABLE, "the loop's files are in its sprite, and nothing here reaches it")
    given = msgspec.to_builtins(query)
    if wait_s:
        given["wait"] = min(wait_s, WAIT_MAX_S)
    answer = await services.afar.page(run.ref, PageRequest(run.ref.loop_id, kind, given), wait_s=wait_s)
    if answer.body is None:
        problem = answer.problem or "its service does not answer"
        raise ApiError(ErrorCode.NOT_FOUND if answer.code == ErrorCode.NOT_FOUND else ErrorCode.UNAVAILABLE, problem)
    try:
        return msgspec.json.decode(answer.body, type=reply)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ApiError(ErrorCode.UNAVAILABLE, "its service answered with something else than was asked for") from None


async def verification_of(services: Services, run: Run) -> Verification:
    """The verdict recomputed where the files are; a note where that cannot be had, which says nothing against it."""
    try:
        report = await page_of(services, run, PageKind.VERIFY, VerifyQuery(), VerificationReport)
    except ApiError as error:
        return Verification(run.ref.loop_id, True, 0, (), f"not recomputed: {error.message}")
    found = next((each for each in report.loops if each.loop_id == run.ref.loop_id), None)
    return found or Verification(run.ref.loop_id, True, 0, (), "not recomputed: the sprite does not know the loop")
