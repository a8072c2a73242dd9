"""What an actor does to itself, through `self`: what it handles next and how, its timers, and work beside its messages.

    self.then(message)       self.become(handler)           self.send_after(delay, message)     await self.offload(f, ...)
    return self.stash()      self.receive_timeout(s)        self.send_every(interval, message)  self.run(coroutine)

`Actor` inherits all of it. An actor that is dead for the world does none of it any more: its code may still run, and is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from understudy.actors.behaviour import become, unbecome
from understudy.actors.deadlines import current_request
from understudy.actors.envelope import Envelope
from understudy.actors.errors import ActorDied
from understudy.actors.failure_rule import closed_under
from understudy.actors.mailbox import OWN
from understudy.actors.mortician import cancel
from understudy.actors.patience import Patience
from understudy.actors.reasons import Killed
from understudy.actors.signals import StopRequest, Unhandled
from understudy.actors.stash import AHEAD, STASHED, full, put_ahead, room, unstash
from understudy.actors.timers import SHORTEST, Pace, Timer, duration, pace

if TYPE_CHECKING:
    from understudy.actors.cell import Cell

P = ParamSpec("P")
T = TypeVar("T")


class Oneself:
    """The part of an `Actor` that it uses on itself, from its own code only."""

    __slots__ = ()

    _cell: Cell[Any]

    @property
    def fence(self) -> int:
        """The fence under which this actor has its name in the cluster, higher than that of everyone who had it before; 0 if it
        has none. A singleton and an entity have theirs from `on_start` on, and show it wherever they write."""
        bonds = cell_of(self).bonds
        return bonds.fence if bonds is not None else 0

    # --- its messages ---

    def stop(self) -> None:
        """End normally, after everything that waits in the mailbox now."""
        cell_of(self).tell(Envelope(StopRequest()))

    def unhandled(self, message: Any) -> Any:
        """For messages a handler does not know: `return self.unhandled(message)`. A call is refused, a tell a dead letter."""
        return Unhandled(message)

    def then(self, message: Any) -> None:
        """Send oneself `message`, to be handled before any other that waits; several of them in the order sent.

        In `on_start` it comes before whatever is sent to the new actor. From the actor's own code only.
        """
        self._still_mine()
        put_ahead(self._cell, [Envelope(message, ticket=AHEAD)])

    def stash(self) -> Any:
        """Put the message at hand aside, with its caller's request: `return self.stash()`.

        Overloaded if `stash_limit` messages are stashed already. They come back by `unstash` and `unstash_all`.
        """
        self._still_mine()
        if not room(self._cell):
            raise full(self._cell)
        return STASHED

    def unstash(self) -> bool:
        """Handle the message stashed first after the one at hand, before all that waits. False if there is none."""
        self._still_mine()
        return unstash(self._cell, 1) == 1

    def unstash_all(self) -> int:
        """Handle all stashed messages after the one at hand, in their order, before all that waits. Returns how many."""
        self._still_mine()
        return unstash(self._cell)

    def become(self, handler: Callable[[Any], Any], *, push: bool = False) -> None:
        """Have `handler(message)`, plain or `async def`, handle messages from the next one on, as `on_receive` would.

        It replaces what the last `become` set; with `push` it is put on top of that, and `unbecome` returns to it.
        TypeError for what cannot be called with one message, a generator function, or an `async def` in a ThreadActor.
        """
        self._still_mine()
        become(self._cell, handler, push)

    def unbecome(self) -> None:
        """Go back to the handler below the present one; `on_receive` is the lowest, and stays."""
        self._still_mine()
        unbecome(self._cell)

    # --- its time ---

    def receive_timeout(self, seconds: float | None) -> None:
        """Get `ReceiveTimeout(seconds)` whenever no message was handled for that long, from now on; None: no more.

        Every message counts, also a `ReceiveTimeout`, after which the time runs anew; time in handlers does not.
        """
        self._still_mine()
        patience = Patience(self._cell, duration(seconds, SHORTEST)) if seconds is not None else None
        bonds = self._cell.tied()
        before, bonds.patience = bonds.patience, patience
        if before is not None:
            before.cancel()
        self._cell.behave()

    def send_after(self, delay: float, message: Any) -> Timer:
        """Send oneself `message` in `delay` seconds. The timer ends with the actor; `cancel()` is sure."""
        self._still_mine()
        return Timer(self._cell, duration(delay), message)

    def send_every(self, interval: float, message: Any, *, fixed: Pace = "rate") -> Timer:
        """Send oneself `message` every `interval` seconds, the first time after one interval.

        At a fixed "rate" the times are those of the clock, however long handling takes; at a fixed "delay" an interval
        passes between the end of handling one and the next.
        """
        self._still_mine()
        every = duration(interval, SHORTEST)
        return Timer(self._cell, every, message, every, pace(fixed))

    # --- work beside its messages ---

    async def offload(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking code, `function(*args, **kwargs)`, in a thread of the system's pool, and wait for it.

        It sees this code's context variables, and what it asks others inherits the deadline of the request at hand. If that
        passes before a thread is free it is not begun (DeadlineExceeded). Once begun it runs to its end: when the actor ends
        first, its result is dropped. It must not touch the actor's state. RuntimeError outside the system's own loop, TypeError
        for what is no plain function.
        """
        self._still_mine()
        if not callable(function) or inspect.iscoroutinefunction(function):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"offload takes a plain function that may block, and its arguments, not {function!r}; await what is async"
            )
        return cast("T", await self._cell.system.pool.run(self._cell, partial(function, *args, **kwargs)))

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine in the background, owned by this actor.

        A result that is not None comes back as a message; an exception fails the actor; it is cancelled when the actor
        ends. It may not touch the actor's state: it runs while messages are handled.
        """
        if not inspect.iscoroutine(coroutine):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"run takes a coroutine, as in self.run(work()) of an `async def work`, not {coroutine!r}")
        try:
            self._still_mine()
        except BaseException:
            coroutine.close()
            raise
        self._cell.on_loop(self._run_in_background, coroutine)

    # --- for the kernel ---

    def _run_in_background(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        cell = self._cell
        context = cell.scheduler.context_of(cell).copy()
        context.run(current_request.set, None)
        task = cell.scheduler.loop.create_task(self._background(coroutine), context=context)
        tasks = cell.tied().tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        if cell.reason is not None:  # it may clean up, and no more
            cancel(task)

    async def _background(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        cell = self._cell
        try:
            result = await coroutine
        except BaseException as error:  # whatever it raises ends this actor alone
            if closed_under(cell, error):
                raise
            if cell.reason is None:
                cell.scheduler.mortician.crashed_aside(cell, coroutine, error)
        else:
            if result is not None and cell.reason is None:
                cell.tell(result if cell.kind.mailbox is None else Envelope(result, ticket=OWN))

    def _still_mine(self) -> None:
        """Refuse what an abandoned handler of a killed actor still tries to do, or one that was made and not started."""
        cell = cell_of(self)
        if cell.actor is not self:
            raise ActorDied(cell.reason or Killed(), repr(cell))


def cell_of(actor: Oneself) -> Cell[Any]:
    """An actor's cell. RuntimeError for one that was made by hand and has none."""
    try:
        return actor._cell
    except AttributeError:
        kind = type(actor).__name__
        raise RuntimeError(
            f"this {kind} was made, not started: it has no reference, system or mailbox; `await system.spawn({kind}, ...)` starts one"
        ) from None
