"""Races of real threads, each round a fresh one: a test runs a few rounds, the proof of the kernel a hundred thousand.

Each function takes `rounds` and returns its figures; it raises AssertionError in the round that breaks the promise.
"""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

from tests.players import Echo
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    Deadlock,
    Down,
    Exit,
    Killed,
    NoProc,
    ThreadActor,
)

Figures: TypeAlias = dict[str, int]

PATIENCE = 30.0
"""Seconds after which somebody who waits here was forgotten."""

BATCH = 500
"""Actors that are started at a time."""


class ThreadEcho(ThreadActor):
    def on_receive(self, message: Any) -> Any:
        return message


@asynccontextmanager
async def another_loop() -> AsyncIterator[ActorSystem]:
    """A system on a loop in a thread of its own."""
    systems: list[ActorSystem] = []
    up, over = threading.Event(), asyncio.Event()

    async def main() -> None:
        async with ActorSystem("elsewhere") as system:
            systems.append(system)
            up.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    await asyncio.to_thread(up.wait, PATIENCE)
    try:
        yield systems[0]
    finally:
        systems[0].loop.call_soon_threadsafe(over.set)
        await asyncio.to_thread(thread.join, PATIENCE)


async def elsewhere(system: ActorSystem, coroutine: Any) -> Any:
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, system.loop))


def batches(rounds: int) -> list[int]:
    return [min(BATCH, rounds - done) for done in range(0, rounds, BATCH)]


async def ask_against_stop(rounds: int, end: str = "stop", kind: type[Actor] = Echo, askers: int = 2) -> Figures:
    """Threads ask an actor while another ends it: every ask is answered, by the actor or with its death."""
    outcomes: Counter[str] = Counter()
    async with ActorSystem() as system:
        for count in batches(rounds):
            refs: list[ActorRef[Any]] = [await system.spawn(kind) for _ in range(count)]
            turn = threading.Barrier(askers + 1)

            def ask(number: int, refs: list[ActorRef[Any]] = refs, turn: threading.Barrier = turn) -> Counter[str]:
                mine: Counter[str] = Counter()
                for ref in refs:
                    turn.wait(PATIENCE)
                    try:
                        assert ref.ask(number, timeout=PATIENCE) == number
                        mine["answered"] += 1
                    except ActorDied:
                        mine["died"] += 1
                return mine

            def finish(refs: list[ActorRef[Any]] = refs, turn: threading.Barrier = turn) -> Counter[str]:
                for ref in refs:
                    turn.wait(PATIENCE)
                    getattr(ref, end)()
                return Counter()

            threads = [asyncio.to_thread(ask, number) for number in range(askers)]
            for done in await asyncio.gather(*threads, asyncio.to_thread(finish)):
                outcomes += done
    assert sum(outcomes.values()) == rounds * askers, outcomes
    return {"asks": rounds * askers, **outcomes}


async def call_against_end(rounds: int) -> Figures:
    """Coroutines of another thread's loop call an actor while this thread kills it: every call ends."""
    outcomes: Counter[str] = Counter()

    async def call(refs: list[ActorRef[Any]], turns: asyncio.Semaphore, here: asyncio.AbstractEventLoop) -> None:
        for number, ref in enumerate(refs):
            if number % 16 == 0:
                here.call_soon_threadsafe(turns.release)
            try:
                assert await ref.call(number, PATIENCE) == number
                outcomes["answered"] += 1
            except ActorDied:
                outcomes["died"] += 1

    async with ActorSystem() as system, another_loop() as other:
        for count in batches(rounds):
            refs: list[ActorRef[Any]] = [await system.spawn(Echo) for _ in range(count)]
            turns = asyncio.Semaphore(0)
            calling = asyncio.create_task(elsewhere(other, call(refs, turns, system.loop)))
            for number, ref in enumerate(refs):
                if number % 16 == 0:
                    await turns.acquire()
                ref.kill()
            await calling
    assert sum(outcomes.values()) == rounds
    return {"calls": rounds, **outcomes}


class Ticking(ThreadActor):
    """Sets a timer that is due at once, and cancels it in its next message: whichever comes first."""

    def __init__(self, rounds: int, over: Callable[[], None]) -> None:
        super().__init__()
        self.left = rounds
        self.over = over
        self.timer: Any = None
        self.cancelled: set[int] = set()
        self.figures: Counter[str] = Counter()
        self.failures: list[str] = []

    def on_start(self) -> None:
        self.actor_ref.tell("set")

    def on_receive(self, message: Any) -> Any:
        match message:
            case "set" if self.left:
                self.left -= 1
                every = self.left % 3 == 0
                tick = ("tick", self.left)
                self.timer = self.send_every(0.001, tick) if every else self.send_after(0, tick)
                for _ in range(self.left % 7):
                    self.actor_ref.is_alive()  # a moment, of one length or another
                self.actor_ref.tell("cancel")
            case "set":
                self.actor_ref.tell("last")
            case "cancel":
                self.timer.cancel()
                self.cancelled = {self.left}
                self.figures["cancelled"] += 1
                self.actor_ref.tell("set")
            case ("tick", number):
                self.figures["came"] += 1
                if number in self.cancelled or number != self.left:
                    self.failures.append(f"tick {number} came after its cancellation")
            case _:
                self.over()


async def cancel_against_fire(rounds: int) -> Figures:
    """A thread cancels a timer while the loop fires it: none is delivered after its cancellation."""
    over = asyncio.Event()
    async with ActorSystem() as system:
        ref = await system.spawn(Ticking, rounds, lambda: system.loop.call_soon_threadsafe(over.set))
        ticking: Ticking = ref.actor  # type: ignore[attr-defined]
        await over.wait()
        assert not ticking.failures, ticking.failures[:3]
        assert ticking.figures["cancelled"] == rounds
        return dict(ticking.figures)


class Counting(Actor):
    """Remembers which rounds are over, and what came after."""

    def __init__(self) -> None:
        super().__init__()
        self.over: set[int] = set()
        self.failures: list[int] = []
        self.figures: Counter[str] = Counter()

    def on_receive(self, message: Any) -> Any:
        match message:
            case ("timers", numbers):
                return [self.send_after(0, ("tick", number)) for number in numbers]
            case ("cancelled", number):
                self.over.add(number)
            case ("tick", number):
                self.figures["came"] += 1
                if number in self.over:
                    self.failures.append(number)
        return None


async def foreign_cancel_against_fire(rounds: int) -> Figures:
    """Another thread cancels, and says so with a message: no tick is handled after that."""
    async with ActorSystem() as system:
        ref = await system.spawn(Counting)
        counting: Counting = ref.actor  # type: ignore[attr-defined]
        for start in range(0, rounds, 20):
            numbers = range(start, min(start + 20, rounds))
            timers = await ref.call(("timers", numbers))

            def cancel(timers: Any = timers, numbers: range = numbers) -> None:
                for number, timer in zip(numbers, timers):
                    timer.cancel()
                    ref.tell(("cancelled", number))

            await asyncio.to_thread(cancel)
        await ref.call("flush")
        assert not counting.failures, counting.failures[:3]
        return {"cancelled": rounds, **counting.figures}


class OneAtATime(Actor):
    """Says so if two of its asynchronous handlers ever run at once."""

    def __init__(self) -> None:
        super().__init__()
        self.running = False
        self.handled = 0
        self.failures = 0

    async def on_receive(self, message: Any) -> Any:
        self.failures += self.running
        self.running = True
        await asyncio.sleep(0)
        if self.handled % 5 == 0:
            await asyncio.sleep(0)
        self.running = False
        self.handled += 1
        return self.handled


async def wakers_against_an_async_handler(rounds: int, threads: int = 2) -> Figures:
    """Threads wake an actor whose asynchronous handler is suspended: never do two handlers run at once."""
    async with ActorSystem() as system:
        ref = await system.spawn(OneAtATime)
        actor: OneAtATime = ref.actor  # type: ignore[attr-defined]

        def wake(count: int) -> None:
            for number in range(count):
                ref.tell(number)
                if number % 50 == 0:
                    ref.ask("wait")  # let it fall asleep now and then

        await asyncio.gather(*(asyncio.to_thread(wake, rounds // threads) for _ in range(threads)))
        await ref.call("the last", PATIENCE)
        assert actor.failures == 0
        return {"handled": actor.handled}


class Watchman(Actor):
    """Watches and links what it is sent, and counts what it hears of it."""

    trap_exit = True

    def __init__(self) -> None:
        super().__init__()
        self.heard: dict[Any, Counter[str]] = {}

    def on_receive(self, message: Any) -> Any:
        match message:
            case Down(_, ref, reason):
                self.heard[ref]["down"] += 1
                assert isinstance(reason, Killed | NoProc)
            case Exit(ref, reason):
                self.heard[ref]["exit"] += 1
                assert isinstance(reason, Killed | NoProc)
            case ActorRef():
                self.heard[message] = Counter()
                self.monitor(message)
                self.monitor(message)
                self.link(message)
            case _:
                return self.heard
        return None


class ThreadWatchman(ThreadActor):
    """The same in a thread."""

    trap_exit = True

    def __init__(self) -> None:
        super().__init__()
        self.heard: dict[Any, Counter[str]] = {}

    on_receive = Watchman.on_receive


async def watch_against_end(rounds: int) -> Figures:
    """Watchers on this loop, on another thread's loop and in a thread watch an actor twice and link it while it is killed:
    each hears of each monitor once, and of the link once."""
    async with ActorSystem() as system, another_loop() as other:
        watchmen: list[ActorRef[Any]] = [
            await system.spawn(Watchman),
            await elsewhere(other, other.spawn(Watchman)),
            await system.spawn(ThreadWatchman),
        ]
        for number, count in enumerate(batches(rounds)):
            home = (system, other)[number % 2]
            refs: list[ActorRef[Any]]
            if home is system:
                refs = [await system.spawn(Echo) for _ in range(count)]
            else:
                refs = await elsewhere(other, _spawn_many(other, count))
            for watchman in watchmen:
                (await watchman.call("heard", PATIENCE)).clear()

            def watch(refs: list[ActorRef[Any]] = refs) -> None:
                for ref in refs:
                    for watchman in watchmen:
                        watchman.tell(ref)

            def kill(refs: list[ActorRef[Any]] = refs) -> None:
                for ref in refs:
                    ref.kill()

            await asyncio.gather(asyncio.to_thread(watch), asyncio.to_thread(kill))
            for watchman in watchmen:
                await _until(partial(_all_heard, watchman, count))
        return {"actors": rounds, "signals": rounds * 9}


async def _spawn_many(system: ActorSystem, count: int) -> list[ActorRef[Any]]:
    return [await system.spawn(Echo) for _ in range(count)]


async def _all_heard(watchman: ActorRef[Any], count: int) -> bool:
    heard: dict[Any, Counter[str]] = await watchman.call("heard", PATIENCE)
    counts = [dict(each) for each in tuple(heard.values())]
    assert all(each.get("down", 0) <= 2 and each.get("exit", 0) <= 1 for each in counts), counts
    return len(counts) == count and all(each == {"down": 2, "exit": 1} for each in counts)


async def _until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await true():  # each look is a call, and lets the others work
            pass


class Crossing(ThreadActor):
    """Asks another one, and says whether it got an answer."""

    def on_receive(self, message: Any) -> Any:
        if message == "x":
            return "y"
        other, turn = message
        turn.wait(PATIENCE)
        with contextlib.suppress(Deadlock):
            return other.ask("x")
        return "deadlock"


async def asks_across(rounds: int) -> Figures:
    """Two thread actors ask each other at the same time: a ring that closes is reported to one of them at least, and whoever
    was told so could not have been answered."""
    outcomes: Counter[str] = Counter()
    async with ActorSystem() as system:
        first, second = await system.spawn(Crossing), await system.spawn(Crossing)
        for _ in range(rounds):
            turn = threading.Barrier(2)
            one, other = await asyncio.gather(
                first.call((second, turn), PATIENCE), second.call((first, turn), PATIENCE)
            )
            # Both wait before either can answer: one at least must give way.
            assert "deadlock" in (one, other)
            outcomes["both" if one == other else "one"] += 1
    return {"rings": rounds, **outcomes}
