"""The close look: the files that an intent is about as they are at this moment, and who is running."""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from opsd.app.control import LAUNCH_OUTPUT_BYTES, LAUNCHES_KEPT, look, make_room_for_launch
from opsd.disk import Disk
from opsd.model.acts import Act, ActResult, Scene
from opsd.model.ids import LoopId
from opsd.model.intent import Watermark
from opsd.model.observation import ProcessSighting
from opsd.model.run import LoopRef
from opsd.model.runtime import Presence
from opsd.store.layout import Layout
from tests.transports.trees import LOOP, RUN, Checkout, Table

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
BEGUN = datetime(2026, 11, 21, 1, 38, 44, tzinfo=UTC)
ALIVE, STOPPED, ABSENT = ProcessSighting.ALIVE, ProcessSighting.STOPPED, ProcessSighting.ABSENT
UNKNOWN, NONE = ProcessSighting.UNKNOWN, ProcessSighting.NONE
MARK = Watermark(at=NOW, epoch=0, line=3, pid=55, pgid=55, begun="2026-11-21T01:30:00Z")


class Command:
    """Controls of a checkout whose command is there, and which nobody may use."""

    def __init__(self, path: str | None = "/opt/superloop/superloop.sh") -> None:
        self.path = path
        self.asked: list[str] = []

    def carry_out(self, act: Act) -> ActResult:
        raise AssertionError(f"a look does nothing: {act}")

    def command(self, repo_path: str) -> str | None:
        self.asked.append(repo_path)
        return self.path


class Pauses:
    """How often and how long the look waited, and what the runtime did meanwhile."""

    def __init__(self, *meanwhile: Callable[[], object]) -> None:
        self.lengths: list[float] = []
        self._meanwhile = list(meanwhile)

    def __call__(self, seconds: float) -> None:
        self.lengths.append(seconds)
        if self._meanwhile:
            self._meanwhile.pop(0)()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def _look(
    checkout: Checkout,
    sightings: dict[int, ProcessSighting] | None = None,
    *,
    watermark: Watermark | None = None,
    log: str | None = None,
    pauses: Pauses | None = None,
) -> Scene:
    pause = pauses or Pauses()
    return look(Disk(), Table(sightings or {}), Command(), checkout.ref, NOW, watermark=watermark, log=log, pause=pause)


def test_a_checkout_in_which_nothing_ever_ran_is_an_empty_scene(checkout: Checkout) -> None:
    assert _look(checkout) == Scene(at=NOW, command="/opt/superloop/superloop.sh")


def test_a_loop_whose_folder_is_not_there_is_an_empty_scene_too(tmp_path: Path) -> None:
    scene = look(Disk(), Table(), Command(None), LoopRef(LOOP, str(tmp_path)), NOW)

    assert scene == Scene(at=NOW)


def test_everything_that_an_intent_is_about_is_read_at_once(checkout: Checkout) -> None:
    checkout.runs(iteration=4, pid=77)
    request = {"status": "pending", "run_id": RUN, "iteration": 4, "requested_at": RUN, "candidate": {}}
    checkout.write("approval.json", request)
    checkout.write("heartbeat.v1.json", {"timestamp": RUN, "launch_id": "0a1b"})

    scene = _look(checkout, {77: ALIVE})

    assert scene.state.value is not None
    assert (scene.state.value.active, scene.state.value.iteration) == (True, 4)
    assert scene.approval.value is not None
    assert scene.approval.value.status == "pending"
    assert scene.approval.value.digest
    assert scene.heartbeat.value is not None
    assert scene.heartbeat.value.launch_id == "0a1b"
    assert (scene.active_process, scene.family, scene.watched) == (ALIVE, (ALIVE,), NONE)


def test_the_next_look_sees_what_was_changed_since_without_a_trace_of_the_last(checkout: Checkout) -> None:
    path = checkout.write("state.json", {"active": True, "iteration": 1})
    before = path.stat()
    assert _look(checkout).state.value is not None
    checkout.write("state.json", {"active": True, "iteration": 2})
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    state = _look(checkout).state.value
    assert state is not None
    assert state.iteration == 2


@pytest.mark.parametrize("loop_id", [LOOP, "another", None])
@pytest.mark.parametrize("sighting", [ALIVE, STOPPED, ABSENT, UNKNOWN])
def test_the_process_on_file_is_sighted_whichever_loop_it_belongs_to(
    loop_id: str | None, sighting: ProcessSighting, checkout: Checkout
) -> None:
    checkout.write("active-run.json", {"pid": 77, "pgid": 77, "loop_id": loop_id, "updated_at": RUN})
    processes = Table({77: sighting})

    scene = look(Disk(), processes, Command(), checkout.ref, NOW)

    assert scene.active_process is sighting
    assert processes.asked == [(77, BEGUN)]
    assert scene.family == ((sighting,) if sighting in (ALIVE, STOPPED) else ())


@pytest.mark.parametrize(
    ("content", "sighting"),
    [
        (b'{"loop_id":"demo-loop"}', UNKNOWN),
        (b'{"pid":"77"}', UNKNOWN),
        (b"", UNKNOWN),
        (b'{"pid":7', UNKNOWN),
        (b"[]", UNKNOWN),
    ],
)
def test_a_process_that_the_file_does_not_name_is_not_taken_for_gone(
    content: bytes, sighting: ProcessSighting, checkout: Checkout
) -> None:
    checkout.write("active-run.json", content)

    assert _look(checkout, {77: ALIVE}).active_process is sighting


@pytest.mark.parametrize("sighting", [ALIVE, STOPPED, ABSENT, UNKNOWN])
def test_the_process_of_the_watermark_is_watched_after_its_file_is_gone(
    sighting: ProcessSighting, checkout: Checkout
) -> None:
    processes = Table({55: sighting})

    scene = look(Disk(), processes, Command(), checkout.ref, NOW, watermark=MARK)

    assert (scene.watched, scene.active_process) == (sighting, NONE)
    assert processes.asked == [(55, datetime(2026, 11, 21, 1, 30, tzinfo=UTC))]


def test_a_watermark_without_a_process_watches_none(checkout: Checkout) -> None:
    assert _look(checkout, {55: ALIVE}, watermark=replace(MARK, pid=None)).watched is NONE


@pytest.mark.parametrize("name", ["state.json", "active-run.json", "approval.json", "heartbeat.v1.json"])
@pytest.mark.parametrize("caught", [b"", b'{"loop_id": "demo'])
def test_a_file_caught_while_it_is_rewritten_is_read_again(name: str, caught: bytes, checkout: Checkout) -> None:
    checkout.write(name, caught)
    pauses = Pauses(lambda: None, lambda: checkout.write(name, {"pid": 77, "loop_id": LOOP}))

    scene = _look(checkout, {77: ALIVE}, pauses=pauses)

    found = {
        "state.json": scene.state.presence,
        "active-run.json": scene.active_run.presence,
        "approval.json": scene.approval.presence,
        "heartbeat.v1.json": scene.heartbeat.presence,
    }
    assert found[name] is Presence.PRESENT
    assert len(pauses.lengths) == 2
    assert scene.active_process is (ALIVE if name == "active-run.json" else NONE)


def test_files_that_do_not_settle_hold_the_look_up_for_a_tenth_of_a_second_in_all(checkout: Checkout) -> None:
    for name in ("state.json", "active-run.json", "approval.json", "heartbeat.v1.json"):
        checkout.write(name, b"")
    pauses = Pauses()

    scene = _look(checkout, pauses=pauses)

    artifacts = (scene.state, scene.active_run, scene.approval, scene.heartbeat)
    assert [(each.presence, each.value) for each in artifacts] == [(Presence.SETTLING, None)] * 4
    assert sum(pauses.lengths) == pytest.approx(0.1)


def test_without_being_told_how_to_wait_it_waits_for_time_to_pass(checkout: Checkout) -> None:
    checkout.write("state.json", b"")
    begun = datetime.now(UTC)

    scene = look(Disk(), Table(), Command(), checkout.ref, NOW)

    assert scene.state.presence is Presence.SETTLING
    assert timedelta(milliseconds=90) < datetime.now(UTC) - begun < timedelta(seconds=5)


def test_what_is_no_file_or_no_object_is_unreadable_and_says_so(checkout: Checkout) -> None:
    (checkout.runtime / "state.json").mkdir()
    checkout.write("approval.json", b"[]")

    scene = _look(checkout)

    assert [each.presence for each in (scene.state, scene.approval)] == [Presence.UNREADABLE] * 2
    assert "state.json is not a regular file" in (scene.state.problem or "")


def test_a_loop_folder_that_leads_out_of_the_checkout_is_not_followed(tmp_path: Path) -> None:
    elsewhere = Checkout(tmp_path / "elsewhere")
    elsewhere.write("approval.json", {"status": "pending"})
    checkout = Checkout(tmp_path / "checkout", "other")
    (checkout.runtime / "loops" / LOOP).symlink_to(elsewhere.folder)

    scene = look(Disk(), Table(), Command(), LoopRef(LOOP, str(tmp_path / "checkout")), NOW)

    assert [each.presence for each in (scene.approval, scene.heartbeat)] == [Presence.UNREADABLE] * 2
    assert "leads out of" in (scene.approval.problem or "")


@pytest.mark.parametrize("loop_id", ["../demo-loop", "fleet", ""])
def test_an_unsafe_id_never_becomes_a_path(loop_id: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot name a folder"):
        look(Disk(), Table(), Command(), LoopRef(LoopId(loop_id), str(tmp_path)), NOW)


def test_the_command_is_that_of_this_checkout(checkout: Checkout) -> None:
    command = Command("/srv/app/superloop.sh")

    assert look(Disk(), Table(), command, checkout.ref, NOW).command == "/srv/app/superloop.sh"
    assert command.asked == [checkout.ref.repo_path]


# What a launched run printed


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"", ""),
        (b"error: a loop is already running\n", "error: a loop is already running\n"),
        (b"\x1b[31mred\x1b[0m\xe2\x80\xae\n", "\\x1b[31mred\\x1b[0m\\u202e\n"),
        (b"caf\xc3\xa9 \xff\n", "café \ufffd\n"),
        (b"x" * 10_000, "x" * LAUNCH_OUTPUT_BYTES),
        ("é".encode() * 5_000 + b"!", "é" * (LAUNCH_OUTPUT_BYTES // 2 - 1) + "!"),
    ],
)
def test_the_end_of_what_was_printed_is_shown_harmless(
    printed: bytes, shown: str, checkout: Checkout, tmp_path: Path
) -> None:
    log = tmp_path / "launch.log"
    log.write_bytes(printed)

    assert _look(checkout, log=str(log)).launch_output == shown


def test_a_log_that_is_missing_or_no_file_is_nothing_printed(checkout: Checkout, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    for name in ("missing", "pipe", "."):
        assert _look(checkout, log=str(tmp_path / name)).launch_output == ""


def _launches(layout: Layout) -> list[str]:
    return sorted(os.listdir(layout.launches(LOOP)))


def test_the_newest_launch_logs_are_kept_and_nothing_else_is_touched(tmp_path: Path) -> None:
    layout, disk = Layout(str(tmp_path)), Disk()
    make_room_for_launch(disk, layout, LOOP)
    for number in range(LAUNCHES_KEPT + 5):
        path = Path(layout.launch_log(LOOP, f"{number:02}"))
        path.write_bytes(b"")
        os.utime(path, (1_000 - number, 1_000 - number))
    Path(layout.launches(LOOP), "notes.txt").write_bytes(b"")
    Path(layout.launches(LOOP), "folder.log").mkdir()

    make_room_for_launch(disk, layout, LOOP)

    kept = [f"{number:02}.log" for number in range(LAUNCHES_KEPT - 1)]
    assert _launches(layout) == [*kept, "folder.log", "notes.txt"]


def test_room_is_made_although_a_log_cannot_be_removed(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))

    class Sticky(Disk):
        def remove(self, path: str) -> None:
            raise PermissionError(13, "Permission denied", path)

    make_room_for_launch(Sticky(), layout, LOOP)
    names: Sequence[str] = [f"{number:02}" for number in range(LAUNCHES_KEPT + 1)]
    for name in names:
        Path(layout.launch_log(LOOP, name)).write_bytes(b"")

    make_room_for_launch(Sticky(), layout, LOOP)

    assert len(_launches(layout)) == len(names)
