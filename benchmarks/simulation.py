"""How much faster than real time a simulation runs: `python -m benchmarks.simulation`.

Three figures, each the median of five runs: virtual seconds per second of an idle system with ten periodic timers of
one second, and of a busy one (ten actors that call each other every 10 ms); and steps of the loop per second.
"""

import asyncio
import statistics
import time
from typing import Any

from understudy.actors import Actor, ActorRef, ActorSystem
from understudy.simulation import Simulation

ACTORS = 10


class Ticking(Actor):
    """Has something to do every `interval` seconds: call its neighbour, if it has one."""

    def __init__(self, interval: float, neighbour: ActorRef[Any] | None) -> None:
        super().__init__()
        self.interval = interval
        self.neighbour = neighbour

    def on_start(self) -> None:
        self.send_every(self.interval, "tick")

    async def on_receive(self, message: Any) -> Any:
        if message == "tick" and self.neighbour is not None:
            await self.neighbour.call("hello")


async def live(seconds: float, interval: float, calling: bool) -> None:
    """A system of ten such actors, for so many virtual seconds."""
    async with ActorSystem("bench") as system:
        neighbour: ActorRef[Any] | None = None
        for _ in range(ACTORS):
            neighbour = await system.spawn(Ticking, interval, neighbour if calling else None)
        await asyncio.sleep(seconds)


def measure(seconds: float, interval: float, calling: bool) -> tuple[float, float]:
    """Virtual seconds and steps per second."""
    rates: list[tuple[float, float]] = []
    for seed in range(5):
        simulation = Simulation(seed, max_steps=10**9)
        begun = time.perf_counter()
        simulation.run(lambda: live(seconds, interval, calling))
        spent = time.perf_counter() - begun
        rates.append((seconds / spent, simulation.loop.steps / spent))
    return statistics.median(rate for rate, _ in rates), statistics.median(steps for _, steps in rates)


def main() -> None:
    """Print the figures."""
    idle, _ = measure(3600.0, 1.0, calling=False)
    busy, steps = measure(20.0, 0.01, calling=True)
    print(f"idle  {idle:12,.0f} virtual seconds per second")
    print(f"busy  {busy:12,.0f} virtual seconds per second, with {ACTORS * 100} calls in each")
    print(f"      {steps:12,.0f} steps of the loop per second")


if __name__ == "__main__":
    main()
