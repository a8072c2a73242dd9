"""What users subclass: an actor on the event loop, with plain or `async` handlers, one message at a time.

    class Counter(Actor):
        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def on_receive(self, message: object) -> object:
            match message:
                case Add(n):
                    self.count += n
                case Read():
                    return self.count          # the reply of a call
                case _:
                    return self.unhandled(message)

It is a Pykka actor: hooks, `tell`, `ask` and `stop` are Pykka's. What differs: an exception in a handler ends the
actor, called or told ("let it crash"); to refuse a request and live on, a handler raises `Refused`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, TypeVar

import pykka

from understudy.actors.bonds import Monitor
from understudy.actors.cell import Cell
from understudy.actors.deadlines import current_request
from understudy.actors.envelope import Envelope
from understudy.actors.errors import ActorDied
from understudy.actors.mortician import cancel
from understudy.actors.reasons import ExitReason, Killed
from understudy.actors.ref import ActorRef
from understudy.actors.signals import StopRequest, Unhandled
from understudy.actors.timers import Timer

if TYPE_CHECKING:
    from understudy.actors.scheduler import Scheduler
    from understudy.actors.system import ActorSystem

    class PykkaActor:
        """Pykka's actor as type checkers see it: without hooks, since ours may be `async def` and Pykka's may not."""

        def _handle_receive(self, message: Any) -> Any: ...

else:
    PykkaActor = pykka.Actor

B = TypeVar("B", bound="Actor")


class Actor(PykkaActor):
    """The base class of actors that live on the event loop. Start one with `await system.spawn(Class, ...)`."""

    __slots__ = ("_cell",)

    _cell: Cell[Self]

    trap_exit: bool = False
    """True: exit signals of others arrive as `Exit` messages instead of ending this actor (its parent's always end it)."""

    stop_timeout: float | None = 5.0
    """Seconds that an asynchronous `on_stop` or `on_failure` may take; None: as long as it needs."""

    asynchronous: ClassVar[bool] = False
    """Whether `on_receive` is an `async def`. Set by the framework."""

    _stop_wants_reason: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.asynchronous = inspect.iscoroutinefunction(cls.on_receive)
        cls._stop_wants_reason = len(inspect.signature(cls.on_stop).parameters) > 1

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing to set up: Pykka's own fields would cost 1.6 kB and 5 us an actor, and are made when asked for."""

    # --- hooks, to override ---

    def on_start(self) -> Any:
        """Prepare; plain or `async def`. `spawn` returns after it; if it raises, `spawn` raises StartFailed."""

    def on_receive(self, message: Any) -> Any:
        """Handle one message; plain or `async def`. What it returns is the reply, if the sender called."""
        return self.unhandled(message)

    def on_stop(self, reason: ExitReason) -> Any:
        """Clean up after an orderly end (stopped, shut down, an exit signal); plain or `async def`; not after a kill."""

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        """Clean up after an exception of this actor's own, instead of `on_stop`; plain or `async def`."""

    # --- who I am ---

    @property
    def actor_ref(self) -> ActorRef[Self]:
        """The reference to this actor: what it hands to others instead of itself."""
        return self._cell

    @property
    def actor_urn(self) -> str:
        """Pykka's name for the address."""
        return self._cell.actor_urn

    @property
    def system(self) -> ActorSystem:
        """The system this actor lives in."""
        return self._cell.system

    @property
    def name(self) -> str | None:
        """The registered name."""
        return self._cell.name

    def __str__(self) -> str:
        return repr(self._cell)

    # --- others ---

    async def spawn(self, cls: type[B], *args: Any, name: str | None = None, **kwargs: Any) -> ActorRef[B]:
        """Start a child of this actor, linked to it: it is ended when this actor ends. Raises as `system.spawn` does."""
        self._still_mine()
        return await self.system.spawn_child(self._cell, cls, args, kwargs, name)

    def monitor(self, ref: ActorRef[Any]) -> int:
        """Watch `ref`: exactly one `Down(token, ref, reason)` will come, at once if it is dead already. Returns the token."""
        self._still_mine()
        token = self.system.next_token()
        whom = ref._meant()
        self._cell.tied().monitors[token] = Monitor(whom)
        whom._monitor(token, self._cell)
        return token

    def demonitor(self, token: int, flush: bool = False) -> None:
        """Stop watching. With `flush`, a `Down` that waits in the mailbox already is taken back too."""
        self._still_mine()
        monitor = self._cell.tied().monitors.pop(token, None)
        if monitor is not None:
            monitor.ref._demonitor(token, self._cell)
        if flush:
            if monitor is not None:
                monitor.active = False
            self._cell.flush_down(token)

    def link(self, ref: ActorRef[Any]) -> None:
        """Tie two lives together: when one ends other than normally, the other gets an exit signal."""
        self._still_mine()
        other = ref._meant()
        if other is not self._cell:
            self._cell.on_loop(self._cell._linked, other)
            other._link(self._cell)

    def unlink(self, ref: ActorRef[Any]) -> None:
        """Undo a link, also that to a child or to one's parent."""
        self._still_mine()
        other = ref._meant()
        self._cell.on_loop(self._cell._unlinked, other)
        other._unlink(self._cell)

    # --- oneself ---

    def stop(self) -> None:
        """End normally, after everything that waits in the mailbox now."""
        self._cell.tell(Envelope(StopRequest()))

    def unhandled(self, message: Any) -> Any:
        """For messages a handler does not know: `return self.unhandled(message)`. A call is refused, a tell a dead letter."""
        return Unhandled(message)

    def send_after(self, delay: float, message: Any) -> Timer:
        """Send oneself `message` in `delay` seconds. The timer ends with the actor; `cancel()` is sure."""
        self._still_mine()
        return Timer(self._cell, _duration(delay), message, None)

    def send_every(self, interval: float, message: Any) -> Timer:
        """Send oneself `message` every `interval` seconds, the first time after one interval."""
        self._still_mine()
        return Timer(self._cell, _duration(interval, least=0.001), message, interval)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine in the background, owned by this actor.

        A result that is not None comes back as a message; an exception fails the actor; it is cancelled when the actor
        ends. It may not touch the actor's state: it runs while messages are handled.
        """
        if not inspect.iscoroutine(coroutine):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"run takes a coroutine, not {coroutine!r}")
        try:
            self._still_mine()
        except ActorDied:
            coroutine.close()
            raise
        self._cell.on_loop(self._run_in_background, coroutine)

    # --- for the kernel ---

    @classmethod
    def make_cell(cls, scheduler: Scheduler, number: int, parent: Cell[Any] | None) -> Cell[Self]:
        """The reference to an actor of this class that is about to be made."""
        return Cell(scheduler, cls, number, parent)

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Construct and start; a coroutine if `on_start` is asynchronous."""
        self.__init__(*args, **kwargs)  # type: ignore[misc]  # the first and only call: __new__ was called alone
        return self.on_start()

    def last_hook(self, last_words: BaseException | ExitReason) -> Callable[[], Any] | None:
        """The hook that fits the end, ready to call; None if this class has none of its own."""
        if isinstance(last_words, BaseException):
            if type(self).on_failure is Actor.on_failure:
                return None
            return partial(self.on_failure, type(last_words), last_words, last_words.__traceback__)
        if type(self).on_stop is Actor.on_stop:
            return None
        return partial(self.on_stop, *((last_words,) if self._stop_wants_reason else ()))

    def farewell(self, hook: Callable[[], Any]) -> Any:
        """Run the last hook; a coroutine if it is asynchronous."""
        return self._cell.scheduler.isolated(self._cell, hook)

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
        except GeneratorExit:  # the loop was closed under it
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it raises ends this actor alone
            if cell.reason is None:
                cell.scheduler.mortician.crashed_aside(cell, coroutine, error)
        else:
            if result is not None and cell.reason is None:
                cell.tell(result)

    def _still_mine(self) -> None:
        """Refuse what an abandoned handler of a killed actor still tries to do."""
        if self._cell.actor is not self:
            raise ActorDied(self._cell.reason or Killed(), repr(self._cell))

    # --- what Pykka has and we have not ---

    @classmethod
    def start(cls, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Pykka's way to start an actor. Ours needs a system to live in: TypeError, which says how."""
        raise TypeError(
            f"start {cls.__name__} with `await system.spawn({cls.__name__}, ...)`, of an ActorSystem or a Node"
        )

    _create_actor_inbox = _create_future = _start_actor_loop = (
        start  # abstract in Pykka, and only its `start` calls them
    )


def _duration(seconds: float, least: float = 0.0) -> float:
    if not seconds >= least:
        raise ValueError(f"a timer's time is a number of seconds from {least} up, not {seconds!r}")
    return seconds
