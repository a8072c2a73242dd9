"""One client at the gateway, from the moment that it is known who it is: what its session asks about it."""

import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from understudy.actors.world import World
from understudy.gateway.auth import Action, Door, Unauthorized
from understudy.gateway.credentials import Credentials
from understudy.gateway.limits import Meter
from understudy.gateway.principal import NOBODY, Principal

log = logging.getLogger("understudy.gateway")


class Permissions(NamedTuple):
    """What a client may do in a topic over its connection."""

    join: bool
    publish: bool


@dataclass(frozen=True, slots=True)
class Visitor:
    """`principal` is who it is now; `renewed` may change its claims and its end, never its id."""

    door: Door
    principal: Principal
    credentials: Credentials
    world: World
    meter: Meter = field(default_factory=Meter)
    refused: Counter[str] = field(default_factory=Counter[str])

    async def may(self, topic: str, action: Action) -> bool:
        """Whether it may do that in `topic`. Not, if the owner's `may` crashes."""
        try:
            return await self.door.may(self.principal, topic, action)
        except Exception:
            log.exception("may(%s, %r, %r) crashed; the client was told no", self.principal.id, topic, action)
            return False

    async def permissions(self, topic: str) -> Permissions:
        """What it may do in `topic` over its connection."""
        join = await self.may(topic, "join")
        return Permissions(join, join and await self.may(topic, "publish"))

    def as_(self, principal: Principal) -> "Visitor":
        """The same, known to be `principal`."""
        return replace(self, principal=principal)

    async def renewed(self, payload: object) -> "Visitor":
        """The same, with the token that it sends now: `{"token": ...}`. Raises Unauthorized."""
        match payload:
            case {"token": str(token)}:
                principal = await self.door.authenticate(self.credentials.renewed(token), self.world)
            case _:
                raise Unauthorized("token_invalid", 'expected the payload {"token": "..."}')
        if principal.id != self.principal.id:
            raise Unauthorized("token_invalid", "that token is somebody else's: who you are ends with the connection")
        return self.as_(principal)


ANYBODY = Visitor(Door(), NOBODY, Credentials(), World())
"""Where nobody asks."""
