"""What networks do, between two namespaces: the same equation.

packets are lost      10 % each way: everything arrives
the link is down      for less than a death takes: everything arrives
                      for longer: one declares the other dead, in a table that both reach: dead letters
                      for longer, and nobody reaches the table: everything arrives in the end
one hears nothing     though it is heard: one declares the other dead
the link is thin      100 Mbit/s: everything arrives, and nobody is taken for dead
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.wire.cast import Cast, Player, Stream
from tests.wire.ledger import Balance
from tests.wire.namespaces import Wire, wire

PADDING = 80
PATIENT = 60
"""Probes that may be missed where nobody is to die."""

SEEN_WITHIN = 30.0
"""Seconds until one of two nodes that do not reach each other is declared dead, on a machine that others use too."""


class Scene(NamedTuple):
    """Two nodes on two machines."""

    wire: Wire
    cast: Cast
    here: Player
    there: Player

    async def streams(self, count: int | None, size: int = PADDING) -> list[Stream]:
        """One each way."""
        cast, here, there = self.cast, self.here, self.there
        return [await cast.stream(here, there, size, count), await cast.stream(there, here, size, count)]

    async def arrived(self, streams: list[Stream], within: float) -> Balance:
        """Wait until all of it has, since nobody died."""
        total = Balance()
        for stream in streams:
            await stream.sent(within)
            total += await stream.settled(within)
        assert total.came == total.sent > 0, total
        return total


@asynccontextmanager
async def scene(folder: Path, **node: Any) -> AsyncIterator[Scene]:
    """Two nodes that share a table on the disk, which no network is needed for."""
    async with wire() as between, Cast(folder) as cast:
        here = await cast.enter("here", through=between.here.through, listen=between.here.listen, **node)
        there = await cast.enter("there", through=between.there.through, listen=between.there.listen, **node)
        await here.sees(there)
        await there.sees(here)
        yield Scene(between, cast, here, there)


async def packets_are_lost(folder: Path, messages: int, percent: int, within: float) -> dict[str, Any]:
    """That part of all packets, each way."""
    async with scene(folder, probe_misses=PATIENT) as (between, cast, here, there):
        for machine in (between.here, between.there):
            await machine.lose(percent)
        begun = time.monotonic()
        play = Scene(between, cast, here, there)
        total = await play.arrived(await play.streams(messages), within)
        took = time.monotonic() - begun
        dropped = await between.here.hear() + await between.there.hear()
        assert dropped > 0
        return {**vars(total), "packets_lost": dropped, "messages_per_second": round(total.came / took)}


async def the_link_is_thin(folder: Path, megabytes: int, megabits: int) -> dict[str, Any]:
    """So many megabytes each way, over so many megabits a second; with the probes of every day."""
    async with scene(folder) as play:
        for machine in (play.wire.here, play.wire.there):
            await machine.throttle(megabits)
        begun = time.monotonic()
        streams = await play.streams(megabytes * 1_000_000 // (PADDING + 40))
        total = await play.arrived(streams, within=60.0 + megabytes * 8 / megabits * 3)
        took = time.monotonic() - begun
        return {**vars(total), "megabits_a_second_each_way": round(total.came * (PADDING + 40) * 4 / took / 1e6, 1)}


async def the_link_is_down_for_a_while(folder: Path, seconds: float) -> dict[str, Any]:
    """For less than a death takes."""
    async with scene(folder, probe_misses=PATIENT) as play:
        streams = await play.streams(None)
        for stream in streams:
            await stream.flows()
        await play.wire.down()
        await asyncio.sleep(seconds)  # this is how long it is down
        await play.wire.up()
        came = [stream.entry.came for stream in streams]
        back = time.monotonic()
        for stream, before in zip(streams, came):
            await stream.flows(before + 1_000)
        resumed = time.monotonic() - back
        for stream in streams:
            await stream.stop()
        total = await play.arrived(streams, within=60.0)
        return {"down_for": seconds, "flows_again_after": round(resumed, 2), **vars(total)}


async def one_is_declared_dead(folder: Path, one_way: bool, seconds: float) -> dict[str, Any]:
    """The link is down, or one node hears nothing, for longer than a life: the other declares it dead, or it the other."""
    async with scene(folder) as play, AsyncExitStack() as stack:
        streams = await play.streams(None)
        for stream in streams:
            await stream.flows()
        begun = time.monotonic()
        if one_way:
            await play.wire.there.lose(100)
        else:
            await play.wire.down()
            stack.push_async_callback(play.wire.up)
        dead, alive, when = await _which_died(play)
        seen = when - begun
        await asyncio.sleep(max(0.0, begun + seconds - time.monotonic()))  # as long as was asked for: 0 in a test
        total = Balance()
        for stream in streams:
            await stream.sent(30.0)
            total += await stream.settled()
        await play.wire.there.hear() if one_way else await play.wire.up()
        machine = play.wire.here if dead is play.here else play.wire.there
        again = await play.cast.enter(dead.name, through=machine.through, listen=machine.listen)
        await alive.sees(again)
        [stream] = [await play.cast.stream(alive, again, PADDING, 1_000)]
        afterwards = await play.arrived([stream], within=30.0)
        assert again.stale() == 0
        return {
            "declared_dead_after": round(seen, 2),
            "lasted": round(max(seconds, seen), 1),
            **vars(total),
            "came_to_its_next_life": afterwards.came,
            "stale_accepted": again.stale() + alive.stale(),
        }


async def nobody_reaches_the_table(folder: Path, seconds: float) -> dict[str, Any]:
    """The link is down for longer than a life, but so is the node that serves the table: nobody dies, everything arrives."""
    async with wire() as between, Cast(folder) as cast:
        table = await cast.enter("table", through=between.here.through, listen=between.here.listen)
        others = {"state": None, "join": table.address}
        here = await cast.enter("here", through=between.here.through, listen=between.here.listen, **others)
        there = await cast.enter("there", through=between.there.through, listen=between.there.listen, **others)
        await here.sees(there, table)
        await there.sees(here, table)
        play = Scene(between, cast, here, there)
        streams = await play.streams(None)
        for stream in streams:
            await stream.flows()
        with table.paused():
            await between.down()
            await asyncio.sleep(seconds)  # this is how long
            await between.up()
        for stream in streams:
            await stream.flows(stream.entry.came + 1_000, within=30.0)
        for stream in streams:
            await stream.stop()
        total = await play.arrived(streams, within=60.0)
        for player in (here, there, table):
            assert not player.ended.done(), f"{player.name} died, though nobody could say so: {player.ended.result()}"
        return {"down_for": seconds, **vars(total)}


async def _which_died(play: Scene) -> tuple[Player, Player, float]:
    """The one that the table says is dead, and the other one, and when that was told: they suspect each other, the first to write wins."""
    here, there = play.here, play.there
    ends = [asyncio.shield(here.ended), asyncio.shield(there.ended)]
    async with asyncio.timeout(SEEN_WITHIN):
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    dead, alive = (here, there) if here.ended.done() else (there, here)
    assert "declared this node dead" in dead.ended.result(), dead.ended.result()
    when, _ = await alive.loses(dead, within=SEEN_WITHIN)
    assert not alive.ended.done(), "both died"
    return dead, alive, when
