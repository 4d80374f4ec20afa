"""How answers look: whole views against what an operator should see, and the rules of every table."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from opsctl.output import Look
from opsctl.render import events, history
from opsctl.render.changes import change_line
from opsctl.render.explain import explanation
from opsctl.render.fleet import fleet
from opsctl.render.loop import loop
from opsctl.render.table import Cell, table
from opsctl.render.words import next_step
from opsd.app import view
from opsd.core.explain import explain, last_ingest
from opsd.model.escalation import Category, OpenEscalation
from opsd.model.health import Severity
from opsd.model.ids import EscalationId
from opsd.model.intent import IntentKind, IntentStatus, OpenIntent, PauseNote
from opsd.model.lifecycle import Lifecycle, Phase
from opsd.model.thresholds import Thresholds
from opsd.protocol import (
    DaemonStatus,
    Difference,
    EscalationPage,
    EventItem,
    EventPage,
    FeedItem,
    FleetStatus,
    LoopControl,
    LoopSummary,
    PendingApproval,
    RunHistory,
    RunItem,
    Subsystem,
    Verification,
    VerificationReport,
)
from tests.doubles.fleet import a_finding, a_supervised_run

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLAIN = Look()
COLOURED = Look(width=100, paint=True)

CRASHED = a_supervised_run(
    "api 03",
    NOW,
    lifecycle=Lifecycle.FAILED,
    phase=Phase.CRASHED,
    findings=(
        a_finding("runtime_process_missing", Severity.CRITICAL, since=NOW - timedelta(minutes=2), line=7),
        a_finding("tests_failing", Severity.INFO),
    ),
)


PENDING = PendingApproval(
    "run-1",
    3,
    "2026-01-01T11:59:00Z",
    True,
    {"tests": "ok", "lint": "failed"},
    promise="All of it works.",
    candidate="0123456789abcdef" * 4,
    since=NOW - timedelta(minutes=1),
    files={"summary": ".superloop/loops/api 03/summary.md"},
)
A_LOT = LoopControl(
    in_flight=OpenIntent("intent-7", IntentKind.CANCEL, IntentStatus.EXECUTING, "ana", NOW - timedelta(seconds=4)),
    ambiguous=(OpenIntent("intent-5", IntentKind.APPROVE, IntentStatus.AMBIGUOUS, "ben", NOW - timedelta(hours=3)),),
    pause=PauseNote("intent-6", "ana", NOW - timedelta(minutes=1), "the disk is exchanged", NOW + timedelta(hours=2)),
    observing=True,
    observe_until=NOW + timedelta(hours=1),
)


def summaries() -> tuple[LoopSummary, ...]:
    healthy = view.summary(a_supervised_run("docs-17", NOW), NOW)
    waiting = view.summary(
        a_supervised_run(
            "waits",
            NOW,
            lifecycle=Lifecycle.AWAITING_APPROVAL,
            phase=Phase.AWAITING_APPROVAL,
            findings=(a_finding("approval_pending", Severity.INFO),),
            role=None,
        ),
        NOW,
    )
    listed = replace(healthy, loop_id="fleet", fault="loop_id_reserved", findings=())
    off = replace(healthy, loop_id="off", enabled=False)
    return healthy, waiting, view.summary(CRASHED, NOW), listed, off


def a_status(**members: object) -> FleetStatus:
    daemon = DaemonStatus(
        "0.1.0",
        "v1",
        "s1",
        42,
        NOW - timedelta(hours=3),
        "/srv/home",
        "discovery",
        (),
        (Subsystem("passes", True, 0.1),),
    )
    return FleetStatus(NOW, replace(daemon, **members), summaries(), 7)


def golden(name: str) -> str:
    """What an operator should see, in a file of its own: it is wider than code may be."""
    return (Path(__file__).parent / "golden" / f"{name}.txt").read_text()


def test_the_fleet_shows_what_needs_attention_first() -> None:
    assert fleet(a_status(), PLAIN) + "\n" == golden("fleet")


def test_a_daemon_in_trouble_says_so_above_the_fleet() -> None:
    """A table of healthy loops by a daemon that no longer looks is the worst of all answers."""
    findings = (a_finding("store_unwritable", Severity.CRITICAL, evidence="No space left on device."),)
    text = fleet(a_status(findings=findings, subsystems=(Subsystem("passes", False, 90.0),)), PLAIN)

    assert "opsd: critical store_unwritable: No space left on device." in text
    assert "next: " in text
    assert "opsd: late: passes (1m)" in text


def test_without_headers_there_are_only_rows() -> None:
    rows = fleet(a_status(), Look(headers=False)).splitlines()

    assert [row.split("  ")[0] for row in rows] == ["api 03", "waits", "fleet", "docs-17", "off"]


def test_an_empty_fleet_says_where_it_looked() -> None:
    text = fleet(replace(a_status(), loops=()), PLAIN)

    assert "no loops; looked in discovery, home /srv/home" in text


def test_one_loop_in_full() -> None:
    opened = OpenEscalation(
        EscalationId("0123456789abcdef"), Category.RUN_CRASHED, "2026-01-01T00:00:00Z", "x", NOW - timedelta(minutes=2)
    )
    status = replace(
        view.status(CRASHED, NOW),
        open_escalations=(opened,),
        summary=replace(view.summary(CRASHED, NOW), control=A_LOT),
        approval=PENDING,
        gates={"tests": "failed"},
        stuck_streak=1,
        stuck_threshold=3,
        pid=4242,
        quarantined_count=2,
    )

    expected = golden("loop")
    for finding in status.summary.findings:  # the registry's own words, which this view only quotes
        expected = expected.replace(f"<{finding.code}>", next_step(finding.code, status.summary))
    assert loop(status, PLAIN) + "\n" == expected


def test_an_explanation_stops_at_the_rule_that_decided() -> None:
    run = a_supervised_run("docs-17", NOW, findings=(a_finding("role_overdue"),))
    text = explanation(explain(run, last_ingest(run), Thresholds(), NOW), PLAIN)

    assert text.splitlines()[0].startswith("docs-17  running (running), as of 2026-01-01 12:00:00Z")
    phase = text.partition("Findings")[0]
    assert phase.count("=>") == 1
    assert phase.strip().splitlines()[-1].startswith("=>")
    assert "opsctl events docs-17 -n 20" in text


def an_item(number: int, raw: bytes) -> EventItem:
    return EventItem(number, number * 100, msgspec.Raw(raw))


def test_an_event_is_a_row_and_what_is_none_is_shown_as_it_stands() -> None:
    page = EventPage(
        "docs-17",
        1,
        (
            an_item(1, b'{"event":"loop_start","timestamp":"2026-01-01T00:00:00Z","run_id":"r1","iteration":1}'),
            an_item(2, b'{"type":"note","timestamp":"2026-01-01T00:00:01Z","message":"hi \\u001b[2J there"}'),
            an_item(3, '{"event":7,"message":"\u202e\x7f"}'.encode()),
        ),
        300,
        3,
        False,
    )

    assert events.render(msgspec.json.encode(page), PLAIN).splitlines() == [
        "LINE  TIME                  EVENT       RUN  ITER  ROLE  STATUS  MESSAGE",
        "1     2026-01-01T00:00:00Z  loop_start  r1   1     -     -       -",
        "2     2026-01-01T00:00:01Z  note        -    0     -     -       hi \\x1b[2J there",
        '3     -                     -           -    -     -     -       {"event":7,"message":"\\u202e\\x7f"}',
    ]  # fmt: skip


def test_runs_escalations_and_verdicts() -> None:
    runs = RunHistory(
        NOW,
        "docs-17",
        (
            RunItem("r1", "stuck", NOW - timedelta(hours=2), NOW - timedelta(hours=1), 7, 20, "no diff", 1),
            RunItem("r2", "running", NOW - timedelta(minutes=5), None, 2, None, None, 90),
        ),
    )
    assert history.render_runs(msgspec.json.encode(runs), PLAIN).splitlines() == [
        "RUN  ENDING   STARTED               TOOK   ITERATIONS  DETAIL",
        "r1   stuck    2026-01-01 10:00:00Z  1h00m  7/20        no diff",
        "r2   running  2026-01-01 11:55:00Z  5m     2           -",
    ]

    ours = (
        b'{"timestamp":"2026-01-01T11:00:00Z","loopId":"api 03","category":"run_crashed","id":"e1",'
        b'"severity":"critical","summary":"It is gone."}'
    )
    foreign = (
        b'{"timestamp":"2026-01-01T10:00:00Z","loopId":"x","category":"health_degraded","reasonCodes":["ingest_stale"]}'
    )
    page = EscalationPage(NOW, (msgspec.Raw(foreign), msgspec.Raw(ours)), ("e1",))
    assert history.render_escalations(msgspec.json.encode(page), PLAIN).splitlines() == [
        "TIME                  LOOP    CATEGORY         SEVERITY  OPEN  SUMMARY",
        "2026-01-01 10:00:00Z  x       health_degraded  -         -     ingest_stale",
        "2026-01-01 11:00:00Z  api 03  run_crashed      critical  yes   It is gone.",
        "",
        "next: opsctl status 'api 03'",
    ]

    report = VerificationReport(
        NOW,
        (
            Verification("docs-17", True, 7, (), "the log grew meanwhile"),
            Verification("api 03", False, 9, (Difference("disk", "phase", "running", "crashed"),)),
        ),
    )
    assert history.render_verification(msgspec.json.encode(report), PLAIN).splitlines() == [
        "docs-17  same (the log grew meanwhile)  from 7 events",
        "api 03  differs  from 9 events",
        "  phase: disk has running, the files give crashed",
        "  next: opsctl reconcile 'api 03' --from-start",
    ]


def test_a_change_tells_only_what_changed() -> None:
    before = view.summary(a_supervised_run("docs-17", NOW), NOW)
    crashed = view.summary(
        a_supervised_run(
            "docs-17",
            NOW,
            lifecycle=Lifecycle.FAILED,
            phase=Phase.CRASHED,
            findings=(a_finding("runtime_process_missing", Severity.CRITICAL),),
        ),
        NOW,
    )

    def line(loop: LoopSummary, known: LoopSummary | None) -> str | None:
        return change_line(FeedItem("loop", "s1", 1, NOW, loop=loop), known, PLAIN)

    head = "2026-01-01 12:00:00Z  docs-17  "
    assert line(before, None) == head + "running  healthy  3/20 implementer 30s"
    assert line(crashed, before) == (
        head + "running -> failed (crashed)  critical  +runtime_process_missing  (next: opsctl status docs-17)"
    )
    assert line(before, crashed) == head + "failed (crashed) -> running  healthy  -runtime_process_missing"
    assert line(before, before) is None
    assert change_line(FeedItem("hello", "s1", 0, NOW), None, PLAIN) is None
    assert change_line(FeedItem("removed", "s1", 3, NOW, removed="a"), None, PLAIN) == (
        "2026-01-01 12:00:00Z  a  is no longer in the fleet"
    )


def test_the_last_column_gives_way_to_the_terminal() -> None:
    lines = table(("A", "B"), [("x", "a long story about nothing")], Look(width=16)).splitlines()

    assert lines == ["A  B", "x  a long story…"]


def test_wide_characters_take_two_columns() -> None:
    lines = table(("A", "B"), [("表表", "1"), ("e\u0301é", "2"), ("abcd", "3")], PLAIN).splitlines()

    assert lines == ["A     B", "表表  1", "e\u0301é    2", "abcd  3"]


def test_colour_is_only_for_terminals_that_take_it() -> None:
    rows = [(Cell("x", "bad"), "y")]

    assert table(("A", "B"), rows, COLOURED).splitlines()[1] == "\x1b[31;1mx\x1b[0m  y"
    assert "\x1b" not in table(("A", "B"), rows, PLAIN)


@given(st.lists(st.tuples(st.text(), st.text(), st.text()), max_size=5), st.integers(1, 200))
def test_no_text_gets_through_a_table_undefused(rows: list[tuple[str, str, str]], width: int) -> None:
    """One row, one line, nothing that a terminal obeys: whatever a run calls itself."""
    shown = table(("A", "B", "C"), rows, Look(width=width))

    assert len(shown.split("\n")) == len(rows) + 1
    assert all(line.isprintable() for line in shown.split("\n"))


@pytest.mark.parametrize("evil", ["\x1b[2J", "\u202e", "a\nb"])
def test_no_view_lets_a_run_s_text_through(evil: str) -> None:
    run = a_supervised_run(
        f"l{evil}",
        NOW,
        event=f"e{evil}",
        role=f"r{evil}",
        findings=(a_finding("role_overdue", evidence=f"v{evil}"),),
        repo_path=evil,
    )
    shown = [
        loop(view.status(run, NOW), PLAIN),
        fleet(replace(a_status(), loops=(view.summary(run, NOW),)), PLAIN),
        change_line(FeedItem("loop", "s", 1, NOW, loop=view.summary(run, NOW)), None, PLAIN) or "",
        explanation(explain(run, last_ingest(run), Thresholds(), NOW), PLAIN),
    ]

    for text in shown:
        assert evil not in text
        assert all(line.isprintable() for line in text.split("\n"))
