"""From the bytes of whole lines to events, and to quarantined lines for what is no event. Source: loop-core 3.3, 3.4.

Which bytes of the log these are, and whether the log is still the one it was, is `opsd.transports.tail`.
"""

import hashlib
from collections.abc import Sequence
from operator import attrgetter

import msgspec

from opsd.model.observation import QuarantinedLine
from opsd.model.runtime import EventLine

HEAD_BYTES = 120
# Lines are decoded in pieces of this size: long enough to make the work per piece vanish, short enough to stay in the
# processor's cache and to keep the damage of one bad line (its piece is decoded line by line) small.
_PIECE_BYTES = 64 * 1024

_event_member = attrgetter("event")
_name = attrgetter("name")
_decode = msgspec.json.Decoder(EventLine).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NO_EVENT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class LineReader:
    """Takes up whole lines, in order, from one place of the log on.

    `line` and `offset` stand behind the last line taken, which may have been an event, blank or bad. `full` is true
    once a line had to be left because `taken_max` events and bad lines are held.
    """

    def __init__(self, line: int, offset: int, *, taken_max: int, line_bytes_max: int) -> None:
        self.line = line
        self.offset = offset
        self.events: list[EventLine] = []
        self.quarantined: list[QuarantinedLine] = []
        self.last_raw = b""
        self.full = False
        self._first = line + 1
        self._numbers: list[int] | None = None
        self._taken_max = taken_max
        self._line_bytes_max = line_bytes_max

    @property
    def numbers(self) -> Sequence[int]:
        """The physical line number of each event: a range where no line in between was passed over."""
        return range(self._first, self.line + 1) if self._numbers is None else self._numbers

    def take(self, data: bytes) -> None:
        """Take the lines of `data`, which starts at `offset`; what follows its last newline is left alone."""
        start = 0
        while not self.full:
            end = data.rfind(b"\n", start, start + _PIECE_BYTES) + 1 or data.find(b"\n", start + _PIECE_BYTES) + 1
            if not end:
                return
            piece = data[start:end]
            lines = piece.split(b"\n")
            lines.pop()
            if not self._take_all(piece, lines):
                self._take_singly(lines)
            start = end

    def set_aside(self, line: QuarantinedLine) -> None:
        """Take a line that was judged elsewhere: it follows the ones taken so far."""
        self._pass_over()
        self.quarantined.append(line)
        self.line = line.line
        self.offset = line.offset + line.size_bytes + 1

    def _take_all(self, piece: bytes, lines: list[bytes]) -> bool:
        """All of them at once if every single one is an event, else none."""
        if len(piece) > self._line_bytes_max or self._taken + len(lines) > self._taken_max:
            return False
        try:
            _check_text(piece)
            events = list(map(_decode, lines))
        except _NO_EVENT:
            return False
        if None in map(_event_member, events) and not all(map(_name, events)):
            return False
        if self._numbers is not None:
            self._numbers.extend(range(self.line + 1, self.line + 1 + len(lines)))
        self.events += events
        self.last_raw = lines[-1]
        self.line += len(lines)
        self.offset += len(piece)
        return True

    def _take_singly(self, lines: list[bytes]) -> None:
        for raw in lines:
            if self._taken >= self._taken_max:
                self.full = True
                return
            if not raw.strip(b" \t\r"):
                self._pass_over()
                self.line += 1
            elif isinstance(read := read_event(raw, self._line_bytes_max), str):
                self._pass_over()
                self.quarantined.append(quarantine(self.line + 1, self.offset, raw, read))
                self.line += 1
            else:
                self.line += 1
                if self._numbers is not None:
                    self._numbers.append(self.line)
                self.events.append(read)
                self.last_raw = raw
            self.offset += len(raw) + 1

    @property
    def _taken(self) -> int:
        return len(self.events) + len(self.quarantined)

    def _pass_over(self) -> None:
        if self._numbers is None:
            self._numbers = list(range(self._first, self.line + 1))


def read_event(raw: bytes, line_bytes_max: int) -> EventLine | str:
    """The event on one line, its odd types coerced, or one sentence saying why it is none."""
    if len(raw) > line_bytes_max:
        return f"the line is longer than {line_bytes_max} bytes"
    try:
        _check_text(raw)
        event = _as_typed(raw)
    except UnicodeDecodeError as error:
        return f"the line is not UTF-8 (byte {error.start})"
    except RecursionError:
        return "the line is nested too deeply"
    except msgspec.ValidationError:
        return "the line is JSON, but not an object"
    except msgspec.DecodeError as error:
        return f"the line is not one JSON object: {error}"
    if not event.name:
        return "the event has no name: neither `event` nor `type` is set"
    if not event.timestamp:
        return "the event has no `timestamp`"
    return event


def quarantine(line: int, offset: int, raw: bytes, problem: str) -> QuarantinedLine:
    return quarantined_line(line, offset, len(raw), hashlib.sha256(raw).hexdigest(), raw[:HEAD_BYTES], problem)


def quarantined_line(
    line: int, offset: int, size_bytes: int, sha256: str, head: bytes, problem: str
) -> QuarantinedLine:
    """The record of a bad line; `head` is raw and is defused here, since it will stand on terminals and in messages."""
    text = head.decode("utf-8", "backslashreplace")
    defused = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return QuarantinedLine(line, offset, size_bytes, sha256, defused, problem)


def _check_text(data: bytes) -> None:
    """Decoding looks at the members it keeps; what it skips or carries undecoded has to be UTF-8 as well."""
    if not data.isascii():
        data.decode()


def _as_typed(raw: bytes) -> EventLine:
    try:
        return _decode(raw)
    except msgspec.ValidationError:
        return _coerced(_members(raw))


def _coerced(members: dict[str, msgspec.Raw]) -> EventLine:
    """An event whose members have other types than the runtime's: read as the reference's shell would read it."""

    def text(name: str) -> str | None:
        value = msgspec.json.decode(members.get(name, b"null"))
        if value is None or value is False or value == "":
            return None
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()

    return EventLine(
        timestamp=text("timestamp") or "",
        event=text("event"),
        type=text("type"),
        run_id=text("run_id"),
        iteration=_number(msgspec.json.decode(members.get("iteration", b"0"))),
        role=text("role"),
        status=text("status"),
        message=text("message"),
        data=members.get("data", msgspec.Raw()),
    )


def _number(value: object) -> int:
    """A whole number, or a number or string that spells one; anything else is 0."""
    if isinstance(value, int):
        return 0 if isinstance(value, bool) else value
    try:
        return int(float(value)) if isinstance(value, float | str) else 0
    except (ValueError, OverflowError):
        return 0  # no number, or none that is finite
