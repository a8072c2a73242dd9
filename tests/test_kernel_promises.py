"""Promises of the kernel that belong to no noun of their own."""

import asyncio
import contextlib
import gc
import signal
import threading
import tracemalloc
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

import understudy
from tests.helpers import eventually
from tests.players import Does, Echo, Hanging, Recorder, Trapper, inside
from understudy import Child, Supervisor, WhichChildren
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    CallError,
    CrashReport,
    DeadlineExceeded,
    Deadlock,
    Draining,
    Envelope,
    Exit,
    Killed,
    NameTaken,
    NodeDown,
    Normal,
    NoRoom,
    NotRegistered,
    Overloaded,
    Refused,
    Shutdown,
    StartFailed,
    Stop,
    ThreadActor,
    UnderstudyError,
    errors,
    message,
)
from understudy.actors.deadlines import current_request
from understudy.simulation import Simulation

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


class _Reads(Actor):
    """Notes what came beside each message."""

    def __init__(self, *, pause: bool = False) -> None:
        super().__init__()
        self.pause = pause
        self.seen: list[Envelope | None] = []

    async def on_receive(self, message: Any) -> Any:
        if self.pause:
            await asyncio.sleep(0)
        self.seen.append(current_request.get())
        return len(self.seen)


def test_an_envelope_has_every_field_from_the_first_day() -> None:
    assert {"sender", "request_id", "deadline", "trace", "flags"} < set(Envelope.__slots__)
    bare = Envelope("x")
    assert (bare.sender, bare.request_id, bare.deadline, bare.trace, bare.flags) == (None, 0, None, b"", 0)


@pytest.mark.parametrize("pause", [False, True])
async def test_an_envelope_carries_who_asks_until_when_and_what_was_given_it(pause: bool) -> None:
    async with ActorSystem() as system:
        reads, does = await system.spawn(_Reads, pause=pause), await system.spawn(_Awaits)
        loop = asyncio.get_running_loop()
        before = loop.time()
        await does.call(lambda me: reads.call("asked by an actor", 7.0), 60.0)
        await reads.call("asked by nobody", 7.0)
        reads.tell(Envelope("as it was made", sender=does, request_id=5, trace=b"trace", flags=3))
        await reads.call("the last")
        asked, outside, made, _ = inside(reads).seen
        assert asked.sender is does
        assert outside.sender is None
        for entry in (asked, outside):
            assert before + 7.0 <= entry.deadline <= loop.time() + 7.0
        assert (made.message, made.sender, made.request_id, made.deadline) == ("as it was made", does, 5, None)
        assert (made.trace, made.flags) == (b"trace", 3)


class _Awaits(Actor):
    async def on_receive(self, message: Any) -> Any:
        return await message(self)


def _has_seen(reads: ActorRef[Any], count: int) -> bool:
    return len(inside(reads).seen) == count


@pytest.mark.parametrize("in_one_burst", [False, True])
@pytest.mark.parametrize("pause", [False, True])
async def test_deadline_and_trace_are_each_messages_own(pause: bool, in_one_burst: bool) -> None:
    async with ActorSystem() as system:
        reads = await system.spawn(_Reads, pause=pause)
        due = system.loop.time() + 60.0
        entries = (Envelope("a", deadline=due, trace=b"a"), "bare", Envelope("b", trace=b"b"), "bare")
        for number, each in enumerate(entries, 1):
            reads.tell(each)
            if not in_one_burst:
                await eventually(partial(_has_seen, reads, number))
        await reads.call("the last")
        seen = [entry and (entry.deadline, entry.trace) for entry in inside(reads).seen[:-1]]
        assert seen == [(due, b"a"), None, (None, b"b"), None]


def test_whether_a_call_is_handed_over_or_queued_is_the_simulations_choice() -> None:
    def handed_over(seed: int) -> bool:
        async def main() -> Any:
            echo = await simulation.system().spawn(Echo)
            return await echo.call("x")

        simulation = Simulation(seed, keep=None)
        assert simulation.run(main) == "x"
        return any("hand-off" in event for event in simulation.trace.events)

    chosen = [handed_over(seed) for seed in range(100)]
    assert 20 <= sum(chosen) <= 80


class _Stoppable(Actor):
    def __init__(self, seen: list[int]) -> None:
        super().__init__()
        self.seen = seen

    def on_receive(self, message: int) -> int:
        self.seen.append(message)
        return message


class _StoppableInItsThread(_Stoppable, ThreadActor):
    pass


@pytest.mark.parametrize("kind", [_Stoppable, _StoppableInItsThread])
@pytest.mark.parametrize("where", ["here", "in an actor", "in a thread"])
async def test_a_stop_keeps_its_place_among_what_its_sender_sends(where: str, kind: type[Any]) -> None:
    def send(_: object = None) -> None:
        for number in range(3):
            ref.tell(number)
        ref.stop()
        ref.tell(3)

    seen: list[int] = []
    async with ActorSystem() as system:
        ref: ActorRef[Any] = await system.spawn(kind, seen)
        if where == "in a thread":
            await asyncio.to_thread(send)
        elif where == "in an actor":
            (await system.spawn(Does)).tell(send)
        else:
            send()
        assert await ref.ended() == Normal()
        await eventually(lambda: system.dead_letters.count)
        assert seen == [0, 1, 2]
        assert system.dead_letters.by_reason == {"dead": 1}


async def test_systems_of_one_process_share_nothing_but_their_thread() -> None:
    async with ActorSystem("one") as one, ActorSystem("other") as other:
        mine, yours = await one.spawn(Echo, name="echo"), await other.spawn(Echo, name="echo")
        assert mine is not yours
        assert await one.ref("echo").call(1) == await other.ref("echo").call(1) == 1
        inside(mine).join("group")
        assert one.groups["group"].members() == (mine,)
        assert other.groups["group"].members() == ()
        other.ref("nobody").tell("lost")
        assert (one.dead_letters.count, other.dead_letters.count) == (0, 1)
        await other.shutdown()
        assert not yours.is_alive()
        assert await mine.call("alive") == "alive"


def test_each_of_several_threads_has_systems_of_its_own() -> None:
    """All of the same name and with the same names in them, at the same time."""
    rounds, threads = 50, 4
    turn = threading.Barrier(threads)

    async def main(which: int) -> list[int]:
        answers: list[int] = []
        async with ActorSystem() as system, ActorSystem() as another:
            await another.spawn(Echo, name="echo")
            for _ in range(rounds):
                turn.wait(30.0)
                ref = await system.spawn(Echo, name="echo")
                answers.append(await system.ref("echo").call(which))
                ref.kill()
                assert await another.ref("echo").call("x") == "x"
            system.ref("echo").tell("lost")
            assert system.dead_letters.count == 1
        return answers

    def run(which: int) -> list[int]:
        return asyncio.run(main(which))

    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(run, range(threads))) == [[which] * rounds for which in range(threads)]


def test_every_error_is_public_and_of_the_family_it_is_said_to_be() -> None:
    family = {
        UnderstudyError: (Exception,),
        CallError: (UnderstudyError,),
        ActorDied: (CallError,),
        NodeDown: (ActorDied,),
        Refused: (CallError,),
        DeadlineExceeded: (CallError, TimeoutError),
        Deadlock: (CallError,),
        Overloaded: (UnderstudyError,),
        StartFailed: (UnderstudyError,),
        NameTaken: (UnderstudyError,),
        NoRoom: (UnderstudyError,),
        Draining: (UnderstudyError,),
        NotRegistered: (UnderstudyError,),
    }
    for error, bases in family.items():
        assert set(bases) <= set(error.__bases__), error
        assert getattr(understudy, error.__name__) is error
        assert error.__name__ in understudy.__all__
    assert {one for one in vars(errors).values() if isinstance(one, type) and one.__module__ == errors.__name__} == set(
        family
    )


# --- ends ---


class _Local:
    """What a handler has in its hands when it fails."""


class _FailsInItsThread(ThreadActor):
    def on_receive(self, message: Any) -> Any:
        return message(self)


@pytest.mark.parametrize("how", ["plain", "first step", "after an await", "background", "thread", "start", "last hook"])
@pytest.mark.parametrize("called", [False, True])
async def test_of_a_crash_no_frame_is_held(how: str, called: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Neither by its reason, wherever that goes, nor by the error of its caller: what the handler had in its hands is free."""
    locals_seen: list[weakref.ref[_Local]] = []

    def fail(_: Any) -> None:
        local = _Local()
        locals_seen.append(weakref.ref(local))
        raise ValueError("with a local")

    async def fail_at_once(me: Any) -> None:
        fail(me)

    async def fail_later(me: Any) -> None:
        local = _Local()
        locals_seen.append(weakref.ref(local))
        await asyncio.sleep(0)
        fail(me)

    class Ends(Actor):
        on_start = fail if how == "start" else Actor.on_start
        on_stop = fail if how == "last hook" else Actor.on_stop

        def on_receive(self, message: Any) -> Any:
            return message(self)

    class Watches(Recorder):
        trap_exit = True

    work = {
        "first step": fail_at_once,
        "after an await": fail_later,
        "background": lambda me: me.run(fail_later(me)),
        "last hook": lambda me: Stop(),
    }.get(how, fail)
    kept: list[Any] = []
    gc.collect()
    gc.disable()
    try:
        async with ActorSystem() as system:
            system.hooks.subscribe(CrashReport, kept.append)
            watches = await system.spawn(Watches)
            if how == "start":
                with pytest.raises(StartFailed):
                    await system.spawn(Ends)
            else:
                ref: ActorRef[Any] = await system.spawn(_FailsInItsThread if how == "thread" else Ends)
                inside(watches).monitor(ref)
                if called:
                    try:
                        await ref.call(work)
                    except ActorDied as error:
                        kept.append(error)
                else:
                    ref.tell(work)
                kept.append(await ref.ended())
                await inside(watches).first(1)
            caplog.clear()  # a log keeps what it was told
            for _ in range(10):
                await asyncio.sleep(0)
            assert locals_seen
            assert [local() for local in locals_seen] == [None] * len(locals_seen)
    finally:
        gc.enable()


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


@pytest.mark.parametrize("kind", ["offloaded", "starting"])
async def test_what_python_cannot_end_is_listed_too_where_its_actor_only_waited_for_it(kind: str) -> None:
    begun, gate, opened = asyncio.Event(), threading.Event(), asyncio.Event()

    class Offloads(Actor):
        async def on_receive(self, _: Any) -> None:
            await self.offload(self.block)

        def block(self) -> None:
            self.system.loop.call_soon_threadsafe(begun.set)
            gate.wait(10.0)

    class Starts(Actor):
        async def on_start(self) -> None:
            begun.set()
            while not opened.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await opened.wait()

    async with ActorSystem() as system:
        if kind == "offloaded":
            ref = await system.spawn(Offloads)
            ref.tell("begin")
            await begun.wait()
            assert system.abandoned() == []
            ref.kill()
        else:
            starting = asyncio.create_task(system.spawn(Starts))
            await begun.wait()
            (ref,) = system.actors()
            starting.cancel()
            await eventually(lambda: not ref.is_alive())
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
        await eventually(lambda: system.abandoned() == [ref])
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
