"""A chat room on one node, the people in it on another, and everything in between going wrong.

The browsers stand outside all nodes, as browsers do: they connect, join, talk, leave, and come back when they are sent
away. The room keeps a log of what was said in it; what each browser saw is held against that.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.simulation.puppets import Puppet
from understudy.actors import Actor, ActorRef, CallError, Later, Refused, Request, StartFailed, message
from understudy.examples.chat import ChatRoom
from understudy.gateway import Member, Room, phoenix
from understudy.gateway.fanout import Fanout
from understudy.gateway.messages import Admitted, Denied, Join, Leave, OpenRoom, RoomOpened, RoomRefused
from understudy.gateway.serializers import PhoenixSerializer
from understudy.gateway.session import HangUp, Received, Session
from understudy.simulation import Cluster, Crashed, Simulation, faults
from understudy.transport import Node

TOPIC = "room:kitchen"

AWAY = 1.0
"""Seconds after which a browser that was sent away comes back."""

QUIET = 11.0
"""Seconds after the last fault in which everybody must be back, and see everybody else."""


@message("test.who")
class Who(Request[ActorRef[Any]]):
    """The room's address."""


@dataclass
class Log:
    """What was said in one life of the room, in order."""

    lines: list[dict[str, Any]] = field(default_factory=list)


class LoggedRoom(ChatRoom):
    def __init__(self, topic: str, logs: dict[str, Log]) -> None:
        super().__init__(topic)
        self.logs = logs

    def say(self, member: Member, text: str, wanted: str | None = None) -> dict[str, Any] | Later:
        said = super().say(member, text, wanted)
        self.logs[self.token].lines.append(self.history.page()["lines"][-1])
        return said


class Landlord(Actor):
    """Keeps the one room, and starts it anew when somebody asks for it after it has ended."""

    trap_exit = True

    def __init__(self, logs: dict[str, Log]) -> None:
        super().__init__()
        self.logs = logs
        self.room: ActorRef[Any] | None = None

    async def on_receive(self, message: object) -> ActorRef[Any] | None:
        if isinstance(message, Who) and (self.room is None or not self.room.is_alive()):
            self.room = await self.spawn(LoggedRoom, TOPIC, self.logs)
        return self.room


class Doorman(Actor):
    """Stands for `Rooms` on the sessions' node: the landlord knows where the room is."""

    def __init__(self, landlord: ActorRef[Any]) -> None:
        super().__init__()
        self.landlord = landlord

    def on_receive(self, message: object) -> None:
        assert isinstance(message, OpenRoom)
        self.run(self.open(message))

    async def open(self, request: OpenRoom) -> None:
        try:
            request.session.tell(RoomOpened(request.member, await self.landlord.call(Who(), timeout=2.0)))
        except CallError as error:
            request.session.tell(RoomRefused(request.member, str(error)))


PLAIN = PhoenixSerializer(phoenix, bytes)
"""Frames as bare text."""


@dataclass
class Stay:
    """One stay in the room: the key that the browser has in it, what it saw, who it believes is there."""

    join_ref: str
    key: str = ""
    token: str = ""
    seen: int = 0  # the number of the last line
    present: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


class Socket:
    """One connection of a browser, as its session sees it. Once it is closed, nothing comes through any more."""

    def __init__(self, browser: Browser) -> None:
        self.serializer = PLAIN
        self.buffered = 0
        self.closed = False
        self._browser = browser

    def send(self, frame: bytes, latest: Hashable | None = None) -> None:
        if not self.closed:
            try:
                self._browser.hear(*json.loads(frame))
            except AssertionError as error:  # it would only crash the fan-out, which comes back
                self._browser.play.mistakes.append(str(error))

    def close(self, code: int, reason: str) -> None:
        self.reset()

    def reset(self) -> None:
        if not self.closed:
            self.closed = True
            self._browser.disconnected()


class Browser:
    """One tab, and the person in front of it."""

    def __init__(self, play: Play, name: str) -> None:
        self.play = play
        self.name = name
        self.socket: Socket | None = None
        self.session: ActorRef[Any] | None = None
        self.stay: Stay | None = None
        self.knocking = ""
        self.refs = 0
        self.said: dict[str, str] = {}
        self.confirmed: dict[str, str] = {}
        self.own_lines: set[str] = set()

    def hear(self, join_ref: str | None, ref: str | None, topic: str, event: str, payload: dict[str, Any]) -> None:
        """A frame from the other end."""
        match event:
            case "phx_reply" if ref == self.knocking:
                self.knocking = ""
                if payload["status"] == "ok":
                    self.joined(Stay(ref), payload["response"])
            case "phx_reply":
                if payload["status"] == "ok" and ref in self.said:
                    line = payload["response"]["id"]
                    assert self.stay is None or line in self.own_lines, "a reply before the line that it confirms"
                    self.confirmed[self.said[ref]] = line
            case "phx_error" | "phx_close":
                if join_ref == self.knocking:  # let in by a room that ended before it could say so
                    self.knocking = ""
                if self.stay is not None and join_ref == self.stay.join_ref:
                    self.stay = None
            case _ if self.stay is not None:  # else it has left, and the session does not know yet
                self.happened(self.stay, event, payload)

    # --- what it shows ---

    def joined(self, stay: Stay, response: dict[str, Any]) -> None:
        self.stay = stay
        stay.key = response["key"]
        page = response["snapshot"]
        if page["earlier"]:
            stay.seen = int(page["lines"][0]["id"].rpartition(".")[2]) - 1
        for line in page["lines"]:
            self.line(stay, line)

    def happened(self, stay: Stay, event: str, payload: dict[str, Any]) -> None:
        match event:
            case "line":
                del payload["_o"]
                self.line(stay, payload)
            case "presence_state":
                stay.present = defaultdict(set)
                self.came(stay, payload)
            case "presence_diff":
                self.came(stay, payload["joins"])
                for key, entry in payload["leaves"].items():
                    stay.present[key] -= {meta["phx_ref"] for meta in entry["metas"]}
            case _:
                assert event == "draft", event

    def came(self, stay: Stay, entries: dict[str, Any]) -> None:
        for key, entry in entries.items():
            stay.present[key] |= {meta["phx_ref"] for meta in entry["metas"]}

    def line(self, stay: Stay, line: dict[str, Any]) -> None:
        """Every line follows the one before; the first of a stay is the first of the room, or of the page that it got."""
        token, _, number = line["id"].rpartition(".")
        assert stay.token in ("", token), f"{self.name} saw a line of another room"
        assert int(number) == stay.seen + 1, f"{self.name} saw line {number} after line {stay.seen}"
        assert self.play.logs[token].lines[stay.seen] == line
        stay.token, stay.seen = token, int(number)
        if line["author"] == self.name:
            self.own_lines.add(line["id"])

    def disconnected(self) -> None:
        self.socket = self.session = self.stay = None
        self.knocking = ""

    # --- what it does ---

    def push(self, event: str, payload: dict[str, Any], join_ref: str | None = None) -> str:
        assert self.session is not None
        self.refs += 1
        ref = str(self.refs)
        join_ref = ref if event == "phx_join" else self.stay.join_ref if self.stay is not None else None
        self.session.tell(Received(json.dumps([join_ref, ref, TOPIC, event, payload])))
        return ref

    async def live(self, until: float) -> None:
        """Come, talk, go, come back; in the end stay and listen."""
        simulation, random = self.play.simulation, self.play.simulation.random
        while True:
            over = simulation.time >= until
            if self.session is None:
                socket = self.socket = Socket(self)
                session = await self.play.connect(socket)
                if session is None:
                    socket.reset()
                elif not socket.closed:
                    self.session = session
            elif self.stay is None and not self.knocking:
                self.knocking = self.push("phx_join", {"name": self.name})
            elif self.stay is not None and not over:
                match random.choice(["say"] * 6 + ["type", "leave", "hang up"]):
                    case "say":
                        text = f"{self.name} {self.refs}"
                        self.said[self.push("say", {"text": text})] = text
                    case "type":
                        self.push("draft", {"text": "x"})
                    case "leave":
                        self.push("phx_leave", {})
                        self.stay = None
                    case _:
                        self.session.tell(HangUp())
            elif over and simulation.time >= until + QUIET:
                return
            await asyncio.sleep(AWAY if over else random.uniform(0, AWAY))


class Play:
    """The room is in the attic, the people are on the stage."""

    def __init__(self, simulation: Simulation, cluster: Cluster) -> None:
        self.simulation = simulation
        self.cluster = cluster
        self.logs: dict[str, Log] = defaultdict(Log)
        self.mistakes: list[str] = []
        self.fanout: dict[str, tuple[ActorRef[Any], ActorRef[Any]]] = {}
        self.browsers = [Browser(self, name) for name in ("ada", "bob", "eve")[: simulation.choose([2, 2, 3])]]

    async def begin(self) -> None:
        await self.cluster.start("attic", self.attic)
        await self.cluster.start("stage", self.stage)
        await self.cluster.met()

    async def attic(self, node: Node) -> None:
        await node.spawn(Landlord, self.logs, name="landlord")

    async def stage(self, node: Node) -> None:
        self.fanout["stage"] = await node.spawn(Fanout), await node.spawn(Doorman, node.ref("landlord@attic"))

    async def connect(self, socket: Socket) -> ActorRef[Any] | None:
        """A new session for a connection; None if nobody answers."""
        try:
            fanout, doorman = self.fanout["stage"]
            spawned = self.cluster.node("stage").spawn(Session, socket, doorman, fanout, "stage")
            return await self.cluster.run("stage", spawned)
        except (StartFailed, Crashed):
            return None

    def crashed(self, name: str) -> None:
        """What the operating system tells the browsers of a process that was killed."""
        if name == "stage":
            for browser in self.browsers:
                if browser.socket is not None:
                    browser.socket.reset()

    def check(self) -> None:
        assert not self.mistakes
        texts = [line["text"] for log in self.logs.values() for line in log.lines]
        assert len(set(texts)) == len(texts), "something was said twice"
        ids = {line["text"]: line["id"] for log in self.logs.values() for line in log.lines}
        keys = set()
        for browser in self.browsers:
            assert browser.stay is not None, f"{browser.name} did not come back"
            for text, line in browser.confirmed.items():
                assert ids[text] == line
            keys.add(browser.stay.key)
        for browser in self.browsers:
            assert browser.stay is not None
            assert {key for key, metas in browser.stay.present.items() if metas} == keys
            if browser.stay.token:
                assert browser.stay.seen == len(self.logs[browser.stay.token].lines)
        assert len({browser.stay.token for browser in self.browsers if browser.stay is not None}) == 1


class Stage(Cluster):
    """A cluster whose browsers notice when the process at the other end of their connections is killed."""

    play: Play

    def crash(self, name: str) -> None:
        super().crash(name)
        self.play.crashed(name)


@pytest.mark.seeds(300)
async def test_everybody_sees_every_line_in_order_and_in_the_end_who_is_there(simulation: Simulation) -> None:
    async with Stage(simulation) as cluster:
        play = cluster.play = Play(simulation, cluster)
        await play.begin()
        keeper = asyncio.ensure_future(cluster.keep_alive())
        until = simulation.time + 7.0
        kinds = faults.NETWORK + faults.NODES
        script = faults.plan(simulation, ["attic", "stage"], kinds, seconds=5, most=4, longest=6.0)
        await asyncio.gather(faults.play(cluster, script), *(browser.live(until) for browser in play.browsers))
        keeper.cancel()
        play.check()


class Club(Room):
    """Looks at who wants to come in for a while, or not; keeps a list of who is inside."""

    def __init__(self, topic: str, simulation: Simulation) -> None:
        super().__init__(topic)
        self.random = simulation.random
        self.inside: list[str] = []
        self.left: list[str] = []
        self.empty = 0

    def on_join(self, member: Member, payload: dict[str, Any]) -> Any:
        if self.random.random() < 0.3:
            return self.look(member)
        return self.ask(member)

    async def ask(self, member: Member) -> dict[str, Any]:
        if self.random.random() < 0.3:
            self.track(member, {})
        await asyncio.sleep(self.random.choice((0.0, 0.01, 0.1)))
        return self.look(member)

    def look(self, member: Member) -> dict[str, Any]:
        if self.random.random() < 0.2:
            raise Refused("not you")
        self.track(member, {})
        return {}

    def on_leave(self, member: Member) -> Any:
        self.left.append(member.id)
        return asyncio.sleep(0.01) if self.random.random() < 0.3 else None

    def on_empty(self) -> None:
        self.empty += 1

    def on_message(self, message: object) -> Any:
        return self if message == "yourself" else asyncio.sleep(0.02)


class Evening:
    """Who came to the club, and what became of them."""

    def __init__(self, simulation: Simulation) -> None:
        self.random = simulation.random
        self.simulation = simulation
        self.admitted: set[str] = set()
        self.denied: set[str] = set()
        self.left: set[str] = set()
        self.sessions: dict[str, ActorRef[Any]] = {}

    async def spend(self) -> Club | None:
        """Six people come, and some of them come twice. Returns the room once it is quiet, None if it has ended."""
        self.system = self.simulation.system("club")
        self.room = await self.system.spawn(Club, TOPIC, self.simulation)
        self.fanouts = [await self.system.spawn(Puppet, lambda *_: None) for _ in range(2)]
        await asyncio.gather(*(self.visit(number) for number in range(6)))
        await asyncio.sleep(2)
        club = await self.room.call("yourself") if self.room.is_alive() else None
        self.room.kill()  # what becomes of it now is no part of the evening
        return club

    async def visit(self, number: int) -> None:
        random = self.random
        await asyncio.sleep(random.random() * 0.2)
        ref = await self.system.spawn(Puppet, self.told)
        for stay in range(random.randint(1, 2)):
            name = f"{number}.{stay}"
            self.sessions[name] = ref
            self.room.tell(Join(Member(name, ref, random.choice(self.fanouts), "here"), {}))
            await asyncio.sleep(random.choice((0.0, 0.005, 0.02, 0.1)))
            how = random.choice(("stay", "leave", "die", "both"))
            if how in ("leave", "both"):
                self.left.add(name)
                self.room.tell(Leave(name))
            if how in ("die", "both"):
                ref.kill()
                return
            if random.random() < 0.2:
                self.room.tell("busy")

    def told(self, _: Any, message: Any) -> None:
        match message:
            case Admitted(member) | Denied(member):
                assert member not in self.admitted | self.denied
                (self.admitted if isinstance(message, Admitted) else self.denied).add(member)

    @property
    def there(self) -> set[str]:
        """Who was let in and is there still."""
        return {name for name in self.admitted - self.left if self.sessions[name].is_alive()}


@pytest.mark.seeds(300)
async def test_who_has_left_or_died_is_not_let_in_however_long_the_door_took(simulation: Simulation) -> None:
    """In the end those are inside who were let in and are still there, on every list that the room keeps."""
    evening = Evening(simulation)
    club = await evening.spend()
    if club is None:  # everybody was turned away
        assert not evening.admitted
        return
    there = evening.there
    assert set(club.members) == there
    assert (club._attendance.state() if club._attendance is not None else {}).keys() == there
    assert len(set(club.left)) == len(club.left)
    assert evening.admitted - there <= set(club.left)
    assert there.isdisjoint(club.left)
    assert set().union(*(audience.members for audience in club.feed._audiences.values())) == there


@pytest.mark.seeds(300)
async def test_a_room_whose_last_member_has_gone_is_told_that_it_is_empty(simulation: Simulation) -> None:
    """Though somebody stood at the door just then, who was turned away later."""
    evening = Evening(simulation)
    club = await evening.spend()
    if club is not None and evening.admitted and not evening.there:
        assert club.empty
