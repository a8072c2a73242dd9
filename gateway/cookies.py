"""Signed cookies: how a browser is known again that logged in on pages of the gateway's own host.

    login     POST /login ──> Set-Cookie: __Host-session=...; HttpOnly; Secure; SameSite=Lax; Path=/
    later     GET /socket/websocket, Cookie: __Host-session=... ──> Principal("ada")

What is in it can be read by whoever has the browser, and forged by nobody. A browser sends it along unasked, whatever page made
it send; so it counts only from pages whose origin may use the gateway by name (never by "*"). itsdangerous signs it.
"""

import hashlib
from collections.abc import Sequence

from itsdangerous import BadSignature, URLSafeSerializer

from understudy.actors.world import World
from understudy.gateway.auth import Unauthorized
from understudy.gateway.credentials import Credentials
from understudy.gateway.principal import Principal

KEY_BYTES = 32
"""The least a key may have."""

COOKIE_LIMIT = 4_000
"""Characters of a cookie, name and attributes not counted. Browsers drop larger ones without a word."""

FORTNIGHT = 14 * 24 * 3600.0

HOST = "__Host-"
"""A name that begins so is taken by browsers only over TLS (or on localhost), for one host, and for all its paths."""


class SignedCookie:
    """Believes the cookie `name` if it is signed with one of `keys`, the newest first: the first signs.

    `lifetime` in seconds. Without TLS, for one machine's own network, give it a name without `__Host-` and `secure=False`.
    Raises ValueError for a key of less than 32 bytes, and for a `__Host-` cookie that is not secure.
    """

    def __init__(
        self,
        keys: str | bytes | Sequence[str | bytes],
        *,
        name: str = "__Host-session",
        lifetime: float = FORTNIGHT,
        secure: bool = True,
        world: World | None = None,
    ) -> None:
        given = [keys] if isinstance(keys, str | bytes) else list(keys)
        known = [key.encode() if isinstance(key, str) else key for key in given]
        if not known or min(map(len, known)) < KEY_BYTES:
            raise ValueError(f"the key of a cookie has at least {KEY_BYTES} bytes; `openssl rand -hex 32` makes one")
        if name.startswith(HOST) and not secure:
            raise ValueError(f"browsers refuse {name} where it is not secure; choose a name without {HOST}")
        self.name = name
        self.secure = secure
        self.lifetime = lifetime
        self._world = world or World()
        # The name is signed along: what was given for one purpose is worth nothing for another. itsdangerous signs with the last.
        self._signed = URLSafeSerializer(
            known[::-1], salt=f"understudy.gateway:{name}", signer_kwargs={"digest_method": hashlib.sha256}
        )

    def header(self, principal: Principal) -> str:
        """The value of a `Set-Cookie` header that makes the browser known as `principal` from now on.

        It ends with `principal.expires`, or after `lifetime`. Raises ValueError when the claims are too much for a cookie.
        """
        now = self._world.wall()
        expires = now + self.lifetime if principal.expires is None else principal.expires
        value = self._signed.dumps([principal.id, principal.claims, expires])
        text = value if isinstance(value, str) else value.decode()
        if len(text) > COOKIE_LIMIT:
            raise ValueError(f"a cookie takes {COOKIE_LIMIT} characters, not {len(text)}: keep the claims elsewhere")
        return self._cookie(text, max(0, int(expires - now)))

    def forget(self) -> str:
        """The value of a `Set-Cookie` header that ends it."""
        return self._cookie("", 0)

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        """Who the cookie says it is; None where there is none."""
        value = credentials.cookies.get(self.name)
        if not value:
            return None
        try:
            id_, claims, expires = self._signed.loads(value)
        except BadSignature:
            # Signed by an older server, perhaps: a new login mends it.
            raise Unauthorized("token_invalid", "that cookie is not one of ours; log in again") from None
        return Principal(id_, claims, expires)

    def _cookie(self, value: str, age: int) -> str:
        secure = "; Secure" if self.secure else ""
        return f"{self.name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}"
