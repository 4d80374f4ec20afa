"""A service with the contract's endpoints alone, over a real checkout: as slow-witted as they come, and as strict.

Every answer is made from the files anew; one bad line refuses all, a cursor beyond the log is an error, and a last line
without newline is told all the same. Source: control-and-service 9, loop-core 2 and 3.
"""

import hashlib
import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio

from tests.services.peer import Act, Asked, Stream, answers, closes_afterwards

EMITTED_AT = "2026-11-21T02:00:00Z"


class OldService:
    """`slow_s` is what each event costs. No two answers are equal: each tells which request it is for."""

    def __init__(self, root: Path, loop_id: str) -> None:
        self.root = root
        self.loop_id = loop_id
        self.slow_s = 0.0
        self.headers: dict[str, str] = {}
        self.count = 0

    @property
    def folder(self) -> Path:
        return self.root / ".superloop" / "loops" / self.loop_id

    @property
    def log(self) -> Path:
        return self.folder / "events.jsonl"

    def act(self) -> Act:
        async def act(stream: Stream, asked: Asked) -> bool:
            self.count += 1
            status, body = await self._answer(asked)
            return await closes_afterwards(answers(json.dumps(body), status, self.headers))(stream, asked)

        return act

    async def _answer(self, asked: Asked) -> tuple[int, object]:
        path, query = urlsplit(asked.target).path, parse_qs(urlsplit(asked.target).query)
        if asked.method != "GET" or path not in ("/ops/snapshot", "/ops/events"):
            return 404, _error("not_found", "no such path")
        [loop_id] = query["loopId"]
        if loop_id != self.loop_id or not self.log.exists():
            return 502, _error("runtime_error", f"required artifact missing: {loop_id}")
        if path == "/ops/snapshot":
            return 200, self.snapshot()
        cursor, most = int(query["cursor"][0]), int(query["maxEvents"][0])
        return await self._events(cursor, most)

    def snapshot(self) -> dict[str, object]:
        data = self.log.read_bytes()
        count = data.count(b"\n")
        summary = self._file(self.folder / "run-summary.json")
        entries = summary["entries"] if summary else None
        latest = entries[-1] if isinstance(entries, list) and entries else None
        files = {
            "superloopState": self.root / ".superloop" / "state.json",
            "activeRun": self.root / ".superloop" / "active-run.json",
            "approval": self.folder / "approval.json",
            "heartbeat": self.folder / "heartbeat.v1.json",
        }
        return {
            "schemaVersion": "v1",
            "envelopeType": "loop_run_snapshot",
            "emittedAt": f"at request {self.count}",
            "traceId": f"trace of request {self.count}",
            "source": self._source(),
            "run": {"runId": "unknown", "iteration": 0, "status": "unknown", "summary": latest},
            "runtime": {name: self._file(path) for name, path in files.items()},
            "artifacts": {
                "events": self._ref(self.log),
                "runSummary": self._ref(self.folder / "run-summary.json"),
                "state": self._ref(files["superloopState"]),
                "activeRun": self._ref(files["activeRun"]),
                "approval": self._ref(files["approval"]),
                "heartbeat": self._ref(files["heartbeat"]),
            },
            "sequence": {"source": "cursor_event_line_offset", "value": count},
            "cursor": {"eventLineOffset": count, "eventLineCount": count},
            "health": {"eventCount": count, "lastSummaryAt": summary.get("updated_at") if summary else None},
        }

    async def _events(self, cursor: int, most: int) -> tuple[int, object]:
        data = self.log.read_bytes()
        count = data.count(b"\n")
        if cursor > count:
            return 502, _error("runtime_error", f"cursor offset ({cursor}) exceeds available events ({count})")
        events: list[object] = []
        last = cursor
        for number, line in enumerate(data.split(b"\n"), 1):
            if number <= cursor or not line.strip():
                continue
            if most and len(events) >= most:
                break
            await anyio.sleep(self.slow_s)
            try:
                raw = json.loads(line)
                events.append(self._envelope(number, count, raw, raw.get("event") or raw["type"]))
            except (ValueError, KeyError):
                return 502, _error("runtime_error", f"invalid JSON event at line {number}")
            last = number
        cursor_out = {"eventLineOffset": last, "eventLineCount": count, "updatedAt": EMITTED_AT}
        return 200, {
            "ok": True,
            "schemaVersion": "v1",
            "source": self._source(),
            "events": events,
            "cursor": cursor_out,
        }

    def _envelope(self, number: int, count: int, raw: dict[str, object], name: object) -> dict[str, object]:
        return {
            "schemaVersion": "v1",
            "envelopeType": "loop_run_event",
            "emittedAt": EMITTED_AT,
            "traceId": None,
            "source": self._source(),
            "sequence": {"source": "cursor_event_line_offset", "value": number},
            "cursor": {"eventLineOffset": number, "eventLineCount": count},
            "run": {"runId": raw.get("run_id", "unknown"), "iteration": 0},
            "event": {"timestamp": raw["timestamp"], "name": name, "payload": raw.get("data"), "raw": raw},
        }

    def _source(self) -> dict[str, str]:
        return {"repoPath": str(self.root), "loopId": self.loop_id}

    def _file(self, path: Path) -> dict[str, object]:
        return json.loads(path.read_bytes()) if path.exists() else None  # type: ignore[return-value]  # null is null

    def _ref(self, path: Path) -> dict[str, object]:
        if not path.exists():
            return {
                "path": path.name,
                "exists": False,
                "sizeBytes": 0,
                "lineCount": 0,
                "sha256": None,
                "mtimeEpoch": None,
            }
        data = path.read_bytes()
        return {
            "path": path.name,
            "exists": True,
            "sizeBytes": len(data),
            "lineCount": data.count(b"\n"),
            "sha256": hashlib.sha256(data).hexdigest(),
            "mtimeEpoch": int(path.stat().st_mtime),
        }


def _error(code: str, message: str) -> dict[str, object]:
    return {"ok": False, "error": {"code": code, "message": message}}
