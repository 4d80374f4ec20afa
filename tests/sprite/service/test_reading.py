"""Snapshot and events over real TCP, against the shapes of the contract. Source: loop-core 2 and 3."""

import hashlib
import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.process import LIMIT_S
from tests.sprite.service.serving import TOKEN, Sprite, Told, sprite

SNAPSHOT = {
    "schemaVersion",
    "envelopeType",
    "emittedAt",
    "traceId",
    "source",
    "run",
    "runtime",
    "artifacts",
    "sequence",
    "cursor",
    "health",
}
EVENT = {
    "schemaVersion",
    "envelopeType",
    "emittedAt",
    "traceId",
    "source",
    "sequence",
    "cursor",
    "run",
    "event",
}


@pytest.fixture(scope="module")
def live() -> Iterator[Sprite]:
    with sprite("awaiting approval") as running:
        yield running


def folder(live: Sprite) -> Path:
    return live.place.repo / ".superloop/loops" / live.loop_id


def events(live: Sprite, query: str = "", **headers: str) -> Told:
    return live.service.ask("GET", f"/ops/events?loopId={live.loop_id}{query}", headers=headers)


def test_a_snapshot_has_every_member_of_the_contract(live: Sprite) -> None:
    told = live.service.ask("GET", f"/ops/snapshot?loopId={live.loop_id}", headers={"X-Trace-Id": "tr-1"})
    found, log = told.json, (folder(live) / "events.jsonl").read_bytes()
    count, last = log.count(b"\n"), json.loads(log.splitlines()[-1])
    entry = json.loads((folder(live) / "run-summary.json").read_text())["entries"][-1]
    approval = json.loads((folder(live) / "approval.json").read_text())

    assert (told.status, told.headers["content-type"]) == (200, "application/json")
    assert found.keys() == SNAPSHOT
    assert (found["schemaVersion"], found["envelopeType"], found["traceId"]) == ("v1", "loop_run_snapshot", "tr-1")
    assert found["source"] == {"repoPath": str(live.place.repo), "loopId": live.loop_id}
    assert found["run"] == {
        "runId": entry["run_id"],
        "iteration": entry["iteration"],
        "status": "awaiting_approval",
        "summary": entry,
    }
    assert found["runtime"].keys() == {"superloopState", "activeRun", "approval", "heartbeat"}
    assert found["runtime"]["approval"] == approval
    assert found["sequence"] == {"source": "cursor_event_line_offset", "value": count}
    assert found["cursor"] == {"eventLineOffset": count, "eventLineCount": count}
    assert found["health"] == {
        "eventCount": count,
        "lastEventAt": last["timestamp"],
        "lastEventName": last["event"],
        "lastSummaryAt": json.loads((folder(live) / "run-summary.json").read_text())["updated_at"],
        "hasPendingApproval": True,
        "gates": entry["gates"],
        "stuck": entry["stuck"],
    }


def test_a_snapshot_tells_of_each_file_as_it_was_read(live: Sprite) -> None:
    refs = live.service.get(f"/ops/snapshot?loopId={live.loop_id}").json["artifacts"]
    log = folder(live) / "events.jsonl"

    assert refs.keys() == {"events", "runSummary", "state", "activeRun", "approval", "heartbeat"}
    assert refs["events"] == {
        "path": f".superloop/loops/{live.loop_id}/events.jsonl",
        "exists": True,
        "sizeBytes": log.stat().st_size,
        "lineCount": log.read_bytes().count(b"\n"),
        "sha256": hashlib.sha256(log.read_bytes()).hexdigest(),
        "mtimeEpoch": int(log.stat().st_mtime),
    }
    assert refs["activeRun"] == {
        "path": ".superloop/active-run.json",
        "exists": False,
        "sizeBytes": 0,
        "lineCount": 0,
        "sha256": None,
        "mtimeEpoch": None,
    }


def test_events_are_envelopes_of_the_lines_behind_the_cursor(live: Sprite) -> None:
    lines = [json.loads(line) for line in (folder(live) / "events.jsonl").read_text().splitlines()]
    found = events(live, "&cursor=3", **{"X-Trace-Id": "tr-2"}).json

    assert found.keys() == {"ok", "schemaVersion", "source", "traceId", "events", "cursor"}
    assert (found["ok"], found["schemaVersion"], found["traceId"]) == (True, "v1", "tr-2")
    assert found["cursor"].items() >= {"eventLineOffset": len(lines), "eventLineCount": len(lines)}.items()
    assert [each["sequence"]["value"] for each in found["events"]] == list(range(4, len(lines) + 1))
    for each, raw in zip(found["events"], lines[3:], strict=True):
        number = each["sequence"]["value"]
        assert each.keys() == EVENT
        assert each["envelopeType"] == "loop_run_event"
        assert each["traceId"] == "tr-2"
        assert each["cursor"] == {"eventLineOffset": number, "eventLineCount": len(lines)}
        assert each["run"] == {"runId": raw["run_id"], "iteration": raw["iteration"]}
        assert each["event"] == {
            "timestamp": raw["timestamp"],
            "name": raw["event"],
            "role": raw.get("role"),
            "status": raw.get("status"),
            "message": raw.get("message"),
            "payload": raw.get("data"),
            "raw": raw,
        }


def test_without_a_trace_id_the_reply_has_none_and_its_events_null(live: Sprite) -> None:
    found = events(live, "&maxEvents=1").json

    assert "traceId" not in found
    assert found["events"][0]["traceId"] is None


def test_pages_join_without_a_gap(live: Sprite) -> None:
    whole = [each["sequence"]["value"] for each in events(live).json["events"]]
    paged: list[int] = []
    cursor = 0
    while page := (found := events(live, f"&cursor={cursor}&maxEvents=4").json)["events"]:
        assert len(page) <= 4
        paged += [each["sequence"]["value"] for each in page]
        cursor = found["cursor"]["eventLineOffset"]

    assert paged == whole
    assert found["cursor"]["eventLineOffset"] == cursor


@pytest.mark.parametrize("query", ["&cursor=", "&cursor=&cursor=0", "&maxEvents=0", "&loopId=other", "&unknown=1"])
def test_a_blank_value_is_none_and_the_first_of_two_counts(live: Sprite, query: str) -> None:
    assert events(live, query).json["cursor"]["eventLineOffset"] > 0


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("/ops/snapshot", (400, "invalid_request", "loop_id_missing")),
        ("/ops/snapshot?loopId=%20", (400, "invalid_request", "loop_id_missing")),
        ("/ops/snapshot?loopId=../../etc", (400, "invalid_request", "loop_id_unsafe")),
        ("/ops/snapshot?loopId=..%2Fx", (400, "invalid_request", "loop_id_unsafe")),
        ("/ops/snapshot?loopId=.", (400, "invalid_request", "loop_id_unsafe")),
        ("/ops/snapshot?loopId=a%00b", (400, "invalid_request", "loop_id_unsafe")),
        ("/ops/snapshot?loopId=fleet", (400, "invalid_request", "loop_id_reserved")),
        ("/ops/snapshot?loopId=nobody", (502, "runtime_error", "unknown_loop")),
        ("/ops/events?loopId=nobody", (502, "runtime_error", "unknown_loop")),
        ("/ops/events?loopId=demo-loop&cursor=-1", (400, "invalid_request", None)),
        ("/ops/events?loopId=demo-loop&cursor=x", (400, "invalid_request", None)),
        ("/ops/events?loopId=demo-loop&maxEvents=1.5", (400, "invalid_request", None)),
        ("/ops/events?loopId=demo-loop&cursor=999", (502, "runtime_error", "cursor_ahead")),
    ],
)
def test_what_cannot_be_told_has_the_contracts_error(live: Sprite, target: str, error: tuple[int, str, str]) -> None:
    assert live.service.get(target).error == error


def test_nothing_outside_of_the_loops_was_touched_by_such_names(live: Sprite) -> None:
    live.service.get("/ops/snapshot?loopId=../../../escaped")
    live.service.control("../../../escaped", "cancel")
    live.service.ask("POST", "/ops/observe", {"loopId": "../escaped"})

    assert not list(live.place.repo.parent.rglob("*escaped*"))


def test_a_service_whose_parts_are_in_time_is_well(live: Sprite) -> None:
    assert live.service.get("/healthz").body == b'{"ok":true}'


def test_files_that_make_no_sense_are_the_runtimes_error() -> None:
    with sprite("complete") as live:
        target = f"/ops/snapshot?loopId={live.loop_id}"
        approval, log = folder(live) / "approval.json", folder(live) / "events.jsonl"
        approval.write_text("{half")
        assert live.service.get(target).error == (502, "runtime_error", "artifacts_unreadable")
        approval.write_text("[]")
        assert live.service.get(target).error == (502, "runtime_error", "artifacts_unreadable")
        approval.unlink()

        with log.open("a") as end:
            end.write("no event\n")
        assert live.service.get(target).error == (502, "runtime_error", "invalid_event")
        assert events(live).error == (502, "runtime_error", "invalid_event")
        assert events(live, "&maxEvents=2").status == 200, "the page ends before the bad line"

        log.unlink()
        assert live.service.get(target).error == (502, "runtime_error", "artifacts_missing")
        assert events(live).error == (502, "runtime_error", "artifacts_missing")


@pytest.mark.slow
def test_a_log_of_a_hundred_thousand_events_is_served_whole() -> None:
    count = 100_000
    with sprite("complete") as live:
        log = folder(live) / "events.jsonl"
        lines = log.read_text().splitlines()
        with log.open("w") as file:
            file.writelines(f"{lines[number % len(lines)]}\n" for number in range(count))

        began_s = time.monotonic()
        found = received(live)
        took_s = time.monotonic() - began_s

        assert found["cursor"]["eventLineOffset"] == count
        assert [each["sequence"]["value"] for each in found["events"]] == list(range(1, count + 1))
        assert took_s < 30, "the contract's client waits no longer"
        assert live.service.get("/healthz").status == 200


def received(live: Sprite) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", live.service.port, timeout=LIMIT_S)
    connection.request("GET", f"/ops/events?loopId={live.loop_id}", headers={"X-Ops-Token": TOKEN})
    with connection.getresponse() as response:
        body = response.read()
    connection.close()
    return json.loads(body)
