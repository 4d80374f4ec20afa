"""An operator who removes a cursor, as the runbook says, has the log read anew: once, and without a restart."""

import pytest

from opsd.model.effects import Document
from opsd.model.ids import LoopId
from tests.supervisor.world import World, supervised


@pytest.mark.parametrize("document", [Document.CURSOR, Document.STATE])
async def test_a_removed_document_has_the_log_read_anew_and_all_documents_written(document: Document) -> None:
    async with supervised(World(), "a", "b") as world:
        await world.clock.advance(15)
        before = world.transport.looks.copy()
        path = world.layout.document(LoopId("a"), document)
        world.disk.remove(path)

        await world.clock.advance(6)

        assert world.transport.looks["a"] == before["a"] + 1
        assert world.transport.looks["b"] == before["b"]
        assert world.disk.stat(path) is not None
        await world.clock.advance(60)
        assert world.transport.looks["a"] == before["a"] + 1, "once"


async def test_a_document_that_could_never_be_written_asks_for_no_replay() -> None:
    """On a full disk nothing is where it belongs, and reading logs again would not mend that."""
    world = World()
    world.files.fail("replace", 28, path="/a/", times=1_000)
    async with supervised(world, "a") as world:
        await world.clock.advance(4)
        before = world.transport.looks["a"]

        await world.clock.advance(60)

        assert world.transport.looks["a"] == before
