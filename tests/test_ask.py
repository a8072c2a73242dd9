"""What a blocking ask inherits and promises, in an actor's thread, in a plain one, and on the loop."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pykka
import pytest

from tests.helpers import eventually
from tests.players import Does, Echo, Hanging, inside
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    DeadlineExceeded,
    Later,
    Refused,
    ThreadActor,
)


class Works(ThreadActor):
    """Runs the function it is sent; anything else is its answer."""

    def on_receive(self, message: Any) -> Any:
        return message(self) if callable(message) else message


class Gate(Actor):
    """Answers once it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()
        self.seen: list[Any] = []

    async def on_receive(self, message: Any) -> Any:
        self.seen.append(message)
        await self.opened.wait()
        return message


def asks(gate: ActorRef[Any], timeout: float | None = None) -> Callable[[Any], Any]:
    return lambda me: gate.ask("x", timeout=timeout)


def asks_first_and_waits_later(gate: ActorRef[Any], timeout: float | None = None) -> Callable[[Any], Any]:
    return lambda me: gate.ask("x", block=False).get(timeout=timeout)


WAYS = [asks, asks_first_and_waits_later]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("own", [None, 100.0])
async def test_a_thread_waits_no_longer_than_the_request_it_handles_and_only_the_request_ends(
    way: Any, own: float | None
) -> None:
    async with ActorSystem() as system:
        works, gate = await system.spawn(Works), await system.spawn(Gate)
        with pytest.raises(DeadlineExceeded):
            await works.call(way(gate, own), timeout=0.05)
        assert await works.call("still here") == "still here"
        gate.exit()


@pytest.mark.parametrize("way", WAYS)
async def test_a_threads_own_timeout_that_escapes_is_a_failure(way: Any) -> None:
    async with ActorSystem() as system:
        works, gate = await system.spawn(Works), await system.spawn(Gate)
        with pytest.raises(ActorDied, match="Timeout"):
            await works.call(way(gate, 0.01), timeout=5)
        gate.exit()


async def test_a_thread_with_no_time_left_asks_nobody() -> None:
    async with ActorSystem() as system:
        works, gate = await system.spawn(Works), await system.spawn(Gate)
        late: list[bool] = []
        over = threading.Event()

        def dawdle(me: Any) -> Any:
            over.wait(10)
            try:
                return gate.ask("x")
            except DeadlineExceeded as error:
                late.append(error.inherited)
                raise

        with pytest.raises(DeadlineExceeded):
            await works.call(dawdle, timeout=0.01)
        over.set()
        assert await works.call("x") == "x"
        assert late == [True]
        assert gate.actor.seen == []  # type: ignore[attr-defined]


async def test_a_tell_to_a_thread_and_the_message_after_a_request_have_no_deadline() -> None:
    async with ActorSystem() as system:
        works, echo = await system.spawn(Works), await system.spawn(Echo)
        answers: list[Any] = []
        with pytest.raises(DeadlineExceeded):
            await works.call(lambda me: threading.Event().wait(0.03), timeout=0.01)
        works.tell(lambda me: answers.append(me.actor_ref.system.scheduler and echo.ask("x")))
        await works.call("flush")
        assert answers == ["x"]


async def test_what_a_thread_asks_passes_its_deadline_on() -> None:
    """Loop actor -> thread actor -> loop actor -> nobody answers: the first caller's time is everybody's."""
    async with ActorSystem() as system:
        gate, echo, works = await system.spawn(Gate), await system.spawn(Does), await system.spawn(Works)
        ended: list[bool] = []

        async def last(me: Any) -> Any:
            try:
                return await gate.call("x", 100)
            except DeadlineExceeded as late:
                ended.append(late.inherited)
                raise

        with pytest.raises(DeadlineExceeded):
            await works.call(lambda me: echo.ask(last), timeout=0.05)
        assert await echo.call(lambda me: "alive") == "alive"
        assert await works.call("alive") == "alive"
        assert ended == [True]
        gate.exit()


async def test_a_plain_threads_timeout_is_the_requests_deadline() -> None:
    async with ActorSystem() as system:
        gate = await system.spawn(Gate)
        first = asyncio.create_task(gate.call("first"))
        await eventually(lambda: gate.actor.seen)  # type: ignore[attr-defined]
        with pytest.raises(pykka.Timeout):
            await asyncio.to_thread(gate.ask, "x", timeout=0.02)
        gate.actor.opened.set()  # type: ignore[attr-defined]
        assert await first == "first"
        assert await gate.call("last") == "last"
        assert gate.actor.seen == ["first", "last"]  # type: ignore[attr-defined]


async def test_a_request_that_expires_in_a_threads_mailbox_is_dropped_and_counted() -> None:
    async with ActorSystem() as system:
        works = await system.spawn(Works)
        begun, let_go, never = threading.Event(), threading.Event(), threading.Event()

        def block(me: Any) -> None:
            begun.set()
            let_go.wait(10)

        works.tell(block)
        await asyncio.to_thread(begun.wait, 10)
        other = await system.spawn(Does)

        async def ask(me: Any) -> Any:
            return await works.call(lambda me: never.set(), timeout=0.01)

        with pytest.raises(ActorDied, match="DeadlineExceeded"):  # its own timeout, which it lets escape
            await other.call(ask)
        let_go.set()
        assert await works.call("x") == "x"
        assert not never.is_set()
        assert system.expired == 1


@pytest.mark.parametrize("what", ["ask", "get", "stop"])
async def test_on_the_loops_own_thread_a_blocking_wait_says_what_to_do_instead(what: str) -> None:
    async with ActorSystem() as system:
        echoes, does = [await system.spawn(Echo) for _ in range(2)], await system.spawn(Does)

        def block(me: Any) -> str:
            echo = echoes.pop()
            waits: dict[str, Callable[[], Any]] = {
                "ask": lambda: echo.ask("x"),
                "get": echo.ask("x", block=False).get,
                "stop": lambda: echo.stop().get(),
            }
            with pytest.raises(
                RuntimeError, match=r"would block the event loop .*; on the loop use: .*await"
            ) as refused:
                waits[what]()
            return str(refused.value)

        assert await does.call(block)
        assert block(None)


async def test_a_late_answer_to_a_thread_is_dropped() -> None:
    class Desk(Actor):
        def on_receive(self, message: Any) -> Any:
            self.later = Later()
            return self.later

    async with ActorSystem() as system:
        desk = await system.spawn(Desk)
        with pytest.raises(pykka.Timeout):
            await asyncio.to_thread(desk.ask, "x", timeout=0.02)
        desk.actor.later.set("too late")  # type: ignore[attr-defined]
        assert desk.is_alive()
        assert desk.bonds is None or not desk.bonds.owed  # type: ignore[attr-defined]


async def test_a_refusal_and_a_death_reach_a_thread_that_asks() -> None:
    def refuse(me: Any) -> Any:
        raise Refused("no")

    def crash(me: Any) -> Any:
        raise ValueError("ouch")

    async with ActorSystem() as system:
        works, does = await system.spawn(Works), await system.spawn(Does)

        def ask(me: Any) -> list[str]:
            told: list[str] = []
            for how in (refuse, crash, "x"):
                try:
                    does.ask(how)
                except (Refused, ActorDied) as error:
                    told.append(str(error))
            return told

        refused, died, gone = await works.call(ask)
        assert refused == "no"
        assert "ouch" in died
        assert "no such actor" in gone


async def test_a_thread_that_asks_learns_that_the_loop_was_closed_without_a_shutdown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("understudy.actors.answer.LOOK_UP", 0.01)
    there, asked = threading.Event(), threading.Event()
    refs: list[ActorRef[Any]] = []

    async def elsewhere() -> None:
        system = ActorSystem("elsewhere", slow_after=None)
        refs.append(await system.spawn(Hanging))
        there.set()
        await asyncio.to_thread(asked.wait)

    def run_and_close() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(elsewhere())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    owner = threading.Thread(target=run_and_close)
    owner.start()
    await asyncio.to_thread(there.wait)
    asking = [asyncio.create_task(asyncio.to_thread(refs[0].ask, number)) for number in range(2)]
    answer = refs[0].ask("held", block=False)
    await eventually(lambda: len(inside(refs[0])._cell.mailbox) == 2)  # one is at hand
    asked.set()
    await asyncio.to_thread(owner.join)
    for each in asking:
        with pytest.raises(ActorDied, match="its event loop was closed"):
            await each
    with pytest.raises(ActorDied, match="its event loop was closed"):
        await asyncio.to_thread(answer.get)
