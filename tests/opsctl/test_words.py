"""Words for waiting, times on the command line, and durations in tables."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsctl.arguments import build_parser
from opsctl.commands.events import moment
from opsctl.errors import UsageError
from opsctl.render.words import duration, moment_in, next_step, reasons, state
from opsctl.words import KNOWN, checked, is_so
from opsd.app import view
from opsd.model.lifecycle import Lifecycle, Phase
from opsd.model.reasons import REASONS
from opsd.protocol import LoopSummary
from tests.doubles.fleet import a_finding, a_supervised_run

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def a_summary(loop_id: str = "docs-17", **members: object) -> LoopSummary:
    return view.summary(a_supervised_run(loop_id, NOW, **members), NOW)  # type: ignore[arg-type]  # they are the builder's


def test_the_contract_s_words_our_phases_and_health_are_all_known() -> None:
    for word in ("running", "awaiting_approval", "never_run", "crashed", "degraded", "finding:ingest_stale"):
        assert checked(word) == word
    assert "none" not in KNOWN


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("runing", "no loop is ever 'runing'; did you mean running"),
        ("finding:ingest_stall", "there is no finding 'ingest_stall'; did you mean ingest_stale"),
        ("xyzzy", "known: unknown, running,"),
        ("none", "no loop is ever 'none'"),
    ],
)
def test_a_word_that_can_never_come_true_is_refused(word: str, says: str) -> None:
    """Waiting for a misspelt state would wait for the whole timeout."""
    with pytest.raises(UsageError) as refused:
        checked(word)

    assert says in refused.value.message


def test_a_loop_is_what_its_lifecycle_its_phase_its_health_or_a_finding_says() -> None:
    loop = a_summary(phase=Phase.BUSY, findings=(a_finding("role_overdue"),))

    assert {word for word in KNOWN if is_so(loop, word)} == {"running", "busy", "degraded"}
    assert is_so(loop, "finding:role_overdue")
    assert not is_so(loop, "finding:ingest_stale")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "-"), (-5, "0s"), (0.9, "0s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h00m"), (7500, "2h05m"),
     (86_399, "23h59m"), (86_400, "1d00h"), (1_000_000, "11d13h")],
)  # fmt: skip
def test_durations_are_short(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("10m", NOW - timedelta(minutes=10)),
        ("90s", NOW - timedelta(seconds=90)),
        ("2h", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("2026-01-01T11:00:00Z", NOW - timedelta(hours=1)),
        ("2026-01-01T13:00:00+02:00", NOW - timedelta(hours=1)),
        ("2026-01-01T11:00", NOW - timedelta(hours=1)),
        ("2025-12-31", NOW - timedelta(hours=36)),
    ],
)
def test_a_moment_is_how_long_ago_or_when(text: str, then: datetime) -> None:
    assert moment(text, NOW) == then


@pytest.mark.parametrize("text", ["", "yesterday", "10x", "m", "-5m", "999999d", "2026-13-01"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        moment(text, NOW)

    assert "10m" in refused.value.remedy


@given(st.text())
def test_a_time_in_a_run_s_words_never_breaks_a_view(text: str) -> None:
    parsed = moment_in(text)

    assert parsed is None or parsed.tzinfo is not None


def test_a_state_says_more_only_where_there_is_more() -> None:
    assert state(a_summary()) == "running"
    assert state(a_summary(lifecycle=Lifecycle.FAILED, phase=Phase.CRASHED)) == "failed (crashed)"


def test_reasons_are_bounded() -> None:
    codes = ("ingest_stale", "role_overdue", "tests_failing", "file_unreadable", "clock_stepped")

    said = reasons(a_summary(findings=tuple(a_finding(code) for code in codes)))

    assert said == "ingest_stale, role_overdue, tests_failing +2"
    assert reasons(a_summary()) == "-"


def test_every_next_step_can_be_typed_as_it_stands() -> None:
    """A name with a space must not become two arguments."""
    loop = a_summary("api 03", repo_path="/srv/my repo")
    for code in REASONS:
        step = next_step(code, loop)
        assert "LOOP" not in step
        assert "REPO" not in step.replace("--repo", "")
        assert ("LOOP" in REASONS[code].next_step) == ("'api 03'" in step)
    assert next_step("not_in_the_registry", loop) == ""


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("1.5s", 1.5), ("10m", 600.0), ("2h", 7200.0), ("1d", 86400.0)]
)
def test_timeouts_are_given_in_units(text: str, seconds: float) -> None:
    args = build_parser().parse_args(["wait", "a", "--for", "complete", "--timeout", text])

    assert args.timeout == seconds


@pytest.mark.parametrize(
    "args",
    [
        ["wait", "a"],
        ["wait", "a", "--for", "complete", "--timeout", "0"],
        ["wait", "a", "--for", "complete", "--timeout", "nan"],
        ["wait", "a", "--for", "complete", "--any", "--all"],
        ["events", "a", "-n", "0"],
        ["events", "a", "-o", "name"],
        ["status", "-o", "xml"],
        ["frobnicate"],
        [],
    ],
)
def test_a_wrong_command_line_is_exit_2_and_says_how_to_get_help(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        build_parser().parse_args(args)

    assert left.value.code == 2
    assert "--help" in capsys.readouterr().err


def test_general_options_stand_before_or_behind_the_command() -> None:
    for args in (["--socket", "/s", "status"], ["status", "--socket", "/s"]):
        assert build_parser().parse_args(args).socket == "/s"
