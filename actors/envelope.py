"""A message with what travels beside it. A plain local `tell` needs none of it and goes into the mailbox bare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from understudy.actors.ref import ActorRef


class Reply(Protocol):
    """Where the answer to a request goes. Whoever comes late is ignored: the first answer counts."""

    def set(self, value: Any) -> None:
        """Answer with `value`."""
        ...

    def fail(self, error: Exception) -> None:
        """Answer with an error."""
        ...

    def abandoned(self) -> bool:
        """Whether nobody waits any more: a request that has not begun is then dropped."""
        ...


class Ticket(Protocol):
    """What makes an entry void after it was put in: a cancelled timer, a flushed monitor."""

    @property
    def active(self) -> bool:
        """Whether it still counts."""
        ...


class Envelope:
    """One mailbox entry. Every field exists from the first day, since each of them also crosses the wire.

    `deadline` is in the loop's seconds here and the remaining seconds on the wire. `trace` and `flags` are reserved for
    timelines, and nothing reads them yet: an envelope keeps them through stashes and routers and across the wire, and a call to
    another node hands on the trace of the request at hand; one inside this process does not. `ticket` is looked at when the entry
    is taken out.
    """

    __slots__ = ("deadline", "flags", "message", "reply", "request_id", "sender", "ticket", "trace")

    def __init__(
        self,
        message: Any,
        reply: Reply | None = None,
        sender: ActorRef[Any] | None = None,
        request_id: int = 0,
        deadline: float | None = None,
        trace: bytes = b"",
        flags: int = 0,
        ticket: Ticket | None = None,
    ) -> None:
        self.message = message
        self.reply = reply
        self.sender = sender
        self.request_id = request_id
        self.deadline = deadline
        self.trace = trace
        self.flags = flags
        self.ticket = ticket

    def __repr__(self) -> str:
        return f"Envelope({self.message!r}, request_id={self.request_id}, deadline={self.deadline})"
