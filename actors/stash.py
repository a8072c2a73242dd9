"""What an actor puts aside for later, and what it puts first: before everything that waits in its mailbox.

    first to last:   an operator's errands │ `then`, in the order said │ unstashed, in the order stashed │ what was sent

A stashed message keeps its request: its caller waits on, and learns at once if the actor dies. What is put first takes up
no room in a bounded mailbox, and is handled like any message.
"""

from __future__ import annotations

import threading  # noqa: TID251 - a thread actor puts first what its loop puts first too
from collections import deque
from typing import TYPE_CHECKING, Any

from understudy.actors.dead_letters import OVERLOADED
from understudy.actors.envelope import Envelope, Reply
from understudy.actors.errands import called
from understudy.actors.errors import Overloaded
from understudy.actors.mailbox import BoundedMailbox
from understudy.actors.mortician import LEAVING
from understudy.actors.signals import Outcome
from understudy.actors.timers import Rearm

if TYPE_CHECKING:
    from understudy.actors.cell import Cell

putting_first = threading.Lock()
"""Held by whoever looks for the place of what it puts first."""


class _Ahead:
    """The ticket of what `then` put first: it is always valid."""

    active = True


AHEAD = _Ahead()


class Stashed(Outcome):
    """What `self.stash()` returns, to be returned by the handler: the message at hand is put aside."""

    __slots__ = ()

    def settle(self, cell: Cell[Any], entry: Any, reply: Reply | None) -> None:
        if entry.__class__ is Envelope:
            cell.scheduler.waits.let_go(entry)
            if entry.ticket is AHEAD or (entry.ticket is not None and not entry.ticket.active):
                entry.ticket = None  # a timer that has fired for the last time: its message was delivered
        bonds = cell.tied()
        if bonds.stashed is None:
            bonds.stashed = deque()
        if len(bonds.stashed) < cell.kind.stash_limit:
            bonds.stashed.append(entry)
        elif reply is not None:  # reentrant handlers may all have found room at first
            reply.fail(full(cell))
        else:
            message = entry.message if entry.__class__ is Envelope else entry
            cell.on_loop(cell.scheduler.mortician.dead_letter, cell, message, OVERLOADED)
        if cell.stage >= LEAVING:
            cell.on_loop(cell.scheduler.mortician.bury, cell)


STASHED = Stashed()


def full(cell: Cell[Any]) -> Overloaded:
    """The error of a stash that takes no more."""
    return Overloaded(f"the stash of {cell!r} is full with {cell.kind.stash_limit} messages; see `stash_limit`")


def room(cell: Cell[Any]) -> bool:
    """Whether its stash takes one more."""
    bonds = cell.bonds
    return bonds is None or bonds.stashed is None or len(bonds.stashed) < cell.kind.stash_limit


def unstash(cell: Cell[Any], most: int | None = None) -> int:
    """Put first what was put aside longest ago: all of it, or so many. Returns how many there were."""
    stashed = cell.bonds.stashed if cell.bonds is not None else None
    if not stashed:
        return 0
    number = len(stashed) if most is None else min(most, len(stashed))
    put_ahead(cell, [stashed.popleft() for _ in range(number)])
    return number


def put_ahead(cell: Cell[Any], entries: list[Any]) -> None:
    """Put entries before everything that waits, but for what was put first to be first. By the actor itself."""
    mailbox = cell.box()
    line = mailbox.front if isinstance(mailbox, BoundedMailbox) else mailbox
    with putting_first:
        place = 0
        while place < len(line) and _stays_first(line[place]):
            place += 1
        for entry in reversed(entries):
            line.insert(place, entry)
    cell.rouse(len(entries))
    if cell.stage >= LEAVING:
        cell.on_loop(cell.scheduler.mortician.bury, cell)


def _stays_first(entry: Any) -> bool:
    return called(entry) or (
        entry.__class__ is Envelope and (entry.ticket is AHEAD or entry.message.__class__ is Rearm)
    )
