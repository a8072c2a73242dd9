"""A reference: an address plus a mailbox. All that one actor may know of another.

Three kinds share this face, and nobody but the resolver asks which one it holds:

    Cell        an actor of this process          (cell.py)
    NamedRef    whoever has the name at the time  (names.py)
    RemoteRef   an actor of another node          (the transport wing)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, Protocol, Self, TypeVar, overload

from understudy.actors.address import Address
from understudy.actors.errors import ActorDied
from understudy.actors.message import Request
from understudy.actors.reasons import ExitReason, NoProc, Shutdown

if TYPE_CHECKING:
    from understudy.actors.actor import Actor
    from understudy.actors.answer import Answer
    from understudy.actors.info import Info
    from understudy.actors.proxy import ActorProxy, TypedProxy
    from understudy.actors.signals import Order
    from understudy.actors.tracing import Trace

A = TypeVar("A", bound="Actor", covariant=True)
R = TypeVar("R")
Proxy = TypeVar("Proxy", bound="TypedProxy[Any]")

DEFAULT_TIMEOUT = 5.0
"""Seconds a call waits unless told otherwise; OTP's default."""


class Watcher(Protocol):
    """Who learns of a death: a local actor, a future, or the link to a remote watcher. Told exactly once per token."""

    def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        """The watched actor `ref` ended."""
        ...


class ActorRef(Generic[A]):
    """A reference to an actor, here or on another machine. Safe to keep, to send in a message, to use from any thread."""

    __slots__ = ()

    # --- talking ---

    def tell(self, message: Any) -> None:
        """Send `message` one way. A dead or unreachable target never raises: the message becomes a dead letter.

        Raises Overloaded when a mailbox that rejects, or the outbox towards a remote peer, is full (nothing was sent),
        NotRegistered when the target is remote and the message may not cross the wire.
        """
        raise NotImplementedError

    @overload
    async def call(self, message: Request[R], timeout: float = DEFAULT_TIMEOUT) -> R: ...
    @overload
    async def call(  # what mypy falls back to when the result is put to a wrong use
        self, message: Request[Any], timeout: float = DEFAULT_TIMEOUT
    ) -> object: ...
    @overload
    async def call(self, message: Any, timeout: float = DEFAULT_TIMEOUT) -> Any: ...
    async def call(self, message: Any, timeout: float = DEFAULT_TIMEOUT) -> Any:
        """Send a request when awaited and return the reply.

        Waits `timeout` seconds at most, and never longer than what is left of the request that the caller itself is
        handling. Raises ActorDied at once when the callee dies or is not there (NodeDown when its node is), Refused
        when it declines, DeadlineExceeded when time is up, Deadlock for a call to oneself.
        """
        raise NotImplementedError

    @overload
    def ask(self, message: Request[R], *, block: Literal[True] = True, timeout: float | None = None) -> R: ...
    @overload
    def ask(self, message: Request[R], *, block: Literal[False]) -> Answer[R]: ...
    @overload
    def ask(self, message: Request[Any], *, block: Literal[True] = True, timeout: float | None = None) -> object: ...
    @overload
    def ask(self, message: Any, *, block: Literal[False], timeout: float | None = None) -> Answer[Any]: ...
    @overload
    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any: ...
    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """Pykka's request, for plain threads: blocks for the reply, or returns an `Answer` to come with `block=False`.

        `timeout` is that of a blocking ask: an Answer is given one where it is waited for.
        On the event loop's own thread a blocking ask raises RuntimeError at once, since it could never be answered; an
        Answer can be awaited there.
        """
        raise NotImplementedError

    @overload
    def proxy(self) -> ActorProxy[A]: ...
    @overload
    def proxy(self, kind: type[Proxy]) -> Proxy: ...
    def proxy(self, kind: Any = None) -> Any:
        """The actor's attributes and methods as messages to it (see `ActorProxy`); of a class of your own, typed.

        Raises ActorDied if there is no such actor now, TypeError for one of another node: attributes do not cross the wire.
        """
        raise TypeError(
            f"{self!r} is not of this process: attributes and methods do not cross the wire; send it a message"
        )

    async def offer(self, message: Any, timeout: float = math.inf) -> None:
        """Send `message` one way, waiting for room where `tell` would raise Overloaded or something would be dropped.

        Those who wait get in one by one, in the order they came, before any `tell`. Raises Overloaded after `timeout`
        seconds (nothing was sent; DeadlineExceeded when the request being handled has no more time), ActorDied if there is
        no such actor or it dies meanwhile. A cancelled offer may have been sent.
        """
        raise NotImplementedError

    # --- ending ---

    def stop(self) -> Answer[bool]:
        """Ask the actor to end once it has handled what was sent to it before; `on_stop` runs.

        True, for whoever waits for the answer (`await`, or `.get(timeout)` in plain threads), if this ended it; False if it
        was dead already.
        """
        raise NotImplementedError

    def exit(self, reason: ExitReason = Shutdown()) -> None:  # noqa: B008 - reasons are immutable values
        """Send an exit signal: overtakes the mailbox, cancels an async handler at its await, runs `on_stop`.

        An actor that traps exits gets an `Exit` message instead; `Normal` is ignored by one that does not.
        """
        raise NotImplementedError

    def kill(self) -> None:
        """End the actor at once, trapping or not, without a hook; everybody else sees `Killed`.

        At once for its loop: a plain handler that holds that loop is not interrupted, and a kill from another thread waits for it.
        """
        raise NotImplementedError

    def is_alive(self) -> bool:
        """Whether the actor was alive when last heard of. It may have ended since: prefer a monitor."""
        raise NotImplementedError

    async def ended(self, timeout: float | None = None) -> ExitReason:
        """Wait for the actor's end and return its reason; TimeoutError after `timeout` seconds.

        `NoProc` if it was gone before and its reason is not known here any more.
        """
        raise NotImplementedError

    # --- who it is ---

    @property
    def address(self) -> Address:
        """Node, incarnation and id."""
        raise NotImplementedError

    @property
    def name(self) -> str | None:
        """The registered name, if it has one."""
        raise NotImplementedError

    async def info(self, timeout: float = DEFAULT_TIMEOUT) -> Info:
        """What the actor is and does now, wherever it lives. Raises ActorDied if it is dead, and what `call` raises."""
        raise NotImplementedError

    # --- as a value ---

    def __copy__(self) -> Self:
        """There is one reference to an actor here: a copy is the same."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """The same: what holds references is copied, the actors are not."""
        return self

    def __reduce__(self) -> NoReturn:
        """A pickle knows no system to come back to: TypeError."""
        raise TypeError(
            f"{self!r} cannot be pickled: send the reference itself, in a message; or keep its name, and ask `system.ref(name)`"
        )

    # --- for operators, of an actor that is not of this process ---

    async def _inspect(self, what: str, timeout: float) -> Any:
        """Have its own node do what an operator asks, by the name of the method: "info", "get_state", "suspend", "resume"."""
        raise self._foreign()

    def _trace(self, limit: int) -> Trace:
        raise self._foreign()

    def _foreign(self) -> ValueError:
        return ValueError(f"{self!r} lives in another system of this process: ask that one")

    # --- for proxies ---

    def _nobody(self) -> ActorDied:
        """The error for whoever asks it when it is dead already."""
        return ActorDied(NoProc(), repr(self))

    def _actor_weakref(self) -> Actor | None:
        """The living actor; Pykka's name for it, which its proxies call."""
        raise NotImplementedError

    def _order(self, order: Order) -> None:
        """Send something that the kernel carries out, one way."""
        raise NotImplementedError

    def _refuse_blocking(self, what: str, remedy: str) -> None:
        """Raise RuntimeError if the calling thread is that of the loop which would have to answer."""
        raise NotImplementedError

    # --- signals between actors; the kernel and the transport speak these, users do not ---

    def _meant(self) -> ActorRef[Any]:
        """The actor that a monitor or link made now is about: for a name, whoever has it at the moment."""
        return self

    def _monitor(self, token: int, watcher: Watcher) -> None:
        raise NotImplementedError

    def _demonitor(self, token: int, watcher: Watcher) -> None:
        raise NotImplementedError

    def _link(self, sender: ActorRef[Any]) -> None:
        raise NotImplementedError

    def _unlink(self, sender: ActorRef[Any]) -> None:
        raise NotImplementedError

    def _exit(self, sender: ActorRef[Any] | None, reason: ExitReason) -> None:
        """An exit signal somebody sent on purpose."""
        raise NotImplementedError

    def _linked_exit(self, sender: ActorRef[Any], reason: ExitReason) -> None:
        """The exit signal of a link whose other end died."""
        raise NotImplementedError


def meant(ref: ActorRef[Any]) -> ActorRef[Any]:
    """The actor that is meant by a reference. TypeError for what is none."""
    if not isinstance(ref, ActorRef):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"this takes a reference to an actor, such as what spawn returns or `self.actor_ref`, not {ref!r}"
        )
    return ref._meant()


def described(kind: str, name: str | None, at: object) -> str:
    """How every reference prints: its class, or "actor" where that is not known, then its name, and where it is."""
    return f"<{kind} {f'{name!r} ' if name else ''}at {at}>"
