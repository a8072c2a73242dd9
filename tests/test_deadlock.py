"""A ring of calls that nobody can answer is reported at once, to whoever closes it, and to nobody else."""

import asyncio
import threading
from functools import partial
from typing import Any

import pytest

from tests.helpers import eventually
from tests.players import Does, Echo, inside
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    DeadlineExceeded,
    Deadlock,
    Failure,
    Later,
    StartFailed,
    ThreadActor,
    reentrant,
)

FOR_EVER = 1000.0
"""Seconds that no test has: whoever waits for a deadline here waits too long."""


class Link(Actor):
    """`[next, ...]`: call the next one with the rest, and answer what that answers; an empty list is answered."""

    async def on_receive(self, message: Any) -> Any:
        if callable(message):
            return await message(self)
        return await message[0].call(message[1:], FOR_EVER) if message else "the end"


class PlainLink(Actor):
    """The same in a coroutine that a plain handler returns."""

    def on_receive(self, message: Any) -> Any:
        if callable(message):
            return message(self)
        return self.go_on(message) if message else "the end"

    async def go_on(self, message: Any) -> Any:
        return await message[0].call(message[1:], FOR_EVER)


class ThreadLink(ThreadActor):
    """The same in a thread that blocks."""

    def on_receive(self, message: Any) -> Any:
        if callable(message):
            return message(self)
        return message[0].ask(message[1:]) if message else "the end"


class FutureLink(ThreadActor):
    """The same, which asks first and waits later."""

    def on_receive(self, message: Any) -> Any:
        return message[0].ask(message[1:], block=False).get() if message else "the end"


class OffloadLink(Actor):
    """The same in a thread that it waits for."""

    async def on_receive(self, message: Any) -> Any:
        return await self.offload(message[0].ask, message[1:]) if message else "the end"


LINKS: tuple[type[Any], ...] = (Link, PlainLink, ThreadLink, FutureLink, OffloadLink)


def deadlock_in(error: BaseException) -> str:
    assert isinstance(error, ActorDied), error
    assert isinstance(error.reason, Failure)
    said = str(error.reason)  # the failure of whoever closed the ring, perhaps within that of those who called it
    assert "understudy.actors.errors.Deadlock" in said
    return said


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("length", [1, 2, 3, 7])
async def test_a_ring_of_calls_is_reported_with_everybodys_name_in_order(kind: type[Any], length: int) -> None:
    async with ActorSystem() as system:
        ring: list[ActorRef[Any]] = [await system.spawn(kind, name=f"link {n}") for n in range(length)]
        with pytest.raises(ActorDied) as died:
            await ring[0].call([*ring[1:], ring[0]], FOR_EVER)
        said = deadlock_in(died.value)
        if length > 1:  # with `FutureLink` anybody may be the last one to wait, and so the first one to be named
            first = range(length) if kind is FutureLink else [length - 1]
            named = [[*ring[one:], *ring[:one], ring[one]] for one in first]
            assert any(" -> ".join(map(repr, order)) in said for order in named)
        else:
            assert "called itself" in said


async def test_a_ring_of_actors_of_every_kind() -> None:
    async with ActorSystem() as system:
        ring: list[ActorRef[Any]] = [await system.spawn(kind) for kind in LINKS]
        for turned in range(len(ring)):
            order = ring[turned:] + ring[:turned]
            with pytest.raises(ActorDied) as died:
                await order[0].call([*order[1:], order[0]], FOR_EVER)
            deadlock_in(died.value)
            ring = [await system.spawn(kind) for kind in LINKS]


async def test_the_caller_who_closes_the_ring_gets_it_and_may_go_on() -> None:
    async def closes(me: Any) -> Any:
        with pytest.raises(Deadlock) as found:
            await ring[0].call([], FOR_EVER)
        return found.value.ring

    async with ActorSystem() as system:
        ring: list[ActorRef[Any]] = [await system.spawn(Link) for _ in range(2)]

        async def opens(me: Any) -> Any:
            return await ring[1].call(closes, FOR_EVER)

        assert await ring[0].call(opens, FOR_EVER) == tuple(map(repr, [ring[1], *ring]))
        assert await ring[0].call([ring[1]]) == "the end"  # everybody lives, and calls as before


async def test_a_ring_that_many_others_wait_for_is_still_that_ring() -> None:
    async with ActorSystem() as system:
        first, second, *others = [await system.spawn(Link) for _ in range(6)]
        waiting = [asyncio.create_task(other.call([first], FOR_EVER)) for other in others]
        with pytest.raises(ActorDied) as died:
            await first.call([second, first], FOR_EVER)
        assert repr(others[0]) not in deadlock_in(died.value)
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert outcome == "the end" or isinstance(outcome, ActorDied)


async def test_a_chain_of_calls_is_no_ring_however_long() -> None:
    async with ActorSystem() as system:
        chain: list[ActorRef[Any]] = [await system.spawn(Link) for _ in range(200)]
        assert await chain[0].call(chain[1:], FOR_EVER) == "the end"
        assert not system.scheduler.waits._edges


async def test_a_parent_whose_child_calls_it_while_it_starts() -> None:
    class Child(Actor):
        async def on_start(self) -> None:
            assert self._cell.parent is not None
            await self._cell.parent.call([], FOR_EVER)

    class ThreadChild(ThreadActor):
        def on_start(self) -> None:
            assert self._cell.parent is not None
            self._cell.parent.ask([])

    async with ActorSystem() as system:
        for kind in (Child, ThreadChild):
            parent = await system.spawn(Link)

            async def start(me: Any, kind: Any = kind) -> str:
                with pytest.raises(StartFailed, match="Deadlock") as failed:
                    await me.spawn(kind)
                return str(failed.value)

            assert repr(parent) in await parent.call(start)


# --- who goes on otherwise is in no ring ---


async def test_an_answer_that_comes_later_holds_up_nobody() -> None:
    class Desk(Actor):
        """Answers the one who asks it once it has asked that one."""

        def __init__(self) -> None:
            super().__init__()
            self.later = Later()
            self.begun = asyncio.Event()

        def on_receive(self, message: Any) -> Any:
            if message == []:
                self.begun.set()
                return self.later
            return self.ask(message) if isinstance(message, ActorRef) else message(self)

        async def ask(self, ref: ActorRef[Any]) -> Any:
            with pytest.raises(DeadlineExceeded):
                await ref.call([], 0.02)
            self.later.set("sorry to be late")

    for queued in (False, True):
        async with ActorSystem() as system:
            asker, desk = await system.spawn(Link), await system.spawn(Desk)
            if queued:
                desk.tell(lambda me: asyncio.sleep(0.01))
            waiting = asyncio.create_task(asker.call([desk], FOR_EVER))
            await inside(desk).begun.wait()
            await desk.call(asker)
            assert await waiting == "sorry to be late"


async def test_a_reentrant_handler_holds_up_nobody() -> None:
    class Open(Actor):
        @reentrant
        async def on_receive(self, message: Any) -> Any:
            return await message[0].call(message[1:], FOR_EVER) if message else "the end"

    async with ActorSystem() as system:
        link, door = await system.spawn(Link), await system.spawn(Open)
        assert await link.call([door, door, door], FOR_EVER) == "the end"
        assert await door.call([link, door], FOR_EVER) == "the end"


async def test_a_sub_task_holds_up_nobody() -> None:
    async with ActorSystem() as system:
        first, second = await system.spawn(Link), await system.spawn(Link)

        async def in_a_sub_task(me: Any) -> Any:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await asyncio.gather(second.call([first], FOR_EVER))
            return "gave up"

        assert await first.call(in_a_sub_task) == "gave up"
        await second.ended() if not second.is_alive() else None


async def test_background_work_may_ask_its_own_actor() -> None:
    class Curious(Actor):
        def on_receive(self, message: Any) -> Any:
            if message == "go":
                return self.run(self.ask())
            return message

        async def ask(self) -> Any:
            return [await self.actor_ref.call("x"), await asyncio.to_thread(self.actor_ref.ask, "y")]

    class CuriousThread(ThreadActor):
        def on_receive(self, message: Any) -> Any:
            if message == "go":
                return self.run(self.ask())
            return message

        async def ask(self) -> Any:
            return [await self.actor_ref.call("x"), await asyncio.to_thread(self.actor_ref.ask, "y")]

    async with ActorSystem() as system:
        for kind in (Curious, CuriousThread):
            heard: list[Any] = []
            ref = await system.spawn(kind)
            original = inside(ref).on_receive
            inside(ref).on_receive = lambda m, heard=heard, original=original: (heard.append(m), original(m))[1]
            ref.tell("go")
            await eventually(partial(heard.__contains__, ["x", "y"]))


@pytest.mark.parametrize("kind", [Link, PlainLink])
async def test_an_answer_that_has_come_but_was_not_yet_taken_is_no_wait(kind: type[Any]) -> None:
    """The callee answers, and in the same turn calls whoever asked: that one has not run since, and will."""
    async with ActorSystem() as system:
        first, second = await system.spawn(Link), await system.spawn(kind)
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def wait(me: Any) -> None:
            begun.set()
            await go_on.wait()

        second.tell(wait)
        await begun.wait()
        waiting = asyncio.create_task(first.call([second], FOR_EVER))
        await eventually(lambda: second.mailbox)  # type: ignore[attr-defined]
        last = asyncio.create_task(second.call([first], FOR_EVER))
        await asyncio.sleep(0)
        go_on.set()
        assert await waiting == await last == "the end"


@pytest.mark.parametrize("kind", [Link, ThreadLink])
async def test_calls_back_and_forth_one_after_the_other_are_no_ring(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        first, second = await system.spawn(kind), await system.spawn(ThreadLink)
        for _ in range(200):
            one, other = asyncio.create_task(first.call([second])), asyncio.create_task(first.call([]))
            assert await second.call([]) == "the end"
            assert await one == await other == "the end"


async def test_a_call_given_up_closes_no_ring() -> None:
    async with ActorSystem() as system:
        first, second = await system.spawn(Link), await system.spawn(Link)

        async def impatient(me: Any) -> Any:
            with pytest.raises(DeadlineExceeded):
                await second.call(slow, 0.01)
            return await second.call([], FOR_EVER)

        async def slow(me: Any) -> Any:
            await asyncio.sleep(0.03)
            return await echo.call("x")

        echo = await system.spawn(Echo)
        assert await first.call(impatient) == "the end"


async def test_calls_across_systems_are_not_watched() -> None:
    async with ActorSystem("a") as one, ActorSystem("b") as two:
        first, second = await one.spawn(Link), await two.spawn(Link)
        with pytest.raises(DeadlineExceeded):
            await first.call([second, first], 0.05)
        assert first.is_alive()
        assert second.is_alive()


async def test_two_threads_that_close_a_ring_at_once_do_not_both_miss_it() -> None:
    async with ActorSystem() as system:
        for _ in range(100):
            first, second = await system.spawn(ThreadLink), await system.spawn(ThreadLink)
            together = threading.Barrier(2)

            def meet(other: ActorRef[Any], together: threading.Barrier = together) -> Any:
                def ask(me: Any) -> Any:
                    together.wait(10)
                    try:
                        return other.ask([])
                    except Deadlock:
                        return "deadlock"

                return ask

            answers = await asyncio.gather(first.call(meet(second), 20), second.call(meet(first), 20))
            assert "deadlock" in answers


async def test_waiting_for_a_stop_is_waiting() -> None:
    async with ActorSystem() as system:
        thread, link = await system.spawn(ThreadLink), await system.spawn(Does)

        def stop(me: Any) -> Any:
            return link.stop().get()

        async def ask(me: Any) -> Any:
            begun.set()
            await go_on.wait()
            with pytest.raises(Deadlock):
                await thread.call([], FOR_EVER)

        begun, go_on = asyncio.Event(), asyncio.Event()
        link.tell(ask)
        await begun.wait()
        waiting = asyncio.create_task(thread.call(stop))
        await eventually(lambda: system.scheduler.waits._edges)
        go_on.set()
        assert await waiting is True


async def test_waiting_for_ones_own_end_in_ones_own_handler_is_refused() -> None:
    class Patient(Actor):
        async def on_receive(self, message: Any) -> Any:
            return await self.actor_ref.ended()

    async with ActorSystem() as system:
        ref = await system.spawn(Patient)
        with pytest.raises(ActorDied, match=r"Deadlock.*waits in its handler for its own end"):
            await ref.call("wait")
