"""An actor with a thread of its own: blocking code, and otherwise an actor like any other."""

import asyncio
import threading
from contextvars import ContextVar
from typing import Any

import pytest

from tests.helpers import eventually
from tests.players import Does, Echo, Recorder, inside
from understudy.actors import (
    ActorDied,
    ActorRef,
    ActorSystem,
    DeadlineExceeded,
    Deadlock,
    Down,
    ExitReason,
    Failure,
    Killed,
    NoProc,
    Normal,
    Refused,
    Shutdown,
    StartFailed,
    ThreadActor,
)

shade: ContextVar[str] = ContextVar("shade", default="none")


class Worker(ThreadActor):
    """Runs the function it is sent; anything else is its answer."""

    def on_receive(self, message: Any) -> Any:
        return message(self) if callable(message) else message


class Blocking(ThreadActor):
    """Blocks in its handler until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.let_go = threading.Event()
        self.ended: list[str] = []

    def on_receive(self, message: Any) -> Any:
        self.begun.set()
        self.let_go.wait(10)
        self.ended.append("handler")
        return message


class Tidy(Blocking):
    def on_stop(self, reason: ExitReason) -> None:
        self.ended.append(
            f"hook in {'its' if threading.current_thread().name.startswith('<Tidy') else 'another'} thread"
        )


def threads() -> int:
    return sum(1 for thread in threading.enumerate() if thread.name.startswith("<"))


async def test_its_handlers_run_on_one_thread_of_its_own_and_the_loop_goes_on_meanwhile() -> None:
    async with ActorSystem() as system:
        blocking, worker = await system.spawn(Blocking), await system.spawn(Worker)
        asking = asyncio.create_task(blocking.call("done"))
        await asyncio.to_thread(inside(blocking).begun.wait)
        names = {await worker.call(lambda me: threading.get_ident()) for _ in range(10)}
        assert len(names) == 1
        assert threading.get_ident() not in names
        inside(blocking).let_go.set()
        assert await asking == "done"


async def test_it_answers_refuses_and_crashes_like_any_other() -> None:
    def refuse(me: ThreadActor) -> None:
        raise Refused("no")

    async with ActorSystem() as system:
        worker = await system.spawn(Worker)
        assert await worker.call("x") == "x"
        with pytest.raises(Refused, match="no"):
            await worker.call(refuse)
        with pytest.raises(ActorDied, match="ZeroDivisionError"):
            await worker.call(lambda me: 1 / 0)
        assert not worker.is_alive()


async def test_messages_arrive_in_order() -> None:
    seen: list[int] = []
    async with ActorSystem() as system:
        worker = await system.spawn(Worker)
        for n in range(1000):
            worker.tell(lambda me, n=n: seen.append(n))
        await worker.call("all")
    assert seen == list(range(1000))


async def test_a_failing_start_raises_at_the_spawner() -> None:
    class Broken(ThreadActor):
        def on_start(self) -> None:
            raise SystemExit("no")

    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match="SystemExit"):
            await system.spawn(Broken)


async def test_its_context_variables_stay() -> None:
    async with ActorSystem() as system:
        worker = await system.spawn(Worker)
        await worker.call(lambda me: shade.set("dark"))
        assert await worker.call(lambda me: shade.get()) == "dark"
        assert shade.get() == "none"


@pytest.mark.parametrize("end", ["stop", "exit"])
async def test_its_end_waits_for_the_handler_at_hand_and_the_hook_runs_in_its_thread(end: str) -> None:
    async with ActorSystem() as system:
        tidy = await system.spawn(Tidy)
        actor = inside(tidy)
        tidy.tell("x")
        await asyncio.to_thread(actor.begun.wait)
        getattr(tidy, end)()
        actor.let_go.set()
        assert await tidy.ended() in (Normal(), Shutdown(), NoProc())
        assert actor.ended == ["handler", "hook in its thread"]


async def test_a_thread_without_hook_ends_with_its_actor() -> None:
    async with ActorSystem() as system:
        workers = [await system.spawn(Worker) for _ in range(4)]
        workers[0].stop()
        workers[1].exit()
        workers[2].kill()
        workers[3].tell(lambda me: 1 / 0)
        for worker in workers:
            await worker.ended()
        gone = [thread for thread in threading.enumerate() if thread.name.startswith("<Worker")]
        for thread in gone:
            await asyncio.to_thread(thread.join, 5)
        assert not threads()


async def test_a_killed_one_is_dead_for_the_world_at_once_and_its_caller_answered() -> None:
    async with ActorSystem() as system:
        blocking, recorder = await system.spawn(Blocking), await system.spawn(Recorder)
        actor = inside(blocking)
        token = inside(recorder).monitor(blocking)
        asking = [asyncio.create_task(blocking.call(n)) for n in range(3)]
        await asyncio.to_thread(actor.begun.wait)
        blocking.kill()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        assert all(isinstance(outcome, ActorDied) for outcome in outcomes)
        assert await inside(recorder).first(1) == [Down(token, blocking, Killed())]
        actor.let_go.set()


async def test_what_an_abandoned_thread_still_does_through_itself_is_refused() -> None:
    outcome: list[BaseException] = []
    done = threading.Event()

    class Stubborn(Blocking):
        def on_receive(self, message: Any) -> None:
            super().on_receive(message)
            try:
                self.send_after(0, "still here")
            except ActorDied as error:
                outcome.append(error)
            done.set()

    async with ActorSystem() as system:
        stubborn = await system.spawn(Stubborn)
        actor = inside(stubborn)
        stubborn.tell("x")
        await asyncio.to_thread(actor.begun.wait)
        stubborn.kill()
        actor.let_go.set()
        await asyncio.to_thread(done.wait)
        assert isinstance(outcome[0], ActorDied)


async def test_one_that_does_not_return_in_its_time_to_stop_is_abandoned() -> None:
    async with ActorSystem() as system:
        blocking = await system.spawn(Blocking)
        actor = inside(blocking)
        actor.stop_timeout = 0.01
        blocking.tell("x")
        await asyncio.to_thread(actor.begun.wait)
        blocking.exit()
        assert isinstance(await blocking.ended(5.0), Failure)
        actor.let_go.set()


async def test_an_expired_request_is_dropped() -> None:
    async with ActorSystem() as system:
        blocking = await system.spawn(Blocking)
        actor = inside(blocking)
        blocking.tell("x")
        await asyncio.to_thread(actor.begun.wait)
        with pytest.raises(DeadlineExceeded):
            await blocking.call("late", timeout=0)
        actor.let_go.set()
        assert await blocking.call("next") == "next"
        assert actor.ended == ["handler", "handler"]


async def test_it_asks_others_and_a_question_to_itself_is_an_error_at_once() -> None:
    async with ActorSystem() as system:
        worker, echo = await system.spawn(Worker), await system.spawn(Echo)
        assert await worker.call(lambda me: echo.ask("x", timeout=5)) == "x"

        def ask_oneself(me: ThreadActor) -> str:
            with pytest.raises(Deadlock):
                me.actor_ref.ask("x")
            return "refused"

        assert await worker.call(ask_oneself) == "refused"


async def test_a_refusal_it_was_given_and_lets_escape_is_a_failure() -> None:
    def refuse(me: Any) -> None:
        raise Refused("no")

    async with ActorSystem() as system:
        worker, does = await system.spawn(Worker), await system.spawn(Does)
        with pytest.raises(ActorDied):
            await worker.call(lambda me: does.ask(refuse, timeout=5))


async def test_it_links_monitors_and_keeps_timers_from_its_thread() -> None:
    news: asyncio.Queue[Any] = asyncio.Queue()

    class Watching(ThreadActor):
        def on_receive(self, message: Any) -> Any:
            if isinstance(message, ActorRef):
                return self.monitor(message)
            self.system.loop.call_soon_threadsafe(news.put_nowait, message)
            return self.send_after(0, "timer") if message == "arm" else None

    async with ActorSystem() as system:
        watching, does = await system.spawn(Watching), await system.spawn(Does)
        token = await watching.call(does)
        does.kill()
        assert await news.get() == Down(token, does, Killed())
        watching.tell("arm")
        assert [await news.get(), await news.get()] == ["arm", "timer"]


async def test_after_a_demonitor_with_flush_no_down_comes_however_the_threads_run() -> None:
    """The death races the demonitor; whichever wins, nothing may come after the flush."""
    downs: list[Any] = []

    class Watching(ThreadActor):
        def on_receive(self, message: Any) -> Any:
            if isinstance(message, Down):
                downs.append(message)
            elif isinstance(message, ActorRef):
                token = self.monitor(message)
                message.kill()
                self.demonitor(token, flush=True)

    async with ActorSystem() as system:
        watching = await system.spawn(Watching)
        for _ in range(500):
            watching.tell(await system.spawn(Does))
        await watching.call("all")
    assert downs == []


async def test_every_request_is_answered_when_a_kill_races_the_thread() -> None:
    async with ActorSystem() as system:
        for _ in range(200):
            worker = await system.spawn(Worker)
            asking = [asyncio.create_task(worker.call(n, timeout=30.0)) for n in range(5)]
            await asyncio.sleep(0)
            worker.kill()
            outcomes = await asyncio.gather(*asking, return_exceptions=True)
            assert not [one for one in outcomes if isinstance(one, DeadlineExceeded)]


def test_its_handlers_are_plain() -> None:
    with pytest.raises(TypeError, match="use Actor for async handlers"):

        class Confused(ThreadActor):
            async def on_receive(self, message: Any) -> Any:
                return message


async def test_a_stop_is_answered_after_the_last_hook() -> None:
    tidied: list[bool] = []

    class Tidier(ThreadActor):
        def on_stop(self) -> None:
            tidied.append(answer.get(timeout=0) if answer._come else False)

    async with ActorSystem() as system:
        answer = (await system.spawn(Tidier)).stop()
        assert await answer is True
        assert tidied == [False], "it ran, and nobody had been answered"


@pytest.mark.parametrize("end", ["exit", "start timeout", "its spawner is cancelled"])
async def test_one_that_is_ended_while_it_starts_starts_to_the_end_and_then_its_last_hook_runs(end: str) -> None:
    begun, go_on, opened, closed = threading.Event(), threading.Event(), list[str](), asyncio.Event()

    class Opens(ThreadActor):
        def on_start(self) -> None:
            begun.set()
            go_on.wait(10)
            opened.append("file")

        def on_stop(self, reason: ExitReason) -> None:
            opened.remove("file")
            self.system.loop.call_soon_threadsafe(closed.set)

    async with ActorSystem() as system:
        timeout = 0.01 if end == "start timeout" else None
        starting = asyncio.create_task(system.spawn(Opens, name="opens", start_timeout=timeout))
        await asyncio.to_thread(begun.wait)
        (ref,) = system.actors()
        if end == "exit":
            ref.exit()
        elif end != "start timeout":
            starting.cancel()
        await eventually(lambda: not ref.is_alive())
        assert end == "start timeout" or not starting.done()
        go_on.set()
        if "cancelled" in end:
            with pytest.raises(asyncio.CancelledError):
                await starting
        else:
            with pytest.raises(StartFailed):
                await starting
        async with asyncio.timeout(30):
            await closed.wait()
        assert opened == []


async def test_one_that_is_killed_while_it_starts_runs_no_hook() -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), list[str]()

    class Opens(ThreadActor):
        def on_start(self) -> None:
            begun.set()
            go_on.wait(10)

        def on_stop(self, reason: ExitReason) -> None:
            ended.append("hook")

    async with ActorSystem() as system:
        starting = asyncio.create_task(system.spawn(Opens))
        await asyncio.to_thread(begun.wait)
        (ref,) = system.actors()
        ref.kill()
        with pytest.raises(StartFailed, match="killed"):
            await starting
        assert system.abandoned() == [ref]
        go_on.set()
        await eventually(lambda: not system.abandoned())
        assert ended == []


async def test_a_last_hook_whose_time_is_up_before_it_begins_does_not_begin(caplog: pytest.LogCaptureFixture) -> None:
    class Late(Tidy):
        stop_timeout = 0.01

    async with ActorSystem() as system:
        late = await system.spawn(Late, name="late")
        me = inside(late)
        late.tell("x")
        await asyncio.to_thread(me.begun.wait)
        late.exit()
        reason = await late.ended()
        assert isinstance(reason, Failure)
        assert "its last hook took longer than its stop_timeout of 0.01 s" in reason.message
        assert "does not run: a handler took all the time to stop" in caplog.text
        me.let_go.set()
        await eventually(lambda: not system.abandoned())
        assert me.ended == ["handler"]


class Boom(Worker):
    """Is linked to whom it is sent, and undoes that while the exit signal is on its way."""

    def on_receive(self, message: Any) -> Any:
        other, under_way, let_it_come = message
        self.link(other)
        other.tell("die")
        under_way.wait(10)
        self.unlink(other)
        let_it_come.set()
        return self.actor_ref.is_alive()


async def test_a_link_that_was_undone_ends_it_no_more_though_the_exit_signal_is_on_its_way() -> None:
    under_way, let_it_come = threading.Event(), threading.Event()

    class Holds:
        """A watcher that holds up the signals behind its own, among them that of the link."""

        def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
            under_way.set()
            let_it_come.wait(10)

    async with ActorSystem() as system:
        boom, other = await system.spawn(Boom), await system.spawn(Does)
        other._monitor(1, Holds())
        asked = asyncio.create_task(boom.call((other, under_way, let_it_come)))
        assert await asked
        assert not other.is_alive()
        assert await boom.call((await system.spawn(Echo), under_way, let_it_come))  # it lives, and links again
