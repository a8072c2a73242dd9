"""A crowd of clients that resume, the gateways they come and go through, and a hall that talks to all of them.

    guest ──VirtualSocket── session ── fan-out of a gateway ◀──Said── hall, on whichever node hosts it

The guests stand outside all nodes, as browsers do. Each checks what it hears against the ledger, which knows everything
that was ever said in any life of the hall: line after line, none missing, none twice, unless it was told that it has not
got everything (`recovered: false`) and how things stand now (`snapshot`). Who is wrong says so in `mistakes`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from understudy.actors import ActorRef, StartFailed
from understudy.gateway import Member, Room, Shared, phoenix
from understudy.gateway.connection import SocketConnection, Tick
from understudy.gateway.delivery import conflate
from understudy.gateway.fanout import Fanout
from understudy.gateway.log import Log, MemoryLog
from understudy.gateway.messages import Said
from understudy.gateway.rooms import Rooms
from understudy.gateway.serializers import PhoenixSerializer
from understudy.gateway.session import HangUp, Received, Session
from understudy.simulation import Cluster, Crashed, Simulation
from understudy.simulation.sockets import LATENCY, VirtualSocket
from understudy.transport import Node

TOPIC = "hall:main"

AWAY = 1.0
"""Seconds after which a guest that lost its connection, or was not let in, comes again, at most."""

PATIENCE = 5.0
"""Seconds that a guest waits for the reply to its join."""


@dataclass
class Ledger:
    """Everything that was said, by the epoch of the hall's log: `lines[epoch][offset - 1]` is (text, who was excluded)."""

    lines: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    spots: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    epoch: str = ""
    log_events: int = 1_000
    every: float = 0.0
    """Seconds between two lines that the hall says by itself; 0: none."""
    over: bool = False


class Speak:
    """A hall to itself: say something."""


class Hall(Room):
    """Says again what it is told: `say` reliably, `spot` as long as it is the latest of its guest."""

    def __init__(self, topic: str, ledger: Ledger) -> None:
        super().__init__(topic)
        self.ledger = ledger
        self.names: dict[str, str] = {}
        self.sum = 0

    def on_start(self) -> None:
        self.ledger.epoch = self.feed.log.epoch
        if self.ledger.every:
            self.send_every(self.ledger.every, Speak())

    def on_message(self, message: object) -> None:
        if isinstance(message, Speak) and not self.ledger.over:
            self.say(f"line {self.feed.log.offset + 1}, {'of two hundred bytes, ' * 8}")

    def make_log(self) -> Log:
        return MemoryLog(self.system, events=self.ledger.log_events)

    def on_join(self, member: Member, payload: dict[str, Any]) -> Any:
        self.names[member.id] = payload["name"]
        return self.think() if payload.get("slow") else {}

    async def think(self) -> dict[str, Any]:
        await asyncio.sleep(0.05)
        return {}

    def snapshot(self, member: Member | None) -> Any:
        return {"lines": self.feed.log.offset, "sum": self.sum}

    def on_event(self, member: Member, event: str, payload: Any) -> dict[str, Any]:
        name = self.names[member.id]
        match event:
            case "say":
                self.say(payload["text"], member if payload["alone"] else None)
            case "spot":
                spots = self.ledger.spots[self.feed.log.epoch]
                spots[name] = payload["at"]
                self.broadcast("spot", {"name": name, "at": payload["at"]}, delivery=conflate(name))
        return {}

    def say(self, text: str, excluded: Member | None = None) -> None:
        lines = self.ledger.lines[self.feed.log.epoch]
        lines.append((text, "" if excluded is None else self.names[excluded.id]))
        self.sum = zlib.crc32(text.encode(), self.sum)
        # Now an object, now a bare value, now bytes: all of them have to come back as they were.
        payload = ({"text": text}, text, text.encode())[len(lines) % 3]
        self.broadcast("line", payload, excluding=excluded)
        assert self.feed.log.offset == len(lines)


class Forgetful(Fanout):
    """Does not get everything that it is told, as if an outbox had been full: until `until`, one in so many."""

    def __init__(self, crowd: Crowd) -> None:
        super().__init__()
        self.crowd = crowd

    def on_receive(self, message: object) -> Any:
        crowd = self.crowd
        if isinstance(message, Said) and crowd.simulation.time < crowd.until and crowd.random.random() < crowd.loss:
            return None
        return super().on_receive(message)


LINES = PhoenixSerializer(phoenix, lambda text: text + b"\n")
"""Frames as lines of JSON text."""

GOODBYE: phoenix.Json = [None, None, "phoenix", "goodbye", {}]


class GuestConnection(SocketConnection):
    """A connection whose goodbye is a line."""

    def _say_goodbye(self, code: int, reason: str) -> None:
        self._transport.write(json.dumps(GOODBYE).encode() + b"\n")


class Guest:
    """A client that keeps its cursor and shows it when it joins again."""

    def __init__(self, crowd: Crowd, name: str) -> None:
        self.crowd = crowd
        self.name = name
        self.cursor: dict[str, Any] | None = None
        self.sum = 0
        self.spots: dict[str, int] = {}
        self.joined = False
        self.counts: Counter[str] = Counter()
        self._socket: VirtualSocket | None = None
        self._session: ActorRef[Any] | None = None
        self._knocking = ""
        self._knocked_at = 0.0
        self._rest = b""
        self._refs = 0
        self._said = 0
        self._moved = 0

    # --- the connection ---

    async def connect(self) -> None:
        """To any gateway; None of them may answer."""
        gateway = self.crowd.gateway()
        if gateway is None:
            return
        socket = VirtualSocket(
            lambda data: self._read(socket, data),
            lambda: self._lost(socket),
            room=self.crowd.room,
            latency=self.crowd.latency,
        )
        self._socket, self._rest = socket, b""
        self.crowd.sockets[gateway].append(socket)
        session = await self.crowd.admit(gateway, socket)
        if session is None:
            self._lost(socket)
        elif self._socket is socket:
            self._session = session

    def _lost(self, socket: VirtualSocket) -> None:
        if socket is self._socket:
            self._socket = self._session = None
            self.joined, self._knocking = False, ""

    def _read(self, socket: VirtualSocket, data: bytes) -> None:
        if socket is not self._socket:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if socket is self._socket:
                self._hear(*_read(line))

    def _push(self, event: str, payload: dict[str, Any]) -> str:
        assert self._session is not None
        self._refs += 1
        ref = str(self._refs)
        join_ref = ref if event == "phx_join" else self._knocking or self._stay
        self._session.tell(Received(json.dumps([join_ref, ref, TOPIC, event, payload])))
        return ref

    # --- what it hears ---

    def _hear(self, join_ref: str | None, ref: str | None, topic: str, event: str, payload: Any) -> None:
        match event:
            case "goodbye":
                self.hang_up()
            case "phx_reply" if ref == self._knocking:
                self._knocking = ""
                if payload["status"] == "ok":
                    self._stay = ref
                    self._let_in(payload["response"])
            case "phx_error" | "phx_close":
                if join_ref in (self._knocking, self._stay):
                    self.joined, self._knocking = False, ""
                    self.counts[event] += 1
            case "line" if self.joined:
                self._line(payload["_o"], _text(payload))
            case "spot" if self.joined:
                self._spot(payload["name"], payload["at"])

    _stay = ""

    def _let_in(self, response: dict[str, Any]) -> None:
        """All that it missed, or how things stand."""
        before, self.joined = self.cursor, True
        self.cursor = {"epoch": response["epoch"], "offset": response["offset"]}
        if not response["recovered"]:
            self._check("events" not in response, "events without recovery")
            self._check(response["snapshot"]["lines"] == response["offset"], "the snapshot is not of this moment")
            self.sum = response["snapshot"]["sum"]
            self.spots = {}
            self.counts["resynced" if before else "first"] += 1
            return
        assert before is not None
        self.counts["recovered"] += 1
        self._check(before["epoch"] == response["epoch"], "recovered from another epoch")
        self._check("snapshot" not in response, "a snapshot and everything that was missed")
        self.cursor = before
        for offset, event, payload in response["events"]:
            self._check(event == "line" and offset == self.cursor["offset"] + 1, f"{offset} after {self.cursor}")
            self._line(offset, _text(payload))
            self.counts["missed"] += 1
        self._check(self.cursor["offset"] == response["offset"], "not everything that was missed")

    def _line(self, offset: int, text: str) -> None:
        assert self.cursor is not None
        lines = self.crowd.ledger.lines[self.cursor["epoch"]]
        for skipped in range(self.cursor["offset"] + 1, offset):
            words, excluded = lines[skipped - 1]
            self._check(excluded == self.name, f"{skipped} is missing")
            self.sum = zlib.crc32(words.encode(), self.sum)
        self._check(offset > self.cursor["offset"], f"{offset} after {self.cursor['offset']}")
        self._check(lines[offset - 1][0] == text, f"{offset} is {text!r} and not {lines[offset - 1][0]!r}")
        self.sum = zlib.crc32(text.encode(), self.sum)
        self.cursor["offset"] = offset
        self.counts["lines"] += 1

    def _spot(self, name: str, at: int) -> None:
        self._check(at >= self.spots.get(name, 0), f"{name} was at {self.spots.get(name)} and is at {at}")
        self.spots[name] = at
        self.counts["spots"] += 1

    def _check(self, good: bool, what: str) -> None:
        if not good:
            self.crowd.mistakes.append(f"{self.name}: {what}")

    # --- what it does ---

    def knock(self) -> None:
        """Join, with how far it has come."""
        payload: dict[str, Any] = {"name": self.name, "slow": self.crowd.random.random() < 0.2}
        if self.cursor is not None:
            payload["resume"] = self.cursor
        self._knocked_at = self.crowd.simulation.time
        self._knocking = self._push("phx_join", payload)

    def say(self, alone: bool) -> None:
        self._said += 1
        self._push("say", {"text": f"{self.name} {self._said}", "alone": alone})

    def move(self) -> None:
        self._moved += 1
        self._push("spot", {"at": self._moved})

    def leave(self) -> None:
        self._push("phx_leave", {})
        self.joined = False

    def hang_up(self) -> None:
        if self._session is not None:
            self._session.tell(HangUp())
        if self._socket is not None:
            self._socket.abort()
            self._lost(self._socket)

    async def nap(self, seconds: float) -> None:
        """Read nothing for a while."""
        if (socket := self._socket) is not None:
            socket.pause_reading()
            await asyncio.sleep(seconds)
            socket.resume_reading()

    async def live(self) -> None:
        """Come, talk, go, come back, until it is time to stay and listen."""
        simulation, random = self.crowd.simulation, self.crowd.random
        while simulation.time < self.crowd.until + self.crowd.quiet:
            over = simulation.time >= self.crowd.until
            if self._session is None:
                await self.connect()
            elif self._knocking and simulation.time > self._knocked_at + PATIENCE:
                self.hang_up()
            elif not self.joined and not self._knocking:
                self.knock()
            elif self.joined and not over:
                match random.choice(self.crowd.habits):
                    case "say":
                        for _ in range(random.choice((1, 1, 5))):
                            self.say(alone=random.random() < 0.1)
                    case "move":
                        for _ in range(random.choice((1, 20))):
                            self.move()
                    case "nap":
                        await self.nap(random.uniform(0.1, 3.0))
                    case "leave":
                        self.leave()
                    case "hang up":
                        self.hang_up()
                    case _:
                        pass
            await asyncio.sleep(AWAY / 4 if over else random.uniform(0, AWAY))


class Crowd:
    """`guests` guests, gateways on the nodes `gateways`, halls on the nodes `homes`.

    Of what a hall says to a gateway, `loss` (a probability) does not arrive. Until `until` (virtual seconds) all that can
    go wrong does; then it is quiet for `quiet` seconds.
    """

    def __init__(
        self,
        simulation: Simulation,
        cluster: Cluster,
        *,
        guests: int,
        gateways: Sequence[str],
        homes: Sequence[str],
        log_events: int = 1_000,
        loss: float = 0.0,
        every: float = 0.0,
        latency: float = LATENCY,
        limit: int = 16_384,
        room: int = 500,
        quiet: float = 25.0,
        habits: Sequence[str] = ("say", "say", "say", "move", "move", "nap", "leave", "hang up"),
    ) -> None:
        self.simulation = simulation
        self.random = simulation.random
        self.cluster = cluster
        self.gateways = gateways
        self.homes = homes
        self.latency = latency
        self.loss = loss
        self.limit = limit
        self.room = room
        self.until = 0.0
        self.quiet = quiet
        self.habits = habits
        self.ledger = Ledger(log_events=log_events, every=every)
        self.mistakes: list[str] = []
        self.sockets: dict[str, list[VirtualSocket]] = {name: [] for name in gateways}
        self.guests = [Guest(self, f"guest {number}") for number in range(guests)]
        self._doors: dict[str, tuple[ActorRef[Any], ActorRef[Any], Tick]] = {}

    async def begin(self) -> None:
        """Start the nodes."""
        for name in self.homes:
            await self.cluster.start(name, self._home)
        for name in self.gateways:
            await self.cluster.start(name, self._gateway)
        await self.cluster.met()

    async def _home(self, node: Node) -> None:
        node.host("hall", Hall, self.ledger)

    async def _gateway(self, node: Node) -> None:
        fanout = await node.spawn(Forgetful, self)
        rooms = await node.spawn(Rooms, {"hall:*": Shared("hall")})
        self._doors[node.name] = fanout, rooms, Tick(self.simulation.loop)

    def gateway(self) -> str | None:
        """One that a guest can reach now."""
        running = [name for name in self.gateways if name in self.cluster.running() and name in self._doors]
        return self.random.choice(running) if running else None

    async def admit(self, gateway: str, socket: VirtualSocket) -> ActorRef[Any] | None:
        """A session for a connection; None if nobody answers."""
        fanout, rooms, tick = self._doors[gateway]
        try:
            spawned = self.cluster.node(gateway).spawn(
                Session, GuestConnection(socket, LINES, tick, limit=self.limit), rooms, fanout, gateway
            )
            return await self.cluster.run(gateway, spawned)
        except (StartFailed, Crashed):
            return None

    def crashed(self, name: str) -> None:
        """What the operating system tells the clients of a process that was killed."""
        for socket in self.sockets.get(name, ()):
            socket.abort()

    def check(self) -> None:
        """Everybody is there and has everything."""
        assert not self.mistakes, self.mistakes[:5]
        epoch = self.ledger.epoch
        lines, spots = self.ledger.lines[epoch], self.ledger.spots[epoch]
        whole = 0
        for text, _ in lines:
            whole = zlib.crc32(text.encode(), whole)
        for guest in self.guests:
            assert guest.joined, f"{guest.name} did not come back"
            assert guest.cursor is not None
            assert guest.cursor["epoch"] == epoch, f"{guest.name} is in another life of the hall"
            missing = lines[guest.cursor["offset"] :]
            assert all(excluded == guest.name for _, excluded in missing), f"{guest.name} misses {missing}"
            if not missing:
                assert guest.sum == whole
            assert guest.spots.items() >= spots.items(), f"{guest.name} sees {guest.spots} and not {spots}"

    def counts(self) -> Counter[str]:
        """What happened to the guests, all together."""
        return sum((guest.counts for guest in self.guests), Counter())


@lru_cache(10_000)
def _read(line: bytes) -> list[Any]:
    """A frame. Many guests get the same."""
    frame: list[Any] = json.loads(line)
    return frame


def _text(payload: Any) -> str:
    match payload:
        case {"text": str(text)} | {"_v": str(text)} | str(text):
            return text
        case {"_b": str(encoded)}:
            return base64.b64decode(encoded).decode()
    raise AssertionError(f"no line says {payload!r}")


class House(Cluster):
    """A cluster whose guests notice when the process at the other end of their connections is killed."""

    crowd: Crowd

    def crash(self, name: str) -> None:
        super().crash(name)
        self.crowd.crashed(name)
