"""Every block of the page of one-shot commands does what the page says, as `bash -eu` runs it.

Sections are run from their first block to their last, each in a repository of its own, and each in every way: from the
checkout, from another folder, through a link, without any environment, and beside a daemon that holds the repository.
Nothing but a document may be printed where a command succeeds.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.doubles.process import OpsdProcess, wait_until
from tests.runbook.page import sections
from tests.runbook.site import Cell, Site, beating, contradictory, managed, played

ALL = tuple(Cell)
DONE = {"status": "confirmed", "confirm": {"confirmed": True, "reason": "inactive_not_running"}}


class Step(NamedTuple):
    """What one block comes to. `shows` is the text, a pattern for it, or members of the one document printed.

    before: what happened to the loop in the meantime. after: what must be true then. serves: the block does not end by
    itself, and goes on until the end.
    """

    shows: str | re.Pattern[str] | Mapping[str, Any] = re.compile(r"(.|\n)*")
    code: int = 0
    complains: str = ""
    before: Callable[[Site], object] | None = None
    after: Callable[[Site], object] | None = None
    serves: bool = False


class Section(NamedTuple):
    """In which repository a section's blocks are run, from where, and what each comes to."""

    scene: Callable[[Path], AbstractContextManager[Site]]
    steps: Sequence[Step]
    cells: Sequence[Cell] = ALL


def _running(root: Path) -> AbstractContextManager[Site]:
    return played(root, "running")


def _unbelieved(root: Path) -> AbstractContextManager[Site]:
    return played(root, "running", faults={"cancel": [{"kind": "lie"}]})


def _awaiting(root: Path) -> AbstractContextManager[Site]:
    return played(root, "awaiting approval")


def _complete(root: Path) -> AbstractContextManager[Site]:
    return played(root, "complete")


def _managed(root: Path) -> AbstractContextManager[Site]:
    return managed(root, "running")


def _look(site: Site) -> None:
    ended = site.run("scripts/ops-manager-reconcile.sh --repo /srv/checkout --loop checkout-flow")
    assert (ended.code, ended.err) == (0, "")


def _look_from_afar(site: Site) -> None:
    assert site.run("scripts/ops-manager-reconcile.sh --repo /srv/fleet --loop checkout-flow").code == 0


def _lose_documents(site: Site) -> None:
    _look(site)
    for name in ("heartbeat.json", "sequence-state.json"):
        (site.ours / name).unlink()


def _damage_documents(site: Site) -> None:
    for name in ("cursor.json", "state.json"):
        (site.ours / name).write_text("{no json")


def _damage_own_cursor(site: Site) -> None:
    (site.repo / ".superloop/loops" / "checkout-flow" / "ops-manager.cursor.json").write_text("{no json")


def _once(command: str) -> Callable[[Site], None]:
    def carried_out_once(site: Site) -> None:
        assert site.executions(command) == 1

    return carried_out_once


def _answers(site: Site) -> None:
    wait_until(site.answers, "the service answers")


def _serve_again(site: Site) -> None:
    (serve,) = (block for block in sections()["Over HTTP"] if "sprite-service" in block)
    site.kept.enter_context(site.started(serve))
    _answers(site)


RUNNING = {"transition": {"currentState": "running"}, "health": {"status": "healthy"}}
ROW = {"intent": "cancel", "status": "confirmed", "idempotencyKey": "cancel-checkout-flow-1"}

SECTIONS: Mapping[str, Section] = {
    "How to call them": Section(
        _running,
        (Step(RUNNING), Step("running"), Step("healthy")),
        (Cell.CHECKOUT, Cell.DAEMON),  # its blocks are themselves about other folders, links and an installation
    ),
    "Look at a loop once": Section(
        _running,
        (
            Step(RUNNING),
            Step("running\thealthy"),
            Step(re.compile(r"\S+ iteration 1: running, healthy")),
            Step({"state": "running", "overall": "healthy", "why": []}),
            Step(re.compile(r'nightly-17\n\{[^}]*"status": "success"[^}]*\}')),
        ),
    ),
    "The files contradict each other": Section(
        contradictory,
        (
            Step(re.compile(r'(.|\n)*"approvalCompletionConflict": true(.|\n)*')),
            Step({"status": "awaiting_approval", "approval": "pending", "last": "approval_requested"}),
            Step(re.compile(r"1\t\S+\tloop_start\t-\n2\t.*\n3\t\S+\tapproval_requested\t-")),
            Step(re.compile(r'(.|\n)*"currentState": "awaiting_approval"(.|\n)*"divergence_detected"(.|\n)*')),
        ),
    ),
    "Repeat an intent safely": Section(
        _running,
        (
            Step(ROW, after=_once("cancel")),
            Step(ROW, after=_once("cancel")),
            Step({"intent": "cancel", "status": "confirmed", "requestedBy": "riya"}),
        ),
    ),
    "Nothing proves what an intent did": Section(
        _unbelieved,
        (
            Step({"status": "ambiguous", "confirmed": False}, code=2, after=_once("cancel")),
            Step({"confirmed": False, "reason": "timeout"}, code=1),
            Step({"status": "running"}),
            Step(DONE),
        ),
    ),
    "Approve and reject": Section(
        _awaiting,
        (Step({"status": "confirmed", "confirm": {"reason": "decision_recorded"}}, after=_once("approve")),),
    ),
    "Reject in a job": Section(
        _awaiting,
        (
            Step(re.compile(r'executed_unconfirmed\n\{.*"confirmed":true.*\}'), after=_once("approve")),
            Step(re.compile(r"confirmed")),
        ),
    ),
    "Cursors and replay": Section(
        _complete,
        (
            Step({"state": "complete", "sequence": "ok"}, before=_look),
            Step(re.compile(r"ok\n[1-9]\d*")),
            Step(re.compile(r"complete\n(.|\n)*cursor\.json(.|\n)*state\.json(.|\n)*"), before=_damage_documents),
            Step("", code=1, complains="invalid JSON in cursor file", before=_damage_own_cursor),
            Step(re.compile(r"1 loop_start(\n\d \w+){4}")),
        ),
    ),
    "Over HTTP": Section(
        _managed,
        (
            Step(serves=True, after=_answers),
            Step({"ok": True}),
            Step(re.compile(r'\{\s*"status": "running",\s*"lines": \d+\s*\}\n(\w+\n)*\w+')),
            Step({"transition": {"currentState": "running"}, "health": "healthy"}),
            Step({"status": "confirmed"}, after=_once("cancel")),
            Step({"ok": True, "exitCode": 0, "status": "confirmed"}),
        ),
    ),
    "The service is down": Section(
        _managed,
        (
            Step(
                {"reasonCodes": ["transport_unreachable"], "transport": {"failureCode": "service_request_failed"}},
                code=1,
                before=_look_from_afar,
            ),
            Step({"lastResult": "failed", "failureStreak": 1, "lastFailureCode": "service_request_failed"}),
            Step({"state": "running", "health": "healthy", "mode": "local"}),
            Step({"state": "running", "health": "healthy", "streak": 0}, before=_serve_again),
        ),
    ),
    "Part of it is missing": Section(
        beating,
        (
            Step({"heartbeat": {"transport": "local"}, "sequence": {"status": "ok"}}, before=_lose_documents),
            Step(re.compile(r"(.|\n)*missing: \S*/heartbeat\.json(.|\n)*")),
            Step("ok\nok"),
        ),
    ),
    "Thresholds": Section(
        _running,
        (
            Step("balanced\nrelaxed\nstrict"),
            Step({"degradedIngestLagSeconds": 120, "criticalIngestLagSeconds": 300}),
            Step({"health": "healthy", "profile": "strict", "lag": 200}),
            Step({"confidence": "low"}),
            Step({"status": "drift_active", "mismatchStreak": 1, "action": "review_threshold_profile"}),
            Step({"tuning": {"confidence": "low"}}),
        ),
    ),
    "Beside a daemon": Section(
        _running,
        (
            Step(re.compile(r'\{\s*"pid": \d+,\s*"socketPath": "\S+"\s*\}')),
            Step("strict"),
            Step("", code=1, complains="--state-file"),
            Step(re.compile(r"(.|\n)*strict(.|\n)*")),
        ),
        (Cell.DAEMON,),
    ),
}


def test_every_block_of_the_page_is_run() -> None:
    assert {heading: len(blocks) for heading, blocks in sections().items()} == {
        heading: len(section.steps) for heading, section in SECTIONS.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("heading", "cell"),
    [(heading, cell) for heading, section in SECTIONS.items() for cell in section.cells],
    ids=lambda value: value.value if isinstance(value, Cell) else value,
)
def test_a_section(heading: str, cell: Cell, short_path: Path) -> None:
    section = SECTIONS[heading]
    with section.scene(short_path) as site, site.kept:
        site.cell = cell
        if cell is Cell.DAEMON:
            site.kept.enter_context(OpsdProcess(site.home))
        for block, step in zip(sections()[heading], section.steps, strict=True):
            _follow(site, block, step)


def _follow(site: Site, block: str, step: Step) -> None:
    if step.before is not None:
        step.before(site)
    if step.serves:
        process = site.kept.enter_context(site.started(block))
        assert step.after is not None
        step.after(site)
        assert process.poll() is None
        return
    ended = site.run(block)
    told = f"{block}\n{ended.out}\n{ended.err}"
    assert ended.code == step.code, told
    if step.complains:
        assert ended.err.splitlines()[-1].startswith("error: "), told
        assert step.complains in ended.err, told
    else:
        assert ended.err == "", told
    _shows(step.shows, ended.out, told)
    if step.after is not None:
        step.after(site)


def _shows(wanted: str | re.Pattern[str] | Mapping[str, Any], out: str, told: str) -> None:
    match wanted:
        case str():
            assert out.strip() == wanted, told
        case re.Pattern():
            assert wanted.fullmatch(out.strip()), told
        case _:
            _has(json.loads(out), wanted, told)


def _has(document: Any, wanted: Mapping[str, Any], told: str) -> None:
    for name, value in wanted.items():
        if isinstance(value, Mapping):
            _has(document[name], value, told)
        else:
            assert document[name] == value, told
