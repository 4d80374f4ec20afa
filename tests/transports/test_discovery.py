"""Which loops there are: the registry file on a disk, and the home looked through where there is none."""

import os
from pathlib import Path

import pytest

from opsd.disk import Disk
from opsd.transports.registry import configured, discover, load_registry
from tests.transports.trees import Checkout


def test_no_file_is_no_registry(tmp_path: Path) -> None:
    assert load_registry(Disk(), str(tmp_path / "registry.v1.json")) is None


def test_a_registry_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "registry.v1.json"
    path.write_text('{"schemaVersion": "v1", "loops": [{"loopId": "a"}]}')

    reading = load_registry(Disk(), str(path))

    assert reading
    assert reading.registry
    assert [loop.loop_id for loop in reading.registry.loops] == ["a"]


@pytest.mark.parametrize("kind", ["empty", "folder", "fifo", "huge"])
def test_a_registry_that_cannot_be_used_says_why_and_names_its_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "registry.v1.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.touch()
        os.truncate(path, 17 * 1024 * 1024 if kind == "huge" else 0)

    reading = load_registry(Disk(), str(path))

    assert reading
    assert reading.registry is None
    [error] = reading.errors
    assert error.startswith(str(path))


def test_without_a_registry_the_homes_loops_are_the_fleet(tmp_path: Path) -> None:
    for name in ("beta", "alpha"):
        Checkout(tmp_path, name)
    (tmp_path / ".superloop" / "loops" / "notes.txt").touch()

    refs = discover(Disk(), str(tmp_path))

    assert [(ref.loop_id, ref.repo_path, ref.fault) for ref in refs] == [
        ("alpha", str(tmp_path), None),
        ("beta", str(tmp_path), None),
    ]


def test_loops_that_cannot_be_managed_are_listed_with_their_fault(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    home = tmp_path / "home"
    loops = home / ".superloop" / "loops"
    for name in ("good", "fleet", ".hidden", "new\nline", "x" * 200):
        (loops / name).mkdir(parents=True)
    (loops / "away").symlink_to(tmp_path / "elsewhere")
    (loops / "alias").symlink_to(loops / "good")
    os.mkdir(os.fsencode(loops) + b"/\xff")

    faults = {ref.loop_id: ref.fault for ref in discover(Disk(), str(home))}

    assert faults == {
        "good": None,
        "alias": None,
        "away": "loop_outside_repo",
        "fleet": "loop_id_reserved",
        ".hidden": "loop_id_unsafe",
        "new\nline": "loop_id_unsafe",
        "x" * 200: "loop_id_unsafe",
    }
    assert all(ref.fault_detail and ref.fault_detail.isprintable() for ref in discover(Disk(), str(home)) if ref.fault)


def test_a_home_without_a_runtime_has_no_loops(tmp_path: Path) -> None:
    assert discover(Disk(), str(tmp_path)) == ()


def test_a_configuration_names_loops_that_have_left_no_folder_yet(tmp_path: Path) -> None:
    folder = tmp_path / ".superloop"
    folder.mkdir()
    assert configured(Disk(), str(tmp_path)) == ()

    (folder / "config.json").write_text(
        '{"loops": [{"id": "beta"}, {"id": "../up"}, {"name": "none"}, {"id": "alpha"}]}'
    )
    found = configured(Disk(), str(tmp_path))
    assert found is not None
    assert {ref.loop_id: ref.fault for ref in found} == {"../up": "loop_id_unsafe", "alpha": None, "beta": None}


@pytest.mark.parametrize("text", ["", '{"loops": [', "[]"])
def test_a_configuration_that_is_just_being_written_names_nothing_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / ".superloop").mkdir()
    (tmp_path / ".superloop/config.json").write_text(text)

    assert configured(Disk(), str(tmp_path)) is None
