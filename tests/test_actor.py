"""What an actor is: one message at a time, in order, with hooks and a context of its own."""

import asyncio
import copy
import pickle
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from tests.players import Does, Echo, Hanging, Recorder, inside
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    ExitReason,
    Failure,
    Normal,
    Refused,
    Shutdown,
    StartFailed,
    Stop,
)

colour: ContextVar[str] = ContextVar("colour", default="none")


async def test_a_plain_handler_answers() -> None:
    async with ActorSystem() as system:
        assert await (await system.spawn(Echo)).call("hello") == "hello"


async def test_an_async_handler_answers() -> None:
    class Slow(Actor):
        async def on_receive(self, message: Any) -> Any:
            await asyncio.sleep(0)
            return message * 2

    async with ActorSystem() as system:
        assert await (await system.spawn(Slow)).call(21) == 42


async def test_a_handler_may_answer_plainly_or_return_a_coroutine() -> None:
    class Mixed(Actor):
        def on_receive(self, message: Any) -> Any:
            return self.later(message) if message % 2 else message

        async def later(self, message: int) -> int:
            await asyncio.sleep(0)
            return message

    async with ActorSystem() as system:
        mixed = await system.spawn(Mixed)
        assert await asyncio.gather(*(mixed.call(n) for n in range(10))) == list(range(10))


async def test_one_message_at_a_time_even_if_a_handler_awaits() -> None:
    class Careful(Actor):
        inside = 0

        async def on_receive(self, message: Any) -> int:
            self.inside += 1
            await asyncio.sleep(0)
            seen = self.inside
            self.inside -= 1
            return seen

    async with ActorSystem() as system:
        careful = await system.spawn(Careful)
        assert await asyncio.gather(*(careful.call(n) for n in range(200))) == [1] * 200


async def test_messages_of_one_sender_arrive_in_the_order_sent() -> None:
    async with ActorSystem() as system:
        recorder = await system.spawn(Recorder)

        def send(me: Actor) -> None:
            for n in range(1000):
                recorder.tell(n)

        (await system.spawn(Does)).tell(send)
        assert await inside(recorder).first(1000) == list(range(1000))


async def test_a_call_comes_after_the_tells_sent_before_it() -> None:
    class Ledger(Recorder):
        def on_receive(self, message: Any) -> Any:
            super().on_receive(message)
            return list(self.seen)

    async with ActorSystem() as system:
        ledger = await system.spawn(Ledger)
        ledger.tell(1)
        ledger.tell(2)
        assert await ledger.call(3) == [1, 2, 3]


async def test_spawn_returns_after_an_async_start_and_messages_sent_meanwhile_wait_for_it() -> None:
    class Slow(Recorder):
        async def on_start(self) -> None:
            self.actor_ref.tell("early")
            await asyncio.sleep(0)
            self.seen.append("started")

    async with ActorSystem() as system:
        slow = await system.spawn(Slow)
        assert inside(slow).seen == ["started"]
        assert await inside(slow).first(2) == ["started", "early"]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), asyncio.CancelledError()])
@pytest.mark.parametrize("kind", ["init", "plain", "async"])
async def test_a_failed_start_raises_at_the_spawner_and_leaves_nothing(kind: str, error: BaseException) -> None:
    class Broken(Actor):
        def __init__(self) -> None:
            if kind == "init":
                raise error

        def on_start(self) -> Any:
            if kind == "async":
                return self.fail()
            raise error

        async def fail(self) -> None:
            await asyncio.sleep(0)
            raise error

    async with ActorSystem() as system:
        with pytest.raises(StartFailed) as failed:
            await system.spawn(Broken, name="broken")
        assert isinstance(failed.value.reason, Failure)
        assert system.whereis("broken") is None
        assert not system._top
        await system.spawn(Echo, name="broken")


async def test_a_class_that_cannot_be_made_frees_the_name_it_was_to_have() -> None:
    class Impossible(Actor):
        def __new__(cls) -> "Impossible":
            raise TypeError("abstract")

    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match="abstract"):
            await system.spawn(Impossible, name="n")
        await system.spawn(Echo, name="n")


async def test_a_cancelled_spawn_leaves_nothing_behind() -> None:
    begun = asyncio.Event()
    cleaned = asyncio.Event()

    class Slow(Actor):
        async def on_start(self) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cleaned.set()

    async with ActorSystem() as system:
        spawning = asyncio.create_task(system.spawn(Slow, name="slow"))
        await begun.wait()
        spawning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await spawning
        assert cleaned.is_set()
        assert system.whereis("slow") is None
        assert not system._top


async def test_a_spawn_that_is_cancelled_twice_leaves_nothing_behind() -> None:
    begun = asyncio.Event()

    class Stubborn(Actor):
        async def on_start(self) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                begun.set()
                await asyncio.Event().wait()

    async with ActorSystem() as system:
        spawning = asyncio.create_task(system.spawn(Stubborn))
        for _ in range(2):
            await begun.wait()
            begun.clear()
            spawning.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await spawning
        assert not system._top
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


async def test_a_kill_during_the_start_fails_the_spawn() -> None:
    class Slow(Actor):
        async def on_start(self) -> None:
            asyncio.get_running_loop().call_soon(self.actor_ref.kill)
            await asyncio.Event().wait()

    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match="killed"):
            await system.spawn(Slow)


async def test_spawn_of_what_is_no_actor_says_so() -> None:
    async with ActorSystem() as system:
        with pytest.raises(TypeError, match="subclass of Actor"):
            await system.spawn(int)  # type: ignore[type-var]


async def test_spawn_from_another_loop_says_how_to() -> None:
    async with ActorSystem() as system:
        with pytest.raises(RuntimeError, match="run_coroutine_threadsafe"):
            await asyncio.to_thread(lambda: asyncio.run(_spawn(system)))


async def _spawn(system: ActorSystem) -> None:
    await system.spawn(Echo)


# --- contexts ---


class Painter(Actor):
    """Sets its colour, or tells it; may do so in a coroutine."""

    def on_receive(self, message: Any) -> Any:
        match message:
            case ("set", value):
                colour.set(value)
                return value
            case ("set later", value):
                return self.later(value)
            case _:
                return colour.get()

    async def later(self, value: str) -> str:
        colour.set(value)
        await asyncio.sleep(0)
        return colour.get()


class AsyncPainter(Painter):
    async def on_receive(self, message: Any) -> Any:
        result = Painter.on_receive(self, message)
        return await result if asyncio.iscoroutine(result) else result


@pytest.mark.parametrize("how", ["turn", "burst", "hand-off", "mixed"])
async def test_a_context_variable_stays_with_its_actor_and_nobody_else_sees_it(how: str) -> None:
    async with ActorSystem() as system:
        painter = await system.spawn(AsyncPainter if how == "burst" else Painter)
        other = await system.spawn(Painter)
        verb = "set later" if how == "mixed" else "set"
        if how == "turn":
            painter.tell((verb, "red"))
            painter.tell("look")
        else:
            assert await painter.call((verb, "red")) == "red"
        assert await painter.call("look") == "red"
        assert await other.call("look") == "none"
        other.tell("look")
        assert [await ref.call("look") for ref in (painter, other)] == ["red", "none"]
        assert colour.get() == "none"


async def test_what_a_start_hook_sets_stays_for_the_messages_and_the_last_hook() -> None:
    seen: list[str] = []

    class Red(Painter):
        def on_start(self) -> None:
            colour.set("red")

        def on_stop(self, reason: ExitReason) -> None:
            seen.append(colour.get())

    async with ActorSystem() as system:
        red = await system.spawn(Red)
        assert await red.call("look") == "red"
        assert await (await system.spawn(Painter)).call("look") == "none"
    assert seen == ["red"]


async def test_an_actor_does_not_inherit_its_spawners_context() -> None:
    colour.set("blue")
    async with ActorSystem() as system:
        assert await (await system.spawn(Painter)).call("look") == "blue"  # the system's own: it was made here
        colour.set("green")
        assert await (await system.spawn(Painter)).call("look") == "blue"


@pytest.mark.parametrize("end", ["exit", "crash"])
async def test_the_last_hook_runs_in_the_context_of_an_actor_that_has_one(end: str) -> None:
    seen: list[str] = []

    class Red(Hanging):
        def on_receive(self, message: Any) -> Any:
            colour.set("red")
            if message == "crash":
                raise ValueError(message)
            return super().on_receive(message)

        def on_stop(self, reason: ExitReason) -> None:
            seen.append(colour.get())

        def on_failure(self, *_: Any) -> None:
            seen.append(colour.get())

    async with ActorSystem() as system:
        red = await system.spawn(Red)
        red.tell(end)
        if end == "exit":
            await inside(red).begun.wait()
            red.exit(Shutdown())
        await red.ended()
    assert seen == ["red"]


# --- unhandled, Stop, run ---


async def test_an_unknown_message_is_refused_to_a_caller_and_a_dead_letter_of_a_teller() -> None:
    class Shy(Actor):
        pass

    async with ActorSystem() as system:
        shy = await system.spawn(Shy)
        with pytest.raises(Refused, match="does not know str"):
            await shy.call("hello")
        shy.tell("hello")
        with pytest.raises(Refused):
            await shy.call("again")
        assert system.dead_letters.by_reason == {"unhandled": 1}
        assert shy.is_alive()


@pytest.mark.parametrize("idle", [True, False])
async def test_returning_stop_answers_and_ends_the_actor(idle: bool) -> None:
    async with ActorSystem() as system:
        does = await system.spawn(Does)
        if not idle:
            does.tell(lambda me: None)
        assert await does.call(lambda me: Stop(Shutdown("enough"), "bye")) == "bye"
        assert not does.is_alive()
        assert await does.ended() is not None


async def test_stop_ends_normally_after_what_was_sent_before() -> None:
    async with ActorSystem() as system:
        recorder = await system.spawn(Recorder)
        actor = inside(recorder)
        recorder.tell(1)
        actor.stop()
        recorder.tell(2)
        assert await recorder.ended() == Normal()
        assert actor.seen == [1]
        assert system.dead_letters.count == 1


async def test_a_background_result_comes_back_as_a_message_and_none_does_not() -> None:
    async def work(result: Any) -> Any:
        await asyncio.sleep(0)
        return result

    class Worker(Recorder):
        def on_start(self) -> None:
            self.run(work(None))
            self.run(work("done"))

    async with ActorSystem() as system:
        worker = await system.spawn(Worker)
        assert await inside(worker).first(1) == ["done"]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(), asyncio.CancelledError()])
async def test_a_background_error_fails_the_actor_even_while_a_handler_waits(error: BaseException) -> None:
    async def work(begun: asyncio.Event) -> None:
        await begun.wait()
        raise error

    class Worker(Hanging):
        def on_start(self) -> None:
            self.run(work(self.begun))

    async with ActorSystem() as system:
        worker = await system.spawn(Worker)
        with pytest.raises(ActorDied) as died:
            await worker.call("wait")
        assert isinstance(died.value.reason, Failure)


async def test_a_background_error_leaves_the_last_hook_its_time() -> None:
    cleaned: list[str] = []

    async def fail() -> None:
        raise ValueError("no")

    class Tidy(Actor):
        def on_start(self) -> None:
            self.run(fail())

        async def on_failure(self, *_: Any) -> None:
            await asyncio.sleep(0)
            cleaned.append("tidy")

    async with ActorSystem() as system:
        await (await system.spawn(Tidy)).ended()
    assert cleaned == ["tidy"]


async def test_a_background_task_ends_with_its_actor() -> None:
    cleaned = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    async with ActorSystem() as system:
        does = await system.spawn(Does)
        await does.call(lambda me: me.run(work()))
        does.kill()
        await cleaned.wait()


async def test_a_background_task_may_call_its_own_actor() -> None:
    async with ActorSystem() as system:
        answers: asyncio.Queue[Any] = asyncio.Queue()

        async def work(me: Actor) -> None:
            answers.put_nowait(await me.actor_ref.call(lambda _: "pong"))

        def begin(me: Actor) -> None:
            me.run(work(me))
            me.actor_ref.tell(lambda _: None)  # so that the call finds it with work to do

        (await system.spawn(Does)).tell(begin)
        assert await answers.get() == "pong"


async def test_run_takes_only_a_coroutine() -> None:
    async with ActorSystem() as system:
        does = await system.spawn(Does)
        with pytest.raises(ActorDied, match="run takes a coroutine"):
            await does.call(lambda me: me.run(print))


async def test_what_an_abandoned_handler_still_does_is_refused() -> None:
    outcome: asyncio.Queue[BaseException | None] = asyncio.Queue()

    class Stubborn(Hanging):
        async def on_receive(self, message: Any) -> None:
            try:
                await super().on_receive(message)
            except asyncio.CancelledError:
                try:
                    self.send_after(0, "I am still here")
                except ActorDied as error:
                    outcome.put_nowait(error)

    async with ActorSystem() as system:
        stubborn = await system.spawn(Stubborn)
        stubborn.tell("begin")
        await inside(stubborn).begun.wait()
        stubborn.kill()
        assert isinstance(await outcome.get(), ActorDied)


# --- systems ---


async def test_a_system_that_is_down_starts_nothing_and_buries_every_late_message() -> None:
    async with ActorSystem() as system:
        echo = await system.spawn(Echo)
    with pytest.raises(StartFailed, match="shutting down"):
        await system.spawn(Echo)
    for _ in range(3):
        echo.tell("late")
    assert system.dead_letters.by_reason == {"dead": 3}
    with pytest.raises(ActorDied):
        await echo.call("late")


async def test_shutdown_kills_what_does_not_end_in_time_with_all_its_descendants() -> None:
    class Stubborn(Actor):
        stop_timeout = None

        async def on_stop(self, reason: ExitReason) -> None:
            await asyncio.Event().wait()

    class Parent(Stubborn):
        async def on_start(self) -> None:
            await self.spawn(Stubborn)

    system = ActorSystem()
    parent = await system.spawn(Parent)
    await system.shutdown(deadline=0.01)
    assert not parent.is_alive()
    assert not system._top


async def test_an_actor_may_shut_its_system_down() -> None:
    ended: list[str] = []

    class Quitter(Actor):
        async def on_receive(self, message: Any) -> None:
            await self.system.shutdown()

    class Other(Actor):
        def on_stop(self, reason: ExitReason) -> None:
            ended.append("other")

    async with ActorSystem() as system:
        await system.spawn(Other)
        quitter = await system.spawn(Quitter)
        quitter.tell("quit")
        await quitter.ended()
        await system.shutdown()
    assert ended == ["other"]


def test_a_system_whose_loop_was_closed_answers_that_nobody_is_there() -> None:
    async def forget() -> tuple[ActorSystem, Any]:
        system = ActorSystem()
        return system, await system.spawn(Echo)

    system, echo = asyncio.run(forget())
    echo.tell("late")
    echo.tell("later")
    assert system.dead_letters.count == 2
    with pytest.raises(ActorDied):
        echo.ask("late")

    async def call() -> None:
        with pytest.raises(ActorDied):
            await echo.call("late")

    asyncio.run(call())


class Stage(Actor):
    """Has methods of its own under names that a framework might like, too."""

    def begin(self) -> str:
        return "the play begins"

    def launch(self) -> str:
        return "fireworks"

    def farewell(self) -> str:
        return "good night"

    def on_receive(self, message: Any) -> Any:
        return [self.begin(), self.launch(), self.farewell()]


async def test_a_users_method_may_be_called_begin_or_farewell() -> None:
    async with ActorSystem() as system:
        stage = await system.spawn(Stage)
        assert await stage.call("all") == ["the play begins", "fireworks", "good night"]


async def test_a_reference_is_copied_as_itself_and_never_pickled() -> None:
    @dataclass
    class Card:
        owner: ActorRef[Any]

    async with ActorSystem() as system:
        ref = await system.spawn(Echo, name="echo")
        for one in (ref, system.ref("echo")):
            assert copy.copy(one) is one
            assert copy.deepcopy([one])[0] is one
            assert asdict(Card(one)) == {"owner": one}
            with pytest.raises(TypeError, match="cannot be pickled: send the reference itself"):
                pickle.dumps(one)


def test_a_system_is_made_on_a_loop() -> None:
    with pytest.raises(RuntimeError, match="made on the event loop it is to run on"):
        ActorSystem()
