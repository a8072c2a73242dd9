"""Long polling, as Phoenix's own client does it."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.gateway_helpers import Served, gateway
from tests.helpers import eventually
from understudy.gateway import longpoll
from understudy.gateway.limits import Limits
from understudy.gateway.longpoll import PolledConnection
from understudy.gateway.serializers import POLLED
from understudy.supervisors import WhichChildren

ADDRESS = "/socket/longpoll?vsn=2.0.0"
NDJSON = {"Content-Type": "application/x-ndjson"}


class Polling:
    """A client that polls."""

    def __init__(self, served: Served, address: str = ADDRESS) -> None:
        self.served = served
        self.address = address
        self.heard: list[Any] = []

    async def begin(self) -> "Polling":
        status, said = await self.served.json(self.address)
        assert (status, said["status"], said["messages"]) == (200, 410, [])
        self.address += f"&token={said['token']}"
        return self

    async def post(self, *frames: Any, **options: Any) -> int:
        """Send messages in one batch; the status in the answer's body."""
        lines = [
            base64.b64encode(frame).decode() if isinstance(frame, bytes) else json.dumps(frame) for frame in frames
        ]
        options = {"headers": NDJSON, "data": "\n".join(lines), **options}
        status, said = await self.served.json(self.address, "POST", **options)
        assert status == 200
        return int(said["status"])

    async def poll(self) -> int:
        """Ask for what there is; the status in the answer's body."""
        status, said = await self.served.json(self.address)
        assert status == 200
        self.heard += [json.loads(message) for message in said.get("messages", [])]
        return int(said["status"])

    async def hear(self, wanted: Callable[[Any], bool]) -> Any:
        """The first message that fits, which is taken out."""
        while not (found := [message for message in self.heard if wanted(message)]):
            assert await self.poll() == 200
        self.heard.remove(found[0])
        return found[0]

    async def reply(self, ref: Any) -> Any:
        return (await self.hear(lambda message: message[1] == ref))[4]

    async def join(self, topic: str = "room:a", payload: Any = None, ref: str = "j") -> Any:
        assert await self.post([ref, ref, topic, "phx_join", payload or {}]) == 200
        return await self.reply(ref)


async def test_a_client_that_polls_joins_pushes_hears_and_leaves() -> None:
    async with gateway() as served, served.client() as other:
        client = await Polling(served).begin()
        assert (await client.join())["status"] == "ok"
        await other.join("room:a")
        assert (
            await client.post(["j", "1", "room:a", "echo", {"a": [1]}], [None, "2", "phoenix", "heartbeat", {}]) == 200
        )
        assert await client.reply("1") == {"status": "ok", "response": {"a": [1]}}
        assert await client.reply("2") == {"status": "ok", "response": {}}
        await other.ask("room:a", "shout", {"n": 1})
        assert (await client.hear(lambda message: message[3] == "heard"))[4]["n"] == 1
        assert await client.post(["j", "3", "room:a", "phx_leave", {}]) == 200
        assert await client.reply("3") == {"status": "ok", "response": {}}
        assert await client.hear(lambda message: message[3] == "phx_close") == ["j", "j", "room:a", "phx_close", {}]


async def test_a_poll_waits_for_what_is_said_and_gets_all_of_a_tick_at_once() -> None:
    async with gateway() as served, served.client() as other:
        client = await Polling(served).begin()
        await client.join()
        await other.join("room:a")
        poll = asyncio.create_task(client.poll())
        await eventually(lambda: waiting(served))
        await other.ask("room:a", "flood", {"times": 20, "size": 10})
        assert await poll == 200
        numbers = [message[4]["number"] for message in client.heard if message[3] == "heard"]
        while len(numbers) < 20:
            await client.poll()
            numbers = [message[4]["number"] for message in client.heard if message[3] == "heard"]
        assert numbers == list(range(20))


def waiting(served: Served) -> bool:
    """Whether the only client that polls does so now."""
    [connection] = [one for one in served.services.connections if isinstance(one, PolledConnection)]
    return connection._waiter is not None


async def test_a_poll_in_which_nothing_is_said_ends_with_204(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longpoll, "WINDOW", 0.01)
    async with gateway() as served:
        client = await Polling(served).begin()
        assert await client.poll() == 204
        assert (await client.join())["status"] == "ok"


async def test_bytes_come_in_base64_and_go_out_as_text() -> None:
    async with gateway() as served:
        client = await Polling(served).begin()
        await client.join()
        assert await client.post(b"\x00\x01\x01\x06\x04j1room:aecho\x00\xff") == 200
        assert await client.reply("1") == {"status": "ok", "response": {"_b": "AP8="}}


async def test_a_batch_keeps_its_order_and_a_line_is_what_json_takes_for_one() -> None:
    async with gateway() as served:
        client = await Polling(served).begin()
        await client.join()
        frames = [
            json.dumps(["j", str(n), "room:a", "echo", {"n": n, "s": "a\u2028\x85b"}], ensure_ascii=False)
            for n in range(50)
        ]
        assert await client.post(data="\r\n".join(frames).encode()) == 200
        for n in range(50):
            assert (await client.hear(lambda message: message[3] == "phx_reply"))[1] == str(n)


async def test_a_parameter_of_the_clients_own_may_be_called_token_too() -> None:
    async with gateway() as served:
        client = await Polling(served, ADDRESS + "&token=mine").begin()
        assert (await client.join())["status"] == "ok"


async def test_a_single_message_needs_no_batch() -> None:
    async with gateway() as served:
        client = await Polling(served).begin()
        frame = json.dumps([None, "1", "phoenix", "heartbeat", {}], indent=2)
        assert await client.post(data=frame, headers={"Content-Type": "application/json"}) == 200
        assert await client.reply("1") == {"status": "ok", "response": {}}


async def test_v1_is_polled_too() -> None:
    async with gateway() as served:
        client = await Polling(served, "/socket/longpoll?").begin()
        join = {"topic": "room:a", "event": "phx_join", "payload": {}, "ref": 1}
        assert await client.post(join) == 200
        assert await client.poll() == 200
        [reply] = client.heard
        assert (reply["ref"], reply["payload"]["status"]) == (1, "ok")


async def test_malformed_messages_are_answered_one_by_one_and_harm_nothing() -> None:
    async with gateway() as served:
        client = await Polling(served).begin()
        assert await client.post(data="no base64!\n[]\n" + json.dumps([None, "1", "phoenix", "heartbeat", {}])) == 200
        assert await client.reply("1") == {"status": "ok", "response": {}}
        assert [message[4]["response"]["reason"] for message in client.heard] == ["malformed frame"] * 2


async def test_a_token_that_is_not_known_begins_a_new_session_or_is_gone() -> None:
    async with gateway() as served:
        client = Polling(served, ADDRESS + "&token=stale")
        assert await client.post([None, "1", "phoenix", "heartbeat", {}]) == 410
        status, said = await served.json(client.address)
        assert (status, said["status"]) == (200, 410)
        assert said["token"] != "stale"


@pytest.mark.parametrize(
    ("address", "headers", "status", "code"),
    [
        ("/socket/longpoll?vsn=3.0.0", {}, 400, "version_unsupported"),
        (ADDRESS, {"Origin": "https://evil.example.org"}, 403, "origin_refused"),
        (ADDRESS, {"Host": "evil.example.org"}, 421, "host_refused"),
    ],
)
async def test_who_is_refused_reads_it_where_phoenix_clients_look(
    address: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with gateway() as served:
        http, said = await served.json(address, headers=headers)
        assert (http, said["status"], said["error"]["code"], said["error"]["retry"]) == (status, 403, code, False)
        assert not served.services.connections


async def test_too_many_clients_come_back() -> None:
    async with gateway(limits=Limits(clients=0)) as served:
        http, said = await served.json(ADDRESS)
        assert (http, said["status"], said["error"]["code"]) == (503, 500, "too_many_connections")


async def test_who_does_not_ask_any_more_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longpoll, "PATIENCE", 0.05)
    async with gateway() as served, served.client() as other:
        await other.join("room:a")
        client = await Polling(served).begin()
        await client.post(["j", "j", "room:a", "phx_join", {"key": "ada"}])
        await other.event("room:a", "left")
        assert await client.post([None, "1", "phoenix", "heartbeat", {}]) == 410
        await nothing_is_left(served, 1)


async def nothing_is_left(served: Served, connections: int = 0) -> None:
    await eventually(lambda: len(served.services.connections) == connections)
    sessions = [row.ref for row in await served.services.sessions.call(WhichChildren()) if row.ref is not None]
    await eventually(lambda: sum(session.is_alive() for session in sessions) == connections)


async def test_a_poll_whose_client_went_away_loses_nothing() -> None:
    async with gateway() as served, served.client() as other:
        client = await Polling(served).begin()
        await client.join()
        await other.join("room:a")
        poll = asyncio.create_task(client.poll())
        await eventually(lambda: waiting(served))
        poll.cancel()
        with pytest.raises(asyncio.CancelledError):
            await poll
        await eventually(lambda: not waiting(served))
        await other.ask("room:a", "shout", {"n": 1})
        assert (await client.hear(lambda message: message[3] == "heard"))[4]["n"] == 1


ENDINGS: dict[str, Callable[[Served, PolledConnection], Awaitable[Any] | None]] = {
    "closed": lambda _, connection: connection.close(1012, "the server restarts"),
    "reset": lambda _, connection: connection.reset(),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_session_that_ends_answers_the_poll_that_waits_with_410(ending: str) -> None:
    async with gateway() as served:
        client = await Polling(served).begin()
        await client.join()
        poll = asyncio.create_task(client.poll())
        await eventually(lambda: waiting(served))
        [connection] = served.services.connections
        assert isinstance(connection, PolledConnection)
        ENDINGS[ending](served, connection)
        assert await poll == 410
        await nothing_is_left(served)


async def test_a_session_that_crashes_ends_its_client_and_nobody_else() -> None:
    async with gateway() as served:
        client, other = await Polling(served).begin(), await Polling(served).begin()
        await client.join()
        rows = await served.services.sessions.call(WhichChildren())
        session = next(row.ref for row in rows if row.id == "session-1")
        assert session is not None
        session.kill()
        await eventually(lambda: len(served.services.connections) == 1 or gone(served))
        assert await client.poll() == 410
        assert (await other.join())["status"] == "ok"


def gone(served: Served) -> bool:
    return any(connection.closed for connection in served.services.connections)


# --- the connection alone ---


async def polled(limit: int = 100) -> tuple[PolledConnection, list[str]]:
    ends: list[str] = []
    return PolledConnection(POLLED, asyncio.get_running_loop(), lambda: ends.append("end"), limit), ends


async def test_of_frames_that_replace_each_other_only_the_last_waits() -> None:
    connection, _ = await polled()
    for number in range(100):
        connection.send(b"%03d" % number, latest="key")
        connection.send(b"%03d" % number, latest="other")
    connection.send(b"end")
    assert connection.buffered == 9
    assert await connection.poll(0.05) == [b"099", b"099", b"end"]
    assert connection.buffered == 0


async def test_too_much_that_waits_ends_it_and_a_large_frame_alone_does_not() -> None:
    connection, ends = await polled(limit=100)
    connection.send(b"x" * 200)
    assert await connection.poll(0.05) == [b"x" * 200]
    for _ in range(11):
        connection.send(b"x" * 10)
    assert (connection.closed, connection.buffered, ends) == (True, 0, ["end"])
    connection.send(b"late")
    assert await connection.poll(0.05) is None


async def test_what_was_said_before_a_close_is_there_for_one_more_poll() -> None:
    connection, ends = await polled()
    connection.send(b"last")
    connection.close(1012, "the server restarts")
    connection.send(b"late")
    assert await connection.poll(0.05) == [b"last"]
    assert ends == []
    assert await connection.poll(0.05) is None
    assert ends == ["end"]


async def test_of_two_polls_the_last_one_gets_what_there_is() -> None:
    connection, _ = await polled()
    first = asyncio.create_task(connection.poll(0.05))
    await asyncio.sleep(0)
    second = asyncio.create_task(connection.poll(0.05))
    await asyncio.sleep(0)
    connection.send(b"one")
    assert await second == [b"one"]
    assert await first == []
