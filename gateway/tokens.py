"""Signed tokens (JWT): how a site tells the gateway who its visitor is, without either asking the other.

    the site:      token = tokens.issue("ada", lifetime=600, claims={"roles": ["editor"]})     into the page, or the answer to a login
    the client:    new Socket("/socket", { authToken: token })     Authorization: Bearer ...     access_token, in the connection
    the gateway:   Gateway(auth=SignedToken({"2026-12": new, "2026-11": old}))

Keys are rotated by name (`kid`): a token is signed with the first, and believed under any that is there. PyJWT signs and verifies.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
import jwt.algorithms

from understudy.actors.world import World
from understudy.gateway.auth import Unauthorized
from understudy.gateway.credentials import Credentials
from understudy.gateway.principal import ID_LIMIT, Principal

KEY_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
"""The least a shared key may have, as long as what it signs with. PyJWT only warns of a shorter one."""

TOKEN_LIMIT = 8 * 1024
"""Characters."""

REGISTERED = frozenset({"sub", "exp", "nbf", "iat", "iss", "aud", "jti"})
"""Claims that are the token's own, not its bearer's."""


class SignedToken:
    """Believes tokens with a `sub` (who it is) and an `exp` that are signed with one of `keys`.

    `keys`: one key, or several by name, the newest first; a str or bytes. Shared keys (HS256, HS384, HS512) have at least 32,
    48 or 64 bytes. For tokens that another service signs give its public keys and the algorithm, `algorithm="EdDSA"`; that
    needs the package `cryptography`. `issuer` and `audience`, when given, must stand in the token. `leeway`: seconds by which
    the clock of whoever signs may be wrong. Raises ValueError for a key that is too short.
    """

    challenge = "Bearer"

    def __init__(
        self,
        keys: str | bytes | Mapping[str, str | bytes],
        *,
        algorithm: str = "HS256",
        issuer: str | None = None,
        audience: str | None = None,
        leeway: float = 0.0,
        world: World | None = None,
    ) -> None:
        self._keys = dict(keys) if isinstance(keys, Mapping) else {"": keys}
        self._algorithm = algorithm
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self._world = world or World()
        if not self._keys:
            raise ValueError("a signed token needs a key")
        if algorithm not in jwt.algorithms.get_default_algorithms() or algorithm == "none":
            raise ValueError(f"no tokens can be verified with {algorithm!r}; HS256 needs nothing further")
        for name, key in self._keys.items():
            self._check(name, key)

    def issue(self, id: str, *, lifetime: float, claims: Mapping[str, Any] | None = None) -> str:  # noqa: A002
        """A token that says for `lifetime` seconds that its bearer is `id`. `claims`: what else is known, JSON."""
        taken = REGISTERED & (claims or {}).keys()
        if taken:
            raise ValueError(f"{', '.join(sorted(taken))}: these claims are the token's own")
        if not 0 < len(id) <= ID_LIMIT:
            raise ValueError(f"who somebody is has 1 to {ID_LIMIT} characters")
        now = self._world.wall()
        said: dict[str, Any] = {**(claims or {}), "sub": id, "iat": int(now), "exp": math.ceil(now + lifetime)}
        if self._issuer is not None:
            said["iss"] = self._issuer
        if self._audience is not None:
            said["aud"] = self._audience
        name, key = next(iter(self._keys.items()))
        return jwt.encode(said, key, self._algorithm, headers={"kid": name} if name else None)

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        """Who the token says it is; None where there is no token, or one of another kind."""
        token = credentials.token
        if token is None or token.count(".") != 2:
            return None
        if len(token) > TOKEN_LIMIT:
            raise Unauthorized("token_invalid", f"a token has at most {TOKEN_LIMIT} characters")
        claims = self._verified(token)
        id_, expires, begins = claims["sub"], claims["exp"], claims.get("nbf", 0)
        if not isinstance(id_, str) or not 0 < len(id_) <= ID_LIMIT:
            raise Unauthorized("token_invalid", f"the token's sub is to be text of 1 to {ID_LIMIT} characters")
        if not _is_time(expires) or not _is_time(begins):
            raise Unauthorized("token_invalid", "the token's exp and nbf are to be numbers")
        if begins > self._world.wall() + self._leeway:
            raise Unauthorized("token_invalid", "the token is not valid yet")
        rest = {name: value for name, value in claims.items() if name not in REGISTERED}
        return Principal(id_, rest, expires + self._leeway)

    def _verified(self, token: str) -> dict[str, Any]:
        try:
            name = jwt.get_unverified_header(token).get("kid")
        except jwt.InvalidTokenError:
            raise Unauthorized("token_invalid") from None
        if name is None:
            keys: Sequence[str | bytes] = list(self._keys.values())
        elif name in self._keys:
            keys = [self._keys[name]]
        else:
            raise Unauthorized(
                "token_invalid", "the token is signed with a key that is not known here, or not any more"
            )
        for key in keys:
            try:
                return jwt.decode(
                    token,
                    key,
                    [self._algorithm],
                    issuer=self._issuer,
                    audience=self._audience,
                    # The calendar is the system's world, which may be virtual; PyJWT would ask the machine's.
                    options={
                        "require": ["sub", "exp"],
                        "verify_exp": False,
                        "verify_nbf": False,
                        "verify_iat": False,
                        "verify_sub": False,
                        "verify_aud": self._audience is not None,
                    },
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.MissingRequiredClaimError as error:
                raise Unauthorized("token_invalid", f"the token has no {error.claim}") from None
            except jwt.InvalidTokenError as error:
                raise Unauthorized("token_invalid", f"that token is not one of ours: {error}") from None
        raise Unauthorized("token_invalid")

    def _check(self, name: str, key: str | bytes) -> None:
        least = KEY_BYTES.get(self._algorithm)
        size = len(key.encode() if isinstance(key, str) else key)
        if least is not None and size < least:
            which = f"the key {name!r}" if name else "the key"
            raise ValueError(
                f"{which} has {size} bytes, and {self._algorithm} needs {least}; `openssl rand -hex {least}` makes one"
            )


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
