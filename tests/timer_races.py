"""Races of timers: a thread cancels one while the loop fires it. As in `races.py`, each round is a fresh one."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.handicap import Handicap
from tests.races import PATIENCE, Figures
from understudy.actors import Actor, ActorSystem, ThreadActor

DUE = 0.001
"""Seconds until a timer fires that is not due at once."""


class Ticking(ThreadActor):
    """Sets a timer that is due at once, or again and again, and cancels it in its next message: whichever comes first."""

    def __init__(self, rounds: int, over: Callable[[], None]) -> None:
        super().__init__()
        self.left = rounds
        self.over = over
        self.timer: Any = None
        self.came = False
        self.handicaps = {"once": Handicap(), "every": Handicap(DUE)}
        self.figures: Counter[str] = Counter()
        self.failures: list[str] = []

    def on_start(self) -> None:
        self.actor_ref.tell("set")

    @property
    def handicap(self) -> Handicap:
        return self.handicaps["every" if self.left % 3 == 0 else "once"]

    def on_receive(self, message: Any) -> Any:
        match message:
            case "set" if self.left:
                self.left -= 1
                self.came = False
                tick = ("tick", self.left)
                self.timer = self.send_every(DUE, tick) if self.left % 3 == 0 else self.send_after(0, tick)
                self.handicap.spin()
                self.actor_ref.tell("cancel")
            case "set":
                self.actor_ref.tell("last")
            case "cancel":
                if self.left % 2:
                    self.handicap.spin(0.2)  # it may fire now: then its message waits behind this one
                self.timer.cancel()
                self.figures["fired" if self.came else "cancelled"] += 1
                self.handicap.learn(not self.came)
                self.timer = None
                self.actor_ref.tell("set")
            case ("tick", number):
                self.came = True
                if self.timer is None or number != self.left:
                    self.failures.append(f"tick {number} came after its cancellation")
            case _:
                self.over()


async def cancel_against_fire(rounds: int) -> Figures:
    """A thread cancels a timer while the loop fires it: none is delivered after its cancellation."""
    over = asyncio.Event()
    async with ActorSystem() as system:
        ref = await system.spawn(Ticking, rounds, lambda: system.loop.call_soon_threadsafe(over.set))
        ticking: Ticking = ref.actor  # type: ignore[attr-defined]
        await over.wait()
        assert not ticking.failures, ticking.failures[:3]
        assert sum(ticking.figures.values()) == rounds
        return {"timers": rounds, **ticking.figures}


class Counting(Actor):
    """Remembers which rounds are over, and what came after."""

    def __init__(self) -> None:
        super().__init__()
        self.over: set[int] = set()
        self.came = 0
        self.failures: list[int] = []

    def on_receive(self, message: Any) -> Any:
        match message:
            case ("timers", numbers):
                return [self.send_after(DUE, ("tick", number)) for number in numbers]
            case ("cancelled", number):
                self.over.add(number)
            case ("tick", number):
                self.came += 1
                if number in self.over:
                    self.failures.append(number)
        return None


async def foreign_cancel_against_fire(rounds: int, at_once: int = 10) -> Figures:
    """Another thread cancels, and says so with a message: no tick is handled after that."""
    handicap = Handicap(DUE)
    async with ActorSystem() as system:
        ref = await system.spawn(Counting)
        counting: Counting = ref.actor  # type: ignore[attr-defined]

        def cancel() -> None:
            for start in range(0, rounds, at_once):
                numbers = range(start, min(start + at_once, rounds))
                before = counting.came
                timers = ref.ask(("timers", numbers), timeout=PATIENCE)
                handicap.spin()
                for number, timer in zip(numbers, timers):
                    timer.cancel()
                    ref.tell(("cancelled", number))
                handicap.learn(counting.came - before < len(numbers) / 2)

        await asyncio.to_thread(cancel)
        await ref.call("flush")
        assert not counting.failures, counting.failures[:3]
        return {"timers": rounds, "fired": counting.came, "cancelled": rounds - counting.came}
