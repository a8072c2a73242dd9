"""Traces of actors of other nodes: bounded over there, read in pieces, and over when either node is."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.emigrants import Emigrant, Say
from tests.helpers import eventually
from tests.sides import Side, sides
from understudy.actors import ActorRef, NoConnection
from understudy.transport.following import BATCH, Follower


async def emigrant(here: Side, there: Side) -> ActorRef[Any]:
    return await here.system.nodes.spawn_on(there.system.name, Emigrant, (), {}, name=None, timeout=5.0)


def followers(side: Side) -> list[Any]:
    return [ref for ref in side.system.actors() if getattr(ref, "kind", None) is Follower]


async def test_events_come_in_pieces_in_their_order_and_none_is_lost_by_a_reader_that_is_cancelled() -> None:
    async with sides("a", "b") as (a, b):
        ref = await emigrant(a, b)
        async with a.system.trace(ref) as trace:
            impatient = asyncio.ensure_future(anext(trace))
            await asyncio.sleep(0.01)
            impatient.cancel()
            await asyncio.wait((impatient,))
            for number in range(BATCH + 10):
                ref.tell(Say("echo", f"<{number}>"))
            details = [(await anext(trace)).detail for _ in range(2 * (BATCH + 10))][::2]
        assert all(f"<{number}>" in detail for number, detail in enumerate(details))
        assert trace.dropped == 0
        await eventually(lambda: not followers(b))


async def test_the_loss_of_the_actors_node_ends_its_trace() -> None:
    async with sides("a", "b") as (a, b):
        ref = await emigrant(a, b)
        async with a.system.trace(ref) as trace:
            reading = asyncio.ensure_future(anext(trace))
            await asyncio.sleep(0.01)
            b.die()
            a.links.bury(b.links.me, NoConnection("killed by the test"))
            event = await reading
            assert (event.kind, event.what) == ("ended", "no connection: killed by the test")
            assert [event async for event in trace] == []


async def test_the_loss_of_the_readers_node_leaves_nothing_of_its_traces() -> None:
    async with sides("a", "b") as (a, b):
        ref = await emigrant(a, b)
        [actor] = [one for one in b.system.actors() if getattr(one, "kind", None) is Emigrant]
        bonds: Any = actor
        trace = a.system.trace(ref)
        await trace.__aenter__()
        await ref.call(Say("echo", "x"))
        assert len(followers(b)) == 1
        assert len(bonds.bonds.wrappers) == 1
        a.die()
        b.links.bury(a.links.me, NoConnection("killed by the test"))
        await eventually(lambda: not followers(b) and not bonds.bonds.wrappers)
        assert await actor.call(Say("echo", "lives")) == "lives"
        assert [event.kind async for event in trace][-1] == "ended"
