"""Proxies and Pykka's `start()` under every order that the seed thinks of."""

import asyncio
from typing import Any

import pykka
import pytest

from tests.test_proxy import Cellar, Loft
from understudy.actors import ActorDied
from understudy.simulation import Simulation


@pytest.mark.seeds(300)
async def test_proxies_keep_their_promises_in_whatever_order_things_happen(simulation: Simulation) -> None:
    system = simulation.system("library")
    for kind in (Loft, Cellar):
        ref = await system.spawn(kind)
        library = ref.proxy()

        async def reader(number: int, library: Any = library) -> list[str]:
            said = []
            for _ in range(5):
                library.visit.defer()
                said.append(await library.visit(by=str(number)))
                await asyncio.sleep(0)
            return said

        said = await asyncio.gather(*(reader(number) for number in range(4)))
        counts = [[int(line.split(": ")[1]) for line in lines] for lines in said]
        assert all(ordered == sorted(ordered) for ordered in counts)
        assert len({count for ordered in counts for count in ordered}) == 20
        assert await library.visits == 40
        waiting = [asyncio.ensure_future(library.visit().within(5)) for _ in range(5)]
        stopped = ref.stop()
        late = library.visit()
        assert await stopped is True
        ends = await asyncio.gather(*waiting, late.within(5), return_exceptions=True)
        assert all(isinstance(end, str | ActorDied) for end in ends), ends


@pytest.mark.seeds(300)
async def test_an_actor_that_pykkas_start_began_answers_or_is_dead_whatever_comes_first(simulation: Simulation) -> None:
    system = simulation.system("library")
    kind: Any
    for kind in (Loft, Cellar):
        ref = kind.start()
        assert ref.system is system
        asked = [ref.proxy().visit() for _ in range(3)]
        ending = asyncio.get_running_loop().create_task(_end(ref, simulation))
        ends = await asyncio.gather(*(answer.within(5) for answer in asked), return_exceptions=True)
        assert all(isinstance(end, str | ActorDied) for end in ends), ends
        await ending
        await ref.ended()
        assert ref not in pykka.ActorRegistry.get_all()


async def _end(ref: Any, simulation: Simulation) -> None:
    for _ in range(simulation.random.randrange(4)):
        await asyncio.sleep(0)
    if simulation.random.random() < 0.5:
        ref.kill()
    else:
        await ref.stop(block=False)
