"""The event log line by line. What is no event in the expected form is shown as it stands, defused like everything."""

import msgspec

from opsctl.output import Look
from opsctl.render.table import painted, table
from opsd.model.runtime import EventLine
from opsd.protocol import EventItem, EventPage

HEADERS = ("LINE", "TIME", "EVENT", "RUN", "ITER", "ROLE", "STATUS", "MESSAGE")
# A page of a running follow is laid out on its own: these widths keep its columns under those of the page before.
_FOLLOWED = "{:>6}  {:<20}  {:<24}  {:>4}  {:<11}  {:<10}  {}"

_decoder = msgspec.json.Decoder(EventLine)


def render(body: bytes, look: Look) -> str:
    page = msgspec.json.decode(body, type=EventPage)
    return table(HEADERS, [_row(item) for item in page.items], look) if page.items else ""


def line(item: EventItem, look: Look) -> str:
    """One event of a follow."""
    number, time, name, _, iteration, role, status, message = _row(item)
    return painted(_FOLLOWED.format(number, time, name, iteration, role, status, message).rstrip(), "", look)


def _row(item: EventItem) -> tuple[str, ...]:
    try:
        event = _decoder.decode(item.raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = bytes(item.raw).decode("utf-8", "replace")
        return (str(item.line), "-", "-", "-", "-", "-", "-", text)
    return (
        str(item.line),
        event.timestamp,
        event.name or "-",
        event.run_id or "-",
        str(event.iteration),
        event.role or "-",
        event.status or "-",
        event.message or "-",
    )
