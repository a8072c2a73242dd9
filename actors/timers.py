"""Timers: messages that an actor sends itself later. They end with their actor.

    armed ── due ──> a Tick in the mailbox ──> taken out ──> its message is handled ──> over
      ^                                            │                   │
      └── at a fixed rate: start + n * interval ───┘                   │
      └── at a fixed delay: an interval from here ─────────────────────┘

What waits in the mailbox is the tick, not the message, and it is asked once more when it is taken out: so a cancel is
sure, however late, and a periodic timer never has more than one in the mailbox, however slow its actor is.
"""

from __future__ import annotations

import asyncio
import sys
import threading  # noqa: TID251 - a thread may cancel what the loop is about to hand out
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from understudy.actors.arguments import is_number
from understudy.actors.envelope import Envelope
from understudy.actors.signals import Order

if TYPE_CHECKING:
    from understudy.actors.cell import Cell

Pace: TypeAlias = Literal["rate", "delay"]

SHORTEST = 0.001
"""Seconds of the shortest interval."""

_taking = threading.Lock()  # a message is taken or its timer cancelled: one of them comes first


class Timer:
    """A pending `send_after` or `send_every`. All of it works from any thread.

    At a fixed rate the n-th message is due n intervals after the start, however late those before it were: nothing
    drifts. Those that are due while one still waits are left out.
    """

    __slots__ = ("_cell", "_delay", "_fixed", "_interval", "_message", "_tick")

    def __init__(
        self, cell: Cell[Any], delay: float, message: Any, interval: float | None = None, fixed: Pace = "rate"
    ) -> None:
        self._cell = cell
        self._delay = delay
        self._message = message
        self._interval = interval
        self._fixed = fixed
        self._tick: Tick | None = None  # once it is over, there is none: the two would keep each other
        self._begin()

    @property
    def active(self) -> bool:
        """Whether a message of it is still to come."""
        tick = self._tick
        return tick is not None and tick.active

    def cancel(self) -> bool:
        """After this returns no message of it is taken out of the mailbox any more, even if one waits there already.

        False: it was over before.
        """
        tick = self._tick
        if tick is None:
            return False
        with _taking:
            was, tick.active = tick.active, False
        self._cell.on_loop(tick.disarm)
        return was

    def reset(self) -> None:
        """Begin anew, with the full time from now on, whether it has fired, was cancelled, or neither."""
        self.cancel()
        self._begin()

    def _begin(self) -> None:
        tick = Tick(self)
        with _taking:
            self._tick = tick
        self._cell.on_loop(
            tick.arm, tick.start + self._delay
        )  # it is there: this may be another thread than the loop's


class Tick(Order):
    """A timer from one start of it to its end or reset: what it puts into the mailbox, and the ticket of that."""

    __slots__ = ("active", "count", "handle", "start", "timer", "waits")

    def __init__(self, timer: Timer) -> None:
        self.timer = timer
        self.active = True
        self.waits = False
        self.count = 1
        self.handle: asyncio.TimerHandle | None = None
        self.start = timer._cell.scheduler.loop.time()

    def arm(self, due: float) -> None:
        """Fire at that time of the loop, if the actor lives."""
        if not self.active:
            return
        if self.timer._cell.keep_timer(self.timer):
            self.handle = self.timer._cell.scheduler.loop.call_at(due, self.fire)
        else:
            self.active = False

    def disarm(self) -> None:
        """It is over."""
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None
        timer = self.timer
        with _taking:
            if timer._tick is self:
                timer._tick = None
        if not timer.active:
            timer._cell.drop_timer(timer)

    def fire(self) -> None:
        """The time has come."""
        timer, self.handle = self.timer, None
        if timer._interval is not None and timer._fixed == "rate":
            elapsed = timer._cell.scheduler.loop.time() - self.start
            self.count = max(self.count, int(elapsed // timer._interval)) + 1
            self.arm(self.start + self.count * timer._interval)
        if not self.waits:
            self.waits = True
            timer._cell.tell(Envelope(self, ticket=self))

    def carry_out(self, cell: Cell[Any], entry: Envelope) -> Any:
        timer = self.timer
        with _taking:
            if not self.active:
                return None
            self.waits = False
            self.active = timer._interval is not None
        if not self.active:
            cell.on_loop(self.disarm)
        entry.message = timer._message  # whoever looks at what is being handled means this
        again = self.active and timer._fixed == "delay"
        try:
            result = (cell.receive or cell.behave())(timer._message)
            if again and result.__class__ is CoroutineType:
                assert cell.mailbox is not None, "the tick came out of it"
                cell.mailbox.appendleft(Envelope(Rearm(self), ticket=self))  # the next entry, when this one is done
                again = False
            return result
        finally:
            if again:
                self.rearm()

    def rearm(self) -> None:
        """Fire an interval from now."""
        interval = self.timer._interval
        assert interval is not None, "only a periodic timer comes again"
        self.timer._cell.on_loop(self.arm, self.timer._cell.scheduler.loop.time() + interval)


class Rearm(Order):
    """Stands first in the mailbox while the message of a timer at a fixed delay is handled by an async handler."""

    __slots__ = ("tick",)

    def __init__(self, tick: Tick) -> None:
        self.tick = tick

    def carry_out(self, cell: Cell[Any], entry: Envelope) -> None:
        self.tick.rearm()


def duration(seconds: float, least: float = 0.0) -> float:
    """The time of a timer, if it can be meant; else ValueError, or TypeError for what is no number."""
    if not is_number(seconds):
        raise TypeError(f"a timer's time is a number of seconds, not {seconds!r}")
    if not least <= seconds <= sys.float_info.max:
        raise ValueError(f"a timer's time is a finite number of seconds from {least} up, not {seconds!r}")
    return seconds


def pace(fixed: Pace) -> Pace:
    """What is to be fixed of a periodic timer, if it can be meant; else ValueError."""
    if fixed not in get_args(Pace):
        raise ValueError(f"a periodic timer has a fixed 'rate' or a fixed 'delay', not {fixed!r}")
    return fixed
