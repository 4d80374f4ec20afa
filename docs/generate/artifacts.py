"""`reference/artifacts.md`: the files that opsd writes and reads. Names, sizes and schemas come from the code.

What each file is for stands here, in one table; a file without an entry is a KeyError, and so a failing test.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from docs.generate.markdown import code, page, table
from docs.generate.schemas import schema_files
from opsd.app.control import LAUNCHES_KEPT
from opsd.model.effects import Document, Journal
from opsd.model.ids import LoopId
from opsd.store.journal import RETENTION
from opsd.store.layout import Layout, rotated, set_aside
from opsd.transports.artifacts import CHECKOUT_FILES, LOOP_FILES
from opsd.transports.notices import EVENT_LOG

_HOME = "/HOME"

_INTRODUCTION = """
Everything that opsd writes lies in the home repository, below `.superloop/ops-manager/`. Each loop has a folder of its
own there, also a loop whose checkout is elsewhere. Outside readers may read every file at any time and need no lock.
Members that a reader does not know must be ignored: new ones may come within schema version `v1`.
"""

_DOCUMENTS_NOTE = """
A document is replaced whole: written beside, then put in its place, so a reader sees the old one or the new one. What
lies beside is a hidden file such as `.state.json.tmp`, of no interest to anybody else. A document is written when it
would say something else than before, and for a running loop at least every telemetry interval (60 s). Lags and ages in
it are those of its writing: recompute them against now. It is not flushed to the disk: after a power cut an older one
may be there, and the log is replayed from it. `cursor.json` is written last, and while a loop runs it may be some
seconds behind.
"""

_JOURNALS_NOTE = """
A journal is only appended to, in whole lines of JSON. A line torn by a crash is cut off, and reported, before the next
one. A journal that is too large is renamed before its next row, and the oldest file beyond those kept is removed.
`escalations.jsonl` is flushed to the disk before anything that follows from it is written. The intent log and the three
files about intents are flushed as well, the log first: what a crash keeps from the three is written at the next start.
The others are not flushed. A rotated journal that readers judge by its last or its open rows has these in front again.
"""

_READ_NOTE = """
Below the checkout of a loop. opsd never writes, moves, locks or removes any of these. An intent changes them through
the runtime's own commands; `heartbeat.v1.json` is written by the launcher of a run that was started through opsd.
"""

_PURPOSE: dict[Document | Journal, str] = {
    Document.STATE: "What is believed of the loop: lifecycle, phase, run, iteration, gates, health, and on what "
    "evidence. `memory` is for opsd's own restart.",
    Document.HEALTH: "The contract's status and reason codes, the overall status, all findings, the thresholds.",
    Document.HEARTBEAT: "How fresh the runtime's heartbeat is. Absent where the runtime never wrote one.",
    Document.SEQUENCE: "Whether event lines and snapshots came in order.",
    Document.TRANSPORT_HEALTH: "How the last looks at the loop went: result, failure streak, since when.",
    Document.PROFILE_DRIFT: "Whether telemetry has advised another threshold profile for long enough to count: "
    "written with every sample.",
    Document.CURSOR: "How far the event log was ingested: line, byte, and which file it was. Removing it asks for one "
    "replay from the start.",
    Journal.ESCALATIONS: "What somebody must hear of: one row when a condition begins, one `<category>_resolved` row "
    "when it ends.",
    Journal.RUNS: "One row when a run ends, with how and after how many iterations. The last row of a run id holds.",
    Journal.QUARANTINE: "Lines of the event log that are no events: where, how long, digest, first bytes.",
    Journal.INTENTS: "One row for each intent that was settled, and one more when an ambiguous one settles later.",
    Journal.INTENT_LOG: "Every step of every intent, flushed before it is acted on. The last row of an id holds.",
    Journal.CONTROL: "One row for each settled intent: status, exit codes, duration.",
    Journal.INVOCATIONS: "One row for each intent that came to an end, refused and expired ones included: what was "
    "asked, executed, looked for and found.",
    Journal.RECONCILE: "One row for each pass that changed something, and a regular sample (`sample: true`) of running "
    "loops.",
    Journal.HEARTBEAT: "One row for each new judgement of the heartbeat's freshness.",
    Journal.SEQUENCE: "One row for each change of the sequence's judgement.",
    Journal.PROFILE_DRIFT: "One row for each telemetry sample: which profile the newest ones advise, and since when.",
}


_READ: dict[str, str] = {
    "state.json": "Which loop of the checkout is active, and in which iteration.",
    "active-run.json": "Which process runs, for which loop, since when.",
    "config.json": "Time limits of roles and what to do at usage limits, as far as opsd's judgement needs them.",
    "run-summary.json": "Iterations that ended, with their gates and whether they completed.",
    "approval.json": "The completion candidate that waits for a decision, or the decision.",
    "heartbeat.v1.json": "The heartbeat, where a launcher writes one, and how a launched run ended.",
    "rate-limit.json": "A provider's limit and its end.",
    "escalation.json": "A recovery that the runtime proposes and may not run by itself.",
    EVENT_LOG: "The event log: what the run did, line by line.",
    "logs/iter-N/ROLE.log": "A role's output: how fresh it is, and what `opsctl logs LOOP` shows.",
}


def render() -> str:
    layout = Layout(_HOME)
    aside = set_aside("state.json", "unreadable", datetime(2026, 11, 21, 1, 38, 44, tzinfo=UTC))
    return page(
        "Artifacts",
        "`opsd/store/` and `docs/generate/artifacts.py`",
        _INTRODUCTION,
        "## Documents of a loop",
        _DOCUMENTS_NOTE,
        table(("file", "what it says", "schema"), (_document(each) for each in Document)),
        "## Journals of a loop",
        _JOURNALS_NOTE,
        table(("file", "what it says", "rotated above", "kept", "schema"), (_journal(each) for each in Journal)),
        f"Rotated files of `reconcile.jsonl` are called {code(rotated('reconcile.jsonl', 1))} (the youngest),\n"
        f"{code(rotated('reconcile.jsonl', 2))} and so on.",
        "## Files of the home",
        table(("file", "what it is", "schema"), _of_home(layout)),
        "## What was set aside",
        "A file of ours that makes no sense is renamed to a name that says when, such as\n"
        f"{code(aside)}, reported as `store_corrupt` and rebuilt from the event log. It is never\n"
        "deleted; remove it when nobody needs it any more.",
        "## What is read",
        _READ_NOTE,
        table(("file", "what is taken from it"), _read()),
    )


def _document(document: Document) -> tuple[str, ...]:
    return code(f"LOOP/{document.value}"), _PURPOSE[document], _schema(document.value)


def _journal(journal: Journal) -> tuple[str, ...]:
    retention = RETENTION[journal]
    size = f"{retention.size_bytes >> 20} MiB"
    return code(f"LOOP/{journal.value}"), _PURPOSE[journal], size, str(retention.kept), _schema(journal.value)


def _schema(path: str) -> str:
    name = schema_files().get(path)
    return f"[{name}](schemas/{name})" if name else ""


def _of_home(layout: Layout) -> Iterator[tuple[str, str, str]]:
    for path, says in (
        (layout.registry, "The fleet registry. Operators write it, opsd only reads it."),
        (layout.modes, "Which modes were set, by whom and until when. Flushed before they hold, and never rotated."),
        (
            layout.profiles,
            "Which profiles of thresholds were chosen for loops, by whom and why. Written like the modes.",
        ),
        (layout.switches, "How loops were switched to another transport, by whom and why. Written like the modes."),
        (
            layout.launch_log(LoopId("LOOP"), "INTENT"),
            f"What a run printed that the intent started: the newest {LAUNCHES_KEPT} of a loop are kept.",
        ),
        (layout.lock, "Who writes in this home: pid, start, socket. The kernel holds it: a stale file is harmless."),
        (layout.socket, "The control socket, unless the settings put it elsewhere."),
    ):
        yield code(path.removeprefix(f"{_HOME}/")), says, _schema(path.removeprefix(f"{layout.root}/"))


def _read() -> Iterator[tuple[str, str]]:
    for name in CHECKOUT_FILES:
        yield code(f".superloop/{name}"), _READ[name]
    for name in (EVENT_LOG, *LOOP_FILES, "logs/iter-N/ROLE.log"):
        yield code(f".superloop/loops/LOOP/{name}"), _READ[name]
