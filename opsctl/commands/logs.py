"""`opsctl logs LOOP [ROLE]`: what a role wrote, its end or as it grows."""

import msgspec

from opsctl.client import ANSWER_LIMIT_S, Client, loop_path, target
from opsctl.defuse import defuse_lines
from opsctl.exits import Exit
from opsctl.output import JSON, Output
from opsctl.patience import patiently
from opsd.protocol import LogPage

SHOWN = 50
# Short, because between two waits it is looked whether another role writes by now.
WAIT_S = 2


def run(
    client: Client, out: Output, loop_id: str, role: str | None, *, follow: bool, iteration: int | None, count: int
) -> Exit:
    where = loop_path(loop_id, "logs")
    chosen: dict[str, object] = {"role": role, "iteration": iteration}
    body = client.get(target(where, **chosen, tail=count))
    if out.form == JSON:
        out.raw(body)
        return Exit.OK
    page = msgspec.json.decode(body, type=LogPage)
    _title(page, out)
    _print(page, out)
    while follow:
        page = _next(client, out, where, page, chosen)
    return Exit.OK


def _next(client: Client, out: Output, where: str, page: LogPage, chosen: dict[str, object]) -> LogPage:
    """The next piece of this log; at its end, the log that is written to by now, if the choice leaves that open."""
    on = target(where, role=page.role, iteration=page.iteration, inode=page.inode, offset=page.next_offset, wait=WAIT_S)
    later = _page(client, on, out)
    if later.restarted:
        out.note(f"the log of {later.role} in iteration {later.iteration} was begun anew:")
    _print(later, out)
    if later.next_offset != page.next_offset:
        return later
    newest = _page(client, target(where, **chosen, offset=0), out)
    if (newest.role, newest.iteration) == (later.role, later.iteration):
        return later
    _title(newest, out)
    _print(newest, out)
    return newest


def _page(client: Client, on: str, out: Output) -> LogPage:
    return msgspec.json.decode(
        patiently(lambda: client.get(on, limit_s=WAIT_S + ANSWER_LIMIT_S), out.note), type=LogPage
    )


def _title(page: LogPage, out: Output) -> None:
    if out.look.headers:
        out.note(f"{page.role}, iteration {page.iteration}: {page.path}")


def _print(page: LogPage, out: Output) -> None:
    if page.text:
        out.raw(defuse_lines(page.text).encode("utf-8", "backslashreplace"))
