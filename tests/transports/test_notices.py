"""Which changed paths give a notice, and to whom."""

import pytest

from opsd.transports.notices import Notice, notice_of

ROOTS = frozenset({"/srv/app", "/srv/app/.superloop/loops/x/repo"})


@pytest.mark.parametrize(
    ("path", "notice"),
    [
        ("/srv/app/.superloop/loops/a/events.jsonl", Notice("/srv/app", "a")),
        ("/srv/app/.superloop/loops/a/run-summary.json", Notice("/srv/app", "a")),
        ("/srv/app/.superloop/loops/a/heartbeat.v1.json", Notice("/srv/app", "a")),
        ("/srv/app/.superloop/loops/a", Notice("/srv/app", "a")),
        ("/srv/app/.superloop/loops/..", Notice("/srv/app", "..")),
        ("/srv/app/.superloop/state.json", Notice("/srv/app")),
        ("/srv/app/.superloop/active-run.json", Notice("/srv/app")),
        ("/srv/app/.superloop/loops", Notice("/srv/app")),
        ("/srv/app/.superloop/loops/x/repo/.superloop/state.json", Notice("/srv/app/.superloop/loops/x/repo")),
        ("/srv/app/.superloop/loops/a/run-summary.json.tmp", None),
        ("/srv/app/.superloop/loops/a/logs/iter-1/planner.log", None),
        ("/srv/app/.superloop/loops/a/logs/events.jsonl", None),
        ("/srv/app/.superloop/ops-manager", None),
        ("/srv/app/.superloop/ops-manager/a/state.json", None),
        ("/srv/app/.superloop/loops/", None),
        ("/srv/other/.superloop/state.json", None),
        ("/srv/app/readme", None),
    ],
)
def test_only_what_a_verdict_rests_on_gives_notice(path: str, notice: Notice | None) -> None:
    """Role logs change all the time, and our own files because of us: either would keep the daemon busy with itself."""
    assert notice_of(path, ROOTS) == notice
