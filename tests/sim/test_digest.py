"""The simulator against the recordings: what is left of a history without its times and ids must be the same.

The digests under `digests/` were computed from runs of the real runtime (`record_digests.py`).
"""

import json
import threading
from pathlib import Path

import pytest

from opsd.sim import documents
from opsd.sim.digest import Digest, Row, digest, recorded, shape, token
from opsd.sim.part import Part
from opsd.sim.scenarios import loops_of
from opsd.sim.script import behaviour_for
from opsd.sim.story import Stage, tell
from opsd.sim.tree import MemoryTree, pretty
from tests.sim.checkouts import LOOP, QUICK, Sandbox, eventually
from tests.sim.record_digests import DIGESTS, load

RECORDED = sorted(path.stem for path in DIGESTS.glob("*.json"))


def simulated(scenario: str) -> tuple[Digest, list[Row]]:
    """The digest of the simulator telling the same story, and its rows."""
    part = Part(scenario=scenario)
    config = pretty(documents.config(loops_of(scenario, LOOP), behaviour_for(part)))
    rows = [Row("put", documents.CONFIG, config)]
    tree = MemoryTree(lambda op, path, text: rows.append(Row(op, path, text)))
    tell(part, tree, Stage("/srv/repo", LOOP), start_s=1.8e9)
    return digest(rows), rows


def test_every_recording_has_its_digest() -> None:
    assert len(RECORDED) == 13


@pytest.mark.parametrize("scenario", RECORDED)
def test_the_events_come_in_the_recorded_order(scenario: str) -> None:
    assert simulated(scenario)[0].events == load(scenario)[0].events


@pytest.mark.parametrize("scenario", RECORDED)
def test_every_file_and_event_has_the_recorded_keys_and_types(scenario: str) -> None:
    assert simulated(scenario)[0].shapes == load(scenario)[0].shapes


@pytest.mark.parametrize("scenario", RECORDED)
def test_the_same_files_vanish(scenario: str) -> None:
    assert simulated(scenario)[0].vanished == load(scenario)[0].vanished


@pytest.mark.parametrize("scenario", RECORDED)
def test_files_are_empty_for_a_moment_where_recordings_show_it(scenario: str) -> None:
    """A recorder that looks every 50 ms misses most such moments, so a single recording shows too few of them; what
    no recording ever shows empty must not be empty here either. `rate-limit.json` was rewritten once only, unseen."""
    ever = {name for other in RECORDED for name in load(other)[0].empty} | {"loop/rate-limit.json"}
    empty = set(simulated(scenario)[0].empty)

    assert set(load(scenario)[0].empty) <= empty
    assert empty <= ever


@pytest.mark.parametrize("scenario", RECORDED)
def test_files_change_between_the_recorded_events(scenario: str) -> None:
    """A summary before `loop_complete`, a request before `approval_requested`: readers depend on which comes first.

    The recorder could not always tell neighbours apart, hence windows; it missed some of several quick rewrites."""
    real, ours = load(scenario)[0].places, simulated(scenario)[0].places

    assert ours.keys() == real.keys()
    for name, places in ours.items():
        strays = [place for place, _ in places if not any(low <= place <= high for low, high in real[name])]
        missing = [(low, high) for low, high in real[name] if not any(low <= place <= high for place, _ in places)]
        assert (strays, missing) == ([], []), name


@pytest.mark.parametrize("scenario", RECORDED)
def test_every_named_step_has_the_recorded_files(scenario: str) -> None:
    first, second = loops_of(scenario, LOOP)[0], loops_of(scenario, LOOP)[-1]

    for step, files in load(scenario)[1].items():
        tree = MemoryTree()
        tell(Part(scenario=scenario), tree, Stage("/srv/repo", LOOP), start_s=1.8e9, until=step)

        ours = {path for path in tree.files if recorded(path)} | {documents.CONFIG}
        real = {path.replace("/loop-a/", f"/{first}/").replace("/loop-b/", f"/{second}/") for path in files}
        assert ours == real, step


def test_the_comparison_would_notice() -> None:
    """Take one thing away or change its type, and the digest is another."""
    whole, rows = simulated("complete")

    def changed(old: str, new: str) -> Digest:
        texts = [row._replace(text=row.text.replace(old, new)) for row in rows]
        assert texts != rows
        return digest(texts)

    assert changed('"promise":false', '"promise":"false"').shapes != whole.shapes
    assert changed('"gate": "approval"', '"door": "approval"').shapes != whole.shapes
    assert changed('"event":"evidence_end"', '"event":"evidence_done"').events != whole.events
    assert digest(row for row in rows if row.op != "delete").vanished != whole.vanished
    assert digest(row for row in rows if row.text or not row.path.endswith(".jsonl")).empty != whole.empty


def test_a_shape_says_types_and_kinds_of_text() -> None:
    value = {"b": [1, "x", None], "a": {"at": "2026-11-21T01:55:48Z", "ok": True, "no": "false", "f": "/srv/x"}}

    assert shape(value) == "{a:{at:time,f:abs,no:boolstr,ok:bool},b:[int|null|str]}"
    assert token({"event": "role_timeout", "role": "tester", "status": "timeout"}) == "role_timeout:tester/timeout"
    assert token({"event": "loop_stop", "data": {"reason": "stuck"}}) == "loop_stop(stuck)"


class Recorder:
    """Looks at a checkout again and again, as the recordings were made, until the last look is asked for."""

    def __init__(self, repo: Path) -> None:
        self._repo = repo
        self._last: dict[str, str] = {}
        self._enough = threading.Event()
        self.rows: list[Row] = []
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Recorder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._enough.wait(0.003):
            self._look()

    def _look(self) -> None:
        now: dict[str, str] = {}
        for file in (self._repo / ".superloop").rglob("*.json*"):
            try:
                now[str(file.relative_to(self._repo))] = file.read_text()
            except FileNotFoundError:
                continue
        for path in sorted(self._last.keys() | now.keys()):
            before, after = self._last.get(path), now.get(path)
            if after is None:
                self.rows.append(Row("delete", path))
            elif before is not None and path.endswith(".jsonl") and after.startswith(before) and after != before:
                self.rows.append(Row("append", path, after[len(before) :]))
            elif after != before:
                self.rows.append(Row("put", path, after))
        self._last = now


@pytest.mark.parametrize("scenario", ["approved", "killed"])
def test_live_processes_leave_the_recorded_digest_too(scenario: str, tmp_path: Path) -> None:
    """The same comparison with nothing of ours between: the command, its files, and a watcher beside them."""
    box = Sandbox(tmp_path, QUICK._replace(scenario=scenario, gap_s=0.02))
    with Recorder(box.repo) as recorder:
        box.call("run", "--loop", LOOP)
        if scenario == "approved":
            box.call("run", "--loop", LOOP)
            box.call("approve", "--loop", LOOP, "--by", "alex", "--note", "looks right")
        else:
            box.call("run", "--loop", LOOP)
            box.call("cancel")
        box.call("run", "--loop", LOOP)
        eventually(lambda: box.names()[-1] == "loop_complete", "the loop completes")

    ours, (real, steps) = digest(recorder.rows), load(scenario)
    assert ours.events == real.events
    assert ours.shapes == real.shapes
    assert {"active-run.json", *real.vanished} == set(ours.vanished)
    assert {"state.json", "active-run.json"} <= set(ours.empty)
    last = steps[max(steps)]
    left = (str(file.relative_to(box.repo)) for file in (box.repo / ".superloop").rglob("*") if file.is_file())
    assert sorted(path for path in left if recorded(path)) == last
    assert json.loads((box.repo / documents.STATE).read_text())["active"] is False
