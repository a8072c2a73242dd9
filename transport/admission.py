"""Admission: what a peer offers gets into a mailbox here as soon as there is room, and the peer is told.

    OFFER ──▶ unbounded, or room: into the mailbox ──▶ ROOM(target, n, alive), once per turn of the loop
          ──▶ full: in line, by order of arrival    ──▶ ROOM when it got in
          ──▶ nobody there, or it dies meanwhile: a dead letter here, ROOM(alive=False)

A line holds offers.AHEAD messages at most: a peer sends no more before it is told. While one stands, what the same peer
tells and calls finds no room either, whatever the mailbox does with one too many: nothing overtakes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from understudy.actors import ActorDied, ActorRef, DeadLetter, Envelope, Overloaded, UnderstudyError
from understudy.actors.cell import Cell
from understudy.actors.dead_letters import DEAD, NO_SUCH_ACTOR
from understudy.actors.mailbox import enter
from understudy.transport.operations import FULL, RETURNED, ROOM

if TYPE_CHECKING:
    from understudy.transport.link import Link


@dataclass(frozen=True, slots=True)
class MailboxFull:
    """An event at the sender: so many tells of this node to `ref` met a full mailbox there, where they are dead letters now."""

    ref: ActorRef[Any]
    messages: int


class Admission:
    """The offers of one peer. `lines`: who waits, for each actor whose mailbox is full. Used on the loop's thread only."""

    __slots__ = ("_link", "_news", "_scheduled", "_turned_away", "lines")

    def __init__(self, link: Link) -> None:
        self.lines: dict[ActorRef[Any], deque[tuple[int | str, Any]]] = {}
        self._link = link
        self._news: dict[tuple[int | str, bool], int] = {}
        self._turned_away: dict[int | str, int] = {}
        self._scheduled = False

    def offered(self, target: int | str, message: Any) -> None:
        """Take what was offered."""
        link = self._link
        actor = link.links.exports.find(target)
        if actor is None and link.links.strayed(target, Envelope(message)):
            self._settled(target, alive=True)
            return
        if actor is None:
            if is_life_of_entity(target):
                self.give_back(target, message)
                self._settled(target, alive=True)
            else:
                self._lost(target, message, link.links.here(target), NO_SUCH_ACTOR)
            return
        line = self.lines.get(actor)
        if line is not None:
            line.append((target, message))
            return
        waiting = self._enter(actor, target, message)
        if waiting is not None:
            self.lines[actor] = deque([(target, message)])
            waiting.add_done_callback(lambda waiting: self._go_on(actor, waiting))

    def check(self, target: Any) -> None:
        """Raise Overloaded if offers of this peer stand in line for that actor."""
        actor = self._link.links.exports.find(target)
        if actor in self.lines:
            raise Overloaded(
                f"{len(self.lines[actor])} messages that were offered stand in line for room with {actor!r}"
            )

    def give_back(self, target: int | str, message: Any) -> None:
        """It was sent to a life of an entity that is over: its sender keeps it for the next one."""
        try:
            self._link.push(self._link.encoder.item(RETURNED, target, message))
        except UnderstudyError as error:
            self._link.system.dead_letters.add(DeadLetter(self._link.links.here(target), message, NO_SUCH_ACTOR))
            self._link.links.report(self._link.peer, error)

    def turned_away(self, target: int | str) -> None:
        """A tell found no room: the peer is told how many."""
        self._turned_away[target] = self._turned_away.get(target, 0) + 1
        self._tell_soon()

    def unreadable(self, target: int | str) -> None:
        """An offer that could not be read waits no more."""
        self._settled(target, alive=True)

    def _enter(self, actor: ActorRef[Any], target: int | str, message: Any) -> asyncio.Future[None] | None:
        """Into the mailbox, or a future that is done when it got there."""
        try:
            if isinstance(actor, Cell):
                waiting = enter(actor, message)
            else:
                actor.tell(message)
                waiting = None
        except ActorDied:
            self._lost(target, message, actor, DEAD)
            return None
        if waiting is None:
            self._settled(target, alive=True)
        return waiting

    def _go_on(self, actor: ActorRef[Any], waiting: asyncio.Future[None]) -> None:
        """The first in line has got in, or never will."""
        line = self.lines[actor]
        target, message = line.popleft()
        if waiting.exception() is None:
            self._settled(target, alive=True)
        else:
            self._lost(target, message, actor, DEAD)
        while line:
            target, message = line[0]
            following = self._enter(actor, target, message)
            if following is not None:
                following.add_done_callback(lambda waiting: self._go_on(actor, waiting))
                return
            line.popleft()
        del self.lines[actor]

    def _lost(self, target: int | str, message: Any, ref: ActorRef[Any], reason: str) -> None:
        self._link.system.dead_letters.add(DeadLetter(ref, message, reason))
        self._settled(target, alive=False)

    def _settled(self, target: int | str, *, alive: bool) -> None:
        self._news[target, alive] = self._news.get((target, alive), 0) + 1
        self._tell_soon()

    def _tell_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._link.loop.call_soon(self._tell)

    def _tell(self) -> None:
        self._scheduled = False
        news, self._news = self._news, {}
        for (target, alive), count in news.items():
            self._link.signal(ROOM, target, count, alive)
        turned_away, self._turned_away = self._turned_away, {}
        for target, count in turned_away.items():
            self._link.signal(FULL, target, count)


def is_life_of_entity(target: Any) -> bool:
    """Whether that is the address of one life of an entity, in this node's or another's numbers."""
    return type(target) is int and target < 0
