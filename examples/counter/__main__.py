"""A counter crashes, and its supervisor brings it back: `python -m understudy.examples.counter`.

    Supervisor ── Counter, named "counter"
                     │  Add(3), Add(4) ──> Read() = 7
                     │  Add("two") ──> TypeError: this life of the counter ends
                     └─ its next life, under the same name, starts at 0

The one idea: let it crash. The counter has no code for errors; a reference by name outlives the crash.
"""

from __future__ import annotations

import asyncio
import logging

from understudy.actors import Actor, ActorDied, ActorSystem, Request, message
from understudy.supervisors import Child, Supervisor, WhichChildren


@message("counter.add")
class Add:
    n: int


@message("counter.read")
class Read(Request[int]):
    """Answered with the count."""


class Counter(Actor):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_receive(self, message: object) -> object:
        match message:
            case Add(n):
                self.count += n
                return self.count
            case Read():
                return self.count
            case _:
                return self.unhandled(message)


async def main() -> None:
    """Count, crash, count again."""
    logging.getLogger("understudy").setLevel(logging.CRITICAL)  # the crash below is meant
    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, [Child(Counter, name="counter")])
        counter = system.ref("counter")

        counter.tell(Add(3))
        counter.tell(Add(4))
        print(f"the counter says {await counter.call(Read())}")

        try:
            await counter.call(Add("two"))  # type: ignore[arg-type]
        except ActorDied as death:
            print(f"it crashed: {death.reason}")

        [info] = await supervisor.call(WhichChildren())
        print(f"its supervisor has restarted it {info.restarts} time; it is {info.state}")
        print(f"the counter says {await counter.call(Read())}")


if __name__ == "__main__":
    asyncio.run(main())
