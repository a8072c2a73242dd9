"""What is left of actors that came and went, in every way there is to live and to end: nothing.

    leftovers(count) ──> batches: one actor or family after the other in each of LIVES ──> all have ended ──> count what is left

A first batch warms up caches; what is counted is what there is more of at the end. The collector is off in the last
batch: what it finds after that was in cycles, which only it could free.

    cycles() ──> each life alone, the collector off ──> the objects that only it could free, for one such life
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

import uvloop

from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    Bounded,
    CallError,
    Cell,
    Later,
    Shutdown,
    StartFailed,
    ThreadActor,
    reentrant,
)
from understudy.supervisors import Child, Router

BATCH = 1_000
"""Actors that are alive at the same time, about."""

FEW = 20
"""Lives of one kind that are looked at alone."""

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


class Awaits(Actor):
    """Fails, calls and offloads, after an await or in one."""

    async def on_receive(self, message: Any) -> Any:
        if isinstance(message, ActorRef):
            return await message.call("hello")
        match message:
            case "offload":
                with contextlib.suppress(ValueError):
                    return await self.offload(int, "no number")
            case "offload and fail":
                return await self.offload(int, "no number")
            case "ask yourself":
                return await self.actor_ref.call("never")
            case "fail late":
                await asyncio.sleep(0)
        raise RuntimeError(message)


class Overlapping(Actor):
    """Handles several at a time, and answers some of them later, or never."""

    def on_receive(self, message: Any) -> Any:
        return Later() if message == "later" else self.work(message)

    @reentrant
    async def work(self, message: Any) -> Any:
        await asyncio.sleep(0)
        if message == "crash":
            raise RuntimeError(message)
        return message


class Narrow(Actor):
    """Has room for one, and takes no second."""

    mailbox = Bounded(1)

    async def on_receive(self, message: Any) -> Any:
        await asyncio.Event().wait()


class Stillborn(Actor):
    def on_start(self) -> None:
        raise RuntimeError("on purpose")


class StillbornLate(Actor):
    async def on_start(self) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("on purpose")


class NeverStarts(Actor):
    async def on_start(self) -> None:
        await asyncio.Event().wait()


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


async def _tried(asked: Awaitable[Any], *errors: type[BaseException]) -> None:
    try:
        await asked
    except errors as error:
        error.__traceback__ = error.__cause__ = error.__context__ = None


async def _life(
    system: ActorSystem, kind: type[Actor], message: Any, error: type[BaseException] = CallError
) -> list[ActorRef[Any]]:
    ref: ActorRef[Any] = await system.spawn(kind)
    await _tried(ref.call(message), error)
    ref.kill()
    return [ref]


async def crashed_late(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    return await _life(system, Awaits, "fail late")


async def crashed_before_an_await(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    return await _life(system, Awaits, "fail")


async def offloaded(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    return await _life(system, Awaits, "offload")


async def crashed_offloading(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    return await _life(system, Awaits, "offload and fail")


async def called_itself(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    return await _life(system, Awaits, "ask yourself")


async def crashed_overlapping(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    return await _life(system, Overlapping, "crash")


async def its_callers_waited(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    ref = await system.spawn(Overlapping)
    waiting = [asyncio.ensure_future(_tried(ref.call(message), ActorDied)) for message in ("later", "work")]
    await asyncio.sleep(0)
    ref.kill()
    await asyncio.wait(waiting)
    return [ref]


async def called_another(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    callee = await system.spawn(Overlapping)
    caller = await system.spawn(Awaits)
    await caller.call(callee)
    caller.kill()
    callee.kill()
    return [caller, callee]


async def not_started(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    for kind in (Stillborn, StillbornLate):
        await _tried(system.spawn(kind), StartFailed)
    starting = asyncio.ensure_future(system.spawn(NeverStarts))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    starting.cancel()
    await _tried(starting, asyncio.CancelledError)
    return []


async def offered_too_much(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    ref = await system.spawn(Narrow)
    for _ in range(2):
        ref.tell("one at hand, one in the mailbox")
        await asyncio.sleep(0)
    offering = asyncio.ensure_future(_tried(ref.offer("no room"), ActorDied))
    await asyncio.sleep(0)
    ref.kill()
    await asyncio.wait((offering,))
    return [ref]


async def asked(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    ref = await system.spawn(Mortal)
    await ref.ask("hello", block=False)
    await ref.proxy().on_receive("hello")
    await _tried(ref.ask("crash", block=False), ActorDied)
    return [ref]


async def asked_in_a_thread(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    if number % THREADS_EVERY:
        return []
    ref = await system.spawn(Mortal)
    await asyncio.to_thread(ref.ask, "hello")
    ref.kill()
    return [ref]


async def routed(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    if number % THREADS_EVERY:
        return []
    ref = await system.spawn(Router, Child(Overlapping), size=2, by="broadcast")
    await ref.call("work")
    ref.exit(Shutdown())
    return [ref]


class Ring(Actor):
    """Calls the last of those it is sent, which gets the same in another order."""

    async def on_receive(self, message: Any) -> Any:
        return await message[-1].call(message[::-1])


async def closed_a_ring(system: ActorSystem, number: int) -> list[ActorRef[Any]]:
    refs = [await system.spawn(Ring) for _ in range(2)]
    await _tried(refs[0].call(refs), CallError)
    for ref in refs:
        ref.kill()
    return [*refs]


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
    crashed_late,
    crashed_before_an_await,
    offloaded,
    crashed_offloading,
    called_itself,
    called_another,
    crashed_overlapping,
    its_callers_waited,
    not_started,
    offered_too_much,
    closed_a_ring,
    asked,
    asked_in_a_thread,
    routed,
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


async def cycles() -> dict[str, float]:
    """The objects in cycles that one life of each kind leaves behind, where there are any."""
    logging.disable(logging.CRITICAL)
    left = {}
    async with ActorSystem("cycles", slow_after=None) as system:
        for live in LIVES:
            for times in (5, FEW):  # the first ones warm up
                gc.collect()
                gc.disable()
                for _ in range(times):
                    for ref in await live(system, 0):
                        await ref.ended(timeout=10.0)
                for _ in range(5):
                    await asyncio.sleep(0)  # tasks that have just ended leave their loop with its next turns
                found = gc.collect()
                gc.enable()
            if found >= times:
                left[live.__name__] = found / times
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
    if sys.argv[1] == "cycles":  # on uvloop, since asyncio's own Python code makes some
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(json.dumps(runner.run(cycles())))
    else:
        print(json.dumps(asdict(asyncio.run(leftovers(int(sys.argv[1]))))))
