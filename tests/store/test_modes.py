"""The modes journal: a mode holds once it is on the disk, and one that cannot be read is never taken for normal."""

import errno
from datetime import timedelta

import pytest
from msgspec.structs import replace

from opsd.model.intent import Actor
from opsd.model.mode import Mode, ModeRow
from opsd.store.codec import encode
from opsd.store.faults import StoreError
from opsd.store.layout import Layout
from opsd.store.store import Store
from tests.doubles.files import FaultyFiles, MemoryFiles
from tests.store.examples import LOOP, NOW, at

LAYOUT = Layout("/srv/app")
ASIDE = f"{LAYOUT.modes}.unreadable-20261121T013844Z"
OBSERVE = ModeRow(NOW, Mode.OBSERVE, "riya", Actor(1000, "riya", 7), "v1", reason="maintenance")
LOOP_OBSERVES = replace(OBSERVE, timestamp=at(1), loop_id=LOOP, until=at(3_600))
NORMAL = replace(OBSERVE, timestamp=at(2), mode=Mode.NORMAL, reason="over")


def _content(files: MemoryFiles, path: str = LAYOUT.modes) -> bytes:
    return files.read(path, 0, 1 << 25)[1]


def _home(content: bytes) -> MemoryFiles:
    files = MemoryFiles(f"{LAYOUT.root}/fleet")
    files.append(LAYOUT.modes, content, sync=True)
    return files


def test_a_home_in_which_nobody_set_a_mode_has_none() -> None:
    assert Store(LAYOUT, MemoryFiles("/srv/app")).load_modes() == ((), None)


def test_modes_are_read_again_in_the_order_in_which_they_were_set() -> None:
    files = MemoryFiles("/srv/app")
    for row in (OBSERVE, LOOP_OBSERVES, NORMAL):
        Store(LAYOUT, files).append_mode(row)

    assert Store(LAYOUT, files).load_modes() == ((OBSERVE, LOOP_OBSERVES, NORMAL), None)


def test_a_mode_that_was_set_survives_a_power_cut_also_the_first_of_a_new_home() -> None:
    files = MemoryFiles("/srv/app")
    Store(LAYOUT, files).append_mode(OBSERVE)
    assert Store(LAYOUT, files.after_power_cut()).load_modes() == ((OBSERVE,), None)

    Store(LAYOUT, files).append_mode(NORMAL)
    assert Store(LAYOUT, files.after_power_cut()).load_modes() == ((OBSERVE, NORMAL), None)


@pytest.mark.parametrize("operation", ["make_dirs", "append", "sync"])
def test_a_mode_that_the_disk_refuses_does_not_hold_and_the_error_names_the_file(operation: str) -> None:
    memory = MemoryFiles("/srv/app")
    files = FaultyFiles(memory)
    trouble = files.fail(operation, errno.ENOSPC)

    with pytest.raises(StoreError, match=r"fleet/modes\.jsonl cannot be written: No space left .*; make room"):
        Store(LAYOUT, files).append_mode(OBSERVE)

    assert trouble.fired
    assert Store(LAYOUT, memory).load_modes() == ((), None)
    files.heal()
    Store(LAYOUT, files).append_mode(NORMAL)
    assert Store(LAYOUT, memory).load_modes() == ((NORMAL,), None)


def test_a_torn_last_line_was_never_promised_and_is_kept_beside_by_the_next_mode() -> None:
    torn = encode(LOOP_OBSERVES)[:-20]
    files = _home(encode(OBSERVE) + torn)
    store = Store(LAYOUT, files)
    assert store.load_modes() == ((OBSERVE,), None)

    store.append_mode(replace(NORMAL, timestamp=NOW))

    assert store.load_modes() == ((OBSERVE, replace(NORMAL, timestamp=NOW)), None)
    assert _content(files, ASIDE) == encode(OBSERVE) + torn


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"<<<<<<<\n", "line 2: $: not JSON"),
        (b"\n", "line 2: $: empty"),
        (b"\0" * 512 + b"\n", "line 2: $: not JSON"),
        (encode(OBSERVE).replace(b'"observe"', b'"standby"'), "line 2: $.mode"),
        (encode(OBSERVE).replace(b'"v1"', b'"v2"'), "line 2: $.schemaVersion"),
    ],
)
def test_a_line_that_makes_no_sense_may_have_been_a_mode_until_somebody_sets_one_anew(
    line: bytes, problem: str
) -> None:
    files = _home(encode(OBSERVE) + line + encode(LOOP_OBSERVES))
    store = Store(LAYOUT, files)

    rows, said = store.load_modes()

    assert rows == (OBSERVE, LOOP_OBSERVES)
    assert said is not None
    assert said.startswith(f"{LAYOUT.modes}, {problem}")
    store.append_mode(replace(NORMAL, timestamp=NOW))
    assert store.load_modes() == ((OBSERVE, LOOP_OBSERVES, replace(NORMAL, timestamp=NOW)), None)
    assert _content(files, ASIDE) == encode(OBSERVE) + line + encode(LOOP_OBSERVES)


def test_a_crash_while_the_file_begins_anew_leaves_the_old_one_or_the_new_one() -> None:
    before = encode(OBSERVE) + b"<<<<<<<\n"
    for count in range(20):
        memory = _home(before)
        files = FaultyFiles(memory)
        files.fail("replace", errno.EIO, skip=count, times=1)
        try:
            Store(LAYOUT, files).append_mode(NORMAL)
        except StoreError:
            assert _content(memory) == before
            continue
        assert _content(memory.after_power_cut()) == encode(OBSERVE) + encode(NORMAL)
        assert count > 1
        return
    pytest.fail("no attempt was let through")


def test_members_that_a_later_opsd_adds_are_kept_where_the_file_begins_anew() -> None:
    richer = encode(OBSERVE).replace(b'"by"', b'"ticket":"OPS-7","by"')
    files = _home(richer + b"{\n")

    Store(LAYOUT, files).append_mode(NORMAL)

    assert _content(files) == richer + encode(NORMAL)


def test_a_file_that_is_none_is_told_and_never_written_over() -> None:
    files = MemoryFiles(LAYOUT.modes)
    store = Store(LAYOUT, files)

    rows, problem = store.load_modes()

    assert (rows, problem) == ((), f"{LAYOUT.modes}: not a regular file (EINVAL)")
    with pytest.raises(StoreError, match="not a regular file"):
        store.append_mode(NORMAL)


def test_a_file_that_cannot_be_ours_is_not_read_into_memory() -> None:
    files = FaultyFiles(_home(encode(OBSERVE) * 100_000))
    store = Store(LAYOUT, files)

    rows, problem = store.load_modes()

    assert rows == ()
    assert problem is not None
    assert "no such file is that large" in problem
    with pytest.raises(StoreError, match="no such file is that large"):
        store.append_mode(replace(NORMAL, timestamp=NOW + timedelta(days=1)))
