"""Threads under a baton: whoever holds it runs, everybody else is parked, and the seed decides who gets it next.

    the loop                                       a thread
    --------                                       --------
    resume() ── go ──────────────────────────────▶ runs the user's code
    (waits)                                        ... lock.acquire(), Event.wait(), queue.get(), ask(), time.sleep() ...
    goes on  ◀───────────────────────────── back ── park(): it has to wait, or the seed interrupts it

The threads are real, so that code and libraries run as they are; but a thread only runs inside a step of the loop. All
waiting in the standard library comes down to locks, so a `Lock` that parks makes conditions, events, semaphores, queues
and Pykka's futures virtual. Outside a simulation such a lock is an ordinary one.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from understudy.simulation.errors import EverybodyWaits, where_thread

if TYPE_CHECKING:
    from understudy.simulation.loop import SimulatedLoop

INTERRUPTED = 0.1
"""How often a thread that could take a lock at once is interrupted there all the same."""

FAREWELLS = 100
"""How often a thread that outlives its run is told so, at its next wait, before it is left parked for ever."""

_new_lock = _thread.allocate_lock


class RunOver(BaseException):
    """Raised in a thread that still waits when its run is over, to unwind it."""


class Strand:
    """One thread of a simulation."""

    def __init__(self, baton: Baton, label: str) -> None:
        self.baton = baton
        self.label = label
        self.finished = False
        self.ended = False
        self.ident = 0
        self.joiners: list[Strand] = []
        self._awake = False
        self._go = _new_lock()
        self._go.acquire()

    def main(self, function: Callable[..., object], args: tuple[Any, ...] = ()) -> None:
        """What the real thread runs."""
        self._go.acquire()
        self.ident = _thread.get_ident()
        self.baton.strands[self.ident] = self
        try:
            if not self.ended:
                function(*args)
        finally:
            self.finished = True
            del self.baton.strands[self.ident]
            for strand in self.joiners:
                strand.wake()
            self.baton.back.release()

    # --- on the loop's thread ---

    def resume(self) -> None:
        """Let the thread run until it waits again."""
        self._awake = False
        if not self.finished:
            self._go.release()
            self.baton.back.acquire()

    # --- from anywhere ---

    def wake(self) -> None:
        """Have it resumed: what it waits for may have come."""
        if not self._awake and not self.finished:
            self._awake = True
            self.baton.loop.ready(self.resume, self)

    # --- in the thread itself ---

    def park(self) -> None:
        """Give the baton back until somebody wakes this thread. A wait looks again at what it waits for."""
        self.baton.back.release()
        self._go.acquire()
        if self.ended:
            raise RunOver

    def interrupt(self) -> None:
        """Let others run now and then, where a real thread might be interrupted."""
        if not self.ended and self.baton.loop.choices.chance(INTERRUPTED):
            self.wake()
            self.park()


class Baton:
    """The threads of one run."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.home = _thread.get_ident()
        self.strands: dict[int, Strand] = {}
        self.all: list[Strand] = []
        self.back = _new_lock()
        self.back.acquire()

    def holds(self) -> bool:
        """Whether the running thread is one of this run's."""
        ident = _thread.get_ident()
        return ident == self.home or ident in self.strands

    def new(self, label: str) -> Strand:
        """A thread that is about to be started."""
        strand = Strand(self, f"thread-{len(self.all) + 1} {label}")
        self.all.append(strand)
        strand.wake()
        return strand

    def wait(self, condition: Callable[[], bool], timeout: float | None, waiting: Callable[[Strand], None]) -> bool:
        """Block the running thread until `condition()`; False after `timeout` seconds.

        `waiting(strand)` is called before each parking: whoever makes the condition true is to wake that thread.
        """
        loop = self.loop
        deadline = None if timeout is None else loop.time() + timeout
        strand = self.strands.get(_thread.get_ident())
        if strand is None:
            return self._wait_at_home(condition, deadline)
        timer = None if deadline is None else loop.call_at(deadline, strand.resume)
        try:
            while not condition():
                if deadline is not None and loop.time() >= deadline:
                    return False
                waiting(strand)
                strand.park()
            return True
        finally:
            if timer is not None:
                timer.cancel()

    def _wait_at_home(self, condition: Callable[[], bool], deadline: float | None) -> bool:
        """The loop's own thread blocks: time passes and other threads run, but nothing of the loop's."""
        while not condition():
            if deadline is not None and self.loop.time() >= deadline:
                return False
            if not self.loop.step_thread(deadline):
                raise EverybodyWaits(f"the loop's own thread blocks and nobody will ever come:\n{self.report()}")
        return True

    def report(self) -> str:
        """Who waits where, one line each."""
        lines = [f"  the loop's thread at {where_thread(self.home)}"] if _thread.get_ident() != self.home else []
        lines += [f"  {strand.label} at {where_thread(strand.ident)}" for strand in self.strands.values()]
        return "\n".join(lines)

    def end(self) -> None:
        """The run is over: unwind the threads that still wait."""
        for strand in self.all:
            strand.ended = True
            for _ in range(FAREWELLS):
                if strand.finished:
                    break
                strand.resume()


class VirtualLock:
    """`threading.Lock` while a simulation runs."""

    baton: Baton | None = None
    """That of the run under way. Set by `world.py`."""

    def __init__(self) -> None:
        self._lock = _new_lock()
        self._waiting: list[Strand] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        baton = VirtualLock.baton
        if baton is None or not baton.holds():
            return self._lock.acquire(blocking, timeout)
        strand = baton.strands.get(_thread.get_ident())
        if strand is not None:
            strand.interrupt()
        if self._lock.acquire(False):
            return True
        if not blocking:
            return False
        try:
            return baton.wait(lambda: self._lock.acquire(False), None if timeout < 0 else timeout, self._wait)
        finally:
            if strand in self._waiting:
                self._waiting.remove(strand)

    def release(self) -> None:
        self._lock.release()
        baton = VirtualLock.baton
        if self._waiting and baton is not None and baton.holds():
            self._waiting.pop(baton.loop.choices.index(len(self._waiting))).wake()

    def locked(self) -> bool:
        return self._lock.locked()

    def _wait(self, strand: Strand) -> None:
        if strand not in self._waiting:
            self._waiting.append(strand)

    def _at_fork_reinit(self) -> None:
        self._lock = _new_lock()
        self._waiting = []

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def strand_of(thread: threading.Thread) -> Strand | None:
    """The strand behind a thread that was started in a simulation."""
    strand: Strand | None = vars(thread).get("_understudy_strand")
    return strand
