"""Promises of the kernel that belong to no noun of their own."""

import asyncio
import signal
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers import eventually
from tests.players import Does, Echo, Hanging, Recorder, Trapper, inside
from understudy import Child, Supervisor, WhichChildren
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    CallError,
    DeadlineExceeded,
    Deadlock,
    Exit,
    Killed,
    NameTaken,
    NodeDown,
    Normal,
    NotRegistered,
    Overloaded,
    Refused,
    Shutdown,
    StartFailed,
    ThreadActor,
    UnderstudyError,
    message,
)

# --- cost ---


async def test_an_idle_actor_holds_no_task_thread_or_mailbox_and_five_hundred_bytes_at_most() -> None:
    count = 2_000
    async with ActorSystem() as system:
        refs: list[ActorRef[Any]] = [await system.spawn(Actor) for _ in range(100)]  # what the first ones make for all
        refs = [*refs, *[None] * count]  # type: ignore[list-item]  # pyright: ignore
        tasks, threads = len(asyncio.all_tasks()), threading.active_count()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for place in range(100, 100 + count):
                refs[place] = await system.spawn(Actor)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(asyncio.all_tasks()) == tasks
        assert threading.active_count() == threads
        assert all(ref.mailbox is None and ref.task is None for ref in refs)  # type: ignore[attr-defined]
        assert (after - before) / count <= 500


async def test_what_a_thread_sends_in_one_go_wakes_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Recorder)
        wakeups: list[Any] = []
        really = system.loop.call_soon_threadsafe

        def counted(*arguments: Any, **options: Any) -> Any:
            wakeups.append(arguments)
            return really(*arguments, **options)

        await asyncio.sleep(0)
        monkeypatch.setattr(system.scheduler, "loop", _Counting(system.loop, counted))

        def send() -> None:
            for n in range(1_000):
                ref.tell(n)

        thread = threading.Thread(target=send)
        thread.start()
        thread.join()  # the loop cannot look in between
        assert await inside(ref).first(1_000) == list(range(1_000))
        assert len(wakeups) == 1


class _Counting:
    """A loop, but for how other threads wake it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Any) -> None:
        self._loop = loop
        self.call_soon_threadsafe = wake

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


# --- talking ---


async def test_a_call_is_sent_when_it_is_first_awaited() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Recorder)
        call = ref.call("second")
        ref.tell("first")
        await call
        assert inside(ref).seen == ["first", "second"]


async def test_local_messages_are_shared_and_frozen() -> None:
    async with ActorSystem() as system:
        ref, words = await system.spawn(Echo), _Words(["one"])
        assert await ref.call(words) is words
        with pytest.raises(AttributeError):
            setattr(words, "words", [])  # noqa: B010 - as it would be written, but for the type checkers


@message
class _Words:
    words: list[str]


async def test_the_reply_to_a_caller_that_has_gone_is_dropped_and_harms_nobody() -> None:
    async with ActorSystem() as system:
        hanging = await system.spawn(_Opens)
        asking = asyncio.create_task(hanging.call("x"))
        await inside(hanging).begun.wait()
        asking.cancel()
        await asyncio.wait((asking,))
        inside(hanging).opened.set()
        assert await hanging.call("y") == "y"
        assert system.dead_letters.count == 0


class _Opens(Actor):
    def __init__(self) -> None:
        super().__init__()
        self.begun, self.opened = asyncio.Event(), asyncio.Event()

    async def on_receive(self, message: Any) -> Any:
        self.begun.set()
        await self.opened.wait()
        return message


async def test_timers_and_spawned_actors_inherit_no_deadline() -> None:
    class Starts(Actor):
        async def on_receive(self, message: Any) -> None:
            if message == "later":
                answers.put_nowait(await hanging.call("from the timer", 60.0))
            else:
                self.send_after(0.0, "later")
                await self.spawn(Asks)

    class Asks(Actor):
        async def on_receive(self, _: Any) -> None:
            answers.put_nowait(await hanging.call("from the child", 60.0))

        def on_start(self) -> None:
            self.actor_ref.tell("go")

    answers: asyncio.Queue[Any] = asyncio.Queue()
    async with ActorSystem() as system:
        hanging = await system.spawn(_Opens)
        await (await system.spawn(Starts)).call("now", 0.01)
        await asyncio.sleep(0.02)  # that request's time is up
        inside(hanging).opened.set()
        assert {await answers.get(), await answers.get()} == {"from the timer", "from the child"}


def test_every_error_is_of_the_family_it_is_said_to_be() -> None:
    assert issubclass(NodeDown, ActorDied)
    call_errors: tuple[type[Exception], ...] = (ActorDied, Refused, DeadlineExceeded, Deadlock)
    others: tuple[type[Exception], ...] = (Overloaded, StartFailed, NameTaken, NotRegistered)
    for error in call_errors:
        assert issubclass(error, CallError)
    assert issubclass(DeadlineExceeded, TimeoutError)
    assert issubclass(CallError, UnderstudyError)
    for error in others:
        assert issubclass(error, UnderstudyError)
        assert not issubclass(error, CallError)


# --- ends ---


class _TrapsInItsThread(ThreadActor):
    trap_exit = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def on_receive(self, message: Any) -> None:
        self.seen.append(message)


async def test_a_trapped_exit_keeps_its_place_for_an_actor_with_a_thread_of_its_own_too() -> None:
    rounds = 200
    async with ActorSystem() as system:
        trapper = await system.spawn(_TrapsInItsThread)
        for number in range(rounds):
            trapper.tell(number)
            trapper.exit(Shutdown(str(number)))
        seen = inside(trapper).seen
        await trapper.stop()
        assert seen == [each for n in range(rounds) for each in (n, Exit(None, Shutdown(str(n))))]


async def test_a_trapped_exit_keeps_its_place_and_what_is_not_trapped_overtakes() -> None:
    async with ActorSystem() as system:
        trapper, does = await system.spawn(Trapper), await system.spawn(Does)

        def send(me: Actor) -> None:
            trapper.tell("before")
            trapper.exit(Shutdown("please"))
            trapper.tell("after")

        await does.call(send)
        assert await inside(trapper).first(3) == ["before", Exit(does, Shutdown("please")), "after"]

        recorder = await system.spawn(Recorder)
        actor = inside(recorder)

        def send_on(me: Actor) -> None:
            recorder.tell("before")
            recorder.exit(Shutdown("now"))

        await does.call(send_on)
        assert await recorder.ended() == Shutdown("now")
        assert actor.seen == []


@pytest.mark.parametrize("end", ["stop", "exit", "crash", "kill"])
async def test_children_get_shutdown_in_reverse_order_whatever_ends_their_parent(end: str) -> None:
    class Child(Actor):
        async def on_stop(self, reason: Any) -> None:
            await asyncio.sleep(0)
            diary.append((self.name, type(reason)))

    class Parent(Actor):
        async def on_start(self) -> None:
            for name in ("first", "second", "third"):
                await self.spawn(Child, name=name)

        def on_receive(self, _: Any) -> None:
            raise ValueError("crash")

    diary: list[Any] = []
    async with ActorSystem() as system:
        parent = await system.spawn(Parent)
        last = system.whereis("first")
        assert last is not None
        if end == "crash":
            parent.tell("crash")
        else:
            getattr(parent, end)()
        await last.ended()
        assert diary == [("third", Shutdown), ("second", Shutdown), ("first", Shutdown)]


async def test_a_thread_actor_is_supervised_like_any_other() -> None:
    class Blocks(ThreadActor):
        def on_receive(self, message: Any) -> Any:
            if message == "crash":
                raise ValueError("crash")
            return threading.current_thread().name

    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, [Child(Blocks, name="blocks")])
        first = system.whereis("blocks")
        assert first is not None
        before = await first.call("where")
        first.tell("crash")
        await first.ended()
        [info] = await supervisor.call(WhichChildren())
        assert info.restarts == 1
        assert await system.ref("blocks").call("where") != before


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as in a terminal: whoever runs the tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_belongs_to_the_application_and_not_to_the_handler_that_runs() -> None:
    class Interrupted(Actor):
        def on_receive(self, message: Any) -> Any:
            signal.raise_signal(signal.SIGINT)
            seen.append(message)

    async def main() -> None:
        async with ActorSystem() as system:
            ref = await system.spawn(Interrupted)
            ends.append(asyncio.create_task(ref.ended()))
            ref.tell("handled")
            await asyncio.Event().wait()

    ends: list[asyncio.Task[Any]] = []
    seen: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert seen == ["handled"]
    assert ends[0].cancelled() or ends[0].result() == Shutdown("the system shuts down")


@pytest.mark.parametrize("kind", ["coroutine", "background", "thread"])
async def test_code_that_does_not_end_with_its_actor_is_listed_until_it_does(kind: str) -> None:
    """Python can end neither: a coroutine that swallows its cancellation, a thread that does not return."""
    begun, gate, opened = asyncio.Event(), threading.Event(), asyncio.Event()

    async def swallow() -> None:
        begun.set()
        while not opened.is_set():
            try:
                await opened.wait()
            except asyncio.CancelledError:
                continue

    class Stubborn(Actor):
        def on_receive(self, _: Any) -> Any:
            return swallow() if kind == "coroutine" else self.run(swallow())

    class Blocked(ThreadActor):
        def on_receive(self, _: Any) -> None:
            self.system.loop.call_soon_threadsafe(begun.set)
            gate.wait(10.0)

    async with ActorSystem() as system:
        ref = await system.spawn(Blocked if kind == "thread" else Stubborn, name="stubborn")
        assert system.abandoned() == []
        ref.tell("begin")
        await begun.wait()
        assert system.abandoned() == []
        ref.kill()
        assert await ref.ended() == Killed()
        assert system.actors() == []
        assert system.abandoned() == [ref]
        gate.set()
        opened.set()
        await eventually(lambda: not system.abandoned())


async def test_who_ends_in_time_is_not_abandoned() -> None:
    async with ActorSystem() as system:
        hanging = await system.spawn(Hanging)
        hanging.tell("x")
        await inside(hanging).begun.wait()
        hanging.exit(Shutdown())
        assert await hanging.ended() == Shutdown()
        assert system.abandoned() == []
        hanging = await system.spawn(Hanging)
        hanging.stop()
        assert await hanging.ended() == Normal()
        assert system.abandoned() == []
