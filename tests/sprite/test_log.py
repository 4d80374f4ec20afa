"""The file that a run prints into: appended to by the run, cut by the launcher, and when it was last printed to."""

import os
from pathlib import Path

import pytest

from opsd.sprite.log import KEPT_BYTES, SIZE_BYTES_MAX, OutputLog

LINE = b"x" * 999 + b"\n"


def test_what_was_there_stays_and_is_nobodys_output(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_text("before\n")

    log = OutputLog(str(path))
    log.look()
    assert log.last_output_s is None
    os.write(log.fd, b"now\n")
    log.look()

    assert path.read_text() == "before\nnow\n"
    assert log.last_output_s == path.stat().st_mtime


def test_at_its_limit_the_file_is_whole_and_beyond_it_keeps_its_end(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    log = OutputLog(str(path))
    os.write(log.fd, LINE * (SIZE_BYTES_MAX // len(LINE)))
    log.look()
    assert path.stat().st_size > SIZE_BYTES_MAX - len(LINE)

    os.write(log.fd, LINE + b"the last\n")
    log.look()

    lines = path.read_bytes().splitlines()
    assert KEPT_BYTES - len(LINE) < path.stat().st_size < KEPT_BYTES + 100
    assert lines[0] == b"[opsd launch: what was printed before was cut off]"
    assert lines[-1] == b"the last"
    assert {len(line) for line in lines[1:-1]} == {999}


def test_the_run_goes_on_at_the_end_after_a_cut(tmp_path: Path) -> None:
    """A file cut under a writer that keeps its own place would get a hole as long as what was cut."""
    path = tmp_path / "run.log"
    log = OutputLog(str(path))
    os.write(log.fd, LINE * 9000)
    log.look()
    size = path.stat().st_size

    os.write(log.fd, b"more\n")

    assert path.stat().st_size == size + 5
    assert b"\0" not in path.read_bytes()


def test_a_cut_is_no_output(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    log = OutputLog(str(path))
    os.write(log.fd, LINE * 9000)
    os.utime(path, (1000, 1000))
    log.look()

    log.look()

    assert log.last_output_s == 1000


@pytest.mark.parametrize("path", ["/dev/null", "/dev/full"])
def test_a_device_is_no_file_to_be_cut(path: str) -> None:
    log = OutputLog(path)

    log.look()

    assert log.last_output_s is None
