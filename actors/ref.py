"""A reference: an address plus a mailbox. All that one actor may know of another.

Three kinds share this face, and nobody but the resolver asks which one it holds:

    Cell        an actor of this process          (cell.py)
    NamedRef    whoever has the name at the time  (names.py)
    RemoteRef   an actor of another node          (the transport wing)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

from understudy.actors.address import Address
from understudy.actors.message import Request
from understudy.actors.reasons import ExitReason, Shutdown

if TYPE_CHECKING:
    import pykka

    from understudy.actors.actor import Actor

A = TypeVar("A", bound="Actor", covariant=True)
R = TypeVar("R")

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

        Raises Overloaded when the outbox towards a remote peer is full (nothing was sent), NotRegistered when the
        target is remote and the message may not cross the wire.
        """
        raise NotImplementedError

    @overload
    async def call(self, message: Request[R], timeout: float = DEFAULT_TIMEOUT) -> R: ...
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
    def ask(self, message: Request[R], *, timeout: float | None = None) -> R: ...
    @overload
    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any: ...
    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """Pykka's request, for plain threads: blocks for the reply, or returns a `pykka.Future` with `block=False`.

        On the event loop's own thread a blocking ask raises RuntimeError at once, since it could never be answered.
        """
        raise NotImplementedError

    # --- ending ---

    def stop(self) -> pykka.Future[bool]:
        """Ask the actor to end once it has handled what was sent to it before; `on_stop` runs.

        Returns a future for plain threads (`.get(timeout)`): True if this ended it, False if it was dead already.
        On the event loop, `await ref.ended()`.
        """
        raise NotImplementedError

    def exit(self, reason: ExitReason = Shutdown()) -> None:  # noqa: B008 - reasons are immutable values
        """Send an exit signal: overtakes the mailbox, cancels an async handler at its await, runs `on_stop`.

        An actor that traps exits gets an `Exit` message instead; `Normal` is ignored by one that does not.
        """
        raise NotImplementedError

    def kill(self) -> None:
        """End the actor at once, trapping or not, without a hook; everybody else sees `Killed`."""
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


def described(kind: str, name: str | None, at: object) -> str:
    """How every reference prints: its class, or "actor" where that is not known, then its name, and where it is."""
    return f"<{kind} {f'{name!r} ' if name else ''}at {at}>"
