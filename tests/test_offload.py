"""`await self.offload(f)`: blocking work in a thread of the system's pool, while the actor waits as in any await."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from tests.helpers import eventually
from tests.players import Echo, inside
from understudy.actors import (
    Actor,
    ActorDied,
    ActorSystem,
    DeadlineExceeded,
    Deadlock,
    Failure,
    Killed,
    Shutdown,
    ThreadActor,
    reentrant,
)

tint: ContextVar[str] = ContextVar("tint", default="none")


class Clerk(Actor):
    """`("do", f)` offloads f; a coroutine function is awaited; anything else is the answer."""

    async def on_receive(self, message: Any) -> Any:
        match message:
            case ("do", function, *args):
                return await self.offload(function, *args)
        return await message(self) if callable(message) else message


class Busy:
    """Blocking work that says when it has begun, and ends when it is let go."""

    def __init__(self) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()
        self.runs = 0

    def __call__(self) -> str:
        self.runs += 1
        self.begun.set()
        assert self.let_go.wait(10)
        return "done"

    async def has_begun(self) -> None:
        await asyncio.to_thread(self.begun.wait, 10)


def pool_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if " offload " in thread.name]


async def test_it_runs_in_another_thread_and_the_loop_goes_on() -> None:
    async with ActorSystem() as system:
        clerk, echo, busy = await system.spawn(Clerk), await system.spawn(Echo), Busy()
        waiting = asyncio.create_task(clerk.call(("do", busy)))
        await busy.has_begun()
        assert await echo.call("x") == "x"
        queued = asyncio.create_task(clerk.call("y"))
        await asyncio.sleep(0.01)
        assert not queued.done()  # one message at a time
        busy.let_go.set()
        assert await waiting == "done"
        assert await queued == "y"
        assert await clerk.call(("do", max, 3, 4)) == 4


@pytest.mark.parametrize("error", [ValueError("ouch"), StopIteration(), SystemExit(3)])
async def test_what_it_raises_is_raised_where_it_is_awaited(error: BaseException) -> None:
    def fail() -> None:
        raise error

    seen: list[str] = []

    async def careful(me: Any) -> str:
        try:
            await me.offload(fail)
        except BaseException as raised:  # noqa: BLE001 - whatever it is
            seen.append(type(raised).__name__)
        return "alive"

    async with ActorSystem() as system:
        clerk = await system.spawn(Clerk)
        assert await clerk.call(careful) == "alive"
        assert seen == ["RuntimeError" if isinstance(error, StopIteration) else type(error).__name__]
        with pytest.raises(ActorDied) as died:
            await clerk.call(("do", fail))
        assert isinstance(died.value.reason, Failure)


async def test_it_sees_the_context_variables_and_who_speaks() -> None:
    async def paint(me: Any) -> Any:
        tint.set("red")
        return await me.offload(tint.get)

    async with ActorSystem() as system:
        assert await (await system.spawn(Clerk)).call(paint) == "red"


async def test_the_pool_is_made_on_first_use_bounded_and_gone_with_its_system() -> None:
    async with ActorSystem("bounded", threads=2) as system:
        clerks = [await system.spawn(Clerk) for _ in range(5)]
        assert pool_threads() == []
        work = [Busy() for _ in clerks]
        waiting = [asyncio.create_task(clerk.call(("do", busy))) for clerk, busy in zip(clerks, work)]
        for busy in work[:2]:
            await busy.has_begun()
        assert len(pool_threads()) == 2
        assert [busy.runs for busy in work] == [1, 1, 0, 0, 0]
        for busy in work:
            busy.let_go.set()
        assert await asyncio.gather(*waiting) == ["done"] * 5
        assert len(pool_threads()) == 2
    assert pool_threads() == []


async def test_a_system_that_offloads_nothing_has_no_pool() -> None:
    async with ActorSystem() as system:
        await (await system.spawn(Clerk)).call("x")
        assert system._pool is None


@pytest.mark.parametrize("end", ["exit", "kill"])
async def test_work_that_has_begun_is_abandoned_at_the_actors_end(end: str, caplog: pytest.LogCaptureFixture) -> None:
    async with ActorSystem() as system:
        clerk, busy = await system.spawn(Clerk), Busy()
        waiting = asyncio.create_task(clerk.call(("do", busy)))
        await busy.has_begun()
        clerk.exit() if end == "exit" else clerk.kill()
        with pytest.raises(ActorDied) as died:
            await waiting
        assert died.value.reason == (Shutdown() if end == "exit" else Killed())
        assert await clerk.ended() == died.value.reason
        await asyncio.sleep(0)
        busy.let_go.set()
    assert "no longer waits for what it offloaded" in caplog.text
    assert pool_threads() == []


async def test_work_that_has_not_begun_is_not_begun_after_the_actors_end() -> None:
    async with ActorSystem(threads=1) as system:
        first, second = await system.spawn(Clerk), await system.spawn(Clerk)
        busy, never = Busy(), Busy()
        waiting = asyncio.create_task(first.call(("do", busy)))
        await busy.has_begun()
        second.tell(("do", never))
        await asyncio.sleep(0)
        second.exit()
        await second.ended()
        busy.let_go.set()
        await waiting
        assert await first.call(("do", threading.get_ident)) != threading.get_ident()
        assert not never.runs


async def test_a_shutdown_abandons_what_does_not_end_in_time(caplog: pytest.LogCaptureFixture) -> None:
    system = ActorSystem()
    clerk, busy = await system.spawn(Clerk), Busy()
    clerk.tell(("do", busy))
    await busy.has_begun()
    await system.shutdown(0.01)
    assert "still runs what it was given" in caplog.text
    busy.let_go.set()
    await eventually(lambda: not pool_threads())


async def test_what_it_asks_inherits_the_deadline_of_the_request() -> None:
    async with ActorSystem() as system:
        clerk, stuck = await system.spawn(Clerk), await system.spawn(Clerk)
        late: list[bool] = []

        def ask() -> None:
            try:
                stuck.ask("x")  # without an own timeout
            except DeadlineExceeded as error:
                late.append(error.inherited)
                raise

        busy = Busy()
        stuck.tell(("do", busy))
        await busy.has_begun()
        with pytest.raises(DeadlineExceeded):
            await clerk.call(("do", ask), timeout=0.05)
        assert await clerk.call("still here") == "still here"
        assert late == [True]
        busy.let_go.set()


async def test_work_whose_time_is_up_before_a_thread_is_free_is_not_begun_and_the_actor_lives() -> None:
    async with ActorSystem(threads=1) as system:
        first, second = await system.spawn(Clerk), await system.spawn(Clerk)
        busy, never = Busy(), Busy()
        waiting = asyncio.create_task(first.call(("do", busy)))
        await busy.has_begun()
        with pytest.raises(DeadlineExceeded):
            await second.call(("do", never), timeout=0.02)
        assert await second.call("x") == "x"
        busy.let_go.set()
        await waiting
        assert await first.call(("do", max, 1, 2)) == 2
        assert not never.runs


async def test_work_that_has_begun_is_waited_for_though_its_caller_has_gone() -> None:
    async with ActorSystem() as system:
        clerk, busy = await system.spawn(Clerk), Busy()
        with pytest.raises(DeadlineExceeded):
            await clerk.call(("do", busy), timeout=0.02)
        queued = asyncio.create_task(clerk.call("x"))
        await asyncio.sleep(0.01)
        assert not queued.done()  # two at once were never asked for
        busy.let_go.set()
        assert await queued == "x"


async def test_an_actor_that_is_asked_by_what_it_waits_for_would_wait_for_ever() -> None:
    async with ActorSystem() as system:
        clerk = await system.spawn(Clerk)

        def ask_back() -> Any:
            with pytest.raises(Deadlock) as found:
                clerk.ask("x")
            return found.value.ring

        assert await clerk.call(("do", ask_back)) == (repr(clerk), repr(clerk))


async def test_a_reentrant_handler_may_offload_and_be_asked_meanwhile() -> None:
    class Open(Actor):
        def on_receive(self, message: Any) -> Any:
            return self.slow(message) if callable(message) else message

        @reentrant
        async def slow(self, function: Callable[[], Any]) -> Any:
            return await self.offload(function)

    async with ActorSystem() as system:
        ref = await system.spawn(Open)
        assert await ref.call(lambda: ref.ask("x", timeout=5)) == "x"


async def test_an_abandoned_thread_that_asks_makes_nobody_wait() -> None:
    async with ActorSystem() as system:
        clerk, other = await system.spawn(Clerk), await system.spawn(Clerk)
        busy, blocking = Busy(), Busy()
        answers: list[Any] = []

        def ask() -> None:
            busy()
            answers.append(other.ask("x", timeout=5))

        async def impatient(me: Any) -> str:
            try:
                async with asyncio.timeout(0.01):
                    await me.offload(ask)
            except TimeoutError:
                busy.let_go.set()
                return str(await other.call("y"))
            return "?"

        other.tell(("do", blocking))
        await blocking.has_begun()
        waiting = asyncio.create_task(clerk.call(impatient))
        await asyncio.sleep(0.05)
        blocking.let_go.set()
        assert await waiting == "y"
        assert not system.scheduler.waits._edges
    assert answers == ["x"]


async def test_a_killed_actors_handler_offloads_nothing_more() -> None:
    refused: list[str] = []

    async def stubborn(me: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await me.offload(threading.get_ident)
            except ActorDied as died:
                refused.append(str(died))
            raise

    async with ActorSystem() as system:
        clerk = await system.spawn(Clerk)
        clerk.tell(stubborn)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        clerk.kill()
        await asyncio.sleep(0)
        assert len(refused) == 1


async def test_a_thread_actor_may_block_and_offloads_only_in_the_background() -> None:
    class Threaded(ThreadActor):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[Any] = []

        def on_receive(self, message: Any) -> Any:
            if message == "wrong":
                return self.offload(max, 1, 2)
            if message == "right":
                return self.run(self.offload(threading.get_ident))
            return self.seen.append(message)

    async with ActorSystem() as system:
        ref = await system.spawn(Threaded)
        ref.tell("right")
        seen = inside(ref).seen
        await eventually(lambda: seen)
        with pytest.raises(ActorDied, match="its handlers are plain, and may block"):
            await ref.call("wrong")


async def test_off_the_systems_loop_it_is_refused_with_the_reason() -> None:
    class Elsewhere(Actor):
        async def on_receive(self, message: Any) -> Any:
            def another_loop() -> None:
                asyncio.run(self.offload(max, 1, 2))

            with pytest.raises(RuntimeError, match="awaited on the loop of the system 'local'"):
                await self.offload(another_loop)

    async with ActorSystem() as system:
        await (await system.spawn(Elsewhere)).call("x")


async def test_threads_that_wait_for_their_own_pool_wait_no_longer_than_their_deadline() -> None:
    async with ActorSystem(threads=1) as system:
        asks, asked = await system.spawn(Clerk), await system.spawn(Clerk)
        begun = threading.Event()

        def ask() -> Any:
            begun.set()
            return asked.ask(("do", threading.get_ident))

        with pytest.raises(DeadlineExceeded):
            await asks.call(("do", ask), timeout=0.05)
        assert begun.is_set()
        assert await asks.call(("do", threading.get_ident)) == await asked.call(("do", threading.get_ident))
