"""How long messages have waited, without a clock read per message.

A mark says: whatever was in this mailbox then came no later than then. Marks are made where a backlog is seen anyway: at the
end of a tick that leaves actors ready, when an asynchronous handler begins, when a thread takes a message, and at each look.
The oldest message is as old as the first mark that covers it: right to one tick (or one handler, if that is longer), and
never too much.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from understudy.actors.mailbox import BoundedMailbox

if TYPE_CHECKING:
    from understudy.actors.cell import Cell

SIGHT = 64
"""Actors with a backlog that one tick marks, beginning with the one that has waited longest for its turn."""

MARKS_LIMIT = 1_000
"""Marks of one mailbox; then every other one is forgotten."""


class _Marks:
    """Of one mailbox: for each mark the number of the last message then, and the time. `skipped`: taken out, and not handled."""

    __slots__ = ("made", "skipped")

    def __init__(self) -> None:
        self.made: list[tuple[int, float]] = []
        self.skipped = 0


class Ages:
    """The marks of one system's mailboxes."""

    def __init__(self) -> None:
        self._marks: dict[Cell[Any], _Marks] = {}

    def tick_ended(self, ready: Sequence[Cell[Any]], now: float) -> None:
        """The loop gets its turn, and these actors still have messages. Other threads may append meanwhile."""
        for index in range(min(len(ready), SIGHT)):
            self.mark(ready[index], now)

    def mark(self, cell: Cell[Any], now: float) -> None:
        """Note what `cell` has in its mailbox now. From any thread."""
        if not cell.mailbox:
            return
        marks = self._marks.get(cell)
        if marks is None:
            self._tidy()
            marks = self._marks[cell] = _Marks()
        made = marks.made
        newest = made[-1:]  # a slice: another thread may empty the list at any moment
        if newest and newest[0][1] >= now:
            return
        taken, last = _span(cell, marks)
        del made[: next((at for at, mark in enumerate(made) if mark[0] > taken), len(made))]
        if len(made) >= MARKS_LIMIT:
            del made[1::2]
        newest = made[-1:]
        if not newest or newest[0][0] < last:
            made.append((last, now))

    def skipped(self, cell: Cell[Any]) -> None:
        """It has taken out an entry that it did not handle."""
        marks = self._marks.get(cell)
        if marks is not None:
            marks.skipped += 1

    def oldest(self, cell: Cell[Any], now: float) -> float:
        """Seconds that the oldest message has waited at least; 0.0 if there is none, or none was seen before."""
        self.mark(cell, now)
        marks = self._marks.get(cell)
        if marks is None or not cell.mailbox:
            return 0.0
        taken, _ = _span(cell, marks)
        return next((max(0.0, now - at) for last, at in tuple(marks.made) if last > taken), 0.0)

    def forget(self, cell: Cell[Any]) -> None:
        """It is dead."""
        if self._marks:
            self._marks.pop(cell, None)

    def _tidy(self) -> None:
        """Look at two that were marked long ago: what has been handled since needs no marks."""
        try:
            eldest = tuple(islice(self._marks, 2))
        except RuntimeError:  # another thread marks just now: another time, then
            return
        for cell in eldest:
            marks = self._marks.pop(cell, None)
            if marks is not None and cell.mailbox:
                self._marks[cell] = marks


def _span(cell: Cell[Any], marks: _Marks) -> tuple[int, int]:
    """The numbers of the last message that was taken out and of the last one that has come in."""
    mailbox = cell.mailbox
    if isinstance(mailbox, BoundedMailbox):  # which knows, and may have dropped some
        return mailbox.numbers()
    taken = cell.handled + marks.skipped
    return taken, taken + len(mailbox or ())
