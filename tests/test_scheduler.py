"""The scheduler: a flooded actor starves nobody, the loop gets its turns, and nothing is left of actors that are gone."""

import asyncio
import contextlib
import gc
import itertools
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import pytest

from tests.helpers import eventually
from tests.players import Does, Echo, Recorder, inside
from tests.virtual import VirtualLoop, virtually
from understudy.actors import Actor, ActorDied, ActorRef, ActorSystem, Cell, Refused
from understudy.actors.on_the_spot import SLICE
from understudy.actors.scheduler import FIRST_STRIDE, STRIDE, TURN

SLOW = 0.001
"""Seconds that a flooded actor works for each message, in virtual time."""

MESSAGES_A_SLICE = round(SLICE / SLOW)


class Flooded(Actor):
    """Works for a millisecond per message, where the clock is virtual."""

    def __init__(self) -> None:
        super().__init__()
        self.done = 0

    def on_receive(self, message: Any) -> Any:
        loop = self.system.loop
        if isinstance(loop, VirtualLoop):
            loop.stand_still(SLOW)
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


@pytest.mark.parametrize("kind", [Flooded, AsyncFlooded])
async def test_a_flooded_actor_starves_no_other(kind: type[Flooded]) -> None:
    """Another one's message waits for one turn of it at most, however much is in its mailbox."""
    handled_before: list[int] = []
    async with ActorSystem() as system:
        flooded, does = await system.spawn(kind), await system.spawn(Does)
        for n in range(2000):
            flooded.tell(n)
        does.tell(lambda me: handled_before.append(inside(flooded).done))
        await eventually(lambda: handled_before)
        assert 0 < handled_before[0] <= TURN + 1
        flooded.kill()


async def passes(flooded: ActorRef[Any], count: int) -> list[int]:
    """How many messages it handles between two turns of the loop, so many times."""
    handled = [inside(flooded).done]
    for _ in range(count):
        await asyncio.sleep(0)
        handled.append(inside(flooded).done)
    return [after - before for before, after in itertools.pairwise(handled)]


@pytest.mark.parametrize("kind", [Flooded, AsyncFlooded])
def test_a_flood_of_slow_handlers_leaves_the_loop_its_turns(kind: type[Flooded]) -> None:
    """A slice of the time, and the loop has its turn; or a first, short stride, until it is known how slow they are."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with ActorSystem() as system:
            flooded = await system.spawn(kind)
            for n in range(5000):
                flooded.tell(n)
            first, *others = await passes(flooded, 20)
            assert first <= FIRST_STRIDE + MESSAGES_A_SLICE
            assert all(MESSAGES_A_SLICE <= count <= MESSAGES_A_SLICE + 1 for count in others), others
            for _ in range(10):
                due = loop.time() + 0.01
                await asyncio.sleep(0.01)
                # It may be due just after a slice has begun; and then another one is before it in the loop's own queue.
                assert loop.time() - due <= 2 * (SLICE + SLOW) + 1e-9 < 0.01
            flooded.kill()

    virtually(main())


@pytest.mark.parametrize("kind", [Flooded, AsyncFlooded])
def test_a_flood_of_fast_handlers_leaves_the_loop_its_turns_after_a_few_strides(kind: type[Flooded]) -> None:
    """The clock is looked at once a stride, and no handler is so fast that thousands go by unseen."""

    class Fast(kind):  # type: ignore[misc, valid-type]
        def on_receive(self, message: Any) -> Any:
            cast("VirtualLoop", self.system.loop).stand_still(SLOW / 100)
            self.done += 1

    async def main() -> None:
        async with ActorSystem() as system:
            flooded = await system.spawn(Fast)
            for n in range(20_000):
                flooded.tell(n)
            slices = await passes(flooded, 20)
            assert all(count <= 100 * MESSAGES_A_SLICE + STRIDE for count in slices), slices
            flooded.kill()

    virtually(main())


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


@pytest.mark.parametrize("with_a_context", [False, True])
async def test_whoever_is_woken_twice_finds_nothing_to_do_and_is_woken_again(with_a_context: bool) -> None:
    """As by two threads that have both seen it idle, and the second is late."""
    async with ActorSystem() as system:
        recorder = await system.spawn(Recorder)
        cell: Any = recorder
        recorder.tell(1)
        await inside(recorder).first(1)
        if with_a_context:
            system.scheduler.context_of(cell)
        cell.idle = False
        system.scheduler.ready.append(cell)
        system.scheduler.wake()
        await eventually(lambda: not system.scheduler.ready)
        recorder.tell(2)
        assert await inside(recorder).first(2) == [1, 2]
        assert system.info(recorder).handled == 2


async def test_who_was_told_before_a_callee_that_is_handled_at_once_has_its_turn_all_the_same() -> None:
    async with ActorSystem() as system:
        echo, recorder = await system.spawn(Echo), await system.spawn(Recorder)
        for number in range(3):
            echo.tell("first, so that it is busy")
            recorder.tell(number)
            assert await echo.call("now") == "now"
        async with asyncio.timeout(30):
            assert await inside(recorder).first(3) == [0, 1, 2]


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


# --- no wake-up is lost ---


class Interrupted(deque[Any]):
    """A queue that another thread gets something into right after a look that found it empty: each of them, or each n-th."""

    def __init__(self, every: int, sneak_in: Callable[[], None]) -> None:
        super().__init__()
        self.looks = 0
        self.every, self.sneak_in = every, sneak_in

    def __len__(self) -> int:
        found = super().__len__()
        if not found:
            self.looks += 1
            if self.looks % self.every == 0:
                self.sneak_in()
        return found


class AsyncRecorder(Recorder):
    async def on_receive(self, message: Any) -> Any:
        return Recorder.on_receive(self, message)


class Refusing(Recorder):
    def on_receive(self, message: Any) -> Any:
        super().on_receive(message)
        if message != "late":
            raise Refused


class Pausing(Recorder):
    async def on_receive(self, message: Any) -> Any:
        await asyncio.sleep(0)
        return Recorder.on_receive(self, message)


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("how", ["told", "told often", "called", "told, then called"])
@pytest.mark.parametrize("kind", [Recorder, Refusing, AsyncRecorder, Pausing])
async def test_a_message_that_comes_right_after_the_scheduler_has_looked_is_handled(
    kind: type[Recorder], how: str, every: int
) -> None:
    """It came too late for that look, and before the actor was marked idle: so there is another look after that."""
    allowed = late = 0

    def sneak_in() -> None:
        nonlocal late
        if late < allowed:
            late += 1
            recorder.tell("late")

    async with ActorSystem() as system:
        recorder = await system.spawn(kind)
        mailbox = Interrupted(every, sneak_in)
        assert isinstance(recorder, Cell)
        recorder.mailbox, recorder.append = mailbox, mailbox.append
        for _ in range(20):
            allowed += 3
            for _ in range({"told": 1, "told often": 3, "told, then called": 2}.get(how, 0)):
                recorder.tell("in time")
            if "called" in how:
                with contextlib.suppress(Refused):
                    await recorder.call("in time")
            for _ in range(60):
                await asyncio.sleep(0)
            assert inside(recorder).seen.count("late") == late
        assert late > 0
        recorder.kill()


@pytest.mark.parametrize("every", [1, 2, 3])
async def test_an_actor_that_gets_ready_right_after_the_scheduler_has_looked_has_its_turn(every: int) -> None:
    allowed = late = 0

    def sneak_in() -> None:
        nonlocal late
        if late < allowed:
            late += 1
            recorder.tell("late")

    async with ActorSystem() as system:
        recorder, other = await system.spawn(Recorder), await system.spawn(Recorder)
        system.scheduler.ready = Interrupted(every, sneak_in)
        for _ in range(20):
            allowed += 3
            other.tell("in time")
            for _ in range(60):
                await asyncio.sleep(0)
            assert inside(recorder).seen == ["late"] * late
        assert late > 0
        system.scheduler.ready = deque()


async def test_whom_a_message_from_outside_wakes_has_its_turn_before_the_loop_goes_on() -> None:
    async with ActorSystem() as system:
        recorder = await system.spawn(Recorder)
        system.scheduler.spot.bring_in(recorder.tell, "from outside")
        assert inside(recorder).seen == ["from outside"]


async def test_messages_from_outside_give_nobody_more_than_a_slice() -> None:
    """Two keep a message in the air for ever: whoever brought it in goes on, and so does the loop."""
    async with ActorSystem() as system:
        one, other = await system.spawn(Juggler), await system.spawn(Juggler)
        inside(one).partner, inside(other).partner = other, one
        system.scheduler.spot.bring_in(one.tell, "ball")
        assert not system.scheduler.asleep, "the ball is still in the air"
        await asyncio.sleep(0)
        one.kill()


async def test_a_delivery_from_outside_that_fails_leaves_the_scheduler_to_others() -> None:
    async with ActorSystem() as system:
        recorder = await system.spawn(Recorder)
        with pytest.raises(ZeroDivisionError):
            system.scheduler.spot.bring_in(lambda: recorder.tell(1 // 0))
        recorder.tell("still heard")
        assert await inside(recorder).first(1) == ["still heard"]
