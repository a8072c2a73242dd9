"""Clients that resume, whatever happens to gateways, rooms and what is between them: no gap that nobody tells of."""

from __future__ import annotations

import asyncio

import pytest

from tests.simulation.crowd import LINES, Crowd, GuestConnection, House
from tests.simulation.siege import siege
from understudy.gateway.connection import STALLED, Tick
from understudy.simulation import Simulation, faults
from understudy.simulation.sockets import LATENCY, VirtualSocket


async def spend(simulation: Simulation, crowd: Crowd, kinds: tuple[faults.Kind, ...], nodes: list[str]) -> None:
    await crowd.begin()
    keeper = asyncio.ensure_future(crowd.cluster.keep_alive())
    crowd.until = simulation.time + 8.0
    script = faults.plan(simulation, nodes, kinds, seconds=6, most=4, longest=6.0)
    await asyncio.gather(faults.play(crowd.cluster, script), *(guest.live() for guest in crowd.guests))
    keeper.cancel()
    crowd.check()


@pytest.mark.seeds(300)
async def test_every_client_hears_every_line_or_is_told_that_it_does_not(simulation: Simulation) -> None:
    """Gateways and the hall's nodes die, pause and lose each other; clients come, go, doze off and come back."""
    async with House(simulation) as cluster:
        crowd = cluster.crowd = Crowd(
            simulation,
            cluster,
            guests=4,
            gateways=["stage", "foyer"],
            homes=["attic", "cellar"],
            log_events=simulation.choose([3, 1_000]),
            loss=simulation.choose([0, 0.02, 0.2]),
        )
        kinds = faults.NETWORK + faults.NODES
        await spend(simulation, crowd, kinds, ["attic", "cellar", "stage", "foyer"])


@pytest.mark.seeds(5)
async def test_no_gap_is_silent_though_one_gateway_after_the_other_is_killed(simulation: Simulation) -> None:
    """In full by `make proof gateway`: 1,000 clients, 100 kills, 500 lines a second."""
    figures = await siege(simulation, clients=20, kills=10, rate=50, gateways=3)
    assert figures["came_back_with_everything"] > 0
    assert figures["came_back_with_everything"] + figures["came_back_with_a_snapshot"] > 10
    assert figures["of_them_recovered"] > 0


@pytest.mark.seeds(20)
async def test_a_client_for_which_something_is_held_is_reset_once_it_has_taken_nothing_for_a_while(
    simulation: Simulation,
) -> None:
    """And not before, though it takes little."""
    gone: list[float] = []
    socket = VirtualSocket(lambda data: None, lambda: gone.append(simulation.time), room=100)
    connection = GuestConnection(socket, LINES, Tick(simulation.loop), limit=10_000)
    socket.pause_reading()
    for number in range(10):
        connection.send(b"x" * 200)
        connection.send(b"%d" % number, "latest")
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(simulation.delay(STALLED / 2, STALLED - 0.1))
        socket.resume_reading()
        await asyncio.sleep(LATENCY)  # one piece
        socket.pause_reading()
    assert not gone
    await asyncio.sleep(STALLED + 0.1)
    assert gone
    assert connection.closed
