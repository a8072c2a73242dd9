"""Logging in with an OpenID provider, so that rooms know who is there: OAuth 2 with PKCE, through Authlib.

    browser ──/login──────────────────> 303 to the provider, with a state and a challenge; both kept in a cookie of ten minutes
    browser ──provider: "yes, I am Ada"──> 303 back
    browser ──/login/back?code&state──> code ──> token ──> who that is ──> a session's cookie
    browser ──/socket/websocket───────> SignedCookie ──> member.principal

The provider's tokens stay here, and are forgotten. Authlib and httpx2 have to be installed: they are the example's, not the gateway's.
"""

import ssl
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from understudy.gateway import HttpError, Member, Principal, Room, SignedCookie, Unauthorized, json_answer
from understudy.gateway.credentials import read_credentials

WAY_BACK = "/login/back"

MINUTES = 10 * 60.0
"""Seconds that somebody may take to log in."""


@dataclass(frozen=True, slots=True)
class Provider:
    """Where people are known. `name` stands in their ids: those of two providers never meet."""

    name: str
    authorize: str
    token: str
    userinfo: str
    client_id: str
    client_secret: str


class Login:
    """The routes of a gateway whose visitors log in at `provider`. `address` is its own, as browsers see it.

    `session` is the cookie that they are known by: `Gateway(auth=[login.session, Anonymous()], routes=login.routes())`.
    """

    def __init__(self, provider: Provider, key: str, address: str, *, secure: bool = True) -> None:
        prefix = "__Host-" if secure else ""
        self.provider = provider
        self.address = address.rstrip("/")
        self.session = SignedCookie(key, name=f"{prefix}session", secure=secure)
        self._tls = ssl.create_default_context()  # takes a tenth of a second, so not at each login
        self._under_way = SignedCookie(key, name=f"{prefix}login", secure=secure, lifetime=MINUTES)

    def routes(self) -> list[web.RouteDef]:
        """Where to go to come in and out."""
        return [web.get("/login", self.login), web.get(WAY_BACK, self.back), web.post("/logout", self.logout)]

    async def login(self, _: web.Request) -> web.StreamResponse:
        """To the provider."""
        verifier = generate_token(64)
        async with self._client() as client:
            url, state = client.create_authorization_url(self.provider.authorize, code_verifier=verifier)
        kept = self._under_way.header(Principal(state, {"verifier": verifier}))
        return web.Response(status=303, headers={"Location": url, "Set-Cookie": kept})

    async def back(self, request: web.Request) -> web.StreamResponse:
        """From the provider, with a code that is good for one token."""
        state, verifier = await self._begun(request)
        if error := request.query.get("error"):
            raise HttpError(401, "login_refused", f"{self.provider.name} says: {error[:200]}")
        try:
            async with self._client(state) as client:
                await client.fetch_token(
                    self.provider.token, authorization_response=str(request.url), code_verifier=verifier
                )
                response = await client.get(self.provider.userinfo)
                response.raise_for_status()
                found: dict[str, Any] = response.json()
        except OAuthError as error:
            raise HttpError(401, "login_refused", f"{self.provider.name} says: {error}") from None
        who = Principal(f"{self.provider.name}:{found['sub']}", {"name": found.get("name", found["sub"])})
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.headers.add("Set-Cookie", self.session.header(who))
        answer.headers.add("Set-Cookie", self._under_way.forget())
        return answer

    async def logout(self, _: web.Request) -> web.StreamResponse:
        """Out. Connections that are open stay so until they end."""
        return json_answer({}, headers={"Set-Cookie": self.session.forget()})

    async def _begun(self, request: web.Request) -> tuple[str, str]:
        """The state and the verifier of this browser's login. Another's answer is none of its own."""
        try:
            begun = await self._under_way.authenticate(read_credentials(request.headers))
        except Unauthorized:
            begun = None
        if begun is None or begun.id != request.query.get("state"):
            raise HttpError(400, "login_unknown", "this login was not begun here, or too long ago; go to /login")
        return begun.id, begun.claims["verifier"]

    def _client(self, state: str | None = None) -> Any:
        provider = self.provider
        return AsyncOAuth2Client(
            provider.client_id,
            provider.client_secret,
            scope="openid profile",
            redirect_uri=self.address + WAY_BACK,
            state=state,
            code_challenge_method="S256",
            verify=self._tls,
        )


class Hall(Room):
    """Tells everybody who they are."""

    def on_join(self, member: Member, payload: dict[str, Any]) -> dict[str, Any]:
        return {"name": member.principal.claims.get("name", "a stranger")}
