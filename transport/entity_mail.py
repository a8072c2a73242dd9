"""What is sent to an entity, while nobody may know where it is: a message, a request (`Asked`), or a `Deed`.

Each waits in its route in its turn, and goes into the mailbox of the actor here, or over the link to its address elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.actors import ActorRef, Cell, Envelope
from understudy.transport.answers import Moved
from understudy.transport.operations import TELL
from understudy.transport.remote import RemoteRef

if TYPE_CHECKING:
    from understudy.transport.routes import Routes


class Asked:
    """A request, wherever its entity is: the caller's entry, and the `Reply` that a link has for it."""

    __slots__ = ("at", "entry", "number", "routes")

    def __init__(self, routes: Routes, entry: Envelope) -> None:
        self.routes = routes
        self.entry = entry
        self.at: RemoteRef[Any] | None = None
        self.number = 0

    def post(self, to: RemoteRef[Any]) -> None:
        """Send it over the link."""
        entry, link = self.entry, to.link
        remaining = None if entry.deadline is None else entry.deadline - link.loop.time()
        self.at = to
        self.number = link.calls.ask(
            to, entry.message, self, remaining, entry.sender, entry.trace, entry.flags, urgent=True
        )

    def forget(self) -> None:
        """Nobody waits any more."""
        if self.at is not None:
            self.at.link.calls.forget(self.number)

    # --- as a Reply ---

    def set(self, value: Any) -> None:
        assert self.entry.reply is not None, "what is asked is to be answered"
        self.entry.reply.set(value)

    def fail(self, error: Exception) -> None:
        assert self.entry.reply is not None, "what is asked is to be answered"
        if not (isinstance(error, Moved) and self.at is not None and self.routes.came_back(self.at, self)):
            self.entry.reply.fail(error)

    def abandoned(self) -> bool:
        return self.entry.reply is None or self.entry.reply.abandoned()


class Deed:
    """Something to be done with the entity, in its turn among the messages. `failed` if it cannot be."""

    __slots__ = ()

    def do(self, ref: ActorRef[Any]) -> None:
        """`ref` is the actor here, or its address elsewhere."""
        raise NotImplementedError

    def failed(self, error: Exception) -> None:
        """It is nowhere."""


def put(cell: Cell[Any], what: Any) -> None:
    """Into the mailbox of the actor here."""
    if isinstance(what, Asked):
        cell.tell(what.entry)
    elif isinstance(what, Deed):
        what.do(cell)
    else:
        cell.tell(what)


def post_all_the_same(to: RemoteRef[Any], what: Any) -> None:
    """Over the link, however full it is: what has waited is bounded, and whoever sent it is not there to be refused."""
    if isinstance(what, Asked):
        what.post(to)
    elif isinstance(what, Deed):
        what.do(to)
    else:
        to.link.push(to.link.encoder.item(TELL, to.target, what))
