"""A room on one node, its members' sessions on another: nothing in between may know the difference."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.gateway_helpers import House
from understudy.actors import Actor, ActorRef
from understudy.gateway import phoenix
from understudy.gateway.fanout import Fanout
from understudy.gateway.messages import OpenRoom, RoomOpened
from understudy.gateway.serializers import PhoenixSerializer
from understudy.gateway.session import Received, Session
from understudy.transport import Node

PLAIN = PhoenixSerializer(phoenix, bytes)
"""Frames as bare text."""


class Notebook:
    """A connection that writes down what is sent."""

    def __init__(self) -> None:
        self.serializer = PLAIN
        self.closed = False
        self.buffered = 0
        self.frames: list[list[Any]] = []
        self.written = asyncio.Event()

    def send(self, frame: bytes, latest: Hashable | None = None) -> None:
        self.frames.append(json.loads(frame))
        self.written.set()

    def close(self, code: int, reason: str) -> None:
        self.closed = True

    def reset(self) -> None:
        self.closed = True

    async def next(self, wanted: Callable[[list[Any]], bool] = lambda _: True) -> list[Any]:
        """The next frame that fits; those before it are dropped."""
        async with asyncio.timeout(10.0):
            while True:
                while not self.frames:
                    self.written.clear()
                    await self.written.wait()
                frame = self.frames.pop(0)
                if wanted(frame):
                    return frame


class Elsewhere(Actor):
    """Stands for `rooms`: every topic's room is that one actor on the other node."""

    def __init__(self, room: ActorRef[Any]) -> None:
        super().__init__()
        self.room = room

    def on_receive(self, message: object) -> None:
        assert isinstance(message, OpenRoom)
        message.session.tell(RoomOpened(message.member, self.room))


@asynccontextmanager
async def two_nodes(state: Path) -> AsyncIterator[tuple[Node, Node, Callable[[], Any]]]:
    """`stage` with the sessions, `attic` with the room, and a function that opens a session: its ref and notebook."""
    House.gates = {}
    async with Node("attic", state=state) as attic, Node("stage", state=state) as stage:
        await attic.spawn(House, "room:a", name="house")
        fanout = await stage.spawn(Fanout)
        rooms = await stage.spawn(Elsewhere, stage.ref("house@attic"))

        async def session() -> tuple[ActorRef[Any], Notebook]:
            notebook = Notebook()
            return await stage.spawn(Session, notebook, rooms, fanout, "stage"), notebook

        yield stage, attic, session


def said(join_ref: str | None, ref: str | None, event: str, payload: Any) -> Received:
    return Received(json.dumps([join_ref, ref, "room:a", event, payload]))


async def test_join_push_broadcast_presence_and_leave_work_across_nodes_in_order(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (_, _, session):
        (one, hers), (two, his) = await session(), await session()
        one.tell(said("1", "1", "phx_join", {"key": "ada"}))
        assert (await hers.next())[4]["status"] == "ok"
        assert list((await hers.next())[4]) == ["ada"]
        two.tell(said("1", "1", "phx_join", {"key": "bob"}))
        assert {"topic": "room:a", "members": 1}.items() <= (await his.next())[4]["response"].items()
        assert list((await hers.next())[4]["joins"]) == ["bob"]
        for number in range(200):
            one.tell(said("1", str(number), "shout", {"n": number}))
        for number in range(200):
            assert (await hers.next())[3:] == ["heard", {"n": number, "_o": number + 1}]
            assert (await hers.next())[1] == str(number)
        await his.next(lambda frame: frame[4] == {"n": 199, "_o": 200})
        two.tell(said("1", "9", "phx_leave", {}))
        assert list((await hers.next(lambda frame: frame[3] == "presence_diff"))[4]["leaves"]) == ["bob"]
        assert [(await his.next())[3] for _ in range(2)] == ["phx_reply", "phx_close"]


async def test_a_session_that_dies_leaves_the_room_on_the_other_node(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (_, _, session):
        (one, hers), (two, his) = await session(), await session()
        one.tell(said("1", "1", "phx_join", {"key": "ada"}))
        await hers.next(lambda frame: frame[3] == "presence_state")
        two.tell(said("1", "1", "phx_join", {"key": "bob"}))
        await his.next(lambda frame: frame[3] == "presence_state")
        two.kill()
        gone = await hers.next(lambda frame: frame[3] == "presence_diff" and frame[4]["leaves"])
        assert list(gone[4]["leaves"]) == ["bob"]
        assert his.closed


async def test_a_room_that_crashes_or_whose_node_goes_sends_its_members_to_join_again(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (_, attic, session):
        one, hers = await session()
        one.tell(said("1", "1", "phx_join", {}))
        await hers.next()
        one.tell(said("1", "2", "crash", {}))
        assert await hers.next() == ["1", "1", "room:a", "phx_error", {}]
        await attic.spawn(House, "room:a", name="house")
        one.tell(said("3", "3", "phx_join", {}))
        assert (await hers.next())[4]["status"] == "ok"
        await attic.stop()
        assert (await hers.next())[3] == "phx_error"
