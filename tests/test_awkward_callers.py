"""Whoever sends at an awkward moment, or asks with what cannot be meant, harms nobody: finalizers, impatience, wrong times."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import pytest

from tests.helpers import eventually
from tests.players import Does, Recorder, inside
from understudy.actors import Actor, ActorDied, ActorRef, ActorSystem
from understudy.supervisors import Child, Supervisor


class Dropped:
    """A resource in a cycle of its own, which tells somebody when it is collected."""

    def __init__(self, tell: Callable[[], object]) -> None:
        self.tell = tell
        self.itself = self

    def __del__(self) -> None:
        self.tell()


@contextmanager
def dropped(objects: int, tell: Callable[[], object]) -> Iterator[None]:
    """A `Dropped` is collected as soon as so many more objects were made."""
    before = gc.get_threshold()
    gc.collect()
    gc.disable()
    Dropped(tell)
    gc.set_threshold(objects, 10, 10)
    gc.enable()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.collect()


async def test_a_finalizer_may_tell_whatever_is_being_made_at_that_moment() -> None:
    async with ActorSystem() as system:
        told: list[ActorRef[Recorder]] = []
        for objects in range(1, 12):
            first, second = await system.spawn(Recorder), await system.spawn(Recorder)
            told += (first, second)
            with dropped(objects, partial(second.tell, "dropped")):
                first.tell("told")
        await eventually(lambda: all(len(inside(ref).seen) == 1 for ref in told))


async def test_a_finalizer_may_tell_a_group_whose_members_are_being_read() -> None:
    class Member(Recorder):
        def on_start(self) -> None:
            self.join("all")

    async with ActorSystem() as system:
        members = [await system.spawn(Member) for _ in range(3)]
        for objects in range(1, 12):
            with dropped(objects, partial(system.groups["all"].broadcast, "dropped")):
                assert len(system.groups["all"].members()) == 3
                assert system.groups.counts() == {"all": 3}
        await eventually(lambda: [len(inside(ref).seen) for ref in members] == [11] * 3)


@pytest.mark.parametrize("timeout", [Fraction(5), Decimal(5), "5", None, object()])
async def test_a_call_with_what_is_no_timeout_is_refused_before_anything_is_handled(timeout: Any) -> None:
    class Crashes(Recorder):
        def on_receive(self, message: Any) -> None:
            super().on_receive(message)
            if message == "hello":
                raise ValueError(message)

    class Waits(Recorder):
        async def on_receive(self, message: Any) -> None:
            Recorder.on_receive(self, message)
            await asyncio.sleep(0)

    async with ActorSystem() as system:
        for kind in (Crashes, Waits):
            ref = await system.spawn(kind)
            with pytest.raises(TypeError, match="a timeout is a number of seconds"):
                await ref.call("hello", timeout)
            assert inside(ref).seen == []
            ref.tell("and on it goes")
            await eventually(lambda ref=ref: inside(ref).seen == ["and on it goes"])  # type: ignore[misc]


async def test_who_calls_until_somebody_answers_does_not_keep_that_from_happening() -> None:
    class Slow(Does):
        async def on_start(self) -> None:
            await asyncio.sleep(0)

        async def on_failure(self, *error: Any) -> None:
            await asyncio.sleep(0)

    async with ActorSystem() as system:
        await system.spawn(Supervisor, [Child(Slow, name="slow")])
        named, first = system.ref("slow"), system.whereis("slow")
        assert first is not None

        async def answer(ref: ActorRef[Any], tries: int) -> Any:
            for _ in range(tries):
                try:
                    return await ref.call(lambda _: "here again")
                except ActorDied:
                    pass
            return None

        first.kill()
        assert await answer(first, 10) is None
        assert await answer(named, 1_000) == "here again"


async def test_who_offers_without_end_lets_others_have_their_turn() -> None:
    class Sink(Actor):
        def on_receive(self, message: Any) -> None:
            pass

    async with ActorSystem() as system:
        ref = await system.spawn(Sink)
        others: list[None] = []
        system.loop.call_soon(others.append, None)
        for number in range(3):
            await ref.offer(number)
        assert others
