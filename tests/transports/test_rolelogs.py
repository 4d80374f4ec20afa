"""Role logs: which there are, their end, and following them while a role begins its log anew."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.disk import Disk
from opsd.transports.rolelogs import LogPart, list_logs, read_log_end, read_log_on
from tests.transports.trees import LOOP, Checkout


def log_of(checkout: Checkout, iteration: int, role: str, text: str = "", *, at: int = 0) -> Path:
    path = checkout.folder / "logs" / f"iter-{iteration}" / f"{role}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))
    return path


def test_logs_are_listed_newest_first(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    log_of(checkout, 2, "planner", "abc", at=30)
    log_of(checkout, 10, "tester", at=20)
    log_of(checkout, 1, "planner", at=10)
    log_of(checkout, 1, "errors", at=99)
    (checkout.folder / "logs" / "iter-x").mkdir()
    (checkout.folder / "logs" / "iter-1" / "notes.txt").touch()

    logs = list_logs(Disk(), str(tmp_path), LOOP)

    assert [(log.iteration, log.role) for log in logs] == [(2, "planner"), (10, "tester"), (1, "planner")]
    assert logs[0].size_bytes == 3


def test_a_loop_without_logs_has_none(tmp_path: Path) -> None:
    assert list_logs(Disk(), str(tmp_path), LOOP) == []


def test_a_log_that_leads_out_of_the_checkout_is_not_listed(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "repo")
    log_of(checkout, 1, "planner")
    (tmp_path / "secret").write_text("secret")
    (checkout.folder / "logs" / "iter-1" / "tester.log").symlink_to(tmp_path / "secret")

    assert [log.role for log in list_logs(Disk(), checkout.ref.repo_path, LOOP)] == ["planner"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [(None, "one\ntwo\nthree\n"), (0, ""), (1, "three\n"), (2, "two\nthree\n"), (9, "one\ntwo\nthree\n")],
)
def test_the_end_of_a_log_is_its_last_lines(tmp_path: Path, lines: int | None, expected: str) -> None:
    path = log_of(Checkout(tmp_path), 1, "planner", "one\ntwo\nthree\n")

    part = read_log_end(Disk(), str(path), bytes_max=1000, lines_max=lines)

    assert part.data.decode() == expected
    assert (part.offset + len(part.data), part.next_offset) == (14, 14)


@given(
    st.lists(st.text("ab", max_size=5), max_size=12),
    st.booleans(),
    st.integers(1, 40),
    st.none() | st.integers(0, 15),
)
def test_an_end_is_whole_lines_within_both_limits(
    texts: list[str], newline: bool, bytes_max: int, lines_max: int | None
) -> None:
    whole = "\n".join(texts) + ("\n" if newline and texts else "")

    with tempfile.NamedTemporaryFile() as file:
        file.write(whole.encode())
        file.flush()
        part = read_log_end(Disk(), file.name, bytes_max=bytes_max, lines_max=lines_max)
    text = part.data.decode()

    assert whole.endswith(text)
    assert len(text) <= bytes_max
    starts_a_line = part.offset == 0 or whole[part.offset - 1] == "\n"
    assert starts_a_line or "\n" not in text.rstrip("\n")
    if lines_max is not None:
        assert len(text.splitlines()) <= lines_max


def test_a_log_is_followed_and_noticed_when_begun_anew(tmp_path: Path) -> None:
    """Each turn of a role truncates its log; what it writes then must not be mistaken for more of the old."""
    path = log_of(Checkout(tmp_path), 1, "planner", "one\n")
    disk = Disk()

    def follow(part: LogPart) -> LogPart:
        return read_log_on(disk, str(path), offset=part.next_offset, inode=part.inode, bytes_max=1000)

    first = read_log_end(disk, str(path), bytes_max=1000)
    with path.open("a") as file:
        file.write("two\n")
    second = follow(first)
    path.write_text("new\n")
    third = follow(second)

    assert (second.data, second.restarted) == (b"two\n", False)
    assert (third.data, third.restarted, third.next_offset) == (b"new\n", True, 4)
    assert follow(third).data == b""
