"""Four packers behind one reference: `python -m understudy.examples.pool`.

    Desk ── Pack(name, data) ──> the router "packers" ──> whichever of four Packers has the least to do
      ^                                                      │ zlib, on a thread of its own
      └── Packed(name, before, after) ───────────────────────┘

The one idea: whoever gives out the work does not know how many do it, nor that one of them has just crashed. Here it is
the source of the actors themselves that is packed, and one thing that is no file.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from pathlib import Path
from typing import Any

import understudy.actors
from understudy import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    Child,
    Later,
    Request,
    Router,
    ThreadActor,
    WhichChildren,
    message,
)

PACKERS = 4


@message("pool.packed")
class Packed:
    name: str
    before: int
    after: int


@message("pool.lost")
class Lost:
    name: str
    why: str


@message("pool.pack")
class Pack(Request[Packed]):
    name: str
    data: bytes


@message("pool.pack_all")
class PackAll(Request[list[Packed | Lost]]):
    files: dict[str, Any]


class Packer(ThreadActor):
    """Packs one file after the other. Its thread leaves the event loop, and the other packers, alone."""

    def on_receive(self, message: object) -> object:
        match message:
            case Pack(name, data):
                return Packed(name, len(data), len(zlib.compress(data, 9)))
            case _:
                return self.unhandled(message)


class Desk(Actor):
    """Gives out the work, is called back when a piece is done, and answers when all are."""

    def __init__(self, packers: ActorRef[Any]) -> None:
        super().__init__()
        self.packers = packers
        self.done: list[Packed | Lost] = []
        self.open = 0
        self.answer = Later()

    def on_receive(self, message: object) -> object:
        match message:
            case PackAll(files):
                self.done, self.open, self.answer = [], len(files), Later()
                for name, data in files.items():
                    self.run(self.pack(name, data))
                return self.answer
            case Packed() | Lost():
                self.done.append(message)
                if len(self.done) == self.open:
                    self.answer.set(self.done)
                return None
            case _:
                return self.unhandled(message)

    async def pack(self, name: str, data: Any) -> Packed | Lost:
        """In the background; what it returns comes back as a message."""
        try:
            packed = await self.packers.call(Pack(name, data), timeout=60.0)
        except ActorDied as death:
            return Lost(name, str(death.reason))
        else:
            return packed


async def main() -> None:
    """Pack the source of the actors, then something that crashes whoever touches it."""
    logging.getLogger("understudy").setLevel(logging.CRITICAL)  # that crash is meant
    files = {path.name: path.read_bytes() for path in Path(understudy.actors.__file__).parent.glob("*.py")}
    async with ActorSystem() as system:
        packers = await system.spawn(Router, Child(Packer), size=PACKERS, by="least_busy", name="packers")
        desk = await system.spawn(Desk, packers)

        packed = [each for each in await desk.call(PackAll(files), timeout=60.0) if isinstance(each, Packed)]
        before, after = sum(each.before for each in packed), sum(each.after for each in packed)
        print(f"{len(packed)} files, packed by {PACKERS} packers: {before} bytes have become {after}")

        for each in await desk.call(PackAll({"no file": None})):
            print(f"no file: {each.why if isinstance(each, Lost) else each}")

        restarts = [info.restarts for info in await packers.call(WhichChildren())]
        print(f"{sum(restarts)} of {len(restarts)} packers crashed of it and has been replaced")
        print(f"and then: {await packers.call(Pack('again', b'again' * 100))}")


if __name__ == "__main__":
    asyncio.run(main())
