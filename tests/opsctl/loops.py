"""Loops in the situations in which one asks something of them."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from opsd.model.health import Severity
from opsd.model.lifecycle import Lifecycle, Phase
from opsd.model.observation import Artifact
from opsd.model.run import Run
from opsd.model.runtime import Approval, Candidate, Presence, Promise
from tests.doubles.fleet import a_finding, a_supervised_run

RUN = "2026-01-01T00:00:00Z"
"""The run of every loop of `a_supervised_run`."""
LATER = "2026-01-01T06:00:00Z"
DIGEST = "0123456789abcdef" * 4


def a_waiting_run(loop_id: str, now: datetime, repo_path: str = "/srv/repo") -> Run:
    """Its run has ended with a candidate, five minutes ago, and somebody has to decide."""
    since = now - timedelta(minutes=5)
    run = a_supervised_run(
        loop_id,
        now,
        lifecycle=Lifecycle.AWAITING_APPROVAL,
        phase=Phase.AWAITING_APPROVAL,
        findings=(a_finding("approval_pending", Severity.INFO, since=since),),
        repo_path=repo_path,
        role=None,
    )
    asked = Approval(
        status="pending",
        run_id=RUN,
        iteration=3,
        requested_at=since.strftime("%Y-%m-%dT%H:%M:%SZ"),
        candidate=Candidate(promise=Promise(matched=True, text="All of it works."), gates={"tests": "ok"}),
        files={"summary": ".superloop/loops/docs-17/summary.md"},
        digest=DIGEST,
    )
    assert run.projection is not None
    return replace(
        run,
        projection=replace(run.projection, has_pending_approval=True),
        artifacts=replace(run.artifacts, approval=Artifact(Presence.PRESENT, asked)),
    )


def of_another_run(run: Run, run_id: str = LATER) -> Run:
    assert run.projection is not None
    return replace(run, projection=replace(run.projection, run_id=run_id))
