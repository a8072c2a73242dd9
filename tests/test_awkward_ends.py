"""Ends that come at an awkward moment are ends like any other."""

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from understudy.actors import (
    Actor,
    ActorDied,
    ActorSystem,
    ExitReason,
    Failure,
    Killed,
    Later,
    NoProc,
    Normal,
    Shutdown,
    StartFailed,
    reentrant,
)

colour: ContextVar[str] = ContextVar("colour", default="none")


class Painter(Actor):
    """Has a context of its own from its start on, and stops itself in the middle of a turn."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen

    async def on_start(self) -> None:
        colour.set("red")

    def on_receive(self, message: Any) -> None:
        self.stop()

    def on_stop(self, reason: Any) -> None:
        self.seen.append(colour.get())


async def test_an_actor_that_stops_itself_in_its_turn_runs_its_hook_in_its_context() -> None:
    seen: list[str] = []
    async with ActorSystem() as system:
        painter = await system.spawn(Painter, seen)
        painter.tell("stop yourself")
        assert await painter.ended() == Normal()
    assert seen == ["red"]


class Keeper(Actor):
    """Keeps something in the background that must be given back."""

    def __init__(self, given_back: asyncio.Event) -> None:
        super().__init__()
        self.given_back = given_back

    def on_start(self) -> None:
        self.run(self.keep(self.given_back))

    @staticmethod
    async def keep(given_back: asyncio.Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            given_back.set()


async def test_a_background_task_cleans_up_even_if_its_actor_is_killed_before_it_began() -> None:
    given_back = asyncio.Event()
    async with ActorSystem() as system:
        keeper = await system.spawn(Keeper, given_back)
        keeper.kill()
        async with asyncio.timeout(30):
            await given_back.wait()


class Sleeper(Actor):
    """Waits for ever in every handler."""

    async def on_receive(self, message: Any) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("end", ["exit", "kill"])
async def test_an_actor_may_end_between_taking_a_message_and_the_first_step_of_its_handler(end: str) -> None:
    """The handler's task exists then and has not begun: nothing of it may be left, and nobody may wait for a grace to pass."""
    async with ActorSystem() as system:
        sleeper = await system.spawn(Sleeper)
        sleeper.tell("sleep")
        while sleeper.task is None:  # type: ignore[attr-defined]
            system.scheduler._tick()
        sleeper.kill() if end == "kill" else sleeper.exit(Shutdown())
        assert isinstance(await sleeper.ended(1.0), Killed | Shutdown | NoProc)
        await asyncio.sleep(0)


class Dresser(Actor):
    """Is busy in a handler, and tidies up at its end."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen

    async def on_receive(self, message: Any) -> None:
        colour.set(message)
        await asyncio.Event().wait()

    async def on_stop(self, reason: Any) -> None:
        await asyncio.sleep(0)
        self.seen.append(colour.get())


async def test_an_actor_that_ends_in_the_middle_of_its_handler_runs_its_hook_in_its_context() -> None:
    seen: list[str] = []
    async with ActorSystem() as system:
        dresser = await system.spawn(Dresser, seen)
        dresser.tell("blue")
        await asyncio.sleep(0.01)
        dresser.exit(Shutdown())
        assert await dresser.ended(1.0) == Shutdown()
    assert seen == ["blue"]


class Opener(Actor):
    """Takes until `ready` to start; says what it opened and closed."""

    def __init__(self, ready: asyncio.Event, diary: list[str]) -> None:
        super().__init__()
        self.ready = ready
        self.diary = diary

    async def on_start(self) -> None:
        await self.ready.wait()
        self.diary.append("opened")
        self.actor_ref.exit(Shutdown("not needed after all"))

    async def on_stop(self, reason: Any) -> None:
        await asyncio.sleep(0)
        self.diary.append(f"closed: {reason}")


async def test_an_actor_that_is_ended_between_its_start_and_the_return_of_spawn_closes_what_it_opened() -> None:
    ready, diary = asyncio.Event(), list[str]()
    async with ActorSystem() as system:
        spawning = asyncio.create_task(system.spawn(Opener, ready, diary))
        await asyncio.sleep(0)
        ready.set()
        with pytest.raises(StartFailed, match="not needed after all"):
            await spawning
        assert diary == ["opened", "closed: shutdown: not needed after all"]


class Exits(Actor):
    """Raises what Python ends a generator with, where it is told to."""

    async def on_start(self) -> None:
        if self.name == "start":
            await self.exit()

    def on_receive(self, where: str) -> Any:
        if where == "background":
            self.run(self.exit())
            return Later()
        return self.exits()

    @reentrant
    async def exits(self) -> None:
        await self.exit()

    async def exit(self) -> None:
        await asyncio.sleep(0)
        raise GeneratorExit("of its own")


@pytest.mark.parametrize("where", ["background", "reentrant"])
async def test_a_generator_exit_of_its_own_ends_an_actor_like_any_failure(where: str) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Exits)
        with pytest.raises(ActorDied, match="GeneratorExit: of its own"):
            await ref.call(where)
        assert isinstance(await ref.ended(), Failure)


async def test_a_generator_exit_of_its_own_is_a_failed_start() -> None:
    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match="GeneratorExit: of its own"):
            await system.spawn(Exits, name="start")


class Unspeakable(Exception):
    """Cannot be told, and does its worst."""

    def __str__(self) -> str:
        raise SystemExit(3)


class Silent(Actor):
    def on_receive(self, message: Any) -> None:
        raise Unspeakable


async def test_an_exception_that_cannot_be_told_ends_its_actor_and_nothing_else() -> None:
    async with ActorSystem() as system:
        told, called = await system.spawn(Silent), await system.spawn(Silent)
        told.tell("x")
        with pytest.raises(ActorDied, match="its text could not be made"):
            await called.call("x")
        reason = await told.ended()
        assert isinstance(reason, Failure)
        assert reason.type.endswith("Unspeakable")


async def test_a_last_hook_that_took_too_long_says_whose_time_was_up() -> None:
    class Slow(Actor):
        stop_timeout = 0.01

        async def on_stop(self, reason: ExitReason) -> None:
            await asyncio.Event().wait()

    async with ActorSystem() as system:
        slow = await system.spawn(Slow)
        slow.stop()
        reason = await slow.ended()
        assert isinstance(reason, Failure)
        assert reason.message == "its last hook took longer than its stop_timeout of 0.01 s"
