"""Hooks: what happens to actors is told to whoever subscribed, and costs nothing while nobody has."""

import asyncio
import logging
import threading
from functools import partial
from typing import Any

import pytest

from tests.helpers import eventually
from tests.players import Does, Echo
from understudy.actors import (
    Actor,
    ActorSystem,
    CrashReport,
    DeadLetter,
    Ended,
    Handled,
    Killed,
    Normal,
    Refused,
    Restarted,
    Spawned,
    ThreadActor,
)
from understudy.actors.reentrant import reentrant
from understudy.supervisors import Child, Supervisor


class Mixed(Actor):
    def on_receive(self, message: Any) -> Any:
        match message:
            case "refuse":
                raise Refused("no")
            case "crash":
                raise ValueError("ordered")
            case "aside":
                return self.aside()
            case float():
                return asyncio.sleep(message, "slept")
        return message

    @reentrant
    async def aside(self) -> str:
        await asyncio.sleep(0.01)
        return "aside"


class Threaded(ThreadActor):
    def on_receive(self, message: Any) -> Any:
        return message


async def test_births_and_deaths_are_told() -> None:
    async with ActorSystem() as system:
        told: list[Any] = []
        system.hooks.subscribe(Spawned, told.append)
        system.hooks.subscribe(Ended, told.append)
        parent = await system.spawn(Does, name="parent")
        child = await parent.call(lambda me: me.spawn(Echo))
        child.stop()
        await child.ended()
        parent.kill()
        assert told == [
            Spawned(parent, "Does", "parent", None),
            Spawned(child, "Echo", None, parent),
            Ended(child, "Echo", None, Normal()),
            Ended(parent, "Does", "parent", Killed()),
        ]


async def test_restarts_are_told_with_the_reason_and_the_number() -> None:
    async with ActorSystem() as system:
        told: list[Restarted] = []
        system.hooks.subscribe(Restarted, told.append)
        supervisor = await system.spawn(Supervisor, [Child(Mixed, name="mixed")], intensity=5)
        for number in (1, 2):
            system.ref("mixed").tell("crash")
            await eventually(partial(_reached, told, number))
        assert [event.restarts for event in told] == [1, 2]
        assert (told[0].supervisor, told[0].id, "ordered" in str(told[0].reason)) == (supervisor, "mixed", True)


async def test_crashes_and_dead_letters_are_told() -> None:
    async with ActorSystem() as system:
        crashes: list[CrashReport] = []
        letters: list[DeadLetter] = []
        system.hooks.subscribe(CrashReport, crashes.append)
        end = system.hooks.subscribe(DeadLetter, letters.append)
        ref = await system.spawn(Mixed)
        ref.tell("crash")
        await ref.ended()
        ref.tell("late")
        await eventually(lambda: letters)
        end()
        ref.tell("later")
        assert crashes[0].ref is ref
        assert [letter.message for letter in letters] == ["late"]


async def test_each_handled_message_is_told_with_its_duration_and_outcome_whatever_its_handler_is() -> None:
    async with ActorSystem() as system:
        told: list[Handled] = []
        ref, threaded = await system.spawn(Mixed), await system.spawn(Threaded)
        await ref.call("before")
        end = system.hooks.subscribe(Handled, told.append)
        await ref.call("plain")
        await ref.call(0.02)
        await ref.call("aside")
        with pytest.raises(Refused):
            await ref.call("refuse")
        await threaded.call("thread")
        fresh = await system.spawn(Mixed)
        fresh.tell("crash")
        await fresh.ended()
        await eventually(lambda: len(told) == 6)
        assert [(event.ref, event.message, event.outcome) for event in told] == [
            (ref, "str", "ok"),
            (ref, "float", "ok"),
            (ref, "str", "ok"),
            (ref, "str", "refused"),
            (threaded, "str", "ok"),
            (fresh, "str", "failed"),
        ]
        assert told[1].seconds >= 0.015
        assert told[2].seconds >= 0.005
        end()
        await ref.call("after")
        assert len(told) == 6


async def test_handlers_are_wrapped_only_while_somebody_listens() -> None:
    async with ActorSystem() as system:
        refs = [await system.spawn(Echo) for _ in range(2_500)]
        for ref in refs:
            await ref.call(1)
        plain: list[Any] = [ref.receive for ref in refs]  # type: ignore[attr-defined]
        ends = [system.hooks.subscribe(Handled, lambda _: None) for _ in range(2)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert all(ref.receive != before for ref, before in zip(refs, plain, strict=True))  # type: ignore[attr-defined]
        for end in ends:
            end()
        for _ in range(5):
            await asyncio.sleep(0)
        assert [ref.receive for ref in refs] == plain  # type: ignore[attr-defined]


async def test_a_listener_that_fails_is_reported_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Any) -> None:
        raise ValueError("a broken listener")

    async with ActorSystem() as system:
        told: list[Handled] = []
        system.hooks.subscribe(Handled, fail)
        system.hooks.subscribe(Handled, told.append)
        system.hooks.subscribe(Spawned, fail)
        ref = await system.spawn(Echo)
        assert await ref.call("x") == "x"
        assert len(told) == 1
        assert ref.is_alive()
    assert "a broken listener" in caplog.text


async def test_one_may_subscribe_and_end_it_from_any_thread_and_within_a_callback() -> None:
    async with ActorSystem() as system:
        told: list[Spawned] = []
        ends = [await asyncio.to_thread(system.hooks.subscribe, Spawned, told.append)]
        await eventually(lambda: system.hooks.wants(Spawned))
        system.hooks.subscribe(Spawned, lambda _: ends.pop()() if ends else None)
        await system.spawn(Echo)
        await system.spawn(Echo)
        assert len(told) == 1


async def test_what_is_no_event_or_no_callback_is_refused() -> None:
    async with ActorSystem() as system:
        with pytest.raises(TypeError, match="a class of events"):
            system.hooks.subscribe("spawned", print)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a callable"):
            system.hooks.subscribe(Spawned, None)  # type: ignore[arg-type]


async def test_events_of_a_thread_actor_are_told_on_the_loop() -> None:
    async with ActorSystem() as system:
        idents: set[int] = set()
        system.hooks.subscribe(Handled, lambda _: idents.add(threading.get_ident()))
        await (await system.spawn(Threaded)).call("x")
        await eventually(lambda: idents)
        assert idents == {threading.get_ident()}


async def test_whoever_subscribed_in_one_system_hears_nothing_of_another(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    async with ActorSystem("one") as one, ActorSystem("two") as two:
        told: list[Any] = []
        one.hooks.subscribe(Spawned, told.append)
        await two.spawn(Echo)
        assert not told


def _reached(told: list[Any], number: int) -> bool:
    return len(told) == number
