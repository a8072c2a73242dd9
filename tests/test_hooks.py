"""Hooks: what happens to actors is told to whoever subscribed, and costs nothing while nobody has."""

import asyncio
import logging
import threading
from functools import partial
from typing import Any

import pytest

from tests.helpers import eventually
from tests.players import Does, Echo, inside
from understudy.actors import (
    Actor,
    ActorRef,
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
    UnseenDeath,
    assign,
    sketch,
)
from understudy.actors.reentrant import reentrant
from understudy.supervisors import Child, Router, Supervisor


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


class Busy(Actor):
    """Gets messages in every way there is."""

    volume = 1

    def on_start(self) -> None:
        self.seen: list[Any] = []

    def play(self, song: str) -> str:
        return f"plays {song}"

    async def rest(self) -> None:
        await asyncio.sleep(0)

    def fail(self) -> None:
        raise Refused("no music")

    def on_receive(self, message: Any) -> Any:
        self.seen.append(message)
        match message:
            case ref if isinstance(ref, ActorRef):
                self.monitor(ref)
                self.then(1)
                self.run(asyncio.sleep(0, b"result"))
                self.send_after(0.0, 1.5)
                self.become(self.on_receive_too)
        return None

    def on_receive_too(self, message: Any) -> None:
        self.seen.append(message)


@pytest.mark.parametrize("kind", [Busy, type("BusyThread", (ThreadActor, Busy), {})])
async def test_every_message_that_a_handler_is_given_is_told_however_it_came_and_a_stop_is_none(kind: Any) -> None:
    async with ActorSystem() as system:
        told: list[Handled] = []
        ref, other = await system.spawn(kind), await system.spawn(Echo)
        system.hooks.subscribe(Handled, lambda event: told.append(event) if event.ref is ref else None)
        ref.tell(other)
        other.stop()
        await eventually(lambda: len(told) == 5)
        assert {event.message for event in told} == {"Cell", "int", "bytes", "float", "Down"}
        del told[:]
        player = ref.proxy()
        assert await player.play("x") == "plays x"
        assert await player.volume == 1
        await assign(player, "volume", 11)
        with pytest.raises(Refused):
            await player.fail()
        player.play.defer("y")
        if kind is Busy:
            await player.rest()
        await system.get_state(ref)
        await ref.stop()
        expected = [("proxy.play", "ok"), ("proxy.volume", "ok"), ("proxy.volume", "ok"), ("proxy.fail", "refused")]
        expected += [("proxy.play", "ok"), *([("proxy.rest", "ok")] if kind is Busy else [])]
        await eventually(lambda: len(told) >= len(expected))
        assert [(event.message, event.outcome) for event in told] == expected


async def test_a_trace_and_a_receive_timeout_see_what_is_done_through_a_proxy() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Busy)
        async with system.trace(ref) as trace:
            await ref.proxy().play("x")
            kinds = [await anext(trace), await anext(trace)]
        assert [(event.kind, event.what) for event in kinds] == [("received", "proxy.play"), ("replied", "str")]
        inside(ref).receive_timeout(10)
        patience = ref.bonds.patience  # type: ignore[attr-defined]
        patience._last = 0.0
        await ref.proxy().play("y")
        assert patience._last > 0.0


async def test_the_restarts_of_a_pool_are_told_by_the_name_of_the_place() -> None:
    async with ActorSystem() as system:
        told: list[Restarted] = []
        system.hooks.subscribe(Restarted, told.append)
        pool = await system.spawn(Router, Child(Mixed), size=2, name="pool", intensity=5)
        places = [system.whereis(f"pool/{number}") for number in range(2)]
        pool.tell("crash")
        await eventually(lambda: told)
        (event,) = told
        number = int(event.id.removeprefix("pool/"))
        assert (event.ref, event.restarts) == (system.whereis(event.id), 1)
        assert event.ref != places[number]
        assert "ordered" in str(event.reason)
        assert event.supervisor == system.info(event.ref).parent
        assert system.info(event.ref).restarts == 1
        assert system.whereis(f"pool/{1 - number}") is places[1 - number]


async def test_a_reason_is_a_value_and_keeps_its_text_and_what_is_written_for_people_hides_its_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Leaks(Actor):
        def on_receive(self, message: Any) -> Any:
            raise ValueError("password=hunter2")

        def on_stop(self) -> None:
            raise ValueError("token=hunter2")

    async with ActorSystem() as system:
        events: list[Any] = []
        for kind in (Ended, UnseenDeath):
            system.hooks.subscribe(kind, events.append)
        crashes: list[CrashReport] = []
        system.hooks.subscribe(CrashReport, crashes.append)
        crashed, stopped = await system.spawn(Leaks), await system.spawn(Leaks)
        crashed.tell("x")
        await eventually(lambda: len(events) == 2)  # whoever awaited its end would have seen it
        await stopped.stop()
        assert [event.reason.message for event in events[:2]] == ["password=hunter2"] * 2
        assert "hunter2" in str(await stopped.ended())
        assert "hunter2" not in str(crashes[0])
        assert "hunter2" not in sketch(events[0].reason)
        assert "nobody supervises" in caplog.text
        assert "the last hook" in caplog.text
        assert "hunter2" not in caplog.text


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
        with pytest.raises(TypeError, match="a subscriber is a plain function"):
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
