"""The open requests of actors here to actors of one peer. Each ends once: answered, forgotten by who asked, or failed with
the link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.actors import ActorRef, Reply
from understudy.transport.answers import Answer
from understudy.transport.operations import CANCEL, SEND

if TYPE_CHECKING:
    from understudy.transport.link import Link
    from understudy.transport.remote import RemoteRef


class Calls:
    """Who waits for which request. Used on the loop's thread only."""

    __slots__ = ("_last", "_link", "_open")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._open: dict[int, tuple[RemoteRef[Any], Reply]] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._open)

    def passed_on(self) -> int:
        """How many of them somebody on a third node waits for, to whom the answer goes by way of this one."""
        return sum(isinstance(reply, Answer) for _, reply in self._open.values())

    def ask(
        self,
        ref: RemoteRef[Any],
        message: Any,
        reply: Reply,
        remaining: float | None,
        sender: ActorRef[Any] | None = None,
        trace: bytes = b"",
        flags: int = 0,
        urgent: bool = False,
    ) -> int:
        """Send a request. Its number is for `forget`; 0 if it failed at once. Raises Overloaded, unless it is `urgent` and passes
        though the outbox is full; NotRegistered, TooLarge."""
        link = self._link
        if link.lost is not None:
            reply.fail(link.death(ref))
            return 0
        if link.full and not urgent:
            raise link.overloaded()
        number = self._last + 1
        item = link.encoder.item(trace, ref.target, message, (SEND, number, remaining, flags, sender))
        return self._begin(number, ref, reply, item)

    def order(self, operation: int, ref: RemoteRef[Any], reply: Reply, *details: Any) -> int:
        """Send a request that is no message but an operation of its own; it passes though the outbox is full. Its number is
        for `forget`; 0 if it failed at once. Raises NotRegistered."""
        link = self._link
        if link.lost is not None:
            reply.fail(link.death(ref))
            return 0
        number = self._last + 1
        return self._begin(number, ref, reply, link.encoder.pack((operation, number, ref.target, *details)))

    def answered(self, request: int) -> Reply | None:
        """The one who waits for that request, if anybody does still."""
        call = self._open.pop(request, None)
        return call[1] if call is not None else None

    def forget(self, request: int) -> None:
        """Nobody waits for that request any more."""
        if self._open.pop(request, None) is not None:
            self._link.push(self._link.encoder.pack((CANCEL, request)))

    def lose(self) -> None:
        """The link is lost: every request has failed."""
        calls, self._open = self._open, {}
        for ref, reply in calls.values():
            reply.fail(self._link.death(ref))

    def _begin(self, number: int, ref: RemoteRef[Any], reply: Reply, item: bytes) -> int:
        send = self._link.push if self._open else self._link.send_now
        self._last = number
        self._open[number] = (ref, reply)
        send(item)
        return number
