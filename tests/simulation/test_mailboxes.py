"""The promises of mailboxes under every seed: whatever the order of turns and threads, nothing is lost, doubled or overtaken."""

import asyncio
import math
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest

from understudy.actors import (
    Actor,
    ActorDied,
    Bounded,
    DeadLetter,
    Overloaded,
    ReceiveTimeout,
    ThreadActor,
    conflate,
)
from understudy.simulation import Simulation

SEEDS = 300


class Slow(Actor):
    """Handles what it gets as `react` says; sleeps for the number of seconds that returns."""

    def __init__(self, react: Any) -> None:
        super().__init__()
        self.react = react

    async def on_receive(self, message: Any) -> Any:
        answer = self.react(self, message)
        if isinstance(answer, float):
            await asyncio.sleep(answer)
        return answer


class Plain(Slow):
    """At once."""

    def on_receive(self, message: Any) -> Any:
        return self.react(self, message)


class Threaded(ThreadActor):
    """In its own thread."""

    def __init__(self, react: Any) -> None:
        super().__init__()
        self.react = react

    def on_receive(self, message: Any) -> Any:
        return self.react(self, message)


KINDS: tuple[type[Any], ...] = (Slow, Plain, Threaded)


def made(simulation: Simulation, **attributes: Any) -> type[Any]:
    """One of the kinds, with these class attributes."""
    return type("Made", (simulation.random.choice(KINDS),), attributes)


@pytest.mark.seeds(SEEDS)
async def test_a_bounded_mailbox_handles_answers_or_reports_every_message_in_order(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("bounded")
    heard: list[tuple[int, int]] = []
    letters: list[Any] = []
    system.hooks.subscribe(DeadLetter, lambda letter: letters.append(letter.message))

    def react(_: Any, message: Any) -> Any:
        if isinstance(message, tuple):
            heard.append(message)
        return random.choice((None, 0.001))

    capacity = random.randint(1, 4)
    overflow: Any = random.choice(("reject", "drop_oldest", "drop_newest"))
    ref = await system.spawn(made(simulation, mailbox=Bounded(capacity, overflow)), react)
    refused: list[tuple[int, int]] = []

    async def send(sender: int) -> None:
        for n in range(8):
            try:
                how = random.random()
                if how < 0.4:
                    ref.tell((sender, n))
                elif how < 0.7:
                    await ref.offer((sender, n))
                else:
                    await ref.call((sender, n), 100)
            except Overloaded:
                refused.append((sender, n))
            if random.random() < 0.3:
                await asyncio.sleep(0.002)

    await asyncio.gather(*map(send, range(3)))
    ref.stop()
    await ref.ended()
    assert sorted(heard + letters + refused) == [(sender, n) for sender in range(3) for n in range(8)]
    for sender in range(3):
        numbers = [n for who, n in heard if who == sender]
        assert numbers == sorted(numbers)


@pytest.mark.seeds(SEEDS)
async def test_of_each_key_the_last_one_is_handled(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("conflated")
    latest: dict[int, int] = {}

    def react(_: Any, message: Any) -> Any:
        key, value = message
        assert latest.get(key, -1) < value
        latest[key] = value
        return random.choice((None, 0.001))

    ref = await system.spawn(made(simulation, mailbox=Bounded(3, conflate(lambda pair: pair[0]))), react)
    for value in range(20):
        ref.tell((random.randrange(3), value) if value < 17 else (value - 17, value))
        if random.random() < 0.3:
            await asyncio.sleep(0.001)
    ref.stop()
    await ref.ended()
    assert latest == {0: 17, 1: 18, 2: 19}


@pytest.mark.seeds(SEEDS)
async def test_every_offer_ends_when_its_actor_does(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("offers")
    handled: list[int] = []

    def react(_: Any, message: Any) -> Any:
        handled.append(message)
        if len(handled) == 6:
            raise RuntimeError("enough")
        return random.choice((None, 0.001))

    ref = await system.spawn(made(simulation, mailbox=Bounded(random.randint(1, 3))), react)
    begun: list[int] = []

    async def offer(n: int) -> None:
        begun.append(n)
        await ref.offer(n, random.choice((math.inf, 0.002)))

    offers = [asyncio.create_task(offer(n)) for n in range(15)]
    results = await asyncio.gather(*offers, return_exceptions=True)
    ref.stop()
    await ref.ended()
    sent = [n for n, result in enumerate(results) if result is None]
    assert {type(result) for result in results} <= {ActorDied, Overloaded, type(None)}
    assert handled == [n for n in begun if n in handled]  # those who wait get in by turns
    assert set(handled) <= set(sent)
    await asyncio.sleep(1)
    assert system.dead_letters.count == len(sent) - len(handled)


@pytest.mark.seeds(SEEDS)
async def test_what_is_stashed_or_said_to_come_first_keeps_every_callers_order(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("stash")
    heard: dict[str, list[int]] = defaultdict(list)

    def react(actor: Any, message: Any) -> Any:
        who, n = message
        shut = getattr(actor, "shut", False)
        if who == "door":
            actor.shut = not shut
            if shut:
                actor.unstash_all()
                actor.then(("first", n))
        elif who != "first" and shut:
            return actor.stash()
        heard[who].append(n)
        return random.choice((None, 0.001)) if who == "tells" else n

    ref = await system.spawn(made(simulation), react)

    async def call() -> None:
        for n in range(6):
            assert await ref.call(("calls", n), 100) in (n, 0.001)

    async def swing() -> None:
        for n in range(10):
            ref.tell(("door", n))
            await asyncio.sleep(simulation.delay(0, 0.003))

    calling = asyncio.create_task(call())
    swinging = asyncio.create_task(swing())
    for n in range(12):
        ref.tell(("tells", n))
        await asyncio.sleep(simulation.delay(0, 0.002))
    await asyncio.gather(calling, swinging)
    ref.stop()
    await ref.ended()
    assert heard["calls"] == list(range(6))
    assert heard["tells"] == list(range(12))
    assert heard["first"] == [1, 3, 5, 7, 9]


@pytest.mark.seeds(SEEDS)
async def test_at_an_end_every_stashed_request_is_answered_and_every_tell_a_dead_letter(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("ends")

    def react(actor: Any, message: Any) -> Any:
        if message == "crash":
            raise RuntimeError(message)
        if random.random() < 0.2:
            actor.unstash()
        return actor.stash()

    ref = await system.spawn(made(simulation), react)
    for n in range(5):
        ref.tell(n)
    calls = [asyncio.create_task(ref.call(n, math.inf)) for n in range(5)]
    await asyncio.sleep(simulation.delay(0, 0.002))
    random.choice((ref.stop, ref.kill, ref.exit, lambda: ref.tell("crash")))()
    for result in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(result, ActorDied)
    await ref.ended()
    await asyncio.sleep(1)
    assert system.dead_letters.count == 5


@pytest.mark.seeds(SEEDS)
async def test_a_receive_timeout_never_comes_too_early_and_always_comes(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("patience")
    loop = asyncio.get_running_loop()
    times: list[tuple[float, Any]] = []

    def react(actor: Any, message: Any) -> Any:
        if message == "begin":
            actor.receive_timeout(1.0)
        times.append((loop.time(), message))

    ref = await system.spawn(made(simulation), react)
    ref.tell("begin")
    for _ in range(10):
        await asyncio.sleep(random.choice((0.1, 0.7, 0.99, 1.5)))
        ref.tell("work")
    await asyncio.sleep(5)
    ref.kill()
    await ref.ended()
    for (before, _), (now, message) in pairwise(times):
        if isinstance(message, ReceiveTimeout):
            assert now - before >= 0.9999
        assert now - before < 1.1
