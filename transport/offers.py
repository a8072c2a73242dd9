"""Offers to actors of one peer: tells that wait for room, in the outbox here and with the actor there.

    await ref.offer(m)
      room in the outbox, and fewer than AHEAD ahead ──▶ OFFER(target, m) ──▶ Admission there: in the mailbox, or in
      neither: in line, each actor's its own                                   line for it, at most AHEAD of this node
                                                     ◀── ROOM(target, n) ──    n more have got in

So `offer` need not wait for an answer, and yet nobody can send faster for long than the actor there takes. Lines take
turns when there is room in the outbox again. Used on the loop's thread only.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from understudy.actors import ActorDied, NoProc, Overloaded, Reply, UnderstudyError
from understudy.transport.operations import OFFER

if TYPE_CHECKING:
    from understudy.transport.link import Link
    from understudy.transport.remote import RemoteRef

AHEAD = 1_024
"""Offers to one actor that may be under way, or stand in line there, before the next one waits here."""

DEAD_LIMIT = 256
"""Actors of which it is remembered that an offer found them dead, so that the next one says so."""


class Line:
    """Offers to one actor. `ahead`: sent, and not known to have got in."""

    __slots__ = ("ahead", "waiting")

    def __init__(self) -> None:
        self.ahead = 0
        self.waiting: OrderedDict[Reply, tuple[RemoteRef[Any], Any]] = OrderedDict()


class Offers:
    """Who may send now, and who waits: `waiting` of them."""

    __slots__ = ("_dead", "_lines", "_link", "waiting")

    def __init__(self, link: Link) -> None:
        self.waiting = 0
        self._link = link
        self._lines: dict[int | str, Line] = {}
        self._dead: dict[int, None] = {}

    def enter(self, ref: RemoteRef[Any], message: Any) -> bool:
        """Send at once if there is room and nobody waits. Raises ActorDied if the actor or its node is known to be dead,
        NotRegistered, TooLarge."""
        link, target = self._link, ref.target
        if link.lost is not None:
            raise link.death(ref)
        if target in self._dead:
            raise ActorDied(NoProc(), repr(ref))
        line = self._lines.get(target)
        if line is None:
            line = self._lines[target] = Line()
        return not line.waiting and self._sent(line, ref, message)

    def wait(self, ref: RemoteRef[Any], message: Any, reply: Reply) -> None:
        """Stand in line, after `enter` said no. `reply` gets None when it was sent."""
        self._lines[ref.target].waiting[reply] = ref, message
        self.waiting += 1

    def withdraw(self, ref: RemoteRef[Any], reply: Reply) -> None:
        """Stand in line no more, if it still does: its time is up."""
        line = self._lines.get(ref.target)
        if line is not None and line.waiting.pop(reply, None) is not None:
            self.waiting -= 1
            if not line.ahead and not line.waiting:
                del self._lines[ref.target]

    def crowded(self, ref: RemoteRef[Any]) -> bool:
        """Whether as many as may stand in line for that actor there."""
        line = self._lines.get(ref.target)
        return line is not None and line.ahead >= AHEAD

    def from_afar(self, ref: RemoteRef[Any], message: Any, reply: Reply) -> None:
        """An offer from another thread."""
        try:
            if not self.enter(ref, message):
                self.wait(ref, message, reply)
                return
        except UnderstudyError as error:
            reply.fail(error)
        else:
            reply.set(None)

    def got_in(self, target: Any, count: int, alive: bool) -> None:
        """So many more are in the mailbox there, or a dead letter there because the actor is dead."""
        line = self._lines.get(target)
        if line is None or not 0 < count <= line.ahead:
            return
        line.ahead -= count
        if not alive:
            waiting, line.waiting = line.waiting, OrderedDict()
            self.waiting -= len(waiting)
            for reply, (ref, _) in waiting.items():
                reply.fail(ActorDied(NoProc(), repr(ref)))
            if type(target) is int:  # another may have a name at any time, an address nobody
                self._dead[target] = None
                if len(self._dead) > DEAD_LIMIT:
                    del self._dead[next(iter(self._dead))]
        while self._next(line):
            pass
        if not line.ahead and not line.waiting:
            del self._lines[target]

    def let_in(self) -> None:
        """There is room in the outbox again: in turns."""
        lines = [line for line in self._lines.values() if line.waiting]
        while lines:
            lines = [line for line in lines if self._next(line)]
        for target in [target for target, line in self._lines.items() if not line.ahead and not line.waiting]:
            del self._lines[target]

    def lose(self) -> None:
        """The link is lost: nobody gets in any more."""
        lines, self._lines = self._lines, {}
        self.waiting = 0
        for line in lines.values():
            for reply, (ref, _) in line.waiting.items():
                reply.fail(self._link.death(ref))

    def _next(self, line: Line) -> bool:
        """Let in the first of a line that still waits, if there is room."""
        while line.waiting:
            reply, (ref, message) = next(iter(line.waiting.items()))
            sent = False
            if not reply.abandoned():
                try:
                    sent = self._sent(line, ref, message)
                    if not sent:
                        return False
                    reply.set(None)
                except UnderstudyError as error:
                    reply.fail(error)
            del line.waiting[reply]
            self.waiting -= 1
            if sent:
                return True
        return False

    def _sent(self, line: Line, ref: RemoteRef[Any], message: Any) -> bool:
        """Send, if there is room."""
        link = self._link
        if link.full or line.ahead >= AHEAD:
            return False
        try:
            item = link.encoder.item(OFFER, ref.target, message)
        except Overloaded:  # by its payloads: the outbox has room
            return False
        line.ahead += 1
        link.push(item)
        return True
