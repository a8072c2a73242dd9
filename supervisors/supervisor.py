"""A supervisor: an ordinary actor that starts its children in order, restarts those that fail, and ends them in reverse.

    class Lobby(Supervisor):
        strategy = "rest_for_one"

        def children(self) -> list[Child]:
            return [Child(Store), Child(Room, name="room/lobby")]

It uses only what every actor may use: spawn, exit signals, monitors, messages. It decides nothing; it carries out:

    a child's Exit, a request ──> Tree.decide ──> Start, StopOne, StopAll ──┐  one after the other, until there is
                                       ^──────── what came of it ───────────┘  nothing more to do, or an end:
                                       └──> Answer, Refuse, Retry (a message to itself: others come in between), GiveUp, ...

What takes time here is awaited, so that requests wait meanwhile; an exit from its own parent does not.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import fields
from types import CoroutineType
from typing import Any, ClassVar

from understudy.actors import (
    Actor,
    ActorRef,
    Cell,
    Exit,
    ExitReason,
    Failure,
    NameTaken,
    NodeDown,
    Refused,
    Restarted,
    StartFailed,
    Stop,
    UnderstudyError,
)
from understudy.supervisors.backoff import Backoff
from understudy.supervisors.elsewhere import LOOK_AGAIN, Vacate, is_there, loss, start_there, there
from understudy.supervisors.ending import end
from understudy.supervisors.events import Awaited, GaveUp, HeldDown, LeftDown
from understudy.supervisors.pace import Pace
from understudy.supervisors.place import Place
from understudy.supervisors.policy import AutoShutdown, Policy, Strategy
from understudy.supervisors.spec import Child, Ignore, ShutdownSpec
from understudy.supervisors.steps import (
    Abort,
    AllStopped,
    Answer,
    Begin,
    Due,
    Event,
    Finish,
    GiveUp,
    Hold,
    Ignored,
    LastAction,
    LeaveDown,
    Move,
    NotStarted,
    Outcome,
    Refuse,
    Retry,
    ShutDown,
    Start,
    Started,
    StopAll,
    StopOne,
    Stopped,
)
from understudy.supervisors.tree import MESSAGES, Tree

logger = logging.getLogger("understudy.supervisors")

_IGNORE = Failure.of(Ignore()).type
"""What `Ignore` is called in a reason that comes from another node."""

_FIELDS = tuple(field.name for field in fields(Policy) if field.name != "dynamic")


class Supervisor(Actor):
    """Subclass it and override `children()`, or spawn it with a list: `spawn(Supervisor, [Child(...), ...])`.

    What follows may be set in the class, or given when it is spawned; the latter counts. TypeError or ValueError, with the
    field's name, for what cannot be meant: where the class is declared, else at its start.
    """

    strategy: Strategy = "one_for_one"
    """Who is started again with a child that ended: nobody else, "one_for_all" or "rest_for_one": those after it."""

    intensity: int = 1
    period: float = 5.0
    """More than `intensity` restarts within `period` seconds, all children together, and it gives up with `Shutdown`."""

    auto_shutdown: AutoShutdown = "never"
    """Whether it ends, with `Shutdown`, after the end of "any_significant" child, or of "all_significant" ones."""

    max_children: int | None = None
    """How many children there may be, running or not; None: any number."""

    degraded: bool = False
    """True: instead of giving up it holds down the child whose restart is one too many, says so, and goes on without it."""

    backoff: Backoff | None = None
    """How long it waits before it starts a child again, unless the child's spec says so; None: not at all."""

    default_shutdown: ClassVar[ShutdownSpec] = "infinity"
    """What a spec without `shutdown` means for an actor of this class; for others it is WORKER_SHUTDOWN."""

    trap_exit = True
    stop_timeout = None  # its children's own shutdown times bound it

    _dynamic: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._policy(cls)
        how: Any = cls.children
        if not callable(how) or inspect.iscoroutinefunction(how) or inspect.isasyncgenfunction(how):
            raise TypeError(
                f"{cls.__name__}.children is a plain method that returns a list of Child(...): "
                "say `def children(self)`, or spawn(Supervisor, [...])"
            )
        if cls.trap_exit is not True:
            raise ValueError(
                f"{cls.__name__}.trap_exit is True: that is how a supervisor learns of its children's ends"
            )

    def __init__(
        self,
        children: Sequence[Child] = (),
        *,
        strategy: Strategy | None = None,
        intensity: int | None = None,
        period: float | None = None,
        auto_shutdown: AutoShutdown | None = None,
        max_children: int | None = None,
        degraded: bool | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        super().__init__()
        given = {
            "strategy": strategy,
            "intensity": intensity,
            "period": period,
            "auto_shutdown": auto_shutdown,
            "max_children": max_children,
            "degraded": degraded,
            "backoff": backoff,
        }
        self._tree = Tree(self._policy(self, **{name: value for name, value in given.items() if value is not None}))
        self._begun = False
        self._seen: set[str] = set()  # the nodes of which it hears when they drain
        self._given = self._tree.policy.check_all(children, f"{type(self).__name__} takes a list of")

    @classmethod
    def _policy(cls, source: Any, **given: Any) -> Policy:
        return Policy(cls._dynamic, **{**{name: getattr(source, name) for name in _FIELDS}, **given})

    def children(self) -> Sequence[Child]:
        """The children to start, in order."""
        return self._given

    # --- life ---

    async def on_start(self) -> None:
        children = self._tree.policy.check_all(self.children(), f"{type(self).__name__}.children() returns a list of")
        try:
            await self._see_through(self._happens(Begin(children)))
            self._begun = True
        except BaseException:
            await self._see_through(self._happens(Finish()))
            raise

    async def on_receive(self, message: Any) -> Any:
        step = self._receive(message)
        return await step if isinstance(step, CoroutineType) else step

    async def on_stop(self, reason: ExitReason) -> None:
        await self._see_through(self._happens(Finish()))

    def _receiver(self) -> Callable[[Any], Any]:
        # Who does not override `on_receive` is spared a coroutine for each crash.
        return self._receive if type(self).on_receive is Supervisor.on_receive else super()._receiver()

    def _receive(self, message: Any) -> Any:
        """Handle a message: at once, or else by the coroutine that is returned."""
        event: Event | Vacate = message
        if message.__class__ not in MESSAGES and message.__class__ is not Vacate:
            return self.unhandled(message)
        if isinstance(event, Exit):
            if not self._is_end(event):
                return None
            event = loss(event, self.system.nodes) or event
        step = self._happens(event) if not isinstance(event, Vacate) else self._vacate(event.node)
        return self._see_through(step) if isinstance(step, _Slow) else step

    def _is_end(self, exit_: Exit) -> bool:
        """Whether that is the end of a child, and not what a stranger or a living child sends."""
        sender = exit_.sender
        if not isinstance(sender, ActorRef) or sender not in self._tree.running:
            return False
        # Of one on another node the link tells: it has broken if that was its end.
        if sender.is_alive() if isinstance(sender, Cell) else sender in self._cell.tied().links:
            logger.warning(
                "%r ignores an exit signal that its living child %r sent it: %s",
                self.actor_ref, sender, exit_.reason,
            )  # fmt: skip
            return False
        return True

    # --- carrying out ---

    def _happens(self, event: Event, pace: Pace | None = None) -> Any:
        """Tell the tree, and do what it says. Returns the answer to whoever asked; or, as soon as something takes time, that.

        `pace`: that of all that it is part of.
        """
        decide, clock = self._tree.decide, self.system.loop.time
        pace = pace or Pace(clock)
        while True:
            action = decide(event, clock())
            if isinstance(event, Started) and event.again:
                self._tell_of(event.place)
            if isinstance(action, Start):
                outcome = self._start(action) if not pace.is_over() else _Slow(self._start_later(action, pace))
                if isinstance(outcome, _Slow):
                    return outcome
                event = outcome
            elif action is None:
                return None
            elif isinstance(action, StopOne):
                return _Slow(self._stop_one(action, pace))
            elif isinstance(action, StopAll):
                return _Slow(self._stop_all(action.places, pace))
            else:
                return self._conclude(action)

    async def _see_through(self, step: Any) -> Any:
        """Wait for what takes time, and go on until nothing does."""
        pace = Pace(self.system.loop.time)
        while isinstance(step, _Slow):
            step = self._happens(await step, pace)
        return step

    def _start(self, start: Start) -> Outcome | _Slow:
        child = start.place.child
        if child.placed or (child.node is not None and child.node != self.system.name):
            return _Slow(self._start_there(start))
        try:
            started: Any = self.system.start_child(
                self._cell, child.cls, child.args, dict(child.kwargs), child.name, child.start_timeout
            )
        except (StartFailed, NameTaken) as error:
            return self._not_started(start.place, error)
        if isinstance(started, CoroutineType):
            return _Slow(self._start_slowly(start, _Slow(started)))
        return Started(start.place, started, start.again)

    async def _start_later(self, start: Start, pace: Pace) -> Outcome:
        await pace.keep()
        outcome = self._start(start)
        return await outcome if isinstance(outcome, _Slow) else outcome

    async def _start_slowly(self, start: Start, starting: _Slow) -> Outcome:
        try:
            return Started(start.place, await starting, start.again)
        except (StartFailed, NameTaken) as error:
            return self._not_started(start.place, error)

    async def _start_there(self, start: Start) -> Outcome:
        try:
            ref = await start_there(start, self._cell, self._begun)
        except UnderstudyError as error:
            return self._not_started(start.place, error)
        node = ref.address.node
        if start.place.child.moves:
            self._see_drains(node)
        return Started(start.place, ref, start.again, node)

    def _not_started(self, place: Place, error: UnderstudyError) -> NotStarted | Ignored:
        reason = error.reason if isinstance(error, StartFailed | NodeDown) else Failure.of(error)
        if isinstance(error.__cause__, Ignore) or (isinstance(reason, Failure) and reason.type == _IGNORE):
            logger.info("%r goes on without %r: %s", self.actor_ref, place.id, error.__cause__)
            return Ignored(place)
        return NotStarted(place, error, reason)

    async def _stop_one(self, stop: StopOne, pace: Pace) -> Stopped:
        (reason,) = await end((stop.place,), self._cell, pace, stop.gently)
        return Stopped(stop.place, reason)

    async def _stop_all(self, places: tuple[Place, ...], pace: Pace) -> AllStopped:
        return AllStopped(places, await end(places, self._cell, pace))

    def _tell_of(self, place: Place) -> None:
        """Say that a child was started again: to whoever listens, and to whoever asks for `info` of it."""
        if logger.isEnabledFor(logging.INFO):
            logger.info("%s restarted %r", self.name or type(self).__name__, place.id)
        if isinstance(place.handle, Cell):  # to another node it was told with the start
            place.handle.tied().restarts = place.restarts
        hooks = self.system.hooks
        if hooks.wants(Restarted):
            hooks.emit(Restarted(place.handle, self._cell, place.id, place.last_exit, place.restarts))

    def _conclude(self, action: LastAction) -> Any:
        match action:
            case Answer(value):
                return value
            case Refuse(why):
                raise Refused(why)
            case Retry():
                self._retry(action)
            case GiveUp(place, reason):
                intensity = self._tree.intensity
                logger.error(
                    "%r gives up: more than %s restarts in %s s, the last one of %r (%s)",
                    self.actor_ref, intensity.limit, intensity.period, place.id, place.last_exit,
                )  # fmt: skip
                self._emit(GaveUp, place)
                return Stop(reason)
            case ShutDown(place, reason):
                if place.state == "held":
                    self._say_held(place)
                logger.info("%r ends: %s", self.actor_ref, reason)
                return Stop(reason)
            case Hold(place):
                self._say_held(place)
            case LeaveDown(place):
                logger.warning(
                    "%r does not restart the supervisor %r, which gave up: it is transient, and %r is no abnormal end",
                    self.actor_ref, place.id, str(place.last_exit),
                )  # fmt: skip
                self._emit(LeftDown, place)
            case Abort(error):
                raise error
        return None

    def _say_held(self, place: Place) -> None:
        logger.error(
            "%r holds %r down after %s attempts to restart it (%s)",
            self.actor_ref, place.id, place.restarts, place.last_exit,
        )  # fmt: skip
        self._emit(HeldDown, place, place.restarts)

    def _retry(self, retry: Retry) -> None:
        place = retry.place
        again = Due(place.id, retry.attempt)
        if not place.waits:
            logger.error("%r could not restart %r: %s", self.actor_ref, place.id, place.last_exit)
            self.actor_ref.tell(again)
            return
        wait = 0.0
        if place.backoff is not None:
            wait = place.backoff.delay(place.failures, self.system.world.random.random())
            logger.info("%r restarts %r in %.3g s (%s)", self.actor_ref, place.id, wait, place.last_exit)
        child = place.child
        if not child.elsewhere:
            self.send_after(wait, again)
            return
        if not is_there(child, self.system.nodes):
            logger.warning("%r awaits %s to restart %r", self.actor_ref, child.wanted, place.id)
            self._emit(Awaited, place, child.node or "", child.role)
        self.run(self._when_there(child, wait, again))

    async def _when_there(self, child: Child, wait: float, again: Due) -> Due:
        """In the background: what it returns comes as a message."""
        await asyncio.sleep(wait)
        await there(child, self.system.nodes)
        return again

    # --- when a node drains ---

    def _see_drains(self, node: str) -> None:
        """A child was placed on that node: hear of it when that drains. Its own node's end is its end, and all its children's."""
        if node != self.system.name and node not in self._seen:
            self._seen.add(node)
            self.run(self._when_drains(node))

    async def _when_drains(self, node: str, after: float = 0.0) -> Vacate:
        """In the background."""
        await asyncio.sleep(after)
        await self.system.nodes.drains(node)
        return Vacate(node)

    def _vacate(self, node: str) -> Any:
        """Move one of those children, if there is room for it elsewhere, and come back for the next: others come in between."""
        nodes = self.system.nodes
        guests = [place for place in self._tree.running.values() if place.node == node and place.child.moves]
        if not guests:
            self._seen.discard(node)
            return None
        if nodes.is_draining(node):
            for place in guests:
                if nodes.has_room(place.child.role, place.child.tags):
                    self.actor_ref.tell(Vacate(node))
                    return self._happens(Move(place.id, node))
        self.run(self._when_drains(node, LOOK_AGAIN))
        return None

    def _emit(self, event: type[Any], place: Place, *more: Any) -> None:
        hooks = self.system.hooks
        if hooks.wants(event):
            hooks.emit(event(self.actor_ref, place.id, place.last_exit, *more))


class _Slow:
    """What takes time, to be awaited. The supervisor may end before it comes to that: then it is closed, as if never meant."""

    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def __del__(self) -> None:
        self._coroutine.close()
