"""What an operator does to actors at work, whatever the seed does: nothing is handled meanwhile, lost, torn or left hanging."""

import asyncio
import time
from typing import Any

import pytest

from tests.players import inside
from tests.simulation.puppets import end, pause
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    DeadlineExceeded,
    Down,
    Handled,
    Stop,
    ThreadActor,
)
from understudy.simulation import Simulation

SEEDS = 300


class Ledger:
    """Keeps what it was told, and both of two figures; in between it may be asked nothing."""

    held: bool
    before: int
    after: int
    seen: list[Any]

    def take(self, message: Any) -> None:
        if isinstance(message, Stop):
            return
        assert not self.held, "a suspended actor took a message"
        assert self.before == self.after, "two handlers at once"
        self.before += 1

    def keep(self, message: Any) -> Any:
        if isinstance(message, Stop | BaseException):
            if isinstance(message, BaseException):
                raise message
            return message
        assert not self.held, "it was suspended in the middle of a message"
        self.seen.append(message)
        self.after += 1
        return message


class Keeper(Actor, Ledger):
    def __init__(self) -> None:
        super().__init__()
        self.held, self.before, self.after, self.seen = False, 0, 0, []

    def on_receive(self, message: Any) -> Any:
        self.take(message)
        return self.keep(message)


class SlowKeeper(Keeper):
    async def on_receive(self, message: Any) -> Any:
        self.take(message)
        await asyncio.sleep(0.001 * self.system.world.random.randrange(3))
        return self.keep(message)


class MixedKeeper(Keeper):
    def on_receive(self, message: Any) -> Any:
        self.take(message)
        return self.keep(message) if self.system.world.random.random() < 0.5 else self.later(message)

    async def later(self, message: Any) -> Any:
        await asyncio.sleep(0.001)
        return self.keep(message)


class ThreadKeeper(ThreadActor, Ledger):
    def __init__(self) -> None:
        super().__init__()
        self.held, self.before, self.after, self.seen = False, 0, 0, []

    def on_receive(self, message: Any) -> Any:
        self.take(message)
        time.sleep(0.001)
        return self.keep(message)


class Watcher(Actor):
    def __init__(self, ref: ActorRef[Any]) -> None:
        super().__init__()
        self.ref = ref
        self.downs = 0

    def on_start(self) -> None:
        self.monitor(self.ref)

    def on_receive(self, message: Any) -> int:
        self.downs += isinstance(message, Down)
        return self.downs


KINDS: tuple[Any, ...] = (Keeper, SlowKeeper, MixedKeeper, ThreadKeeper)


async def operate(simulation: Simulation, system: ActorSystem, ref: ActorRef[Any], times: int) -> None:
    """Hold the actor now and then, look at it, and let it go on."""
    random = simulation.random
    actor = inside(ref)
    for _ in range(times):
        await pause(random)
        await system.suspend(ref, 100)
        actor.held = True
        await pause(random)
        state = await system.get_state(ref, 100)
        assert state["before"] == state["after"] == actor.after
        assert system.info(ref).state == "suspended"
        if random.random() < 0.5:
            await system.replace_state(ref, lambda state: state, 100)
        actor.held = False
        await system.resume(ref, 100)
        state = await system.get_state(ref, 100)
        assert state["before"] == state["after"] == len(state["seen"])


@pytest.mark.seeds(SEEDS)
async def test_a_suspended_actor_handles_nothing_and_afterwards_everything_in_order(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("held")
    ref = await system.spawn(random.choice(KINDS))
    watcher = await system.spawn(Watcher, ref)
    operators = [asyncio.create_task(operate(simulation, system, ref, random.randint(1, 4)))]
    sent = list(range(random.randint(1, 30)))
    for number in sent:
        if random.random() < 0.2:
            assert await ref.call(number, 1000) == number
        else:
            ref.tell(number)
        if random.random() < 0.3:
            await pause(random)
    await asyncio.gather(*operators)
    assert await ref.call("last", 1000) == "last"
    assert inside(ref).seen == [*sent, "last"]
    assert system.info(ref).handled == len(sent) + 1
    assert inside(watcher).downs == 0


@pytest.mark.seeds(SEEDS)
async def test_requests_that_race_an_end_are_all_answered_and_nothing_hangs(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("ends")
    ref = await system.spawn(random.choice(KINDS))
    watcher = await system.spawn(Watcher, ref)

    async def ask() -> str:
        await pause(random)
        requests = (
            lambda: system.suspend(ref, 0.05),
            lambda: system.resume(ref, 0.05),
            lambda: system.get_state(ref, 0.05),
            lambda: system.replace_state(ref, lambda state: state, 0.05),
            lambda: ref.call("x", 0.05),
        )
        try:
            await random.choice(requests)()
        except (ActorDied, DeadlineExceeded) as error:
            return type(error).__name__
        return "done"

    asking = [asyncio.create_task(ask()) for _ in range(random.randint(1, 12))]
    await pause(random)
    end(ref, random)
    await asyncio.wait(asking)
    assert {task.result() for task in asking} <= {"done", "ActorDied", "DeadlineExceeded"}
    if ref.is_alive():  # it is suspended, or ended by a message behind others: an operator can always end it
        ref.exit()
    await ref.ended(100)
    assert await watcher.call("how many?", 100) == 1
    with pytest.raises(ActorDied):
        await system.get_state(ref)
    assert system.actors() == [watcher]


@pytest.mark.seeds(SEEDS)
async def test_a_trace_that_comes_and_goes_changes_nothing_and_sees_each_message_once(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("traced")
    ref = await system.spawn(random.choice(KINDS))
    told: list[Handled] = []
    sent = list(range(random.randint(1, 20)))

    async def follow() -> list[str]:
        await pause(random)
        stop = system.hooks.subscribe(Handled, told.append)
        async with system.trace(ref) as trace:
            await pause(random, 0.02)
        stop()
        return [event.detail for event in [event async for event in trace] if event.kind == "received"]

    following = asyncio.create_task(follow())
    for number in sent:
        ref.tell(number)
        if random.random() < 0.3:
            await pause(random)
    heard = await following
    assert await ref.call("last", 1000) == "last"
    assert inside(ref).seen == [*sent, "last"]
    numbers = [int(detail) for detail in heard]
    assert numbers == sorted(set(numbers))
    assert not numbers or numbers == list(range(numbers[0], numbers[-1] + 1))
    assert all(event.outcome == "ok" for event in told)
