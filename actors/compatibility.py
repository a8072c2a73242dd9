"""Pykka's `Class.start()`: starts an actor from anywhere, without waiting for it, and without a system at hand.

It lives in the system of whoever starts it: that of the actor whose code this is, else the one made last in this
context and still up. Where there is none, in a plain program that knows no loops, it lives in the *compatibility
system*: one for the process, on a daemon thread of its own. That begins with the first such actor. It ends, and with it
its actors, the last one started first, when the interpreter exits or when `end_compatibility_system` is called.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading  # noqa: TID251 - the one thread of the compatibility system
from collections.abc import Coroutine
from concurrent.futures import Future
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pykka

from understudy.actors.deadlines import speaker
from understudy.actors.errors import StartFailed
from understudy.actors.failure_rule import unhandled
from understudy.actors.mortician import ALIVE
from understudy.actors.reasons import Failure, Shutdown
from understudy.actors.system import ActorSystem, current_system

if TYPE_CHECKING:
    from understudy.actors.actor import Actor
    from understudy.actors.pykka_ref import PykkaCell, PykkaRef

A = TypeVar("A", bound="Actor")

logger = logging.getLogger("pykka")


def start(cls: type[A], args: tuple[Any, ...], kwargs: dict[str, Any]) -> PykkaRef[A]:
    """What `cls.start(*args, **kwargs)` does: `__init__` here and now, then all else on the system's loop.

    Raises what `__init__` raises. Messages may be sent at once, and wait until `on_start` has run; if that raises, it is
    logged, and they are answered with ActorDied.
    """
    system = _system_at_hand()
    scheduler = system.scheduler
    if system.is_ending:
        raise StartFailed(cls.__name__, _shutting_down(system))
    cell = cls.make_pykka_cell(scheduler, next(system._numbers))
    actor = cls.__new__(cls)
    actor._cell = cast("Any", cell)
    cell.actor = actor
    try:
        actor.__init__(*args, **kwargs)  # type: ignore[misc]  # the first and only call: __new__ was called alone
    except BaseException as error:
        scheduler.signal(scheduler.mortician.stillborn, (cell, Failure.of(error)))
        raise
    pykka.ActorRegistry.register(cast("Any", cell))
    logger.debug("Starting %s", actor)
    actor.set_out()
    scheduler.signal(_begin, (system, cell))
    return cell


def compatibility_system() -> ActorSystem:
    """The compatibility system, begun if there is none."""
    global _running
    with _lock:
        if _running is None:
            _running = _SystemThread()
        return _running.system


def end_compatibility_system(deadline: float = 10.0) -> None:
    """End its actors, the last one started first, and kill those left after `deadline` seconds; then it ends itself.

    From a plain thread. A later `start` begins a new one.
    """
    global _running
    running = _running
    if running is None:
        return
    running.end(deadline)
    with _lock:
        if _running is running:
            _running = None


def _system_at_hand() -> ActorSystem:
    cell = speaker()
    system = cell.system if cell is not None else current_system.get()
    return system if system is not None and not system.scheduler.lost() else compatibility_system()


def _shutting_down(system: ActorSystem) -> Shutdown:
    return Shutdown(f"the system {system.name!r} is shutting down")


def _begin(system: ActorSystem, cell: PykkaCell[Any]) -> None:
    """On the loop. Nobody waits for this start: its failure is logged, and what was asked is answered."""
    mortician = system.scheduler.mortician
    actor = cell.actor
    if actor is None or cell.stage != ALIVE:
        return
    if system.is_ending:
        mortician.stillborn(cell, _shutting_down(system))
        return
    system._top[cell] = None
    try:
        starting = system.scheduler.spot.isolated(cell, actor._run_on_start)
    except BaseException as error:  # noqa: BLE001 - whatever it raises ends that actor alone
        _begun(cell, error)
    else:
        if starting.__class__ is CoroutineType:
            task = system.loop.create_task(_finish(cell, starting), context=system.scheduler.neutral_context())
            _starts.add(task)
            task.add_done_callback(_starts.discard)
        else:
            _begun(cell, None)


async def _finish(cell: PykkaCell[Any], starting: Coroutine[Any, Any, None]) -> None:
    if cell.stage == ALIVE:
        _begun(cell, await cell.system._finish_start(cell, starting, None))
    else:  # ended before this task began, which is being seen to
        starting.close()


def _begun(cell: PykkaCell[Any], error: BaseException | None) -> None:
    scheduler = cell.scheduler
    if error is not None:
        if cell.stage == ALIVE:
            unhandled(cell, error)
        scheduler.signal(scheduler.mortician.stillborn, (cell, cell.reason or Failure.of(error)))
    elif cell.stage == ALIVE:
        cell.open()
    else:  # it was ended while it started
        scheduler.signal(scheduler.mortician.bow_out, (cell,))


class _SystemThread:
    """A system on a loop in a thread of its own."""

    def __init__(self) -> None:
        ready: Future[ActorSystem] = Future()
        self._thread = threading.Thread(target=self._main, args=(ready,), name="understudy-compatibility", daemon=True)
        self._thread.start()
        self.system = ready.result()

    def end(self, deadline: float) -> None:
        if self._thread is threading.current_thread():
            raise RuntimeError("the compatibility system cannot wait for its own end: end it from another thread")
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._end(deadline), self.system.loop)
            self._thread.join()

    def _main(self, ready: Future[ActorSystem]) -> None:
        asyncio.run(self._serve(ready))

    async def _serve(self, ready: Future[ActorSystem]) -> None:
        self._ended = asyncio.Event()
        ready.set_result(ActorSystem("pykka"))
        await self._ended.wait()

    async def _end(self, deadline: float) -> None:
        try:
            await self.system.shutdown(deadline)
        finally:
            self._ended.set()


_lock = threading.Lock()
_running: _SystemThread | None = None
_starts: set[asyncio.Task[None]] = set()


def _forget() -> None:
    """A forked process has no copy of the thread, and begins anew."""
    global _running, _lock
    _running, _lock = None, threading.Lock()


atexit.register(end_compatibility_system)
os.register_at_fork(after_in_child=_forget)
