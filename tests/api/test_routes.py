"""What each path answers, over a real socket."""

from pathlib import Path

import anyio
import msgspec

from opsd.clock import SystemClock
from opsd.model.explain import Explanation
from opsd.protocol import (
    EscalationPage,
    EventPage,
    FleetStatus,
    HealthReply,
    LogPage,
    LoopStatus,
    ReconcileReply,
    RunHistory,
    Subsystem,
    Verification,
    VerificationReport,
    VersionReply,
)
from opsd.supervisor.fleet import PassBroke
from tests.api.wire import ask
from tests.api.world import a_world
from tests.doubles.fleet import a_supervised_run


async def test_the_fleet_is_every_loop_and_the_daemon(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answer = await world.get("/v1/fleet")

    fleet = msgspec.json.decode(answer.body, type=FleetStatus)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert [loop.loop_id for loop in fleet.loops] == ["docs-17", "api 03", "fleet"]
    assert fleet.daemon.start_id == "start-1"


async def test_the_wire_speaks_camel_case(tmp_path: Path) -> None:
    """Existing tooling reads these members by name."""
    async with a_world(tmp_path) as world:
        answer = await world.get("/v1/loops/docs-17")

    members = msgspec.json.decode(answer.body)["summary"]
    assert {"loopId", "overallStatus", "reasonCodes", "needsHuman"} <= members.keys()


async def test_a_loop_is_asked_for_by_its_escaped_name(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answer = await world.get("/v1/loops/api%2003")

    status = msgspec.json.decode(answer.body, type=LoopStatus)
    assert status.summary.loop_id == "api 03"
    assert status.summary.phase == "crashed"


async def test_an_unknown_loop_is_refused_with_its_near_names(tmp_path: Path) -> None:
    """A typing error is the usual reason."""
    async with a_world(tmp_path) as world:
        answers = [
            await world.get(f"/v1/loops/docs-71{below}") for below in ("", "/explain", "/events", "/logs", "/runs")
        ]

    for answer in answers:
        status, code, message = answer.error()
        assert (status, code) == (404, "unknown_loop")
        assert "did you mean 'docs-17'?" in message


async def test_an_explanation_lists_the_rules(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answer = await world.get("/v1/loops/docs-17/explain")

    explanation = msgspec.json.decode(answer.body, type=Explanation)
    assert explanation.loop_id == "docs-17"
    assert explanation.steps
    assert explanation.findings


async def test_events_are_paged_without_gap_or_repeat(tmp_path: Path) -> None:
    names = [f"event_{number}" for number in range(10)]
    async with a_world(tmp_path) as world:
        world.write_events("docs-17", names)
        target, got = "/v1/loops/docs-17/events?limit=3&offset=0", []
        while True:
            page = msgspec.json.decode((await world.get(target)).body, type=EventPage)
            got += [(item.line, msgspec.json.decode(item.raw)["event"]) for item in page.items]
            if not page.more:
                break
            target = (
                f"/v1/loops/docs-17/events?limit=3&epoch={page.epoch}&offset={page.next_offset}&line={page.next_line}"
            )

    assert got == list(enumerate(names, start=1))


async def test_a_held_back_answer_goes_out_when_there_is_news(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.write_events("docs-17", ["loop_start"])
        page = msgspec.json.decode((await world.get("/v1/loops/docs-17/events")).body, type=EventPage)
        position = f"epoch={page.epoch}&offset={page.next_offset}&line={page.next_line}"
        later: list[EventPage] = []

        async def wait_for_news() -> None:
            answer = await world.get(f"/v1/loops/docs-17/events?{position}&wait=30")
            later.append(msgspec.json.decode(answer.body, type=EventPage))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_news)
            assert not later
            world.write_events("docs-17", ["role_start"])

    assert [msgspec.json.decode(item.raw)["event"] for item in later[0].items] == ["role_start"]


async def test_a_held_back_answer_ends_with_its_wait(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.write_events("docs-17", ["loop_start"])
        page = msgspec.json.decode((await world.get("/v1/loops/docs-17/events")).body, type=EventPage)
        position = f"epoch={page.epoch}&offset={page.next_offset}&line={page.next_line}"
        answer = await world.get(f"/v1/loops/docs-17/events?{position}&wait=0.01")

    later = msgspec.json.decode(answer.body, type=EventPage)
    assert (later.items, later.next_offset) == ((), page.next_offset)


async def test_a_replaced_log_says_so(tmp_path: Path) -> None:
    """Whoever follows must know that line 1 comes again."""
    async with a_world(tmp_path) as world:
        world.write_events("docs-17", ["loop_start", "role_start"])
        page = msgspec.json.decode((await world.get("/v1/loops/docs-17/events")).body, type=EventPage)
        position = f"epoch={page.epoch + 1}&offset={page.next_offset}&line={page.next_line}"
        answer = await world.get(f"/v1/loops/docs-17/events?{position}&wait=30")

    later = msgspec.json.decode(answer.body, type=EventPage)
    assert later.restarted
    assert [item.line for item in later.items] == [1, 2]


async def test_a_log_that_cannot_be_read_is_unavailable_not_a_fault(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answer = await world.get("/v1/loops/docs-17/events")

    status, code, message = answer.error()
    assert (status, code) == (503, "unavailable")
    assert "events.jsonl could not be read: No such file or directory" in message


async def test_a_role_log_is_read_from_its_end_and_on(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.write_log("docs-17", 2, "tester", "one\ntwo\nthree\n")
        page = msgspec.json.decode((await world.get("/v1/loops/docs-17/logs?tail=2")).body, type=LogPage)
        world.write_log("docs-17", 2, "tester", "four\n")
        on = f"role=tester&iteration=2&inode={page.inode}&offset={page.next_offset}"
        later = msgspec.json.decode((await world.get(f"/v1/loops/docs-17/logs?{on}")).body, type=LogPage)

    assert (page.role, page.iteration, page.text) == ("tester", 2, "two\nthree\n")
    assert later.text == "four\n"


async def test_a_role_without_a_log_is_refused_with_what_there_is(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.write_log("docs-17", 2, "tester", "one\n")
        answers = [await world.get(f"/v1/loops/docs-17/logs?role={role}") for role in ("planner", "..%2F..%2Fstate")]

    for answer in answers:
        status, code, message = answer.error()
        assert (status, code) == (404, "not_found")
        assert "iter-2/tester" in message


async def test_runs_escalations_and_verdicts_are_told(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        row = b'{"timestamp":"2026-01-01T00:00:00Z","loopId":"docs-17","category":"approval_pending","id":"a1"}'
        world.queries.journal = [row]
        world.queries.verifications = [Verification("docs-17", True, 7, ()), Verification("api 03", False, 7, ())]
        runs = msgspec.json.decode((await world.get("/v1/loops/docs-17/runs")).body, type=RunHistory)
        escalations = msgspec.json.decode((await world.get("/v1/escalations")).body, type=EscalationPage)
        every = msgspec.json.decode((await world.get("/v1/verify")).body, type=VerificationReport)
        one = msgspec.json.decode((await world.get("/v1/verify?loop=api%2003")).body, type=VerificationReport)

    assert [run.ending for run in runs.runs] == ["running"]
    assert [bytes(each) for each in escalations.rows] == [row]
    assert [each.loop_id for each in every.loops] == ["docs-17", "api 03"]
    assert [each.loop_id for each in one.loops] == ["api 03"]
    assert world.fleet.asked == [("api 03", False)] * 2, "a difference counts once a new pass has left it standing"


async def test_a_reconcile_is_asked_of_the_fleet(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        bare = await ask(world.path, "/v1/loops/docs-17/reconcile", method="POST")
        full = await ask(world.path, "/v1/loops/api%2003/reconcile", method="POST", body=b'{"fromStart":true}')

    assert world.fleet.asked == [("docs-17", False), ("api 03", True)]
    assert msgspec.json.decode(bare.body, type=ReconcileReply).events_ingested == 3
    assert msgspec.json.decode(full.body, type=ReconcileReply).status.summary.loop_id == "api 03"


async def test_a_loop_that_is_only_listed_is_not_reconciled(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answer = await ask(world.path, "/v1/loops/fleet/reconcile", method="POST")

    status, code, message = answer.error()
    assert (status, code) == (409, "loop_not_managed")
    assert "the name is taken" in message
    assert not world.fleet.asked


async def test_a_fault_of_ours_is_one_answer_and_no_more(tmp_path: Path) -> None:
    """What broke stays in the log; the next request is served."""
    async with a_world(tmp_path) as world:
        world.fleet.broken = RuntimeError("secret path /srv/x")
        answer = await ask(world.path, "/v1/loops/docs-17/reconcile", method="POST")
        after = await world.get("/v1/version")

    status, code, message = answer.error()
    assert (status, code) == (500, "internal")
    assert "secret" not in message
    assert msgspec.json.decode(after.body, type=VersionReply).start_id == "start-1"


async def test_a_pass_that_broke_may_be_asked_for_again(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.fleet.broken = PassBroke("the pass over 'docs-17' broke off: KeyError")
        answer = await ask(world.path, "/v1/loops/docs-17/reconcile", method="POST")

    status, code, message = answer.error()
    assert (status, code) == (503, "unavailable")
    assert "broke off" in message


async def test_health_turns_503_when_a_part_is_late(tmp_path: Path) -> None:
    """A socket that answers proves nothing about the passes."""
    async with a_world(tmp_path) as world:
        well = await world.get("/healthz")
        world.fleet.subsystems = (Subsystem("passes", False, 99.0), Subsystem("sweep", True, 0.5))
        late = await world.get("/healthz")

    assert (well.status, late.status) == (200, 503)
    reply = msgspec.json.decode(late.body, type=HealthReply)
    assert not reply.ok
    assert [(part.name, part.ok) for part in reply.subsystems] == [("passes", False), ("sweep", True)]


async def test_metrics_are_prometheus_text(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answer = await world.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.body.decode().splitlines() == [
        "# TYPE opsd_loops gauge",
        'opsd_loops{health="critical"} 2.5',
        'opsd_loops{health="healthy"} 1',
        "# TYPE opsd_passes_total counter",
        "opsd_passes_total 12",
    ]


async def test_head_answers_like_get_without_a_body(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answers = [await ask(world.path, target, method="HEAD") for target in ("/v1/fleet", "/v1/watch")]

    assert [(answer.status, answer.body) for answer in answers] == [(200, b""), (200, b"")]


async def test_a_loop_may_leave_the_fleet_and_come_back(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.fleet.remove("docs-17")
        gone = await world.get("/v1/loops/docs-17")
        world.fleet.put(a_supervised_run("docs-17", SystemClock().now()))
        back = await world.get("/v1/loops/docs-17")

    assert (gone.status, back.status) == (404, 200)
