"""A topic's events as a stream: in order, up to the end of the topic, and an HTTP error where there can be none."""

import asyncio
import json
import re

import aiohttp
import pytest
from aiohttp import web

from tests.gateway_helpers import gateway
from tests.helpers import eventually
from understudy.gateway import stream


async def test_the_events_of_a_topic_are_streamed_with_ids_in_order() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a")
        async with served.http.get(served.url + "/topics/room:a/events?key=ada") as response:
            assert response.content_type == "text/event-stream"
            joined = await _event(response)
            assert joined["event"] == "joined"
            assert {"topic": "room:a", "members": 1}.items() <= json.loads(joined["data"]).items()
            assert (await _event(response))["event"] == "presence_state"
            for number in range(3):
                await client.ask("room:a", "shout", {"n": number, "text": "two\nlines"})
            heard = [await _event(response) for _ in range(3)]
            assert [json.loads(event["data"])["n"] for event in heard] == [0, 1, 2]
            epochs, offsets = zip(*(event["id"].split("-") for event in heard), strict=True)
            assert len(set(epochs)) == 1
            assert [int(offset) - int(offsets[0]) for offset in offsets] == [0, 1, 2]


async def test_a_listener_who_goes_leaves_its_room_at_once() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a")
        async with served.http.get(served.url + "/topics/room:a/events?key=ada") as response:
            await _event(response)
            assert list(await client.event("room:a", "presence_state")) == ["ada"]
            response.close()
        assert list((await client.event("room:a", "presence_diff"))["leaves"]) == ["ada"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/topics/nowhere/events", 404, "unmatched_topic"),
        ("/topics/" + "room:" + "a" * 300 + "/events", 404, "unmatched_topic"),
        ("/topics/room:a/events?refuse=members+only", 403, "refused"),
        ("/topics/room:a/events?crash=1", 503, "join_crashed"),
    ],
)
async def test_a_stream_that_cannot_be_is_an_http_error(path: str, status: int, code: str) -> None:
    async with gateway() as served:
        got, body = await served.json(path)
        assert (got, body["error"]["code"]) == (status, code)


async def test_a_stream_ends_with_its_room() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a")
        async with served.http.get(served.url + "/topics/room:a/events") as response:
            await _event(response)
            await client.ask("room:a", "shout", {"last": "words"})
            await client.ask("room:a", "finish", {})
            assert json.loads((await _event(response))["data"]) == {"last": "words"}
            assert await response.content.read() == b""


async def test_a_stream_ends_after_the_last_event_of_a_topic_that_its_room_concluded_and_sockets_stay() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a")
        async with served.http.get(served.url + "/topics/room:a/events") as response:
            await _event(response)
            await client.ask("room:a", "conclude", {"last": "words"})
            last = await _event(response)
            assert (last["event"], json.loads(last["data"])) == ("heard", {"last": "words"})
            assert await response.content.read() == b""
        assert await client.ask("room:a", "echo", {"still": "here"}) == ("ok", {"still": "here"})


async def test_a_listener_who_comes_after_the_end_is_told_how_things_are_and_if_it_came_before_to_stay_away() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a")
        await client.ask("room:a", "conclude", {})
        url = served.url + "/topics/room:a/events"
        async with served.http.get(url) as response:
            joined = await _event(response)
            assert (joined["event"], json.loads(joined["data"])["topic"]) == ("joined", "room:a")
            assert await response.content.read() == b""
        # What an EventSource sends when it comes back; 204 is how it is told not to.
        async with served.http.get(url, headers={"Last-Event-ID": joined["id"]}) as response:
            assert (response.status, await response.read()) == (204, b"")
        async with served.http.get(served.url + "/topics/room:b/events", headers={"Last-Event-ID": "x"}) as response:
            assert (await _event(response))["event"] == "joined", "one that goes on takes it back"
        await eventually(lambda: len(served.services.connections) == 1)


async def test_a_stream_over_http_1_0_is_plain_and_kept_alive_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.gateway.events.KEEP_ALIVE", 0.05)
    async with gateway() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET /topics/room:a/events HTTP/1.0\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"chunked" not in head.lower()
        assert re.match(rb"id: \w+-0\nevent: joined\ndata: {", await reader.readuntil(b"\n\n"))
        assert await reader.readuntil(b"\n\n") == b": keep-alive\n\n"
        writer.close()


async def test_an_application_may_stream_a_topic_from_a_route_of_its_own() -> None:
    async def run_events(request: web.Request) -> web.StreamResponse:
        return await stream(request, f"room:{request.match_info['id']}")

    async with (
        gateway(routes=[web.get("/runs/{id}/events", run_events)]) as served,
        served.http.get(served.url + "/runs/7/events") as response,
    ):
        assert json.loads((await _event(response))["data"])["topic"] == "room:7"


async def test_a_stream_ends_when_the_gateway_stops() -> None:
    async with gateway() as served, served.http.get(served.url + "/topics/room:a/events") as response:
        await _event(response)
        served.ref.stop()
        assert await response.content.read() == b""
        await served.ref.ended()


async def _event(response: aiohttp.ClientResponse) -> dict[str, str]:
    """The next event of a stream, by field."""
    fields: dict[str, str] = {}
    async with asyncio.timeout(30.0):
        while (line := (await response.content.readline()).decode()) != "\n":
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value
    return fields


async def test_a_listener_who_comes_back_with_its_last_id_is_given_what_it_missed_and_then_what_is_new() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a")
        url = served.url + "/topics/room:a/events"
        async with served.http.get(url) as response:
            joined = await _event(response)
            await client.ask("room:a", "shout", {"n": 0})
            last = await _event(response)
            assert _offset(last) == _offset(joined) + 1
        for number in (1, 2):
            await client.ask("room:a", "shout", {"n": number})
        async with served.http.get(url, headers={"Last-Event-ID": last["id"]}) as response:
            joined = await _event(response)
            assert (joined["id"], json.loads(joined["data"])["recovered"]) == (last["id"], True)
            await client.ask("room:a", "shout", {"n": 3})
            heard = [event for event in [await _event(response) for _ in range(4)] if event["event"] == "heard"]
            assert [json.loads(event["data"]) for event in heard] == [{"n": 1}, {"n": 2}, {"n": 3}]
            assert _offset(heard[-1]) == _offset(last) + 4, "the listener's own leave was an event, too"


async def test_one_that_was_cut_off_before_its_first_event_misses_nothing_either() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a")
        url = served.url + "/topics/room:a/events"
        async with served.http.get(url) as response:
            joined = await _event(response)
        await client.ask("room:a", "shout", {"n": 1})
        async with served.http.get(f"{url}?resume={joined['id']}") as response:
            assert json.loads((await _event(response))["data"])["recovered"] is True
            events = [await _event(response) for _ in range(2)]
            assert {event["event"] for event in events} == {"left", "heard"}


async def test_an_id_of_another_life_or_of_somebody_else_brings_the_present_and_says_so() -> None:
    async with gateway() as served:
        url = served.url + "/topics/room:a/events"
        for place in ("0000-7", "nonsense", "-", "x-", "6f0c--1", "6f0c-" + "9" * 30, "é-1"):
            async with served.http.get(url, headers={"Last-Event-ID": place}) as response:
                assert json.loads((await _event(response))["data"])["recovered"] is False, place
        status, body = await served.json("/topics/room:a/events?resume=nonsense")
        assert (status, body["error"]["code"]) == (400, "malformed")


async def test_the_last_events_of_a_topic_reach_a_listener_who_was_away_when_it_was_concluded() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a")
        url = served.url + "/topics/room:a/events"
        async with served.http.get(url) as response:
            place = (await _event(response))["id"]
        await client.event("room:a", "left")
        await client.ask("room:a", "conclude", {"last": "words"})
        async with served.http.get(url, headers={"Last-Event-ID": place}) as response:
            events = [await _event(response) for _ in range(3)]
            assert [event["event"] for event in events] == ["joined", "left", "heard"]
            assert await response.content.read() == b""
        async with served.http.get(url, headers={"Last-Event-ID": events[-1]["id"]}) as response:
            assert response.status == 204


def _offset(event: dict[str, str]) -> int:
    return int(event["id"].rpartition("-")[2])
