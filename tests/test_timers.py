"""Timers are messages: cancelled ones surely do not come, periodic ones keep their rate."""

import asyncio
from typing import Any

import pytest

from tests.players import Recorder, inside
from tests.virtual import VirtualLoop, until, virtually
from understudy.actors import Actor, ActorSystem


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
                timer._fire()  # it is due at this very moment
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


async def test_times_that_cannot_be_meant_are_refused() -> None:
    async with ActorSystem() as system:
        actor: Actor = inside(await system.spawn(Recorder))
        for wrong in (-1.0, float("nan")):
            with pytest.raises(ValueError, match="number of seconds"):
                actor.send_after(wrong, "x")
        with pytest.raises(ValueError, match="number of seconds"):
            actor.send_every(0, "x")
