"""A launched run beats while it lives, leaves a record of its end, and needs nobody to go on."""

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opsd.controls.signals import RUN_WORDS
from opsd.core.heartbeat import believe, freshness
from opsd.core.instants import parse
from opsd.model.heartbeat import Freshness
from opsd.model.observation import Artifact
from opsd.model.runtime import ActiveRun, Presence
from opsd.model.thresholds import Thresholds
from opsd.processes import ProcFs, boot_id
from opsd.sim.part import Part
from opsd.transports.artifacts import read_heartbeat
from tests.doubles.mounts import small_disk
from tests.doubles.scripts import eventually, kill, number_in, parent_of, script, state_of
from tests.sim.checkouts import Sandbox
from tests.sprite.launched import LOOP, Launched

WAITS = "trap 'exit 143' TERM; trap 'exit 130' INT; trap 'exit 129' HUP; while :; do sleep 60 & wait; done"


def test_the_first_beat_comes_at_once_and_says_whose_it_is(tmp_path: Path) -> None:
    with Launched(tmp_path, WAITS, "--launch-id", "in-17") as launched:
        beat = launched.first_beat()

        assert beat["schemaVersion"] == "v1"
        assert beat["source"] == "opsd launch"
        assert beat["status"] == "running"
        assert (beat["loop_id"], beat["launch_id"]) == (LOOP, "in-17")
        assert beat["launcher_pid"] == launched.process.pid == parent_of(beat["pid"])
        assert beat["boot_id"] == boot_id()
        for member in ("timestamp", "pid_started"):
            at = parse(beat[member])
            assert at is not None
            assert abs(datetime.now(UTC) - at) < timedelta(seconds=10)
        assert {"run_id", "stage", "exit_code", "exit_signal", "exited_at"}.isdisjoint(beat)
        assert oct(launched.heartbeat.stat().st_mode)[-3:] == "644"


def test_the_run_leads_a_group_and_is_known_by_its_command_line(tmp_path: Path) -> None:
    with Launched(tmp_path, WAITS) as launched:
        pid = launched.first_beat()["pid"]

        assert os.getpgid(pid) == os.getsid(pid) == pid
        assert RUN_WORDS in str(ProcFs().command_line(pid))
        assert os.readlink(f"/proc/{pid}/cwd") == str(launched.repo)
        assert os.readlink(f"/proc/{pid}/fd/0") == os.devnull


@pytest.mark.parametrize("code", [0, 1, 7])
def test_an_exit_code_is_on_record_and_is_the_launchers_own(tmp_path: Path, code: int) -> None:
    with Launched(tmp_path, f"exit {code}") as launched:
        beat = launched.last_beat()

        assert launched.process.returncode == code
        assert beat["exit_code"] == code
        assert "exit_signal" not in beat
        assert parse(beat["exited_at"]) is not None


def test_a_signal_that_ended_the_run_is_on_record(tmp_path: Path) -> None:
    with Launched(tmp_path, "kill -KILL $$") as launched:
        beat = launched.last_beat()

        assert launched.process.returncode == 128 + 9
        assert beat["exit_signal"] == 9
        assert "exit_code" not in beat


def test_the_daemon_believes_the_last_beat_and_never_calls_it_late(tmp_path: Path) -> None:
    with Launched(tmp_path, "exit 3") as launched:
        launched.last_beat()
        heartbeat = read_heartbeat(launched.heartbeat.read_bytes())
        run = ActiveRun(pid=heartbeat.pid, loop_id=LOOP)

        beat, fault = believe(None, Artifact(Presence.PRESENT, heartbeat), run)

        assert fault is None
        assert beat is not None
        assert heartbeat.exit_code == 3
        thresholds = Thresholds("balanced", 300, 900, 120, 300, 2, 4)
        assert freshness(beat, thresholds, beat.at + timedelta(days=30)) is Freshness.FRESH
        assert believe(None, Artifact(Presence.PRESENT, heartbeat), ActiveRun(pid=1, loop_id=LOOP)) == (None, None)


def test_beats_go_on_and_readers_find_each_of_them_whole(tmp_path: Path) -> None:
    with Launched(tmp_path, WAITS, "--interval", "0.001") as launched:
        launched.first_beat()
        inodes = set()
        for _ in range(2_000):
            json.loads(launched.heartbeat.read_bytes())
            inodes.add(launched.heartbeat.stat().st_ino)
        first = launched.first_beat()["timestamp"]

        eventually(lambda: launched.first_beat()["timestamp"] > first, "the time goes on")
        assert len(inodes) > 1


def test_it_tells_which_run_it_is_and_its_stage_as_soon_as_the_runtime_does(tmp_path: Path) -> None:
    box = Sandbox(tmp_path, Part(scenario="silent-stall", speed=2000.0, gap_s=0.001))
    argv = [
        sys.executable, "-m", "opsd", "launch", "--repo", str(box.repo), "--loop", "demo-loop", "--log", os.devnull,
        "--", box.command, "run", "--repo", str(box.repo), "--loop", "demo-loop",
    ]  # fmt: skip
    process = subprocess.Popen(argv)
    try:
        eventually(lambda: "run_id" in (box.document("loops/demo-loop/heartbeat.v1.json") or {}), "it says which run")

        beat = box.document("loops/demo-loop/heartbeat.v1.json") or {}
        assert beat["run_id"] == box.events()[0]["run_id"]
        assert beat["stage"] == "loop_start"
        active_run = box.document("active-run.json") or {}
        assert beat["pid"] == active_run["pid"] == active_run["pgid"]
    finally:
        process.terminate()
        assert process.wait(20) == 143


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_signals_are_passed_on_to_the_run(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with Launched(tmp_path, WAITS) as launched:
        launched.first_beat()
        eventually(lambda: len(ProcFs().members(launched.first_beat()["pid"], None)) == 2, "the run waits")

        launched.process.send_signal(number)

        assert launched.last_beat()["exit_code"] == code
        assert launched.process.returncode == code


def test_a_signal_reaches_all_of_the_run_even_while_it_is_paused(tmp_path: Path) -> None:
    with Launched(tmp_path, f"trap 'exit 9' TERM; sleep 60 & echo $! > {tmp_path}/child; wait") as launched:
        child, pid = number_in(tmp_path / "child"), launched.first_beat()["pid"]
        os.killpg(pid, signal.SIGSTOP)
        eventually(lambda: state_of(child) == state_of(pid) == "T", "it is paused")

        launched.process.terminate()

        assert launched.last_beat()["exit_code"] == 9
        eventually(lambda: state_of(child) == "", "the child is gone too")


def test_the_run_and_what_it_prints_outlive_the_launcher(tmp_path: Path) -> None:
    with Launched(tmp_path, "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done") as launched:
        pid = launched.first_beat()["pid"]
        eventually(lambda: "3\n" in launched.printed(), "it prints")

        launched.process.kill()
        launched.process.wait()

        lines = len(launched.printed().splitlines())
        eventually(lambda: len(launched.printed().splitlines()) > lines + 5, "it goes on printing")
        assert state_of(pid) != ""
        assert (launched.beat() or {})["status"] == "running"  # nobody knows better


def test_a_paused_run_outlives_the_launcher_too(tmp_path: Path) -> None:
    """The kernel ends stopped groups whose last tie to their session goes, unless they have one of their own."""
    with Launched(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; wait") as launched:
        child, pid = number_in(tmp_path / "child"), launched.first_beat()["pid"]
        os.killpg(pid, signal.SIGSTOP)
        eventually(lambda: state_of(child) == state_of(pid) == "T", "it is paused")

        launched.process.kill()
        launched.process.wait()
        eventually(lambda: parent_of(pid) != launched.process.pid, "the run has another parent")

        assert (state_of(pid), state_of(child)) == ("T", "T")
        kill(child)


def test_what_is_printed_is_appended_to_the_log_and_its_time_is_told(tmp_path: Path) -> None:
    (tmp_path / "run.log").write_text("from before\n")
    with Launched(tmp_path, "echo out; echo err >&2; sleep 60; true") as launched:
        eventually(lambda: "last_output_at" in launched.first_beat() or _nudge(launched), "it tells")

        printed = datetime.fromtimestamp(launched.log.stat().st_mtime, UTC)
        assert launched.printed() == "from before\nout\nerr\n"
        assert launched.first_beat()["last_output_at"] == printed.strftime("%Y-%m-%dT%H:%M:%SZ")


def _nudge(launched: Launched) -> bool:
    """Something that the launcher waits for, so that it beats before its time."""
    (launched.repo / ".superloop" / "active-run.json").write_text(json.dumps({"loop_id": LOOP, "stage": "x"}))
    return False


def test_a_run_that_prints_nothing_says_so_by_leaving_the_time_out(tmp_path: Path) -> None:
    (tmp_path / "run.log").write_text("from before\n")
    with Launched(tmp_path, "exit 0") as launched:
        assert "last_output_at" not in launched.last_beat()


@pytest.mark.slow
def test_a_flood_is_cut_down_to_its_end_while_the_run_goes_on(tmp_path: Path) -> None:
    flood = "n=0; while [ $n -lt 40 ]; do n=$((n+1)); head -c 999999 /dev/zero | tr '\\0' x; echo; sleep 0.1; done"
    with Launched(tmp_path, f"{flood}; echo the end") as launched:
        launched.last_beat()

        # What is printed within a second comes on top.
        assert launched.log.stat().st_size < (8 + 11) * 1024 * 1024
        lines = launched.printed().splitlines()
        assert lines[-1] == "the end"
        assert lines[0].startswith("[opsd launch: ")
        assert [len(line) for line in lines].count(999_999) >= 2  # one that is printed at a cut loses a part


def test_the_environment_of_the_run_is_ours_without_what_is_meant_for_us(tmp_path: Path) -> None:
    variables = {"OPSD_TOKEN": "secret", "INVOCATION_ID": "1", "LISTEN_FDS": "1", "SUPERLOOP_WORD": "given"}
    with Launched(tmp_path, "env; grep SigIgn /proc/$$/status", variables=variables) as launched:
        launched.last_beat()
        said = launched.printed().splitlines()

    assert "SUPERLOOP_WORD=given" in said
    assert not [line for line in said if line.startswith(("OPSD_", "INVOCATION_ID", "LISTEN_", "NOTIFY_"))]
    assert int(said[-1].split()[1], 16) & (1 << (signal.SIGPIPE - 1)) == 0


def test_a_unit_manager_is_told_once_the_run_has_begun(tmp_path: Path, short_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{short_path}/notify")
        manager.settimeout(20)
        with Launched(tmp_path, WAITS, variables={"NOTIFY_SOCKET": f"{short_path}/notify"}) as launched:
            assert manager.recv(1000) == b"READY=1"
            assert launched.beat() is not None


def test_a_loop_that_never_ran_beats_from_when_it_has_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "repo" / ".superloop" / "loops" / LOOP
    with Launched(tmp_path, f"mkdir -p {folder}; {WAITS}", folder=False) as launched:
        assert launched.first_beat()["status"] == "running"
    assert launched.printed() == ""


def test_the_end_of_a_run_that_never_made_its_folder_is_on_record(tmp_path: Path) -> None:
    with Launched(tmp_path, "exit 9", folder=False) as launched:
        assert launched.last_beat()["exit_code"] == 9


def test_a_beat_that_cannot_be_written_is_tried_again_and_the_run_is_not_disturbed(tmp_path: Path) -> None:
    obstacle = tmp_path / "repo" / ".superloop" / "loops" / LOOP / "heartbeat.v1.json.tmp"
    obstacle.mkdir(parents=True)
    with Launched(tmp_path, f"while [ -e {obstacle} ]; do sleep 0.05; done; {WAITS}") as launched:
        said = launched.process.stderr
        assert said is not None
        assert "the heartbeat cannot be written: Is a directory" in said.readline()
        assert launched.beat() is None

        obstacle.rmdir()

        assert state_of(launched.first_beat()["pid"]) != ""


def test_the_last_beat_is_written_once_there_is_room_for_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        folder = tmp_path / "repo" / ".superloop" / "loops"
        folder.mkdir(parents=True)
        (disk / LOOP).mkdir()
        (folder / LOOP).symlink_to(disk / LOOP)
        with Launched(tmp_path, f"while [ ! -e {tmp_path}/end ]; do sleep 0.02; done; exit 5") as launched:
            launched.first_beat()
            try:
                with (disk / "filler").open("wb", buffering=0) as filler:
                    while filler.write(b"x" * 4096) == 4096:
                        pass
            except OSError:
                pass
            (tmp_path / "end").touch()
            eventually(lambda: state_of((launched.beat() or {})["pid"]) == "", "the run has ended")
            said = launched.process.stderr
            assert said is not None
            assert "cannot be written: No space left on device" in said.readline()
            assert (launched.beat() or {})["status"] == "running"

            (disk / "filler").unlink()

            assert launched.last_beat()["exit_code"] == 5


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("missing/superloop.sh", 127, "there is no such command"),
        ("plain/superloop.sh", 126, "Permission denied"),
        ("interpreter/superloop.sh", 126, "the interpreter that its first line names is not there"),
        ("garbage/superloop.sh", 126, "Exec format error"),
    ],
)
@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_a_command_that_cannot_be_begun_is_said_and_leaves_no_beat(
    tmp_path: Path, command: str, code: int, says: str, detach: list[str]
) -> None:
    Path(script(tmp_path / "plain", "")).chmod(0o644)
    script(tmp_path / "interpreter", "", first="#!/no/such/shell")
    Path(script(tmp_path / "garbage", "")).write_bytes(b"\x7fELF no more\n")
    launched = Launched(tmp_path, "", *detach)
    launched.argv[launched.argv.index("--") + 1] = str(tmp_path / command)

    with launched:
        _, said = launched.process.communicate(timeout=20)

        assert launched.process.returncode == code
        assert says in said
        assert says in launched.printed()
        assert launched.beat() is None


_MODULES = """
import sys
from opsd.__main__ import main
code = main(sys.argv[1:])
print(" ".join(sorted(sys.modules)))
sys.exit(code)
"""


def test_little_is_loaded_and_little_is_held(tmp_path: Path) -> None:
    """There is one beside every loop."""
    launched = Launched(tmp_path, "exit 0")
    done = subprocess.run(
        [sys.executable, "-c", _MODULES, *launched.argv[3:]], capture_output=True, text=True, timeout=20, check=True
    )
    modules = set(done.stdout.split())

    assert "opsd.sprite.vigil" in modules
    heavy = {"pydantic", "starlette", "anyio", "asyncio", "msgspec", "structlog", "uvicorn", "subprocess", "threading"}
    assert modules & (heavy | {"logging", "socket", "ssl", "ctypes", "opsd.daemon", "opsd.settings"}) == set()

    with Launched(tmp_path, WAITS) as waiting:
        waiting.first_beat()
        rss = Path(f"/proc/{waiting.process.pid}/status").read_text().partition("VmRSS:")[2].split()[0]
        assert int(rss) < 20_000
