"""Rooms that all gateways of a cluster share: entities, each on one node, with members on every node."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateway_helpers import Client, House
from understudy.actors import Refused
from understudy.examples.chat import ChatRoom, Unkept, room
from understudy.gateway import Gateway, GetUrl, Shared
from understudy.transport import Node

ROOM = "room:kitchen"


class Papers:
    """A record, for all nodes of a test. While `shut`, nothing can be written."""

    def __init__(self) -> None:
        self.written: dict[str, bytes] = {}
        self.fences: list[int] = []
        self.shut = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    async def read(self, topic: str) -> bytes | None:
        return self.written.get(topic)

    async def write(self, topic: str, fence: int, value: bytes) -> None:
        self.asked.set()
        await self.gate.wait()
        if self.shut:
            raise Unkept("the papers are away")
        if self.fences and fence < self.fences[-1]:
            raise RuntimeError("fenced")
        self.fences.append(fence)
        self.written[topic] = value


class Bouncer(House):
    async def on_start(self) -> None:
        raise Refused("the kitchen is closed")


class Stages:
    """Nodes with a gateway each."""

    def __init__(self, state: Path, http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
        self._state = state
        self._http = http
        self._stack = stack
        self.nodes: dict[str, Node] = {}
        self.urls: dict[str, str] = {}

    async def open(self, name: str, room: type[House] | type[ChatRoom] | None = House, *args: Any) -> Node:
        node = self.nodes[name] = await self._stack.enter_async_context(Node(name, state=self._state))
        if room is not None:
            node.host("room", room, *args)
        gateway = await node.spawn(Gateway, name, port=0, topics={"room:*": Shared("room")})
        self.urls[name] = await gateway.call(GetUrl())
        return node

    async def client(self, stage: str) -> Client:
        socket = self._http.ws_connect(f"{self.urls[stage]}/socket/websocket?vsn=2.0.0")
        return Client(await self._stack.enter_async_context(socket))

    async def home(self) -> str:
        """The node that the room is on."""
        async with asyncio.timeout(10):
            while True:
                for node in self.nodes.values():
                    if any(name.name == f"room/{ROOM}" for name in node.names.mine()):
                        return node.name
                await asyncio.sleep(0.01)


@asynccontextmanager
async def stages(state: Path) -> AsyncIterator[Stages]:
    House.gates = {"at the door": asyncio.Event()}
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield Stages(state, http, stack)


async def entered(client: Client, payload: Any) -> dict[str, Any]:
    status, response = await client.join(ROOM, payload)
    assert status == "ok", response
    return {**response, **(client.recovered[ROOM]["snapshot"] or {})}


async def test_clients_of_every_gateway_are_in_one_room(tmp_path: Path) -> None:
    async with stages(tmp_path) as house:
        for name in ("stage-1", "stage-2"):
            await house.open(name)
        ada, bob = await house.client("stage-1"), await house.client("stage-2")
        assert (await entered(ada, {"key": "ada"}))["members"] == 0
        assert (await entered(bob, {"key": "bob"}))["members"] == 1
        assert set(await bob.event(ROOM, "presence_state")) == {"ada", "bob"}
        assert set((await ada.event(ROOM, "presence_diff"))["joins"]) == {"bob"}
        for number in range(50):
            assert await ada.ask(ROOM, "shout", {"n": number}) == ("ok", {"shouted": True})
        assert [(await bob.event(ROOM, "heard"))["n"] for _ in range(50)] == list(range(50))


async def test_when_the_room_is_gone_with_its_node_its_members_join_the_next_one_and_find_what_was_said(
    tmp_path: Path,
) -> None:
    papers = Papers()
    async with stages(tmp_path) as house:
        for name in ("stage-1", "stage-2", "stage-3"):
            await house.open(name, ChatRoom, papers)
        ada = await house.client("stage-1")
        await entered(ada, {"name": "Ada"})
        home = await house.home()
        bob = await house.client(next(name for name in house.nodes if name not in (home, "stage-1")))
        await entered(bob, {"name": "Bob"})
        assert await bob.ask(ROOM, "say", {"text": "hello", "id": "b1"}) == ("ok", {"id": "b1"})
        await house.nodes.pop(home).stop()
        assert (await bob.until(lambda frame: frame[3] == "phx_error"))[2] == ROOM
        history = (await entered(bob, {"name": "Bob"}))["lines"]
        assert [line["text"] for line in history] == ["hello"]
        assert await bob.ask(ROOM, "say", {"text": "hello", "id": "b1"}) == ("ok", {"id": "b1"})
        assert await bob.ask(ROOM, "say", {"text": "again", "id": "b2"}) == ("ok", {"id": "b2"})
        late = await house.client(next(iter(house.nodes)))
        history = (await entered(late, {"name": "Late"}))["lines"]
        assert [line["id"] for line in history] == ["b1", "b2"]
        assert papers.fences == sorted(papers.fences)
        assert len(set(papers.fences)) == 2, "each life of the room has a higher fence"


async def test_when_the_node_of_the_room_drains_its_members_join_the_next_one(tmp_path: Path) -> None:
    papers = Papers()
    async with stages(tmp_path) as house:
        for name in ("stage-1", "stage-2"):
            await house.open(name, ChatRoom, papers)
        ada = await house.client("stage-1")
        await entered(ada, {"name": "Ada"})
        assert (await ada.ask(ROOM, "say", {"text": "hello"}))[0] == "ok"
        home = await house.home()
        bob = await house.client("stage-1" if home == "stage-2" else "stage-2")  # whose own stage goes on
        await entered(bob, {"name": "Bob"})
        await house.nodes[home].drain(10.0)
        assert (await bob.until(lambda frame: frame[3] in ("phx_error", "phx_close")))[3] == "phx_error"
        assert [line["text"] for line in (await entered(bob, {"name": "Bob"}))["lines"]] == ["hello"]
        assert await house.home() != home


async def test_a_room_that_refuses_to_start_and_one_that_nobody_hosts_say_so(tmp_path: Path) -> None:
    async with stages(tmp_path) as house:
        await house.open("stage-1", Bouncer)
        ada = await house.client("stage-1")
        status, response = await ada.join(ROOM)
        assert (status, response["reason"]) == ("error", "the kitchen is closed")


# --- what a room with a record promises, on one node ---


@asynccontextmanager
async def kitchen(state: Path, papers: Papers) -> AsyncIterator[tuple[Client, Client]]:
    """Two people in a chat room with that record."""
    async with stages(state) as house:
        await house.open("stage", ChatRoom, papers)
        ada, bob = await house.client("stage"), await house.client("stage")
        await entered(ada, {"name": "Ada"})
        await entered(bob, {"name": "Bob"})
        yield ada, bob


async def test_a_line_is_seen_when_it_is_kept_and_lines_said_meanwhile_are_kept_together(tmp_path: Path) -> None:
    papers = Papers()
    async with kitchen(tmp_path, papers) as (ada, bob):
        papers.gate.clear()
        await ada.send(None, "1", ROOM, "say", {"text": "one"})
        await papers.asked.wait()
        for number in ("two", "three"):
            await ada.send(None, number, ROOM, "say", {"text": number})
        assert (await ada.ask(ROOM, "draft", {"text": "x"}))[0] == "ok", "the room goes on meanwhile"
        assert papers.written == {}
        papers.gate.set()
        assert [(await bob.event(ROOM, "line"))["text"] for _ in range(3)] == ["one", "two", "three"]
        assert len(papers.fences) == 2, "one write for the first line, and one for the others"


async def test_a_line_that_is_said_again_under_its_id_stands_there_once(tmp_path: Path) -> None:
    papers = Papers()
    async with kitchen(tmp_path, papers) as (ada, bob):
        papers.gate.clear()
        for ref in ("1", "2"):
            await ada.send(None, ref, ROOM, "say", {"text": "once", "id": "a1"})
        await papers.asked.wait()
        papers.gate.set()
        replies = [await ada.until(lambda frame: frame[3] == "phx_reply" and frame[1] in "12") for _ in range(2)]
        assert [reply[1] for reply in replies] == ["1", "2"]
        assert [reply[4] for reply in replies] == [{"status": "ok", "response": {"id": "a1"}}] * 2
        assert await ada.ask(ROOM, "say", {"text": "once", "id": "a1"}) == ("ok", {"id": "a1"})
        await ada.ask(ROOM, "say", {"text": "twice", "id": "a2"})
        assert [(await bob.event(ROOM, "line"))["id"] for _ in range(2)] == ["a1", "a2"]


async def test_a_line_that_cannot_be_kept_yet_waits_and_is_seen_by_nobody_until_it_is(tmp_path: Path) -> None:
    papers = Papers()
    async with kitchen(tmp_path, papers) as (ada, bob):
        papers.shut = True
        await ada.send(None, "1", ROOM, "say", {"text": "waits", "id": "a1"})
        await papers.asked.wait()
        await ada.send(None, "2", ROOM, "say", {"text": "waits behind it"})
        assert (await bob.ask(ROOM, "draft", {"text": "x"}))[0] == "ok"
        assert all(frame[3] != "line" for frame in bob.kept)
        papers.shut = False
        assert [(await bob.event(ROOM, "line"))["text"] for _ in range(2)] == ["waits", "waits behind it"]
        assert (await ada.until(lambda frame: frame[1] == "1"))[4] == {"status": "ok", "response": {"id": "a1"}}


async def test_no_more_lines_wait_to_be_kept_than_a_room_has_place_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "UNKEPT_LIMIT", 3)
    papers = Papers()
    async with kitchen(tmp_path, papers) as (ada, _):
        papers.gate.clear()
        for number in range(4):  # one that is being written, and three
            await ada.send(None, str(number), ROOM, "say", {"text": str(number)})
        status, response = await ada.ask(ROOM, "say", {"text": "one too many"})
        assert (status, "too much waits" in response["reason"]) == ("error", True)
        papers.gate.set()
        assert [(await ada.event(ROOM, "line"))["text"] for _ in range(4)] == ["0", "1", "2", "3"]


async def test_a_room_whose_record_has_a_later_life_ends_and_shows_nothing_of_what_it_could_not_write(
    tmp_path: Path,
) -> None:
    papers = Papers()
    async with kitchen(tmp_path, papers) as (ada, bob):
        papers.fences.append(2**60)
        await ada.send(None, "1", ROOM, "say", {"text": "from the past"})
        for client in (ada, bob):
            assert (await client.until(lambda frame: frame[3] in ("phx_error", "line")))[3] == "phx_error"


@pytest.mark.parametrize("wanted", ["", "x" * 65, 7])
async def test_an_id_is_a_short_text(tmp_path: Path, wanted: object) -> None:
    async with kitchen(tmp_path, Papers()) as (ada, _):
        status, response = await ada.ask(ROOM, "say", {"text": "hello", "id": wanted})
        assert (status, response["reason"]) == ("error", "the id of a line is a text of 1 to 64 characters")


async def test_a_record_holds_as_many_of_the_last_lines_as_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChatRoom, "rates", {})
    papers = Papers()
    async with kitchen(tmp_path, papers) as (ada, _):
        for number in range(70):
            await ada.ask(ROOM, "say", {"text": "\N{FACE WITH TEARS OF JOY}" * 1_990 + str(number)})
        assert 200 * 1024 < len(papers.written[ROOM]) <= 256 * 1024
