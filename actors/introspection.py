"""What an operator may ask of a running system: who lives, what one actor is doing, its state; and hold it or follow it.

Erlang's `sys` and `process_info`. `ActorSystem` inherits all of it. Whatever is awaited here works from every loop and thread,
is done by the actor between two messages, before what waits in its mailbox, and ends at its timeout.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from understudy.actors import errands
from understudy.actors.arguments import takes
from understudy.actors.cell import Cell
from understudy.actors.crashes import Crashes
from understudy.actors.deadlines import allowance
from understudy.actors.errors import ActorDied, Deadlock
from understudy.actors.hooks import Hooks
from understudy.actors.info import Info, info
from understudy.actors.mortician import DEAD
from understudy.actors.names import NamedRef
from understudy.actors.reasons import NoProc
from understudy.actors.ref import DEFAULT_TIMEOUT, ActorRef, meant
from understudy.actors.replies import ForeignLoopReply, LoopReply
from understudy.actors.tracing import LIMIT, CellTrace, Trace
from understudy.actors.waiting import answer

if TYPE_CHECKING:
    from understudy.actors.pool import Pool
    from understudy.actors.scheduler import Scheduler


class Introspection:
    """The part of an `ActorSystem` that looks at it. `hooks` tells events, `crashes` counts and reports failures."""

    scheduler: Scheduler
    hooks: Hooks
    crashes: Crashes
    _top: dict[Cell[Any], Any]
    _pool: Pool | None

    # --- who is there ---

    def actors(self) -> list[ActorRef[Any]]:
        """All actors that are not dead yet, parents before their children. From any thread."""
        family: list[Cell[Any]] = list(self._top.copy())
        for cell in family:
            if cell.bonds is not None and cell.bonds.children:
                family.extend(cell.bonds.children.copy())
        return [cell for cell in family if cell.stage != DEAD]

    def abandoned(self) -> list[ActorRef[Any]]:
        """The dead actors whose code still runs: a coroutine that does not obey its cancellation (yet), a thread, or offloaded
        work, that has not returned. Python can end neither. Their replies and what they try through `self` are refused. From any thread."""
        dead = [*self.scheduler.mortician.outlasting.copy().values()]
        dead += [cell for cell in self.scheduler.threads.copy() if cell.stage == DEAD]
        if self._pool is not None:
            dead += [cell for cell in self._pool.outlasting.copy().values() if cell.stage == DEAD]
        return list(dict.fromkeys(dead))

    def info(self, ref: ActorRef[Any]) -> Info:
        """What an actor of this system is and does now. From any thread. Raises ActorDied if it is dead.

        Of one of another node, `await ref.info()` tells.
        """
        cell = self._here(ref)
        if cell is None:
            raise ValueError(f"{ref!r} lives on another node, which has to be asked: `await ref.info()`")
        return info(cell)

    # --- its state ---

    async def get_state(self, ref: ActorRef[Any], timeout: float = DEFAULT_TIMEOUT) -> Any:
        """What the actor's `on_get_state` returns: a dict of its public attributes, unless it says otherwise.

        Waits for the handler at hand. The attributes are the actor's own objects, but for lists, dicts, sets and deques, which
        are copied: look, and do not touch. Of an actor of another node all is copied; NotRegistered if it may not cross.
        Raises ActorDied, DeadlineExceeded, or Deadlock if an actor asks for its own.
        """
        return await self._errand(ref, "get_state", _get_state, timeout)

    async def replace_state(
        self, ref: ActorRef[Any], function: Callable[[Any], Any], timeout: float = DEFAULT_TIMEOUT
    ) -> Any:
        """Give the actor the state that `function(state)` returns, and return that.

        `function` runs in the actor, between two messages. If it, or the actor's `on_replace_state`, raises, that arrives here
        as a CallError, and the actor goes on with what it had. ValueError for an actor of another node: functions do not cross.
        """
        if not takes(function) or inspect.iscoroutinefunction(function):
            raise TypeError(f"replace_state takes a plain function from a state to the next one, not {function!r}")

        def replace(cell: Cell[Any]) -> Any:
            actor = cell.actor
            assert actor is not None, "only a living actor does errands"
            state = function(actor.on_get_state())
            actor.on_replace_state(state)
            return state

        if self._here(ref) is None:
            raise ValueError(
                f"{ref!r} lives on another node, and a function does not cross the wire: send the actor a message"
            )
        return await self._errand(ref, "replace_state", replace, timeout)

    # --- holding it ---

    async def suspend(self, ref: ActorRef[Any], timeout: float = DEFAULT_TIMEOUT) -> None:
        """Have the actor take no more messages until `resume`; returns when the one at hand is done.

        It lives on for everybody else: messages wait, calls wait for their deadline, exit signals and kills act. Suspending
        it twice is suspending it once.
        """
        await self._errand(ref, "suspend", errands.suspend, timeout)

    async def resume(self, ref: ActorRef[Any], timeout: float = DEFAULT_TIMEOUT) -> None:
        """Let a suspended actor go on with what waits. Does nothing to one that is not suspended."""
        await self._errand(ref, "resume", errands.resume, timeout)

    # --- following it ---

    def trace(self, ref: ActorRef[Any], limit: int = LIMIT) -> Trace:
        """Follow what the actor receives, answers, starts and links, from now on: `async with system.trace(ref) as trace`.

        `limit`: events that wait to be read; beyond that the oldest are dropped and counted. Raises ActorDied if it is dead.
        That of an actor of another node begins with the `async with`, which raises that.
        """
        cell = self._here(ref)
        if cell is None:
            return ref._trace(limit)
        if cell.reason is not None:
            raise ActorDied(cell.reason, repr(cell))
        return CellTrace(cell, limit)

    # --- for these ---

    def _here(self, ref: ActorRef[Any]) -> Cell[Any] | None:
        """The actor, if it is one of this system; None for one of another node."""
        actor = meant(ref)
        if isinstance(actor, Cell):
            if actor.scheduler is self.scheduler:
                return actor
            raise actor._foreign()
        if isinstance(actor, NamedRef):  # a name that nobody has
            raise ActorDied(NoProc(), repr(ref)) if actor.system is self else actor._foreign()
        return None

    async def _errand(self, ref: ActorRef[Any], what: str, deed: errands.Deed, timeout: float) -> Any:
        cell = self._here(ref)
        if cell is None:
            return await ref._inspect(what, timeout)
        scheduler, loop = self.scheduler, asyncio.get_running_loop()
        if cell.task is not None and asyncio.current_task() is cell.task:
            raise Deadlock(f"{cell!r} waits for itself: this is done between two messages, and it is handling one.")
        if cell.reason is not None or scheduler.lost():
            raise ActorDied(cell.reason or NoProc(), repr(cell))
        due = allowance(timeout, loop.time())
        future: asyncio.Future[Any] = loop.create_future()
        at_home = loop is scheduler.loop and not cell.threaded
        reply = LoopReply(future) if at_home else ForeignLoopReply(future, loop)
        cell.on_loop(errands.send, cell, deed, reply)
        return await answer(future, cell, due, timeout)


def _get_state(cell: Cell[Any]) -> Any:
    assert cell.actor is not None, "only a living actor does errands"
    return cell.actor.on_get_state()
