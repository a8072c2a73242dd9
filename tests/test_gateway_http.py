"""The gateway over plain HTTP: pages, errors, hosts, origins, deadlines."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from tests.gateway_helpers import Served, gateway
from understudy.actors import Refused
from understudy.gateway import HttpError, Limits, Mount
from understudy.gateway.http import Hosts, Origins


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


async def test_readyz_says_that_the_gateway_is_ready() -> None:
    async with gateway() as served:
        assert await served.json("/readyz") == (200, {"ready": True, "why": [], "node": "stage"})


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
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
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


async def test_json_ends_with_a_newline_that_keeps_a_terminals_prompt_off_the_brace() -> None:
    async with gateway(routes=ROUTES) as served:
        for path in ("/healthz", "/refuse", "/none", "/socket/websocket"):
            async with served.http.get(served.url + path) as response:
                assert response.content_type == "application/json"
                assert (await response.text()).endswith("}\n")


async def test_an_applications_own_routes_are_served_and_every_error_is_json_with_a_code() -> None:
    async with gateway(routes=ROUTES) as served:
        assert await served.json("/ok", "POST", json={"a": 1}) == (200, {"a": 1})
        assert await served.json("/refuse") == (
            409,
            {"error": {"code": "taken", "message": "somebody has it", "retry": False}},
        )
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


@pytest.mark.parametrize("version", ["?vsn=1.1.0", "?vsn=3.0.0", "?vsn=2", "?vsn="])
async def test_another_version_of_the_protocol_is_refused_in_words(version: str) -> None:
    async with gateway() as served:
        status, error = await _upgrade(served, f"/socket/websocket{version}")
        assert (status, error["code"]) == (400, "version_unsupported")
        assert "1.0.x and 2.0.x" in error["message"]


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


@pytest.mark.parametrize(
    ("host", "welcome"),
    [
        ("127.0.0.1:{port}", True),
        ("127.9.9.9", True),
        ("localhost:{port}", True),
        ("LocalHost", True),
        ("[::1]:{port}", True),
        ("friend.example.org:{port}", True),
        ("Named.Example.Org", True),
        ("evil.example", False),
        ("evil.example:{port}", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example@127.0.0.1", False),
        ("10.0.0.1", False),
        ("0.0.0.0:{port}", False),
        ("[::2]", False),
        ("", False),
    ],
)
async def test_on_loopback_only_loopback_names_and_allowed_ones_are_answered_to(host: str, welcome: bool) -> None:
    """A page whose name was made to resolve to 127.0.0.1 sends an Origin that agrees with its Host: the Host betrays it."""
    options: dict[str, Any] = {"origins": ["https://friend.example.org"], "hosts": ["named.example.org"]}
    async with gateway(routes=ROUTES, **options) as served:
        host = host.format(port=served.port)
        headers = {"Host": host, "Origin": f"http://{host}"}
        for path in ("/healthz", "/topics/room:a/events?refuse=no", "/none", "/understudy/understudy.js"):
            async with served.http.get(served.url + path, headers=headers) as response:
                assert (response.status != 421) is welcome
                if not welcome:
                    error = (await response.json())["error"]
                    assert error["code"] == "host_refused"
                    assert "hosts=[...]" in error["message"]
        status, error = await _handshake(served, headers)
        assert (status, error and error["code"]) == ((101, None) if welcome else (421, "host_refused"))


@pytest.mark.parametrize(("hosts", "code"), [([], None), (["chat.example.org"], "host_refused")])
async def test_beyond_loopback_any_name_will_do_unless_some_are_given(hosts: list[str], code: str | None) -> None:
    request = make_mocked_request("GET", "/", headers={"Host": "stage.lan:4000"})
    check = Hosts("192.0.2.1", hosts, Origins()).check
    if code is None:
        check(request)
    else:
        with pytest.raises(HttpError) as refused:
            check(request)
        assert (refused.value.status, refused.value.code) == (421, code)


async def test_more_connections_than_the_limit_are_refused_with_a_code() -> None:
    async with gateway(limits=Limits(clients=1)) as served, served.client() as client:
        await client.join("room:a")
        status, error = await _upgrade(served, "/socket/websocket?vsn=2.0.0")
        assert (status, error["code"]) == (503, "too_many_connections")
        status, body = await served.json("/topics/room:a/events")
        assert (status, body["error"]["code"]) == (503, "too_many_connections")


@pytest.mark.parametrize(
    "beginning",
    [b"", b"GET /he", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "],
    ids=["silent", "line", "header"],
)
async def test_a_client_that_does_not_finish_its_headers_is_cut_off_however_it_dribbles(beginning: bytes) -> None:
    async with gateway(limits=Limits(header_deadline=0.5)) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(beginning)

        async def dribble() -> None:
            while beginning:
                await asyncio.sleep(0.05)
                writer.write(b"x")

        dribbling = asyncio.ensure_future(dribble())
        async with asyncio.timeout(8.0):
            with contextlib.suppress(ConnectionResetError):  # what dribbles in after the end is answered with one
                assert await reader.read() == b""
        dribbling.cancel()
        writer.close()
        assert (await served.json("/healthz"))[0] == 200


async def test_a_second_request_on_a_connection_has_the_same_deadline() -> None:
    async with gateway(limits=Limits(header_deadline=0.5)) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /heal")
        async with asyncio.timeout(8.0):
            answer = await reader.read()
        writer.close()
        assert answer.count(b"HTTP/1.1 ") == 1


HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


async def _upgrade(served: Served, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """The refusal of a WebSocket handshake."""
    status, body = await served.json(path, headers=HANDSHAKE | (headers or {}))
    return status, body["error"]


async def _handshake(served: Served, headers: dict[str, str]) -> tuple[int, Any]:
    """The outcome of a WebSocket handshake, whichever: the status, and the error if there is one."""
    address = f"{served.url}/socket/websocket?vsn=2.0.0"
    async with served.http.get(address, headers=HANDSHAKE | headers) as response:
        return response.status, None if response.status == 101 else (await response.json())["error"]
