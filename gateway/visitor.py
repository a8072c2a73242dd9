"""One client at the gateway, from the moment that it is known who it is: what its session asks about it."""

from understudy.actors.world import World
from understudy.gateway.auth import Action, Door
from understudy.gateway.credentials import Credentials
from understudy.gateway.principal import Principal, stranger


class Visitor:
    """`principal` is who it is now: `renew` may change its claims and its expiry, never its id."""

    __slots__ = ("_credentials", "door", "principal", "world")

    def __init__(self, door: Door, principal: Principal, credentials: Credentials, world: World) -> None:
        self.door = door
        self.principal = principal
        self.world = world
        self._credentials = credentials

    def __repr__(self) -> str:
        return f"<visitor {self.principal.id}>"

    async def may(self, topic: str, action: Action) -> bool:
        """Whether it may do that in `topic`."""
        return await self.door.may(self.principal, topic, action)


ANYBODY = Visitor(Door(), stranger(""), Credentials(), World())
"""Where nobody asks."""
