"""A reference by name: whoever has the name at the time. It survives the restarts of the actor behind it."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from understudy.actors.by_name import ByName
from understudy.actors.dead_letters import NO_SUCH_NAME, DeadLetter
from understudy.actors.proxy import made_proxy
from understudy.actors.ref import DEFAULT_TIMEOUT, A, ActorRef, described

if TYPE_CHECKING:
    from understudy.actors.actor import Actor
    from understudy.actors.info import Info
    from understudy.actors.scheduler import Scheduler
    from understudy.actors.signals import Order
    from understudy.actors.system import ActorSystem


NAME_LIMIT = 255
"""Characters of an actor's name."""


def checked_name(name: str, whose: str = "an actor's") -> str:
    """The name, if an actor may have it; else ValueError. The same goes for a group's."""
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LIMIT:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"{whose} name is a text of 1 to {NAME_LIMIT} characters, not {name!r}")
    if "@" in name:
        raise ValueError(f"{whose} name has no '@', which stands between a name and its node; this one is {name!r}")
    return name


class NamedRef(ByName[A]):
    """Resolved at each use. While nobody has the name a tell is a dead letter and a call fails with ActorDied(NoProc)."""

    __slots__ = ("system",)

    def __init__(self, system: ActorSystem, name: str) -> None:
        super().__init__(name)
        self.system = system

    @property
    def scheduler(self) -> Scheduler:
        return self.system.scheduler

    def _someone(self) -> ActorRef[A] | None:
        return self.system.whereis(self._name)

    def tell(self, message: Any) -> None:
        ref = self.system.whereis(self._name)
        if ref is not None:
            ref.tell(message)
        else:
            self.system.scheduler.signal(self.system.dead_letters.add, (DeadLetter(self, message, NO_SUCH_NAME),))

    async def call(self, message: Any, timeout: float = DEFAULT_TIMEOUT) -> Any:
        return await (await self._soon()).call(message, timeout)

    async def offer(self, message: Any, timeout: float = math.inf) -> None:
        await (await self._soon()).offer(message, timeout)

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        return self._now().ask(message, block=block, timeout=timeout)

    async def info(self, timeout: float = DEFAULT_TIMEOUT) -> Info:
        return await (await self._soon()).info(timeout)

    def __repr__(self) -> str:
        return described("actor", self._name, self.system.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamedRef) and other.system is self.system and other._name == self._name

    def __hash__(self) -> int:
        return hash(self._name)

    def proxy(self, kind: Any = None) -> Any:
        return made_proxy(self, kind)

    def _actor_weakref(self) -> Actor | None:
        ref = self.system.whereis(self._name)
        return ref._actor_weakref() if ref is not None else None

    def _order(self, order: Order) -> None:
        ref = self.system.whereis(self._name)
        if ref is not None:
            ref._order(order)
        else:
            self.tell(order)

    async def _soon(self) -> ActorRef[A]:
        if self.system.whereis(self._name) is None:
            await asyncio.sleep(0)  # whoever tries until it is back must not keep it from coming back
        return self._now()
