"""The scheduler: a flooded actor starves nobody, the loop gets its turns, and nothing is left of actors that are gone."""

import asyncio
import gc
import threading
from typing import Any

import pytest

from tests.players import Does, Echo, Recorder, inside
from understudy.actors import Actor, ActorDied, ActorRef, ActorSystem, Cell

SLOW = 0.001


def spin(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    end = loop.time() + seconds
    while loop.time() < end:
        pass


class Flooded(Actor):
    """Works for a millisecond per message."""

    def __init__(self) -> None:
        super().__init__()
        self.done = 0

    def on_receive(self, message: Any) -> Any:
        spin(self.system.loop, SLOW)
        self.done += 1


class AsyncFlooded(Flooded):
    async def on_receive(self, message: Any) -> Any:
        Flooded.on_receive(self, message)


class Juggler(Actor):
    """Keeps one message in the air with a partner for ever, in a context of its own."""

    partner: ActorRef[Any]

    async def on_start(self) -> None:
        """An asynchronous start gives it a context."""

    def on_receive(self, message: Any) -> None:
        self.partner.tell(message)


async def test_a_flooded_actor_starves_no_other() -> None:
    async with ActorSystem() as system:
        flooded, recorder = await system.spawn(Flooded), await system.spawn(Recorder)
        for n in range(2000):
            flooded.tell(n)
        recorder.tell("me too")
        await inside(recorder).first(1)
        assert inside(flooded).done <= 128
        flooded.kill()


@pytest.mark.parametrize("kind", [Flooded, AsyncFlooded])
async def test_a_flood_of_slow_handlers_leaves_the_loop_its_turns(kind: type[Flooded]) -> None:
    async with ActorSystem() as system:
        flooded = await system.spawn(kind)
        for n in range(5000):
            flooded.tell(n)
        loop = asyncio.get_running_loop()
        late = []
        for _ in range(10):
            due = loop.time() + 0.01
            await asyncio.sleep(0.01)
            late.append(loop.time() - due)
        assert flooded.is_alive()
        assert inside(flooded).done < 5000
        assert sorted(late)[5] < 0.1, late
        flooded.kill()


async def test_actors_with_contexts_of_their_own_that_never_rest_leave_the_loop_its_turns() -> None:
    async with ActorSystem() as system:
        one, other = await system.spawn(Juggler), await system.spawn(Juggler)
        inside(one).partner, inside(other).partner = other, one
        one.tell("ball")
        for _ in range(3):
            await asyncio.sleep(0.001)
        one.kill()


async def test_actors_that_talk_for_ever_leave_the_loop_its_turns() -> None:
    class Restless(Actor):
        def on_receive(self, message: Any) -> None:
            self.actor_ref.tell(message)

    async with ActorSystem() as system:
        restless = await system.spawn(Restless)
        restless.tell("on")
        for _ in range(3):
            await asyncio.sleep(0.001)
        restless.kill()


async def test_a_caller_in_a_tight_loop_leaves_the_loop_its_turns() -> None:
    async with ActorSystem() as system:
        echo = await system.spawn(Echo)
        asyncio.get_running_loop().call_later(0.01, echo.kill)

        async def call_for_ever() -> None:
            while True:
                await echo.call("again")

        with pytest.raises(ActorDied):
            await call_for_ever()


async def test_messages_from_many_threads_all_arrive_each_threads_in_order() -> None:
    async with ActorSystem() as system:
        recorder = await system.spawn(Recorder)

        def send(which: int) -> None:
            for n in range(2000):
                recorder.tell((which, n))

        await asyncio.gather(*(asyncio.to_thread(send, which) for which in range(4)))
        seen = await inside(recorder).first(8000)
        assert [[n for which, n in seen if which == one] for one in range(4)] == [list(range(2000))] * 4


async def test_one_message_from_another_thread_wakes_a_sleeping_system() -> None:
    async with ActorSystem() as system:
        recorder = await system.spawn(Recorder)
        for n in range(200):
            await asyncio.to_thread(recorder.tell, n)
            await inside(recorder).first(n + 1)


async def test_signals_from_another_thread_come_between_messages_not_inside_them() -> None:
    async with ActorSystem() as system:
        seen: list[bool] = []
        victim, does = await system.spawn(Does), await system.spawn(Does)

        def wait_for_the_killer(me: Actor) -> None:
            thread = threading.Thread(target=victim.kill)
            thread.start()
            thread.join()
            seen.append(victim.is_alive())

        await does.call(lambda me: None)
        does.tell(wait_for_the_killer)
        await victim.ended()
        assert seen == [True]


async def test_nothing_is_left_after_a_hundred_thousand_actors_came_and_went() -> None:
    def count() -> int:
        gc.collect()
        return sum(isinstance(one, Cell | Actor) for one in gc.get_objects())

    async with ActorSystem() as system:
        keeper = await system.spawn(Recorder)
        before = count()
        for _ in range(100):
            batch = [await system.spawn(Echo) for _ in range(1000)]
            for ref in batch:
                ref.tell("x")
                ref.stop()
            await batch[-1].ended()
        del batch, ref
        assert list(system._top) == [keeper]
        assert not system._names
        assert not system.scheduler.ready
        assert not system.scheduler.intake
        assert count() <= before


async def test_an_error_of_the_scheduler_itself_does_not_end_it() -> None:
    """As when a signal handler of the application raises while it runs."""
    async with ActorSystem() as system:
        echo = await system.spawn(Echo)
        loop = asyncio.get_running_loop()
        reported = asyncio.Event()
        loop.set_exception_handler(lambda *_: reported.set())
        real, system.scheduler.drain = system.scheduler.drain, _raise  # type: ignore[method-assign]
        assert isinstance(echo, Cell)
        await asyncio.to_thread(echo.on_loop, int)
        await reported.wait()
        system.scheduler.drain = real  # type: ignore[method-assign]
        assert await asyncio.to_thread(echo.ask, "alive", timeout=5) == "alive"


def _raise() -> None:
    raise ValueError("from outside")


class Restless(Actor):
    """Sends itself the next message until it has had enough."""

    def __init__(self) -> None:
        super().__init__()
        self.enough = False

    def on_receive(self, message: Any) -> None:
        if message == "enough":
            self.enough = True
        elif not self.enough:
            self.actor_ref.tell(message)


async def test_threads_that_send_while_the_loop_is_never_idle_do_not_stop_it() -> None:
    async with ActorSystem() as system:
        restless = [await system.spawn(Restless) for _ in range(100)]
        echoes = [await system.spawn(Echo) for _ in range(100)]
        for one in restless:
            one.tell("on")

        def ask(which: int) -> int:
            return sum(echoes[(which + number) % 100].ask(1, timeout=30.0) for number in range(200))

        answers = await asyncio.gather(*(asyncio.to_thread(ask, which * 20) for which in range(4)))
        for one in restless:
            one.tell("enough")
    assert answers == [200] * 4
