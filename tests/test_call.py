"""What a call promises: an answer, a refusal, a death or a deadline, whichever way it travels."""

import asyncio
import threading
from typing import Any

import pykka
import pytest

from tests.players import Does, Echo, Hanging, Recorder, inside
from tests.sides import sides
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    DeadlineExceeded,
    Failure,
    Killed,
    NoProc,
    Refused,
    StartFailed,
)


class Asks(Actor):
    """Calls another actor for its caller."""

    async def on_receive(self, message: Any) -> Any:
        ref, question, timeout = message
        return await ref.call(question, timeout)


class Gate(Actor):
    """Handles `wait` until it is opened, then anything."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()
        self.begun = asyncio.Event()
        self.seen: list[Any] = []

    async def on_receive(self, message: Any) -> Any:
        self.seen.append(message)
        if message == "wait":
            self.begun.set()
            await self.opened.wait()
        return message


class Chooser(Actor):
    def on_receive(self, message: Any) -> Any:
        if message == "refuse":
            raise Refused("not today")
        if message == "crash":
            raise ValueError("ouch")
        return message


async def test_a_call_to_an_idle_actor_is_handed_over_without_a_turn_of_the_loop() -> None:
    async with ActorSystem() as system:
        echo = await system.spawn(Echo)
        assert await echo.call(0) == 0  # hand-offs have their slice of time now
        turned: list[bool] = []
        asyncio.get_running_loop().call_soon(turned.append, True)
        assert await echo.call(1) == 1
        assert not turned


async def test_a_call_to_a_busy_actor_waits_for_its_turn() -> None:
    async with ActorSystem() as system:
        gate = await system.spawn(Gate)
        gate.tell("wait")
        asking = asyncio.create_task(gate.call("now"))
        await inside(gate).begun.wait()
        inside(gate).opened.set()
        assert await asking == "now"
        assert inside(gate).seen == ["wait", "now"]


@pytest.mark.parametrize("busy", [False, True])
async def test_a_refusal_reaches_the_caller_and_the_actor_lives(busy: bool) -> None:
    async with ActorSystem() as system:
        chooser = await system.spawn(Chooser)
        if busy:
            chooser.tell("first")
        with pytest.raises(Refused, match="not today"):
            await chooser.call("refuse")
        assert await chooser.call("still here") == "still here"


async def test_a_refusal_may_be_a_class_of_ones_own_and_raised_twice() -> None:
    class Full(Refused):
        def __init__(self) -> None:
            super().__init__("the room is full")

    full = Full()

    def refuse(me: Actor) -> None:
        raise full

    async with ActorSystem() as system:
        does = await system.spawn(Does)
        for _ in range(2):
            with pytest.raises(Full, match="room is full"):
                await does.call(refuse)
        assert does.is_alive()


async def test_a_refused_tell_is_a_dead_letter() -> None:
    async with ActorSystem() as system:
        chooser = await system.spawn(Chooser)
        chooser.tell("refuse")
        assert await chooser.call("x") == "x"
        assert system.dead_letters.by_reason == {"refused": 1}


async def test_a_refusal_of_another_actor_that_escapes_is_a_failure() -> None:
    async with ActorSystem() as system:
        chooser, asks = await system.spawn(Chooser), await system.spawn(Asks)
        with pytest.raises(ActorDied) as died:
            await asks.call((chooser, "refuse", 5.0))
        assert isinstance(died.value.reason, Failure)
        assert chooser.is_alive()
        assert not asks.is_alive()


@pytest.mark.parametrize("busy", [False, True])
async def test_a_crash_reaches_the_caller_at_once(busy: bool) -> None:
    async with ActorSystem() as system:
        chooser = await system.spawn(Chooser)
        if busy:
            chooser.tell("first")
        with pytest.raises(ActorDied, match="ouch") as died:
            await chooser.call("crash")
        assert isinstance(died.value.reason, Failure)


async def test_a_queued_request_fails_when_the_callee_dies_before_it() -> None:
    async with ActorSystem() as system:
        hanging = await system.spawn(Hanging)
        asking = [asyncio.create_task(hanging.call(n)) for n in range(3)]
        await inside(hanging).begun.wait()
        hanging.kill()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        assert [outcome.reason for outcome in outcomes if isinstance(outcome, ActorDied)] == [Killed()] * 3


async def test_a_handed_over_request_fails_when_its_handler_is_killed_while_it_waits() -> None:
    class Mixed(Actor):
        def on_receive(self, message: asyncio.Event) -> Any:
            return self.wait(message)

        async def wait(self, begun: asyncio.Event) -> None:
            begun.set()
            await asyncio.Event().wait()

    async with ActorSystem() as system:
        mixed = await system.spawn(Mixed)
        begun = asyncio.Event()
        asking = asyncio.create_task(mixed.call(begun))
        await begun.wait()
        mixed.kill()
        with pytest.raises(ActorDied, match="killed"):
            await asking


async def test_a_call_to_a_dead_actor_fails_at_once() -> None:
    async with ActorSystem() as system:
        echo = await system.spawn(Echo)
        echo.kill()
        with pytest.raises(ActorDied) as died:
            await echo.call(1)
        assert died.value.reason == NoProc()


async def test_a_call_ends_at_its_deadline_and_the_late_reply_is_dropped() -> None:
    async with ActorSystem() as system:
        gate = await system.spawn(Gate)
        with pytest.raises(DeadlineExceeded) as late:
            await gate.call("wait", timeout=0.01)
        assert isinstance(late.value, TimeoutError)
        inside(gate).opened.set()
        assert await gate.call("next") == "next"


async def test_a_request_that_expired_in_the_mailbox_is_dropped_and_counted() -> None:
    async with ActorSystem() as system:
        gate = await system.spawn(Gate)
        gate.tell("wait")
        await inside(gate).begun.wait()
        with pytest.raises(DeadlineExceeded):
            await gate.call("too late", timeout=0)
        inside(gate).opened.set()
        assert await gate.call("next") == "next"
        assert inside(gate).seen == ["wait", "next"]
        assert system.expired == 1


async def test_the_request_of_a_cancelled_caller_is_dropped_if_it_has_not_begun() -> None:
    async with ActorSystem() as system:
        gate = await system.spawn(Gate)
        gate.tell("wait")
        await inside(gate).begun.wait()
        asking = asyncio.create_task(gate.call("nobody waits"))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait((asking,))
        inside(gate).opened.set()
        assert await gate.call("next") == "next"
        assert inside(gate).seen == ["wait", "next"]


@pytest.mark.parametrize("timeout", [-1.0, float("nan"), None, "5"])
@pytest.mark.parametrize("callee", ["idle", "busy", "afar", "by name"])
async def test_a_timeout_that_cannot_be_meant_is_an_error_and_nothing_is_sent(callee: str, timeout: Any) -> None:
    async with sides("a", "b") as (a, b):
        ref: ActorRef[Any] = await a.system.spawn(Recorder, name="recorder")
        recorder = inside(ref)
        if callee == "busy":
            ref.tell("something to do")
        elif callee == "afar":
            ref = b.links.named("a", "recorder")
        elif callee == "by name":
            ref = a.system.ref("recorder")
        error = ValueError if isinstance(timeout, float) else TypeError
        with pytest.raises(error, match="a timeout is a number of seconds from 0 up, not"):
            await ref.call("no", timeout=timeout)
        assert await ref.call("yes", timeout=float("inf")) is None
        assert "no" not in recorder.seen


# --- inherited deadlines ---


async def test_a_nested_call_waits_no_longer_than_its_request_and_only_the_request_ends() -> None:
    async with ActorSystem() as system:
        hanging, asks, echo = await system.spawn(Hanging), await system.spawn(Asks), await system.spawn(Echo)
        with pytest.raises(DeadlineExceeded):
            await asks.call((hanging, "x", 3600.0), timeout=0.02)
        assert await asks.call((echo, "still here", 5.0)) == "still here"


async def test_a_nested_call_of_a_handed_over_request_inherits_its_deadline() -> None:
    class Mixed(Actor):
        def on_receive(self, message: ActorRef[Any]) -> Any:
            return message.call("x", timeout=3600.0)

    async with ActorSystem() as system:
        hanging, mixed, echo = await system.spawn(Hanging), await system.spawn(Mixed), await system.spawn(Echo)
        with pytest.raises(DeadlineExceeded):
            await mixed.call(hanging, timeout=0.02)
        assert await mixed.call(echo) == "x"


async def test_a_clients_impatience_kills_no_server_however_deep_and_stalled() -> None:
    """The loop stands still past the deadline, so that the last one in the chain notices before its callers do."""

    class Stalling(Actor):
        async def on_receive(self, message: Any) -> Any:
            loop = asyncio.get_running_loop()
            end = loop.time() + 0.03
            while loop.time() < end:
                pass
            return await message.call("x")

    async with ActorSystem() as system:
        echo, last = await system.spawn(Echo), await system.spawn(Stalling)
        asks, first = await system.spawn(Asks), await system.spawn(Asks)
        with pytest.raises(DeadlineExceeded):
            await first.call((asks, (last, echo, 60.0), 60.0), timeout=0.02)
        assert await first.call((asks, (last, echo, 60.0), 60.0)) == "x"
        assert all(ref.is_alive() for ref in (first, asks, last))


async def test_an_own_timeout_that_escapes_is_a_failure() -> None:
    async with ActorSystem() as system:
        hanging, asks = await system.spawn(Hanging), await system.spawn(Asks)
        with pytest.raises(ActorDied, match="DeadlineExceeded"):
            await asks.call((hanging, "x", 0.01), timeout=5.0)


async def test_background_tasks_and_tells_inherit_no_deadline() -> None:
    async with ActorSystem() as system:
        gate = await system.spawn(Gate)
        answers: asyncio.Queue[Any] = asyncio.Queue()

        async def later() -> None:
            answers.put_nowait(await gate.call("wait", timeout=60.0))

        class Starter(Actor):
            async def on_receive(self, message: Any) -> None:
                self.run(later())

        await (await system.spawn(Starter)).call("go", timeout=0.5)
        await inside(gate).begun.wait()
        open_requests = inside(gate)._cell.envelope
        assert open_requests.deadline > asyncio.get_running_loop().time() + 30.0
        inside(gate).opened.set()
        assert await answers.get() == "wait"


async def test_a_plain_handler_after_an_async_one_has_no_stale_deadline() -> None:
    """A task that a plain handler starts by itself inherits the request at hand, never an earlier one."""
    answers: asyncio.Queue[Any] = asyncio.Queue()

    class Twofold(Actor):
        def on_receive(self, message: Any) -> Any:
            if message == "async":
                return asyncio.sleep(0)
            self.task = asyncio.create_task(self.ask(message))
            return None

        async def ask(self, ref: ActorRef[Any]) -> None:
            answers.put_nowait(await ref.call("x"))

    async with ActorSystem() as system:
        echo, twofold = await system.spawn(Echo), await system.spawn(Twofold)
        loop = asyncio.get_running_loop()
        await twofold.call("async", timeout=0.02)
        end = loop.time() + 0.03
        while loop.time() < end:
            pass
        twofold.tell(echo)
        assert await answers.get() == "x"


# --- oneself, and hand-offs that bite back ---


@pytest.mark.parametrize("where", ["handler", "start"])
async def test_a_call_to_oneself_is_an_error_at_once(where: str) -> None:
    class Narcissus(Actor):
        async def on_start(self) -> None:
            if where == "start":
                await self.actor_ref.call("me")

        async def on_receive(self, message: Any) -> Any:
            return await self.actor_ref.call("me")

    async with ActorSystem() as system:
        with pytest.raises((ActorDied, StartFailed), match=r"Deadlock.*called itself"):
            await (await system.spawn(Narcissus)).call("go")


async def test_a_handed_over_handler_may_tell_itself_and_its_caller() -> None:
    async with ActorSystem() as system:
        recorder, callee = await system.spawn(Recorder), await system.spawn(Does)

        def back(me: Actor) -> str:
            me.actor_ref.tell(lambda again: recorder.tell("itself"))
            recorder.tell("caller")
            return "answer"

        class Caller(Recorder):
            async def on_receive(self, message: Any) -> Any:
                return await callee.call(back)

        assert await (await system.spawn(Caller)).call("go") == "answer"
        assert await inside(recorder).first(2) == ["caller", "itself"]


async def test_a_caller_that_dies_of_its_callee_during_the_hand_off_dies_there() -> None:
    survived: list[str] = []
    callee: ActorRef[Any]

    class Caller(Actor):
        async def on_receive(self, message: Any) -> None:
            self.link(callee)
            try:
                await callee.call(message)
            except ActorDied:
                survived.append("the call")
            survived.append("the death")

    async with ActorSystem() as system:
        callee = await system.spawn(Chooser)
        caller = await system.spawn(Caller)
        caller.tell("crash")
        assert isinstance(await caller.ended(), Failure)
    assert survived == []


async def test_a_caller_that_its_callee_kills_goes_no_further() -> None:
    survived: list[str] = []

    class Caller(Actor):
        async def on_receive(self, message: ActorRef[Any]) -> None:
            await message.call(lambda me: self.actor_ref.kill())
            survived.append("the kill")

    async with ActorSystem() as system:
        caller = await system.spawn(Caller)
        caller.tell(await system.spawn(Does))
        assert await caller.ended() == Killed()
        await asyncio.sleep(0)
    assert survived == []


# --- other threads and loops ---


async def test_a_thread_asks_and_gets_answers_refusals_and_deaths() -> None:
    async with ActorSystem() as system:
        chooser = await system.spawn(Chooser)
        assert await asyncio.to_thread(chooser.ask, "hello", timeout=5) == "hello"
        with pytest.raises(Refused):
            await asyncio.to_thread(chooser.ask, "refuse", timeout=5)
        with pytest.raises(ActorDied):
            await asyncio.to_thread(chooser.ask, "crash", timeout=5)
        with pytest.raises(pykka.ActorDeadError):
            await asyncio.to_thread(chooser.ask, "hello", timeout=5)


async def test_a_request_whose_asker_gave_up_is_dropped() -> None:
    async with ActorSystem() as system:
        gate = await system.spawn(Gate)
        gate.tell("wait")
        await inside(gate).begun.wait()
        with pytest.raises(pykka.Timeout):
            await asyncio.to_thread(gate.ask, "nobody waits", timeout=0.01)
        inside(gate).opened.set()
        assert await gate.call("next") == "next"
        assert inside(gate).seen == ["wait", "next"]


async def test_a_blocking_wait_on_the_loops_own_thread_is_refused_with_the_remedy() -> None:
    async with ActorSystem() as system:
        echo = await system.spawn(Echo)
        with pytest.raises(RuntimeError, match=r"await ref\.call"):
            echo.ask("hello")
        asked = echo.ask("hello", block=False)
        with pytest.raises(RuntimeError, match=r"await ref\.call"):
            asked.get(timeout=1)
        assert await asyncio.to_thread(asked.get, timeout=5) == "hello"
        assert asked.get() == "hello"
        with pytest.raises(RuntimeError, match=r"await ref\.stop"):
            echo.stop().get(timeout=1)
        await echo.ended()


@pytest.mark.parametrize("message", ["hello", "refuse", "crash"])
async def test_a_coroutine_of_another_threads_loop_calls_as_one_of_ours(message: str) -> None:
    async with ActorSystem() as system:
        chooser = await system.spawn(Chooser)

        async def elsewhere() -> Any:
            try:
                return await chooser.call(message)
            except (Refused, ActorDied) as error:
                return type(error)

        answer = await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
        assert answer == {"hello": "hello", "refuse": Refused, "crash": ActorDied}[message]


async def test_an_actor_survives_a_caller_whose_loop_is_closed() -> None:
    async with ActorSystem() as system:
        gate = await system.spawn(Gate)

        async def give_up() -> None:
            asking = asyncio.ensure_future(gate.call("wait"))
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(inside(gate).begun.wait(), system.loop))
            asking.cancel()

        await asyncio.to_thread(lambda: asyncio.run(give_up()))
        inside(gate).opened.set()
        assert await gate.call("next") == "next"


async def test_two_systems_on_two_threads_tell_and_call_each_other() -> None:
    ready: asyncio.Queue[tuple[ActorSystem, ActorRef[Any]]] = asyncio.Queue()
    here = asyncio.get_running_loop()
    over = threading.Event()

    async def there() -> None:
        async with ActorSystem("there") as system:
            asks = await system.spawn(Asks)
            here.call_soon_threadsafe(ready.put_nowait, (system, asks))
            await asyncio.to_thread(over.wait)

    thread = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(there())))
    async with ActorSystem("here") as system:
        echo = await system.spawn(Echo)
        _, asks = await ready.get()
        try:
            for n in range(100):
                assert await asks.call((echo, n, 5.0)) == n
        finally:
            over.set()
            await thread
