"""Connections are kept while they are of use, and not a moment longer than anybody needs them."""

import anyio
from msgspec.structs import replace

from opsd.disk import Disk
from opsd.model.ids import LoopId
from opsd.model.wire import FEATURES
from opsd.ports import Ask
from opsd.services import HttpServices, Limits, Tokens, Trust
from opsd.services.way import KEEPALIVE_S
from tests.doubles.clock import VirtualClock
from tests.doubles.threads import Inline
from tests.services.asking import QUICK, a_first_look, a_loop, a_reply, a_seen, services
from tests.services.peer import NEWER, Asked, Peer, Stream, answers, listening, stays_silent

GOOD = answers(a_reply(a_seen("loop_start")), headers=NEWER)


async def until_open(peer: Peer, count: int) -> None:
    with anyio.fail_after(5):
        while peer.open != count:  # noqa: ASYNC110  what is waited for raises no event for us
            await anyio.sleep(0.005)


async def test_a_connection_that_nobody_uses_any_more_is_closed() -> None:
    clock = VirtualClock()
    tokens = Tokens(Disk(), Inline(), folders=(), variables={})
    made = HttpServices(trust=Trust(), tokens=tokens, clock=clock, offload=Inline(), limits=QUICK)
    peer, other = Peer(GOOD), Peer(GOOD)
    async with listening(peer), listening(other):
        await made.observe(a_first_look(peer), known=None, wait_s=0.1)
        await made.tidy()
        assert peer.open == 1
        clock.pass_by(KEEPALIVE_S + 1)
        await made.observe(a_first_look(other), known=None, wait_s=0.1)
        await until_open(peer, 0)
        assert other.open == 1
        await made.observe(a_first_look(peer), known=None, wait_s=0.1)
        await made.aclose()
        await until_open(peer, 0)
        await until_open(other, 0)

    assert peer.connections == 2


async def test_of_the_connections_that_nobody_uses_only_so_many_are_kept() -> None:
    """However young they are: thousands of sprites may fall silent at once."""
    peer = Peer(GOOD)
    async with listening(peer), services(limits=replace(QUICK, idle_max=3)) as made:
        for number in range(6):
            await made.observe(a_first_look(f"{peer.base_url}/{number}"), known=None, wait_s=0.1)
        await until_open(peer, 3)


async def test_a_loop_that_left_takes_its_connections_along_unless_a_neighbour_needs_them() -> None:
    peer = Peer(GOOD)
    async with listening(peer), services() as made:
        mine = a_loop(peer)
        neighbours = replace(mine, loop_id=LoopId("another-loop"))
        await made.observe(Ask(mine, None), known=None, wait_s=0.1)
        await made.observe(Ask(neighbours, None), known=None, wait_s=0.1)
        made.forget(mine)
        await made.tidy()
        assert (peer.open, made.features(mine)) == (1, frozenset(FEATURES))
        made.forget(neighbours)
        made.forget(neighbours)
        await made.tidy()
        await until_open(peer, 0)

        assert made.features(neighbours) is None


async def test_a_call_that_is_under_way_when_its_loop_leaves_ends_as_it_would() -> None:
    peer = Peer(GOOD)
    async with listening(peer), services() as made:
        going_on = anyio.Event()

        async def answers_late(stream: Stream, asked: Asked) -> bool:
            await going_on.wait()
            return await GOOD(stream, asked)

        peer.script[:] = [answers_late]
        told = []

        async def ask() -> None:
            told.append(await made.observe(a_first_look(peer), known=None, wait_s=0.1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await until_open(peer, 1)
            made.forget(a_loop(peer))
            await made.tidy()
            assert peer.open == 1
            going_on.set()
        await until_open(peer, 0)

    assert told[0].codes == ("200",)


async def test_who_is_cancelled_leaves_no_connection_behind() -> None:
    peer = Peer(stays_silent())
    async with listening(peer), services(limits=Limits()) as made:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_look, made, peer)
            await until_open(peer, 1)
            tasks.cancel_scope.cancel()
        await until_open(peer, 0)


async def test_many_may_wait_for_one_service_at_once() -> None:
    peer = Peer(stays_silent())
    async with listening(peer), services(limits=Limits()) as made, anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(_look, made, peer)
        await until_open(peer, 20)
        tasks.cancel_scope.cancel()


async def _look(made: HttpServices, peer: Peer) -> None:
    await made.observe(a_first_look(peer), known=None, wait_s=10)
