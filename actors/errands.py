"""Errands: what an operator has an actor do between two messages. They overtake its mailbox and keep their own order.

    operator                     loop                                   the actor, between two messages
    --------                     ----                                   -------------------------------
    get_state ── signal ──>  desk.waiting, RunErrands at the front  ──> all that waits, one after the other
                             while suspended: done at once              suspend: takes no message until `resume`

A loop actor that is suspended is busy with waiting for the resumption: exit signals and kills end that as they end any
handler. A thread actor's thread passes over the messages, and does every errand itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from understudy.actors.envelope import Envelope, Reply
from understudy.actors.errors import ActorDied, CallError
from understudy.actors.reasons import Failure, NoProc
from understudy.actors.refusals import told
from understudy.actors.signals import Order

if TYPE_CHECKING:
    from understudy.actors.cell import Cell

Deed = Callable[["Cell[Any]"], Any]


class Desk:
    """The errands of one actor, made with its first. It is the reply of the entry that runs them: they share its fate."""

    __slots__ = ("called", "resumed", "suspended", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[Deed, Reply]] = deque()
        self.called = False  # RunErrands is in the mailbox
        self.suspended = False
        self.resumed: asyncio.Event | None = None

    def set(self, value: Any) -> None:
        """Each errand has an answer of its own."""

    def fail(self, error: Exception) -> None:
        """The actor ended."""
        while self.waiting:
            self.waiting.popleft()[1].fail(error)

    def abandoned(self) -> bool:
        """Whether nobody waits is asked of each errand."""
        return False


class RunErrands(Order):
    """The entry at the front of the mailbox."""

    __slots__ = ("desk",)

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def carry_out(self, cell: Cell[Any], entry: Envelope) -> Any:
        desk = self.desk
        cell.handled -= 1  # it is counted with the messages, and is none
        desk.called = False
        while desk.waiting:
            _do(cell, *desk.waiting.popleft())
        if desk.suspended and not cell.threaded:
            return _rest(desk)
        return None


def send(cell: Cell[Any], deed: Deed, reply: Reply) -> None:
    """Have `cell` do `deed(cell)` between two messages. A signal, so on the cell's own loop."""
    if cell.reason is not None or cell.actor is None:
        reply.fail(ActorDied(cell.reason or NoProc(), repr(cell)))
        return
    desk = cell.tied().desk
    if desk is None:
        desk = cell.tied().desk = Desk()
    if desk.suspended and not cell.threaded:
        _do(cell, deed, reply)
        return
    desk.waiting.append((deed, reply))
    if not desk.called:
        desk.called = True
        cell.put_first(Envelope(RunErrands(desk), desk))


def suspend(cell: Cell[Any]) -> None:
    """The deed of `suspend`."""
    desk = _desk(cell)
    if not desk.suspended:
        desk.suspended = True
        desk.resumed = asyncio.Event() if not cell.threaded else None


def resume(cell: Cell[Any]) -> None:
    """The deed of `resume`."""
    desk = _desk(cell)
    if desk.suspended:
        desk.suspended = False
        if desk.resumed is not None:
            desk.resumed.set()
        cell.catch_up()


def suspended(cell: Cell[Any]) -> bool:
    """Whether an operator has suspended it."""
    bonds = cell.bonds
    return bonds is not None and bonds.desk is not None and bonds.desk.suspended


def called(entry: Any) -> bool:
    """Whether a mailbox entry is the one that runs errands."""
    return entry.__class__ is Envelope and entry.message.__class__ is RunErrands


def _desk(cell: Cell[Any]) -> Desk:
    desk = cell.tied().desk
    assert desk is not None, "the errand at hand came over it"
    return desk


async def _rest(desk: Desk) -> None:
    while desk.suspended:
        assert desk.resumed is not None, "made when it was suspended"
        await desk.resumed.wait()


def _do(cell: Cell[Any], deed: Deed, reply: Reply) -> None:
    if reply.abandoned():  # whoever gave up waiting takes it that nothing was done
        return
    try:
        answer = deed(cell)
    except Exception as error:  # noqa: BLE001 - it is the operator's, and the actor lives
        reply.fail(told(error))
    except BaseException as error:  # noqa: BLE001
        reply.fail(CallError(f"the request failed: {Failure.of(error)}"))
    else:
        reply.set(answer)
