"""What operators ask to be done: taken in, waited for, refused, settled; over a real socket."""

import os
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from opsd.api.peer import user_name
from opsd.app.desk import DeskError
from opsd.model.intent import Evidence, Intent, IntentKind, IntentStatus, Stage
from opsd.protocol import IntentPage, IntentReply
from opsd.supervisor.fleet import FleetError, PassBroke, UnknownLoop
from tests.api.wire import Answer, ask, eventually, watching
from tests.api.world import World, a_world
from tests.doubles.desk import a_full_disk, a_refusal

DOCS = "/v1/loops/docs-17/intents"


async def post(world: World, target: str, /, **body: Any) -> Answer:
    return await ask(world.path, target, method="POST", body=msgspec.json.encode(body))


def reply_in(answer: Answer) -> IntentReply:
    return msgspec.json.decode(answer.body, type=IntentReply)


async def an_intent(world: World, kind: str = "cancel", target: str = DOCS, /, **body: Any) -> Intent:
    return reply_in(await post(world, target, intent=kind, **body)).intent


class Held:
    """A request under way; `answer` is what it got by the end of the task group."""

    def __init__(self) -> None:
        self.answer: Answer | None = None

    async def ask(self, world: World, target: str, *, method: str = "GET", body: bytes | None = None) -> None:
        self.answer = await ask(world.path, target, method=method, body=body)

    @property
    def reply(self) -> IntentReply:
        assert self.answer is not None
        return reply_in(self.answer)


async def test_an_intent_is_taken_in_and_goes_on_without_who_asked(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answer = await post(world, DOCS, intent="cancel", note="enough", reason="wrong spec")

    reply = reply_in(answer)
    assert answer.status == 202
    assert (reply.intent.status, reply.intent.loop_id, reply.intent.note, reply.intent.reason) == (
        IntentStatus.RECORDED,
        "docs-17",
        "enough",
        "wrong spec",
    )
    assert not reply.replayed


async def test_a_settled_intent_is_a_200(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.outcomes["docs-17"] = IntentStatus.CONFIRMED
        answer = await post(world, DOCS, intent="cancel")

    assert answer.status == 200
    assert reply_in(answer).intent.status is IntentStatus.CONFIRMED


async def test_the_actor_is_the_kernels_word_and_the_name_a_claim(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        claimed = await an_intent(world, by="riya")
        plain = await an_intent(world, "cancel", "/v1/loops/api%2003/intents")

    account = user_name(os.getuid())
    assert {(each.actor.uid, each.actor.user, each.actor.pid) for each in (claimed, plain)} == {
        (os.getuid(), account, os.getpid())
    }
    assert (claimed.requested_by, plain.requested_by) == ("riya", account)


async def test_what_the_operator_saw_arrives_whole(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        fence = {"runId": "2026-01-01T00:00:00Z", "iteration": 3, "candidate": "c" * 64}
        intent = await an_intent(
            world,
            "approve",
            expect=fence,
            timeoutS=7.5,
            confirm=False,
            overrideDivergence=True,
            reason="seen by eye",
            idempotencyKey="k1",
            traceId="t1",
        )

    assert (intent.expect.run_id, intent.expect.iteration, intent.expect.candidate) == tuple(fence.values())
    assert (intent.options.timeout_s, intent.options.confirm, intent.options.override_divergence) == (7.5, False, True)
    assert (intent.idempotency_key, intent.key_given, intent.trace_id) == ("k1", True, "t1")


async def test_the_wire_speaks_camel_case(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answer = await post(world, DOCS, intent="cancel")

    intent = msgspec.json.decode(answer.body)["intent"]
    assert {"loopId", "recordedAt", "requestedBy", "idempotencyKey", "schemaVersion"} <= intent.keys()


async def test_a_held_back_submission_answers_when_the_intent_settles(tmp_path: Path) -> None:
    held = Held()
    async with a_world(tmp_path) as world, anyio.create_task_group() as tasks:
        body = b'{"intent": "cancel", "waitS": 30}'
        tasks.start_soon(lambda: held.ask(world, DOCS, method="POST", body=body))
        await eventually(lambda: bool(world.desk.intents))
        (recorded,) = world.desk.intents
        world.desk.move(recorded.id, IntentStatus.EXECUTED)
        evidence = (Evidence("state.json", "absent"),)
        world.desk.move(recorded.id, IntentStatus.CONFIRMED, stage_evidence=evidence)

    assert held.answer is not None
    assert (held.answer.status, held.reply.intent.status) == (200, IntentStatus.CONFIRMED)
    assert held.reply.intent.stage_evidence == evidence


async def test_a_held_back_submission_ends_with_its_wait(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answer = await post(world, DOCS, intent="cancel", waitS=0.01)

    assert (answer.status, reply_in(answer).intent.status) == (202, IntentStatus.RECORDED)


@pytest.mark.parametrize("submits", [True, False])
async def test_a_stopping_daemon_answers_whoever_waits(tmp_path: Path, submits: bool) -> None:
    """Otherwise `opsctl cancel` would see a broken connection and not know whether it was taken in."""
    held = Held()
    with anyio.fail_after(10):  # well within what they would wait
        async with anyio.create_task_group() as tasks, a_world(tmp_path) as world:
            if submits:
                body = b'{"intent": "cancel", "waitS": 30}'
                tasks.start_soon(lambda: held.ask(world, DOCS, method="POST", body=body))
                await eventually(lambda: bool(world.desk.intents))
            else:
                intent = await an_intent(world)
                tasks.start_soon(lambda: held.ask(world, f"/v1/intents/{intent.id}?wait=30"))
            await eventually(lambda: world.desk.waiting == 1)

    assert held.answer is not None
    assert held.answer.status == (202 if submits else 200)
    assert held.reply.intent.status is IntentStatus.RECORDED


async def test_a_refused_intent_is_an_answer_that_says_what_to_do(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.refusals["api 03"] = a_refusal("run_active")
        answer = await post(world, "/v1/loops/api%2003/intents", intent="start")

    reply = reply_in(answer)
    assert (answer.status, reply.intent.status) == (200, IntentStatus.REFUSED)
    assert reply.intent.refusal is not None
    assert reply.intent.refusal.code == "run_active"
    assert "`opsctl watch 'api 03'`" in (reply.next or ""), "it can be typed as it stands"


async def test_another_run_than_the_one_that_was_seen_is_refused_with_the_difference(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        intent = await an_intent(world, expect={"runId": "2025-12-31T00:00:00Z"})

    assert intent.refusal is not None
    assert [(each.where, each.found) for each in intent.refusal.differences] == [("run_id", "2026-01-01T00:00:00Z")]


async def test_a_dry_run_is_answered_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answer = await post(world, DOCS, intent="cancel", dryRun=True, waitS=30)
        page = await world.get("/v1/intents")
        world.desk.refusals["docs-17"] = a_refusal("nothing_to_cancel")
        refused = await post(world, DOCS, intent="cancel", dryRun=True)

    assert answer.status == 200
    assert [line.split()[0] for line in reply_in(answer).would] == ["superloop.sh"]
    assert "without the dry run" in (reply_in(answer).next or "")
    assert msgspec.json.decode(page.body, type=IntentPage).intents == ()
    assert (reply_in(refused).would, reply_in(refused).intent.status) == ((), IntentStatus.REFUSED)
    assert "without the dry run" not in (reply_in(refused).next or "")


async def test_a_key_replays_what_became_of_it(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.outcomes["docs-17"] = IntentStatus.CONFIRMED
        first = await post(world, DOCS, intent="cancel", idempotencyKey="once")
        again = await post(world, DOCS, intent="cancel", idempotencyKey="once")

    assert [(each.status, reply_in(each).replayed) for each in (first, again)] == [(200, False), (200, True)]
    assert reply_in(first).intent == reply_in(again).intent


async def test_a_replay_of_what_is_in_flight_is_waited_for(tmp_path: Path) -> None:
    held = Held()
    async with a_world(tmp_path) as world:
        first = await an_intent(world, idempotencyKey="once")
        async with anyio.create_task_group() as tasks:
            body = b'{"intent": "cancel", "idempotencyKey": "once", "waitS": 30}'
            tasks.start_soon(lambda: held.ask(world, DOCS, method="POST", body=body))
            await eventually(lambda: world.desk.waiting == 1)
            world.desk.move(first.id, IntentStatus.AMBIGUOUS)

    assert (held.reply.replayed, held.reply.intent.id) == (True, first.id)
    assert held.reply.intent.status is IntentStatus.AMBIGUOUS


async def test_a_key_of_another_request_is_a_conflict_that_names_it(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        first = await an_intent(world, idempotencyKey="once")
        answer = await post(world, DOCS, intent="start", idempotencyKey="once")

    status, code, message = answer.error()
    assert (status, code) == (409, "idempotency_conflict")
    assert f"opsctl intent show {first.id}" in message
    assert msgspec.json.decode(answer.body)["error"]["details"] == {"intent": first.id}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "body: object missing required field intent"),
        (b'{"intent": "kill"}', "body member 'intent': invalid enum value 'kill'"),
        (b'{"intent": "cancel", "wait": 3}', "body: object contains unknown field wait"),
        (b'{"intent": "cancel", "waitS": 31}', "body member 'waitS': expected float <= 30.0"),
        (b'{"intent": "cancel", "timeoutS": 0}', "body member 'timeoutS': expected float > 0.0"),
        (b'{"intent": "cancel", "by": ""}', "body member 'by': expected str of length >= 1"),
        (b'{"intent": "cancel", "expect": {"iteration": "3"}}', "body member 'expect.iteration': expected int | null"),
        (b'{"intent": "approve", "note": "a\\u0000b"}', "body member 'note': expected str matching regex"),
        (b'{"intent": "cancel", "overrideDivergence": true, "reason": " "}', "body member 'reason': acting although"),
        (b'{"intent": "cancel", "clearStale": true}', "body member 'clearStale': only a start"),
        (b'{"intent": "resume", "pauseForS": 60}', "body member 'pauseForS': only a pause"),
    ],
)
async def test_a_bad_intent_is_refused_by_the_members_name(tmp_path: Path, body: bytes, says: str) -> None:
    async with a_world(tmp_path) as world:
        answer = await ask(world.path, DOCS, method="POST", body=body)

    status, code, message = answer.error()
    assert (status, code) == (400, "bad_request")
    assert message.startswith(says)
    assert not world.desk.asked


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"clearStale": True}, "start"),
        ({"pauseForS": 60}, "pause"),
        ({"overrideDivergence": True, "reason": "seen by eye"}, "cancel"),
    ],
)
async def test_what_belongs_to_the_intent_is_taken(tmp_path: Path, body: dict[str, Any], kind: str) -> None:
    async with a_world(tmp_path) as world:
        intent = await an_intent(world, kind, **body)

    assert intent.intent is IntentKind(kind)


async def test_a_loop_that_is_not_there_or_only_listed_gets_no_intent(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        missing = await post(world, "/v1/loops/docs-71/intents", intent="cancel")
        listed = await post(world, "/v1/loops/fleet/intents", intent="cancel")

    assert missing.error()[:2] == (404, "unknown_loop")
    assert "did you mean 'docs-17'?" in missing.error()[2]
    assert listed.error()[:2] == (409, "loop_not_managed")


@pytest.mark.parametrize(
    ("trouble", "status", "code"),
    [
        (a_full_disk(), 507, "store_unwritable"),
        (UnknownLoop("no loop 'docs-17' is in the fleet"), 404, "unknown_loop"),
        (PassBroke("the pass over 'docs-17' broke off"), 503, "unavailable"),
        (DeskError("of a kind yet to come"), 503, "unavailable"),
        (FleetError("of a kind yet to come"), 503, "unavailable"),
        (RuntimeError("secret"), 500, "internal"),
    ],
)
async def test_what_goes_wrong_inside_has_a_code(tmp_path: Path, trouble: Exception, status: int, code: str) -> None:
    async with a_world(tmp_path) as world:
        world.desk.broken = trouble
        answer = await post(world, DOCS, intent="cancel")

    assert answer.error()[:2] == (status, code)
    assert "secret" not in answer.error()[2]


async def test_what_could_not_be_written_down_names_the_path_and_the_remedy(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.broken = a_full_disk()
        message = (await post(world, DOCS, intent="cancel")).error()[2]

    assert "intent-log.jsonl: No space left on device" in message
    assert "make room" in message


async def test_intents_are_listed_oldest_first_of_one_loop_or_all(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.outcomes["docs-17"] = IntentStatus.CONFIRMED
        first = await an_intent(world, "cancel")
        second = await an_intent(world, "cancel", "/v1/loops/api%2003/intents")
        third = await an_intent(world, "start")
        answers = [
            await world.get(f"/v1/intents{query}")
            for query in ("", "?loop=docs-17", "?open=true", "?tail=2", "?loop=x")
        ]

    pages = [[each.id for each in msgspec.json.decode(a.body, type=IntentPage).intents] for a in answers[:4]]
    assert pages == [
        [first.id, second.id, third.id],
        [first.id, third.id],
        [second.id],
        [second.id, third.id],
    ]
    assert answers[4].error()[:2] == (404, "unknown_loop")


async def test_an_intent_is_asked_for_by_its_id(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        intent = await an_intent(world)
        answer = await world.get(f"/v1/intents/{intent.id}")

    assert (answer.status, reply_in(answer).intent) == (200, intent)


async def test_an_intent_that_only_the_files_have_is_found_and_not_waited_for(tmp_path: Path) -> None:
    """What is not in memory is settled, and stays as it is."""
    async with a_world(tmp_path) as world:
        world.desk.outcomes["docs-17"] = IntentStatus.CONFIRMED
        intent = await an_intent(world, "approve")
        world.desk.forget(intent.id)
        with anyio.fail_after(10):
            answer = await world.get(f"/v1/intents/{intent.id}?wait=30&until=complete")

    assert reply_in(answer).intent == intent


async def test_an_id_that_nobody_gave_is_unknown(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answers = [
            await world.get("/v1/intents/intent-99"),
            await world.get("/v1/intents/intent-99?wait=30"),
            await post(world, "/v1/intents/intent-99/ack", reason="looked"),
        ]

    for answer in answers:
        status, code, message = answer.error()
        assert (status, code) == (404, "unknown_intent")
        assert "'intent-99'" in message
        assert "opsctl intents" in message


async def test_a_wait_is_over_when_the_decision_has_come_so_far(tmp_path: Path) -> None:
    consumed, complete = Held(), Held()
    async with a_world(tmp_path) as world:
        world.desk.outcomes["docs-17"] = IntentStatus.CONFIRMED
        intent = await an_intent(world, "approve")
        target = f"/v1/intents/{intent.id}?wait=30&until="
        settled = await world.get(target + "settled")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: consumed.ask(world, target + "consumed"))
            tasks.start_soon(lambda: complete.ask(world, target + "complete"))
            await eventually(lambda: world.desk.waiting == 2)
            world.desk.stage(intent.id, Stage.CONSUMED)
            await eventually(lambda: consumed.answer is not None)
            assert complete.answer is None
            world.desk.stage(intent.id, Stage.COMPLETED)

    replies = [reply_in(settled), consumed.reply, complete.reply]
    assert [reply.intent.stage for reply in replies] == [Stage.RECORDED, Stage.CONSUMED, Stage.COMPLETED]


async def test_a_wait_ends_with_its_time(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        intent = await an_intent(world)
        answer = await world.get(f"/v1/intents/{intent.id}?wait=0.01")

    assert reply_in(answer).intent.status is IntentStatus.RECORDED


async def test_an_ambiguous_intent_is_settled_by_a_word_once(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.outcomes["docs-17"] = IntentStatus.AMBIGUOUS
        intent = await an_intent(world)
        answer = await post(world, f"/v1/intents/{intent.id}/ack", reason="the process is gone", by="riya")
        again = await post(world, f"/v1/intents/{intent.id}/ack", reason="the process is gone")

    settled = reply_in(answer).intent
    assert settled.status is IntentStatus.ACKNOWLEDGED
    assert settled.acknowledged is not None
    assert (settled.acknowledged.by, settled.acknowledged.reason) == ("riya", "the process is gone")
    assert (settled.acknowledged.actor.uid, settled.acknowledged.actor.pid) == (os.getuid(), os.getpid())
    assert again.error()[:2] == (409, "not_ambiguous")
    assert msgspec.json.decode(again.body)["error"]["details"] == {"status": "acknowledged"}


async def test_a_word_on_what_is_not_ambiguous_changes_nothing(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        recorded = await an_intent(world)
        world.desk.outcomes["api 03"] = IntentStatus.CONFIRMED
        old = await an_intent(world, "cancel", "/v1/loops/api%2003/intents")
        world.desk.forget(old.id)
        answers = [await post(world, f"/v1/intents/{each.id}/ack", reason="so be it") for each in (recorded, old)]

    for answer, status in zip(answers, ("recorded", "confirmed"), strict=True):
        assert answer.error()[:2] == (409, "not_ambiguous")
        assert f"the intent is {status}" in answer.error()[2]
    assert world.desk.intents == (recorded, old)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{}", "body: object missing required field reason"),
        (b'{"reason": ""}', "body member 'reason': expected str of length >= 1"),
        (b'{"reason": "  "}', "body member 'reason': say why"),
    ],
)
async def test_a_word_without_a_reason_is_refused(tmp_path: Path, body: bytes, says: str) -> None:
    async with a_world(tmp_path) as world:
        world.desk.outcomes["docs-17"] = IntentStatus.AMBIGUOUS
        intent = await an_intent(world)
        answer = await ask(world.path, f"/v1/intents/{intent.id}/ack", method="POST", body=body)

    assert answer.error()[:2] == (400, "bad_request")
    assert answer.error()[2].startswith(says)


async def test_every_step_of_an_intent_is_a_line_for_watchers(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, watching(world.path, "?loop=docs-17") as watch:
        await watch.until("live")
        intent = await an_intent(world)
        world.desk.move(intent.id, IntentStatus.CONFIRMED)
        steps: list[IntentStatus] = []
        while IntentStatus.CONFIRMED not in steps:
            item = await watch.next()
            if item.kind == "intent":
                assert item.intent is not None
                steps.append(item.intent.status)

    assert steps == [
        IntentStatus.RECORDED,
        IntentStatus.EXECUTING,
        IntentStatus.EXECUTED,
        IntentStatus.CONFIRMED,
    ]
