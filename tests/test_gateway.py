"""The gateway as a client of Phoenix Channels sees it, over a real socket."""

import asyncio
import socket
from typing import Any

import aiohttp
import pytest

from tests.gateway_helpers import Client, House, declined, gateway
from tests.helpers import eventually
from understudy.actors import ActorRef, ActorSystem, Failure, StartFailed, Stop
from understudy.gateway import Gateway, Limits, Room, Topic
from understudy.supervisors import Child, Supervisor, WhichChildren


async def test_a_join_is_answered_with_the_rooms_reply() -> None:
    async with gateway() as served, served.client() as client:
        assert await client.join("room:a") == ("ok", {"topic": "room:a", "members": 0})


async def test_a_join_that_the_room_refuses_gets_its_reason_and_nothing_else_happens() -> None:
    async with gateway() as served, served.client() as client:
        assert await client.join("room:a", {"refuse": "full house"}) == declined("full house")
        assert await client.ask("room:a", "echo", {}) == declined("unmatched topic")
        assert await client.join("room:a") == ("ok", {"topic": "room:a", "members": 0})


async def test_a_topic_without_a_room_is_unmatched() -> None:
    async with gateway() as served, served.client() as client:
        assert await client.join("nowhere") == declined("unmatched topic")
        assert await client.join("room:") == declined("unmatched topic")
        assert await client.ask("phoenix", "heartbeat", {}) == ("ok", {})


async def test_the_longest_pattern_wins_and_arguments_reach_the_room() -> None:
    class Named(Room):
        def __init__(self, topic: str, name: str, *, loud: bool = False) -> None:
            super().__init__(topic)
            self.answer = {"name": name, "loud": loud}

        def on_join(self, member: Any, payload: Any) -> Any:
            return self.answer

    topics = {
        "room:*": Topic(Named, ("any",)),
        "room:green:*": Topic(Named, ("green",), {"loud": True}),
        "room:green:one": Topic(Named, ("one",)),
    }
    async with gateway(topics) as served, served.client() as client:
        assert await client.join("room:a") == ("ok", {"name": "any", "loud": False})
        assert await client.join("room:green:two") == ("ok", {"name": "green", "loud": True})
        assert await client.join("room:green:one") == ("ok", {"name": "one", "loud": False})


async def test_a_push_is_answered_ok_or_with_the_rooms_refusal_or_unknown_event() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a")
        assert await client.ask("room:a", "echo", {"deep": [1, "ü", None]}, "j") == ("ok", {"deep": [1, "ü", None]})
        assert await client.ask("room:a", "nothing", {}) == ("ok", {})
        assert await client.ask("room:a", "refuse", {"reason": "not now"}) == declined("not now")
        assert await client.ask("room:a", "no such", {}) == declined("unknown event")


async def test_a_push_without_ref_is_not_answered() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a")
        await client.send("j", None, "room:a", "echo", {})
        await client.send(None, "h", "phoenix", "heartbeat", {})
        assert await client.receive() == [None, "h", "phoenix", "phx_reply", {"status": "ok", "response": {}}]


async def test_a_broadcast_reaches_every_member_of_that_topic_alone() -> None:
    async with gateway() as served, served.client() as one, served.client() as two, served.client() as other:
        for client, topic in ((one, "room:a"), (two, "room:a"), (other, "room:b")):
            await client.join(topic)
        assert await one.ask("room:a", "shout", {"n": 1}) == ("ok", {"shouted": True})
        assert await one.receive() == [None, None, "room:a", "heard", {"n": 1, "_o": 1}]
        assert await two.receive() == [None, None, "room:a", "heard", {"n": 1, "_o": 1}]
        assert await other.ask("room:b", "whisper", {"n": 2}) == ("ok", {})
        assert await other.ask("room:b", "echo", {}) == ("ok", {})
        assert other.kept == []


async def test_what_a_room_says_before_a_reply_arrives_before_it() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a")
        for number in range(50):
            await client.send("j", str(number), "room:a", "shout", {"n": number})
        for number in range(50):
            assert (await client.receive())[4] == {"n": number, "_o": number + 1}
            assert (await client.receive())[1] == str(number)


async def test_a_leave_is_answered_and_closes_the_stay() -> None:
    async with gateway() as served, served.client() as client, served.client() as other:
        await client.join("room:a", join_ref="5")
        await other.join("room:a")
        await client.send("5", "6", "room:a", "phx_leave", {})
        assert await client.receive() == ["5", "6", "room:a", "phx_reply", {"status": "ok", "response": {}}]
        assert await client.receive() == ["5", "5", "room:a", "phx_close", {}]
        assert await other.event("room:a", "left") == {"count": 1}
        assert await client.ask("room:a", "echo", {}) == declined("unmatched topic")


async def test_leaving_a_topic_one_is_not_in_is_fine() -> None:
    async with gateway() as served, served.client() as client:
        assert await client.ask("room:a", "phx_leave", {}) == ("ok", {})


async def test_a_second_join_closes_the_first_stay_under_its_own_join_ref() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a", join_ref="1")
        await client.send("2", "2", "room:a", "phx_join", {})
        assert await client.receive() == ["1", "1", "room:a", "phx_close", {}]
        assert (await client.receive())[:4] == ["2", "2", "room:a", "phx_reply"]
        await client.ask("room:a", "shout", {"n": 1})
        assert await client.event("room:a", "heard") == {"n": 1}
        await client.ask("room:a", "echo", {})
        assert client.kept == [], "the first stay still hears the room"


async def test_what_carries_an_old_join_ref_is_ignored() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a", join_ref="1")
        await client.join("room:a", join_ref="2")
        await client.send("1", "old", "room:a", "echo", {})
        await client.send("1", "older", "room:a", "phx_leave", {})
        assert await client.ask("room:a", "echo", {}, join_ref="2") == ("ok", {})
        assert all(frame[1] not in ("old", "older") for frame in client.kept)


async def test_a_slow_join_does_not_block_the_heartbeat_nor_other_topics_nor_the_room() -> None:
    async with gateway() as served, served.client() as client, served.client() as other:
        House.gates["slow"] = asyncio.Event()
        await client.send("1", "1", "room:a", "phx_join", {"wait": "slow"})
        assert await client.ask("phoenix", "heartbeat", {}) == ("ok", {})
        assert await client.join("room:b", join_ref="2") == ("ok", {"topic": "room:b", "members": 0})
        assert await other.join("room:a") == ("ok", {"topic": "room:a", "members": 0})
        assert await other.ask("room:a", "shout", {}) == ("ok", {"shouted": True})
        House.gates["slow"].set()
        reply = await client.receive()
        assert reply[:4] == ["1", "1", "room:a", "phx_reply"]
        assert reply[4]["response"]["waited"] == "slow"


async def test_what_is_pushed_during_a_slow_join_is_handled_after_it_in_order() -> None:
    async with gateway() as served, served.client() as client:
        House.gates["slow"] = asyncio.Event()
        await client.send("1", "1", "room:a", "phx_join", {"wait": "slow"})
        for number in range(2, 100):
            await client.send("1", str(number), "room:a", "echo", {})
        assert await client.ask("phoenix", "heartbeat", {}) == ("ok", {})
        refused = [frame for frame in client.kept if frame[4]["status"] == "error"]
        assert {frame[4]["response"]["reason"] for frame in refused} == {"join under way"}
        client.kept.clear()
        House.gates["slow"].set()
        assert [(await client.receive())[1] for _ in range(65)] == [str(number) for number in range(1, 66)]


async def test_what_was_pushed_during_a_join_that_is_then_refused_is_answered_after_it() -> None:
    async with gateway() as served, served.client() as client:
        House.gates["slow"] = asyncio.Event()
        await client.send("1", "1", "room:a", "phx_join", {"wait": "slow", "then": "too late"})
        await client.send("1", "2", "room:a", "echo", {})
        assert await client.ask("phoenix", "heartbeat", {}) == ("ok", {})
        House.gates["slow"].set()
        answers = [await client.receive() for _ in range(2)]
        assert [(frame[1], frame[4]["response"]["reason"]) for frame in answers] == [
            ("1", "too late"),
            ("2", "unmatched topic"),
        ]


async def test_a_client_that_gives_up_a_slow_join_is_not_let_in() -> None:
    async with gateway() as served, served.client() as client, served.client() as other:
        House.gates["slow"] = asyncio.Event()
        await other.join("room:a")
        await client.send("1", "1", "room:a", "phx_join", {"wait": "slow"})
        await House.gates["at the door"].wait()
        assert await client.ask("room:a", "phx_leave", {}) == ("ok", {})
        House.gates["slow"].set()
        assert await other.event("room:a", "left") == {"count": 1}
        await other.ask("room:a", "shout", {})
        await client.ask("phoenix", "heartbeat", {})
        assert [frame[3] for frame in client.kept] == ["phx_close"]


async def test_a_slow_join_may_be_refused_too() -> None:
    async with gateway() as served, served.client() as client:
        House.gates["slow"] = asyncio.Event()
        House.gates["slow"].set()
        assert await client.join("room:a", {"wait": "slow", "then": "too late"}) == declined("too late")


async def test_a_crash_in_on_join_refuses_that_join_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with gateway() as served, served.client() as client, served.client() as other:
        await other.join("room:a")
        assert await client.join("room:a", {"crash": 1}) == declined("join crashed")
        assert await other.ask("room:a", "echo", {"still": "here"}) == ("ok", {"still": "here"})
        assert other.kept == []
    assert "on_join of room:a crashed" in caplog.text


async def test_a_room_that_crashes_tells_its_members_alone_and_is_there_again_for_the_next_join() -> None:
    async with gateway() as served, served.client() as one, served.client() as two, served.client() as other:
        for client, topic in ((one, "room:a"), (two, "room:a"), (other, "room:b")):
            await client.join(topic, join_ref="1")
        await one.send("1", "2", "room:a", "crash", {})
        for client in (one, two):
            assert await client.receive() == ["1", "1", "room:a", "phx_error", {}]
            assert (await client.join("room:a", join_ref="3"))[0] == "ok"
        assert await other.ask("room:b", "echo", {}) == ("ok", {})
        assert other.kept == []


async def test_rooms_that_crash_over_and_over_take_nothing_else_along() -> None:
    async with gateway() as served, served.client() as client, served.client() as other:
        await other.join("room:b")
        for _ in range(30):
            assert (await client.join("room:a"))[0] == "ok"
            await client.send("j", None, "room:a", "crash", {})
            assert await client.event("room:a", "phx_error") == {}
        assert await other.ask("room:b", "echo", {}) == ("ok", {})


async def test_a_reply_that_is_not_json_is_the_rooms_failure() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a")
        await client.send("j", "1", "room:a", "not_json", {})
        assert await client.event("room:a", "phx_error") == {}


async def test_a_room_that_ends_in_order_closes_the_topic_for_good() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a")
        await client.ask("room:a", "finish", {})
        assert await client.event("room:a", "phx_close") == {}


async def test_a_room_that_ends_when_empty_is_there_for_whoever_comes_at_that_moment() -> None:
    class Fleeting(House):
        def on_empty(self) -> Stop:
            return Stop()

    async with gateway({"room:*": Fleeting}) as served, served.client() as one, served.client() as two:
        for number in range(50):
            await one.join("room:a", join_ref=str(number))
            await one.send(str(number), None, "room:a", "phx_leave", {})
            assert (await two.join("room:a", join_ref=str(number)))[0] == "ok"
            assert await two.ask("room:a", "echo", {}) == ("ok", {})
            await two.send(str(number), None, "room:a", "phx_leave", {})


async def test_a_crashed_session_costs_its_client_the_connection_and_nobody_else_anything() -> None:
    async with gateway() as served, served.client() as client, served.client() as other:
        await client.join("room:a")
        await other.join("room:a")
        rows = await served.services.sessions.call(WhichChildren())
        session = next(row.ref for row in rows if row.id == "session-1")
        assert session is not None
        session.kill()
        assert await client.closed() == 1011
        assert await other.event("room:a", "left") == {"count": 1}
        assert await other.ask("room:a", "echo", {}) == ("ok", {})


MALFORMED = ["", "nonsense", "[]", '{"a":1}', "[1,2,3,4,5]", "[" * 5000, '[null,"1","room:a","phx_join",NaN]']


@pytest.mark.parametrize("text", MALFORMED)
async def test_a_malformed_frame_is_answered_with_what_was_expected_and_harms_nothing(text: str) -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a")
        await client.socket.send_str(text)
        frame = await client.receive()
        assert frame[3] == "phx_reply"
        assert frame[4]["status"] == "error"
        assert frame[4]["response"]["reason"] == "malformed frame"
        assert frame[4]["response"]["detail"].startswith("expected ")
        assert await client.ask("room:a", "echo", {}) == ("ok", {})


async def test_a_join_needs_an_object() -> None:
    async with gateway() as served, served.client() as client:
        status, response = await client.join("room:a", [1])
        assert (status, response["reason"]) == ("error", "malformed frame")


async def test_who_sends_nothing_but_malformed_frames_is_shown_out() -> None:
    async with gateway() as served, served.client() as client:
        for _ in range(10):
            await client.socket.send_str("nonsense")
        for _ in range(10):
            assert (await client.receive())[4]["response"]["reason"] == "malformed frame", (
                "each answered, also the last"
            )
        assert await client.closed() == 4500


async def test_an_oversized_message_closes_with_1009() -> None:
    async with gateway() as served, served.client() as large, served.client() as other:
        await large.socket.send_str("x" * 70_000)
        assert await large.closed() == 1009
        assert await other.join("room:a") == ("ok", {"topic": "room:a", "members": 0})


@pytest.mark.parametrize(
    ("nonsense", "code"),
    [
        (b"\x81\x82\0\0\0\0\xff\xfe", 1007),  # no UTF-8
        (b"\x83\x80\0\0\0\0", 1002),  # no such opcode
        (b"\xf1\x80\0\0\0\0", 1002),  # reserved bits
        (b"\x81\xff" + b"\x7f" * 8 + b"\0" * 4, 1009),  # 9 exabytes announced
    ],
    ids=["utf8", "opcode", "reserved", "length"],
)
async def test_who_does_not_speak_websocket_is_shown_out_and_nobody_else_notices(nonsense: bytes, code: int) -> None:
    async with gateway() as served, served.client() as other:
        await other.join("room:a")
        reader, writer = await _open_raw(served.port)
        writer.write(nonsense)
        head = await reader.readexactly(4)
        assert (head[0], int.from_bytes(head[2:], "big")) == (0x88, code)
        writer.close()
        assert await other.ask("room:a", "echo", {}) == ("ok", {})


async def test_topics_of_one_client_and_rooms_of_a_gateway_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway() as served, served.client() as client:
        for number in range(100):
            assert (await client.join(f"room:{number}", join_ref=str(number)))[0] == "ok"
        assert await client.join("room:more") == declined("too many channels joined")
        assert (await client.join("room:7", join_ref="again"))[0] == "ok", (
            "a second join of a topic is no further topic"
        )


async def test_a_silent_client_is_let_go_and_a_talking_one_is_not() -> None:
    async with gateway(limits=Limits(idle=0.3)) as served, served.client() as silent, served.client() as talking:
        closing = asyncio.ensure_future(silent.closed())
        while not closing.done():
            await talking.ask("phoenix", "heartbeat", {})
            await asyncio.wait([closing], timeout=0.05)
        assert closing.result() == 1001
        assert await talking.ask("phoenix", "heartbeat", {}) == ("ok", {})


async def test_presence_state_comes_after_the_join_and_diffs_after_that() -> None:
    async with gateway() as served, served.client() as one, served.client() as two:
        await one.join("room:a", {"key": "ada", "device": "phone"})
        state = await one.event("room:a", "presence_state")
        assert list(state) == ["ada"]
        await two.join("room:a", {"key": "bob"})
        diff = await one.event("room:a", "presence_diff")
        assert (list(diff["joins"]), diff["leaves"]) == (["bob"], {})
        assert sorted(await two.event("room:a", "presence_state")) == ["ada", "bob"]
        await two.ask("room:a", "update", {"key": "bob", "device": "tablet"})
        diff = await one.event("room:a", "presence_diff")
        assert diff["joins"]["bob"]["metas"][0]["phx_ref_prev"] == diff["leaves"]["bob"]["metas"][0]["phx_ref"]
        assert two.kept == [] or two.kept[0][3] == "presence_diff"


async def test_a_closed_socket_ends_its_presence_after_the_grace() -> None:
    async with gateway() as served, served.client() as one:
        await one.join("room:a", {"key": "ada"})
        async with served.client() as two:
            await two.join("room:a", {"key": "bob"})
            await one.event("room:a", "presence_diff")
            two.socket._response.connection.transport.abort()  # type: ignore[union-attr]
            diff = await one.event("room:a", "presence_diff")
            assert (diff["joins"], list(diff["leaves"])) == ({}, ["bob"])


async def test_many_joins_in_a_tick_are_one_diff() -> None:
    async with gateway() as served, served.client() as watcher, served.client() as crowd:
        await watcher.join("room:a", {"key": "watcher"})
        House.gates["all"] = asyncio.Event()
        await watcher.event("room:a", "presence_state")
        for number in range(20):
            await crowd.join("room:a", {"key": f"guest {number}"}, join_ref=str(number))
        await crowd.send("19", "last", "room:a", "phx_leave", {})
        seen: set[str] = set()
        while len(seen) < 20:
            seen |= (await watcher.event("room:a", "presence_diff"))["leaves"].keys()
        assert seen == {f"guest {number}" for number in range(20)}


async def test_a_stopping_gateway_tells_its_clients_to_come_back() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a")
        served.ref.stop()
        assert await client.closed() == 1012
        await served.ref.ended()
        with pytest.raises(aiohttp.ClientConnectorError):
            await served.json("/healthz")


async def test_a_gateway_stops_within_its_bound_though_clients_neither_read_nor_answer() -> None:
    async with gateway() as served:
        reader, writer = await _open_raw(served.port)
        served.ref.stop()
        await served.ref.ended(timeout=5.0)
        writer.close()
        del reader


async def test_a_killed_gateway_leaves_its_port_free() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a")
        served.ref.kill()
        assert await client.closed() != 1000
        again = await served.system.spawn(Gateway, "stage", port=served.port)
        again.stop()
        await again.ended()


async def test_a_supervised_gateway_that_dies_is_back_on_its_port_and_its_clients_come_back() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with ActorSystem("test") as system, aiohttp.ClientSession() as http:
        child = Child(Gateway, args=("stage",), kwargs={"port": port, "topics": {"room:*": House}}, name="gateway")
        supervisor = await system.spawn(Supervisor, [child], intensity=10)
        url = f"http://127.0.0.1:{port}/socket/websocket?vsn=2.0.0"
        for end in (kill, shut_down, fail):
            async with http.ws_connect(url) as ws:
                client = Client(ws)
                assert (await client.join("room:a"))[0] == "ok"
                dying = system.whereis("gateway")
                assert dying is not None
                end(dying)
                assert await client.closed() != 1000
            await dying.ended()
            (row,) = await supervisor.call(WhichChildren())
            assert (row.state, row.ref is not dying) == ("running", True)


async def test_nothing_is_left_of_clients_and_listeners_that_are_gone() -> None:
    async with gateway() as served:
        for _ in range(3):
            async with served.client() as one, served.client() as two:
                await one.join("room:a", {"key": "ada"})
                await two.join("room:a")
                await two.join("room:b", {"refuse": "no"})
                async with served.http.get(served.url + "/topics/room:a/events?key=bob") as listening:
                    assert listening.status == 200
        fanout = inside(served.services.fanout)
        await eventually(lambda: not served.services.connections and not fanout._connections)
        assert (fanout._attached, fanout._lines, fanout._line_of, fanout._stays) == ({}, {}, {}, {})
        (row,) = await served.services.rooms.call(WhichChildren())
        room = inside(row.ref)
        await eventually(lambda: not room.members)
        assert (room._door, room._monitors, room._watched, room.feed._audiences) == ({}, {}, {}, {})
        await eventually(lambda: not room._attendance.state())
        assert (room._attendance._tracked, room._attendance._at, room._attendance._of) == ({}, {}, {})
        assert await served.services.sessions.call(WhichChildren()) == []


async def test_a_port_in_use_is_a_start_failure_that_says_so_in_a_sentence() -> None:
    async with gateway() as served, ActorSystem("second") as system:
        with pytest.raises(
            StartFailed,
            match=f"127.0.0.1:{served.port} is in use by another program: end that one, or choose another port",
        ) as failed:
            await system.spawn(Gateway, "stage", port=served.port)
        assert str(failed.value.__cause__).startswith("127.0.0.1:"), "a sentence without a number of the system's"
        assert "Errno" not in str(failed.value)
        with pytest.raises(StartFailed, match=r"no address 192\.0\.2\.1"):
            await system.spawn(Gateway, "stage", host="192.0.2.1", port=0)


async def test_nonsense_given_to_a_gateway_is_refused_with_what_is_wanted() -> None:
    async with ActorSystem("test") as system:
        for options, words in (
            ({"topics": {"a*b": House}}, "one final '\\*'"),
            ({"topics": {"a": object()}}, "needs a Room class"),
            ({"origins": ["example.org"]}, "https://example.org"),
            ({"hosts": ["https://example.org"]}, "without scheme and port"),
            ({"hosts": ["example.org:80"]}, "without scheme and port"),
        ):
            with pytest.raises(StartFailed, match=words):
                await system.spawn(Gateway, "stage", port=0, **options)


def kill(ref: ActorRef[Any]) -> None:
    ref.kill()


def shut_down(ref: ActorRef[Any]) -> None:
    ref.exit()


def fail(ref: ActorRef[Any]) -> None:
    """Make an actor crash by an exit signal that is a failure."""
    ref.exit(Failure("OnPurpose", "on purpose"))


def inside(ref: Any) -> Any:
    """The actor behind a reference."""
    return ref.actor


async def _open_raw(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket whose client does not answer closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer
