"""`ops-manager poll-events`: each line once, and the cursor that remembers which. Source: loop-core 3, 13."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.batch.checkout import LOOP, RUN, Checkout
from tests.batch.cli import Done, run, spawn


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path).event("loop_start").event("iteration_start").event("role_start", role="implementer")


def poll(checkout: Checkout, *words: str) -> list[Any]:
    done = run("poll-events", *checkout.flags, *words)
    assert (done.code, done.err) == (0, "")
    return [json.loads(line) for line in done.out.splitlines()]


def cursor_file(checkout: Checkout) -> Path:
    return checkout.loop / "ops-manager.cursor.json"


def offset(checkout: Checkout) -> int:
    told: int = json.loads(cursor_file(checkout).read_text())["eventLineOffset"]
    return told


def numbers(envelopes: list[Any]) -> list[int]:
    return [each["sequence"]["value"] for each in envelopes]


class TestWhatIsNew:
    def test_three_lines_are_three_envelopes_and_then_none(self, checkout: Checkout) -> None:
        assert numbers(poll(checkout)) == [1, 2, 3]
        assert offset(checkout) == 3
        assert poll(checkout) == []
        assert offset(checkout) == 3

        checkout.event("role_end").event("iteration_end")

        assert numbers(poll(checkout, "--max-events", "1")) == [4]
        assert offset(checkout) == 4
        assert numbers(poll(checkout, "--max-events", "0")) == [5]

    def test_an_envelope_in_full(self, checkout: Checkout) -> None:
        told = poll(checkout, "--trace-id", "tr-1")[2]

        raw = json.loads(checkout.log.read_text().splitlines()[2])
        assert told.pop("emittedAt").endswith("Z")
        assert told == {
            "schemaVersion": "v1",
            "envelopeType": "loop_run_event",
            "traceId": "tr-1",
            "source": {"repoPath": str(checkout.folder), "loopId": LOOP},
            "sequence": {"source": "cursor_event_line_offset", "value": 3},
            "cursor": {"eventLineOffset": 3, "eventLineCount": 3},
            "run": {"runId": RUN, "iteration": 1},
            "event": {
                "timestamp": "2020-01-01T00:00:03Z",
                "name": "role_start",
                "role": "implementer",
                "status": None,
                "message": None,
                "payload": {},
                "raw": raw,
            },
        }

    def test_the_environment_gives_no_trace_id(self, checkout: Checkout) -> None:
        done = spawn("poll-events", *checkout.flags, variables={"OPS_MANAGER_TRACE_ID": "tr-env"})

        assert json.loads(done.out.splitlines()[0])["traceId"] is None

    def test_blank_lines_count_and_are_not_told(self, checkout: Checkout) -> None:
        with checkout.log.open("a") as log:
            log.write("\n  \n")

        assert numbers(poll(checkout)) == [1, 2, 3]
        assert offset(checkout) == 3  # a blank line alone moves nothing

        checkout.event("role_end")
        told = poll(checkout)
        assert (numbers(told), told[0]["cursor"]["eventLineCount"]) == ([6], 6)

    def test_a_line_without_its_newline_waits(self, checkout: Checkout) -> None:
        whole = checkout.log.read_bytes()
        checkout.log.write_bytes(whole[:-1])
        assert numbers(poll(checkout)) == [1, 2]

        checkout.log.write_bytes(whole)
        assert numbers(poll(checkout)) == [3]

    def test_an_event_of_any_size(self, checkout: Checkout) -> None:
        checkout.event("note", message="x" * 300_000)

        assert len(poll(checkout)[-1]["event"]["message"]) == 300_000

    def test_one_envelope_a_line_whatever_blanks_a_line_has(self, checkout: Checkout) -> None:
        checkout.log.write_bytes(checkout.log.read_bytes().replace(b"\n", b" \r\n"))

        assert numbers(poll(checkout)) == [1, 2, 3]

    def test_many_events_in_pieces(self, checkout: Checkout) -> None:
        line = checkout.log.read_text().splitlines()[0]
        checkout.log.write_text(f"{line}\n" * 2_000)

        assert numbers(poll(checkout)) == list(range(1, 2_001))

    def test_pretty_is_the_same_documents(self, checkout: Checkout) -> None:
        done = run("poll-events", *checkout.flags, "--pretty")

        assert done.out.startswith('{\n  "')
        told = json.loads("[" + done.out.replace("\n}\n{", "\n},\n{") + "]")
        assert numbers(told) == [1, 2, 3]


class TestTheCursor:
    def test_what_it_says(self, checkout: Checkout) -> None:
        poll(checkout)

        text = cursor_file(checkout).read_text()
        told = json.loads(text)
        assert told.pop("updatedAt").endswith("Z")
        assert told == {
            "schemaVersion": "v1",
            "repoPath": str(checkout.folder),
            "loopId": LOOP,
            "eventsFile": f".superloop/loops/{LOOP}/events.jsonl",
            "eventLineOffset": 3,
            "eventLineCount": 3,
        }
        assert text.startswith('{\n  "')

    def test_everybody_may_read_it_and_nothing_lies_beside_it(self, checkout: Checkout) -> None:
        poll(checkout)

        assert cursor_file(checkout).stat().st_mode & 0o777 == 0o644 & ~_umask()
        assert {path.name for path in checkout.loop.iterdir()} == {"events.jsonl", "ops-manager.cursor.json"}

    def test_it_is_written_when_nothing_is_told(self, checkout: Checkout) -> None:
        checkout.log.write_text("")

        assert poll(checkout) == []
        assert offset(checkout) == 0

    def test_it_is_written_afresh_when_nothing_is_new(self, checkout: Checkout) -> None:
        poll(checkout)
        cursor_file(checkout).write_text('{"eventLineOffset": 3, "updatedAt": "2020-01-01T00:00:00Z"}')

        assert poll(checkout) == []
        told = json.loads(cursor_file(checkout).read_text())
        assert (told["eventLineCount"], told["updatedAt"][:4] > "2020") == (3, True)

    def test_from_start_reads_everything_again(self, checkout: Checkout) -> None:
        poll(checkout)

        assert numbers(poll(checkout, "--from-start")) == [1, 2, 3]
        assert numbers(poll(checkout, "--from-start", "--max-events", "1")) == [1]
        assert offset(checkout) == 1  # moved back, as was asked for

    def test_from_start_reads_no_cursor(self, checkout: Checkout) -> None:
        cursor_file(checkout).write_text("{corrupted")

        assert numbers(poll(checkout, "--from-start")) == [1, 2, 3]

    def test_it_lies_where_its_flag_says(self, checkout: Checkout, tmp_path: Path) -> None:
        elsewhere = tmp_path / "new" / "cursor.json"

        poll(checkout, "--cursor-file", str(elsewhere))

        assert json.loads(elsewhere.read_text())["eventLineOffset"] == 3
        assert not cursor_file(checkout).exists()

    @pytest.mark.parametrize("text", ["{}", '{"eventLineOffset": null}', '{"eventLineOffset": "2"}'])
    def test_an_offset_that_is_missing_is_none_and_a_number_may_be_spelled(self, checkout: Checkout, text: str) -> None:
        cursor_file(checkout).write_text(text)

        assert numbers(poll(checkout)) == ([3] if "2" in text else [1, 2, 3])


def refused(checkout: Checkout, *words: str) -> Done:
    """The command fails, says nothing, and leaves the cursor as it is."""
    before = cursor_file(checkout).read_text() if cursor_file(checkout).exists() else None
    done = run("poll-events", *checkout.flags, *words)
    assert (done.code, done.out) == (1, "")
    assert (cursor_file(checkout).read_text() if cursor_file(checkout).exists() else None) == before
    return done


class TestFailClosed:
    @pytest.mark.parametrize("number", ["-1", "x", "1.5", ""])
    def test_how_many(self, checkout: Checkout, number: str) -> None:
        assert "--max-events must be a non-negative integer" in refused(checkout, "--max-events", number).err

    def test_no_loop(self, tmp_path: Path) -> None:
        done = run("poll-events", "--repo", str(tmp_path), "--loop", LOOP)

        assert (done.code, done.out) == (1, "")
        assert "required artifact root missing" in done.err
        assert list(tmp_path.iterdir()) == []

    def test_no_log(self, checkout: Checkout) -> None:
        checkout.log.unlink()

        assert f"required artifact missing: {checkout.log}" in refused(checkout).err

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("{no json", "invalid JSON in cursor file: "),
            ("", "invalid cursor offset in "),
            ('{"eventLineOffset": "ten"}', "invalid cursor offset in "),
            ('{"eventLineOffset": -1}', "invalid cursor offset in "),
            ('{"eventLineOffset": 1.5}', "invalid cursor offset in "),
            ('{"eventLineOffset": true}', "invalid cursor offset in "),
            ("[]", "invalid cursor offset in "),
            ("7", "invalid cursor offset in "),
            ('{"eventLineOffset": 9}', "cursor offset (9) exceeds available events (3); reset cursor or use --from-st"),
        ],
    )
    def test_a_cursor_that_makes_no_sense(self, checkout: Checkout, text: str, says: str) -> None:
        cursor_file(checkout).write_text(text)

        assert says in refused(checkout).err

    @pytest.mark.parametrize(
        "line",
        ["{no json", "7", '{"timestamp":"2020-01-01T00:00:00Z"}', '{"event":"x"}', '{"event":"x"} {"event":"y"}'],
    )
    def test_a_line_that_is_no_event_is_told_before_any_is(self, checkout: Checkout, line: str) -> None:
        with checkout.log.open("a") as log:
            log.write(f"{line}\n")

        assert f"line 4 in {checkout.log}" in refused(checkout).err

    def test_what_lies_before_the_bad_line_can_be_had(self, checkout: Checkout) -> None:
        with checkout.log.open("a") as log:
            log.write("{no json\n")

        assert numbers(poll(checkout, "--max-events", "3")) == [1, 2, 3]

    def test_what_is_no_file_is_not_put_away(self, checkout: Checkout, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()

        for path in ("/dev/null", str(tmp_path / "folder")):
            done = refused(checkout, "--from-start", "--cursor-file", path)
            assert f"--cursor-file {path} is there, and no regular file" in done.err

    def test_a_cursor_that_cannot_be_written_is_told_before_any_event(self, checkout: Checkout, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        done = refused(checkout, "--cursor-file", str(tmp_path / "file" / "cursor.json"))

        assert "file/cursor.json" in done.err


class TestDelivery:
    def test_a_reader_that_has_gone_finds_it_all_again(self, checkout: Checkout) -> None:
        line = checkout.log.read_text().splitlines()[0]
        checkout.log.write_text(f"{line}\n" * 2_000)  # more than a pipe holds
        reading, writing = os.pipe()
        os.close(reading)

        code = subprocess.run(
            [sys.executable, "-I", "-m", "opsd.batch", "poll-events", *checkout.flags],
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
        os.close(writing)

        assert (code.returncode, code.stderr) == (1, b"")
        assert {path.name for path in checkout.loop.iterdir()} == {"events.jsonl"}

    def test_a_full_disk_behind_the_output_moves_nothing(self, checkout: Checkout) -> None:
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [sys.executable, "-I", "-m", "opsd.batch", "poll-events", *checkout.flags],
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=30,
                check=False,
            )

        assert done.returncode == 1
        assert b"the cursor stays: standard output: No space left" in done.stderr
        assert not cursor_file(checkout).exists()


def _umask() -> int:
    now = os.umask(0o022)
    os.umask(now)
    return now
