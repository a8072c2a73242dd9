"""The gateway over plain HTTP: pages, errors, origins, deadlines, server-sent events."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.gateway_helpers import Served, gateway
from understudy.actors import Refused
from understudy.gateway import HttpError, Mount, stream


@pytest.fixture
def pages(tmp_path: Path) -> list[Mount]:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("<!doctype html><title>Home</title>")
    (tmp_path / "web" / "page.js").write_text("export const here = 1;")
    (tmp_path / "web" / ".hidden").write_text("secret")
    (tmp_path / "secret.txt").write_text("secret")
    return [Mount("/", tmp_path / "web"), Mount("/pages", tmp_path / "web")]


async def test_healthz_names_the_node_and_the_process() -> None:
    async with gateway() as served:
        status, body = await served.json("/healthz")
        assert (status, body["status"], body["node"]) == (200, "ok", "stage")
        assert body["pid"] > 0


async def test_pages_come_with_their_type_are_asked_for_again_and_carry_security_headers(pages: list[Mount]) -> None:
    async with gateway(pages=pages) as served:
        for path in ("/", "/pages/", "/pages"):
            async with served.http.get(served.url + path) as response:
                assert (response.status, response.content_type) == (200, "text/html")
                assert response.headers["Content-Security-Policy"].startswith("default-src 'self'")
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert response.headers["Cache-Control"] == "no-cache"
        async with served.http.get(served.url + "/pages/page.js") as response:
            assert response.content_type == "text/javascript"
            again = {"If-None-Match": response.headers["ETag"]}
        async with served.http.get(served.url + "/pages/page.js", headers=again) as response:
            assert response.status == 304


async def test_our_own_javascript_is_served_without_being_asked_for() -> None:
    async with gateway() as served, served.http.get(served.url + "/understudy/understudy.js") as response:
        assert (response.status, response.content_type) == (200, "text/javascript")


@pytest.mark.parametrize(
    "path",
    [
        "/pages/none.js",
        "/pages/../secret.txt",
        "/pages/%2e%2e/secret.txt",
        "/pages/..%2fsecret.txt",
        "/pages/.hidden",
        "/pages/%00",
        "/pages//etc/passwd",
        "/pages/" + "a" * 5000,
    ],
)
async def test_nothing_else_is_a_page(pages: list[Mount], path: str) -> None:
    async with gateway(pages=pages) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert b"secret" not in answer.partition(b"\r\n\r\n")[2].replace(b"secret.txt", b"")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "not_found"


async def test_what_is_no_http_is_answered_and_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with gateway() as served:
        for nonsense in (
            b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET / HTTP/1.1\r\nx\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(nonsense)
            assert b" 400 " in await reader.readline()
            writer.close()
    assert caplog.text == ""


def test_a_mount_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="prefix"):
        Mount("chat", tmp_path)
    with pytest.raises(ValueError, match="no folder"):
        Mount("/chat", tmp_path / "none")


async def ok(request: web.Request) -> web.StreamResponse:
    return web.json_response(await request.json())


async def refuse(_: web.Request) -> web.StreamResponse:
    raise HttpError(409, "taken", "somebody has it")


async def fail(_: web.Request) -> web.StreamResponse:
    raise RuntimeError("on purpose")


async def unavailable(_: web.Request) -> web.StreamResponse:
    raise Refused("no engine node is up")


ROUTES = [web.post("/ok", ok), web.get("/refuse", refuse), web.get("/fail", fail), web.get("/unavailable", unavailable)]


async def test_an_applications_own_routes_are_served_and_every_error_is_json_with_a_code() -> None:
    async with gateway(routes=ROUTES) as served:
        assert await served.json("/ok", "POST", json={"a": 1}) == (200, {"a": 1})
        assert await served.json("/refuse") == (409, {"error": {"code": "taken", "message": "somebody has it"}})
        for path, method, status, code in (
            ("/fail", "GET", 500, "internal_error"),
            ("/unavailable", "GET", 503, "unavailable"),
            ("/none", "GET", 404, "not_found"),
            ("/healthz", "POST", 405, "method_not_allowed"),
            ("/socket/websocket?vsn=2.0.0", "GET", 426, "upgrade_required"),
        ):
            got, body = await served.json(path, method)
            assert (got, body["error"]["code"]) == (status, code)
        status, body = await served.json("/ok", "POST", data=b"x" * 70_000)
        assert (status, body["error"]["code"]) == (413, "request_entity_too_large")


@pytest.mark.parametrize("version", ["?vsn=1.0.0", "?vsn=3.0.0", ""])
async def test_another_version_of_the_protocol_is_refused_in_words(version: str) -> None:
    async with gateway() as served:
        status, error = await _upgrade(served, f"/socket/websocket{version}")
        assert (status, error["code"]) == (400, "version_unsupported")
        assert "?vsn=2.0.0" in error["message"]


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        (None, True),
        ("http://{host}", True),
        ("https://{host}", True),
        ("https://friend.example.org", True),
        ("https://evil.example.org", False),
        ("http://evil.{host}", False),
        ("null", False),
        ("{host}", False),
    ],
)
async def test_only_pages_of_the_own_host_and_allowed_ones_may_connect(origin: str | None, welcome: bool) -> None:
    async with gateway(origins=["https://friend.example.org"], routes=ROUTES) as served:
        headers = {} if origin is None else {"Origin": origin.format(host=f"127.0.0.1:{served.port}")}
        if welcome:
            async with served.client(**headers) as client:
                assert (await client.join("room:a"))[0] == "ok"
        else:
            status, error = await _upgrade(served, "/socket/websocket?vsn=2.0.0", headers)
            assert (status, error["code"]) == (403, "origin_refused")
        status, _ = await served.json("/ok", "POST", json={}, headers=headers)
        assert status == (200 if welcome else 403), "what changes something is guarded, too"


async def test_more_connections_than_the_limit_are_refused_with_a_code() -> None:
    async with gateway(connection_limit=1) as served, served.client() as client:
        await client.join("room:a")
        status, error = await _upgrade(served, "/socket/websocket?vsn=2.0.0")
        assert (status, error["code"]) == (503, "too_many_connections")
        status, body = await served.json("/topics/room:a/events")
        assert (status, body["error"]["code"]) == (503, "too_many_connections")


@pytest.mark.parametrize(
    "beginning", [b"", b"GET /he", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "], ids=["silent", "line", "header"]
)
async def test_a_client_that_does_not_finish_its_headers_is_cut_off_however_it_dribbles(beginning: bytes) -> None:
    async with gateway(header_deadline=0.5) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(beginning)

        async def dribble() -> None:
            while beginning:
                await asyncio.sleep(0.05)
                writer.write(b"x")

        dribbling = asyncio.ensure_future(dribble())
        async with asyncio.timeout(3.0):
            with contextlib.suppress(ConnectionResetError):  # what dribbles in after the end is answered with one
                assert await reader.read() == b""
        dribbling.cancel()
        writer.close()
        assert (await served.json("/healthz"))[0] == 200


async def test_a_second_request_on_a_connection_has_the_same_deadline() -> None:
    async with gateway(header_deadline=0.5) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /heal")
        async with asyncio.timeout(3.0):
            answer = await reader.read()
        writer.close()
        assert answer.count(b"HTTP/1.1 ") == 1


async def test_the_events_of_a_topic_are_streamed_with_ids_in_order() -> None:
    async with gateway() as served, served.client() as client:
        await client.join("room:a")
        async with served.http.get(served.url + "/topics/room:a/events?key=ada") as response:
            assert response.content_type == "text/event-stream"
            joined = await _event(response)
            assert (joined["event"], json.loads(joined["data"])) == ("joined", {"topic": "room:a", "members": 1})
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


async def test_a_stream_over_http_1_0_is_plain_and_kept_alive_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.gateway.events.KEEP_ALIVE", 0.05)
    async with gateway() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET /topics/room:a/events HTTP/1.0\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"chunked" not in head.lower()
        assert (await reader.readuntil(b"\n\n")).startswith(b"event: joined\ndata: {")
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


async def _upgrade(served: Served, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """The refusal of a WebSocket handshake."""
    handshake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    status, body = await served.json(path, headers=handshake | (headers or {}))
    return status, body["error"]


async def _event(response: aiohttp.ClientResponse) -> dict[str, str]:
    """The next event of a stream, by field."""
    fields: dict[str, str] = {}
    async with asyncio.timeout(5.0):
        while (line := (await response.content.readline()).decode()) != "\n":
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value
    return fields
