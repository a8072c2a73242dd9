"""A start from a plain handler: the child is there at once if nothing takes time, and nothing is left if it does not start."""

import asyncio
from collections.abc import Callable
from typing import Any

from understudy.actors import Actor, ActorRef, ActorSystem, Cell, ExitReason, Failure, StartFailed
from understudy.supervisors import Child, Supervisor


class Infant(Actor):
    """Its `on_start` does what it is given; it notes how it started and ended."""

    def __init__(self, diary: list[str], birth: Callable[["Infant"], Any]) -> None:
        super().__init__()
        self.diary = diary
        self.birth = birth

    def on_start(self) -> Any:
        self.diary.append("on_start")
        return self.birth(self)

    def on_receive(self, message: Any) -> Any:
        return message

    def on_stop(self, reason: ExitReason) -> None:
        self.diary.append("on_stop")


class LateInfant(Infant):
    async def on_start(self) -> None:
        self.diary.append("on_start")
        await asyncio.sleep(0)


class Slow:
    """Closes what is not awaited, as `start_child` asks for."""

    def __init__(self, starting: Any) -> None:
        self.starting = starting

    def __await__(self) -> Any:
        return self.starting.__await__()

    def __del__(self) -> None:
        self.starting.close()


class Parent(Actor):
    """Starts a child in a plain handler, and notes what it got before it returned."""

    def __init__(self, diary: list[str], kind: type[Infant], birth: Callable[[Infant], Any]) -> None:
        super().__init__()
        self.diary = diary
        self.arguments = (diary, birth)
        self.kind = kind
        self.failure: StartFailed | None = None

    async def on_start(self) -> None:
        """Asynchronous, so it has a context of its own, as a supervisor has."""

    def on_receive(self, message: Any) -> Any:
        try:
            started: Any = self.system.start_child(self._cell, self.kind, self.arguments, {}, "infant")
        except StartFailed as failed:
            self.failure = failed
            return None
        if isinstance(started, Cell):
            self.diary.append("at once")
            return started
        return self.wait(Slow(started))

    async def wait(self, starting: Any) -> Any:
        self.diary.append("waits")
        try:
            return await starting
        except StartFailed as failed:
            self.failure = failed


def nothing(_: Infant) -> None:
    pass


def ends_itself(infant: Infant) -> None:
    infant.actor_ref.kill()


def ends_its_parent(infant: Infant) -> None:
    parent = infant._cell.parent
    assert parent is not None
    parent.kill()


def breaks(_: Infant) -> None:
    raise ValueError("stillborn")


async def parent_of(kind: type[Infant], birth: Callable[[Infant], Any]) -> tuple[ActorSystem, Cell[Any], Any]:
    system = ActorSystem()
    parent = await system.spawn(Parent, [], kind, birth)
    assert isinstance(parent, Cell)
    return system, parent, parent.actor


async def test_a_child_with_a_plain_start_is_there_before_the_handler_returns() -> None:
    system, parent, actor = await parent_of(Infant, nothing)
    infant = await parent.call("start")
    assert actor.diary == ["on_start", "at once"]
    assert await infant.call("there?") == "there?"
    parent.kill()
    await infant.ended()
    await infant.ended()  # it was linked
    await system.shutdown()


class SharingParent(Parent):
    on_start = Actor.on_start


async def test_a_parent_without_a_context_of_its_own_starts_a_child_after_its_handler() -> None:
    diary: list[str] = []
    async with ActorSystem() as system:
        parent = await system.spawn(SharingParent, diary, Infant, nothing)
        infant = await parent.call("start")
        assert diary == ["waits", "on_start"]
        assert await infant.call("there?") == "there?"


async def test_an_asynchronous_start_is_awaited_after_the_handler() -> None:
    system, parent, actor = await parent_of(LateInfant, nothing)
    infant = await parent.call("start")
    assert actor.diary == ["waits", "on_start"]
    assert await infant.call("there?") == "there?"
    await system.shutdown()


async def test_a_plain_start_that_returns_a_coroutine_after_all_is_awaited() -> None:
    system, parent, actor = await parent_of(Infant, lambda _: asyncio.sleep(0))
    infant = await parent.call("start")
    assert actor.diary == ["on_start", "waits"]
    assert await infant.call("there?") == "there?"
    await system.shutdown()


async def test_a_start_that_raises_in_a_plain_handler_leaves_nothing_and_runs_no_hook() -> None:
    system, parent, actor = await parent_of(Infant, breaks)
    await parent.call("start")
    assert isinstance(actor.failure.reason, Failure)
    assert actor.diary == ["on_start"]
    assert system.whereis("infant") is None
    assert not parent.tied().children
    actor.arguments = (actor.diary, nothing)
    assert await parent.call("start") is system.whereis("infant")
    await system.shutdown()


async def test_a_child_that_a_signal_ends_during_its_plain_start_has_not_started() -> None:
    system, parent, actor = await parent_of(Infant, ends_itself)
    await parent.call("start")
    assert actor.diary == ["on_start", "waits"]
    assert isinstance(actor.failure, StartFailed)
    assert system.whereis("infant") is None
    assert not parent.tied().children
    await system.shutdown()


async def test_a_parent_that_ends_during_its_childs_plain_start_leaves_no_child() -> None:
    system, parent, actor = await parent_of(Infant, ends_its_parent)
    parent.tell("start")
    await parent.ended()
    await system.shutdown()
    assert actor.diary == ["on_start", "on_stop"]


async def test_a_start_that_takes_time_has_not_begun_when_its_parent_ends_first() -> None:
    system, parent, actor = await parent_of(LateInfant, nothing)
    starting: Any = system.start_child(parent, LateInfant, actor.arguments, {}, "infant")
    starting.close()
    assert actor.diary == []
    assert system.whereis("infant") is None
    await system.shutdown()


async def test_a_child_is_replaced_in_the_same_pass_of_the_loop_in_which_it_crashes() -> None:
    class Fragile(Actor):
        def on_receive(self, message: Any) -> Any:
            raise ValueError(message)

    async with ActorSystem() as system:
        await system.spawn(Supervisor, [Child(Fragile, name="fragile")])
        former: ActorRef[Any] | None = system.whereis("fragile")
        assert former is not None
        seen: list[bool] = []
        former.tell("crash")
        system.loop.call_soon(lambda: seen.append(system.whereis("fragile") not in (None, former)))
        reason = await former.ended()
        assert seen == [True]
        assert isinstance(reason, Failure)
        assert [frame[2].rpartition(".")[2] for frame in reason.trace] == ["on_receive"]  # and no frame of the kernel's
