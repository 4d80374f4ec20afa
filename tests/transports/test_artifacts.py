"""The runtime's small files: caught in the middle of a rewrite, misspelled, huge, or simply unchanged."""

import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from opsd.core.intents.identity import candidate_digest
from opsd.disk import Disk
from opsd.model.observation import Artifacts
from opsd.model.runtime import Presence, UsageCheck
from opsd.transports.artifacts import CHECKOUT_FILES, CheckoutFiles, LoopFiles, read_summary
from tests.transports.trees import LOOP, RUN, Checkout, CountingDisk, aged, real_now

SETTLE_S = 2.0


class Looker:
    def __init__(self, checkout: Checkout, files: Disk | None = None) -> None:
        self.checkout = checkout
        self.files = files or Disk()
        self.shared = CheckoutFiles(checkout.ref.repo_path)
        self.loop = LoopFiles(str(checkout.folder), LOOP, self.shared)

    def look(self, now: datetime | None = None) -> Artifacts:
        folder = self.files.stat(str(self.checkout.folder))
        return self.loop.look(self.files, now or real_now(), SETTLE_S, folder)


@pytest.fixture
def looker(tmp_path: Path) -> Looker:
    return Looker(Checkout(tmp_path))


def test_what_is_not_there_is_absent(looker: Looker) -> None:
    assert looker.look() == Artifacts()


def test_each_file_becomes_its_record(looker: Looker) -> None:
    checkout = looker.checkout
    checkout.runs(iteration=2, pid=20031)
    checkout.write("approval.json", {"status": "pending", "run_id": RUN, "candidate": {"gates": {"tests": "ok"}}})
    checkout.write("rate-limit.json", {"run_id": RUN, "role": "tester", "info": {"resets_at": 1795226000}})
    checkout.write("escalation.json", {"status": "pending", "reason": "not_in_auto_approve"})
    checkout.write("heartbeat.v1.json", {"timestamp": RUN, "status": "running", "boot": [1]})

    found = looker.look()

    assert found.state.value
    assert (found.state.value.active, found.state.value.iteration) == (True, 2)
    assert found.active_run.value
    assert found.active_run.value.pid == 20031
    assert found.approval.value
    assert found.approval.value.candidate
    assert found.approval.value.candidate.gates == {"tests": "ok"}
    assert found.approval.value.digest == candidate_digest({"run_id": RUN, "candidate": {"gates": {"tests": "ok"}}})
    assert found.rate_limit.value
    assert found.rate_limit.value.info
    assert found.rate_limit.value.info.resets_at == 1795226000
    assert found.recovery.value
    assert found.recovery.value.status == "pending"
    assert found.heartbeat.value
    assert found.heartbeat.value.timestamp == RUN


def test_a_heartbeat_is_carried_whole_and_on_one_line(looker: Looker) -> None:
    """It goes on into a journal of one row a line; other members than ours must not be lost on the way."""
    looker.checkout.write("heartbeat.v1.json", b'{\n  "timestamp": "t",\n  "own": {"x": [1, 2]}\n}\n')

    beat = looker.look().heartbeat.value

    assert beat
    assert bytes(beat.verbatim) == b'{"timestamp":"t","own":{"x":[1,2]}}'


@pytest.mark.parametrize("caught", [b"", b'{"active": tr', b'{"active": true, "note": "\xc3'])
def test_a_file_caught_while_being_rewritten_keeps_its_last_value(looker: Looker, caught: bytes) -> None:
    """A third of all looks at a live run finds one of these files empty."""
    looker.checkout.runs()
    before = looker.look().state
    now = real_now()

    looker.checkout.write("state.json", caught)
    settling = looker.look(now).state
    looker.checkout.write("state.json", {"active": False})

    assert settling.presence is Presence.SETTLING
    assert (settling.value, settling.since, settling.problem) == (before.value, now, None)
    after = looker.look().state
    assert after.presence is Presence.PRESENT
    assert after.value
    assert after.value.active is False


def test_a_file_that_does_not_settle_is_unreadable_until_it_is_written_again(looker: Looker) -> None:
    path = looker.checkout.write("approval.json", b"")
    begun = real_now()
    looker.look(begun)

    before = looker.look(begun + timedelta(seconds=SETTLE_S, microseconds=-1)).approval
    at_the_limit = looker.look(begun + timedelta(seconds=SETTLE_S)).approval

    assert before.presence is Presence.SETTLING
    assert (at_the_limit.presence, at_the_limit.since) == (Presence.UNREADABLE, begun)
    assert at_the_limit.problem
    assert str(path) in at_the_limit.problem
    looker.checkout.write("approval.json", {"status": "pending"})
    assert looker.look().approval.presence is Presence.PRESENT


@pytest.mark.parametrize("document", [[], "text", 7, None])
def test_json_that_is_no_object_is_unreadable_at_once(looker: Looker, document: object) -> None:
    path = looker.checkout.write("state.json", document)

    state = looker.look().state

    assert state.presence is Presence.UNREADABLE
    assert state.problem == f"{path} is JSON, but not an object"


def test_what_an_approval_asks_has_one_digest_however_it_is_decided(looker: Looker) -> None:
    """It covers members that are not read, and none of those that a decision adds."""
    asked = {
        "status": "pending",
        "run_id": RUN,
        "iteration": 2,
        "requested_at": RUN,
        "candidate": {"promise": {"text": "READY"}, "unheard_of": 1},
        "files": {"plan": "plan.md"},
    }
    decided = {**asked, "status": "approved", "decision": {"status": "approved", "by": "riya"}, "decided_by": "riya"}
    digests = []
    for size, content in enumerate((asked, decided, asked | {"candidate": {"promise": {"text": "READY"}}})):
        looker.checkout.write("approval.json", {**content, "digest": "made up", "padding": " " * size})
        found = looker.look().approval.value
        assert found is not None
        assert found.files == {"plan": "plan.md"}
        digests.append(found.digest)

    assert digests[0] == digests[1] == candidate_digest(asked)
    assert digests[2] not in (digests[0], None)


def test_a_member_of_the_wrong_type_is_missing_and_its_neighbours_are_kept(looker: Looker) -> None:
    looker.checkout.write("state.json", {"active": "true", "iteration": 3})
    looker.checkout.write(
        "approval.json", {"status": "pending", "iteration": "1", "candidate": {"promise": {"matched": 1}, "gates": {}}}
    )
    looker.checkout.write("heartbeat.v1.json", {"timestamp": 5, "pid": 7})

    found = looker.look()

    assert found.state.value
    assert (found.state.value.active, found.state.value.iteration) == (None, 3)
    assert found.approval.value
    assert (found.approval.value.status, found.approval.value.iteration) == ("pending", None)
    assert found.approval.value.candidate
    assert found.approval.value.candidate.promise
    assert found.approval.value.candidate.promise.matched is None
    assert found.approval.value.candidate.gates == {}
    assert found.heartbeat.value
    assert (found.heartbeat.value.timestamp, found.heartbeat.value.pid) == (None, 7)
    assert bytes(found.heartbeat.value.verbatim) == b'{"timestamp":5,"pid":7}'


def test_of_a_summary_only_the_newest_entry_is_read() -> None:
    """The file grows without bound; what older entries look like is nobody's concern."""
    odd = b'{"version":1,"updated_at":"t","entries":["odd",' + b"7," * 500 + b'{"iteration":9,"completion_ok":true}]}'

    summary = read_summary(odd)

    assert summary.latest
    assert (summary.entry_count, summary.latest.iteration, summary.latest.completion_ok) == (502, 9, True)


def test_a_summary_without_entries_has_no_latest_one() -> None:
    assert read_summary(b'{"entries":[]}').latest is None
    assert read_summary(b'{"entries":{}}').entry_count == 0


def test_a_config_speaks_of_each_loop_by_its_id(looker: Looker) -> None:
    limits = {"enabled": True, "planner": 300, "tester": "soon"}
    looker.checkout.write(
        "config.json",
        {"loops": [{"id": "other", "max_iterations": 9}, {"id": LOOP, "max_iterations": 2, "timeouts": limits}]},
    )

    config = looker.look().config.value

    assert config
    assert config.max_iterations == 2
    assert (config.timeouts.enabled, config.timeouts.planner, config.timeouts.tester) == (True, 300, 0)
    assert config.usage_check == UsageCheck()


def test_a_config_without_this_loop_has_no_value(looker: Looker) -> None:
    looker.checkout.write("config.json", {"loops": []})

    config = looker.look().config

    assert (config.presence, config.value) == (Presence.PRESENT, None)


@pytest.mark.parametrize("kind", ["folder", "fifo", "huge"])
def test_what_cannot_be_a_small_file_is_unreadable_and_never_waited_for(looker: Looker, kind: str) -> None:
    path = looker.checkout.folder / "approval.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_bytes(b"[")
        os.truncate(path, 2 * 1024 * 1024)

    approval = looker.look().approval

    assert approval.presence is Presence.UNREADABLE
    assert approval.problem
    assert str(path) in approval.problem


def test_a_deleted_file_is_absent_and_forgotten(looker: Looker) -> None:
    """`cancel` deletes the state: what it last said must not live on."""
    looker.checkout.runs()
    looker.look()

    (looker.checkout.runtime / "state.json").unlink()
    absent = looker.look().state
    looker.checkout.write("state.json", b"")

    assert absent.presence is Presence.ABSENT
    assert looker.look().state.value is None


def test_unchanged_files_are_not_read_again(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.runs()
    aged(checkout.runtime / "state.json")
    aged(checkout.runtime / "active-run.json")
    disk = CountingDisk()
    looker = Looker(checkout, disk)
    first = looker.look()

    assert looker.look() == first
    assert len(disk.reads) == 2


def test_files_that_are_not_there_are_not_asked_for_until_their_folder_changes(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    aged(checkout.folder)
    disk = CountingDisk()
    looker = Looker(checkout, disk)
    looker.look()
    asked = disk.stats

    looker.look()
    again = disk.stats - asked
    checkout.write("approval.json", {"status": "pending"})

    assert again == 1 + len(CHECKOUT_FILES), "the folder itself, and what lies elsewhere"
    assert looker.look().approval.value is not None


def test_a_file_that_comes_within_the_tick_of_the_last_look_is_noticed(looker: Looker) -> None:
    """A folder's time that is younger than the clock's tick proves nothing."""
    looker.checkout.write("heartbeat.v1.json", {"timestamp": RUN})
    looker.look()
    before = os.stat(looker.checkout.folder)

    looker.checkout.write("approval.json", {"status": "pending"})
    os.utime(looker.checkout.folder, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert looker.look().approval.value is not None


def test_a_file_rewritten_within_one_tick_of_the_clock_is_noticed(looker: Looker) -> None:
    path = looker.checkout.write("state.json", {"iteration": 1})
    now = real_now()
    times = (int(now.timestamp() * 1e9),) * 2
    os.utime(path, ns=times)
    looker.look(now)

    path.write_bytes(b'{"iteration": 2}')
    os.utime(path, ns=times)

    state = looker.look(now + timedelta(seconds=5)).state.value
    assert state
    assert state.iteration == 2


def test_files_of_the_checkout_are_read_once_for_all_its_loops(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.runs()
    aged(checkout.runtime / "state.json")
    aged(checkout.runtime / "active-run.json")
    disk = CountingDisk()
    shared = CheckoutFiles(checkout.ref.repo_path)

    for number in range(5):
        LoopFiles(f"{checkout.folder}-{number}", LOOP, shared).look(disk, real_now(), SETTLE_S)

    assert len(disk.reads) == 2
