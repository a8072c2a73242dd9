"""Timers are messages: cancelled ones surely do not come, periodic ones keep their rate."""

import asyncio
import queue
import threading
from typing import Any

import pytest

from tests.players import Recorder, inside
from tests.virtual import VirtualLoop, until, virtually
from understudy.actors import Actor, ActorDied, ActorSystem, Cell, DeadLetter, Refused, Stop, ThreadActor, Timer


def fire(timer: Timer) -> None:
    """Have it due at this very moment."""
    assert timer._tick is not None, "it is not over"
    timer._tick.fire()


class Clock(Recorder):
    """Notes when each message came."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_receive(self, message: Any) -> Any:
        self.times.append(round(self.system.loop.time(), 6))
        super().on_receive(message)


def test_a_message_comes_after_its_delay() -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            clock = inside(await system.spawn(Clock))
            clock.send_after(3.0, "late")
            clock.send_after(1.0, "soon")
            assert await clock.first(2) == ["soon", "late"]
            assert clock.times == [1.0, 3.0]

    virtually(main())


def test_a_periodic_timer_keeps_its_rate_and_does_not_catch_up_after_a_stall() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        async with ActorSystem() as system:
            clock = inside(await system.spawn(Clock))
            timer = clock.send_every(1.0, "tick")
            await clock.first(2)
            loop.stand_still(2.5)
            await clock.first(4)
            timer.cancel()
            assert clock.times == [1.0, 2.0, 4.5, 5.0]

    virtually(main())


def test_slow_handlers_do_not_make_a_periodic_timer_drift() -> None:
    class Slow(Clock):
        async def on_receive(self, message: Any) -> None:
            Clock.on_receive(self, message)
            await asyncio.sleep(0.3)

    async def main() -> None:
        async with ActorSystem() as system:
            slow = inside(await system.spawn(Slow))
            slow.send_every(1.0, "tick")
            await slow.first(5)
            assert slow.times == [1.0, 2.0, 3.0, 4.0, 5.0]

    virtually(main())


def test_a_delay_counts_from_the_moment_it_was_asked_for() -> None:
    class Busy(Clock):
        def on_receive(self, message: Any) -> None:
            super().on_receive(message)
            if message == "begin":
                self.send_after(1.0, "after")
                loop = self.system.loop
                assert isinstance(loop, VirtualLoop)
                loop.stand_still(0.4)

    async def main() -> None:
        async with ActorSystem() as system:
            busy = await system.spawn(Busy)
            busy.tell("begin")
            await inside(busy).first(2)
            assert inside(busy).times == [0.0, 1.0]

    virtually(main())


async def test_a_cancelled_timer_does_not_come_even_if_it_waits_in_the_mailbox() -> None:
    class Canceller(Recorder):
        def on_receive(self, message: Any) -> None:
            super().on_receive(message)
            if message == "begin":
                timer = self.send_after(0, "never")
                fire(timer)
                timer.cancel()
                self.actor_ref.tell("end")

    async with ActorSystem() as system:
        canceller = await system.spawn(Canceller)
        canceller.tell("begin")
        assert await inside(canceller).first(2) == ["begin", "end"]
        assert system.dead_letters.count == 0


def test_timers_end_with_their_actor() -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            recorder = await system.spawn(Recorder)
            actor: Actor = inside(recorder)
            timers = [actor.send_after(1.0, "x"), actor.send_every(1.0, "y")]
            recorder.kill()
            await until(5.0)
            assert not any(timer.active for timer in timers)
            assert system.dead_letters.count == 0

    virtually(main())


async def test_a_timer_may_be_armed_before_the_start() -> None:
    class Early(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.send_after(0, "x")

    async with ActorSystem() as system:
        assert await inside(await system.spawn(Early)).first(1) == ["x"]


def test_at_a_fixed_delay_an_interval_passes_between_the_end_of_one_and_the_next() -> None:
    class Slow(Clock):
        async def on_receive(self, message: Any) -> None:
            Clock.on_receive(self, message)
            await asyncio.sleep(0.3 if message == "tick" else 0)

    class Stalls(Clock):
        def on_receive(self, message: Any) -> None:
            Clock.on_receive(self, message)
            loop = self.system.loop
            assert isinstance(loop, VirtualLoop)
            loop.stand_still(0.3)

    async def main() -> None:
        async with ActorSystem() as system:
            for kind in (Slow, Stalls):
                begun = system.loop.time()
                clock = inside(await system.spawn(kind))
                timer = clock.send_every(1.0, "tick", fixed="delay")
                await clock.first(2)
                if kind is Slow:
                    clock.actor_ref.tell("something else")
                await clock.first(4 + (kind is Slow))
                timer.cancel()
                ticks = [at - begun for at, what in zip(clock.times, clock.seen) if what == "tick"]
                assert ticks == pytest.approx([1.0, 2.3, 3.6, 4.9])

    virtually(main())


def test_a_fixed_delay_goes_on_after_a_handler_that_refuses() -> None:
    class Refuses(Clock):
        def on_receive(self, message: Any) -> None:
            super().on_receive(message)
            raise Refused("not now")

    async def main() -> None:
        async with ActorSystem() as system:
            clock = inside(await system.spawn(Refuses))
            clock.send_every(1.0, "tick", fixed="delay")
            await clock.first(3)
            await asyncio.sleep(0)
            assert clock.times == [1.0, 2.0, 3.0]
            assert system.dead_letters.by_reason == {"refused": 3}

    virtually(main())


def test_a_thousand_ticks_at_a_fixed_rate_do_not_drift_by_a_nanosecond() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        async with ActorSystem() as system:
            clock = inside(await system.spawn(Clock))
            await until(0.7)
            clock.send_every(0.1, "tick")
            for number in range(1, 1001):
                await clock.first(number)
                loop.stand_still(0.00123)  # each tick is looked at a little late
            assert clock.times[-1] == pytest.approx(0.7 + 100.0, abs=0.00124)
            await clock.first(1001)
            assert clock.times[-1] == pytest.approx(0.7 + 100.1, abs=1e-9)

    virtually(main())


@pytest.mark.parametrize("fixed", ["rate", "delay"])
def test_an_actor_slower_than_its_timer_has_one_message_of_it_waiting_at_most(fixed: Any) -> None:
    longest = 0

    class Slow(Clock):
        async def on_receive(self, message: Any) -> None:
            nonlocal longest
            longest = max(longest, len(self._cell.mailbox or ()))
            Clock.on_receive(self, message)
            await asyncio.sleep(2.5)
            longest = max(longest, len(self._cell.mailbox or ()))

    async def main() -> None:
        async with ActorSystem() as system:
            slow = inside(await system.spawn(Slow))
            slow.send_every(1.0, "tick", fixed=fixed)
            await slow.first(4)
            assert slow.times == ([1.0, 3.5, 6.0, 8.5] if fixed == "rate" else [1.0, 4.5, 8.0, 11.5])

    virtually(main())
    assert longest == 1


def test_a_timer_is_active_until_its_message_is_taken_and_says_whether_a_cancel_came_in_time() -> None:
    class Looks(Clock):
        timer: Timer
        active: bool

        def on_receive(self, message: Any) -> None:
            self.active = self.timer.active
            super().on_receive(message)

    async def main() -> None:
        async with ActorSystem() as system:
            looks = inside(await system.spawn(Looks))
            timer = looks.timer = looks.send_after(1.0, "x")
            assert timer.active
            await looks.first(1)
            assert not looks.active
            assert not timer.cancel()
            other = looks.send_every(1.0, "y")
            assert (other.cancel(), other.cancel(), other.active) == (True, False, False)
            assert not looks._cell.tied().timers

    virtually(main())


def test_a_timer_that_is_reset_begins_anew_whatever_became_of_it() -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            clock = inside(await system.spawn(Clock))
            timer = clock.send_after(1.0, "x")
            for at in (0.9, 1.8, 2.7):
                await until(at)
                timer.reset()
            await clock.first(1)
            assert clock.times == [3.7]
            await until(10.0)
            timer.reset()
            await clock.first(2)
            assert clock.times == [3.7, 11.0]
            periodic = clock.send_every(1.0, "y")
            await until(11.5)
            periodic.reset()
            await clock.first(4)
            periodic.cancel()
            assert clock.times[2:] == [12.5, 13.5]
            await until(20.0)
            assert len(clock.times) == 4
            periodic.reset()
            await clock.first(5)
            assert clock.times[4] == 21.0
            periodic.cancel()

    virtually(main())


async def test_what_was_due_before_a_reset_does_not_come_even_if_it_waits_in_the_mailbox() -> None:
    class Resets(Recorder):
        def on_receive(self, message: Any) -> None:
            super().on_receive(message)
            if message == "begin":
                self.timer = self.send_after(0.01, "tick")
                fire(self.timer)
                self.timer.reset()
                self.actor_ref.tell("end")

    async with ActorSystem() as system:
        resets = await system.spawn(Resets)
        resets.tell("begin")
        assert await inside(resets).first(3) == ["begin", "end", "tick"]
        assert len(inside(resets).seen) == 3


async def test_a_timer_of_a_dead_actor_stays_over() -> None:
    async with ActorSystem() as system:
        recorder = await system.spawn(Recorder)
        actor: Actor = inside(recorder)
        timer = actor.send_after(0.0, "x")
        recorder.kill()
        timer.reset()
        assert not timer.active
        assert not timer.cancel()
        with pytest.raises(ActorDied):
            actor.send_every(1.0, "x")
        assert recorder.bonds is None  # type: ignore[attr-defined]
        assert system.dead_letters.count == 0


async def test_a_message_that_is_due_when_its_actor_ends_is_no_dead_letter() -> None:
    class Ends(Recorder):
        def on_receive(self, message: Any) -> Any:
            fire(self.send_after(0, "never"))
            return Stop()

    async with ActorSystem() as system:
        ends = await system.spawn(Ends)
        ends.tell("x")
        await ends.ended()
        assert system.dead_letters.count == 0


async def test_a_timer_is_cancelled_surely_from_another_thread() -> None:
    handled: set[int] = set()

    class Notes(Recorder):
        def on_receive(self, message: Any) -> Any:
            handled.add(message)

    async with ActorSystem() as system:
        notes = await system.spawn(Notes)
        actor: Actor = inside(notes)
        timers: queue.SimpleQueue[tuple[int, Timer] | None] = queue.SimpleQueue()
        kept: set[int] = set()

        def cancel() -> None:
            while (pair := timers.get()) is not None:
                number, timer = pair
                if timer.cancel():
                    kept.add(number)

        thread = asyncio.create_task(asyncio.to_thread(cancel))
        for number in range(3000):
            timers.put((number, actor.send_after(0, number)))
            if number % 7 == 0:
                await asyncio.sleep(0)
        timers.put(None)
        await thread
        await asyncio.sleep(0.01)
        assert kept | handled == set(range(3000))
        assert not kept & handled


async def test_a_timer_that_another_thread_begins_is_whole_before_the_loop_can_fire_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Alarmed(Actor):
        def on_receive(self, message: Any) -> Any:
            return self if message == "who" else handled.set()

    def slowly(cell: Any, function: Any, *arguments: Any) -> None:
        on_loop(cell, function, *arguments)
        if threading.current_thread() is not threading.main_thread():
            handled.wait(0.1)  # the loop is faster than the thread

    handled, on_loop = threading.Event(), Cell.on_loop
    async with ActorSystem() as system:
        ref = await system.spawn(Alarmed)
        actor = await ref.call("who")
        monkeypatch.setattr(Cell, "on_loop", slowly)
        timer = await asyncio.to_thread(actor.send_after, 0, "now")
        assert handled.is_set()
        assert not timer.active
    assert not [record for record in caplog.records if "a signal failed" in record.message]


async def test_timers_of_an_actor_with_a_thread_of_its_own_come_and_are_cancelled() -> None:
    ticked = threading.Event()

    class Worker(ThreadActor):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[Any] = []

        def on_start(self) -> None:
            self.ticks = self.send_every(0.001, "tick", fixed="delay")
            self.never = self.send_after(60, "never")

        def on_receive(self, message: Any) -> Any:
            self.seen.append(message)
            if len(self.seen) == 3:
                self.ticks.cancel()
                self.never.cancel()
                ticked.set()
            return self.seen

    async with ActorSystem() as system:
        worker = await system.spawn(Worker)
        assert await asyncio.to_thread(ticked.wait, 10)
        assert await worker.call("flush") == ["tick"] * 3 + ["flush"]
        assert not worker.tied().timers  # type: ignore[attr-defined]


async def test_a_report_of_a_crash_names_the_message_of_the_timer_and_not_the_timer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Crashes(Recorder):
        def on_receive(self, message: Any) -> Any:
            raise ValueError("ordered")

    async with ActorSystem() as system:
        crashes = await system.spawn(Crashes)
        inside(crashes).send_after(0, 7)
        await crashes.ended()
    assert "handling int" in caplog.text


async def test_an_unhandled_message_of_a_timer_is_a_dead_letter() -> None:
    async with ActorSystem() as system:
        actor: Actor = inside(await system.spawn(Actor))
        letters: asyncio.Queue[DeadLetter] = asyncio.Queue()
        system.hooks.subscribe(DeadLetter, letters.put_nowait)
        actor.send_after(0, "what?")
        letter = await letters.get()
        assert (letter.message, letter.reason) == ("what?", "unhandled")


async def test_times_that_cannot_be_meant_are_refused() -> None:
    async with ActorSystem() as system:
        actor: Actor = inside(await system.spawn(Recorder))
        wrongs: list[Any] = [-1.0, float("nan"), float("inf")]
        for wrong in wrongs:
            with pytest.raises(ValueError, match="number of seconds"):
                actor.send_after(wrong, "x")
        for wrong in (0, 0.0009, *wrongs):
            with pytest.raises(ValueError, match="number of seconds"):
                actor.send_every(wrong, "x")
        for wrong in ("1", None):
            with pytest.raises(TypeError, match="number of seconds"):
                actor.send_after(wrong, "x")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="'rate' or a fixed 'delay'"):
            actor.send_every(1.0, "x", fixed="pace")  # type: ignore[arg-type]
        assert actor._cell.bonds is None
