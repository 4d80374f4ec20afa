"""`opsctl events LOOP`: the loop's own event log, its end or as it grows."""

import re
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec

from opsctl.client import ANSWER_LIMIT_S, Client, loop_path, target
from opsctl.errors import UsageError
from opsctl.exits import Exit
from opsctl.output import JSONL, Output
from opsctl.patience import WAIT_S, patiently
from opsctl.render.events import line, render
from opsd.protocol import EventPage

SHOWN = 20
# The most that the daemon gives at once; what `--since` asks for is bounded by it.
MOST = 10_000

_AGO = re.compile(r"(\d{1,6})([smhd])\Z")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def run(
    client: Client,
    out: Output,
    loop_id: str,
    *,
    follow: bool,
    since: str | None,
    names: tuple[str, ...],
    count: int | None,
) -> Exit:
    now = datetime.now(UTC)  # noqa: TID251  this is the client's edge: "ten minutes ago" is counted from here
    begin = moment(since, now).isoformat() if since else None
    where = loop_path(loop_id, "events")
    if count is None:
        count = SHOWN if begin is None else MOST
    body = client.get(target(where, tail=count, since=begin, name=names))
    page = msgspec.json.decode(body, type=EventPage)
    if out.form == JSONL or follow:
        _print(page, out)
    else:
        out.show(body, render, rows="items", name=None)
    if len(page.items) == MOST:
        out.note(f"only the newest {MOST} are shown")
    while follow:
        on = target(
            where,
            epoch=page.epoch,
            offset=page.next_offset,
            line=page.next_line,
            since=begin,
            name=names,
            wait=WAIT_S,
        )
        body = patiently(partial(client.get, on, limit_s=WAIT_S + ANSWER_LIMIT_S), out.note)
        page = msgspec.json.decode(body, type=EventPage)
        if page.restarted:
            out.note(f"the event log of {loop_id} is another one now; from its beginning:")
        _print(page, out)
    return Exit.OK


def moment(text: str, now: datetime) -> datetime:
    """`10m` ago (s, m, h, d), or a time as in ISO 8601 with its zone; without a zone it is UTC.

    Raises:
        UsageError: it is neither.
    """
    ago = _AGO.match(text)
    try:
        if ago:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        then = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"'{text}' is no moment", "say how long ago (90s, 10m, 2h, 3d), or when (2026-01-31T12:00:00Z)"
        ) from None
    return then if then.tzinfo else then.replace(tzinfo=now.tzinfo)


def _print(page: EventPage, out: Output) -> None:
    if out.form == JSONL:
        for item in page.items:
            out.raw(bytes(item.raw))
    elif page.items:
        out.text("\n".join(line(item, out.look) for item in page.items))
