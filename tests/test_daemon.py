"""The real daemon as a process: what it does between being started and being gone."""

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opsd import VERSION
from opsd.exits import ExitCode
from opsd.sim.trees import lay_down
from tests.doubles.process import LIMIT_S, OpsdProcess, finished, spawn, wait_until


@pytest.fixture
def home(short_path: Path) -> Path:
    """A home whose registry names two checkouts: a run that ended well, and one that waits for approval."""
    home = short_path / "home"
    loops = {"ended": ("complete", None), "waits": ("approval", "pending")}
    for loop_id, (scenario, until) in loops.items():
        lay_down(scenario, short_path / loop_id, at=datetime.now(UTC), until=until, loop_id=loop_id)
    registry = home / ".superloop" / "ops-manager" / "fleet" / "registry.v1.json"
    registry.parent.mkdir(parents=True)
    entries = [{"loopId": loop_id, "repoPath": str(short_path / loop_id)} for loop_id in loops]
    registry.write_text(json.dumps({"schemaVersion": "v1", "loops": entries}))
    return home


def seen(opsd: OpsdProcess, loop_id: str, lifecycle: str) -> None:
    opsd.until(lambda: opsd.loop(loop_id)["lifecycle"] == lifecycle, f"{loop_id} is {lifecycle}")


def escalations(home: Path, loop_id: str) -> list[str]:
    path = home / ".superloop" / "ops-manager" / loop_id / "escalations.jsonl"
    return [json.loads(line)["category"] for line in path.read_text().splitlines()] if path.exists() else []


def profile_of(opsd: OpsdProcess, loop_id: str) -> str:
    profile: str = opsd.get(f"/v1/loops/{loop_id}")["health"]["thresholds"]["profile"]
    return profile


def test_it_supervises_from_ready_to_sigterm_and_leaves_no_trace_but_its_files(home: Path) -> None:
    with OpsdProcess(home) as opsd:
        seen(opsd, "ended", "complete")
        seen(opsd, "waits", "awaiting_approval")
        assert opsd.get("/healthz")["ok"]
        assert oct(os.stat(opsd.socket).st_mode & 0o777) == "0o660"

        assert opsd.stop() == ExitCode.OK

        events = opsd.events()
        assert events[:1] == ["daemon.starting"]
        assert [event for event in events if event.startswith("daemon.")] == [
            "daemon.starting",
            "daemon.started",
            "daemon.ready",
            "daemon.stopping",
            "daemon.stop_step",
            "daemon.stop_step",
            "daemon.stopped",
        ]
        assert not os.path.lexists(opsd.socket)
        assert escalations(home, "waits") == ["approval_pending"]
        state = json.loads((home / ".superloop/ops-manager/waits/state.json").read_text())
        assert state["transition"]["currentState"] == "awaiting_approval"


def test_who_watches_hears_of_a_change_and_of_the_stop(home: Path, short_path: Path) -> None:
    with OpsdProcess(home) as opsd:
        seen(opsd, "waits", "awaiting_approval")
        lines = opsd.watch()
        while next(lines)["kind"] != "live":
            pass
        log = short_path / "ended" / ".superloop" / "loops" / "ended" / "events.jsonl"
        last = json.loads(log.read_text().splitlines()[-1])
        with log.open("a") as file:
            file.write(json.dumps(last | {"event": "loop_start", "run_id": "2030-01-01T00:00:00Z"}) + "\n")

        change = next(line for line in lines if line["kind"] == "loop" and line["loop"]["loopId"] == "ended")
        opsd.process.send_signal(signal.SIGTERM)

        assert change["loop"]["progress"]["runId"] == "2030-01-01T00:00:00Z"
        assert [line["kind"] for line in lines][-1] == "bye"
        assert opsd.process.wait(LIMIT_S) == ExitCode.OK


def test_an_operators_reconcile_is_on_the_disk_when_it_is_answered(home: Path) -> None:
    with OpsdProcess(home) as opsd:
        seen(opsd, "ended", "complete")
        reply = opsd.post("/v1/loops/ended/reconcile", {"fromStart": True})

        cursor = json.loads((home / ".superloop/ops-manager/ended/cursor.json").read_text())

        assert reply["eventsIngested"] > 5
        assert cursor["eventLineOffset"] == reply["status"]["cursor"]["eventLineOffset"]


def test_after_a_kill_it_goes_on_where_it_was_and_escalates_nothing_twice(home: Path) -> None:
    with OpsdProcess(home) as opsd:
        seen(opsd, "waits", "awaiting_approval")
        opsd.until(lambda: escalations(home, "waits") == ["approval_pending"], "the escalation is on the disk")
        start_id = opsd.get("/v1/fleet")["daemon"]["startId"]
        opsd.kill()
        opsd.start()

        seen(opsd, "waits", "awaiting_approval")
        opsd.post("/v1/loops/waits/reconcile", {})

        assert opsd.get("/v1/fleet")["daemon"]["startId"] != start_id
        assert escalations(home, "waits") == ["approval_pending"]
        assert opsd.stop() == ExitCode.OK


def test_a_second_daemon_is_sent_away_and_the_first_is_named(home: Path) -> None:
    with OpsdProcess(home) as first:
        code, _, err = finished("--repo", str(home))

        assert code == ExitCode.LOCKED
        assert f"pid {first.process.pid}" in err
        assert first.get("/healthz")["ok"], "the first one did not even notice"


def test_bad_settings_keep_the_old_ones_until_they_are_mended(home: Path, tmp_path: Path) -> None:
    config = tmp_path / "opsd.toml"
    config.write_text('threshold_profile = "relaxed"\n')
    with OpsdProcess(home, "--config", str(config)) as opsd:
        config.write_text('threshold_profile = "no-such"\n')
        opsd.process.send_signal(signal.SIGHUP)
        opsd.until(lambda: opsd.findings() == ["settings_invalid"], "the bad settings are said")

        config.write_text('threshold_profile = "strict"\nwatch = false\n')
        opsd.process.send_signal(signal.SIGHUP)
        opsd.until(lambda: opsd.findings() == [], "the mended settings are taken")

        reloaded = next(line for line in opsd.log() if line["event"] == "settings.reloaded")
        assert reloaded["changed"] == ["threshold_profile"]
        assert reloaded["need_restart"] == ["watch"]
        opsd.until(
            lambda: opsd.get("/v1/loops/ended")["health"]["thresholds"]["profile"] == "strict",
            "the loops are judged anew",
        )


def test_a_bad_setting_is_refused_before_anything_is_touched(home: Path) -> None:
    before = sorted(path.name for path in (home / ".superloop" / "ops-manager").iterdir())

    code, out, err = finished("run", "--repo", str(home), "--commit-interval-s", "soon")

    assert code == ExitCode.USAGE
    assert out == ""
    assert "commit_interval_s (flag --commit-interval-s) is 'soon'" in err
    assert "Traceback" not in err
    assert sorted(path.name for path in (home / ".superloop" / "ops-manager").iterdir()) == before


def test_a_place_that_takes_no_socket_is_refused_with_its_own_code(home: Path, short_path: Path) -> None:
    taken = short_path / "taken"
    taken.write_text("")

    code, _, err = finished("run", "--repo", str(home), "--socket-path", str(taken))

    assert code == ExitCode.UNUSABLE
    assert "no socket" in err
    assert "Traceback" not in err


def test_sigterm_during_the_start_ends_it_as_well(home: Path) -> None:
    process = spawn("run", "--repo", str(home))
    lock = home / ".superloop" / "ops-manager" / ".lock"
    wait_until(lambda: lock.exists() and lock.stat().st_size > 0, "the home is locked")
    process.terminate()

    # Between the lock and the first signal handler the system's own answer to SIGTERM still holds.
    assert process.wait(LIMIT_S) in (ExitCode.OK, -signal.SIGTERM)


def test_systemd_hands_over_its_socket_and_hears_when_we_are_ready(home: Path, short_path: Path) -> None:
    path = str(short_path / "activated.sock")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        listening.bind(path)
        listening.listen()
        notify = str(short_path / "notify")
        manager.bind(notify)
        manager.settimeout(LIMIT_S)
        # What systemd does between fork and exec: the socket as descriptor 3, and the pid that it is meant for.
        become = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
        become += "os.execv(sys.argv[2], sys.argv[2:])"
        process = spawn(
            "--repo",
            str(home),
            variables={"LISTEN_FDS": "1", "NOTIFY_SOCKET": notify, "WATCHDOG_USEC": "30000000"},
            wrapper=(sys.executable, "-c", become, str(listening.fileno())),
            pass_fds=(listening.fileno(),),
        )
        try:
            words: set[bytes] = set()
            while not {b"READY=1", b"WATCHDOG=1"} <= words:
                words |= set(manager.recv(4_096).splitlines())
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(path)
                caller.sendall(b"GET /healthz HTTP/1.1\r\nhost: opsd\r\nconnection: close\r\n\r\n")
                assert caller.recv(4_096).startswith(b"HTTP/1.1 200")
            assert not os.path.lexists(f"{home}/.superloop/ops-manager/opsd.sock")

            process.terminate()
            while manager.recv(4_096) != b"STOPPING=1":
                pass
            assert process.wait(LIMIT_S) == ExitCode.OK
        finally:
            process.kill()
            process.wait(LIMIT_S)
        assert os.path.lexists(path), "systemd's socket is systemd's to remove"


def test_help_tells_the_commands_and_what_each_exit_code_means() -> None:
    code, out, _ = finished("--help")
    assert code == ExitCode.OK
    for word in ("run", "sim", "demo", "version", *(f"{exit_code.value}  {exit_code.says}" for exit_code in ExitCode)):
        assert word in out

    code, out, _ = finished("run", "--help")
    assert code == ExitCode.OK
    assert "--pass-deadline-s" in out


def test_an_unknown_command_is_a_matter_of_usage() -> None:
    code, _, err = finished("runn")

    assert code == ExitCode.USAGE
    assert "runn" in err


def test_the_version_comes_without_loading_the_daemon() -> None:
    """Nobody waits half a second for three numbers."""
    ask = (
        "import sys; from opsd.__main__ import main; main(['version']); "
        "print(*sorted({'anyio', 'pydantic', 'msgspec', 'structlog', 'uvicorn'} & sys.modules.keys()))"
    )

    out = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, timeout=LIMIT_S, check=True
    ).stdout

    assert out.splitlines() == [f"opsd {VERSION}", ""]
