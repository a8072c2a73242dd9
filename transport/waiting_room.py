"""Where messages wait for whoever has a name in the cluster, while nobody has it or its owner is still starting it.

tell, call ──▶ at most LIMIT, in order ──▶ somebody has it ──▶ all of it is sent on, before anything that comes later
                          └── a tell waits PATIENCE at most, a call until its deadline ──▶ a dead letter, DeadlineExceeded
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from understudy.actors import ActorRef, DeadLetter, Envelope, Overloaded, UnderstudyError
from understudy.actors.dead_letters import NO_SUCH_NAME, OVERLOADED
from understudy.transport.remote import RemoteRef

if TYPE_CHECKING:
    from understudy.actors import ActorSystem

LIMIT = 1000
"""Messages that wait for one name."""

PATIENCE = 10.0
"""Seconds that a tell waits."""


class Turn:
    """Stands in the line for somebody who sends as soon as it is its turn: the reply in an envelope that goes nowhere."""

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.future = future

    def set(self, value: Any) -> None:
        """It is its turn."""
        if not self.future.done():
            self.future.set_result(None)

    def fail(self, error: Exception) -> None:
        """It will never be."""
        if not self.future.done():
            self.future.set_exception(error)

    def abandoned(self) -> bool:
        """Whether it left the line."""
        return self.future.done()


class Waiting:
    """One entry on its way. `due`: in the loop's seconds; for a tell only, a call's own deadline ends it."""

    __slots__ = ("due", "envelope", "number", "sent_to")

    def __init__(self, envelope: Envelope, due: float) -> None:
        self.envelope = envelope
        self.due = due
        self.sent_to: RemoteRef[Any] | None = None
        self.number = 0

    def send(self, to: ActorRef[Any], now: float) -> None:
        """Send it on. Raises what `tell` does."""
        envelope = self.envelope
        if isinstance(envelope.reply, Turn):
            envelope.reply.set(None)
        elif isinstance(to, RemoteRef):
            if envelope.reply is None:
                to.tell(envelope.message)
                return
            remaining = None if envelope.deadline is None else envelope.deadline - now
            self.sent_to = to
            self.number = to.link.calls.ask(
                to, envelope.message, envelope.reply, remaining, envelope.sender, envelope.trace, envelope.flags
            )
        else:
            to.tell(envelope.message if envelope.reply is None else envelope)

    def forget(self) -> None:
        """Nobody waits for its answer any more."""
        if self.sent_to is not None:
            self.sent_to.link.calls.forget(self.number)

    def fail(self, ref: ActorRef[Any], system: ActorSystem, error: Exception, reason: str) -> None:
        """It is not to be sent any more."""
        if self.envelope.reply is not None:
            self.envelope.reply.fail(error)
        else:
            system.dead_letters.add(DeadLetter(ref, self.envelope.message, reason))


class WaitingRoom:
    """Of one name. `ref`: what the senders know it as. `emptied` is called when nobody waits any more, and was not sent on."""

    def __init__(self, system: ActorSystem, ref: ActorRef[Any], emptied: Callable[[], object]) -> None:
        self.looked = False
        """Whether the table was read since the first one came in: before that, what it said may be long past."""
        self._system = system
        self._ref = ref
        self._emptied = emptied
        self._entries: deque[Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        self._clear_out()
        return len(self._entries)

    def enter(self, envelope: Envelope) -> Waiting:
        """Wait, behind all that do."""
        waiting = Waiting(envelope, self._system.loop.time() + PATIENCE)
        if len(self._entries) >= LIMIT and len(self) >= LIMIT:
            full = Overloaded(f"{LIMIT:,} messages wait for {self._ref!r} already, which nobody has at present")
            waiting.fail(self._ref, self._system, full, OVERLOADED)
            return waiting
        self._entries.append(waiting)
        if self._timer is None:
            self._set_timer()
        return waiting

    def send_on(self, to: ActorRef[Any]) -> None:
        """Somebody has the name: all that wait go there, in order."""
        now = self._system.loop.time()
        while self._entries:
            waiting = self._entries.popleft()
            if waiting.envelope.reply is not None and waiting.envelope.reply.abandoned():
                continue
            try:
                waiting.send(to, now)
            except Overloaded as error:
                waiting.fail(self._ref, self._system, error, OVERLOADED)
            except UnderstudyError as error:
                waiting.fail(self._ref, self._system, error, str(error))
        self._stop_timer()

    def close(self, error: Exception) -> None:
        """Nobody will ever have it: this node ends."""
        while self._entries:
            self._entries.popleft().fail(self._ref, self._system, error, NO_SUCH_NAME)
        self._stop_timer()

    def _clear_out(self) -> None:
        """Those whose caller has given up need no place."""
        self._entries = deque(
            each for each in self._entries if each.envelope.reply is None or not each.envelope.reply.abandoned()
        )

    def _set_timer(self) -> None:
        loop = self._system.loop
        first = next((each.due for each in self._entries if each.envelope.reply is None), loop.time() + PATIENCE)
        self._timer = loop.call_at(first, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = self._system.loop.time()
        self._clear_out()
        late = [each for each in self._entries if each.envelope.reply is None and each.due <= now]
        self._entries = deque(each for each in self._entries if each.envelope.reply is not None or each.due > now)
        for each in late:
            self._system.dead_letters.add(DeadLetter(self._ref, each.envelope.message, NO_SUCH_NAME))
        if self._entries:
            self._set_timer()
        else:
            self._emptied()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
