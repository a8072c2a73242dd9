"""What is left of actors that came and went, in every way there is to live and to end: nothing.

    leftovers(count) ──> batches: one actor or family after the other in each of LIVES ──> all have ended ──> count what is left

A first batch warms up caches; what is counted is what there is more of at the end. The collector is off in the last
batch: what it finds after that was in cycles, which only it could free.
"""

import asyncio
import contextlib
import gc
import itertools
import json
import logging
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from understudy.actors import Actor, ActorDied, ActorRef, ActorSystem, Cell, ThreadActor

BATCH = 1_000
"""Actors that are alive at the same time, about."""

THREADS_EVERY = 100
"""One life in so many has a thread of its own: they take a hundred times as long."""


@dataclass
class Left:
    """What there is in the process: `cycles` are objects that only the collector could free, `blocks` Python's memory."""

    tasks: int = 0
    threads: int = 0
    timers: int = 0
    names: int = 0
    actors: int = 0
    entries: int = 0
    blocks: int = 0
    cycles: int = 0

    def more_than(self, before: "Left") -> "Left":
        """What has been added."""
        return Left(*(getattr(self, one.name) - getattr(before, one.name) for one in fields(self)))


class Mortal(Actor):
    """Lives as it is told."""

    def on_receive(self, message: Any) -> Any:
        if message == "crash":
            raise RuntimeError(message)
        if message == "set alarms":
            self.send_after(3600.0, "late")
            self.send_every(3600.0, "again")
        if message == "work aside":
            self.run(asyncio.Event().wait())
        if message == "stop":
            self.stop()
        return message


class Waiting(Actor):
    """Begins an answer that it never gives."""

    async def on_receive(self, message: Any) -> Any:
        await asyncio.Event().wait()


class Parent(Actor):
    """Has a child, and watches and is linked to whom it is sent."""

    trap_exit = True

    async def on_receive(self, message: Any) -> Any:
        if isinstance(message, ActorRef):
            self.monitor(message)
            self.link(message)
            return await self.spawn(Mortal)
        return None


class Threaded(ThreadActor):
    def on_receive(self, message: Any) -> Any:
        return message


async def stopped(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    ref = await system.spawn(Mortal)
    ref.tell("hello")
    ref.stop()
    ref.tell("too late")
    return [ref]


async def stops_itself(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    ref = await system.spawn(Mortal)
    ref.tell("stop")
    return [ref]


async def crashed(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    ref = await system.spawn(Mortal)
    ref.tell("crash")
    return [ref]


async def crashed_in_a_call(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    ref = await system.spawn(Mortal)
    with contextlib.suppress(ActorDied):
        await ref.call("crash")
    return [ref]


async def killed(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    ref = await system.spawn(Mortal)
    await ref.call("hello")
    ref.kill()
    return [ref]


async def named(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    ref = await system.spawn(Mortal, name=f"mortal/{number}")
    await system.ref(f"mortal/{number}").call("hello")
    ref.exit()
    return [ref]


async def with_timers(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    ref = await system.spawn(Mortal)
    await ref.call("set alarms")
    ref.stop()
    return [ref]


async def with_work_aside(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    ref = await system.spawn(Mortal)
    await ref.call("work aside")
    ref.stop()
    return [ref]


async def busy_for_ever(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    ref = await system.spawn(Waiting)
    ref.tell("begin")
    waiting = asyncio.ensure_future(ref.call("the second in the mailbox"))
    await asyncio.sleep(0)
    ref.exit()
    await asyncio.wait((waiting,))
    assert isinstance(waiting.exception(), ActorDied)
    return [ref]


async def its_caller_gave_up(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    ref = await system.spawn(Waiting)
    caller = asyncio.ensure_future(ref.call("never answered"))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait((caller,))
    ref.kill()
    return [ref]


async def family(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    friend, parent = await system.spawn(Mortal), await system.spawn(Parent)
    child = await parent.call(friend)
    friend.tell("crash")
    await friend.ended()
    parent.stop()
    return [friend, parent, child]


async def threaded(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    if number % THREADS_EVERY:
        return []
    ref = await system.spawn(Threaded)
    await ref.call("hello")
    ref.stop()
    return [ref]


LIVES: tuple[Callable[[ActorSystem, int], Awaitable[list[ActorRef[Any]]]], ...] = (
    stopped,
    stops_itself,
    crashed,
    crashed_in_a_call,
    killed,
    named,
    with_timers,
    with_work_aside,
    busy_for_ever,
    its_caller_gave_up,
    family,
    threaded,
)


async def leftovers(count: int) -> Left:
    """What is left after so many actors, at least, came and went: all figures are 0, but for blocks that caches keep."""
    logging.disable(logging.CRITICAL)
    try:
        async with ActorSystem("leftovers") as system:
            numbers = itertools.count()
            await _come_and_go(system, numbers)
            before = await _what_there_is(system)
            gone = 0
            while gone < count - BATCH:
                gone += await _come_and_go(system, numbers)
            gc.collect()
            gc.disable()
            try:
                await _come_and_go(system, numbers)
                left = (await _what_there_is(system)).more_than(before)
            finally:
                gc.enable()
    finally:
        logging.disable(logging.NOTSET)
    return left


async def _come_and_go(system: ActorSystem, numbers: "itertools.count[int]") -> int:
    """One batch of every life; returns how many actors there were."""
    refs: list[ActorRef[Any]] = []
    while len(refs) < BATCH:
        number = next(numbers)
        for live in LIVES:
            refs += await live(system, number)
    for ref in refs:
        await ref.ended(timeout=10.0)
    return len(refs)


async def _what_there_is(system: ActorSystem) -> Left:
    for _ in range(5):
        await asyncio.sleep(0)  # tasks that have just ended leave their loop with its next turns
    cycles = gc.collect()
    for _ in range(100):  # the watchdog lets go of a thread that it saw with its next look, a moment later
        if not _actors():
            break
        await asyncio.sleep(0.01)
    loop = asyncio.get_running_loop()
    timers = sum(not handle.cancelled() for handle in getattr(loop, "_scheduled", ()))
    entries = (*system._top, *system._names, *system.scheduler.ready, *system.scheduler.intake)
    return Left(
        tasks=len(asyncio.all_tasks()),
        threads=threading.active_count(),
        timers=timers,
        names=len(system._names),
        actors=_actors(),
        entries=len(entries),
        blocks=sys.getallocatedblocks(),
        cycles=cycles,
    )


def _actors() -> int:
    return sum(isinstance(one, Cell | Actor) for one in gc.get_objects())


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(leftovers(int(sys.argv[1]))))))
