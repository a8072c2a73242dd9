"""Guests who come to a party over several gateways, and see who else is there.

    tab ──VirtualSocket── session ── fan-out of a gateway ◀── parlour, on whichever node hosts it

A person has several tabs, each on a device. A tab keeps the presence as Phoenix's client does: a state, then diffs. What it
is told must fit what it knows: nobody comes who is there, nobody leaves who is not.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tests.simulation.crowd import LINES, GuestConnection
from understudy.actors import ActorRef, StartFailed
from understudy.gateway import Member, Room, Shared
from understudy.gateway.connection import Tick
from understudy.gateway.fanout import Fanout
from understudy.gateway.rooms import Rooms
from understudy.gateway.session import HangUp, Received, Session
from understudy.simulation import Cluster, Crashed, Simulation
from understudy.simulation.sockets import VirtualSocket
from understudy.transport import Node

TOPIC = "parlour:main"

PATIENCE = 2.0
"""Seconds that a tab waits for the reply to its join."""

Guests = dict[str, list[str]]
"""The devices of each person, sorted."""


class Parlour(Room):
    """Shows who is there, on which device."""

    async def on_join(self, member: Member, payload: dict[str, Any]) -> dict[str, Any]:
        if payload.get("slow"):
            await asyncio.sleep(0.05)
        self.track(member, {"device": payload["device"]}, key=payload["name"])
        return {}


class Tab:
    """One connection of a person, and then the next."""

    def __init__(self, party: Party, name: str, device: str) -> None:
        self.party = party
        self.name = name
        self.device = device
        self.joined = False
        self.view: dict[str, dict[str, str]] | None = None
        self.seen: list[tuple[float, str, str]] = []
        self.gateway = ""
        self.cursor: dict[str, Any] | None = None
        self._socket: VirtualSocket | None = None
        self._session: ActorRef[Any] | None = None
        self._knocking = self._stay = ""
        self._knocked_at = 0.0
        self._refs = 0

    def __repr__(self) -> str:
        return f"{self.name} on a {self.device}"

    @property
    def connected(self) -> bool:
        return self._session is not None

    def guests(self) -> Guests:
        """Whom it sees, after the state has come."""
        assert self.view is not None, f"{self} was never told who is there"
        return {name: sorted(devices.values()) for name, devices in self.view.items() if devices}

    # --- the connection ---

    async def connect(self, gateway: str | None) -> None:
        if gateway is None:
            return
        lines = _Lines(self)
        socket = VirtualSocket(lines.read, lambda: self._lost(socket), room=100_000)
        self._socket, self.gateway = socket, gateway
        lines.socket = socket
        self.party.sockets[gateway].append(socket)
        session = await self.party.admit(gateway, socket)
        if session is None:
            self._lost(socket)
        elif self._socket is socket:
            self._session = session

    def _lost(self, socket: VirtualSocket) -> None:
        if socket is self._socket:
            self._socket = self._session = self.view = None
            self.joined, self._knocking = False, ""

    def _push(self, event: str, payload: dict[str, Any]) -> str:
        assert self._session is not None
        self._refs += 1
        ref = str(self._refs)
        self._session.tell(
            Received(json.dumps([ref if event == "phx_join" else self._stay, ref, TOPIC, event, payload]))
        )
        return ref

    # --- what it hears ---

    def hear(self, socket: VirtualSocket | None, line: bytes) -> None:
        if socket is not self._socket:
            return
        join_ref, ref, _, event, payload = json.loads(line)
        match event:
            case "goodbye":
                self.hang_up()
            case "phx_reply" if ref == self._knocking:
                self._knocking = ""
                if payload["status"] == "ok":
                    self._stay, self.joined, self.view = ref, True, None
                    self.cursor = {name: payload["response"][name] for name in ("epoch", "offset")}
            case "phx_error" | "phx_close":
                if join_ref == self._knocking:
                    self._knocking = ""
                elif join_ref == self._stay:
                    self.joined = False
            case "presence_state" if self.joined:
                self.view = {}
                self._came(payload)
            case "presence_diff" if self.joined:
                assert self.view is not None, f"{self} heard of a change before it knew who is there"
                self._came(payload["joins"])
                for name, entry in payload["leaves"].items():
                    for meta in entry["metas"]:
                        self.party.check(self.view[name].pop(meta["phx_ref"], None), f"{self} heard {name} leave twice")
                        self.seen.append((self.party.simulation.time, "leave", name))

    def _came(self, entries: dict[str, Any]) -> None:
        assert self.view is not None
        for name, entry in entries.items():
            there = self.view.setdefault(name, {})
            for meta in entry["metas"]:
                self.party.check(meta["phx_ref"] not in there, f"{self} heard {name} come twice")
                there[meta["phx_ref"]] = meta["device"]
                self.seen.append((self.party.simulation.time, "join", name))

    # --- what it does ---

    def knock(self, *, slow: bool = False) -> None:
        self._knocked_at = self.party.simulation.time
        payload = {"name": self.name, "device": self.device, "slow": slow}
        self._knocking = self._push("phx_join", payload if self.cursor is None else {**payload, "resume": self.cursor})
        self.party.joins += 1

    def leave(self) -> None:
        self._push("phx_leave", {})
        self.joined, self.view = False, None
        self.party.leaves += 1

    def hang_up(self) -> None:
        """As a socket ends that is closed."""
        if self._session is not None:
            self._session.tell(HangUp())
        if self._socket is not None:
            self._socket.abort()
            self._lost(self._socket)

    async def come(self, gateway: str | None = None) -> None:
        """Be in the room as soon as that is possible, over that gateway or any."""
        while not (self.joined and self.view is not None):
            if self._session is None:
                await self.connect(gateway or self.party.gateway())
            elif not self.joined and not self._knocking:
                self.knock()
            elif self._knocking and self.party.simulation.time > self._knocked_at + PATIENCE:
                self.hang_up()
            await asyncio.sleep(0.05)

    async def live(self, over: asyncio.Event, quiet: float) -> None:
        """Come and go in every way there is, until it is over; then stay, or stay away, for `quiet` seconds."""
        simulation, random = self.party.simulation, self.party.simulation.random
        while not over.is_set():
            if self._session is None:
                await self.connect(self.party.gateway())
            elif self._knocking and simulation.time > self._knocked_at + PATIENCE:
                self.hang_up()
            elif not self._knocking:
                match random.choice(("stay", "leave", "join anew", "hang up")) if self.joined else "join":
                    case "join" | "join anew":
                        self.knock(slow=random.random() < 0.2)
                    case "leave":
                        self.leave()
                    case "hang up":
                        self.hang_up()
                        self.party.leaves += 1
                    case _:
                        pass
            await asyncio.sleep(random.uniform(0.0, self.party.pace))
        if random.random() < 0.3:
            self.hang_up()
            await asyncio.sleep(quiet)
            return
        until = simulation.time + quiet
        while simulation.time < until:
            if not self.joined:
                await self.come()
            await asyncio.sleep(0.25)


class _Lines:
    """Cuts what comes over a socket into lines."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab
        self.socket: VirtualSocket | None = None
        self.rest = b""

    def read(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.tab.hear(self.socket, line)


class Party(Cluster):
    """`people`, each with as many tabs as devices are named; gateways and hosts are nodes of this cluster."""

    def __init__(
        self,
        simulation: Simulation,
        *,
        people: int,
        devices: Sequence[str] = ("phone",),
        gateways: Sequence[str] = ("stage", "foyer"),
        homes: Sequence[str] = ("attic",),
        pace: float = 1.0,
    ) -> None:
        super().__init__(simulation)
        self.gateways = gateways
        self.homes = homes
        self.pace = pace
        self.joins = self.leaves = 0
        self.mistakes: list[str] = []
        self.sockets: dict[str, list[VirtualSocket]] = defaultdict(list)
        self.tabs = [Tab(self, f"guest {number}", device) for number in range(people) for device in devices]
        self._doors: dict[str, tuple[ActorRef[Any], ActorRef[Any], Tick]] = {}

    async def begin(self) -> None:
        for name in self.homes:
            await self.start(name, self._home)
        for name in self.gateways:
            await self.start(name, self._gateway)
        await self.met()

    async def _home(self, node: Node) -> None:
        node.host("parlour", Parlour)

    async def _gateway(self, node: Node) -> None:
        fanout = await node.spawn(Fanout)
        rooms = await node.spawn(Rooms, {"parlour:*": Shared("parlour")})
        self._doors[node.name] = fanout, rooms, Tick(self.simulation.loop)

    def gateway(self) -> str | None:
        """One that can be reached now."""
        running = [name for name in self.gateways if name in self.running() and name in self._doors]
        return self.simulation.random.choice(running) if running else None

    async def admit(self, gateway: str, socket: VirtualSocket) -> ActorRef[Any] | None:
        """A session for a connection; None if nobody answers."""
        fanout, rooms, tick = self._doors[gateway]
        try:
            connection = GuestConnection(socket, LINES, tick)
            spawned = self.node(gateway).spawn(Session, connection, rooms, fanout, gateway)
            return await self.run(gateway, spawned)
        except (StartFailed, Crashed):
            return None

    def crash(self, name: str) -> None:
        """And its sockets end, as the operating system sees to."""
        super().crash(name)
        for socket in self.sockets.pop(name, []):
            socket.abort()

    def check(self, good: object, what: str) -> None:
        """Without raising where a fan-out would crash of it."""
        if not good:
            self.mistakes.append(what)

    def there(self) -> Guests:
        """Who really is."""
        there: dict[str, list[str]] = defaultdict(list)
        for tab in self.tabs:
            if tab.joined:
                there[tab.name].append(tab.device)
        return {name: sorted(devices) for name, devices in there.items()}

    def ghosts_and_missing(self) -> tuple[list[str], list[str]]:
        """Whom somebody sees that is not there, and whom somebody does not see that is."""
        there = {
            (name, device, number) for name, all_of in self.there().items() for number, device in enumerate(all_of)
        }
        ghosts, missing = [], []
        for tab in self.tabs:
            if tab.joined:
                seen = {
                    (name, device, number)
                    for name, all_of in tab.guests().items()
                    for number, device in enumerate(all_of)
                }
                ghosts += [f"{tab} sees {who}" for who in sorted(seen - there)]
                missing += [f"{tab} does not see {who}" for who in sorted(there - seen)]
        return ghosts, missing
