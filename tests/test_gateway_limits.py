"""How much one client may ask, where it comes from, and TLS: buckets and addresses alone, then the real port."""

import asyncio
import logging
import ssl
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway_helpers import PATIENCE, Client, gateway
from understudy.actors import Actor, ActorSystem, StartFailed
from understudy.gateway import Certificate, Gateway, GetRefused, GetUrl, Limits, Rate
from understudy.gateway.limits import Bucket, Buckets, Crowd, Meter, block, is_local
from understudy.gateway.port import Sockets
from understudy.gateway.proxies import Proxies

# --- buckets ---


@given(st.floats(0.1, 100), st.integers(1, 50), st.lists(st.tuples(st.floats(0, 2), st.integers(1, 5)), max_size=200))
def test_no_more_passes_than_the_burst_and_what_the_time_allows(
    per_second: float, burst: int, asked: list[tuple[float, int]]
) -> None:
    bucket, now, passed = Bucket(Rate(per_second, burst), 0.0), 0.0, 0.0
    for pause, amount in asked:
        now += pause
        if bucket.take(amount, now):
            passed += min(amount, burst)
        else:
            assert bucket.wait(amount, now) > 0
        assert passed <= burst + per_second * now + 1e-6


def test_after_the_wait_that_was_told_it_passes() -> None:
    bucket = Bucket(Rate(2.0, burst=1), 0.0)
    assert (bucket.take(1, 0.0), bucket.take(1, 0.0), bucket.wait(1, 0.0)) == (True, False, 0.5)
    assert bucket.take(1, 0.5)


def test_what_is_refused_for_its_bytes_costs_no_message() -> None:
    meter = Meter([Bucket(Rate(1, burst=1), 0.0)], [Bucket(Rate(1, burst=10), 0.0), None])
    assert meter.take(10, 0.0) == 0
    assert meter.take(10, 5.0) == 5.0
    assert meter.take(5, 5.0) == 0


def test_a_limit_remembers_so_many_and_forgets_who_was_not_heard_of_for_longest() -> None:
    buckets = Buckets(Rate(1, burst=1), limit=2)
    first, second = buckets.of("a", 0.0), buckets.of("b", 0.0)
    assert buckets.of("a", 0.0) is first
    buckets.of("c", 0.0)
    assert (buckets.of("a", 0.0) is first, buckets.of("b", 0.0) is second) == (True, False)
    assert Buckets(None).of("a", 0.0) is None


def test_a_crowd_is_counted_by_address_and_by_network_of_ipv6_and_nobody_of_this_machine() -> None:
    crowd = Crowd(2)
    for address in ("203.0.113.7", "::ffff:203.0.113.7", "2001:db8::1", "2001:db8::2", "127.0.0.1", "127.0.0.1", "::1"):
        crowd.come(address)
    addresses = ("203.0.113.7", "203.0.113.8", "2001:db8::3", "2001:db8:0:1::1", "127.0.0.1", "::1", "")
    assert [crowd.full(address) for address in addresses] == [True, False, True, False, False, False, False]
    crowd.go("203.0.113.7")
    assert not crowd.full("203.0.113.7")


def test_what_is_local_and_what_is_one_address() -> None:
    assert [is_local(a) for a in ("127.3.2.1", "::1", "", "10.0.0.1", "::ffff:10.0.0.1")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert block("2001:db8::7") == "2001:db8::/64"


# --- proxies ---


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("127.0.0.1", "1.2.3.4, 203.0.113.9, 10.0.0.2", "203.0.113.9"),  # the first is what the client made up
        ("127.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("127.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("127.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("127.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "1.2.3.4, rubbish", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("::ffff:127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("203.0.113.1", "127.0.0.1", "203.0.113.1"),  # nobody trusts that one
        ("", "203.0.113.9", ""),
    ],
)
def test_the_client_is_the_last_that_no_trusted_proxy_stands_for(peer: str, forwarded: str, client: str) -> None:
    assert Proxies(["127.0.0.1", "10.0.0.0/8"]).client(peer, forwarded) == client


@given(st.text())
def test_nobody_is_believed_where_nobody_is_trusted(forwarded: str) -> None:
    assert Proxies().client("127.0.0.1", forwarded) == "127.0.0.1"
    Proxies(["127.0.0.1"]).client("127.0.0.1", forwarded)


def test_what_is_no_proxy_is_refused() -> None:
    with pytest.raises(ValueError, match=r"an address or a network like '10\.0\.0\.0/8'"):
        Proxies(["proxy.example.org"])
    with pytest.raises(TypeError, match="a list of addresses, not '10"):
        Proxies("10.0.0.0/8")


# --- at the port ---


def far(number: int = 7) -> dict[str, str]:
    """A client behind the proxy that these tests are."""
    return {"X-Forwarded-For": f"203.0.113.{number}"}


async def test_clients_of_one_address_have_an_end_and_those_of_another_have_not() -> None:
    limits = Limits(clients_per_address=1)
    async with gateway(limits=limits, trusted_proxies=["127.0.0.1"]) as served:
        async with served.client(**far()) as client:
            status, body = await served.json("/topics/room:a/events", headers=far())
            assert (status, body["error"]["code"], body["error"]["retry"]) == (429, "too_many_from_address", True)
            async with served.client(**far(8)) as other, served.client() as local, served.client() as another:
                for one in (client, other, local, another):
                    assert (await one.join("room:a"))[0] == "ok"
        await served.services.wait_until_empty()
        async with served.client(**far()) as again:
            assert (await again.join("room:a"))[0] == "ok"
        assert (await served.ref.call(GetRefused()))["too_many_from_address"] == 1


async def test_requests_of_one_address_have_a_rate() -> None:
    limits = Limits(requests=Rate(0.01, burst=2))
    async with gateway(limits=limits, trusted_proxies=["127.0.0.1"]) as served:
        assert [(await served.json("/healthz", headers=far()))[0] for _ in range(3)] == [200, 200, 429]
        assert (await served.json("/healthz", headers=far(8)))[0] == 200
        async with served.http.get(served.url + "/healthz", headers=far()) as response:
            assert (response.headers["Retry-After"], (await response.json())["error"]["code"]) == (
                "100",
                "rate_limited",
            )
        assert [(await served.json("/healthz"))[0] for _ in range(5)] == [200] * 5


async def test_connections_that_say_nothing_have_an_end_and_are_told_so() -> None:
    async with gateway(limits=Limits(sockets=3)) as served:
        silent = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"code": "too_many_connections"' in answer
        assert b'"retry": true' in answer
        for _, other in [*silent, (reader, writer)]:
            other.close()
            await other.wait_closed()


def test_connections_are_counted_by_address_where_that_says_who_it_is() -> None:
    services = MagicMock()
    services.limits, services.proxies = Limits(sockets_per_address=2), Proxies(["10.0.0.1"])
    sockets = Sockets(services)

    def came(peer: str) -> str | None:
        transport = MagicMock()
        transport.get_extra_info.return_value = (peer, 1)
        return sockets.come(sockets.address(transport))

    assert [came("203.0.113.7") for _ in range(3)] == [None, None, "too_many_from_address"]
    assert [came("10.0.0.1") for _ in range(3)] == [None, None, None]
    sockets.go("203.0.113.7")
    assert came("203.0.113.7") is None


class Sleeper(Actor):
    """Answers when it is too late."""

    async def on_receive(self, message: object) -> None:
        await asyncio.Event().wait()


async def test_an_answer_that_takes_too_long_is_503_and_who_was_waited_for_stands_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def ask(request: web.Request) -> web.Response:
        return web.json_response(await served.system.ref("sleeper").call("wake up", timeout=60.0))

    async def brood(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(0.5)
        await response.write(b"whole")
        return response

    routes = [web.get("/ask", ask), web.get("/brood", brood), web.get("/stream", stream)]
    with caplog.at_level(logging.WARNING):
        async with gateway(routes=routes, limits=Limits(answer_deadline=0.1)) as served:
            await served.system.spawn(Sleeper, name="sleeper")
            for path, said in (("/ask", "sleeper"), ("/brood", "no actor was waited for")):
                status, body = await served.json(path)
                assert (status, body["error"]["code"], body["error"]["retry"]) == (503, "handler_too_slow", True)
                assert [said in record.getMessage() and path in record.getMessage() for record in caplog.records] == [
                    True
                ]
                caplog.clear()
            async with served.http.get(served.url + "/stream") as response:
                assert await response.text() == "whole"


async def test_a_client_that_stays_is_not_held_to_the_deadline_of_an_answer() -> None:
    async with gateway(limits=Limits(answer_deadline=0.05)) as served, served.client() as client:
        assert (await client.join("room:a"))[0] == "ok"
        await asyncio.sleep(0.4)
        assert await client.ask("room:a", "echo", {"x": 1}, "j") == ("ok", {"x": 1})


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
async def test_a_compressed_body_is_refused_unread(encoding: str) -> None:
    async with gateway() as served:
        headers = {"Content-Encoding": encoding}
        status, body = await served.json("/healthz", "POST", data=b"\x1f\x8b", headers=headers)
        assert (status, body["error"]["code"]) == (415, "encoding_unsupported")


async def test_what_is_no_http_is_answered_in_our_words() -> None:
    async with gateway() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET / HTTP/1.1\r\nbad header\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.0 400 ")
        assert b"Server: understudy\r\n" in answer
        assert b'"code": "malformed"' in answer
        writer.close()
        await writer.wait_closed()


async def test_who_floods_over_a_socket_is_refused_and_counted() -> None:
    async with gateway(limits=Limits(messages=Rate(0.01, burst=2))) as served, served.client() as client:
        assert (await client.join("room:a"))[0] == "ok"
        assert (await client.ask("room:a", "echo", {}))[0] == "ok"
        status, response = await client.ask("room:a", "echo", {})
        assert (status, response["code"], response["retry"]) == ("error", "rate_limited", True)
        assert await served.ref.call(GetRefused()) == {"rate_limited": 1}


@pytest.mark.parametrize("nonsense", [(0, 1), (-1, 1), (1, 0), (float("inf"), 1)])
def test_a_rate_lets_something_pass(nonsense: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="more than 0 per second"):
        Rate(*nonsense)


# --- TLS ---


def certify(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for localhost, signed by itself."""
    chain, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"),
            *("-keyout", key, "-out", chain),
        ],
        check=True,
        capture_output=True,
    )
    return chain, key


async def name_of(url: str, chain: Path) -> Any:
    """Whom the server says it is, to whom trusts `chain`; and a word over a WebSocket."""
    trust = ssl.create_default_context(cafile=str(chain))
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}/socket/websocket?vsn=2.0.0", ssl=trust) as ws:
        assert (await Client(ws).join("room:a"))[0] == "ok"
        return dict(part[0] for part in ws.get_extra_info("peercert")["subject"])["commonName"]


async def test_tls_is_spoken_with_certificate_files_which_are_read_again_when_they_change(tmp_path: Path) -> None:
    (chain, key), (new_chain, new_key) = certify(tmp_path, "first"), certify(tmp_path, "second")
    certificate = Certificate(chain, key)
    async with gateway(tls=certificate) as served:
        assert served.url.startswith("https://127.0.0.1:")
        assert await name_of(served.url, chain) == "first"
        key.write_bytes(new_key.read_bytes())
        certificate.look()  # half of a renewal: the pair does not fit
        assert await name_of(served.url, tmp_path / "first.pem") == "first"
        chain.write_bytes(new_chain.read_bytes())
        certificate.look()
        assert await name_of(served.url, chain) == "second"
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            assert not await reader.read()  # plain words on a TLS port
        writer.close()


async def test_a_certificate_that_cannot_be_used_is_said_at_the_start(tmp_path: Path) -> None:
    chain, key = certify(tmp_path, "first")
    _, other = certify(tmp_path, "second")
    async with ActorSystem("test") as system:
        for broken in (Certificate(tmp_path / "nowhere.pem", key), Certificate(chain, other)):
            with pytest.raises(StartFailed, match=r"the certificate .* cannot be used"):
                await system.spawn(Gateway, "stage", port=0, tls=broken)
        ref = await system.spawn(Gateway, "stage", port=0, tls=Certificate(chain, key))
        assert (await ref.call(GetUrl())).startswith("https://")
