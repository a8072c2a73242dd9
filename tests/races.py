"""Races of real threads, each round a fresh one: a test runs a few rounds, the proof of the kernel a hundred thousand.

Each function takes `rounds` and returns its figures, among them how often either side was first: a race that one side
always wins says nothing. It raises AssertionError in the round that breaks the promise.
"""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

from tests.handicap import Handicap
from tests.players import Echo
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    Deadlock,
    Down,
    Exit,
    ExitReason,
    Killed,
    NoProc,
    ThreadActor,
)
from understudy.actors.ages import Ages

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
    scores: list[Counter[str]] = [Counter() for _ in range(askers)]
    handicap = Handicap()

    def ask(refs: list[ActorRef[Any]], turn: threading.Barrier, mine: Counter[str]) -> None:
        for number, ref in enumerate(refs):
            turn.wait(PATIENCE)
            try:
                assert ref.ask(number, timeout=PATIENCE) == number
                mine["answered"] += 1
            except ActorDied:
                mine["died"] += 1

    def finish(refs: list[ActorRef[Any]], turn: threading.Barrier) -> None:
        before = total(scores)["answered"]
        for ref in refs:
            turn.wait(PATIENCE)
            answered = total(scores)["answered"]
            handicap.learn(answered - before < askers / 2)
            before = answered
            handicap.spin()
            getattr(ref, end)()

    async with ActorSystem() as system:
        for count in batches(rounds):
            refs: list[ActorRef[Any]] = [await system.spawn(kind) for _ in range(count)]
            turn = threading.Barrier(askers + 1)
            threads = [asyncio.to_thread(ask, refs, turn, mine) for mine in scores]
            await asyncio.gather(*threads, asyncio.to_thread(finish, refs, turn))
    outcomes = total(scores)
    assert outcomes["answered"] + outcomes["died"] == rounds * askers, outcomes
    return {"asks": rounds * askers, **outcomes}


def total(scores: Iterable[Counter[str]]) -> Counter[str]:
    return sum(scores, Counter[str]())


async def call_against_end(rounds: int) -> Figures:
    """Coroutines of another thread's loop call an actor while this thread kills it: every call ends."""
    outcomes: Counter[str] = Counter()
    handicap = Handicap()

    async def call(refs: list[ActorRef[Any]], turns: asyncio.Semaphore, here: asyncio.AbstractEventLoop) -> None:
        for number, ref in enumerate(refs):
            here.call_soon_threadsafe(turns.release)
            try:
                assert await ref.call(number, PATIENCE) == number
                outcomes["answered"] += 1
                handicap.learn(False)
            except ActorDied:
                outcomes["died"] += 1
                handicap.learn(True)

    async with ActorSystem() as system, another_loop() as other:
        for count in batches(rounds):
            refs: list[ActorRef[Any]] = [await system.spawn(Echo) for _ in range(count)]
            turns = asyncio.Semaphore(0)
            calling = asyncio.create_task(elsewhere(other, call(refs, turns, system.loop)))
            for ref in refs:
                await turns.acquire()
                await handicap.breathe()
                ref.kill()
            await calling
    assert sum(outcomes.values()) == rounds
    return {"calls": rounds, **outcomes}


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
    scores: list[Counter[str]] = [Counter() for _ in range(threads)]
    async with ActorSystem() as system:
        ref = await system.spawn(OneAtATime)
        actor: OneAtATime = ref.actor  # type: ignore[attr-defined]

        def wake(mine: Counter[str]) -> None:
            handicap = Handicap()
            for number in range(rounds // threads):
                handicap.spin()
                busy = total(scores).total() > actor.handled
                ref.tell(number)
                mine["awake" if busy else "asleep"] += 1
                handicap.learn(busy)

        await asyncio.gather(*(asyncio.to_thread(wake, mine) for mine in scores))
        await ref.call("the last", PATIENCE)
        assert actor.failures == 0
        return {"handled": actor.handled, **total(scores)}


class Watchman(Actor):
    """Watches and links what it is sent, and counts what it hears of it."""

    trap_exit = True

    def __init__(self) -> None:
        super().__init__()
        self.heard: dict[Any, Counter[str]] = {}
        self.came: Counter[str] = Counter()

    def on_receive(self, message: Any) -> Any:
        match message:
            case Down(_, ref, reason):
                self.hear("down", ref, reason)
            case Exit(ref, reason):
                self.hear("exit", ref, reason)
            case ActorRef():
                self.heard[message] = Counter()
                self.monitor(message)
                self.monitor(message)
                self.link(message)
            case "came":
                return self.came
            case _:
                return self.heard
        return None

    def hear(self, what: str, ref: Any, reason: ExitReason) -> None:
        assert isinstance(reason, Killed | NoProc)
        self.heard[ref][what] += 1
        self.came["in time" if isinstance(reason, Killed) else "too late"] += 1


class ThreadWatchman(ThreadActor):
    """The same in a thread."""

    trap_exit = True

    def __init__(self) -> None:
        super().__init__()
        self.heard: dict[Any, Counter[str]] = {}
        self.came: Counter[str] = Counter()

    on_receive = Watchman.on_receive
    hear = Watchman.hear


async def watch_against_end(rounds: int) -> Figures:
    """Watchers on this loop, on another thread's loop and in a thread watch an actor twice and link it while it is killed:
    each hears of each monitor once, and of the link once."""
    async with ActorSystem() as system, another_loop() as other:
        watchmen: list[ActorRef[Any]] = [
            await system.spawn(Watchman),
            await elsewhere(other, other.spawn(Watchman)),
            await system.spawn(ThreadWatchman),
        ]
        scores: list[Counter[str]] = [await watchman.call("came", PATIENCE) for watchman in watchmen]
        handicap = Handicap()
        for number, count in enumerate(batches(rounds)):
            home = (system, other)[number % 2]
            refs: list[ActorRef[Any]]
            if home is system:
                refs = [await system.spawn(Echo) for _ in range(count)]
            else:
                refs = await elsewhere(other, _spawn_many(other, count))
            for watchman in watchmen:
                (await watchman.call("heard", PATIENCE)).clear()

            turn = threading.Barrier(2)

            def watch(refs: list[ActorRef[Any]] = refs, turn: threading.Barrier = turn) -> None:
                for ref in refs:
                    turn.wait(PATIENCE)
                    for watchman in watchmen:
                        watchman.tell(ref)

            def kill(refs: list[ActorRef[Any]] = refs, turn: threading.Barrier = turn) -> None:
                before = total(scores)
                for ref in refs:
                    turn.wait(PATIENCE)
                    heard = total(scores) - before
                    handicap.learn(heard["too late"] > heard["in time"])
                    before += heard
                    handicap.spin()
                    ref.kill()

            await asyncio.gather(asyncio.to_thread(watch), asyncio.to_thread(kill))
            for watchman in watchmen:
                await _until(partial(_all_heard, watchman, count))
        return {"actors": rounds, "signals": rounds * 9, **total(scores)}


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
        other, turn, handicap = message
        turn.wait(PATIENCE)
        handicap.spin()
        with contextlib.suppress(Deadlock):
            return other.ask("x")
        return "deadlock"


async def asks_across(rounds: int) -> Figures:
    """Two thread actors ask each other at the same time: a ring that closes is reported to one of them at least, and whoever
    was told so could not have been answered."""
    outcomes: Counter[str] = Counter()
    async with ActorSystem() as system:
        first, second = await system.spawn(Crossing), await system.spawn(Crossing)
        none, some = Handicap(0.0), Handicap()
        for _ in range(rounds):
            turn = threading.Barrier(2)
            one, other = await asyncio.gather(
                first.call((second, turn, none), PATIENCE), second.call((first, turn, some), PATIENCE)
            )
            # Both wait before either can answer: one at least must give way.
            assert "deadlock" in (one, other)
            outcomes["both" if one == other else "first" if one == "deadlock" else "second"] += 1
            some.learn(one == "deadlock")  # the first one closed the ring: the second one was there before
    return {"rings": rounds, **outcomes}


class Backlog:
    """What the ages of messages look at."""

    handled = 0
    mailbox = ("a message",)


async def marks_against_marks(rounds: int, threads: int = 3) -> Figures:
    """Threads note and ask how long messages wait, for mailboxes that come and go: none disturbs another."""
    ages = Ages()

    def mark() -> int:
        seen = 0
        for number in range(rounds):
            backlog: Any = Backlog()
            ages.mark(backlog, number)
            seen += ages.oldest(backlog, number + 1) > 0
            ages.forget(backlog)
        return seen

    seen = await asyncio.gather(*(asyncio.to_thread(mark) for _ in range(threads)))
    return {"marks": rounds * threads, "seen": sum(seen)}
