"""The example that logs people in: a browser, the gateway, and a provider next door."""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.gateway_helpers import Client
from tests.servers import free_port
from understudy.actors import ActorSystem
from understudy.examples.login import Hall, Login, Provider
from understudy.gateway import Anonymous, Gateway

KEY = "k" * 32


class Office:
    """A provider at which everybody is Ada, and who says no when it is told to."""

    def __init__(self) -> None:
        self.challenges: dict[str, str] = {}
        self.denies = False
        self.codes = 0

    async def authorize(self, request: web.Request) -> web.Response:
        asked = request.query
        assert (asked["client_id"], asked["response_type"], asked["code_challenge_method"]) == ("us", "code", "S256")
        if self.denies:
            raise web.HTTPSeeOther(f"{asked['redirect_uri']}?error=access_denied&state={asked['state']}")
        self.codes += 1
        code = f"code-{self.codes}"
        self.challenges[code] = asked["code_challenge"]
        raise web.HTTPSeeOther(f"{asked['redirect_uri']}?code={code}&state={asked['state']}")

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert request.headers["Authorization"] == aiohttp.encode_basic_auth("us", "secret")
        proof = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        challenge = self.challenges.pop(str(form["code"]), None)
        if challenge != urlsafe_b64encode(proof).decode().rstrip("="):
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response({"access_token": "open", "token_type": "Bearer", "expires_in": 3600})

    async def userinfo(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer open"
        return web.json_response({"sub": "42", "name": "Ada"})


@asynccontextmanager
async def world() -> AsyncIterator[tuple[str, Office, aiohttp.ClientSession]]:
    office = Office()
    app = web.Application()
    app.add_routes(
        [
            web.get("/authorize", office.authorize),
            web.post("/token", office.token),
            web.get("/userinfo", office.userinfo),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    there = f"http://127.0.0.1:{runner.addresses[0][1]}"
    provider = Provider("office", f"{there}/authorize", f"{there}/token", f"{there}/userinfo", "us", "secret")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    login = Login(provider, KEY, url, secure=False)

    async def home(_: web.Request) -> web.Response:
        return web.Response(text="home")

    routes = [*login.routes(), web.get("/", home)]
    try:
        async with ActorSystem("test") as system:
            auth = [login.session, Anonymous()]
            await system.spawn(Gateway, "stage", port=port, topics={"hall": Hall}, auth=auth, routes=routes)
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
                yield url, office, http
    finally:
        await runner.cleanup()


async def name(url: str, http: aiohttp.ClientSession) -> Any:
    """What the hall calls this browser."""
    async with http.ws_connect(f"{url}/socket/websocket?vsn=2.0.0") as socket:
        return (await Client(socket).join("hall"))[1]["name"]


async def test_who_logs_in_is_known_to_the_rooms_until_it_logs_out() -> None:
    async with world() as (url, _, http):
        assert await name(url, http) == "a stranger"
        async with http.get(f"{url}/login") as response:
            text = await response.text()
            assert (text, response.status, str(response.url)) == ("home", 200, f"{url}/")
        assert await name(url, http) == "Ada"
        async with http.post(f"{url}/logout") as response:
            assert response.status == 200
        assert await name(url, http) == "a stranger"


async def test_who_is_refused_by_the_provider_is_told_and_stays_a_stranger() -> None:
    async with world() as (url, office, http):
        office.denies = True
        async with http.get(f"{url}/login") as response:
            error = (await response.json())["error"]
        assert (response.status, error["code"], "access_denied" in error["message"]) == (401, "login_refused", True)
        assert await name(url, http) == "a stranger"


@pytest.mark.parametrize("query", ["code=code-1&state=made-up", "code=code-1", "state="])
async def test_the_answer_to_a_login_that_this_browser_did_not_begin_logs_nobody_in(query: str) -> None:
    async with world() as (url, _, http):
        async with http.get(f"{url}/login", allow_redirects=False) as response:
            assert response.status == 303
        async with http.get(f"{url}/login/back?{query}") as response:
            assert (response.status, (await response.json())["error"]["code"]) == (400, "login_unknown")
        assert await name(url, http) == "a stranger"


async def test_a_code_that_was_stolen_is_worth_nothing_without_the_verifier() -> None:
    async with world() as (url, office, http):
        async with http.get(f"{url}/login", allow_redirects=False) as response:
            begun = response.headers["Location"]
        state = URL(begun).query["state"]
        office.challenges["stolen"] = "of somebody else"
        async with http.get(f"{url}/login/back?code=stolen&state={state}") as response:
            assert (response.status, (await response.json())["error"]["code"]) == (401, "login_refused")
        assert await name(url, http) == "a stranger"
