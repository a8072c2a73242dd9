"""An answer to come: what `ref.ask(..., block=False)`, `ref.stop()` and every use of a proxy return.

It is a Pykka future, and one that an event loop can wait for:

    from a plain thread     answer.get(timeout=...)         blocks
    on an event loop        await answer                    as `await ref.call(...)`: 5 seconds, or less if the request
                            await answer.within(60)         at hand has less time left; whoever gives up gives up the request

`map`, `filter`, `join` and `reduce` make further answers, which can be awaited too. On the loop that would have to give
the answer, `get` raises at once and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pykka

from understudy.actors.deadlines import Allowance, allowance, time_left, waiting_time
from understudy.actors.errors import ActorDied, CallError, DeadlineExceeded, Deadlock, Refused
from understudy.actors.reasons import Shutdown
from understudy.actors.ref import DEFAULT_TIMEOUT
from understudy.actors.replies import ThreadReply, raisable
from understudy.actors.rings import handler_here, held_up, thread_held_up
from understudy.actors.waiting import answer

if TYPE_CHECKING:
    from understudy.actors.envelope import Envelope
    from understudy.actors.ref import ActorRef
    from understudy.actors.scheduler import Scheduler

LOOK_UP = 1.0
"""Seconds after which a thread that waits looks whether anybody is there who could answer."""

T = TypeVar("T")
J = TypeVar("J")
M = TypeVar("M")
R = TypeVar("R")


class Answer(pykka.ThreadingFuture[T]):
    """`what` asks and `remedy` says what to do instead, for whoever blocks where nobody may. Made without arguments, it is
    an ordinary future that anybody may set."""

    def __init__(
        self,
        scheduler: Scheduler | None = None,
        what: str = "get()",
        remedy: str = "await the answer",
        callee: ActorRef[Any] | None = None,
    ) -> None:
        super().__init__()
        self.request: Envelope | None = None
        """The entry that asks, where it is one of this process: its time is cut to that of whoever waits."""
        self._scheduler = scheduler
        self._what = what
        self._remedy = remedy
        self._callee = callee
        self._come = False
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[Any]]] = []
        self._sources: tuple[pykka.Future[Any], ...] = ()

    def __repr__(self) -> str:
        return f"<Answer to {self._what}>" if self._scheduler is not None else "<Answer>"

    # --- from plain threads ---

    def refuse_on_loop(self) -> None:
        """Raise RuntimeError if the calling thread may not block: the loop that must answer runs on it."""
        if self._scheduler is not None:
            self._scheduler.refuse_blocking(self._what, self._remedy)

    def get(self, *, timeout: float | None = None) -> T:
        """Wait for the answer, as long as it takes or for `timeout` seconds (`pykka.Timeout`).

        In an actor's thread it waits no longer than what is left of the request being handled (DeadlineExceeded), and raises
        Deadlock if it would be in vain.
        """
        timeout = waiting_time(timeout)
        if self._come or self._get_hook is not None:
            return self._got(timeout)
        self.refuse_on_loop()
        left, inherited = time_left(timeout)
        if inherited and left is not None and self.request is not None:
            self.request.deadline = self._now() + left  # whoever serves it has no more time either
        try:
            with thread_held_up(self._callee, self.request):
                return self._got(left)
        except pykka.Timeout:
            if inherited:
                raise DeadlineExceeded(
                    f"{self._what}: the request being handled had no more time", inherited=True
                ) from None
            raise
        except Deadlock as found:
            if not self._come and self.request is not None:
                self._give_up(self.request, found)
            raise
        except DeadlineExceeded as late:
            late.inherited = inherited
            raise

    def _now(self) -> float:
        return self._scheduler.loop.time() if self._scheduler is not None else 0.0

    def _got(self, timeout: float | None) -> T:
        try:
            return self._looking_up(timeout)
        except Refused as refusal:
            refusal.relayed = True
            raise

    def _looking_up(self, timeout: float | None) -> T:
        """Wait as Pykka does, but look up now and then: a loop that was closed under its actors answers nobody."""
        scheduler, left = self._scheduler, timeout
        if scheduler is not None and not hasattr(
            scheduler.loop, "scheduler_class"
        ):  # a simulation sees who waits in vain
            while not self._come and (left is None or left > LOOK_UP):
                try:
                    return cast("T", super().get(timeout=LOOK_UP))
                except pykka.Timeout:
                    if scheduler.lost() and not self._come:
                        raise ActorDied(Shutdown("its event loop was closed"), repr(self._callee)) from None
                    left = None if left is None else left - LOOK_UP
        return cast("T", super().get(timeout=left))

    def set(self, value: T | None = None) -> None:
        super().set(value)
        self._tell_waiters()

    def set_exception(self, exc_info: Any = None) -> None:
        super().set_exception(exc_info)
        self._tell_waiters()

    # --- on event loops ---

    def __await__(self) -> Generator[Any, None, T]:
        return self.within(DEFAULT_TIMEOUT).__await__()

    __iter__ = __await__

    async def within(self, timeout: float) -> T:
        """Wait for the answer `timeout` seconds, and never longer than what is left of the request being handled.

        Raises what `ref.call` raises. Who gives up, at the deadline or by being cancelled, gives up the request.
        """
        loop = asyncio.get_running_loop()
        if self._sources:
            end = loop.time() + timeout
            for source in self._sources:
                await _come(source, end - loop.time())
            return self.get(timeout=0)
        future: asyncio.Future[T] = loop.create_future()
        with self._condition:
            if self._result is not None or self._get_hook is not None:
                return self.get()
            self._waiters.append((loop, future))
        try:
            return await self._answered(future, loop, timeout)
        finally:
            with self._condition:
                self._waiters = [waiter for waiter in self._waiters if waiter[1] is not future]
                given_up = not self._waiters and self._result is None
            if given_up and self.request is not None:
                self._give_up(self.request, DeadlineExceeded("whoever waited for this answer gave up"))

    async def _answered(self, future: asyncio.Future[T], loop: asyncio.AbstractEventLoop, timeout: float) -> T:
        callee = self._callee
        with held_up(handler_here(callee), callee, self.request):
            due = allowance(timeout, loop.time())
            self._cut(due, loop)
            return cast("T", await answer(future, cast("ActorRef[Any]", callee or self), due, timeout))

    def _cut(self, due: Allowance, loop: asyncio.AbstractEventLoop) -> None:
        if self.request is not None and self._scheduler is not None:
            # Another loop has another clock: what is left is all that can be said across.
            there = self._scheduler.loop
            self.request.deadline = due.deadline if there is loop else there.time() + (due.deadline - loop.time())

    def _give_up(self, request: Envelope, error: CallError) -> None:
        with contextlib.suppress(queue.Full):  # it came at this very moment
            super().set_exception((type(error), error, None))
            self._come = True
            cast("ThreadReply", request.reply).answered = True

    def _tell_waiters(self) -> None:
        self._come = True
        with self._condition:
            waiters, self._waiters = self._waiters, []
        for loop, future in waiters:
            if self._scheduler is not None and loop is self._scheduler.loop and self._scheduler.here():
                self._hand_over(future)
            else:
                with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(self._hand_over, future)

    def _hand_over(self, future: asyncio.Future[T]) -> None:
        if future.done():
            return
        try:
            value = super().get(timeout=0)
        except BaseException as error:  # noqa: BLE001 - it is whoever waits who is to have it
            future.set_exception(raisable(error))
        else:
            future.set_result(value)

    # --- answers made of answers ---

    def filter(self: Answer[Iterable[J]], func: Callable[[J], bool]) -> Answer[Iterable[J]]:
        """The items of this answer for which `func` is true."""
        return _made_of(pykka.Future.filter(self, func), self)

    def join(self: Answer[Any], *futures: pykka.Future[Any]) -> Answer[Iterable[Any]]:
        """This answer and the others, as a list."""
        return _made_of(pykka.Future.join(self, *futures), self, *futures)

    def map(self, func: Callable[[T], M]) -> Answer[M]:
        """What `func` makes of this answer."""
        return _made_of(pykka.Future.map(self, func), self)

    def reduce(self: Answer[Iterable[J]], func: Callable[[R, J], R], *args: R) -> Answer[R]:
        """The items of this answer, brought down to one value."""
        return _made_of(pykka.Future.reduce(self, func, *args), self)


def _made_of(derived: pykka.Future[M], *sources: pykka.Future[Any]) -> Answer[M]:
    made = cast("Answer[M]", derived)  # Pykka makes one of the same class
    made._sources = sources
    return made


async def _come(source: pykka.Future[Any], timeout: float) -> None:
    """Wait until it is there, whatever it is."""
    if isinstance(source, Answer):
        await source.within(max(0.0, timeout))
    else:  # of an actor of Pykka's own, which knows no loops
        await asyncio.to_thread(source.get, timeout=max(0.0, timeout))
