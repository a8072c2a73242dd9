"""Who is let in by the real port, and what it is told who is not."""

import asyncio
from base64 import b64encode
from typing import Any

import aiohttp
import pytest

from tests.gateway_helpers import PATIENCE, Client, House, Served, declined, gateway
from understudy.gateway import (
    Anonymous,
    Credentials,
    Gateway,
    GetRefused,
    Limits,
    Member,
    Passwords,
    Principal,
    Rate,
    SignedCookie,
    SignedToken,
    hash_password,
)

KEY = "k" * 32
TOKENS = SignedToken(KEY)
SOCKET = "/socket/websocket?vsn=2.0.0"


def phoenix_token(token: str) -> str:
    """What the `phoenix` package puts into Sec-WebSocket-Protocol."""
    return f"phoenix, base64url.bearer.phx.{b64encode(token.encode()).decode().rstrip('=')}"


class Hall(House):
    """Says who came."""

    def on_join(self, member: Member, payload: dict[str, Any]) -> Any:
        who = member.principal
        return {"id": who.id, "claims": who.claims, "anonymous": who.anonymous}


TOPICS = {"hall:*": Hall}


async def refusal(served: Served, path: str = SOCKET, **headers: str) -> tuple[int, str, bool, str | None]:
    """Status, code, whether to retry, and WWW-Authenticate of a handshake that is refused."""
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": b64encode(b"0123456789abcdef").decode(),
    }
    async with served.http.get(served.url + path, headers={**upgrade, **headers}) as response:
        error = (await response.json())["error"]
        return response.status, error["code"], error["retry"], response.headers.get("WWW-Authenticate")


async def test_a_token_in_the_sub_protocol_of_a_phoenix_client_says_who_joins() -> None:
    token = TOKENS.issue("ada", lifetime=60, claims={"roles": ["editor"]})
    async with gateway(TOPICS, auth=TOKENS) as served:
        async with served.http.ws_connect(served.url + SOCKET, protocols=phoenix_token(token).split(", ")) as socket:
            assert socket.protocol == "phoenix"
            said = {"id": "ada", "claims": {"roles": ["editor"]}, "anonymous": False}
            assert await Client(socket).join("hall:a") == ("ok", said)
        for headers in ({"Authorization": f"Bearer {token}"}, {"X-Phoenix-AuthToken": token}):
            async with served.client(**headers) as client:
                assert (await client.join("hall:a"))[1]["id"] == "ada"


async def test_who_shows_nothing_or_what_is_no_good_is_not_let_in_and_told_why() -> None:
    passwords = Passwords({"ada": hash_password("right")}, realm="hall")
    challenge = 'Bearer, Basic realm="hall", charset="UTF-8"'
    basic = b64encode(b"ada:wrong").decode()
    late = TOKENS.issue("ada", lifetime=-1)
    async with gateway(TOPICS, auth=[TOKENS, passwords]) as served:
        assert await refusal(served) == (401, "unauthorized", False, challenge)
        assert await refusal(served, Authorization="Bearer a.b.c") == (401, "token_invalid", False, challenge)
        assert await refusal(served, Authorization=f"Bearer {late}") == (401, "token_expired", True, challenge)
        assert await refusal(served, Authorization=f"Basic {basic}") == (401, "password_wrong", False, challenge)
        assert (await served.json("/topics/hall:a/events"))[1]["error"]["code"] == "unauthorized"
        assert (await served.json("/healthz"))[0] == 200
        assert await served.ref.call(GetRefused()) == {
            "unauthorized": 2,
            "token_invalid": 1,
            "token_expired": 1,
            "password_wrong": 1,
        }


async def test_a_client_that_asks_for_it_is_told_by_a_close_what_a_browser_would_hide() -> None:
    async with gateway(TOPICS, auth=TOKENS) as served:
        for token, code, reason in (
            ("a.b.c", 4501, "token_invalid: that token is not one of ours"),
            (TOKENS.issue("ada", lifetime=-1), 4001, "token_expired: that token has expired; come back with a new one"),
        ):
            headers = {"Sec-WebSocket-Protocol": phoenix_token(token)}
            async with served.http.ws_connect(f"{served.url}{SOCKET}&refusals=close", headers=headers) as socket:
                async with asyncio.timeout(PATIENCE):
                    message = await socket.receive()
                assert (message.type, message.data, message.extra) == (aiohttp.WSMsgType.CLOSE, code, reason)


async def test_a_token_in_the_address_is_taken_only_where_the_owner_allows_it() -> None:
    path = f"{SOCKET}&token={TOKENS.issue('ada', lifetime=60)}"
    async with gateway(TOPICS, auth=TOKENS) as served:
        assert (await refusal(served, path))[1] == "unauthorized"
    async with (
        gateway(TOPICS, auth=TOKENS, token_in_url=True) as served,
        served.http.ws_connect(served.url + path) as socket,
    ):
        assert (await Client(socket).join("hall:a"))[1]["id"] == "ada"


async def test_a_cookie_counts_from_pages_that_are_allowed_by_name_and_not_from_any() -> None:
    cookie = SignedCookie(KEY)
    value = cookie.header(Principal("ada")).partition(";")[0]
    async with gateway(TOPICS, auth=[cookie, Anonymous()], origins=["*", "https://friend.example"]) as served:
        own = f"http://127.0.0.1:{served.port}"
        for origin, known in ((own, True), ("https://friend.example", True), ("https://evil.example", False)):
            async with served.client(Cookie=value, Origin=origin) as client:
                assert (await client.join("hall:a"))[1]["anonymous"] is not known, origin
        async with served.client(Cookie=value) as client:
            assert (await client.join("hall:a"))[1]["id"] == "ada"


async def test_a_password_lets_a_program_in() -> None:
    basic = b64encode(b"ada:right").decode()
    async with (
        gateway(TOPICS, auth=Passwords({"ada": hash_password("right")})) as served,
        served.client(Authorization=f"Basic {basic}") as client,
    ):
        assert (await client.join("hall:a"))[1]["id"] == "ada"


async def test_a_function_may_say_who_somebody_is_and_one_that_crashes_lets_nobody_in() -> None:
    def by_header(credentials: Credentials) -> Principal | None:
        name = credentials.headers.get("x-user")
        if name == "crash":
            raise RuntimeError("on purpose")
        return Principal(name) if name else None

    async with gateway(TOPICS, auth=[by_header, Anonymous()]) as served:
        async with served.client(**{"X-User": "ada"}) as client:
            assert (await client.join("hall:a"))[1]["id"] == "ada"
        async with served.client() as client:
            assert (await client.join("hall:a"))[1]["anonymous"]
        assert (await refusal(served, **{"X-User": "crash"}))[:3] == (500, "internal_error", True)


async def test_each_topic_has_its_own_permission() -> None:
    async def may(principal: Principal, topic: str, action: str) -> bool:
        if topic == "hall:crash":
            raise RuntimeError("on purpose")
        return action in principal.claims.get(topic, ())

    token = TOKENS.issue("ada", lifetime=60, claims={"hall:a": ["join", "publish", "read"], "hall:b": ["join"]})
    async with gateway(TOPICS, auth=TOKENS, may=may) as served:
        headers = {"Authorization": f"Bearer {token}"}
        async with served.client(**headers) as client:
            assert (await client.join("hall:a", join_ref="1"))[0] == "ok"
            assert (await client.join("hall:b", join_ref="2"))[0] == "ok"
            assert await client.join("hall:c", join_ref="3") == declined("forbidden")
            assert await client.join("hall:crash", join_ref="4") == declined("forbidden")
            assert await client.ask("hall:a", "echo", {"x": 1}) == ("ok", {"x": 1})
            assert await client.ask("hall:b", "echo", {"x": 1}) == declined("forbidden")
        async with served.http.get(f"{served.url}/topics/hall:a/events", headers=headers) as response:
            assert response.status == 200
        status, body = await served.json("/topics/hall:b/events", headers=headers)
        assert (status, body["error"]["code"]) == (403, "forbidden")
        assert (await served.ref.call(GetRefused()))["forbidden"] == 4


async def test_a_new_token_is_taken_in_the_connection() -> None:
    async with gateway(TOPICS, auth=TOKENS) as served:
        old = TOKENS.issue("ada", lifetime=5)  # shorter than the time ahead of its end that the server asks for another
        async with served.client(**{"Sec-WebSocket-Protocol": phoenix_token(old)}) as client:
            assert 0 < (await client.event("phoenix", "access_token"))["within"] <= 6000
            new = TOKENS.issue("ada", lifetime=600)
            status, response = await client.ask("phoenix", "access_token", {"token": new})
            assert (status, response["ended"], 590_000 < response["expires_in"] <= 601_000) == ("ok", [], True)


async def test_who_guesses_from_one_address_has_to_wait_and_nobody_else() -> None:
    limits = Limits(failures=Rate(0.01, burst=3))
    async with gateway(TOPICS, auth=TOKENS, limits=limits, trusted_proxies=["127.0.0.1"]) as served:
        evil = {"X-Forwarded-For": "203.0.113.7", "Authorization": "Bearer a.b.c"}
        assert [(await refusal(served, **evil))[1] for _ in range(4)] == ["token_invalid"] * 3 + ["rate_limited"]
        good = TOKENS.issue("ada", lifetime=60)
        headers = {"X-Forwarded-For": "203.0.113.8", "Authorization": f"Bearer {good}"}
        async with served.client(**headers) as client:
            assert (await client.join("hall:a"))[0] == "ok"


@pytest.mark.parametrize("wrong", [{"auth": "token"}, {"may": "all"}, {"trusted_proxies": ["nowhere"]}])
async def test_what_the_owner_got_wrong_is_said_where_it_is_written(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        Gateway("stage", **wrong)
    assert len(str(caught.value).split()) > 5
