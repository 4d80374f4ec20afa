"""The disk and its stand-in in memory keep the same promises; then what only a real disk can get wrong."""

import errno
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsd.disk import Disk
from opsd.ports import Files
from tests.doubles.files import MemoryFiles
from tests.doubles.mounts import small_disk


@pytest.fixture(params=["disk", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return Disk() if request.param == "disk" else MemoryFiles(str(tmp_path))


def _read(files: Files, path: str) -> bytes:
    return files.read(path, 0, 1 << 20)[1]


class TestEveryDisk:
    def test_nothing_is_there_until_something_is_written(self, files: Files, tmp_path: Path) -> None:
        path = f"{tmp_path}/a.json"
        assert files.stat(path) is None
        with pytest.raises(FileNotFoundError):
            files.read(path, 0, 10)

        files.replace(path, b"one", sync=False)

        found = files.stat(path)
        assert found is not None
        assert (found.kind, found.size_bytes) == ("file", 3)

    def test_a_replacement_is_another_file_of_the_same_name(self, files: Files, tmp_path: Path) -> None:
        """Readers that hold the old one open keep a whole document."""
        path = f"{tmp_path}/a.json"
        files.replace(path, b"one", sync=True)
        before = files.stat(path)
        files.replace(path, b"second", sync=False)
        after = files.stat(path)

        assert before is not None
        assert after is not None
        assert before.inode != after.inode
        assert _read(files, path) == b"second"
        assert [name for name, _ in files.scan(str(tmp_path)) if not name.startswith(".")] == ["a.json"]

    def test_a_read_gets_the_bytes_asked_for_and_the_stat_of_that_file(self, files: Files, tmp_path: Path) -> None:
        path = f"{tmp_path}/a.jsonl"
        files.append(path, b"0123456789", sync=False)

        found, data = files.read(path, 3, 4)

        assert data == b"3456"
        assert found == files.stat(path)
        assert files.read(path, 8, 100)[1] == b"89"
        assert files.read(path, 10, 5)[1] == b""
        assert files.read(path, 99, 5)[1] == b""

    @pytest.mark.parametrize("sync", [True, False])
    def test_an_append_creates_the_file_and_says_how_large_it_is_now(
        self, files: Files, tmp_path: Path, sync: bool
    ) -> None:
        path = f"{tmp_path}/a.jsonl"

        assert files.append(path, b"one\n", sync=sync) == 4
        assert files.append(path, b"two\n", sync=sync) == 8
        assert _read(files, path) == b"one\ntwo\n"

    def test_a_write_into_a_missing_folder_says_so(self, files: Files, tmp_path: Path) -> None:
        path = f"{tmp_path}/loop/telemetry/a.jsonl"
        with pytest.raises(FileNotFoundError):
            files.append(path, b"x\n", sync=False)
        with pytest.raises(FileNotFoundError):
            files.replace(path, b"x\n", sync=False)

        files.make_dirs(f"{tmp_path}/loop/telemetry")
        files.make_dirs(f"{tmp_path}/loop/telemetry")

        files.append(path, b"x\n", sync=True)
        assert files.scan(f"{tmp_path}/loop") == [("telemetry", "dir")]

    def test_a_folder_is_never_read_as_a_file(self, files: Files, tmp_path: Path) -> None:
        files.make_dirs(f"{tmp_path}/state.json")
        with pytest.raises(OSError, match="not a regular file"):
            files.read(f"{tmp_path}/state.json", 0, 10)
        with pytest.raises(OSError):
            files.replace(f"{tmp_path}/state.json", b"x", sync=False)
        assert files.scan(str(tmp_path)) == [("state.json", "dir")]

    def test_truncating_renaming_and_removing(self, files: Files, tmp_path: Path) -> None:
        path, aside = f"{tmp_path}/a.jsonl", f"{tmp_path}/a.1.jsonl"
        files.append(path, b"one\ntorn", sync=True)
        files.append(aside, b"older\n", sync=True)

        files.truncate(path, 4)
        files.rename(path, aside)

        assert files.stat(path) is None
        assert _read(files, aside) == b"one\n"
        files.remove(aside)
        assert files.stat(aside) is None
        with pytest.raises(FileNotFoundError):
            files.remove(aside)
        with pytest.raises(FileNotFoundError):
            files.rename(aside, path)

    def test_below_a_file_there_is_nothing(self, files: Files, tmp_path: Path) -> None:
        files.append(f"{tmp_path}/a", b"x", sync=False)
        assert files.stat(f"{tmp_path}/a/b") is None


class TestRealDisk:
    def test_files_are_group_readable_within_the_umask(self, tmp_path: Path) -> None:
        """The reference manager left `cursor.json` at 0600, where its neighbours could be read."""
        path = tmp_path / "cursor.json"
        path.write_bytes(b"old")
        path.chmod(0o600)

        Disk().replace(str(path), b"new", sync=False)
        Disk().append(f"{tmp_path}/rows.jsonl", b"x\n", sync=False)

        umask = os.umask(0)
        os.umask(umask)
        assert stat.S_IMODE(path.stat().st_mode) == 0o644 & ~umask
        assert stat.S_IMODE((tmp_path / "rows.jsonl").stat().st_mode) == 0o644 & ~umask

    def test_a_reader_that_holds_an_old_version_keeps_it_whole(self, tmp_path: Path) -> None:
        """The old copy is written over for the next version only when nobody has it open."""
        disk, path = Disk(), f"{tmp_path}/a.json"
        for version in (b"one", b"two"):
            disk.replace(path, version, sync=False)

        with open(path, "rb") as reader:
            for number in range(5):
                disk.replace(path, b"another %d" % number, sync=False)

            assert reader.read() == b"two"
        assert _read(disk, path) == b"another 4"

    def test_versions_in_a_row_make_no_new_files(self, tmp_path: Path) -> None:
        """Birth and death of an inode are most of what a replacement costs: two take turns."""
        disk, path = Disk(), f"{tmp_path}/a.json"
        inodes = set()
        for number in range(6):
            disk.replace(path, b"x" * (100 - number), sync=False)
            inodes.add(os.stat(path).st_ino)

        assert len(inodes) == 2
        assert _read(disk, path) == b"x" * 95

    def test_a_replacement_that_must_last_is_a_new_file(self, tmp_path: Path) -> None:
        """An old copy written over could come back from a power cut half old, half new."""
        disk, path = Disk(), f"{tmp_path}/a.json"
        disk.replace(path, b"one", sync=False)
        disk.replace(path, b"two", sync=False)

        with open(f"{tmp_path}/.a.json.tmp", "rb") as spare:  # held open, so that its number is not given away again
            disk.replace(path, b"three", sync=True)

            assert os.stat(path).st_ino != os.fstat(spare.fileno()).st_ino
        assert _read(disk, path) == b"three"

    def test_a_leftover_of_a_crash_gives_way(self, tmp_path: Path) -> None:
        (tmp_path / ".state.json.tmp").write_bytes(b"half a docu")

        Disk().replace(f"{tmp_path}/state.json", b"whole", sync=False)

        assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]

    def test_a_link_in_the_place_of_the_leftover_is_not_followed(self, tmp_path: Path) -> None:
        """Whoever may write in the folder must not make us overwrite a file elsewhere."""
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_bytes(b"precious")
        (tmp_path / ".state.json.tmp").symlink_to(elsewhere)

        Disk().replace(f"{tmp_path}/state.json", b"whole", sync=False)

        assert elsewhere.read_bytes() == b"precious"

    def test_a_failed_replacement_leaves_the_old_file_and_nothing_beside(self, tmp_path: Path) -> None:
        (tmp_path / "state.json").mkdir()
        (tmp_path / "state.json" / "in the way").touch()

        with pytest.raises(OSError):
            Disk().replace(f"{tmp_path}/state.json", b"whole", sync=False)

        assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]

    @pytest.mark.timeout(10)
    def test_neither_reading_nor_appending_waits_for_a_fifo(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "events.jsonl")
        with pytest.raises(OSError, match="not a regular file") as refused:
            Disk().read(f"{tmp_path}/events.jsonl", 0, 10)
        assert refused.value.errno == errno.EINVAL
        with pytest.raises(OSError):
            Disk().append(f"{tmp_path}/events.jsonl", b"x\n", sync=False)
        assert Disk().scan(str(tmp_path)) == [("events.jsonl", "other")]

    def test_a_socket_is_no_regular_file_either(self) -> None:
        # A socket's path may have 107 bytes at most, and a test's own folder is often longer.
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/s")
            with pytest.raises(OSError, match="not a regular file"):
                Disk().read(f"{folder}/s", 0, 10)

    def test_a_scan_follows_links_and_leaves_out_names_that_no_document_could_hold(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "folder")
        (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
        (tmp_path / "circle").symlink_to(tmp_path / "circle")
        with open(os.fsencode(tmp_path) + b"/bad-\xff", "wb"):
            pass

        assert sorted(Disk().scan(str(tmp_path))) == [
            ("circle", "other"),
            ("folder", "dir"),
            ("link", "dir"),
            ("nowhere", "other"),
        ]
        assert Disk().real(f"{tmp_path}/link/x") == f"{Disk().real(str(tmp_path))}/folder/x"

    def test_a_short_write_is_taken_back_and_reported(self, tmp_path: Path) -> None:
        """Under a file size limit `write` stores a part and calls it a success; only its return value tells."""
        rows = tmp_path / "rows.jsonl"
        rows.write_bytes(b"first\n")
        program = """
import resource, sys
from opsd.disk import Disk
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
folder = sys.argv[1]
for act in (
    lambda: Disk().append(f"{folder}/rows.jsonl", b"x" * 200, sync=False),
    lambda: Disk().replace(f"{folder}/state.json", b"x" * 200, sync=False),
):
    try:
        act()
    except OSError as error:
        print(error.errno)
"""
        child = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=30, check=True
        )

        assert child.stdout.split() == [str(errno.EFBIG)] * 2
        assert rows.read_bytes() == b"first\n"
        assert [entry.name for entry in tmp_path.iterdir()] == ["rows.jsonl"]

    def test_a_full_disk_leaves_nothing_behind_and_recovers(self, full_disk: Path) -> None:
        disk = Disk()
        disk.append(f"{full_disk}/rows.jsonl", b"first\n", sync=True)
        disk.replace(f"{full_disk}/state.json", b"old", sync=True)
        filler = full_disk / "filler"
        filler.write_bytes(b"x" * 40_000)

        with pytest.raises(OSError) as append_refused:
            disk.append(f"{full_disk}/rows.jsonl", b"x" * 60_000, sync=True)
        with pytest.raises(OSError) as replace_refused:
            disk.replace(f"{full_disk}/state.json", b"x" * 60_000, sync=True)

        assert {append_refused.value.errno, replace_refused.value.errno} == {errno.ENOSPC}
        assert (full_disk / "rows.jsonl").read_bytes() == b"first\n"
        assert (full_disk / "state.json").read_bytes() == b"old"
        filler.unlink()
        assert disk.append(f"{full_disk}/rows.jsonl", b"second\n", sync=True) == 13
        assert sorted(entry.name for entry in full_disk.iterdir()) == ["rows.jsonl", "state.json"]


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small") as mount:
        yield mount
