"""A virtual network below the session layer: real frames of the real codec between the nodes of one loop.

    node a ── Interface.connect ── Line ──▶ delayed, lost, repeated, overtaken, as the Conditions between the two say
                                   Line ◀── answers                        ──▶ Interface.bind of node b

    network.partition("a", "b")     neither hears the other; `one_way=True`: b does not hear a
    network.heal()                  all is well; heal("a", "b"): between these two
    network.lose(0.2, "a", "b")     also slow, repeat, reorder; without names: everywhere
    network.cut("a", "b")           their connections break, what is under way is lost; they connect again

Keys are plain texts here: who names the wrong one, or is not allowed, gets no connection. Nothing is enciphered.

It is to the layers above what `transport/zeromq.py` is: the contract suite of networks runs on both. A connection whose
two ends do not hear each other breaks after HEARTBEAT seconds, and one whose process has ended breaks at once.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from understudy.simulation.faults import Conditions
from understudy.transport.keys import KeyPair
from understudy.transport.network import CannotListen, Heard, Loaded, Path, check_reach
from understudy.transport.wire import FRAME_LIMIT

QUEUE_LIMIT = 128
"""Frames that one direction of a connection holds; a sender beyond that is refused until some have arrived."""

HEARTBEAT = 3.0
"""Seconds of silence after which a connection is taken to be broken."""

RETRY, RETRY_LIMIT = 0.05, 2.0
"""Seconds between two attempts to connect; doubles from the first to the second."""

FIRST_PORT = 40_001

HELD_UP = 0.3
"""Seconds that a reordered or repeated frame comes late, at most."""


class VirtualNetwork:
    """All there is between the nodes of one loop. `note` gets a line for everything that happens to a frame."""

    def __init__(self, seed: int = 0, note: Callable[[str], None] = lambda line: None) -> None:
        self.conditions = Conditions()
        """Between any two nodes for which nothing else was said."""
        self.random = random.Random(f"{seed}:network")
        self.note = note
        self.lines: list[Line] = []
        self.doors: dict[int, Interface] = {}
        self.interfaces: list[Interface] = []
        self._special: dict[tuple[str, str], Conditions] = {}
        self._blocked: dict[tuple[str, str], float] = {}
        self._ports = itertools.count(FIRST_PORT)
        self._paths = itertools.count(1)

    def interface(self, name: str = "") -> Interface:
        """A node's `Network`. Everything it calls back runs in the context that this is called in."""
        made = Interface(self, name or f"host-{len(self.interfaces) + 1}")
        self.interfaces.append(made)
        return made

    # --- faults ---

    def partition(self, one: str, other: str, *, one_way: bool = False) -> None:
        """From now on neither hears the other; `one_way`: only `other` does not hear `one`. What is under way is lost."""
        self.note(f"partition {one} {other}{' one way' if one_way else ''}")
        now = asyncio.get_running_loop().time()
        for direction in ((one, other),) if one_way else ((one, other), (other, one)):
            self._blocked.setdefault(direction, now)
        self.outside(HEARTBEAT, self._expire)

    def isolate(self, name: str) -> None:
        """Nobody hears `name` any more, and it hears nobody."""
        for other in dict.fromkeys(interface.name for interface in self.interfaces):
            if other != name:
                self.partition(name, other)

    def heal(self, one: str | None = None, other: str | None = None) -> None:
        """End partitions and all other conditions: those between two nodes, those of one, or without names all of them."""
        self.note(f"heal {one or '*'} {other or '*'}")
        if one is None:
            self._blocked.clear()
            self._special.clear()
            self.conditions = Conditions()
            return
        for direction in [*self._blocked, *self._special]:
            if one in direction and (other is None or other in direction):
                self._blocked.pop(direction, None)
                self._special.pop(direction, None)

    def lose(self, probability: float, one: str | None = None, other: str | None = None) -> None:
        """Lose that part of all frames: between two nodes in both directions, or without names everywhere."""
        self._change(one, other, loss=probability)

    def slow(self, delay: float, jitter: float = 0.0, one: str | None = None, other: str | None = None) -> None:
        """Let frames take `delay` seconds and up to `jitter` more; 0, 0: as usual."""
        usual = Conditions()
        self._change(one, other, delay=delay or usual.delay, jitter=jitter or usual.jitter)

    def repeat(self, probability: float, one: str | None = None, other: str | None = None) -> None:
        """Let that part of all frames arrive twice."""
        self._change(one, other, duplication=probability)

    def reorder(self, probability: float, one: str | None = None, other: str | None = None) -> None:
        """Let that part of all frames be overtaken by later ones."""
        self._change(one, other, reordering=probability)

    def cut(self, one: str, other: str | None = None) -> None:
        """Break the connections between two nodes, or all of one. They are made again at once."""
        self.note(f"cut {one} {other or '*'}")
        for line in tuple(self.lines):
            ends = (line.there.source, line.there.target)
            if one in ends and (other is None or other in ends):
                line.break_off()

    # --- for interfaces and lines ---

    def between(self, source: str, target: str) -> Conditions:
        """The conditions of that direction."""
        return self._special.get((source, target), self.conditions)

    def blocked(self, source: str, target: str) -> bool:
        """Whether `target` does not hear `source`."""
        return (source, target) in self._blocked

    def transit(self, source: str, target: str) -> float:
        """Seconds that something takes from one to the other now."""
        conditions = self.between(source, target)
        return conditions.delay + conditions.jitter * self.random.random()

    def next_port(self) -> int:
        """A port that nobody listens at."""
        return next(port for port in self._ports if port not in self.doors)

    def next_path(self) -> Path:
        """A path that never was."""
        return b"path-%d" % next(self._paths)

    def outside(self, delay: float, action: Callable[..., object], *args: Any) -> None:
        """Do something later that belongs to no node."""
        asyncio.get_running_loop().call_later(delay, action, *args, context=contextvars.Context())

    def _change(self, one: str | None, other: str | None, **changed: float) -> None:
        self.note(f"between {one or '*'} {other or '*'} {changed}")
        if one is None:
            self.conditions = replace(self.conditions, **changed)
            return
        others = [other] if other is not None else [each.name for each in self.interfaces if each.name != one]
        for name in others:
            for direction in ((one, name), (name, one)):
                self._special[direction] = replace(self.between(*direction), **changed)

    def _expire(self) -> None:
        """Break what has been silent for too long."""
        now = asyncio.get_running_loop().time()
        for line in tuple(self.lines):
            one, other = line.there.source, line.there.target
            for direction in ((one, other), (other, one)):
                if now - self._blocked.get(direction, now) >= HEARTBEAT:
                    line.break_off()


class Interface:
    """One node's `Network`. `reset` is what the operating system does for a process that was killed."""

    def __init__(self, network: VirtualNetwork, name: str) -> None:
        self.network = network
        self.name = name
        self.context = contextvars.copy_context()
        self.heard: Heard = _nobody
        self.paths: dict[Path, Line] = {}
        self.pair: KeyPair | None = None
        self.allows: Callable[[str], bool] = _not_one
        self._port = 0
        self.closed = False
        self.stopped_at: float | None = None
        self._channels: dict[VirtualChannel, None] = {}

    def bind(self, address: str, heard: Heard) -> str:
        host, port = check_reach(address, secure=self.pair is not None, listening=True)
        if port in self.network.doors:
            raise CannotListen(
                f"cannot listen at {address}: the port is in use; choose another port, or 0 for any free one"
            )
        self._port = port or self.network.next_port()
        self.heard = heard
        self.network.doors[self._port] = self
        return f"tcp://[{host}]:{self._port}" if ":" in host else f"tcp://{host}:{self._port}"

    def secure(self, pair: KeyPair, allows: Callable[[str], bool]) -> None:
        self.pair = pair
        self.allows = allows

    def key_of(self, path: Path) -> str:
        line = self.paths.get(path)
        return line.key if line is not None else ""

    def answer(self, path: Path, frame: bytes) -> bool:
        line = self.paths.get(path)
        return line is not None and line.back.carry(frame)

    def connect(
        self,
        address: str,
        heard: Callable[[bytes], None],
        writable: Callable[[], None],
        *,
        connected: Callable[[], None] | None = None,
        key: str = "",
        pair: KeyPair | None = None,
    ) -> VirtualChannel:
        _, port = check_reach(address, secure=self.pair is not None)
        channel = VirtualChannel(self, port, heard, writable, connected, key, pair or self.pair)
        self._channels[channel] = None
        channel.dial()
        return channel

    async def listens(self, address: str) -> bool:
        _, port = check_reach(address, secure=True)
        network, wait = self.network, 1.0
        while True:
            door = network.doors.get(port)
            if door is None:
                return False  # the operating system of the one machine that all are on says so
            await asyncio.sleep(network.transit(self.name, door.name) + network.transit(door.name, self.name))
            if not network.blocked(self.name, door.name) and not network.blocked(door.name, self.name):
                return network.doors.get(port) is not None
            await asyncio.sleep(wait)  # as a TCP connection does that nobody answers
            wait *= 2

    @property
    def hangs(self) -> bool:
        """Whether its whole process has stood still for so long that its connections count as broken."""
        return self.stopped_at is not None and asyncio.get_running_loop().time() - self.stopped_at >= HEARTBEAT

    def close(self) -> None:
        self._leave(lost=False)

    def reset(self) -> None:
        """Its process was killed: all its connections break, and what it has not read is lost."""
        self._leave(lost=True)

    def forget(self, channel: VirtualChannel) -> None:
        """A channel was closed."""
        self._channels.pop(channel, None)

    def on_loop(self, delay: float, action: Callable[..., object], *args: Any) -> None:
        """Have this node do something in `delay` seconds."""
        asyncio.get_running_loop().call_later(delay, action, *args, context=self.context.copy())

    def _leave(self, *, lost: bool) -> None:
        self.closed = True
        if self.network.doors.get(self._port) is self:
            del self.network.doors[self._port]
        for channel in tuple(self._channels):
            channel.close()
        for line in tuple(self.paths.values()):
            line.hang_up(line.back, lost=lost)


class VirtualChannel:
    """The `Channel` to whoever listens at a port: connects, and connects again whenever the line breaks."""

    def __init__(
        self,
        interface: Interface,
        port: int,
        heard: Callable[[bytes], None],
        writable: Callable[[], None],
        connected: Callable[[], None] | None,
        key: str,
        pair: KeyPair | None,
    ) -> None:
        self.interface = interface
        self.heard = heard
        self.pair = pair
        self._key = key
        self._port = port
        self._writable = writable
        self._connected = connected
        self._line: Line | None = None
        self._wanted = False
        self._closed = False
        self._retry = RETRY
        self.refused = False

    def send(self, frame: bytes | Loaded) -> bool:
        taken = not self._closed and self._line is not None and self._line.there.carry(frame)
        self._wanted = not taken and not self._closed
        return taken

    @property
    def stands(self) -> bool:
        line = self._line
        return line is not None and line.standing and not line.door.hangs and not self._closed

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.interface.forget(self)
            if self._line is not None:
                self._line.hang_up(self._line.there, lost=self.interface.network.random.random() < 0.5)

    def dial(self) -> None:
        """Try to connect."""
        network, here = self.interface.network, self.interface.name
        door = network.doors.get(self._port)
        there = door.name if door is not None else here
        self.interface.on_loop(network.transit(here, there) + network.transit(there, here), self._dialled)

    def broken(self) -> None:
        """The line broke."""
        self._line = None
        self._retry = RETRY
        if not self._closed:
            self.interface.on_loop(self._retry, self.dial)

    def room(self) -> None:
        """A frame would be taken now."""
        if self._wanted and not self._closed:
            self._wanted = False
            self._writable()

    def _dialled(self) -> None:
        network, here = self.interface.network, self.interface.name
        door = network.doors.get(self._port)
        if self._closed or self._line is not None or self.interface.closed:
            return
        reached = door is not None and not network.blocked(here, door.name) and not network.blocked(door.name, here)
        self.refused = reached and door is not None and not self._proved(door)
        if door is None or not reached or self.refused:
            self.interface.on_loop(self._retry, self.dial)
            self._retry = min(2 * self._retry, RETRY_LIMIT)
        else:
            self._line = Line(self, door)
            if self._connected is not None:
                self._connected()
            self.room()

    def _proved(self, door: Interface) -> bool:
        if door.pair is None or self.pair is None:
            return door.pair is self.pair
        return door.pair.public == self._key and door.allows(self.pair.public)


class Line:
    """One connection: two lanes. The node that connects sends `there`, the one that listens `back`."""

    def __init__(self, channel: VirtualChannel, door: Interface) -> None:
        self.network = channel.interface.network
        self.channel = channel
        self.door = door
        self.path = self.network.next_path()
        self.key = channel.pair.public if channel.pair is not None else ""
        self.standing = True
        self.there = Lane(self, channel.interface, door)
        self.back = Lane(self, door, channel.interface)
        self.network.lines.append(self)
        door.paths[self.path] = self

    def deliver(self, lane: Lane, frame: bytes | Loaded) -> None:
        """A frame is at the end of its lane."""
        if lane is self.there:
            if isinstance(frame, Loaded):
                self.door.heard(self.path, frame.head, memoryview(frame.body))
            else:
                self.door.heard(self.path, frame)
        elif isinstance(frame, bytes):
            self.channel.heard(frame)

    def break_off(self) -> None:
        """The connection breaks for both at once; what is under way is lost."""
        if self.standing:
            self.standing = False
            self.there.lost = self.back.lost = True
            self.network.lines.remove(self)
            del self.door.paths[self.path]
            self.channel.interface.on_loop(0, self.channel.broken)

    def hang_up(self, lane: Lane, *, lost: bool) -> None:
        """Whoever sends on `lane` lets go. Unless `lost`, what it sent before arrives; then the other end sees it too."""
        other = self.back if lane is self.there else self.there
        other.lost = True
        lane.lost = lost
        lane.closed = True
        network = self.network
        silent = network.blocked(lane.source, lane.target)
        wait = HEARTBEAT if silent else network.transit(lane.source, lane.target)
        network.outside(max(wait, lane.last - asyncio.get_running_loop().time()), self.break_off)


class Lane:
    """One direction of a line."""

    def __init__(self, line: Line, source: Interface, target: Interface) -> None:
        self.source = source.name
        self.target = target.name
        self.lost = False
        self.closed = False
        self.last = 0.0  # when the latest frame arrives
        self._line = line
        self._to = target
        self._in_order: deque[bytes | Loaded] = deque()
        self._under_way = 0
        self._full = False

    def carry(self, frame: bytes | Loaded) -> bool:
        """Take a frame along. False: the lane is full or closed."""
        if self.closed or not self._line.standing:
            return False
        parts = (frame.head, frame.body) if isinstance(frame, Loaded) else (frame,)
        if max(map(len, parts)) > FRAME_LIMIT:
            self._line.break_off()
            return True
        if self._under_way >= QUEUE_LIMIT:
            self._full = True
            return False
        network, loop = self._line.network, asyncio.get_running_loop()
        conditions, draw = network.between(self.source, self.target), network.random.random
        now = loop.time()
        arrival = now + conditions.delay + conditions.jitter * draw()
        what = f"{self.source}>{self.target} {parts[0][:1]!r}"
        if network.blocked(self.source, self.target) or (conditions.loss and draw() < conditions.loss):
            network.note(f"{what} lost")
            return True
        held_up = conditions.reordering and draw() < conditions.reordering
        if held_up:
            arrival += HELD_UP * draw()
        else:
            self.last = arrival = max(arrival, self.last)
            self._in_order.append(frame)
        self._under_way += 1
        network.note(f"{what} arrives {arrival:.6f}")
        loop.call_at(arrival, self._arrive, frame if held_up else None, context=self._to.context.copy())
        if conditions.duplication and draw() < conditions.duplication:
            loop.call_at(arrival + HELD_UP * draw(), self._hand_over, frame, context=self._to.context.copy())
        return True

    def _arrive(self, frame: bytes | Loaded | None) -> None:
        """The next frame in order is there, unless it is one that was held up."""
        self._under_way -= 1
        if self._full and self._under_way <= QUEUE_LIMIT // 2:
            self._full = False
            self._room()
        self._hand_over(self._in_order.popleft() if frame is None else frame)

    def _hand_over(self, frame: bytes | Loaded) -> None:
        if not self.lost and not self._line.network.blocked(self.source, self.target):
            self._line.deliver(self, frame)

    def _room(self) -> None:
        channel = self._line.channel
        if self is self._line.there:
            channel.interface.on_loop(0, channel.room)


def _nobody(path: Path, frame: bytes, body: memoryview | None = None) -> None:
    """Not bound yet."""


def _not_one(key: str) -> bool:
    """Whom a node lets in that was not told."""
    return False
