"""A reentrant handler lets its actor take other messages while it awaits, and is otherwise a handler like any other."""

import asyncio
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from tests.helpers import eventually
from tests.players import Does, Echo, Hanging, inside
from tests.virtual import virtually
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    DeadlineExceeded,
    ExitReason,
    Failure,
    Killed,
    Later,
    Normal,
    Refused,
    Shutdown,
    Stop,
    ThreadActor,
    reentrant,
)

tint: ContextVar[str] = ContextVar("tint", default="none")


class Library(Actor):
    """`("slow", f)` is handled beside others, by `await f(self)`; a function is run; anything else is the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.diary: list[str] = []

    def on_receive(self, message: Any) -> Any:
        match message:
            case ("slow", function):
                return self.slow(function)
            case ("inside", function):
                return self.inside(function)
        return message(self) if callable(message) else message

    @reentrant
    async def slow(self, function: Callable[[Any], Any]) -> Any:
        return await function(self)

    async def inside(self, function: Callable[[Any], Any]) -> Any:
        """An asynchronous handler that awaits a reentrant one itself."""
        return await self.slow(function)

    def on_stop(self, reason: ExitReason) -> None:
        self.diary.append(f"stopped: {reason}")

    def on_failure(self, *error: Any) -> None:
        self.diary.append(f"failed: {error[1]}")


class AllReentrant(Actor):
    """Its one handler is reentrant."""

    @reentrant
    async def on_receive(self, message: Any) -> Any:
        return await message(self) if callable(message) else message


class AsyncLibrary(Library):
    """The same behind an asynchronous `on_receive`."""

    async def on_receive(self, message: Any) -> Any:
        match message:
            case ("slow", function):
                return self.slow(function)
        return message


class Held:
    """Work that begins, and ends when it is let go."""

    def __init__(self, answer: Any = "done") -> None:
        self.begun, self.let_go = asyncio.Event(), asyncio.Event()
        self.answer = answer
        self.cancelled = False

    async def __call__(self, _: Any) -> Any:
        self.begun.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("kind", [Library, AsyncLibrary])
async def test_its_actor_takes_other_messages_while_it_awaits(kind: type[Actor]) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(kind)
        held = [Held(n) for n in range(3)]
        waiting = [asyncio.create_task(ref.call(("slow", one))) for one in held]
        for one in held:
            await one.begun.wait()
        assert await ref.call("x") == "x"
        for one in reversed(held):
            one.let_go.set()
        assert await asyncio.gather(*waiting) == [0, 1, 2]


async def test_an_on_receive_may_be_reentrant_itself() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(AllReentrant)
        held = Held()
        waiting = asyncio.create_task(ref.call(held))
        await held.begun.wait()
        assert await ref.call("x") == "x"
        held.let_go.set()
        assert await waiting == "done"


async def test_one_that_another_handler_awaits_is_part_of_that_handler() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Library)
        held = Held()
        waiting = asyncio.create_task(ref.call(("inside", held)))
        await held.begun.wait()
        with pytest.raises(DeadlineExceeded):
            await ref.call("x", timeout=0.01)
        held.let_go.set()
        assert await waiting == "done"


def test_each_has_the_deadline_of_its_own_request() -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            ref, hanging = await system.spawn(Library), await system.spawn(Hanging)
            ended: list[tuple[int, bool]] = []

            def ask(seconds: int) -> Any:
                async def asking(_: Any) -> None:
                    try:
                        await hanging.call("x", timeout=100)
                    except DeadlineExceeded as late:
                        ended.append((round(system.loop.time()), late.inherited))
                        raise

                return asking

            calls = [ref.call(("slow", ask(seconds)), timeout=seconds) for seconds in (3, 1, 2)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(outcome, DeadlineExceeded) for outcome in outcomes)
            await asyncio.sleep(0.1)
            assert ended == [(1, True), (2, True), (3, True)]
            assert ref.is_alive()
            ref.tell(("slow", ask(0)))  # a tell has no deadline: this one waits its own 100 seconds
            await ref.ended(200)
            assert ended[-1] == (103, False)

    virtually(main())


async def test_a_refusal_ends_its_request_and_the_actor_lives() -> None:
    async def refuse(_: Any) -> None:
        raise Refused("not today")

    async with ActorSystem() as system:
        ref = await system.spawn(Library)
        with pytest.raises(Refused, match="not today"):
            await ref.call(("slow", refuse))
        ref.tell(("slow", refuse))
        await eventually(lambda: system.dead_letters.count)
        assert system.dead_letters.by_reason == {"refused": 1}
        assert ref.is_alive()


async def test_a_failure_ends_the_actor_and_cancels_the_others() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Library)
        library: Library = inside(ref)
        fails, hangs = Held(ValueError("ouch")), Held()
        waiting = [asyncio.create_task(ref.call(("slow", one))) for one in (fails, hangs)]
        await hangs.begun.wait()
        fails.let_go.set()
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, ActorDied)
            assert isinstance(outcome.reason, Failure)
        assert hangs.cancelled
        assert library.diary == ["failed: ouch"]


@pytest.mark.parametrize("queued", [False, True])
async def test_a_failure_ends_an_asynchronous_handler_that_runs_meanwhile(queued: bool) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Library)
        fails, at_hand = Held(ValueError("ouch")), Held()
        waiting = [asyncio.create_task(ref.call(("slow", fails)))]
        await fails.begun.wait()
        waiting.append(asyncio.create_task(ref.call(("inside", at_hand))))
        await at_hand.begun.wait()
        if queued:
            waiting.append(asyncio.create_task(ref.call("x")))
            await asyncio.sleep(0)
        fails.let_go.set()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(outcome, ActorDied) for outcome in outcomes), outcomes
        assert at_hand.cancelled


@pytest.mark.parametrize("end", ["exit", "kill", "its parent ends"])
async def test_those_under_way_are_cancelled_at_the_end_and_their_callers_answered(end: str) -> None:
    async with ActorSystem() as system:
        parent = await system.spawn(Does)
        ref: ActorRef[Library] = await parent.call(lambda me: me.spawn(Library))
        library: Library = inside(ref)
        held = [Held(), Held()]
        waiting = [asyncio.create_task(ref.call(("slow", one))) for one in held]
        ref.tell(("slow", Held()))
        for one in held:
            await one.begun.wait()
        {"exit": lambda: ref.exit(Shutdown("asked")), "kill": ref.kill, "its parent ends": parent.kill}[end]()
        reasons = {type(outcome.reason) for outcome in await asyncio.gather(*waiting, return_exceptions=True)}  # type: ignore[union-attr]
        assert reasons == {Killed if end == "kill" else Shutdown}
        await ref.ended()
        await asyncio.sleep(0)
        assert all(one.cancelled for one in held)
        assert len(library.diary) == (end != "kill")


async def test_a_stop_lets_those_finish_that_were_sent_before_it() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Library)
        library: Library = inside(ref)
        held = Held()
        waiting = asyncio.create_task(ref.call(("slow", held)))
        told = Held()
        await asyncio.sleep(0)
        ref.tell(("slow", told))
        ref.stop()
        await told.begun.wait()
        assert not ref.is_alive()
        assert library.diary == []
        held.let_go.set()
        told.let_go.set()
        assert await waiting == "done"
        assert await ref.ended() == Normal()
        assert library.diary == ["stopped: normal"]


def test_a_stop_waits_for_them_as_long_as_for_a_hook() -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            ref = await system.spawn(Library)
            held = Held()
            waiting = asyncio.create_task(ref.call(("slow", held), timeout=100))
            await held.begun.wait()
            ref.stop()
            assert await ref.ended() == Normal()
            assert round(system.loop.time()) == 5
            with pytest.raises(ActorDied):
                await waiting
            assert held.cancelled

    virtually(main())


async def test_an_exit_cuts_a_stop_short_that_waits_for_them() -> None:
    async with ActorSystem() as system:
        parent = await system.spawn(Does)
        ref: ActorRef[Library] = await parent.call(lambda me: me.spawn(Library))
        held = Held()
        ref.tell(("slow", held))
        await held.begun.wait()
        ref.stop()
        await asyncio.sleep(0)
        parent.exit()
        await parent.ended(1)
        assert held.cancelled


async def test_one_that_fails_while_a_stop_waits_for_it_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Library)
        library: Library = inside(ref)
        held = Held(ValueError("too late"))
        ref.tell(("slow", held))
        await held.begun.wait()
        ref.stop()
        held.let_go.set()
        assert isinstance(await ref.ended(), Failure)
        assert library.diary == ["failed: too late"]
        assert "too late" in caplog.text


def test_one_that_swallows_its_cancellation_is_abandoned(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            ref = await system.spawn(Library)
            begun, let_go = asyncio.Event(), asyncio.Event()

            async def stubborn(_: Any) -> str:
                begun.set()
                while not let_go.is_set():
                    try:
                        await let_go.wait()
                    except asyncio.CancelledError:
                        continue
                return "never heard"

            waiting = asyncio.create_task(ref.call(("slow", stubborn), timeout=100))
            await begun.wait()
            ref.exit()
            assert await ref.ended(30) == Shutdown()
            with pytest.raises(ActorDied):
                await waiting
            let_go.set()
            await asyncio.sleep(0.1)
        assert "ignores its cancellation" in caplog.text

    virtually(main())


async def test_one_that_was_not_begun_is_a_dead_letter() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Library)
        held = Held()

        def both(me: Any) -> None:
            me.actor_ref.tell(("slow", held))
            me.actor_ref.tell(lambda it: it.actor_ref.exit())

        ref.tell(both)
        await ref.ended()
        await asyncio.sleep(0)
        assert not held.begun.is_set()
        assert system.dead_letters.by_reason == {"dead": 1}


async def test_it_may_stop_the_actor_or_answer_later() -> None:
    later = Later()

    async def answer_later(_: Any) -> Later:
        return later

    async def stop(_: Any) -> Stop:
        return Stop(Shutdown("done here"), reply="bye")

    async with ActorSystem() as system:
        ref = await system.spawn(Library)
        waiting = asyncio.create_task(ref.call(("slow", answer_later)))
        assert await ref.call("x") == "x"
        later.set("here it is")
        assert await waiting == "here it is"
        assert await ref.call(("slow", stop)) == "bye"
        assert await ref.ended() == Shutdown("done here")


async def test_it_sees_the_actors_context_and_what_it_sets_there_stays_its_own() -> None:
    async def paint(me: Any) -> str:
        seen = tint.get()
        tint.set("mine")
        await asyncio.sleep(0)
        return f"{seen} {tint.get()}"

    async with ActorSystem() as system:
        ref = await system.spawn(Library)
        await ref.call(lambda me: tint.set("the actor's"))
        assert await asyncio.gather(*(ref.call(("slow", paint)) for _ in range(2))) == ["the actor's mine"] * 2
        assert await ref.call(lambda me: tint.get()) == "the actor's"


async def test_calls_of_those_under_way_are_answered_by_their_own_actor() -> None:
    async def ask_myself(me: Any) -> Any:
        return await me.actor_ref.call("x")

    async with ActorSystem() as system:
        ref = await system.spawn(Library)
        assert await ref.call(("slow", ask_myself)) == "x"
        echo = await system.spawn(Echo)
        assert await ref.call(("slow", lambda me: echo.call(1))) == 1


async def test_nothing_of_them_is_left() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Library)
        for _ in range(10):
            await ref.call(("slow", lambda me: asyncio.sleep(0)))
        await asyncio.sleep(0)
        assert not ref.bonds.under_way  # type: ignore[attr-defined]


def test_only_what_awaits_can_be_reentrant() -> None:
    def plain(self: Any) -> None: ...

    with pytest.raises(TypeError, match="async def"):
        reentrant(plain)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["coroutine", "reentrant"])
async def test_a_thread_actor_has_none(how: str, caplog: pytest.LogCaptureFixture) -> None:
    class Threaded(ThreadActor):
        def on_receive(self, message: Any) -> Any:
            return self.slow() if message == "reentrant" else asyncio.sleep(0)

        @reentrant
        async def slow(self) -> None: ...

    async with ActorSystem() as system:
        ref = await system.spawn(Threaded)
        with pytest.raises(ActorDied, match="its handlers are plain"):
            await ref.call(how)
    assert logging.ERROR in {record.levelno for record in caplog.records}
