"""Each command as a process against a real server: what it prints, and with which code it ends."""

import json
import socket
import sys
from pathlib import Path

import anyio

from opsctl.errors import RefusedError
from opsctl.exits import SAYS, Exit
from opsd.api.errors import ERRORS, ErrorCode
from opsd.api.peer import Access
from opsd.model.lifecycle import Lifecycle, Phase
from opsd.protocol import Difference, Verification
from tests.api.wire import eventually
from tests.api.world import a_world, open_folder
from tests.doubles.fleet import a_supervised_run
from tests.opsctl.cli import environment, only_root, opsctl, opsctl_as_stranger, running

ROW = b'{"timestamp":"2026-01-01T00:00:00Z","loopId":"docs-17","category":"run_stuck","id":"e1","summary":"No change."}'


async def test_status_shows_the_fleet_and_one_loop(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        every = await opsctl(world.path, "status")
        one = await opsctl(world.path, "status", "api 03")

    assert (every.code, every.err) == (Exit.OK, "")
    assert [line.split("  ")[0] for line in every.lines()[3:]] == ["api 03", "fleet", "docs-17"]
    assert one.code == Exit.OK
    assert one.out.startswith("api 03  failed (crashed)  critical  runtime_process_missing\n")
    assert "next: " in one.out


async def test_the_same_record_stands_behind_every_form(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        whole = json.loads((await opsctl(world.path, "status", "-o", "json")).out)
        lines = [json.loads(line) for line in (await opsctl(world.path, "status", "-o", "jsonl")).lines()]
        names = (await opsctl(world.path, "status", "-o", "name")).lines()
        yaml = (await opsctl(world.path, "status", "-o", "yaml")).lines()
        rows = (await opsctl(world.path, "status", "--no-headers")).lines()

    assert names == [loop["loopId"] for loop in whole["loops"]] == [loop["loopId"] for loop in lines]
    assert [loop["findings"] for loop in lines] == [loop["findings"] for loop in whole["loops"]]
    assert [line.split(": ")[1] for line in yaml if "- loopId" in line] == ["docs-17", "api 03", "fleet"]
    assert len(rows) == 3


async def test_json_is_the_daemon_s_own_answer(tmp_path: Path) -> None:
    """Nothing that a newer daemon adds is lost on the way."""
    async with a_world(tmp_path) as world:
        direct = (await world.get("/v1/openapi.json")).body
        members = json.loads((await opsctl(world.path, "explain", "docs-17", "-o", "json")).out).keys()

    assert members == json.loads(direct)["components"]["schemas"]["Explanation"]["properties"].keys()


async def test_explain_runs_escalations_and_reconcile(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.queries.journal = [ROW]
        explained = await opsctl(world.path, "explain", "docs-17")
        runs = await opsctl(world.path, "runs", "docs-17")
        escalations = await opsctl(world.path, "escalations")
        reconciled = await opsctl(world.path, "reconcile", "docs-17", "--from-start")

    assert [done.code for done in (explained, runs, escalations, reconciled)] == [Exit.OK] * 4
    assert "Phase: the first rule that holds decides" in explained.out
    assert runs.lines()[1].split()[1] == "running"
    assert "No change." in escalations.out
    assert reconciled.out.startswith("looked at docs-17: 3 events taken in")
    assert world.fleet.asked == [("docs-17", True)]


async def test_events_from_the_end_by_name_and_as_they_stand(tmp_path: Path) -> None:
    names = [f"event_{number}" for number in range(30)]
    async with a_world(tmp_path) as world:
        world.write_events("docs-17", names)
        last = await opsctl(world.path, "events", "docs-17")
        two = await opsctl(world.path, "events", "docs-17", "-n", "2", "-o", "jsonl")
        named = await opsctl(world.path, "events", "docs-17", "--name", "event_3", "--name", "event_7", "-o", "jsonl")

    assert last.lines()[0].split()[:3] == ["LINE", "TIME", "EVENT"]
    assert [line.split()[2] for line in last.lines()[1:]] == names[-20:]
    assert [json.loads(line)["event"] for line in two.lines()] == names[-2:]
    assert [json.loads(line)["event"] for line in named.lines()] == ["event_3", "event_7"]


async def test_events_since_a_moment_are_all_of_them(tmp_path: Path) -> None:
    """More than one page holds."""
    names = [f"event_{number}" for number in range(1_200)]
    async with a_world(tmp_path) as world:
        world.write_events("docs-17", names)
        done = await opsctl(world.path, "events", "docs-17", "--since", "2025-01-01", "-o", "jsonl")

    assert [json.loads(line)["event"] for line in done.lines()] == names


async def test_logs_are_defused_and_say_whose_they_are(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.write_log("docs-17", 3, "tester", "ok\n\x1b[2Jgone\n")
        done = await opsctl(world.path, "logs", "docs-17")

    assert done.out == "ok\n\\x1b[2Jgone\n"
    assert "tester, iteration 3: " in done.err


async def test_verify_says_no_where_something_differs(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.queries.verifications = [
            Verification("docs-17", True, 7, ()),
            Verification("api 03", False, 7, (Difference("memory", "phase", "running", "crashed"),)),
        ]
        same = await opsctl(world.path, "verify", "docs-17")
        differs = await opsctl(world.path, "verify")

    assert same.code == Exit.OK
    assert differs.code == Exit.NO
    assert "memory has running, the files give crashed" in differs.out


async def test_version_names_both_and_notes_where_they_differ(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        same = await opsctl(world.path, "version")
        world.fleet.version = "9.9.9"
        other = await opsctl(world.path, "version", "-o", "json")

    assert [line.split()[0] for line in same.lines()] == ["opsctl", "opsd"]
    assert same.err == ""
    assert json.loads(other.out)["daemon"]["version"] == "9.9.9"
    assert "restart opsd" in other.err


async def test_an_unknown_loop_is_exit_3_with_near_names(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        ends = [
            await opsctl(world.path, *args)
            for args in (["status", "docs-71"], ["watch", "docs-71"], ["wait", "docs-71", "--for", "idle"])
        ]

    for done in ends:
        assert (done.code, done.out) == (Exit.UNKNOWN_LOOP, "")
        assert "did you mean 'docs-17'?" in done.err


async def test_a_refusal_is_exit_1_or_2_with_a_remedy(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.write_log("docs-17", 3, "tester", "ok\n")
        listed = await opsctl(world.path, "reconcile", "fleet")
        role = await opsctl(world.path, "logs", "docs-17", "planner")
        word = await opsctl(world.path, "wait", "docs-17", "--for", "runing")
        when = await opsctl(world.path, "events", "docs-17", "--since", "noon")

    assert (listed.code, role.code) == (Exit.NO, Exit.NO)
    assert "mend its registry entry" in listed.err
    assert "iter-3/tester" in role.err
    assert (word.code, when.code) == (Exit.USAGE, Exit.USAGE)
    assert "did you mean running" in word.err
    assert "next: say how long ago" in when.err


async def test_a_fault_of_the_daemon_is_exit_8(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.fleet.broken = RuntimeError("broken")
        done = await opsctl(world.path, "reconcile", "docs-17")

    assert done.code == Exit.DAEMON_ERROR
    assert "its log says where" in done.err


async def test_absent_stale_and_denied_have_their_own_exits(tmp_path: Path) -> None:
    stale = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(stale))
    absent_done = await opsctl(str(tmp_path / "none"), "status")
    stale_done = await opsctl(str(stale), "status")

    assert (absent_done.code, stale_done.code) == (Exit.NO_DAEMON, Exit.NO_ANSWER)
    assert "start opsd" in absent_done.err
    assert "restart opsd" in stale_done.err
    assert absent_done.out == stale_done.out == ""


@only_root
async def test_another_user_is_denied_by_the_file_or_by_the_daemon() -> None:
    """The socket's mode keeps out whom it can; the daemon asks the kernel about the rest."""
    ends = []
    for access in (None, Access(owner_uid=0, socket_gid=64_003)):
        with open_folder() as folder:
            async with a_world(folder, access) as world:
                ends.append(await opsctl_as_stranger(world.path, "status"))

    assert [done.code for done in ends] == [Exit.DENIED, Exit.DENIED]
    by_file, by_daemon = (done.err for done in ends)
    assert "permission denied on the socket" in by_file
    assert "uid 64001 may not read here" in by_daemon


async def test_the_socket_is_found_from_within_the_home(tmp_path: Path) -> None:
    folder = tmp_path / ".superloop" / "ops-manager"
    folder.mkdir(parents=True)
    below = tmp_path / "src"
    below.mkdir()
    async with a_world(folder):
        done = await opsctl(None, "status", "-o", "name", cwd=str(below))

    assert done.lines() == ["docs-17", "api 03", "fleet"]


async def test_wait_ends_when_it_is_so_or_the_time_is_up(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        already = await opsctl(world.path, "wait", "docs-17", "--for", "running")
        finding = await opsctl(world.path, "wait", "api 03", "--for", "finding:runtime_process_missing", "-o", "name")
        some = await opsctl(world.path, "wait", "docs-17", "api 03", "--for", "crashed", "--any", "-o", "name")
        late = await opsctl(world.path, "wait", "docs-17", "api 03", "--for", "crashed", "--timeout", "0.2")

    assert (already.code, already.out) == (Exit.OK, "docs-17: running\n")
    assert (finding.code, finding.out) == (Exit.OK, "api 03\n")
    assert (some.code, some.out) == (Exit.OK, "api 03\n")
    assert (late.code, late.out) == (Exit.TIMEOUT, "")
    assert "docs-17: running, healthy, -" in late.err, "the laggard is named"
    assert "api 03: " not in late.err


async def test_wait_sees_a_change(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, running(world.path, "wait", "docs-17", "--for", "complete") as wait:
        await eventually(lambda: world.fleet.feed.readers > 0)
        world.fleet.put(
            a_supervised_run("docs-17", world.clock.now(), lifecycle=Lifecycle.COMPLETE, phase=Phase.COMPLETE)
        )
        assert await wait.line() == "docs-17: complete"
        assert await wait.ended() == Exit.OK


async def test_a_reader_who_has_enough_ends_it_quietly(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.write_events("docs-17", [f"event_{number}" for number in range(3_000)])
        script = f"{sys.executable} -m opsctl events docs-17 -n 3000 -o jsonl | head -n 1; echo ${{PIPESTATUS[0]}}"
        done = await anyio.run_process(["bash", "-c", script], env=environment(world.path))

    assert done.stdout.decode().splitlines()[1] == str(int(Exit.PIPE_CLOSED))
    assert done.stderr == b""


async def test_ctrl_c_is_exit_130_without_a_word(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, running(world.path, "watch") as watch:
        await watch.until("fleet")
        assert await watch.interrupt() == Exit.INTERRUPTED


async def test_completion_offers_the_ids_of_intents(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await opsctl(world.path, "cancel", "docs-17", "--yes", "--no-wait")
        script = (await opsctl(None, "completion", "bash")).out
        wrapper = f'opsctl() {{ {sys.executable} -m opsctl "$@"; }}\n'
        typed = 'COMP_WORDS=(opsctl intent show ""); COMP_CWORD=3; _shtab_opsctl; printf "%s\\n" "${COMPREPLY[@]}"'
        done = await anyio.run_process(["bash", "-c", wrapper + script + typed], env=environment(world.path))

    assert "intent-1" in done.stdout.decode().splitlines()


async def test_completion_offers_live_names_that_the_shell_cannot_take_amiss(tmp_path: Path) -> None:
    """A loop's name comes from a folder that a run made: pressing TAB must not execute it."""
    evil = f"$(touch${{IFS}}{tmp_path}/owned)"
    async with a_world(tmp_path) as world:
        world.fleet.put(a_supervised_run(evil, world.clock.now()))
        script = (await opsctl(None, "completion", "bash")).out
        wrapper = f'opsctl() {{ {sys.executable} -m opsctl "$@"; }}\n'
        typed = 'COMP_WORDS=(opsctl status ""); COMP_CWORD=2; _shtab_opsctl; printf "%s\\n" "${COMPREPLY[@]}"'
        done = await anyio.run_process(["bash", "-c", wrapper + script + typed], env=environment(world.path))
        zsh = await opsctl(None, "completion", "zsh")

    offered = done.stdout.decode().splitlines()
    assert "docs-17" in offered
    assert not any("touch" in name for name in offered)
    assert not (tmp_path / "owned").exists()
    assert zsh.out.startswith("#compdef opsctl")


async def test_help_shows_the_order_of_sockets_and_every_exit_code() -> None:
    done = await opsctl(None, "--help")

    assert done.code == Exit.OK
    for code in Exit:
        assert f"  {code.value:>3}  {SAYS[code]}" in done.out
    assert done.out.index("--socket PATH") < done.out.index("OPSD_SOCKET") < done.out.index("/run/opsd/opsd.sock")


async def test_every_command_has_examples() -> None:
    listed = (await opsctl(None, "--help")).out
    for command in (
        "status",
        "explain",
        "events",
        "logs",
        "runs",
        "verify",
        "escalations",
        "watch",
        "wait",
        "reconcile",
        "cancel",
        "approve",
        "reject",
        "start",
        "pause",
        "resume",
        "intents",
        "intent",
        "approvals",
        "mode",
        "transport",
    ):
        assert f"    {command} " in listed
    done = await opsctl(None, "wait", "--help")
    assert "opsctl wait docs-17 --for complete" in done.out
    below = await opsctl(None, "intent", "ack", "--help")
    assert "opsctl intent ack ID --reason" in below.out


def test_every_error_code_of_the_api_ends_in_its_exit_code() -> None:
    ends = {code: RefusedError(entry.status, code, "").exit_code for code, entry in ERRORS.items()}

    assert ends == {
        ErrorCode.BAD_REQUEST: Exit.USAGE,
        ErrorCode.NO_PEER_IDENTITY: Exit.DENIED,
        ErrorCode.NOT_PERMITTED: Exit.DENIED,
        ErrorCode.NOT_FOUND: Exit.NO,
        ErrorCode.UNKNOWN_LOOP: Exit.UNKNOWN_LOOP,
        ErrorCode.UNKNOWN_INTENT: Exit.NO,
        ErrorCode.METHOD_NOT_ALLOWED: Exit.USAGE,
        ErrorCode.LOOP_NOT_MANAGED: Exit.NO,
        ErrorCode.IDEMPOTENCY_CONFLICT: Exit.USAGE,
        ErrorCode.NOT_AMBIGUOUS: Exit.NO,
        ErrorCode.CANNOT_SWITCH: Exit.NO,
        ErrorCode.UNKNOWN_PROFILE: Exit.NO,
        ErrorCode.UNUSABLE_PROFILE: Exit.NO,
        ErrorCode.PAYLOAD_TOO_LARGE: Exit.USAGE,
        ErrorCode.HEADERS_TOO_LARGE: Exit.USAGE,
        ErrorCode.INTERNAL: Exit.DAEMON_ERROR,
        ErrorCode.UNAVAILABLE: Exit.DAEMON_ERROR,
        ErrorCode.TIMED_OUT: Exit.DAEMON_ERROR,
        ErrorCode.STORE_UNWRITABLE: Exit.REFUSED,
    }
