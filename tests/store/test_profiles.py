"""The journal of chosen profiles: a choice holds once it is on the disk. The rest it shares with that of the modes."""

from opsd.model.intent import Actor
from opsd.model.profile import ProfileRow
from opsd.store.codec import encode
from opsd.store.layout import Layout
from opsd.store.store import Store
from tests.doubles.files import MemoryFiles
from tests.store.examples import LOOP, NOW, at

LAYOUT = Layout("/srv/app")
CHOSEN = ProfileRow(NOW, LOOP, "riya", Actor(1000, "riya", 7), "v1", "relaxed", "long roles")
ENDED = ProfileRow(at(1), LOOP, "ana", Actor(1001, "ana", 8), "v1", None, "no longer")


def test_choices_survive_a_power_cut_in_their_order() -> None:
    files = MemoryFiles("/srv/app")
    for row in (CHOSEN, ENDED):
        Store(LAYOUT, files).append_profile(row)

    assert Store(LAYOUT, files.after_power_cut()).load_profiles() == ((CHOSEN, ENDED), None)


def test_a_line_that_makes_no_sense_is_told_and_the_others_are_read() -> None:
    files = MemoryFiles(f"{LAYOUT.root}/fleet")
    files.append(LAYOUT.profiles, encode(CHOSEN) + b"<<<<\n" + encode(ENDED), sync=True)

    rows, problem = Store(LAYOUT, files).load_profiles()

    assert rows == (CHOSEN, ENDED)
    assert problem is not None
    assert problem.startswith(f"{LAYOUT.profiles}, line 2: ")
