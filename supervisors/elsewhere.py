"""Children on other nodes: how they are started and ended. To all else of a supervisor they are children like any other.

    Child(Engine, node="engine-1")       on that node: when it is lost, as soon as it is back
    Child(Engine, role="engine")         on whichever has most room: when that is lost or drains, at once on another
    start ── system.nodes ──▶ that node starts it, as this supervisor's own child there: whatever becomes of this supervisor
                              or its node, it ends with them
    end   ── exit, kill   ──▶ and a watch: if the node does not answer, nobody waits for ever

The loss of its node is a child's end too. It is started again as soon as that node is back, or another has room for it (`tree.py`:
that counts once; a node that stops says so before, and that counts for nothing).
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any, NamedTuple

from understudy.actors import ActorRef, Cell, Exit, ExitReason, Failure, Killed, NoConnection, Shutdown, StartFailed
from understudy.actors.nodes import Nodes
from understudy.supervisors.spec import Child
from understudy.supervisors.steps import Lost, Start

logger = logging.getLogger("understudy.supervisors")

LOOK_AGAIN = 1.0
"""Seconds between two looks whether there is room elsewhere for the children on a node that drains."""

SILENCE = 5.0
"""Seconds that a node has to tell of the end of a child that was killed there, before its supervisor goes on."""


async def start_there(start: Start, supervisor: Cell[Any], begun: bool) -> ActorRef[Any]:
    """Start a child on its node, or one that is chosen. Raises as `Nodes.spawn_on` and `Nodes.place` do.

    While the supervisor itself starts, not yet `begun`, it waits for that node, for all of the child's `start_timeout`: the nodes
    of a cluster come up in any order.
    """
    place, child, nodes = start.place, start.place.child, supervisor.system.nodes
    left = child.start_timeout
    if not begun and not is_there(child, nodes):
        clock = supervisor.scheduler.loop.time
        due = clock() + left
        logger.info("%r awaits %s to start %r", supervisor, child.wanted, place.id)
        try:
            async with asyncio.timeout(left if left < math.inf else None):
                await there(child, nodes)
        except TimeoutError:
            away = Failure(
                "TimeoutError", f"{child.wanted} was not there{' with room' if child.placed else ''} within {left} s"
            )
            raise StartFailed(f"{child.cls.__name__} on {child.wanted}", away) from None
        left = max(0.0, due - clock())
    restarts = place.restarts + start.again
    if child.placed:
        return await nodes.place(
            child.cls, child.args, dict(child.kwargs),
            role=child.role, tags=child.tags, name=child.name, timeout=left, owner=supervisor, restarts=restarts,
        )  # fmt: skip
    return await nodes.spawn_on(
        str(child.node), child.cls, child.args, dict(child.kwargs),
        name=child.name, timeout=left, owner=supervisor, restarts=restarts,
    )  # fmt: skip


def is_there(child: Child, nodes: Nodes) -> bool:
    """Whether its node is up, or one has room for it, as far as is known."""
    return nodes.has_room(child.role, child.tags) if child.placed else nodes.is_up(str(child.node))


async def there(child: Child, nodes: Nodes) -> None:
    """Wait until it is."""
    if child.placed:
        await nodes.room(child.role, child.tags)
    else:
        await nodes.up(str(child.node))


def loss(exit_: Exit, nodes: Nodes) -> Lost | None:
    """What the end of a child is if it ended with its node, which was lost, or stops; None if it was an end of its own."""
    sender, reason = exit_.sender, exit_.reason
    if sender is None:
        return None
    if isinstance(reason, NoConnection) and not sender.is_alive():
        return Lost(sender, reason)
    if isinstance(reason, Shutdown) and not isinstance(sender, Cell) and nodes.is_stopping(sender.address.node):
        return Lost(sender, NoConnection(f"the node {sender.address.node!r} stops"), orderly=True)
    return None


class Vacate(NamedTuple):
    """To oneself: that node drains, or is gone. Whoever was placed there, and is there, is to be moved."""

    node: str


class Watch:
    """On a child that is to end. `reason` is how it did, once it has been seen out."""

    def __init__(self, ref: ActorRef[Any], supervisor: Cell[Any]) -> None:
        self.reason: ExitReason = Killed()
        self._ref = ref
        self._clock = supervisor.scheduler.loop.time
        self._over = asyncio.Event()
        self._token = supervisor.system.next_token()
        ref._monitor(self._token, self)

    def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        """It has ended, or its node is lost."""
        self.reason = reason
        self._over.set()

    async def see_out(self, due: float, killed: bool) -> None:
        """Wait for its end; kill it when it is due, unless it was. If its node does not tell, the kill is under way all the same,
        before whatever else is asked of that node: a successor is started there after its end."""
        ref = self._ref
        try:
            if not killed:
                if await self._ended(due - self._clock()):
                    return
                logger.error("%r did not end within its shutdown time: killed", ref)
                ref.kill()
            if not await self._ended(SILENCE):
                logger.error("its node does not tell within %s s that %r was killed: given up", SILENCE, ref)
        finally:
            ref._demonitor(self._token, self)

    async def _ended(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, seconds) if seconds < math.inf else None):
                await self._over.wait()
        except TimeoutError:
            pass
        return self._over.is_set()
