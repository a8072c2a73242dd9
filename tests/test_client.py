"""The Python client against the real gateway: what `docs/clients.md` promises, over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.gateway_helpers import PATIENCE, House, Served, gateway
from tests.helpers import eventually
from understudy.actors import ActorSystem, CallError
from understudy.client import Channel, Cursor, Event, NotConnected, PushRefused, PushTimeout, Resync, Socket, connect
from understudy.client.wire import Closed, Wire
from understudy.gateway import Gateway, GetUrl, SignedToken
from understudy.gateway.connection import POLICY, SERVICE_RESTART


@asynccontextmanager
async def joined(
    payload: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[tuple[Served, Socket, Channel]]:
    async with gateway() as served, connect(served.url, **options) as socket:
        yield served, socket, await socket.join("room:a", payload)


async def heard(channel: Channel, name: str = "heard") -> Any:
    """The payload of the next such event."""
    while (event := await channel.next(PATIENCE)).name != name:
        pass
    return event.payload


def epoch(channel: Channel) -> str:
    assert channel.cursor is not None
    return channel.cursor.epoch


def cut(served: Served, code: int | None = None) -> None:
    """End every connection: with a goodbye, or without."""
    for connection in list(served.services.connections):
        if code is None:
            connection.reset()
        else:
            connection.close(code, "on purpose")


async def test_a_join_brings_the_answer_of_the_room_and_a_push_another() -> None:
    async with joined() as (_, _, room):
        assert room.state == "joined"
        assert {"topic": "room:a", "members": 0}.items() <= room.response.items()
        assert await room.push("echo", {"text": "grüß 🎭"}) == {"text": "grüß 🎭"}
        assert await room.push("nothing") == {}


async def test_events_are_iterated_in_order_until_the_topic_is_over() -> None:
    async with joined() as (_, _, room):
        for number in range(3):
            await room.push("shout", {"number": number})
        await room.push("finish")
        async with asyncio.timeout(PATIENCE):
            assert [event.payload async for event in room if event.name == "heard"] == [{"number": n} for n in range(3)]
        assert room.state == "left"


async def test_what_is_refused_says_why_to_people_and_programs() -> None:
    async with gateway() as served, connect(served.url) as socket:
        with pytest.raises(PushRefused, match="full house"):
            await socket.join("room:a", {"refuse": "full house"})
        with pytest.raises(PushRefused, match="unmatched topic"):
            await socket.join("nowhere")
        room = await socket.join("room:a")
        with pytest.raises(PushRefused, match="not now") as refused:
            await room.push("refuse", {"reason": "not now"})
        assert refused.value.response["reason"] == "not now"
        assert isinstance(refused.value, CallError)
        assert socket.channels == {"room:a": room}


async def test_a_topic_is_joined_once_on_a_socket_and_may_be_left_and_joined_again() -> None:
    async with joined() as (_, socket, room):
        with pytest.raises(ValueError, match="joined already"):
            await socket.join("room:a")
        await room.leave()
        assert [event async for event in room] == []
        with pytest.raises(NotConnected, match="was left"):
            await room.push("echo")
        again = await socket.join("room:a")
        assert again.response["members"] == 0, "the room knows that the first one left"


async def test_after_a_cut_the_topic_is_joined_again_and_the_program_need_not_notice() -> None:
    async with joined() as (served, socket, room):
        for code in (None, SERVICE_RESTART):
            cut(served, code)
            await eventually(lambda: room.state == "waiting")
            assert await room.push("echo", {"code": code}) == {"code": code}, "a push waits for the connection"
            assert socket.state == "open"


async def test_what_was_said_while_a_program_was_away_is_taken_before_what_is_new() -> None:
    async with joined() as (served, _, room):
        (its,) = served.services.connections
        async with connect(served.url) as other:
            speaker = await other.join("room:a")
            await speaker.push("shout", {"n": 1})
            assert await heard(room) == {"n": 1}
            its.reset()
            await speaker.push("shout", {"n": 2})
            await eventually(lambda: room.state == "joined")
            await speaker.push("shout", {"n": 3})
            assert [await heard(room), await heard(room)] == [{"n": 2}, {"n": 3}]


async def test_a_cursor_that_was_kept_brings_a_later_program_what_the_earlier_one_did_not_take() -> None:
    async with gateway() as served, connect(served.url) as other:
        speaker = await other.join("room:a")
        async with connect(served.url) as socket:
            room = await socket.join("room:a")
            for number in range(3):
                await speaker.push("shout", {"n": number})
            taken = await room.next(PATIENCE)
            assert taken == Event("heard", {"n": 0}, Cursor(epoch(speaker), 1))
        async with connect(served.url) as socket:
            room = await socket.join("room:a", resume=taken.cursor)
            assert [await heard(room), await heard(room)] == [{"n": 1}, {"n": 2}]
        async with connect(served.url) as socket:
            room = await socket.join("room:a", resume=Cursor("another life", 7))
            assert isinstance(await room.next(PATIENCE), Resync)


async def test_after_a_crash_of_the_room_the_topic_is_joined_again() -> None:
    async with joined() as (_, _, room):
        with pytest.raises(NotConnected, match="crashed"):
            await room.push("crash")
        assert await room.push("echo", {"n": 1}) == {"n": 1}


async def test_a_server_that_does_not_want_us_back_ends_what_waits_with_its_reason() -> None:
    async with joined() as (served, socket, room):
        cut(served, POLICY)
        with pytest.raises(NotConnected, match="on purpose") as ended:
            async for _ in room:
                pass
        assert (ended.value.status, ended.value.retry) == (POLICY, False)
        assert socket.state == "closed"
        with pytest.raises(NotConnected, match="on purpose"):
            await socket.join("room:b")


async def test_a_push_without_an_answer_and_one_that_cannot_be_said() -> None:
    async with joined() as (_, _, room):
        with pytest.raises(PushTimeout):
            await room.push("slow", {"wait": "at the door"}, timeout=0.05)
        with pytest.raises(TypeError):
            await room.push("echo", {"what": object()})
        with pytest.raises(TimeoutError):
            await room.next(0.01)


async def test_what_is_sent_without_a_wish_for_an_answer_arrives() -> None:
    async with joined() as (_, _, room):
        await room.send("shout", {"n": 1})
        assert await heard(room) == {"n": 1}


async def test_who_is_here_is_kept_current() -> None:
    async with joined({"key": "ada", "device": "phone"}) as (served, _, room):
        async with connect(served.url) as other:
            await other.join("room:a", {"key": "bob", "device": "tablet"})
            while "bob" not in room.people:
                await room.next(PATIENCE)
            assert [meta["device"] for meta in room.people["bob"]] == ["tablet"]
        while "bob" in room.people:
            await room.next(PATIENCE)
        assert list(room.people) == ["ada"]


async def test_a_gateway_that_is_not_there_is_said_at_once() -> None:
    async with gateway() as served:
        url = served.url
        with pytest.raises(NotConnected, match=r"HTTP 4\d\d") as refused:
            await connect(url + "/elsewhere").open()
        assert not refused.value.retry
    with pytest.raises(NotConnected, match="cannot connect to ws:"):
        await connect(url).open()
    with pytest.raises(ValueError, match="looks like"):
        connect("127.0.0.1:4000")
    with pytest.raises(NotConnected, match="async with"):
        await connect(url).join("room:a")


async def test_closing_ends_every_iteration() -> None:
    async with gateway() as served:
        socket = await connect(served.url).open()
        rooms = [await socket.join(f"room:{name}") for name in "abc"]

        async def listen(room: Channel) -> list[Event]:
            return [event async for event in room]

        listeners = [asyncio.create_task(listen(room)) for room in rooms]
        await asyncio.sleep(0)
        await socket.close()
        assert await asyncio.gather(*listeners) == [[], [], []]


async def test_a_program_finds_its_way_back_to_a_gateway_that_was_restarted() -> None:
    async with ActorSystem("one") as first:
        port = await serve(first, 0)
        async with connect(f"http://127.0.0.1:{port}") as socket:
            room = await socket.join("room:a")
            await first.shutdown()
            async with ActorSystem("two") as second:
                await serve(second, port)
                assert await room.push("echo", {"n": 1}) == {"n": 1}


async def serve(system: ActorSystem, port: int) -> int:
    ref = await system.spawn(Gateway, "stage", port=port, topics={"room:*": House})
    return int((await ref.call(GetUrl())).rpartition(":")[2])


async def test_bytes_go_both_ways() -> None:
    async with joined() as (_, _, room):
        assert await room.push("echo", b"\0\1\xff") == b"\0\1\xff"
        await room.push("shout", b"\0\1\xff")
        assert await heard(room) == b"\0\1\xff"


KEY = "k" * 32


async def test_a_program_is_let_in_by_its_token_and_told_why_if_it_is_not() -> None:
    tokens = SignedToken(KEY)
    async with gateway(auth=tokens) as served:
        async with connect(served.url, token=tokens.issue("ada", lifetime=600)) as socket:
            assert (await socket.join("room:a")).response["topic"] == "room:a"
        forged = SignedToken("x" * 32).issue("ada", lifetime=600)
        for token, code in ((None, "unauthorized"), (forged, "token_invalid")):
            with pytest.raises(NotConnected) as refused:
                await connect(served.url, token=token).open()
            assert (refused.value.code, refused.value.retry) == (code, False)


async def test_a_new_token_is_handed_over_when_the_old_one_is_about_to_end_on_the_same_connection() -> None:
    tokens = SignedToken(KEY)
    lifetimes = iter((20, 600))
    async with gateway(auth=tokens) as served:
        made: list[str] = []

        async def make() -> str:
            made.append(tokens.issue("ada", lifetime=next(lifetimes)))
            return made[-1]

        async with connect(served.url, token=make) as socket:
            room = await socket.join("room:a")
            await eventually(lambda: len(made) == 2)
            assert await room.push("echo", {"n": 1}) == {"n": 1}
            assert socket.state == "open"
            await socket.authorize(tokens.issue("ada", lifetime=700))
            with pytest.raises(PushRefused) as refused:
                await socket.authorize(tokens.issue("bob", lifetime=600))
            assert (refused.value.code, refused.value.retry) == ("token_invalid", False)
            assert await room.push("echo", {"n": 2}) == {"n": 2}, "the old one stays in use"


async def test_a_token_that_cannot_be_made_is_the_reason_why_there_is_no_connection() -> None:
    def make() -> str:
        raise LookupError("nobody is logged in")

    async with gateway() as served:
        with pytest.raises(NotConnected, match="nobody is logged in"):
            await connect(served.url, token=make).open()


class Babbler:
    """A server that answers heartbeats, and everything else with what is no reply."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[str] = asyncio.Queue()
        self.called = 0

    async def dial(self, url: str, headers: Mapping[str, str], token: str | None) -> Wire:
        self.called += 1
        self.said = asyncio.Queue()
        return self

    async def send(self, data: str | bytes) -> None:
        join_ref, ref, topic, event, _ = json.loads(data)
        payload: object = {"status": "ok", "response": {}} if event == "heartbeat" else ["what?"]
        self.said.put_nowait(json.dumps([join_ref, ref, topic, "phx_reply", payload]))

    async def receive(self) -> str | bytes | Closed:
        return await self.said.get()

    async def close(self) -> None:
        pass


async def test_a_server_that_says_what_nobody_understands_is_called_anew_and_no_program_waits_for_ever() -> None:
    babbler = Babbler()
    async with connect("http://house", dial=babbler.dial, timeout=0.5) as socket:
        with pytest.raises(NotConnected, match="not joined within"):
            await socket.join("room:a")
        assert babbler.called > 1
        assert socket.channels == {}
