"""Asynchronous handlers: in a real task from the first line on, which only one that waits keeps for itself."""

import asyncio
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from tests.players import Does, Echo, inside
from tests.virtual import virtually
from understudy.actors import Actor, ActorDied, ActorRef, ActorSystem, Killed, Shutdown
from understudy.actors.standby import LINGER

colour: ContextVar[str] = ContextVar("colour", default="none")


class Runs(Actor):
    """Awaits the function it is sent, with itself as the argument."""

    async def on_receive(self, message: Any) -> Any:
        return await message(self)


async def the_task(me: Actor) -> Any:
    return asyncio.current_task()


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_a_handler_has_one_task_from_its_first_line_to_its_last_and_it_is_not_its_callers() -> None:
    async def look(me: Actor) -> Any:
        first = asyncio.current_task()
        await asyncio.sleep(0)
        return first, asyncio.current_task()

    async with ActorSystem() as system:
        runs = await system.spawn(Runs)
        first, last = await runs.call(look)
        assert first is last
        assert isinstance(first, asyncio.Task)
        assert first is not asyncio.current_task()


async def test_a_timeout_that_begins_in_the_first_line_ends_what_the_handler_waits_for_and_nothing_else() -> None:
    async def impatient(me: Actor) -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "in time"
        return "never"

    async with ActorSystem() as system:
        runs = await system.spawn(Runs)
        for _ in range(3):
            assert await runs.call(impatient) == "in time"


async def test_handlers_that_do_not_wait_leave_no_task_with_their_actors() -> None:
    async def quick(me: Actor) -> int:
        return 1

    async with ActorSystem() as system:
        refs = [await system.spawn(Runs) for _ in range(100)]
        for ref in refs:
            assert await ref.call(quick) == 1
            ref.tell(quick)
        assert await refs[-1].call(quick) == 1
        assert all(inside(ref)._cell.task is None for ref in refs)
        assert len(others()) <= 1


@pytest.mark.parametrize("hold", [lambda task: lambda: task, weakref.ref], ids=["strongly", "weakly"])
async def test_a_task_that_somebody_has_kept_serves_nobody_else(hold: Callable[[Any], Callable[[], Any]]) -> None:
    kept: list[Callable[[], Any]] = []

    async def keep(me: Actor) -> None:
        kept.append(hold(asyncio.current_task()))

    async def wait_a_little(me: Actor) -> str:
        for _ in range(3):
            await asyncio.sleep(0)
        return "undisturbed"

    async with ActorSystem() as system:
        one, other = await system.spawn(Runs), await system.spawn(Runs)
        await one.call(keep)
        answer = asyncio.ensure_future(other.call(wait_a_little))
        await asyncio.sleep(0)
        task = kept[0]()
        if task is not None:
            task.cancel()
        assert await answer == "undisturbed"


async def test_a_handler_that_cancels_itself_fails_alone() -> None:
    async def give_up(me: Actor) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def only_say_so(me: Actor) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return "not waiting, so not cancelled"

    async with ActorSystem() as system:
        for _ in range(3):
            runs, victim = await system.spawn(Runs), await system.spawn(Runs)
            assert await runs.call(only_say_so) == "not waiting, so not cancelled"
            with pytest.raises(ActorDied):
                await victim.call(give_up)
            assert await runs.call(the_task) is not None
        current = asyncio.current_task()
        assert current is not None
        assert not current.cancelling()


async def test_handlers_begin_inside_one_another_to_any_depth() -> None:
    class Passes(Actor):
        def __init__(self, behind: ActorRef[Any] | None) -> None:
            super().__init__()
            self.behind = behind

        async def on_receive(self, message: int) -> int:
            return message if self.behind is None else await self.behind.call(message + 1)

    async with ActorSystem() as system:
        last: ActorRef[Any] | None = None
        for _ in range(300):
            last = await system.spawn(Passes, last)
        assert last is not None
        assert [await last.call(0) for _ in range(3)] == [299] * 3


async def test_what_a_handler_sets_before_and_after_waiting_is_its_actors_own() -> None:
    async def paint(me: Actor) -> tuple[str, str]:
        before = colour.get()
        colour.set("red")
        await asyncio.sleep(0)
        assert colour.get() == "red"
        colour.set("green")
        return before, colour.get()

    async def look(me: Actor) -> str:
        return colour.get()

    async with ActorSystem() as system:
        one, other = await system.spawn(Runs), await system.spawn(Runs)
        colour.set("mine")
        assert await one.call(paint) == ("none", "green")
        assert await one.call(look) == "green"
        assert await other.call(look) == "none"
        assert colour.get() == "mine"


@pytest.mark.parametrize("end", ["exit", "kill"])
async def test_an_end_that_comes_in_the_first_step_cancels_the_handler_where_it_waits(end: str) -> None:
    seen: list[str] = []
    over = asyncio.Event()

    async def ends_itself(me: Actor) -> None:
        if end == "exit":
            me.actor_ref.exit(Shutdown("enough"))
        else:
            me.actor_ref.kill()
        seen.append("goes on to its await")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            over.set()
            raise

    async with ActorSystem() as system:
        runs = await system.spawn(Runs)
        with pytest.raises(ActorDied):
            await runs.call(ends_itself)
        assert await runs.ended() == (Shutdown("enough") if end == "exit" else Killed())
        await over.wait()
        assert seen == ["goes on to its await", "cancelled"]


async def test_what_a_first_step_spawns_and_ends_is_done_when_the_call_returns() -> None:
    """Its signals run at once, as those of any task: a name is free again in the next line."""

    async def come_and_go(me: Actor) -> str:
        for _ in range(3):
            child = await me.spawn(Echo, name="the child")
            me.unlink(child)
            child.kill()
            assert not child.is_alive()
        return "done"

    async with ActorSystem() as system:
        runs = await system.spawn(Runs)
        assert await runs.call(come_and_go) == "done"


async def test_a_request_whose_callee_has_messages_waiting_comes_after_them() -> None:
    async with ActorSystem() as system:
        does = await system.spawn(Does)
        seen: list[int] = []
        await does.call(lambda me: None)
        for count in (1, 5, 200):
            seen.clear()
            for n in range(count):
                does.tell(lambda me, n=n: seen.append(n))
            assert await does.call(lambda me: tuple(seen)) == tuple(range(count))


def test_a_task_that_stands_by_unused_goes() -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            runs = await system.spawn(Runs)
            await runs.call(the_task)
            await runs.call(the_task)
            await asyncio.sleep(3 * LINGER)
            assert not others()
            assert await runs.call(the_task) is not None

    virtually(main())
