"""Routers under random ends of their workers: each message is handled once or accounted for, and keys keep their place."""

import asyncio
from collections import Counter, defaultdict
from typing import Any

import pytest

from tests.simulation.puppets import Crash, echo, end, pause
from understudy.actors import Actor, ActorDied, ActorRef, DeadLetter, ExitReason, NoProc, Stop, ThreadActor
from understudy.simulation import Simulation
from understudy.supervisors import Child, Resize, Router, WhichChildren

SEEDS = 300


class Worker(Actor):
    """Notes what it gets, and takes its time over some of it, or for its start."""

    def __init__(self, book: list[tuple[Any, Any]], simulation: Simulation) -> None:
        super().__init__()
        self.book = book
        self.random = simulation.random

    async def on_start(self) -> None:
        await asyncio.sleep(self.random.choice((0.0, 0.0, 0.01)))

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Crash | Stop):
            return echo(self, message)
        self.book.append((self.name, message))
        return asyncio.sleep(0.003, self.name) if self.random.random() < 0.3 else self.name


class Blocking(ThreadActor):
    """The same, with a thread."""

    def __init__(self, book: list[tuple[Any, Any]], simulation: Simulation) -> None:
        super().__init__()
        self.book = book

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Crash | Stop):
            return echo(self, message)
        self.book.append((self.name, message))
        return self.name


async def settled(router: ActorRef[Any]) -> None:
    """Wait until every place is filled: each question comes after what the supervisor had to do before."""
    for _ in range(100):
        if all(info.state == "running" for info in await router.call(WhichChildren())):
            return
    pytest.fail("the pool is not filled again")


@pytest.mark.seeds(SEEDS)
async def test_what_is_sent_is_handled_once_or_a_dead_letter_or_a_failed_call(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("accounts")
    book: list[tuple[Any, Any]] = []
    dead: list[Any] = []

    def note(letter: DeadLetter) -> None:
        if isinstance(letter.message, int):
            dead.append(letter.message)

    system.hooks.subscribe(DeadLetter, note)
    by = random.choice(("round_robin", "least_busy", lambda message: message))
    kind = random.choice((Worker, Worker, Worker, Blocking))
    router = await system.spawn(
        Router, Child(kind, (book, simulation)), size=3, by=by, name="pool", intensity=1000, period=1000.0
    )
    told: list[Any] = []
    answered: list[Any] = []
    failed: list[Any] = []

    async def talk(first: int) -> None:
        for number in range(first, first + 12):
            if random.random() < 0.6:
                router.tell(number)
                told.append(number)
            else:
                try:
                    name = await router.call(number, 100)
                except ActorDied as death:
                    failed.append(number)
                    if death.reason == NoProc():
                        assert number not in [each for _, each in book]
                else:
                    assert (name, number) in book
                    answered.append(number)
            await pause(random, 0.003)

    async def chaos() -> None:
        for _ in range(random.randint(0, 5)):
            await pause(random, 0.02)
            ref = system.whereis(f"pool/{random.randrange(3)}")
            if ref is not None:
                random.choice((lambda ref=ref: ref.tell(Crash()), lambda ref=ref: end(ref, random)))()

    await asyncio.gather(talk(0), talk(100), chaos())
    await asyncio.sleep(5)
    await settled(router)
    handled = Counter(message for _, message in book)
    assert max(handled.values(), default=0) <= 1
    assert router.is_alive()
    dead = [message for message in dead if message in told]
    for message in told:
        assert handled[message] + dead.count(message) == 1
    assert set(answered) <= set(handled)
    assert len(told) + len(answered) + len(failed) == 24


@pytest.mark.seeds(SEEDS)
async def test_a_key_keeps_its_place_and_its_order_whoever_fills_it(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("keys")
    book: list[tuple[Any, Any]] = []
    router = await system.spawn(
        Router,
        Child(Worker, (book, simulation)),
        size=3,
        by=lambda message: message[0] if isinstance(message, tuple) else message,
        name="pool",
        intensity=1000,
        period=1000.0,
    )

    async def talk(key: str) -> None:
        for number in range(10):
            router.tell((key, number))
            await pause(random, 0.005)

    async def chaos() -> None:
        for _ in range(random.randint(0, 4)):
            await pause(random, 0.02)
            router.tell((random.choice("abcd"), Crash()))
            ref = system.whereis(f"pool/{random.randrange(3)}")
            if ref is not None:
                end(ref, random)

    await asyncio.gather(*map(talk, "abcd"), chaos())
    await asyncio.sleep(5)
    homes: dict[Any, set[Any]] = defaultdict(set)
    orders: dict[Any, list[Any]] = defaultdict(list)
    for name, message in book:
        if isinstance(message, tuple) and isinstance(message[1], int):
            homes[message[0]].add(name)
            orders[message[0]].append(message[1])
    assert all(len(home) == 1 for home in homes.values())
    assert all(order == sorted(order) for order in orders.values())


@pytest.mark.seeds(SEEDS)
async def test_a_pool_that_is_resized_loses_nothing_of_what_it_was_given(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("sizes")
    book: list[tuple[Any, Any]] = []
    by = random.choice(("round_robin", "least_busy", lambda message: message))
    router = await system.spawn(Router, Child(Worker, (book, simulation)), size=2, by=by, name="pool")
    sizes = [random.randint(1, 5) for _ in range(4)]

    async def talk() -> None:
        for number in range(40):
            router.tell(number)
            await pause(random, 0.003)

    async def resize() -> None:
        for size in sizes:
            assert await router.call(Resize(size), 100) == size
            workers = await router.call(WhichChildren())
            assert len(workers) == size
            await pause(random, 0.02)

    await asyncio.gather(talk(), resize())
    await asyncio.sleep(5)
    assert sorted(message for _, message in book) == list(range(40))
    assert system.dead_letters.count == 0
    assert [info.id for info in await router.call(WhichChildren())] == [f"pool/{place}" for place in range(sizes[-1])]


@pytest.mark.seeds(SEEDS)
async def test_whatever_ends_a_router_ends_its_workers_and_their_names_are_free(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("ends")
    book: list[tuple[Any, Any]] = []
    reasons: list[ExitReason] = []

    class Tidy(Worker):
        async def on_stop(self, reason: ExitReason) -> None:
            await asyncio.sleep(random.choice((0.0, 0.01)))
            reasons.append(reason)

    for _ in range(2):
        router = await system.spawn(
            Router, Child(Tidy, (book, simulation)), size=3, by=random.choice(("round_robin", "broadcast")), name="pool"
        )
        calls = [asyncio.ensure_future(router.call(number, 100)) for number in range(4)]
        await pause(random)
        if random.random() < 0.3:
            resizing = asyncio.ensure_future(router.call(Resize(random.randint(1, 4)), 100))
            calls.append(resizing)
            await pause(random)
        kill = random.random() < 0.3
        random.choice((router.stop, router.exit))() if not kill else router.kill()
        await router.ended()
        await asyncio.wait(calls)
        for call in calls:
            assert call.exception() is None or isinstance(call.exception(), ActorDied)
        if kill:
            await asyncio.sleep(1)
        assert not any(system.whereis(f"pool/{place}") for place in range(4))
        assert not system._top
