"""A virtual process: a part of the loop that can be stopped, continued and killed while the rest goes on.

process.run(coroutine) ──▶ everything that grows out of it carries the process in its context: tasks, timers, callbacks

running ── pause ──▶ paused    what becomes ready is kept back, in its order; the clock goes on without it
        ◀─ resume ──           then all of it runs, late, as after SIGSTOP and SIGCONT
any     ── crash ──▶ crashed   nothing of it ever runs again, not even a `finally`, as after kill -9
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from understudy.actors import ActorSystem
from understudy.simulation.errors import SimulationError

if TYPE_CHECKING:
    from understudy.simulation.loop import SimulatedLoop

T = TypeVar("T")

State: TypeAlias = Literal["running", "paused", "crashed"]


class Crashed(SimulationError):
    """The process was killed while somebody outside waited for what it was doing."""


class Process:
    """`name` is for people. `context` is the one that its code runs in."""

    def __init__(self, loop: SimulatedLoop, name: str) -> None:
        self.name = name
        self.state: State = "running"
        self.context = contextvars.copy_context()
        self.context.run(_current.set, self)
        self._loop = loop
        self._held: list[tuple[asyncio.Handle, object]] = []
        self._crashed: asyncio.Future[None] = loop.create_future()
        loop.gate = _may_run
        loop.before_clearing.append(self._unwind)

    def __repr__(self) -> str:
        return f"<process {self.name}, {self.state}>"

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it inside the process and return what it returns. Raises Crashed if the process is killed meanwhile."""
        if self.state == "crashed":
            coroutine.close()
            raise Crashed(f"{self.name} is killed: nothing runs in it any more")
        task: asyncio.Task[T] = self._loop.create_task(coroutine, context=self.context.copy())
        try:
            await asyncio.wait((task, self._crashed), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not task.done():
            raise Crashed(f"{self.name} was killed while {getattr(coroutine, '__qualname__', coroutine)} ran in it")
        return task.result()

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a plain function inside the process."""
        return self.context.copy().run(function, *args)

    def pause(self) -> None:
        """Stop it. Stopping it twice is fine, a crashed one stays as it is."""
        if self.state == "running":
            self.state = "paused"

    def resume(self) -> None:
        """Let it go on with all that has come due meanwhile."""
        if self.state == "paused":
            self.state = "running"
            self._release()

    def crash(self) -> None:
        """Kill it: nothing of it runs any more until the whole run is over and its tasks have to be unwound."""
        self.state = "crashed"
        if not self._crashed.done():
            self._crashed.set_result(None)

    def hold(self, handle: asyncio.Handle, origin: object) -> bool:
        """Whether a callback of this process has to wait."""
        if self.state == "running":
            return False
        self._held.append((handle, origin))
        return True

    def _unwind(self) -> None:
        """The run is over: let the tasks be cancelled like all others."""
        self.state = "running"
        self._release()

    def _release(self) -> None:
        held, self._held = self._held, []
        for handle, origin in held:
            self._loop.put(handle, origin)


def current_process() -> Process | None:
    """The process whose code runs now; None outside of all of them, as in the test itself."""
    return _current.get()


_current: contextvars.ContextVar[Process | None] = contextvars.ContextVar("understudy_process", default=None)


def _may_run(handle: asyncio.Handle, origin: object) -> bool:
    """The loop's gate."""
    context: contextvars.Context = handle._context  # type: ignore[attr-defined]
    process = context.get(_current)
    if process is None:
        # A test that talks to an actor of the process from outside: what comes of it happens inside.
        owner = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
        system = getattr(owner, "system", None)
        if not isinstance(system, ActorSystem):
            return True
        process = system.scheduler._base.get(_current)
        if process is None:
            return True
        context.run(_current.set, process)
    return not process.hold(handle, origin)
