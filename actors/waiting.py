"""What waiting for another actor means, wherever it lives: for its answer, or for its end."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import _get_running_loop
from typing import TYPE_CHECKING, Any

from understudy.actors.deadlines import Allowance, waiting_time
from understudy.actors.errors import DeadlineExceeded, Refused
from understudy.actors.reasons import ExitReason
from understudy.actors.ref import ActorRef

if TYPE_CHECKING:
    from understudy.actors.cell import Cell


async def answer(
    future: asyncio.Future[Any], callee: ActorRef[Any], due: Allowance, timeout: float, *, handed_off: bool = False
) -> Any:
    """Wait for the answer to a request until it is due. Whatever comes after that is dropped.

    `handed_off`: the callee has run on the caller's own stack. Its death may have reached the caller through a link: let
    the loop have its turn first, so that the caller ends there.
    """
    timer = asyncio.get_running_loop().call_at(due.deadline, _time_is_up, future, callee, due, timeout)
    try:
        if handed_off:
            await asyncio.sleep(0)
        return await future
    except Refused as refusal:
        refusal.relayed = True
        raise
    except DeadlineExceeded as late:
        late.inherited = due.inherited  # whoever noticed first, it is the same deadline
        raise
    finally:
        timer.cancel()
        if not future.cancel() and not future.cancelled():
            future.exception()  # seen, even if the caller was cancelled at the same moment


async def end(ref: ActorRef[Any], token: int, timeout: float | None) -> ExitReason:
    """Wait for an actor's end through a monitor with that token. TimeoutError after `timeout` seconds."""
    if timeout is not None:
        timeout = waiting_time(timeout)
    loop = asyncio.get_running_loop()
    vigil = Vigil(loop)
    ref._monitor(token, vigil)
    timer = loop.call_later(timeout, vigil.over, None) if timeout is not None else None
    reason: ExitReason | None = None
    try:
        reason = await vigil.future
    finally:
        if reason is None:  # a monitor that has fired is gone
            ref._demonitor(token, vigil)
        if timer is not None:
            timer.cancel()
    if reason is None:
        raise TimeoutError(f"{ref!r} did not end within {timeout} s")
    return reason


async def last_of(killed: Cell[Any]) -> None:
    """Wait until nobody of its family is left: a kill is over for the world before its children have ended."""
    await killed.ended()
    while killed.bonds is not None and killed.bonds.children:
        child = next(reversed(killed.bonds.children))
        await child.ended()
        await last_of(child)


class Vigil:
    """The watcher behind `ended()`: sets a future of whichever loop waits; None when the time is up."""

    __slots__ = ("_loop", "future")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.future: asyncio.Future[ExitReason | None] = loop.create_future()

    def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits any more
            if _get_running_loop() is self._loop:
                self.over(reason)
            else:
                self._loop.call_soon_threadsafe(self.over, reason)

    def over(self, reason: ExitReason | None) -> None:
        """It has ended, or the time is up. On the loop that waits."""
        if not self.future.done():
            self.future.set_result(reason)


def _time_is_up(future: asyncio.Future[Any], callee: ActorRef[Any], due: Allowance, timeout: float) -> None:
    if not future.done():
        whose = "the request being handled had no more time" if due.inherited else f"within {timeout} s"
        future.set_exception(DeadlineExceeded(f"{callee!r} did not answer: {whose}", inherited=due.inherited))
