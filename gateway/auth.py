"""Who may come in, and what they may do there.

    Gateway(auth=[SignedToken(keys), SignedCookie(secret)], may=editors_publish)

    request ──credentials──> first auth ──None: not for me──> second auth ──None──> ... ──None──> unauthorized
                                │                                │
                                └── Principal, or Unauthorized ──┘  ends it

An auth is an object with `authenticate`, or a plain function of the credentials, `async` or not. With none given, whoever
comes is a stranger (`Principal.anonymous`), and may do everything; so is who shows nothing where the last is `Anonymous()`.

`may(principal, topic, action)` decides per topic, again after each renewal of the credentials. An action is "join" (and hear),
"publish" (push events) or "read" (listen and look over plain HTTP). Without it everybody may.
"""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol, TypeAlias, cast

from understudy.actors.world import World
from understudy.gateway.credentials import Credentials
from understudy.gateway.principal import NOBODY, Principal, stranger
from understudy.gateway.refusals import REFUSALS

Action: TypeAlias = Literal["join", "publish", "read"]


class Unauthorized(Exception):
    """These credentials are no good. `code` is one of the table's: unauthorized, token_invalid, token_expired, password_wrong."""

    def __init__(self, code: str = "unauthorized", sentence: str | None = None) -> None:
        if code not in REFUSALS:
            raise ValueError(f"there is no refusal {code!r}; see refusals.py for the codes")
        self.code = code
        self.sentence = sentence or REFUSALS[code].sentence
        super().__init__(f"{code}: {self.sentence}")


class Auth(Protocol):
    """One way to know somebody."""

    # `challenge`, where there is one, is what WWW-Authenticate says of it: 'Basic realm="..."'.

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        """Who that is; None if nothing in the credentials is for this auth to judge. Raises Unauthorized."""
        ...


Authenticate: TypeAlias = Callable[[Credentials], Principal | Awaitable[Principal | None] | None]
Auths: TypeAlias = Auth | Authenticate | Sequence[Auth | Authenticate]
May: TypeAlias = Callable[[Principal, str, Action], bool | Awaitable[bool]]


class Anonymous:
    """Lets in whoever shows nothing. The last of several, it makes the others optional; bad credentials stay refused."""

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        return NOBODY


class Door:
    """The gateway's own: tries every auth in turn, and asks `may`."""

    def __init__(self, auth: Auths | None = None, may: May | None = None) -> None:
        given = auth if isinstance(auth, Sequence) else [] if auth is None else [auth]
        self._auths = [_function(one) for one in given]
        challenges = [getattr(one, "challenge", None) for one in given]
        self.challenge = ", ".join(challenge for challenge in challenges if challenge) or "Bearer"
        self._may = may
        if may is not None and not callable(may):
            raise TypeError(f"may is a function of a principal, a topic and an action, not {may!r}")

    async def authenticate(self, credentials: Credentials, world: World) -> Principal:
        """Who that is. Raises Unauthorized."""
        for auth in self._auths:
            found = auth(credentials)
            principal = await found if inspect.isawaitable(found) else found
            if principal is not None:
                return _checked(principal, world)
        if self._auths:
            raise Unauthorized
        return stranger(world.token())

    @property
    def asks(self) -> bool:
        """Whether `may` was given."""
        return self._may is not None

    async def may(self, principal: Principal, topic: str, action: Action) -> bool:
        """Whether `principal` may do that in `topic`."""
        if self._may is None:
            return True
        said = self._may(principal, topic, action)
        return bool(await said if inspect.isawaitable(said) else said)


def _checked(principal: Principal, world: World) -> Principal:
    if not isinstance(principal, Principal):
        raise TypeError(f"an auth returns a Principal or None, not {principal!r}")
    if principal == NOBODY:
        return stranger(world.token())
    if principal.expires is not None and principal.expires <= world.wall():
        raise Unauthorized("token_expired")
    return principal


def _function(auth: Auth | Authenticate) -> Authenticate:
    found = getattr(auth, "authenticate", auth)
    if not callable(found):
        raise TypeError(f"auth takes objects with authenticate(credentials), or functions of them, not {auth!r}")
    return cast(Authenticate, found)
