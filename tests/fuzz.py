"""Frames that nobody means, by the thousand: what a real conversation said, broken in every way, told to a node at its door and on its links.

    corpus    a conversation of two nodes, all operations in it, heard on the way
    mutate    bytes flipped, cut, doubled, spliced; or a part of the batch replaced by something else, and packed again
    fuzz      a stranger's frames to the door; a peer's, in its own session and sequence, to Delivery; answers to a link

Nothing may escape, nothing may grow, and the node must go on as if nothing had been.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import msgpack

from tests.sides import Add, Counter, Misbehave, PassOn, Side, Total, Who
from understudy.actors import ActorRef, Failure, NameTaken, UnderstudyError
from understudy.transport.frames import DATA, HEAD, Peer
from understudy.transport.keys import KeyPair
from understudy.transport.link import Link
from understudy.transport.network import Heard, Loaded, Path, parse_address
from understudy.transport.operations import TELL
from understudy.transport.payload import Payload

STRANGE: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**64 - 1, -(2**63), 1.5, float("nan"), float("inf")),
    *("", "x", "a@b", "n" * 300, "\u0000", b"", b"\xff" * 40, [], [[]], [[], {}], {}, {"x": 1}, {1: [2]}),
    msgpack.ExtType(1, msgpack.packb(("b", 1, 1))),
    msgpack.ExtType(1, msgpack.packb(("elsewhere", 7, 9))),
    msgpack.ExtType(1, msgpack.packb(("elsewhere", "engine"))),
    msgpack.ExtType(1, b"\xc1"),
    msgpack.ExtType(2, b"2026-11-21"),
    msgpack.ExtType(2, b"never"),
    msgpack.ExtType(3, msgpack.packb((0, 0, 3, "E", "text", [["f", 1, "g"]]))),
    msgpack.ExtType(3, msgpack.packb((0, 0, 3, 5, None))),
    msgpack.ExtType(4, b"payload"),
    msgpack.ExtType(5, msgpack.packb((0, 0, 1, 5))),
    msgpack.ExtType(5, msgpack.packb((0, 0, 99))),
    msgpack.ExtType(77, b"?"),
]


@dataclass
class Fuzzed:
    """What came of it. `escaped`: exceptions that no layer held, which must be none; `grown`: MiB."""

    frames: int
    seconds: float
    grown: float
    unreadable: int
    longest: float
    escaped: list[str] = field(default_factory=list[str])

    def __str__(self) -> str:
        return (
            f"{self.frames:,} frames in {self.seconds:.0f} s: {len(self.escaped)} escaped, {self.unreadable:,} reported, "
            f"memory +{self.grown:.0f} MiB, the longest took {1000 * self.longest:.0f} ms"
        )


class Wiretap:
    """A network of one process that keeps a copy of all it carries. A frame is on its way for one turn of the loop."""

    def __init__(self, air: dict[str, Wiretap], heard: list[bytes]) -> None:
        self.air = air
        self.copies = heard
        self.door: Heard = lambda *_: None
        self.back: dict[Path, Callable[[bytes], None]] = {}
        self.silent = False

    def bind(self, address: str, heard: Heard) -> str:
        address = f"tcp://127.0.0.1:{1000 + len(self.air)}"
        self.air[address], self.door = self, heard
        return address

    def secure(self, pair: KeyPair, allows: Callable[[str], bool]) -> None:
        raise NotImplementedError("the wiretap knows no keys")

    def key_of(self, path: Path) -> str:
        return ""

    def answer(self, path: Path, frame: bytes) -> bool:
        if path in self.back:
            self.carry(self.back[path], frame)
        return path in self.back

    def connect(
        self,
        address: str,
        heard: Callable[[bytes], None],
        writable: Callable[[], None],
        *,
        connected: Callable[[], None] | None = None,
        key: str = "",
        pair: KeyPair | None = None,
    ) -> Way:
        parse_address(address)
        return Way(self, self.air.get(address), heard)

    async def listens(self, address: str) -> bool:
        return address in self.air

    def close(self) -> None:
        """It has nothing to close."""

    def carry(self, to: Callable[[bytes], None], frame: bytes) -> None:
        if not self.silent:
            self.copies.append(frame)
            asyncio.get_running_loop().call_soon(to, frame)


class Way:
    """The way to one node; frames to nobody are lost."""

    def __init__(self, here: Wiretap, there: Wiretap | None, heard: Callable[[bytes], None]) -> None:
        self.here, self.there = here, there
        self.path = b"%d" % id(self)
        if there is not None:
            there.back[self.path] = heard

    @property
    def stands(self) -> bool:
        return self.there is not None

    @property
    def refused(self) -> bool:
        return False

    def send(self, frame: bytes | Loaded) -> bool:
        there = self.there
        if there is not None and isinstance(frame, Loaded):
            body = memoryview(frame.body)
            self.here.carry(lambda heard: there.door(self.path, heard, body), frame.head)
        elif there is not None and isinstance(frame, bytes):
            self.here.carry(lambda heard: there.door(self.path, heard), frame)
        return True

    def close(self) -> None:
        if self.there is not None:
            self.there.back.pop(self.path, None)


async def converse(a: Side, b: Side) -> None:
    """Say everything once that nodes say to each other."""
    counter = await b.system.spawn(Counter, name="counter")
    witness, _ = await a.witness()
    far: ActorRef[Any] = a.links.named("b", "counter")
    there = await far.call(Who())
    for message in (
        *(Add(2), Total(), PassOn(witness, [Add(1), {"at": datetime(2026, 11, 21, tzinfo=UTC)}, b"bytes", 1.5])),
        *("plain", Failure("E", "text", (("file.py", 3, "f"),)), Misbehave("refuse")),
        *(Payload(b"small"), [Payload(bytes(700_000))]),
    ):
        there.tell(message)
        with suppress(UnderstudyError):
            await there.call(message)
    doomed = await b.system.spawn(Counter, name="doomed")
    named = a.links.named("b", "doomed")
    inside: list[Callable[[Any], Any]] = [
        lambda self: self.link(named),
        lambda self: self.unlink(named),
        lambda self: self.monitor(there),
        lambda self: self.demonitor(self.monitor(named)),
        lambda self: self.link(named),
        lambda self: named.tell(Misbehave("crash")),
    ]
    for act in inside:
        await witness.call(act)
    await doomed.ended()
    await a.meets(b).ping(1.0)
    await a.links.named("b", "nobody").stop()
    there.exit()
    await counter.ended()
    a.links.named("b", "counter").kill()
    await a.meets(b).drained()


def mutated(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """The bytes, not as they were."""
    broken = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(len(broken) + 1)
        match draw.randrange(6):
            case 0 if broken:
                broken[at % len(broken)] ^= 1 << draw.randrange(8)
            case 1 if broken:
                broken[at % len(broken)] = draw.randrange(256)
            case 2:
                del broken[at : at + draw.choice((1, 2, 8, 64))]
            case 3:
                broken[at:at] = draw.randbytes(draw.choice((1, 2, 8, 64)))
            case 4:
                broken[at:at] = broken[at : at + 32]
            case _:
                other = draw.choice(others)
                broken[at:] = other[draw.randrange(len(other) + 1) :]
    return bytes(broken)


def reshaped(value: Any, draw: random.Random) -> Any:
    """The value with one part of it replaced, dropped, doubled or moved."""
    if isinstance(value, list) and value and draw.random() < 0.85:
        at = draw.randrange(len(value))
        match draw.randrange(8):
            case 0:
                return [*value[:at], *value[at + 1 :]]
            case 1:
                return [*value[:at], value[at], *value[at:]]
            case 2:
                return [*value, draw.choice(STRANGE)]
            case 3:
                return draw.sample(value, len(value))
            case _:
                return [*value[:at], reshaped(value[at], draw), *value[at + 1 :]]
    if isinstance(value, msgpack.ExtType) and draw.random() < 0.5:
        try:
            inner = msgpack.unpackb(value.data, strict_map_key=False)
        except Exception:  # noqa: BLE001 - what is inside is no MessagePack
            inner = None
        return msgpack.ExtType(value.code, msgpack.packb(reshaped(inner, draw)))
    return draw.choice(STRANGE) if draw.random() < 0.9 else draw.randrange(24)


class Fuzzer:
    """Two nodes that know each other, and the frames of their conversation."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.corpus: list[bytes] = []
        self.escaped: list[str] = []
        self.lives_of_a = 1
        air: dict[str, Wiretap] = {}
        self.networks = [Wiretap(air, self.corpus) for _ in range(2)]
        self.a, self.b = (Side(name, network=network) for name, network in zip("ab", self.networks))

    async def prepare(self) -> None:
        self.a.meets(self.b)
        self.b.meets(self.a)
        await converse(self.a, self.b)
        self.heads = [frame for frame in self.corpus if frame[0] != DATA]
        self.batches = [frame[HEAD.size :] for frame in self.corpus if frame[0] == DATA]
        self.met = self.b.links.to(self.a.links.me)
        self.values = [msgpack.unpackb(batch, strict_map_key=False) for batch in self.batches]
        self.addresses = {
            item[1] for value in self.values for item in value if item[0] == TELL and type(item[1]) is int
        }

    def link(self) -> Link:
        """The link of `b` to `a`; if what was said has ended it, to a next life of `a`, which has defined its classes."""
        if self.met.lost is not None:
            self.lives_of_a += 1
            self.met = self.b.links.present(Peer("a", self.lives_of_a), self.a.links.address)
            for batch in self.batches:
                if batch[5:7] == b"\x96\x09":
                    self.met.delivery.deliver(memoryview(batch))
        return self.met

    async def target(self) -> None:
        """Have somebody there who can be meant, by name and by the address that the conversation was with."""
        with suppress(NameTaken):  # the last one is still at its end
            counter = await self.b.system.spawn(Counter, name="counter")
            self.b.links.exports.actors.update(dict.fromkeys(self.addresses, counter))

    def strike(self) -> None:
        """Say one broken frame to `b`."""
        draw, b = self.draw, self.b
        kind = draw.random()
        if kind < 0.2:
            b.links.door.heard(b"path", mutated(draw.choice(self.corpus), draw, self.corpus))
        elif kind < 0.35:
            self.link().lane.heard(mutated(draw.choice(self.heads), draw, self.corpus))
        elif kind < 0.6:
            self.say(mutated(draw.choice(self.batches), draw, self.batches))
        else:
            value = draw.choice(self.values)
            for _ in range(draw.choice((1, 1, 2, 3))):
                value = reshaped(value, draw)
            self.say(msgpack.packb(value))

    def say(self, batch: bytes) -> None:
        """A batch that comes in `a`'s own session, as its next one."""
        self.link().delivery.deliver(memoryview(batch))

    async def run(self, frames: int) -> Fuzzed:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: self.escaped.append(str(context)))
        for network in self.networks:
            network.silent = True
        longest, resident = 0.0, 0.0
        begun = perf_counter()
        for number in range(frames):
            if number == frames // 10:  # what is made on first use is there
                resident = memory()
            at = perf_counter()
            try:
                self.strike()
            except Exception as error:  # noqa: BLE001 - that is what is looked for
                self.escaped.append(f"{type(error).__name__}: {error}")
            longest = max(longest, perf_counter() - at)
            if number % 50 == 0:
                await asyncio.sleep(0)
                if self.b.system.whereis("counter") is None:
                    await self.target()
        grown = memory() - resident
        return Fuzzed(frames, perf_counter() - begun, grown, self.b.links.unreadable, longest, self.escaped)

    async def lives(self) -> bool:
        """Whether `b` serves an actor that is started now, from a node that it meets now."""
        for network in self.networks:
            network.silent = False
        counter = await self.b.system.spawn(Counter, name="after")
        other = Side("c", network=Wiretap(self.networks[0].air, []))
        try:
            link = other.meets(self.b)
            ref: ActorRef[Any] = other.links.named("b", "after")
            ref.tell(Add(5))
            return link.lost is None and await ref.call(Total()) == 5 and counter.is_alive()
        finally:
            await other.close(0.0)


def memory() -> float:
    """MiB that this process has in memory."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) / 256


async def fuzz(frames: int, seed: int = 0) -> Fuzzed:
    """Break so many frames, and raise AssertionError unless the node lives afterwards. Linux."""
    logging.disable(logging.CRITICAL)
    try:
        fuzzer = Fuzzer(seed)
        await fuzzer.prepare()
        found = await fuzzer.run(frames)
        assert await fuzzer.lives(), "the node serves nobody any more"
        await fuzzer.a.close(0.0)
        await fuzzer.b.close(0.0)
        return found
    finally:
        logging.disable(logging.NOTSET)
