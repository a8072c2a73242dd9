"""A gateway on a free port, a client that speaks frames, and a connection that only remembers what was sent."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp

from understudy.actors import ActorRef, ActorSystem, Cell, Refused
from understudy.gateway import Gateway, GetUrl, Member, Room, refusals
from understudy.gateway.rooms import Topics
from understudy.gateway.services import Services

PATIENCE = 5.0
"""Seconds a test waits for what must come."""


def declined(reason: str) -> tuple[str, dict[str, Any]]:
    """What `ask` and `join` return for a refusal."""
    return "error", refusals.reply(reason)


class House(Room):
    """A room that does what it is told, to try every path a room can take."""

    gates: dict[str, asyncio.Event]
    grace = 0.05  # seconds; how long it is by itself is a matter of virtual time (tests/simulation/test_presence.py)

    def __init__(self, topic: str) -> None:
        super().__init__(topic)
        self.left: list[str] = []
        self.over = False

    def on_join(self, member: Member, payload: dict[str, Any]) -> Any:
        match payload:
            case {"refuse": reason}:
                raise Refused(reason)
            case {"crash": _}:
                raise RuntimeError("on purpose")
            case {"wait": gate}:
                return self.slow_join(gate, payload)
            case {"key": key}:
                self.track(member, {"device": payload.get("device", "?")}, key=key)
        return {"topic": self.topic, "members": len(self.members)}

    async def slow_join(self, gate: str, payload: dict[str, Any]) -> dict[str, Any]:
        self.gates["at the door"].set()
        await self.gates[gate].wait()
        if "then" in payload:
            raise Refused(payload["then"])
        return {"waited": gate}

    def on_event(self, member: Member, event: str, payload: Any) -> Any:
        match event:
            case "echo":
                return payload
            case "nothing":
                return None
            case "refuse":
                raise Refused(payload["reason"])
            case "crash":
                raise RuntimeError("on purpose")
            case "slow":
                return self.slow_answer(payload)
            case "shout":
                self.broadcast("heard", payload)
                return {"shouted": True}
            case "conclude":
                self.broadcast("heard", payload)
                self.conclude()
                self.over = True
                return {}
            case "whisper":
                self.broadcast("heard", payload, excluding=member)
                return {}
            case "update":
                self.track(member, payload, key=payload["key"])
                return {}
            case "flood":
                for number in range(payload["times"]):
                    self.broadcast("heard", {"number": number, "filling": "x" * payload["size"]}, excluding=member)
                return {}
            case "finish":
                self.stop()
                return {}
            case "not_json":
                return {"what": object()}
            case _:
                return super().on_event(member, event, payload)

    async def slow_answer(self, payload: Any) -> Any:
        await self.gates[payload["wait"]].wait()
        return {"waited": payload["wait"]}

    def on_leave(self, member: Member) -> None:
        self.left.append(member.id)
        if not self.over:
            self.broadcast("left", {"count": len(self.left)})


@asynccontextmanager
async def gateway(topics: Topics | None = None, **options: Any) -> AsyncIterator["Served"]:
    """A system with a gateway on a free port; `room:*` are Houses unless told otherwise."""
    House.gates = {"at the door": asyncio.Event()}
    async with ActorSystem("test") as system:
        ref = await system.spawn(
            Gateway, "stage", port=0, topics=topics if topics is not None else {"room:*": House}, **options
        )
        url = await ref.call(GetUrl())
        async with aiohttp.ClientSession() as http:
            yield Served(system, ref, url, http)


class Served:
    """The gateway under test and what is needed to talk to it."""

    def __init__(self, system: ActorSystem, ref: ActorRef[Any], url: str, http: aiohttp.ClientSession) -> None:
        self.system = system
        self.ref = ref
        self.url = url
        self.http = http

    @property
    def services(self) -> Services:
        """What the gateway's endpoints have in common, for looking inside."""
        actor = cast("Cell[Gateway]", self.ref).actor
        assert isinstance(actor, Gateway)
        return actor.server.services

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @asynccontextmanager
    async def client(self, **headers: str) -> AsyncIterator["Client"]:
        """A connected client."""
        async with self.http.ws_connect(f"{self.url}/socket/websocket?vsn=2.0.0", headers=headers) as socket:
            yield Client(socket)

    async def json(self, path: str, method: str = "GET", **options: Any) -> tuple[int, Any]:
        async with self.http.request(method, self.url + path, **options) as response:
            return response.status, await response.json()


class Client:
    """Speaks frames. What it did not ask for yet is kept in order."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.kept: list[list[Any]] = []
        self.count = 0
        self.cursors: dict[str, dict[str, Any]] = {}
        self.recovered: dict[str, dict[str, Any]] = {}

    async def send(self, join_ref: str | None, ref: str | None, topic: str, event: str, payload: Any) -> None:
        await self.socket.send_str(json.dumps([join_ref, ref, topic, event, payload]))

    async def receive(self) -> list[Any]:
        """The next frame."""
        if self.kept:
            return self.kept.pop(0)
        async with asyncio.timeout(PATIENCE):
            message = await self.socket.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, f"expected a frame, got {message}"
        frame: list[Any] = json.loads(message.data)
        return frame

    async def until(self, wanted: Callable[[list[Any]], bool]) -> list[Any]:
        """The first frame that fits; others stay for later."""
        passed: list[list[Any]] = []
        while not wanted(frame := await self.receive()):
            passed.append(frame)
        self.kept[:0] = passed
        return frame

    async def event(self, topic: str, event: str) -> Any:
        """The payload of the next such event, without its offset, which goes to `cursors`."""
        payload = (await self.until(lambda frame: frame[2] == topic and frame[3] == event))[4]
        if "_o" in payload:
            self.cursors[topic]["offset"] = payload.pop("_o")
        return payload.get("_v", payload)

    async def ask(self, topic: str, event: str, payload: Any, join_ref: str | None = None) -> tuple[str, Any]:
        """Push and wait for the reply: its status and response."""
        self.count += 1
        ref = f"r{self.count}"
        await self.send(join_ref, ref, topic, event, payload)
        reply = (await self.until(lambda frame: frame[1] == ref and frame[3] == "phx_reply"))[4]
        return reply["status"], reply["response"]

    async def join(self, topic: str, payload: Any = None, join_ref: str = "j") -> tuple[str, Any]:
        """The reply to a join: its status, and what the room itself said. The rest is in `cursors` and `recovered`."""
        await self.send(join_ref, join_ref, topic, "phx_join", payload if payload is not None else {})
        reply = (await self.until(lambda frame: frame[1] == join_ref and frame[3] == "phx_reply"))[4]
        if reply["status"] == "ok":
            self.recovered[topic] = {
                name: reply["response"].pop(name, None) for name in ("recovered", "events", "snapshot")
            }
            self.cursors[topic] = {name: reply["response"].pop(name) for name in ("epoch", "offset")}
        return reply["status"], reply["response"]

    async def closed(self) -> int | None:
        """Wait for the server to close; the close code."""
        async with asyncio.timeout(PATIENCE):
            while (await self.socket.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        return self.socket.close_code
