"""The gateway as an ASGI application: what comes in and goes out, what waits, and how it starts and ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.asgi_helpers import Exchange
from tests.gateway_helpers import PATIENCE, House
from tests.helpers import eventually
from understudy.actors import ActorSystem, Refused
from understudy.gateway import AsgiGateway, GetState, GetUrl, Mount, Principal, Room
from understudy.gateway.asgi_http import target
from understudy.gateway.asgi_pipe import HIGH_WATER, Pipe
from understudy.gateway.asgi_websocket import Frames, masked
from understudy.gateway.connection import BUFFER_LIMIT, SocketConnection, Tick
from understudy.gateway.requests import FindRoom
from understudy.gateway.serializers import PHOENIX, text_frame


@asynccontextmanager
async def site(**options: Any) -> AsyncIterator[AsgiGateway]:
    House.gates = {"at the door": asyncio.Event()}
    live = AsgiGateway("stage", topics={"room:*": House}, **options)
    async with live.lifespan():
        yield live


@asynccontextmanager
async def socket_to(live: Any, **scope: Any) -> AsyncIterator[Exchange]:
    """A WebSocket that was accepted."""
    exchange = Exchange(live, "websocket", "/socket/websocket", query_string=b"vsn=2.0.0", **scope)
    async with exchange.open():
        exchange.say("websocket.connect")
        await exchange.hear("websocket.accept")
        yield exchange


async def join(exchange: Exchange, topic: str) -> Any:
    exchange.say("websocket.receive", text=json.dumps(["1", "1", topic, "phx_join", {}]))
    frame = json.loads((await exchange.hear("websocket.send"))["text"])
    assert frame[3] == "phx_reply", frame
    return frame[4]


# --- requests ---


async def test_a_request_is_answered_and_what_the_server_in_front_says_itself_is_left_to_it() -> None:
    async with site() as live, Exchange(live, "http", "/healthz").open() as exchange:
        status, headers, body = await exchange.answer()
        assert (status, json.loads(body)["node"]) == (200, "stage")
        assert int(headers[b"content-length"]) == len(body)
        assert headers[b"x-content-type-options"] == b"nosniff"
        assert not headers.keys() & {b"server", b"date", b"connection", b"transfer-encoding"}


@pytest.mark.parametrize(
    "headers",
    [
        {"headers": [(b"host", b"localhost"), (b"content-length", b"28")]},
        {"headers": [(b"host", b"localhost"), (b"transfer-encoding", b"chunked")]},
        {"headers": [(b"host", b"localhost")], "http_version": "2"},
    ],
    ids=["length", "chunked", "http/2"],
)
async def test_a_body_arrives_in_whatever_pieces_and_of_whatever_kind_it_comes(headers: Any) -> None:
    async with (
        site() as live,
        Exchange(live, "http", "/topics/room:a/publish", method="POST", **headers).open() as exchange,
    ):
        for piece in (b'{"event":"note"', b"", b',"payload":', b""):
            exchange.say("http.request", body=piece, more_body=True)
        status, _, body = await exchange.answer(b"1}")
        assert (status, json.loads(body)["error"]["message"]) == (403, "this topic takes events of its members only")


async def test_what_is_no_request_is_refused_and_not_passed_on() -> None:
    async with site() as live:
        for bad in (
            {"headers": [(b"host", b"localhost\r\nx-evil: 1")]},
            {"query_string": b"a\r\n\r\nGET /healthz HTTP/1.1"},
        ):
            async with Exchange(live, "http", "/healthz", **bad).open() as exchange:
                status, _, body = await exchange.answer()
                assert (status, json.loads(body)["error"]["code"]) == (400, "bad_request")


async def test_pages_are_served_whole(tmp_path: Any) -> None:
    page = bytes(range(256)) * 4000
    (tmp_path / "large.bin").write_bytes(page)
    async with site(pages=[Mount("/", tmp_path)]) as live, Exchange(live, "http", "/large.bin").open() as exchange:
        status, headers, body = await exchange.answer()
        assert (status, int(headers[b"content-length"]), body == page) == (200, len(page), True)


async def test_who_listens_and_goes_leaves_the_room() -> None:
    async with site() as live:
        async with Exchange(live, "http", "/topics/room:a/events").open() as exchange:
            await exchange.hear("http.response.start")
            assert b"event: joined" in (await exchange.hear("http.response.body"))["body"]
        async with socket_to(live) as exchange:
            await join(exchange, "room:a")
            room = await _room(live, "room:a")
            await eventually(lambda: len(room.members) == 1)


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"path": "/a/b", "root_path": ""}, b"/a/b"),
        ({"path": "/live/a", "root_path": "/live"}, b"/a"),
        ({"path": "/live/a", "root_path": "/live/"}, b"/a"),
        ({"path": "/a", "root_path": "/live"}, b"/a"),
        ({"path": "/lively/a", "root_path": "/live"}, b"/lively/a"),
        ({"path": "/live", "root_path": "/live"}, b"/"),
        ({"path": "/live/room:a/ü?#%", "root_path": "/live"}, b"/room:a/%C3%BC%3F%23%25"),
        ({"path": "/live/a/b", "raw_path": b"/live/a%2Fb", "root_path": "/live"}, b"/a%2Fb"),
        ({"path": "/bücher/a b", "raw_path": b"/b%C3%BCcher/a%20b", "root_path": "/bücher"}, b"/a%20b"),
        ({"path": "/live/a", "raw_path": b"/live/a?x=1", "root_path": "/live"}, b"/a"),
        ({"path": "/a", "raw_path": None, "root_path": ""}, b"/a"),
    ],
)
def test_the_path_below_the_mount_is_found_as_the_client_wrote_it(scope: Any, expected: bytes) -> None:
    assert target(scope) == expected


# --- WebSockets ---


async def test_a_websocket_talks_to_a_room_and_is_told_why_it_is_closed() -> None:
    async with site() as live, socket_to(live) as exchange:
        assert (await join(exchange, "room:a"))["status"] == "ok"
        exchange.say("websocket.receive", text=json.dumps(["1", "2", "room:a", "echo", {"text": "ü" * 10_000}]))
        reply = json.loads((await exchange.hear("websocket.send"))["text"])
        assert reply[4] == {"status": "ok", "response": {"text": "ü" * 10_000}}
        for _ in range(10):
            exchange.say("websocket.receive", text="nonsense")
        async with asyncio.timeout(PATIENCE):
            while (event := await exchange.heard.get())["type"] != "websocket.close":
                pass
        assert event["reason"].startswith("too_many_malformed_frames: ")
        assert event["code"] >= 1008


async def test_a_handshake_is_refused_in_the_words_that_the_server_knows() -> None:
    async with site() as live:
        plain = Exchange(live, "websocket", "/socket/websocket", query_string=b"vsn=9")
        async with plain.open():
            plain.say("websocket.connect")
            assert (await plain.hear("websocket.close"))["reason"] == "HTTP status 400"
        able = Exchange(
            live, "websocket", "/socket/websocket", query_string=b"vsn=9", extensions={"websocket.http.response": {}}
        )
        async with able.open():
            able.say("websocket.connect")
            assert (await able.hear("websocket.http.response.start"))["status"] == 400
            body = (await able.hear("websocket.http.response.body"))["body"]
            assert json.loads(body)["error"]["code"] == "version_unsupported"


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 2, 8, 9]), st.binary(max_size=300) | st.sampled_from([b"x" * 126, b"y" * 70_000]))
    ),
    st.randoms(use_true_random=False),
)
def test_frames_are_told_apart_in_whatever_pieces_they_are_written(
    frames: list[tuple[int, bytes]], random: Any
) -> None:
    text = b"".join(bytes([0x80 | opcode]) + text_frame(payload)[1:] for opcode, payload in frames)
    reader, read = Frames(), list[tuple[int, bytes]]()
    while text:
        size = random.choice([1, 2, 3, 5, 100, 65_536, len(text)])
        piece, text = text[:size], text[size:]
        read += reader.feed(piece)
    assert read == frames


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_a_masked_frame_says_its_length_as_the_standard_does(size: int) -> None:
    frame = masked(1, b"x" * size)
    assert frame[:1] == b"\x81"
    assert frame[1] & 0x80
    unmasked = frame[:1] + bytes([frame[1] & 0x7F]) + frame[2 : len(frame) - size - 4] + frame[len(frame) - size :]
    assert list(Frames().feed(unmasked)) == [(1, b"x" * size)]


# --- what waits ---


async def test_a_client_that_takes_nothing_is_reset_at_the_bound_and_delays_nobody() -> None:
    async with site() as live, socket_to(live) as good:
        await join(good, "room:a")
        stuck = Exchange(live, "websocket", "/socket/websocket", query_string=b"vsn=2.0.0")
        running = asyncio.ensure_future(live(stuck.scope, stuck.said.get, stuck._send))
        stuck.say("websocket.connect")
        await stuck.hear("websocket.accept")
        await join(stuck, "room:a")
        stuck.takes.clear()
        flood = {"times": 100, "size": 10_000}
        good.say("websocket.receive", text=json.dumps(["1", "2", "room:a", "flood", flood]))
        async with asyncio.timeout(PATIENCE):
            await running
        assert json.loads((await good.hear("websocket.send"))["text"])[4]["status"] == "ok"


class Bottom(asyncio.Protocol):
    def __init__(self) -> None:
        self.paused = 0
        self.came = b""

    def pause_writing(self) -> None:
        self.paused += 1

    def resume_writing(self) -> None:
        self.paused -= 1

    def data_received(self, data: bytes) -> None:
        self.came += data


async def test_what_is_carried_counts_as_waiting_until_it_is_gone() -> None:
    protocol = Bottom()
    pipe = Pipe(protocol, {})
    pipe.write(b"x" * HIGH_WATER)
    assert protocol.paused == 0
    pipe.write(b"y")
    assert (protocol.paused, pipe.get_write_buffer_size()) == (1, HIGH_WATER + 1)
    assert len(await pipe.read()) == HIGH_WATER + 1
    assert (protocol.paused, pipe.get_write_buffer_size()) == (1, HIGH_WATER + 1), "whoever has it is not rid of it"
    pipe.write(b"z")
    assert await pipe.read() == b"z"
    assert (protocol.paused, pipe.get_write_buffer_size()) == (0, 1)
    pipe.write(b"last")
    pipe.close()
    pipe.write(b"too late")
    assert [await pipe.read(), await pipe.read()] == [b"last", b""]


async def test_nothing_is_fed_to_who_does_not_read() -> None:
    protocol = Bottom()
    pipe = Pipe(protocol, {"client": ["192.0.2.1", 5], "scheme": "wss"})
    assert pipe.get_extra_info("peername") == ("192.0.2.1", 5)
    assert pipe.get_extra_info("sslcontext")
    pipe.pause_reading()
    feeding = asyncio.ensure_future(pipe.feed(b"x"))
    await asyncio.sleep(0)
    assert protocol.came == b""
    pipe.resume_reading()
    await feeding
    assert protocol.came == b"x"


async def test_a_connection_over_it_is_bounded_like_one_over_a_socket() -> None:
    pipe = Pipe(Bottom(), {})
    connection = SocketConnection(pipe, PHOENIX, Tick(asyncio.get_running_loop()))
    connection.send(b"x" * 10)
    connection.flush()
    await pipe.read()
    for _ in range(BUFFER_LIMIT // 1024 - 1):
        connection.send(b"x" * 1024)
        connection.flush()
    assert not connection.closed
    connection.send(b"x" * 1024)
    connection.flush()
    assert connection.closed
    assert pipe.aborted.done()


# --- start and end ---


async def test_it_starts_with_the_first_request_where_nobody_says_that_the_server_does() -> None:
    live = AsgiGateway("stage", topics={"room:*": House})
    async with Exchange(live, "http", "/healthz").open() as one, Exchange(live, "http", "/healthz").open() as other:
        assert [(await one.answer())[0], (await other.answer())[0]] == [200, 200]
    await live.stop()
    with pytest.raises(RuntimeError, match="not started"):
        _ = live.system


async def test_the_lifespan_of_the_server_starts_and_stops_it() -> None:
    live = AsgiGateway("stage", topics={})
    exchange = Exchange(live, "http", "")
    exchange.scope = {"type": "lifespan"}
    running = asyncio.ensure_future(live(exchange.scope, exchange.said.get, exchange._send))
    exchange.say("lifespan.startup")
    await exchange.hear("lifespan.startup.complete")
    assert isinstance(live.system, ActorSystem)
    exchange.say("lifespan.shutdown")
    await exchange.hear("lifespan.shutdown.complete")
    await running


async def test_a_start_that_fails_is_told_to_the_server() -> None:
    def nowhere() -> Any:
        raise OSError("no room in the house")

    live = AsgiGateway("stage", within=nowhere)
    exchange = Exchange(live, "http", "")
    exchange.scope = {"type": "lifespan"}
    exchange.say("lifespan.startup")
    with pytest.raises(OSError, match="no room"):
        await live(exchange.scope, exchange.said.get, exchange._send)
    assert (await exchange.hear("lifespan.startup.failed"))["message"] == "no room in the house"


async def test_a_gateway_that_is_killed_is_started_again_and_meanwhile_clients_are_told_to_come_back() -> None:
    async with site() as live:
        system: ActorSystem = live.system
        async with socket_to(live) as exchange:
            system.ref("gateway").kill()
            await exchange.running
        async with Exchange(live, "http", "/healthz").open() as exchange:
            status, _, body = await exchange.answer()
            assert status == 200 or json.loads(body)["error"] == {
                "code": "unavailable",
                "message": "the gateway starts again; try again later",
                "retry": True,
            }

        async def well() -> bool:
            async with Exchange(live, "http", "/healthz").open() as exchange:
                return (await exchange.answer())[0] == 200

        async with asyncio.timeout(PATIENCE):
            while not await well():
                pass


async def test_the_application_publishes_to_rooms_and_asks_them_by_itself() -> None:
    class Board(Room):
        def on_read(self, principal: Principal) -> None:
            pass

        def on_publish(self, principal: Principal, event: str, payload: Any) -> dict[str, Any]:
            if principal.id != "site":
                raise Refused("who are you?")
            self.broadcast(event, payload)
            return {"said": event}

    live = AsgiGateway("stage", topics={"board": Board})
    async with live.lifespan():
        assert await live.publish("board", "note", [1], principal=Principal("site")) == {"said": "note"}
        with pytest.raises(Refused, match="who are you"):
            await live.publish("board", "note", [1], principal=Principal("ada"))
        with pytest.raises(Refused, match="unmatched topic"):
            await live.publish("nowhere", "note", [1], principal=Principal("site"))
        assert (await live.ask("board", GetState(Principal("ada"))))["offset"] == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AsgiGateway("stage", port=4000), "takes no port"),
        (lambda: AsgiGateway("stage", topic={}), "topic"),
        (lambda: AsgiGateway("stage").beside(_nobody, at="live"), "'/live'"),
        (lambda: AsgiGateway("stage").beside(_nobody, at="/"), "'/live'"),
    ],
)
def test_what_is_wrong_is_said_where_it_is_written(make: Callable[[], object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


async def test_a_gateway_that_listens_nowhere_says_so() -> None:
    async with site() as live:
        with pytest.raises(Refused, match="listens nowhere"):
            await live.system.ref("gateway").call(GetUrl())


async def test_beside_an_application_it_has_its_own_addresses_only() -> None:
    async def other(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    async with site() as live:
        both = live.beside(other, at="/live")
        for path, root, status in (
            ("/live/healthz", "", 200),
            ("/lively/healthz", "", 418),
            ("/healthz", "", 418),
            ("/live", "", 418),
            ("/shop/live/healthz", "/shop", 200),
        ):
            async with Exchange(both, "http", path, root_path=root).open() as exchange:
                assert (await exchange.answer())[0] == status, path


async def _nobody(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("nobody comes here")


async def _room(live: AsgiGateway, topic: str) -> House:
    ref = await live.system.ref("gateway/rooms").call(FindRoom(topic))
    room = ref.actor
    assert isinstance(room, House)
    return room
