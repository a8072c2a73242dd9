"""Two and more nodes without membership, in one process: systems and their links over real sockets, with faults to order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from understudy.actors import Actor, ActorRef, ActorSystem, Down, Exit, NoConnection, Refused, Request, World, message
from understudy.transport.abroad import Abroad
from understudy.transport.drain import Drains
from understudy.transport.keys import KeyPair
from understudy.transport.link import Link
from understudy.transport.links import Links
from understudy.transport.network import Channel, Heard, Network, Path
from understudy.transport.placement import Placement
from understudy.transport.steward import STEWARD, Steward
from understudy.transport.zeromq import ZeroMqNetwork


@message("sides.add")
class Add:
    n: int = 1


@message("sides.total")
class Total(Request[int]):
    pass


@message("sides.misbehave")
class Misbehave:
    how: str


@message("sides.who")
class Who(Request[ActorRef[Any]]):
    pass


@message("sides.pass_on")
class PassOn:
    """Tell `message` to `to`, or call it and return the reply."""

    to: ActorRef[Any]
    message: Any
    call: bool = False
    timeout: float = 5.0


class Counter(Actor):
    """Adds, refuses, crashes, and passes on."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def on_receive(self, message: Any) -> Any:
        match message:
            case Add(n):
                self.total += n
                return None
            case Total():
                return self.total
            case Who():
                return self.actor_ref
            case Misbehave("refuse"):
                raise Refused("not today")
            case Misbehave("refuse at length"):
                raise Refused("x" * 3_000_000)
            case Misbehave("with a surrogate"):
                raise ValueError("\udcff is no text")
            case Misbehave("stop"):
                self.stop()
                return None
            case Misbehave("reply with an object"):
                return object()
            case Misbehave(how):
                raise ValueError(how)
            case PassOn():
                return self._pass_on(message)
            case _:
                return self.unhandled(message)

    async def _pass_on(self, order: PassOn) -> Any:
        if order.call:
            return await order.to.call(order.message, order.timeout)
        return order.to.tell(order.message)


class Witness(Actor):
    """Keeps all it gets, and watches or links itself when asked to by a function it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.trap_exit = True
        self.seen: asyncio.Queue[Any] = asyncio.Queue()

    def on_receive(self, message: Any) -> Any:
        if callable(message):
            return message(self)
        self.seen.put_nowait(message)
        return None


class Side:
    """One node's system and links."""

    def __init__(
        self, name: str, incarnation: int = 1, network: Network | None = None, listen: str = "tcp://127.0.0.1:0"
    ) -> None:
        self.system = ActorSystem(
            name, incarnation=incarnation, world=World(random=random.Random(f"{name} {incarnation}"))
        )
        self.network = network if network is not None else ZeroMqNetwork()
        self.links = Links(self.system, self.network)
        self.links.listen(listen)

    def meets(self, other: Side) -> Link:
        """Know the other's address."""
        return self.links.present(other.links.me, other.links.address)

    async def witness(self) -> tuple[ActorRef[Any], asyncio.Queue[Any]]:
        made: list[Witness] = []

        class Kept(Witness):
            def on_start(self) -> None:
                made.append(self)

        ref = await self.system.spawn(Kept)
        return ref, made[0].seen

    async def close(self, patience: float = 1.0) -> None:
        await self.system.shutdown()
        await self.links.close(patience)

    def die(self) -> None:
        """End as a killed process does: nothing more is said, nothing is answered."""
        for link in tuple(self.links._links.values()):
            link.items.clear()
            link.out.end()
        self.links.cut(NoConnection("killed by the test"))
        self.network.close()


async def reaches_others(side: Side) -> None:
    """What a node has besides, so that actors can be started on others and by them."""
    placement = Placement(side.links)

    async def write(draining: bool) -> None:
        """Into no table."""

    drains = Drains(placement, lambda: side.links.me, lambda: None, write)
    steward = await side.system.spawn(Steward, placement, name=STEWARD)
    side.system.nodes = Abroad(side.links, steward, placement, drains)


@asynccontextmanager
async def sides(*names: str, network: Callable[[], Network] = ZeroMqNetwork) -> AsyncIterator[list[Side]]:
    """Nodes that know each other's addresses, closed at the end."""
    made = [Side(name, network=network()) for name in names]
    for side in made:
        for other in made:
            if other is not side:
                side.meets(other)
        await reaches_others(side)
    try:
        yield made
    finally:
        for side in made:
            await side.system.shutdown()
        await asyncio.gather(*(side.links.close(1.0) for side in made))


def news(message: Any) -> Down | Exit:
    assert isinstance(message, (Down, Exit)), message
    return message


class Faulty:
    """A network that notes how long its frames are, and loses or repeats some of them, as a seed decides. `deaf`: nothing passes at all."""

    def __init__(self, loss: float = 0.0, repeats: float = 0.0, seed: int = 0) -> None:
        self.inner = ZeroMqNetwork()
        self.loss = loss
        self.repeats = repeats
        self.random = random.Random(seed)
        self.frames: list[int] = []  # how long each of them was
        self.deaf = False

    def fate(self, frame: bytes) -> int:
        """How many times a frame arrives."""
        self.frames.append(len(frame))
        if self.deaf or self.random.random() < self.loss:
            return 0
        return 2 if self.random.random() < self.repeats else 1

    def bind(self, address: str, heard: Heard) -> str:
        def sometimes(path: Path, frame: bytes, *body: memoryview) -> None:
            for _ in range(self.fate(frame)):
                heard(path, frame, *body)

        return self.inner.bind(address, sometimes)

    def answer(self, path: Path, frame: bytes) -> bool:
        return self.deaf or self.inner.answer(path, frame)

    def secure(self, pair: KeyPair, allows: Callable[[str], bool]) -> None:
        self.inner.secure(pair, allows)

    def key_of(self, path: Path) -> str:
        return self.inner.key_of(path)

    def connect(
        self,
        address: str,
        heard: Callable[[bytes], None],
        writable: Callable[[], None],
        *,
        connected: Callable[[], None] | None = None,
        key: str = "",
        pair: KeyPair | None = None,
    ) -> Channel:
        def sometimes(frame: bytes) -> None:
            for _ in range(self.fate(frame)):
                heard(frame)

        return self.inner.connect(address, sometimes, writable, connected=connected, key=key, pair=pair)

    async def listens(self, address: str) -> bool:
        return await self.inner.listens(address)

    def close(self) -> None:
        self.inner.close()
