"""Actors that do what a script says, in every kind the kernel knows; and the endings that it knows."""

import asyncio
import time
from collections.abc import Callable
from random import Random
from typing import Any

from understudy.actors import Actor, ActorRef, Down, Exit, ExitReason, Shutdown, Stop, ThreadActor


class Crash(Exception):
    """What a script ordered."""


class Puppet(Actor):
    """`heard(puppet, message)` decides what to do: it returns an answer, or a number of seconds to take over it."""

    def __init__(self, heard: Callable[[Any, Any], Any], *, trap: bool = False) -> None:
        super().__init__()
        self.heard = heard
        self.trap_exit = trap
        self.downs: list[Down] = []
        self.exits: list[Exit] = []
        self.ends: list[str] = []

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Down):
            self.downs.append(message)
        elif isinstance(message, Exit):
            self.exits.append(message)
        return self.heard(self, message)

    def on_stop(self, reason: ExitReason) -> Any:
        self.ends.append("stop")

    def on_failure(self, *_: Any) -> None:
        self.ends.append("failure")


class SlowPuppet(Puppet):
    """Its handler is asynchronous."""

    async def on_receive(self, message: Any) -> Any:
        result = super().on_receive(message)
        if isinstance(result, float):
            await asyncio.sleep(result)
        return result


class MixedPuppet(Puppet):
    """Plain or asynchronous, as the message has it."""

    def on_receive(self, message: Any) -> Any:
        result = super().on_receive(message)
        return asyncio.sleep(result, result) if isinstance(result, float) else result


class Slowpoke(Actor):
    """Takes its time to end."""

    async def on_stop(self, reason: ExitReason) -> None:
        await asyncio.sleep(0.05)


class Household(MixedPuppet):
    """Has children who take their time to end: so does its own end."""

    async def on_start(self) -> None:
        self.children = [await self.spawn(Slowpoke) for _ in range(2)]


class ThreadPuppet(ThreadActor):
    """Blocks a thread of its own."""

    def __init__(self, heard: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.heard = heard

    def on_receive(self, message: Any) -> Any:
        result = self.heard(self, message)
        if isinstance(result, float):
            time.sleep(result)
        return result


KINDS: tuple[Any, ...] = (Puppet, Puppet, SlowPuppet, SlowPuppet, MixedPuppet, Household, ThreadPuppet)
ON_THE_LOOP: tuple[Any, ...] = (Puppet, SlowPuppet, MixedPuppet, Household)


def echo(_: Any, message: Any) -> Any:
    """Obeys `Crash` and `Stop`, sleeps for a float, answers all else with itself."""
    if isinstance(message, Crash):
        raise message
    return message


def end(ref: ActorRef[Any], random: Random) -> None:
    """End an actor in one of the ways there are."""
    random.choice(
        (
            lambda: ref.tell(Crash("ordered")),
            lambda: ref.tell(Stop()),
            ref.stop,
            ref.exit,
            lambda: ref.exit(Shutdown("asked to")),
            ref.kill,
        )
    )()


async def pause(random: Random, most: float = 0.01) -> None:
    """Let others run: often for no time at all, sometimes for a while."""
    await asyncio.sleep(random.choice((0.0, 0.0, 0.001, random.random() * most)))
