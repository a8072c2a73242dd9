"""A supervisor: an ordinary actor that starts its children in order, restarts those that fail, and ends them in reverse.

    class Lobby(Supervisor):
        def children(self) -> list[Child]:
            return [Child(Room, name="room/lobby")]

It uses only what every actor may use: spawn, exit signals, monitors, messages. What it decides is in `spec.py`.

    child ends ──> Exit ──> decide ──┬── RESTART ──> start it ──> failed? ──> TryAgain to myself (counts as an attempt,
                                     │                                        and lets other messages in between)
                                     ├── KEEP, FORGET
                                     └── GIVE_UP ──> Stop(Shutdown): my other children end, my own supervisor decides
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Generator, Sequence
from typing import Any, ClassVar, Literal

from understudy.actors import (
    Actor,
    ActorRef,
    Cell,
    Exit,
    ExitReason,
    Killed,
    NameTaken,
    Refused,
    Request,
    Restarted,
    Shutdown,
    StartFailed,
    Stop,
    message,
)
from understudy.supervisors.spec import Child, Intensity, ShutdownSpec, Verdict, attempt, decide

logger = logging.getLogger("understudy.supervisors")


@message("understudy.supervisors.ChildInfo")
class ChildInfo:
    """One row of `WhichChildren`. `state`: running, restarting, or stopped. `ref` is None unless it runs."""

    id: str
    cls: str
    state: str
    restart: str
    restarts: int
    ref: ActorRef[Any] | None
    last_exit: ExitReason | None


@message("understudy.supervisors.WhichChildren")
class WhichChildren(Request[list[ChildInfo]]):
    """Ask a supervisor for its children, in the order they were declared."""


@message("understudy.supervisors.TerminateChild")
class TerminateChild(Request[None]):
    """End a child; its spec stays, unless it is temporary. Refused for an unknown id."""

    id: str


@message("understudy.supervisors.RestartChild")
class RestartChild(Request[ActorRef[Any]]):
    """Start a child again that was stopped. Refused while it runs or is being restarted."""

    id: str


@message("understudy.supervisors.DeleteChild")
class DeleteChild(Request[None]):
    """Forget the spec of a stopped child. Refused while it runs or is being restarted."""

    id: str


@message("understudy.supervisors.StartChild")
class StartChild(Request[ActorRef[Any]]):
    """Add a child and start it. Refused if the id is taken or it does not start. For callers on the same node."""

    child: Child


class _TryAgain:
    """To oneself: a child's start failed; try once more, after whatever waits in the mailbox."""

    def __init__(self, child: str) -> None:
        self.child = child


class _Post:
    """A child's place: its spec, and who fills it now."""

    __slots__ = ("child", "last_exit", "ref", "restarting", "restarts")

    def __init__(self, child: Child) -> None:
        self.child = child
        self.ref: ActorRef[Any] | None = None
        self.restarting = False
        self.restarts = 0
        self.last_exit: ExitReason | None = None

    @property
    def state(self) -> Literal["running", "restarting", "stopped"]:
        if self.ref is not None:
            return "running"
        return "restarting" if self.restarting else "stopped"


class _Slow:
    """A start that takes time, to be awaited. If its supervisor ends before it comes to that, it is closed unbegun."""

    __slots__ = ("_starting",)

    def __init__(self, starting: Coroutine[Any, Any, ActorRef[Any]]) -> None:
        self._starting = starting

    def __await__(self) -> Generator[Any, Any, ActorRef[Any]]:
        return self._starting.__await__()

    def __del__(self) -> None:
        self._starting.close()


class Supervisor(Actor):
    """Subclass it and override `children()`, or spawn it with a list: `spawn(Supervisor, [Child(...), ...])`.

    More than `intensity` restarts within `period` seconds, all children together, and it gives up with `Shutdown`.
    """

    strategy: ClassVar[str] = "one_for_one"
    intensity: int = 1
    period: float = 5.0

    default_shutdown: ClassVar[ShutdownSpec] = "infinity"
    """What a spec without `shutdown` means for an actor of this class; for others it is WORKER_SHUTDOWN."""

    trap_exit = True
    stop_timeout = None  # its children's own shutdown times bound it

    def __init__(
        self, children: Sequence[Child] = (), *, intensity: int | None = None, period: float | None = None
    ) -> None:
        super().__init__()
        self._given = tuple(children)
        self._intensity = Intensity(
            self.intensity if intensity is None else intensity, self.period if period is None else period
        )
        self._posts: dict[str, _Post] = {}
        self._filled: dict[ActorRef[Any], _Post] = {}  # those whose child runs; ten thousand may end at once

    def children(self) -> Sequence[Child]:
        """The children to start, in order."""
        return self._given

    # --- life ---

    async def on_start(self) -> None:
        if self.strategy != "one_for_one":
            raise ValueError(f"{type(self).__name__}.strategy is 'one_for_one', not {self.strategy!r}")
        for child in self.children():
            if not isinstance(child, Child):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"{type(self).__name__}.children() returns a list of Child(...), not of {child!r}")
            if child.id in self._posts:
                raise ValueError(f"two children of {type(self).__name__} have the id {child.id!r}: give one another id")
            post = self._posts[child.id] = _Post(child)
            try:
                await self._started(post)
            except BaseException:
                await self._end_all()
                raise

    def on_receive(self, message: Any) -> Any:
        match message:
            case Exit(sender, reason):
                return self._ended(sender, reason)
            case _TryAgain():
                post = self._posts.get(message.child)
                if post is not None and post.restarting:  # not terminated meanwhile
                    verdict, self._intensity = attempt(self._intensity, self.system.loop.time())
                    return self._obey(verdict, post)
                return None
            case _:
                return self._serve(message)

    async def _serve(self, message: Any) -> Any:
        match message:
            case WhichChildren():
                return [self._info(post) for post in self._posts.values()]
            case StartChild(child):
                return await self._add(child)
            case TerminateChild(child):
                return await self._terminate(self._post(child))
            case RestartChild(child):
                return await self._start_stopped(self._post(child))
            case DeleteChild(child):
                del self._posts[self._stopped(self._post(child)).child.id]
                return None
            case _:
                return self.unhandled(message)

    async def on_stop(self, reason: ExitReason) -> None:
        await self._end_all()

    # --- when a child ends ---

    def _ended(self, sender: ActorRef[Any] | None, reason: ExitReason) -> Any:
        if sender is None or sender not in self._filled:
            return None  # one that was terminated on request, or no child at all
        if sender.is_alive():
            logger.warning(
                "%r ignores an exit signal that its living child %r sent it: %s", self.actor_ref, sender, reason
            )
            return None
        post = self._filled.pop(sender)
        post.ref = None
        post.last_exit = reason
        verdict, self._intensity = decide(post.child.restart, reason, self._intensity, self.system.loop.time())
        return self._obey(verdict, post)

    def _obey(self, verdict: Verdict, post: _Post) -> Any:
        child = post.child
        if verdict is Verdict.FORGET:
            del self._posts[child.id]
        elif verdict is Verdict.GIVE_UP:
            logger.error(
                "%r gives up: more than %s restarts in %s s, the last one of %r (%s)",
                self.actor_ref, self._intensity.limit, self._intensity.period, child.id, post.last_exit,
            )  # fmt: skip
            del self._posts[child.id]
            return Stop(Shutdown(f"too many restarts, the last one of {child.id!r}: {post.last_exit}"))
        elif verdict is Verdict.RESTART:
            post.restarting = True
            post.restarts += 1
            try:
                started = self._start(post)
                if not isinstance(started, ActorRef):
                    return self._restart_slowly(post, _Slow(started))
            except (StartFailed, NameTaken) as error:
                self._not_restarted(post, error)
            else:
                self._restarted(post, started)
        return None

    async def _restart_slowly(self, post: _Post, starting: _Slow) -> None:
        try:
            ref = await starting
        except (StartFailed, NameTaken) as error:
            self._not_restarted(post, error)
        else:
            self._restarted(post, ref)

    def _not_restarted(self, post: _Post, error: StartFailed | NameTaken) -> None:
        post.last_exit = error.reason if isinstance(error, StartFailed) else post.last_exit
        logger.error("%r could not restart %r: %s", self.actor_ref, post.child.id, error)
        self.actor_ref.tell(_TryAgain(post.child.id))

    def _restarted(self, post: _Post, ref: ActorRef[Any]) -> None:
        self._fill(post, ref)
        logger.warning("%s restarted %r", self.name or type(self).__name__, post.child.id)
        self._tell_hooks(post)

    # --- starting and ending one ---

    def _start(self, post: _Post) -> ActorRef[Any] | Coroutine[Any, Any, ActorRef[Any]]:
        child = post.child
        return self.system.start_child(
            self._cell, child.cls, child.args, dict(child.kwargs), child.name, child.start_timeout
        )

    async def _started(self, post: _Post) -> ActorRef[Any]:
        started = self._start(post)
        return self._fill(post, started if isinstance(started, ActorRef) else await started)

    def _fill(self, post: _Post, ref: ActorRef[Any]) -> ActorRef[Any]:
        post.ref = ref
        post.restarting = False
        self._filled[ref] = post
        return ref

    def _tell_hooks(self, post: _Post) -> None:
        """Say that a child was started again: to whoever listens, and to whoever asks for `info` of it."""
        if isinstance(post.ref, Cell):
            post.ref.tied().restarts = post.restarts
            if self.system.hooks.wants(Restarted):
                restarted = Restarted(post.ref, self.actor_ref, post.child.id, post.last_exit, post.restarts)
                self.system.hooks.emit(restarted)

    async def _end(self, post: _Post) -> None:
        """End one child by its shutdown spec, watched by a monitor: one that unlinks cannot hang its supervisor."""
        ref, post.ref, post.restarting = post.ref, None, False
        if ref is None:
            return
        del self._filled[ref]
        patience = post.child.patience
        if patience == "brutal_kill":
            ref.kill()
            post.last_exit = await ref.ended()
            return
        ref._exit(self._cell, Shutdown())
        try:
            post.last_exit = await ref.ended(None if patience == "infinity" else float(patience))
        except TimeoutError:
            logger.error("%r did not end within its shutdown time of %s s: killed", ref, patience)
            ref.kill()
            post.last_exit = Killed()
            await ref.ended()

    async def _end_all(self) -> None:
        for post in reversed(tuple(self._posts.values())):
            await self._end(post)

    # --- requests ---

    async def _add(self, child: Child) -> ActorRef[Any]:
        if not isinstance(child, Child):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise Refused(f"StartChild takes a Child(...), not {child!r}")
        known = self._posts.get(child.id)
        if known is not None:
            raise Refused(f"the child {child.id!r} exists already and is {known.state}")
        post = self._posts[child.id] = _Post(child)
        try:
            return await self._started(post)
        except (StartFailed, NameTaken) as error:
            del self._posts[child.id]
            raise Refused(str(error)) from error

    async def _terminate(self, post: _Post) -> None:
        await self._end(post)
        if post.child.restart == "temporary":
            self._posts.pop(post.child.id, None)

    async def _start_stopped(self, post: _Post) -> ActorRef[Any]:
        try:
            return await self._started(self._stopped(post))
        except (StartFailed, NameTaken) as error:
            raise Refused(str(error)) from error

    def _post(self, child: str) -> _Post:
        post = self._posts.get(child) if isinstance(child, str) else None  # it may come from anywhere
        if post is None:
            raise Refused(f"no child {child!r}; there are: {', '.join(map(repr, self._posts)) or 'none'}")
        return post

    def _stopped(self, post: _Post) -> _Post:
        if post.state != "stopped":
            raise Refused(f"the child {post.child.id!r} is {post.state}")
        return post

    def _info(self, post: _Post) -> ChildInfo:
        child = post.child
        return ChildInfo(
            child.id, child.cls.__name__, post.state, child.restart, post.restarts, post.ref, post.last_exit
        )
