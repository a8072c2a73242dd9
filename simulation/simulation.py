"""A simulation: one seed, one virtual loop, any number of systems or nodes on it, and the trace of what happened.

    simulation = Simulation(seed=7)
    simulation.run(main)                       main: `async def main()`; what it returns is returned

    inside: simulation.system("shop")          an actor system; ended when main is over
            simulation.choose(options), .chance(p), .delay(low, high)      the seed decides, and the trace shows it
            simulation.event("link cut")       a line of one's own in the trace
            simulation.time, .random, .trace

Code under test needs none of this: it runs unmodified (`world.py` says what is intercepted).
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from understudy.actors import ActorSystem
from understudy.simulation.choices import Choices
from understudy.simulation.errors import NotDeterministic, SimulationError
from understudy.simulation.loop import SimulatedLoop
from understudy.simulation.trace import TAIL, Trace
from understudy.simulation.world import Interception

T = TypeVar("T")

MAX_STEPS = 2_000_000
"""Callbacks that a run may take unless told otherwise."""


class Simulation:
    """One run of one seed. `run` once; another run is another simulation.

    `max_time`: virtual seconds, `max_steps`: callbacks of the loop, after which StillRunning is raised.
    `cost`: virtual seconds that one step may take at most (drawn); by default code takes no time at all, and only
    waiting does. `keep`: how many events the trace keeps; None: all of them.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        max_time: float | None = None,
        max_steps: int = MAX_STEPS,
        cost: float = 0.0,
        keep: int | None = TAIL,
    ) -> None:
        self.seed = seed
        self.trace = Trace(keep)
        self.random = random.Random(f"{seed}:test")
        """The test's own draws: a `random.Random` of the seed, not traced."""
        self.choices = Choices(seed)
        self.loop = SimulatedLoop(self.choices, self.trace, max_time=max_time, max_steps=max_steps, cost=cost)
        self._decisions = random.Random(f"{seed}:decisions")
        self._systems: list[ActorSystem] = []
        self._started = False

    # --- what the seed decides ---

    @property
    def time(self) -> float:
        """Virtual seconds since the run began; `loop.time()` and `time.monotonic()` show the same."""
        return self.loop.time()

    def choose(self, options: Sequence[T], label: str = "") -> T:
        """One of `options`, evenly. ValueError if there is none."""
        if not options:
            raise ValueError(f"nothing to choose from{f' for {label}' if label else ''}")
        index = int(self._decisions.random() * len(options))
        self.event(f"choose {label} {index} of {len(options)}")
        return options[index]

    def chance(self, probability: float, label: str = "") -> bool:
        """True with that probability (0 to 1)."""
        happens = self._decisions.random() < probability
        self.event(f"chance {label} {happens}")
        return happens

    def delay(self, low: float, high: float, label: str = "") -> float:
        """A number of seconds between `low` and `high`."""
        seconds = low + (high - low) * self._decisions.random()
        self.event(f"delay {label} {seconds!r}")
        return seconds

    def event(self, text: str) -> None:
        """Note an event in the trace."""
        self.trace.add(self.loop.time(), text)

    # --- what runs ---

    def system(self, name: str = "local", *, incarnation: int = 0) -> ActorSystem:
        """An actor system on the virtual loop, for code inside the run; it is shut down when the main coroutine is over.

        One that the code under test makes itself (`ActorSystem(...)`, `Node(...)`) is simulated just the same.
        """
        if not self.loop.is_running():
            raise SimulationError(
                "simulation.system(...) is for code inside the run: an async test, or what `run` runs"
            )
        system = ActorSystem(name, incarnation=incarnation)
        self._systems.append(system)
        return system

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `main()` to its end in virtual time and clear everything away. What it raises is raised.

        Also raises EverybodyWaits, StillRunning, and NotVirtual where the code does not catch that itself.
        """
        if self._started:
            raise SimulationError("a simulation runs once; make another one, with the same seed to see the same again")
        self._started = True
        loop = self.loop
        collecting = gc.isenabled()
        gc.disable()  # when it would run depends on what the process did before, and finalizers may schedule callbacks
        try:
            with Interception(loop, self.seed):
                try:
                    return loop.run_until_complete(self._main(main))
                finally:
                    self.trace.seal()
                    loop.clear_away()
        finally:
            if collecting:
                gc.enable()

    async def _main(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            return await main()
        finally:
            for system in reversed(self._systems):
                await system.shutdown()


def simulate(main: Callable[[], Coroutine[Any, Any, T]], seed: int = 0, **options: Any) -> T:
    """Run `main()` once with `seed`; the options are those of `Simulation`."""
    return Simulation(seed, **options).run(main)


def compare(test: Callable[[Simulation], object], seed: int, **options: Any) -> None:
    """Have `test` run one seed twice, each time with a simulation of its own. Raises NotDeterministic if they differ."""
    first, second = (Simulation(seed, keep=None, **options) for _ in range(2))
    for simulation in (first, second):
        test(simulation)
    same(first, second)


def same(first: Simulation, second: Simulation) -> None:
    """Raise NotDeterministic, naming the first difference, unless two runs with `keep=None` did the same."""
    difference = first.trace.difference(second.trace)
    if difference is not None:
        raise NotDeterministic(
            f"seed {first.seed} does not replay: {difference}. Something decides that the seed does not see: the order of"
            f" a set of objects, id(), a clock or random source in C, a file, or state kept from one run to the next."
        )
