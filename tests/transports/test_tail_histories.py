"""Generated histories of a log and its reader, against a model: nothing is ever lost, repeated or out of order."""

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from opsd.disk import Disk
from opsd.model.cursor import Cursor
from opsd.model.observation import StreamChange
from opsd.transports.tail import Limits, LogTail
from tests.transports.trees import cursor_after, event, real_now

LIMITS = Limits(bytes_per_pass=700, lines_per_pass=5, line_bytes=2000)
Delivered = list[tuple[int, str]]


class LogHistory(RuleBasedStateMachine):
    """`delivered` is what the reader handed out since the log was last found to be another one.

    The model is the file itself: its whole lines, read by rules so plain that they need no test.
    """

    happened: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.log = Path(self.folder.name, "events.jsonl")
        self.log.touch()
        self.count = 0
        self.tail = LogTail(LIMITS)
        self.cursor: Cursor | None = None
        self.delivered: Delivered = []
        self.offset = 0
        self.other_content = False

    def teardown(self) -> None:
        self.folder.cleanup()

    def new_event(self, padding: int = 0) -> bytes:
        self.count += 1
        return event(f"event-{self.count}", data={"padding": "x" * padding})

    def append(self, data: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(data)

    @rule(count=st.integers(1, 8), padding=st.integers(0, 300))
    def appends_events(self, count: int, padding: int) -> None:
        self.append(b"".join(self.new_event(padding) for _ in range(count)))
        self.happened["append"] += 1

    @rule(cut=st.floats(0.01, 0.99), rest=st.booleans())
    def appends_a_torn_line(self, cut: float, rest: bool) -> None:
        """The writer dies, or goes on after a look; whatever is appended next joins the torn line."""
        line = self.new_event()
        at = max(1, int(len(line) * cut))
        self.append(line[:at])
        self.happened["torn"] += 1
        if rest:
            self.look()
            self.append(line[at:])

    @rule(line=st.sampled_from([b"garbage", b"", b"[1]", b"\xff\xfe", b'{"event":"no time"}', b"z" * 2500]))
    def appends_what_is_no_event(self, line: bytes) -> None:
        self.append(line + b"\n")
        self.happened["garbage"] += 1

    @precondition(lambda self: self.log.stat().st_size > 0)
    @rule(keep=st.floats(0, 0.95))
    def is_truncated(self, keep: float) -> None:
        kept = int(self.log.stat().st_size * keep)
        os.truncate(self.log, kept)
        self.other_content |= kept < self.offset
        self.happened["truncate"] += 1

    @rule(count=st.integers(0, 30))
    def is_replaced_by_another_file(self, count: int) -> None:
        beside = self.log.with_name("beside")
        beside.write_bytes(b"".join(self.new_event() for _ in range(count)))
        beside.replace(self.log)
        self.other_content |= self.offset > 0
        self.happened["replace"] += 1

    @rule(count=st.integers(0, 30))
    def is_rewritten_in_place(self, count: int) -> None:
        self.log.write_bytes(b"".join(self.new_event() for _ in range(count)))
        self.other_content |= self.offset > 0
        self.happened["rewrite"] += 1

    @rule()
    def reader_restarts(self) -> None:
        self.tail = LogTail(LIMITS)
        self.cursor = msgspec.json.decode(msgspec.json.encode(self.cursor), type=Cursor | None)
        self.happened["restart"] += 1

    @rule()
    def cursor_is_removed(self) -> None:
        self.cursor = None
        self.delivered = []
        self.offset = 0
        self.other_content = False
        self.happened["cursor removed"] += 1

    @precondition(lambda self: self.cursor is not None and not self.other_content)
    @rule()
    def is_looked_at_by_the_reference_manager(self) -> None:
        assert self.cursor
        self.cursor = msgspec.structs.replace(self.cursor, stream=None)
        self.look()  # at once: such a cursor cannot tell another file from its own
        self.happened["cursor without stream"] += 1

    @rule()
    def looks(self) -> None:
        self.look()

    @rule()
    def is_asked_for_everything_again(self) -> None:
        self.look(from_start=True)
        self.happened["from start"] += 1

    def look(self, *, from_start: bool = False) -> int:
        had_cursor = self.cursor is not None
        batch = self.tail.look(Disk(), str(self.log), self.cursor, real_now(), from_start=from_start)
        taken = len(batch.events) + len(batch.quarantined)
        assert taken <= LIMITS.lines_per_pass

        if self.other_content:
            assert batch.change in (StreamChange.TRUNCATED, StreamChange.REPLACED)
        elif not from_start or not had_cursor:
            # A file that was swapped before any of it was read may be called replaced; nothing was lost then.
            assert batch.change is None or self.offset == 0
        if batch.change is not None:
            self.happened[batch.change] += 1
            self.delivered = []
        self.other_content = False

        self.delivered += zip(batch.lines, [e.name for e in batch.events], strict=True)
        self.delivered += [(bad.line, "bad") for bad in batch.quarantined]
        self.cursor = cursor_after(batch)
        self.offset = batch.stream.byte_offset
        assert sorted(self.delivered) == self.expected(up_to=batch.line_offset)
        return batch.backlog_bytes

    def expected(self, up_to: int | None = None) -> Delivered:
        whole = self.log.read_bytes().split(b"\n")[:-1]
        expected: Delivered = []
        for number, line in enumerate(whole[:up_to], 1):
            if line:
                is_event = line.startswith(b'{"timestamp":"2026') and line.endswith(b"}}") and line.count(b"{") == 2
                expected.append((number, line.split(b'"')[7].decode() if is_event else "bad"))
        return expected

    @invariant()
    def everything_is_delivered_once_the_reader_has_caught_up(self) -> None:
        if self.count % 7 == 0:
            for _ in range(2 + self.log.stat().st_size // 5):
                if not self.look():
                    break
            assert sorted(self.delivered) == self.expected()
            self.happened["caught up"] += 1


@pytest.mark.slow
def test_every_line_is_delivered_once_per_epoch_in_order() -> None:
    """Shown by counts that each operation really occurred: a history without truncations would prove little."""
    LogHistory.happened.clear()

    run_state_machine_as_test(
        LogHistory,
        settings=settings(
            max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )

    wanted = {"append", "torn", "garbage", "truncate", "replace", "rewrite", "restart", "cursor removed", "caught up"}
    wanted |= {"cursor without stream", "from start", *StreamChange}
    assert {operation for operation, count in LogHistory.happened.items() if count >= 20} >= wanted
