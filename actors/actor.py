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
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, TypeVar, overload

import pykka

from understudy.actors.address import urn
from understudy.actors.answer import Answer
from understudy.actors.arguments import takes
from understudy.actors.attributes import public_attributes, replace_attributes
from understudy.actors.bonds import Monitor
from understudy.actors.cell import Cell
from understudy.actors.failure_rule import FailureRule, checked_rule
from understudy.actors.high_water import HIGH_WATER
from understudy.actors.inbox import Inbox, Stopped
from understudy.actors.limits import STASH_LIMIT, checked_hooks, checked_limits
from understudy.actors.mailbox import Bounded
from understudy.actors.names import checked_name
from understudy.actors.nodes import SPAWN_TIMEOUT, start_on
from understudy.actors.oneself import Oneself, cell_of
from understudy.actors.pykka_ref import PykkaCell, PykkaRef
from understudy.actors.reasons import ExitReason
from understudy.actors.ref import ActorRef, meant
from understudy.actors.signals import Stop
from understudy.actors.world import World

if TYPE_CHECKING:
    from understudy.actors.groups import Group
    from understudy.actors.scheduler import Scheduler
    from understudy.actors.system import ActorSystem

    class PykkaActor:
        """Pykka's actor as type checkers see it: without hooks, since ours may be `async def` and Pykka's may not."""

        def on_receive(self, message: Any) -> Any: ...

        def _handle_receive(self, message: Any) -> Any: ...

else:
    PykkaActor = pykka.Actor

B = TypeVar("B", bound="Actor")


class Actor(Oneself, PykkaActor):
    """The base class of actors that live on the event loop. Start one with `await system.spawn(Class, ...)`."""

    __slots__ = ("_cell",)

    _cell: Cell[Self]

    trap_exit: bool = False
    """True: exit signals of others arrive as `Exit` messages instead of ending this actor (its parent's always end it)."""

    stop_timeout: float | None = 5.0
    """Seconds that an asynchronous `on_stop` or `on_failure` may take; None: as long as it needs."""

    failure_rule: ClassVar[FailureRule] = "crash"
    """"crash": an exception in a handler ends this actor. "pykka": that of a request goes to whoever asked, and the actor
    lives (see `failure_rule.py`)."""

    mailbox: ClassVar[Bounded | None] = None
    """`Bounded(capacity, overflow)`, or None: any number of messages may wait."""

    high_water: ClassVar[float] = HIGH_WATER
    """More waiting messages than this raise an alarm (see `high_water.py`); math.inf: none ever does."""

    stash_limit: ClassVar[int] = STASH_LIMIT
    """How many messages may be stashed."""

    asynchronous: ClassVar[bool] = False
    """Whether `on_receive` is an `async def`. Set by the framework."""

    starts_at_once: ClassVar[bool] = True
    """Whether a start takes no time: `on_start` is plain, and runs where the actor is spawned. Set by the framework."""

    _stop_wants_reason: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        checked_rule(cls.failure_rule, cls)
        checked_limits(cls)
        checked_hooks(cls)
        cls.asynchronous = inspect.iscoroutinefunction(cls.on_receive)
        cls.starts_at_once = cls._run_on_start is Actor._run_on_start and not inspect.iscoroutinefunction(cls.on_start)
        cls._stop_wants_reason = takes(cls.on_stop, 2)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to set up: Pykka's own fields would cost 1.6 kB and 5 us an actor, and are made when asked for.

        TypeError for what was given to start a class that overrides none of this: nobody would ever see it.
        """
        if (args or kwargs) and type(self).__init__ is Actor.__init__ and hasattr(self, "_cell"):
            kind = type(self).__name__
            given = f"{len(args)} by position and {', '.join(kwargs) or 'none'} by name"
            raise TypeError(f"{kind} has no __init__ of its own and takes no arguments; it was given {given}")

    # --- hooks, to override ---

    def on_start(self) -> Any:
        """Prepare; plain or `async def`. `spawn` returns after it; if it raises, `spawn` raises StartFailed."""

    def on_receive(self, message: Any) -> Any:
        """Handle one message; plain or `async def`. What it returns is the reply, if the sender called."""
        return super().on_receive(message) if self.failure_rule == "pykka" else self.unhandled(message)

    def on_stop(self, *args: Any, **kwargs: Any) -> Any:
        """Clean up after an orderly end (stopped, shut down, an exit signal); plain or `async def`; not after a kill.

        Yours is `on_stop(self, reason: ExitReason)`, or Pykka's `on_stop(self)`.
        """

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        """Clean up after an exception of this actor's own, instead of `on_stop`; plain or `async def`."""

    def on_get_state(self) -> Any:
        """What `system.get_state` shows of this actor: its public attributes, unless overridden. Plain, and quick."""
        return public_attributes(self)

    def on_replace_state(self, state: Any) -> None:
        """Take the state that `system.replace_state` gives it: by default public attributes, those that are missing are deleted."""
        replace_attributes(self, state)

    # --- who I am ---

    @property
    def actor_ref(self) -> ActorRef[Self]:
        """The reference to this actor: what it hands to others instead of itself."""
        try:
            return self._cell
        except AttributeError:
            return cell_of(self)  # which says what is wrong

    @property
    def actor_urn(self) -> str:
        """Pykka's name for the address."""
        if hasattr(self, "_cell"):
            return self._cell.actor_urn
        made_up: str = self.__dict__.setdefault("_urn", urn(World().token(), 0))  # made, not started: in a test perhaps
        return made_up

    @property
    def actor_inbox(self) -> Inbox:
        """Pykka's inbox, as far as one may look into it."""
        return cell_of(self).actor_inbox

    @property
    def actor_stopped(self) -> Stopped:
        """Pykka's flag: whether this actor has ended."""
        return cell_of(self).actor_stopped

    @property
    def system(self) -> ActorSystem:
        """The system this actor lives in."""
        return cell_of(self).system

    @property
    def name(self) -> str | None:
        """The registered name."""
        return cell_of(self).name

    def __str__(self) -> str:
        return str(self._cell) if hasattr(self, "_cell") else f"{type(self).__name__} ({self.actor_urn})"

    # --- others ---

    async def spawn(
        self, cls: type[B], *args: Any, name: str | None = None, start_timeout: float | None = None, **kwargs: Any
    ) -> ActorRef[B]:
        """Start a child of this actor, linked to it: it is ended when this actor ends. Raises as `system.spawn` does."""
        self._still_mine()
        return await self.system.spawn_child(self._cell, cls, args, kwargs, name, start_timeout)

    async def spawn_link(
        self, cls: type[B], *args: Any, name: str | None = None, start_timeout: float | None = None, **kwargs: Any
    ) -> ActorRef[B]:
        """Start a top-level actor, linked to this one as by `link`: no child, and it may trap this one's exit.

        In one step: however soon it dies after its start, the link is there. Raises as `system.spawn` does, and a start that
        fails sends no exit signal besides.
        """
        self._still_mine()
        cell = self._cell

        def tie(other: Cell[Any]) -> None:
            cell.tied().links.add(other)
            other.tied().links.add(cell)

        return await self.system.spawn_tied(cell, tie, cls, args, kwargs, name, start_timeout)

    async def spawn_monitor(
        self, cls: type[B], *args: Any, name: str | None = None, start_timeout: float | None = None, **kwargs: Any
    ) -> tuple[ActorRef[B], int]:
        """Start a top-level actor, watched by this one as by `monitor`. Returns the reference and the monitor's token.

        In one step: however soon it dies after its start, its `Down` has the true reason. Raises as `system.spawn` does, and
        a start that fails brings no `Down` besides.
        """
        self._still_mine()
        cell, token = self._cell, self.system.next_token()

        def tie(other: Cell[Any]) -> None:
            cell.tied().monitors[token] = Monitor(other)
            other.tied().watchers[token, cell] = None

        return await self.system.spawn_tied(cell, tie, cls, args, kwargs, name, start_timeout), token

    @overload
    async def spawn_on(
        self,
        where: str,
        cls: type[B],
        /,
        *args: Any,
        name: str | None = None,
        timeout: float = SPAWN_TIMEOUT,
        **kwargs: Any,
    ) -> ActorRef[B]: ...

    @overload
    async def spawn_on(
        self,
        where: type[B],
        /,
        *args: Any,
        role: str | None = None,
        tags: tuple[str, ...] = (),
        name: str | None = None,
        timeout: float = SPAWN_TIMEOUT,
        **kwargs: Any,
    ) -> ActorRef[B]: ...

    async def spawn_on(
        self,
        where: str | type[Any],
        /,
        *args: Any,
        role: str | None = None,
        tags: tuple[str, ...] = (),
        name: str | None = None,
        timeout: float = SPAWN_TIMEOUT,
        **kwargs: Any,
    ) -> ActorRef[Any]:
        """Start a child of this actor elsewhere, where its class is imported: `spawn_on("engine-1", Engine, ...)` on that node,
        `spawn_on(Engine, ..., role="engine", tags=("gpu",))` on the one with the most free capacity of those that have the role
        and all tags, which may be this one. `timeout` seconds at most.

        As with `spawn` it is linked to this actor, and ended, whatever it traps, when this actor ends or is taken for dead there
        with its node. That is done by its node: unlike a child here, it may outlast this actor by a moment. Raises as `spawn`
        does, and NodeDown (at once, if no such node is up) or Draining (it takes nothing new), or else NoRoom (no node has what is
        wanted, and room), NotRegistered for what may not cross or a class that is not there.
        """
        self._still_mine()
        return await start_on(
            self.system.nodes, where, args, kwargs,
            role=role, tags=tags, name=name, timeout=timeout, owner=self._cell,
        )  # fmt: skip

    def monitor(self, ref: ActorRef[Any]) -> int:
        """Watch `ref`: exactly one `Down(token, ref, reason)` will come, at once if it is dead already. Returns the token."""
        self._still_mine()
        token = self.system.next_token()
        whom = meant(ref)
        self._cell.tied().monitors[token] = Monitor(whom)
        whom._monitor(token, self._cell)
        return token

    def demonitor(self, token: int, flush: bool = False) -> None:
        """Stop watching. With `flush`, a `Down` that waits in the mailbox already is taken back too.

        Nothing happens if that monitor has fired, or never was one of this actor's.
        """
        self._still_mine()
        if not isinstance(token, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"demonitor takes the token that monitor returned, not {token!r}")
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
        other = meant(ref)
        if other is not self._cell:
            self._cell.on_loop(self._cell._linked, other)
            other._link(self._cell)

    def unlink(self, ref: ActorRef[Any]) -> None:
        """Undo a link, also that to a child or to one's parent."""
        self._still_mine()
        other = meant(ref)
        self._cell.on_loop(self._cell._unlinked, other)
        other._unlink(self._cell)

    # --- groups ---

    def join(self, group: str) -> Group:
        """Be in the group of that name until one leaves it or ends; twice is as good as once. From any thread of its own.

        ValueError for what is no name: the rules are those for an actor's.
        """
        self._still_mine()
        return self.system.groups.join(self._cell, group)

    def leave(self, group: str) -> None:
        """Be in it no more."""
        self._still_mine()
        self.system.groups.leave(self._cell, group)

    def watch_group(self, group: str) -> tuple[ActorRef[Any], ...]:
        """Who is in the group now; every change from now on comes as a `Joined(group, ref)` or `Left(group, ref)` message."""
        self._still_mine()
        return self.system.groups.watch(self._cell, checked_name(group, "a group's"))[group]

    def unwatch_group(self, group: str) -> None:
        """Hear no more of it, not even what waits in the mailbox already."""
        self._still_mine()
        self.system.groups.unwatch(self._cell, checked_name(group, "a group's"))

    def watch_groups(self) -> dict[str, tuple[ActorRef[Any], ...]]:
        """Watch all groups there are and will be; returns who is in which now. A group watched besides is told of twice."""
        self._still_mine()
        return self.system.groups.watch(self._cell, None)

    def unwatch_groups(self) -> None:
        """Undo `watch_groups`; what `watch_group` began stays."""
        self._still_mine()
        self.system.groups.unwatch(self._cell, None)

    # --- for the kernel ---

    @classmethod
    def _make_cell(cls, scheduler: Scheduler, number: int, parent: Cell[Any] | None) -> Cell[Self]:
        """The reference to an actor of this class that is about to be made."""
        return Cell(scheduler, cls, number, parent)

    def _receiver(self) -> Callable[[Any], Any]:
        """What handles one message, bare or out of an envelope, unless the actor has become something else."""
        return self._handle_receive if self.failure_rule == "pykka" else self.on_receive

    def _come_to_life(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Construct and start; a coroutine if `on_start` is asynchronous."""
        self.__init__(*args, **kwargs)  # type: ignore[misc]  # the first and only call: __new__ was called alone
        return self._run_on_start()

    def set_out(self) -> None:
        """Pykka's `start` is about to return: do what needs no loop."""

    def _run_on_start(self) -> Any:
        """Start what was constructed; a coroutine if `on_start` is asynchronous."""
        return self.on_start()

    def _last_hook(self, last_words: BaseException | ExitReason) -> Callable[[], Any] | None:
        """The hook that fits the end, ready to call; None if this class has none of its own."""
        if isinstance(last_words, BaseException):
            if type(self).on_failure is Actor.on_failure:
                return None
            return partial(self.on_failure, type(last_words), last_words, last_words.__traceback__)
        if type(self).on_stop is Actor.on_stop:
            return None
        return partial(self.on_stop, *((last_words,) if self._stop_wants_reason else ()))

    def _run_last_hook(self, hook: Callable[[], Any]) -> Any:
        """Run the last hook; a coroutine if it is asynchronous."""
        return self._cell.scheduler.spot.isolated(self._cell, hook)

    # --- Pykka's ways ---

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> PykkaRef[Self]:
        """Start one from anywhere without waiting for it, as Pykka does, and enter it in Pykka's registry.

        It lives in the system of whoever starts it, else in the compatibility system (see `compatibility.py`). Prefer
        `await system.spawn(...)`, which says whether the start succeeded.
        """
        from understudy.actors.compatibility import start  # it needs systems, and they need actors

        return start(cls, args, kwargs)

    @classmethod
    def make_pykka_cell(cls, scheduler: Scheduler, number: int) -> PykkaCell[Self]:
        """The reference to an actor of this class that Pykka's `start` is about to begin."""
        return PykkaCell(scheduler, cls, number, None)

    def _stop(self) -> Stop:
        return Stop()  # what Pykka's own handling of its request to stop returns

    _create_future = staticmethod(Answer[Any])

    def _create_actor_inbox(*_: object) -> NoReturn:
        raise TypeError("actors of Understudy have no inbox of Pykka's, and no loop of their own")

    _start_actor_loop = _create_actor_inbox
