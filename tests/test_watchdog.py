"""The watchdog says which handler stands where, and only when one does. Real time: what it watches is the machine's."""

import asyncio
import gc
import logging
import math
import sys
import threading
import time
import weakref
from functools import partial
from typing import Any

import pytest

from tests.helpers import eventually
from tests.players import Echo, inside
from tests.virtual import virtually
from understudy.actors import Actor, ActorSystem, HighWater, SlowHandler, ThreadActor
from understudy.actors import watchdog as watchdogs
from understudy.actors.frames import all_frames
from understudy.actors.watchdog import Watch, watchdog

SHORT = 0.02
"""The threshold in these tests."""


class Blocks(Actor):
    """Holds the loop until the watchdog has said something, or for ten seconds."""

    def __init__(self, told: threading.Event) -> None:
        super().__init__()
        self.told = told

    def on_receive(self, message: Any) -> Any:
        return self.hold()

    def hold(self) -> bool:
        return self.told.wait(10)


class BlocksLater(Blocks):
    async def on_receive(self, message: Any) -> Any:
        await asyncio.sleep(0)
        return self.hold()


class BlocksAtStart(Blocks):
    def on_start(self) -> None:
        self.hold()


class BlocksAside(Blocks):
    def on_receive(self, message: Any) -> Any:
        self.run(self.aside())

    async def aside(self) -> None:
        self.hold()


class BlocksAThread(ThreadActor):
    def __init__(self, told: threading.Event) -> None:
        super().__init__()
        self.told = told

    def on_receive(self, message: Any) -> Any:
        return self.told.wait(10)


class Ear:
    """Listens to the watchdog; `told` is set with the first news. A stall of the machine's own is none of ours."""

    def __init__(self, system: ActorSystem, kind: type[Actor] | None) -> None:
        self.events: list[SlowHandler] = []
        self.told = threading.Event()
        self._cls = kind
        system.hooks.subscribe(SlowHandler, self.hear)

    def hear(self, event: SlowHandler) -> None:
        ours = "threading.py" in event.at if self._cls is None else getattr(event.ref, "kind", None) is self._cls
        if ours:
            self.events.append(event)
            self.told.set()

    async def over(self) -> list[SlowHandler]:
        await eventually(lambda: self.events and self.events[-1].over)
        return self.events


def quick() -> ActorSystem:
    return ActorSystem(slow_after=SHORT, slow_thread_after=SHORT)


@pytest.mark.parametrize("kind", [Blocks, BlocksLater])
async def test_a_handler_that_holds_the_loop_is_named_with_its_message_and_line_once_and_with_the_total(
    kind: Any,
) -> None:
    async with quick() as system:
        ear = Ear(system, kind)
        ref = await system.spawn(kind, ear.told, name="sluggard")
        ref.tell("hold")
        first, *_, last = await ear.over()
        assert (first.ref, first.message, first.over) == (ref, "str", False)
        assert f"in {kind.__name__}.on_receive" in first.where
        assert "test_watchdog.py:" in first.where
        assert "threading.py:" in first.at
        assert SHORT <= first.seconds <= last.seconds
        assert last.over


async def test_a_handler_that_was_called_on_the_spot_is_named_and_not_its_caller() -> None:
    async with quick() as system:
        ear = Ear(system, Blocks)
        ref = await system.spawn(Blocks, ear.told)
        await ref.call("hold")
        events = await ear.over()
        assert (events[0].ref, events[0].message) == (ref, "str")
        assert "in Blocks.on_receive" in events[0].where


async def test_hooks_and_background_tasks_are_named_as_such() -> None:
    async with quick() as system:
        ear = Ear(system, BlocksAtStart)
        ref = await system.spawn(BlocksAtStart, ear.told)
        first, *_ = await ear.over()
        assert (first.ref, first.message) == (ref, "on_start")
        assert "in BlocksAtStart.on_start" in first.where
        other = Ear(system, BlocksAside)
        aside = await system.spawn(BlocksAside, other.told)
        aside.tell("go")
        first, *_ = await other.over()
        assert (first.ref, first.message) == (aside, "a background task")


async def test_what_is_no_actors_code_is_something_on_the_loop() -> None:
    async with quick() as system:
        ear = Ear(system, None)
        await asyncio.sleep(0)
        ear.told.wait(10)
        first, *_ = await ear.over()
        assert first.ref is None
        assert "something on the loop" in str(first)
        assert "threading.py:" in first.at


async def test_a_thread_actor_has_a_limit_of_its_own() -> None:
    async with quick() as system:
        ear = Ear(system, BlocksAThread)
        ref = await system.spawn(BlocksAThread, ear.told)
        assert await ref.call("hold") is True
        first, *_, last = await ear.over()
        assert (first.ref, first.message, last.over) == (ref, "str", True)
        assert "in BlocksAThread.on_receive" in first.where


async def test_it_is_logged_with_the_data(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with quick() as system:
        ear = Ear(system, Blocks)
        ref = await system.spawn(Blocks, ear.told, name="sluggard")
        await ref.call("hold")
        events = await ear.over()
    records: list[Any] = [record for record in caplog.records if hasattr(record, "slow_handler")]
    records = [record for record in records if record.slow_handler.ref is ref]
    assert [record.slow_handler for record in records] == events
    assert "'sluggard'" in records[0].getMessage()
    assert "goes on after" in records[-1].getMessage()


async def test_the_same_stall_is_told_again_only_when_it_is_ten_times_as_long() -> None:
    async with quick() as system:
        events: list[SlowHandler] = []
        again = threading.Event()
        ref = await system.spawn(Blocks, again)

        def hear(event: SlowHandler) -> None:
            if event.ref is ref:
                events.append(event)
                if len(events) == 2:
                    again.set()

        system.hooks.subscribe(SlowHandler, hear)
        await ref.call("hold", timeout=20)
        await eventually(lambda: events[-1].over)
        assert events[1].seconds >= 10 * SHORT
        assert [event.over for event in events][:2] == [False, False]


async def test_handlers_that_keep_being_slow_are_told_a_few_times_and_then_rarely() -> None:
    async with quick() as system:
        ear = Ear(system, Blocks)
        ref = await system.spawn(Blocks, threading.Event())
        inside(ref).hold = partial(time.sleep, 2.5 * SHORT)
        for _ in range(12):
            await ref.call("hold")
            await asyncio.sleep(SHORT)
        assert 1 <= sum(event.over for event in ear.events) <= 5


async def test_fast_handlers_and_an_idle_loop_are_told_nothing_of() -> None:
    async with ActorSystem(slow_after=None) as system:
        told: list[SlowHandler] = []
        system.hooks.subscribe(SlowHandler, told.append)
        echo = await system.spawn(Echo)
        watch = Watch(system.scheduler, 0.5, None)
        for second in range(50):  # a look a second, in the middle of anything
            looking = asyncio.create_task(asyncio.to_thread(look, watch, second))
            while not looking.done():
                for number in range(100):
                    echo.tell(number)
                await echo.call("x")
                await asyncio.sleep(0)
            assert await looking
            beat = asyncio.Event()  # behind the one that the look may have asked for
            asyncio.get_running_loop().call_soon_threadsafe(beat.set)
            await beat.wait()
        assert not told


async def test_one_thread_watches_all_systems_and_ends_with_the_last() -> None:
    def dogs() -> int:
        return sum(thread.name == "understudy-watchdog" for thread in threading.enumerate())

    before = dogs()
    async with ActorSystem("one"):
        async with ActorSystem("two"), ActorSystem("off", slow_after=None):
            assert dogs() == 1
        assert dogs() == 1
    assert dogs() == before


async def test_it_can_be_switched_off() -> None:
    async with ActorSystem(slow_after=None) as system:
        assert not any(watch.scheduler() is system.scheduler for watch in watchdog._watches)


def test_a_system_whose_loop_is_closed_under_it_is_forgotten() -> None:
    systems: list[ActorSystem] = []

    async def main() -> None:
        systems.append(ActorSystem(slow_after=SHORT))

    virtually(main())
    deadline = time.monotonic() + 5
    while any(watch.scheduler() is systems[0].scheduler for watch in watchdog._watches):
        assert time.monotonic() < deadline
        time.sleep(SHORT)


def look(watch: Watch, now: float) -> bool:
    return watch.look(all_frames(), now)


@pytest.mark.seeds(1)
async def test_there_is_none_in_a_simulation() -> None:
    async with ActorSystem() as system:
        assert not any(watch.scheduler() is system.scheduler for watch in watchdog._watches)


# --- mailboxes that nobody takes messages from ---


class Waits(Actor):
    """Waits for ever in its first handler."""

    high_water = 100

    async def on_receive(self, message: Any) -> Any:
        await asyncio.get_running_loop().create_future()


class Blocked(Blocks):
    high_water = 100


class BlockedThread(BlocksAThread):
    high_water = 100


class Held(Actor):
    """Does nothing, and is suspended."""

    high_water = 100

    def on_receive(self, message: Any) -> Any:
        return None


class HeldThread(ThreadActor, Held):
    """The same with a thread of its own."""


@pytest.fixture
def frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog looks at mailboxes whenever it looks at all."""
    monkeypatch.setattr(watchdogs, "ALARM_EVERY", 0.0)


def hears(system: ActorSystem) -> list[HighWater]:
    alarms: list[HighWater] = []
    system.hooks.subscribe(HighWater, alarms.append)
    return alarms


@pytest.mark.usefixtures("frequent")
@pytest.mark.parametrize("kind", [Waits, Held, HeldThread])
async def test_what_piles_up_behind_a_handler_that_never_ends_or_a_suspended_actor_raises_the_alarm_once(
    kind: type[Actor], caplog: pytest.LogCaptureFixture
) -> None:
    async with quick() as system:
        alarms = hears(system)
        ref = await system.spawn(kind)
        if kind is Waits:
            ref.tell("wait")
            await asyncio.sleep(0)
        else:
            await system.suspend(ref)
        for n in range(150):
            ref.tell(n)
        await eventually(lambda: alarms)
        looked = [0]
        original = system.scheduler.alarm.look_around

        def count(*, stands: bool) -> None:
            original(stands=stands)
            looked[0] += 1

        system.scheduler.alarm.look_around = count  # type: ignore[method-assign]
        await eventually(lambda: looked[0] >= 3)
        assert [(alarm.ref, alarm.length, alarm.high_water) for alarm in alarms] == [(ref, 150, 100)]
        assert "150 messages wait for" in caplog.text
        ref.kill()


@pytest.mark.usefixtures("frequent")
async def test_what_piles_up_behind_a_blocked_thread_raises_the_alarm() -> None:
    async with ActorSystem(slow_after=SHORT) as system:
        alarms, free = hears(system), threading.Event()
        ref = await system.spawn(BlockedThread, free)
        ref.tell("block")
        await eventually(lambda: system.info(ref).state == "busy")
        for n in range(150):
            ref.tell(n)
        await eventually(lambda: alarms)
        free.set()
        assert [alarm.ref for alarm in alarms] == [ref]


@pytest.mark.usefixtures("frequent")
async def test_the_alarm_is_raised_though_the_loop_stands_for_whoever_holds_it_and_whoever_waits_for_it() -> None:
    async with quick() as system:
        alarms, heard = hears(system), threading.Event()
        blocked, waiting = await system.spawn(Blocked, heard), await system.spawn(Held)
        threads: list[int] = []

        def note(alarm: HighWater) -> None:
            threads.append(threading.get_ident())
            if len(alarms) == 2:
                heard.set()  # else the handler would hold the loop for ten seconds

        system.hooks.subscribe(HighWater, note)

        def flood() -> None:
            begun.wait()
            for ref in (blocked, waiting):
                for n in range(150):
                    ref.tell(n)

        begun = threading.Event()

        in_time: list[bool] = []

        def hold() -> None:
            begun.set()
            in_time.append(heard.wait(5))
            heard.set()  # whatever came of it, those that wait are not held up too

        inside(blocked).hold = hold
        flooding = asyncio.create_task(asyncio.to_thread(flood))
        await asyncio.sleep(0)
        blocked.tell("hold")
        await flooding
        assert in_time[0]
        assert {alarm.ref for alarm in alarms} == {blocked, waiting}
        assert threading.get_ident() not in threads
        assert system.scheduler.alarm.count == 2


async def test_a_threshold_without_end_is_none() -> None:
    async with ActorSystem(slow_after=math.inf, slow_thread_after=math.inf), quick() as other:
        ear = Ear(other, Blocks)
        (await other.spawn(Blocks, ear.told)).tell("hold")
        assert (await ear.over())[-1].over


def test_looking_at_all_threads_never_makes_the_collector_run() -> None:
    """The collector would run a callback in the midst of it: see `frames.py`."""
    callbacks: list[str] = []

    class Noted(list[Any]):
        pass

    def note(_: object) -> None:
        callbacks.append(sys._getframe(1).f_code.co_name)

    before = gc.get_threshold()
    keep = []
    try:
        for _ in range(200):
            item = Noted()
            item.append(item)
            keep.append(weakref.ref(item, note))
            del item
            gc.set_threshold(1, 1, 1)
            all_frames()
            gc.set_threshold(*before)
    finally:
        gc.set_threshold(*before)
    assert "all_frames" not in callbacks
    assert gc.isenabled()
