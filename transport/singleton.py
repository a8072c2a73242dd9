"""Singletons: actors of which one runs in the whole cluster, on one of the nodes that can have it.

    every candidate ── nobody has the name ──▶ claim ──▶ the winner starts it, with the fence of that claim
                                                 ▲                │ ended, crashed, or did not start
                                                 └── give it up ──┘
    its node dies, or leaves     the name is free: the others' claims
    its node drains              what has come is handled, what comes waits, the name is given up, the next one begins
    its node is declared dead    killed as soon as the node reads so; a store refuses its fence before that

Each life has a claim of its own, and so a fence that is higher than that of every life before, on this node too: code of a life
that has crashed may still run in a thread. After one short life it begins again where it was; after the second in a row that node
gives others the time to take it, longer with each.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from understudy.actors import (
    SPAWN_TIMEOUT,
    Actor,
    ActorRef,
    Cell,
    Draining,
    Exit,
    Shutdown,
    StartFailed,
    Stop,
)
from understudy.actors.names import checked_name
from understudy.transport.cluster_ref import ClusterRef
from understudy.transport.names import TRY_AGAIN
from understudy.transport.table import Name, TableError

if TYPE_CHECKING:
    from understudy.transport.registry import Registry

log = logging.getLogger("understudy.singletons")

PARENT = "understudy/singletons"
"""The actor of each node whose children the singletons are that run there."""

HEALTHY = 10.0
"""Seconds that a life must last, or it was a short one."""

REST, REST_LIMIT = 0.5, 30.0
"""Seconds for which a node leaves a singleton to others whose last two lives here were short; doubles with each more."""

STOP_WITHIN = 10.0
"""Seconds that the singletons of a node have to end when it stops; then they are killed."""


class Singletons:
    """The candidacies of one node; used on its loop only."""

    def __init__(self, registry: Registry, roles: tuple[str, ...]) -> None:
        self._registry = registry
        self._roles = roles
        self._candidates: dict[str, Candidate] = {}
        self._parent: ActorRef[Any] | None = None
        self._closed = False
        registry.names.on_lost(self._lost)

    def add(
        self, name: str, cls: type[Actor], args: tuple[Any, ...], kwargs: dict[str, Any], role: str | None
    ) -> ClusterRef[Any]:
        """See `Node.singleton`."""
        checked_name(name, "a singleton's")
        self._registry.checked(name)
        if not (isinstance(cls, type) and issubclass(cls, Actor)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"a singleton is of a subclass of Actor, not {cls!r}")
        if name in self._candidates:
            raise ValueError(f"this node is a candidate for the singleton {name!r} already")
        if self._closed:
            raise StartFailed(cls.__name__, Shutdown("its node has stopped"))
        if role is None or role in self._roles:
            self._candidates[name] = Candidate(self, self._registry, name, cls, args, kwargs)
        return self._registry.ref(name)

    async def parent(self) -> Cell[Any]:
        """The parent of those that run here."""
        if self._parent is None or not self._parent.is_alive():
            self._parent = await self._registry.system.spawn(Parent, name=PARENT)
        assert isinstance(self._parent, Cell), "it is of this node"
        return self._parent

    async def drain(self, deadline: float) -> list[str]:
        """Hand over what runs here; what is left, in words. The node takes no names any more."""
        running = [each for each in self._candidates.values() if each.cell is not None]
        handed = await asyncio.gather(*(each.hand_over(deadline) for each in running))
        return [
            f"the singleton {each.name!r} has not ended" for each, done in zip(running, handed, strict=True) if not done
        ]

    async def close(self) -> None:
        """This node is a candidate for nothing any more."""
        self._closed = True
        for candidate in self._candidates.values():
            candidate.task.cancel()
        if self._parent is not None:
            self._parent.exit(Shutdown("its node has stopped"))
            try:
                await self._parent.ended(STOP_WITHIN)
            except TimeoutError:
                self._parent.kill()

    def _lost(self, name: str, fence: int) -> None:
        candidate = self._candidates.get(name)
        if candidate is None:
            return
        if candidate.starting is not None:
            candidate.starting.cancel()
        if candidate.cell is not None:
            candidate.cell.kill()  # one that is handed over is bound no more: the registry does not know it


class Parent(Actor):
    """Of the singletons that run on this node. Who begins them again is their candidate."""

    trap_exit = True

    def on_receive(self, message: Any) -> Any:
        match message:
            case Exit(None, reason):
                return Stop(reason)
            case _:
                return None  # a child has ended


class Candidate:
    """This node's part in one singleton."""

    def __init__(
        self,
        singletons: Singletons,
        registry: Registry,
        name: str,
        cls: type[Actor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.name = name
        self.cell: Cell[Any] | None = None
        """The singleton, while it runs here."""
        self.starting: asyncio.Task[Any] | None = None
        self._singletons = singletons
        self._registry = registry
        self._names = registry.names
        self._system = registry.system
        self._make = cls, args, kwargs
        self._short = 0  # lives in a row
        self.task = self._background(self._stand())
        self.task.add_done_callback(_over)

    async def hand_over(self, deadline: float) -> bool:
        """End it here in order, and give up its name: what comes for it meanwhile waits. Whether that was done by the deadline,
        in the loop's seconds."""
        cell = self.cell
        if cell is None:
            return True
        self._registry.unbind(self.name)
        moved = self._names.moved(self.name)
        cell.stop()
        try:
            async with asyncio.timeout_at(deadline):
                await cell.ended()
                await moved
        except TimeoutError:
            return False
        return True

    # --- the candidacy ---

    async def _stand(self) -> None:
        loop = self._system.loop
        while True:
            moved = self._names.moved(self.name)
            row = await self._claim() if self._names.owner(self.name) is None else None
            if row is None:
                await moved
                continue
            moved.cancel()
            began = loop.time()
            await self._reign(row)
            await self._give_up()
            self._short = self._short + 1 if loop.time() - began < HEALTHY else 0
            if self._short > 1:
                rest = min(REST * 2.0 ** (self._short - 2), REST_LIMIT)
                await asyncio.sleep(rest * (1 + 0.2 * self._system.world.random.random()))

    async def _claim(self) -> Name | None:
        """The name, once nobody has it and this node may take it; None if somebody has it."""
        while True:
            try:
                return await self._names.claim(self.name, by=self)
            except (TableError, Draining):
                await asyncio.sleep(TRY_AGAIN)

    async def _reign(self, row: Name) -> None:
        """One life of it, from its start to its end."""
        self.starting = self._background(self._start(row.fence))
        try:
            cell = await self.starting
        except StartFailed as error:
            log.error("the singleton %r did not start on %s: %s", self.name, self._system.name, error)
            return
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                self.starting.cancel()
                raise
            return  # the name was lost meanwhile
        finally:
            self.starting = None
        if self._names.fence(self.name) != row.fence:  # lost at this very moment
            cell.kill()
            return
        self.cell = cell
        self._registry.bind(self.name, cell, row.fence, release=False)
        log.info("the singleton %r runs on %s, under the fence %d", self.name, self._system.name, row.fence)
        reason = await cell.ended()  # cancelled when the node stops: it may outlive this task, but not its name
        self.cell = None
        log.info("the singleton %r on %s ended: %s", self.name, self._system.name, reason)

    async def _start(self, fence: int) -> Cell[Any]:
        cls, args, kwargs = self._make
        parent = await self._singletons.parent()
        made = await self._system.spawn_child(parent, cls, args, kwargs, None, SPAWN_TIMEOUT, fence)
        assert isinstance(made, Cell), "it is of this node"
        return made

    async def _give_up(self) -> None:
        try:
            await self._names.release(self.name)
        except TableError as error:
            log.warning(
                "the singleton %r is given up as soon as the table is back, and begins again then: %s", self.name, error
            )

    def _background(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self._system.loop.create_task(coroutine, context=self._system.scheduler.neutral_context())


def _over(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler({"message": "the candidacy for a singleton failed", "exception": error})
