"""Presence with a bound: who is gone is seen to be gone in time, who comes back in time was not seen to leave."""

from __future__ import annotations

import asyncio

import pytest

from tests import measured
from tests.simulation.party import TOPIC, Party, Tab
from understudy.gateway.attendance import GRACE
from understudy.simulation import Simulation, faults

BOUND = 5.0
"""Seconds within which everybody knows that a gateway was killed: promised."""

QUIET = 10.0
"""Seconds after which there are neither ghosts nor missing: promised."""


async def churn(simulation: Simulation, *, seconds: float, most: int, people: int, pace: float) -> Party:
    """People come and go for some seconds, while the network and nodes fail. Ten seconds later everybody sees who is there."""
    homes, gateways = ("attic", "cellar"), ("stage", "foyer", "terrace")
    devices = ("phone", "phone", "desk")
    async with Party(simulation, people=people, devices=devices, homes=homes, gateways=gateways, pace=pace) as party:
        await party.begin()
        keeper = asyncio.ensure_future(party.keep_alive())
        over = asyncio.Event()
        kinds = (*faults.NETWORK, "partition", "partition", "crash", "pause", "block")
        plan = faults.plan(simulation, [*homes, *gateways], kinds, seconds=seconds - 1.0, most=most, longest=5.0)

        async def trouble() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(seconds))
                group.create_task(faults.play(party, plan))
            over.set()

        await asyncio.gather(trouble(), *(tab.live(over, QUIET) for tab in party.tabs))
        keeper.cancel()
        assert not party.mistakes, party.mistakes[:5]
        assert party.ghosts_and_missing() == ([], [])
        return party


@pytest.mark.seeds(100)
async def test_after_ten_seconds_of_quiet_there_are_neither_ghosts_nor_missing(simulation: Simulation) -> None:
    await churn(simulation, seconds=8.0, most=4, people=2, pace=1.0)


@pytest.mark.seeds(300)
async def test_the_members_of_a_gateway_that_is_killed_are_seen_to_leave_within_five_seconds(
    simulation: Simulation,
) -> None:
    """Though the cluster's table may be away, so that nobody is declared dead."""
    async with Party(simulation, people=4) as party:
        await party.begin()
        watcher, *others = party.tabs
        await watcher.come("foyer")
        await asyncio.gather(*(tab.come("stage") for tab in others))
        await asyncio.sleep(simulation.delay(0.0, 2.0))
        if simulation.chance(0.5, "the table is away"):
            party.table.fail(1.0)
        party.crash("stage")
        killed = simulation.time
        await asyncio.sleep(BOUND)
        assert watcher.guests() == {watcher.name: [watcher.device]}
        left = [at for at, what, _ in watcher.seen if what == "leave"]
        assert len(left) == len(others)
        measured.most("seconds_until_a_killed_gateway's_members_are_gone", max(left) - killed)
        assert min(left) >= killed + GRACE - 0.6, "they had their grace, but for the time since the last answer"


@pytest.mark.seeds(300)
async def test_who_comes_back_within_the_grace_is_not_seen_to_leave_however_the_connection_was_lost(
    simulation: Simulation,
) -> None:
    async with Party(simulation, people=3, gateways=("stage", "foyer", "terrace")) as party:
        await party.begin()
        watcher, *others = party.tabs
        await watcher.come("foyer")
        await asyncio.gather(*(tab.come("stage") for tab in others))
        await asyncio.sleep(simulation.delay(0.5, 1.5))
        before, watcher.seen = watcher.guests(), []
        if simulation.chance(0.5, "kill the gateway"):
            party.crash("stage")
        else:
            for tab in others:
                tab.hang_up()

        async def back(tab_number: int) -> None:
            await asyncio.sleep(simulation.delay(0.0, GRACE - 0.7))
            await others[tab_number].come(simulation.choose(["foyer", "terrace"]))

        await asyncio.gather(*(back(number) for number in range(len(others))))
        await asyncio.sleep(QUIET)
        assert watcher.seen == []
        assert watcher.guests() == before
        assert party.ghosts_and_missing() == ([], [])


@pytest.mark.seeds(100)
async def test_a_second_tab_is_shown_beside_the_first_on_whatever_gateway(simulation: Simulation) -> None:
    async with Party(simulation, people=2, devices=("phone", "phone")) as party:
        await party.begin()
        for tab in party.tabs:
            await tab.come(party.gateway())
        await asyncio.sleep(1.0)
        assert party.ghosts_and_missing() == ([], [])
        assert party.tabs[0].guests()["guest 1"] == ["phone", "phone"]
        party.tabs[3].leave()
        await asyncio.sleep(1.0)
        assert party.tabs[0].guests()["guest 1"] == ["phone"]


@pytest.mark.seeds(100)
async def test_who_is_cut_off_goes_out_of_sight_and_comes_back_when_the_network_does(simulation: Simulation) -> None:
    """But a short cut is seen by nobody."""
    async with Party(simulation, people=3, homes=("attic",), gateways=("stage", "foyer", "terrace")) as party:
        await party.begin()
        watcher, *others = party.tabs
        await watcher.come("foyer")
        await asyncio.gather(*(tab.come("stage") for tab in others))
        await asyncio.sleep(simulation.delay(0.5, 1.5))
        before, watcher.seen = watcher.guests(), []
        party.network.partition("stage", "attic")
        if simulation.chance(0.5, "a short cut"):
            await asyncio.sleep(GRACE - 1.5)
            assert watcher.seen == []
        else:
            await asyncio.sleep(BOUND)
            assert watcher.guests() == {watcher.name: [watcher.device]}
        party.network.heal()
        await asyncio.sleep(QUIET)
        assert watcher.guests() == before
        assert party.ghosts_and_missing() == ([], [])


@pytest.mark.seeds(100)
async def test_when_a_room_begins_a_new_life_those_who_come_back_to_it_see_nobody_leave_who_does(
    simulation: Simulation,
) -> None:
    async with Party(simulation, people=4) as party:
        await party.begin()
        *others, away = party.tabs
        all_of_them = {tab.name: [tab.device] for tab in others}
        await asyncio.gather(*(tab.come(party.gateway()) for tab in party.tabs))
        away.hang_up()
        await asyncio.sleep(simulation.delay(0.0, 2 * GRACE))
        party.node("attic").entity("parlour", TOPIC).kill()

        async def back(tab: Tab) -> None:
            while tab.joined:  # noqa: ASYNC110 - virtual time makes looking cheap
                await asyncio.sleep(0.05)
            await asyncio.sleep(simulation.delay(0.0, GRACE - 1.0))
            await tab.come()
            assert tab.guests() == all_of_them, "the first that it was told"

        await asyncio.gather(*(back(tab) for tab in others))
        assert party.ghosts_and_missing() == ([], [])


async def ten_thousand(simulation: Simulation, *, joins_and_leaves: int = 10_000, partitions: int = 20) -> Party:
    """What `make proof gateway` plays in full: that many joins and leaves, with as many partitions beside them."""
    homes, gateways = ("attic",), ("stage", "foyer", "terrace")
    nodes = (*homes, *gateways)
    async with Party(simulation, people=15, devices=("phone", "desk"), homes=homes, gateways=gateways) as party:
        await party.begin()
        keeper = asyncio.ensure_future(party.keep_alive())
        stop = asyncio.Event()

        async def trouble() -> None:
            each = joins_and_leaves / partitions
            for number in range(partitions):
                while party.joins + party.leaves < number * each:  # noqa: ASYNC110 - virtual time makes looking cheap
                    await asyncio.sleep(0.1)
                one, other = simulation.random.sample(nodes, 2)
                party.network.partition(one, other)
                await asyncio.sleep(simulation.delay(0.5, 6.0))
                party.network.heal(one, other)
            while party.joins + party.leaves < joins_and_leaves:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            stop.set()

        await asyncio.gather(trouble(), *(tab.live(stop, QUIET) for tab in party.tabs))
        keeper.cancel()
        assert not party.mistakes, party.mistakes[:5]
        assert party.ghosts_and_missing() == ([], [])
        return party


@pytest.mark.seeds(5)
async def test_neither_ghosts_nor_missing_after_churn_and_partitions(simulation: Simulation) -> None:
    await ten_thousand(simulation, joins_and_leaves=500, partitions=3)
