"""The Python client and the gateway it talks to, with everything in between going wrong, in virtual time.

    program ══ socket ══ wire ══ connection ── session ── room
                          cut, with what was under way

The room says numbers. What each program takes must be the numbers in order, or a `Resync` from which it goes on.
"""

import asyncio
from collections import deque
from collections.abc import Hashable, Mapping
from contextlib import suppress
from typing import Any

import pytest

from understudy.actors import Actor, ActorRef, CallError, Failure
from understudy.client import Channel, Event, NotConnected, Resync, Socket, connect
from understudy.client.wire import ABNORMAL, Closed
from understudy.gateway import Member, Room, Topic, phoenix
from understudy.gateway.connection import SERVICE_RESTART
from understudy.gateway.delivery import conflate
from understudy.gateway.fanout import Fanout
from understudy.gateway.log import Log, MemoryLog
from understudy.gateway.rooms import Rooms
from understudy.gateway.serializers import PhoenixSerializer
from understudy.gateway.session import HangUp, Received, Session
from understudy.simulation import Simulation

QUIET = 30.0
"""Seconds after the last accident in which everybody must have heard everything."""


class Counter(Room):
    """Counts aloud, and remembers the last of it."""

    def __init__(self, topic: str, lives: list["Counter"], remembered: int) -> None:
        super().__init__(topic)
        lives.append(self)
        self.remembered = remembered
        self.said = 0

    def make_log(self) -> Log:
        return MemoryLog(self.system, events=self.remembered)

    def snapshot(self, member: Member | None) -> Any:
        return {"said": self.said}

    def on_event(self, member: Member, event: str, payload: Any) -> Any:
        self.said += 1
        number = {"number": self.said}, self.said, b"%d" % self.said
        self.broadcast("number", number[self.said % 3])
        self.broadcast("mark", {"at": self.said}, delivery=conflate("mark"))
        return {"number": self.said}


TEXT, BYTES = b"t", b"b"
FRAMES = PhoenixSerializer(phoenix, TEXT.__add__, BYTES.__add__, offsets=True)
"""Frames as they are, without a WebSocket around them: their first byte says which kind one is."""


class Line:
    """A connection, both ends of it: what the gateway writes to, and what the client reads from."""

    serializer = FRAMES
    buffered = 0

    def __init__(self) -> None:
        self.closed = False
        self.session: ActorRef[Any] | None = None
        self._under_way: deque[str | bytes | Closed] = deque()
        self._news = asyncio.Event()

    # --- the gateway's end ---

    def send(self, frame: bytes, latest: Hashable | None = None) -> None:
        if not self.closed:
            self._arrive(frame[1:].decode() if frame[:1] == TEXT else frame[1:])

    def close(self, code: int, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self._arrive(Closed(code, reason))

    def reset(self) -> None:
        """A cut: what was under way is lost."""
        if not self.closed:
            self._under_way.clear()
        self.close(ABNORMAL, "")

    def _arrive(self, what: str | bytes | Closed) -> None:
        self._under_way.append(what)
        self._news.set()


class End:
    """The client's end of a line."""

    def __init__(self, line: Line) -> None:
        self.line = line

    async def send(self, data: str | bytes) -> None:
        if self.line.closed:
            raise ConnectionResetError("cut")
        assert self.line.session is not None
        self.line.session.tell(Received(data))

    async def receive(self) -> str | bytes | Closed:
        while not self.line._under_way:
            self.line._news.clear()
            await self.line._news.wait()
        return self.line._under_way.popleft()

    async def close(self) -> None:
        self.line.closed = True
        if self.line.session is not None:
            self.line.session.tell(HangUp())


class Gate(Actor):
    """What a gateway is without a port. Its end is that of every connection."""

    def __init__(self, rooms: ActorRef[Any]) -> None:
        super().__init__()
        self.rooms = rooms
        self.lines: list[Line] = []

    async def on_start(self) -> None:
        self.fanout = await self.spawn(Fanout)

    async def on_receive(self, line: object) -> None:
        assert isinstance(line, Line)
        self.lines.append(line)
        line.session = await self.spawn(Session, line, self.rooms, self.fanout, "stage")


class Play:
    """A room, a gate that is sometimes gone, and the programs."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.system = simulation.system("stage")
        self.lives: list[Counter] = []
        self.lines: list[Line] = []
        self.gate: ActorRef[Any] | None = None
        self.quiet = False
        self.forgetful = simulation.chance(0.5)

    async def begin(self) -> None:
        self.rooms = await self.system.spawn(
            Rooms, {"room:*": Topic(Counter, (self.lives, 20 if self.forgetful else 10_000))}
        )
        self.gate = await self.system.spawn(Gate, self.rooms)

    async def dial(self, url: str, headers: Mapping[str, str], token: str | None) -> End:
        await asyncio.sleep(self.simulation.delay(0, 0.2))
        line = Line()
        assert self.gate is not None
        try:
            await self.gate.call(line)
        except CallError:
            raise NotConnected("nobody listens") from None
        self.lines.append(line)
        return End(line)

    async def accidents(self) -> None:
        """Half a minute in which everything happens that can."""
        for _ in range(self.simulation.random.randint(5, 25)):
            await asyncio.sleep(self.simulation.delay(0, 2))
            match self.simulation.choose(["cut", "cut", "close", "window", "gate", "crash"]):
                case "cut":
                    for line in self.some():
                        line.reset()
                case "close":
                    for line in self.some():
                        line.close(SERVICE_RESTART, "draining: this server is to be stopped")
                case "window":
                    for line in self.some():
                        line.send(FRAMES.push(None, "phoenix", "reconnect", b'{"within":2000}'))
                case "gate":
                    await self.gate_dies()
                case _ if self.forgetful and self.lives:
                    self.lives[-1].actor_ref.exit(Failure.of(RuntimeError("on purpose")))

    def some(self) -> list[Line]:
        return [line for line in self.lines if not line.closed and self.simulation.chance(0.5)]

    async def gate_dies(self) -> None:
        assert self.gate is not None
        for line in self.lines:
            line.reset()
        self.gate.kill()
        await asyncio.sleep(self.simulation.delay(0, 3))
        self.gate = await self.system.spawn(Gate, self.rooms)


class Program:
    """Joins, talks, and takes what comes: sometimes slowly."""

    def __init__(self, play: Play, socket: Socket) -> None:
        self.play = play
        self.socket = socket
        self.last = 0
        self.resyncs = 0

    async def talk(self, room: Channel) -> None:
        while not self.play.quiet:
            await asyncio.sleep(self.play.simulation.delay(0, 0.5))
            with suppress(NotConnected):  # whether it was said is unknown
                await room.push("say", timeout=5)

    async def listen(self, room: Channel) -> None:
        self.last = room.snapshot["said"]
        async for event in room:
            assert len(room._events) <= self.socket.backlog + 1, (
                "what waits is bounded, but for the word that there is a gap"
            )
            self.took(event)
            if not self.play.quiet and self.play.simulation.chance(0.05):
                await asyncio.sleep(self.play.simulation.delay(0, 4))

    def took(self, event: Event) -> None:
        match event:
            case Resync(payload=snapshot):
                self.last = snapshot["said"]
                self.resyncs += 1
            case Event("number", number):
                number = number["number"] if isinstance(number, dict) else int(number)
                assert number == self.last + 1, f"took {number} after {self.last}"
                self.last = number
            case Event("mark", mark):
                assert set(mark) == {"at"}


@pytest.mark.seeds(40)
async def test_what_a_program_takes_has_no_gap_that_it_is_not_told_of(simulation: Simulation) -> None:
    play = Play(simulation)
    await play.begin()
    async with asyncio.TaskGroup() as group:
        programs = []
        for _ in range(simulation.choose([1, 3])):
            backlog = simulation.choose([3, 1000])
            socket = await connect("http://gate", dial=play.dial, backlog=backlog, heartbeat=5.0).open()
            programs.append(Program(play, socket))
        listeners = []
        for program in programs:
            room = await program.socket.join("room:a")
            listeners.append(group.create_task(program.listen(room)))
            group.create_task(program.talk(room))
        await play.accidents()
        play.quiet = True
        await asyncio.sleep(QUIET + 5)
        assert [program.last for program in programs] == [play.lives[-1].said] * len(programs)
        assert play.forgetful or not any(program.resyncs for program in programs), "all was there to be brought"
        for program in programs:
            await program.socket.close()
        for listener in listeners:
            await listener
