"""An answer that comes later: `return Later()` from a handler, `later.set(value)` whenever it is known.

    handler returns it ── settle ──> the request is owed (bonds.py) ──> set, fail ──> the callers, on the actor's loop
                                                                   ├──> the actor ends: ActorDied
                                                                   └──> the caller gives up: forgotten, in time

Whoever gives up says nothing to the actor. So what is owed is looked through whenever there is twice as much of it as after the
last look: an actor keeps no more than a few requests, or twice those that somebody still waits for.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident  # noqa: TID251 - it may be set in any thread
from typing import TYPE_CHECKING, Any

from understudy.actors.refusals import told
from understudy.actors.signals import Outcome

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.envelope import Reply

FEW = 16
"""So many are kept without a look whether anybody waits for them."""


class Later(Outcome):
    """Returned by a handler instead of an answer: the call is answered later, and others are served in between.

    `set(value)` or `fail(error)`, from any thread; the first one counts. Returned for several calls, it answers all of
    them. The requests stay the actor's own: if the actor ends first, their callers get ActorDied at once.
    """

    __slots__ = ("_answers", "_cell", "_enough", "_replies")

    def __init__(self) -> None:
        self._answers: list[Callable[[Reply], None]] = []  # of several threads' at once, the first one counts
        self._cell: Cell[Any] | None = None
        self._replies: list[Reply] = []  # for the loop alone
        self._enough = FEW

    def set(self, value: Any) -> None:
        """Answer with `value`."""
        self._know(lambda reply: reply.set(value))

    def fail(self, error: Exception) -> None:
        """Answer with an error. The caller's `call` raises it if it is a CallError, such as Refused; any other arrives as a
        CallError that says what failed."""
        if not isinstance(error, Exception):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"Later.fail takes an exception, such as Refused('why not'), not {error!r}")
        failure = told(error)
        self._know(lambda reply: reply.fail(failure))

    def settle(self, cell: Cell[Any], entry: Any, reply: Reply | None) -> None:
        if reply is None:
            return
        cell.scheduler.waits.let_go(entry)
        if self.owe(cell, reply):
            bonds = cell.tied()
            if bonds.owed is None:
                bonds.owed = Owed()
            bonds.owed.add(self)

    def owe(self, cell: Cell[Any], reply: Reply) -> bool:
        """Have `reply` answered by the actor `cell`, on its loop. False if that is done. For the kernel and its like."""
        self._replies.append(reply)
        self._cell = cell
        if self._answers:  # looked at last: a thread that sets it now finds the cell
            self._answer()
            return False
        if len(self._replies) > self._enough:
            self._replies = [reply for reply in self._replies if not reply.abandoned()]
            self._enough = max(FEW, 2 * len(self._replies))
        return True

    def given_up(self) -> bool:
        """Whether nobody waits for it any more."""
        return all(reply.abandoned() for reply in self._replies)

    def _know(self, answer: Callable[[Reply], None]) -> None:
        if self._answers:
            return
        self._answers.append(answer)
        cell = self._cell
        if cell is None:
            return
        if get_ident() == cell.scheduler.thread:
            self._answer()
        else:
            cell.on_loop(self._answer)

    def _answer(self) -> None:
        """On the loop of the actor: whoever waits is told."""
        assert self._cell is not None, "it was returned, and is known"
        bonds, replies, answer = self._cell.bonds, self._replies, self._answers[0]
        self._replies = []
        if bonds is not None and bonds.owed is not None and self in bonds.owed:
            del bonds.owed[self]
        for reply in replies:
            answer(reply)


class Owed(dict[Later, None]):
    """What an actor is to answer later, in the order in which it was asked: whoever asked first is answered first."""

    __slots__ = ("_enough",)

    def __init__(self) -> None:
        super().__init__()
        self._enough = FEW

    def add(self, later: Later) -> None:
        """A request was put off."""
        self[later] = None
        if len(self) > self._enough:
            for one in [one for one in self if one.given_up()]:
                del self[one]
            self._enough = max(FEW, 2 * len(self))
