"""`opsctl tuning`: the advice of telemetry and the command that would follow it; against a real server."""

import json
from datetime import datetime
from pathlib import Path

import msgspec

from opsctl.exits import Exit
from opsctl.output import Look
from opsctl.render.tuning import render
from opsd.core import drift, tuning
from opsd.model.ids import LoopId
from opsd.model.oneshot import DriftOptions
from opsd.model.run import Run
from opsd.model.tuning import DriftMemory, Sample, SummarySource
from opsd.protocol import TuningReply
from tests.api.world import a_world
from tests.doubles.fleet import a_supervised_run
from tests.opsctl.cli import opsctl

LOOP = LoopId("docs-17")


def advised(now: datetime, samples: int, before: DriftMemory) -> Run:
    """A loop whose samples speak for `strict`, though one in forty was degraded."""
    places = [Sample("success", "healthy", (), 1)] * (samples - 1) + [Sample("success", "degraded", ("slow",), 3)]
    summary = tuning.summarize(places, 0)
    document = drift.evaluate(
        before,
        applied="balanced",
        recommended=summary.recommended,
        confidence=summary.confidence,
        options=DriftOptions(),
        rationale=summary.rationale,
        loop_id=LOOP,
        now=now,
    )
    block = tuning.block(summary, SummarySource("/srv", LOOP, "reconcile.jsonl", "control.jsonl", 200), "balanced")
    return a_supervised_run(LOOP, now, drift=document, tuning=msgspec.Raw(msgspec.json.encode(block)))


async def test_the_advice_is_told_with_its_reasons_and_the_command_to_type(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        before = await opsctl(world.path, "tuning", LOOP)
        world.fleet.put(advised(world.clock.now(), 40, DriftMemory(1)))
        told = await opsctl(world.path, "tuning", LOOP)
        record = json.loads((await opsctl(world.path, "tuning", LOOP, "-o", "json")).out)
        chosen = await opsctl(world.path, "profile", LOOP, "--set", "strict", "--reason", "as advised")
        after = await opsctl(world.path, "tuning", LOOP)

    assert before.lines() == ["docs-17  balanced, the catalog's default", "  no telemetry sample yet, and no advice"]
    lines = told.lines()
    assert lines[0] == "docs-17  balanced, the catalog's default"
    assert lines[1] == "  advised     strict, with medium confidence from 40 samples among the newest 200 rows"
    assert lines[3].startswith("  drift       mismatch_pending, 2 in a row of 3 needed, for ")
    assert "  health      2.5% degraded, 0.0% critical" in lines
    assert "  took        half within 1 s, 95% within 1 s, at most 3 s" in lines
    assert lines[-1] == "  next: opsctl profile docs-17 --set strict --reason ..."
    assert (record["tuning"]["recommendedProfile"], record["drift"]["mismatchStreak"]) == ("strict", 2)
    assert record["profile"]["thresholds"]["profile"] == "balanced"
    assert chosen.code == Exit.OK
    assert "strict, chosen for this loop" in after.lines()[0]
    assert "as advised" in after.out
    assert not any(line.startswith("  next:") for line in after.lines())


async def test_advice_without_enough_samples_says_what_is_missing(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.fleet.put(advised(world.clock.now(), 21, DriftMemory()))
        told = await opsctl(world.path, "tuning", LOOP)

    assert "  drift       insufficient_confidence, medium is needed" in told.lines()
    assert not any(line.startswith("  next:") for line in told.lines())


async def test_what_comes_out_of_files_is_defused(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.fleet.put(advised(world.clock.now(), 40, DriftMemory()))
        body = (await world.get(f"/v1/loops/{LOOP}/tuning")).body
    reply = msgspec.json.decode(body, type=TuningReply)
    assert reply.tuning is not None
    loud = msgspec.structs.replace(reply.tuning, rationale="all is \x1b[31mred")

    text = render(msgspec.json.encode(msgspec.structs.replace(reply, tuning=loud)), Look())

    assert "\x1b" not in text
