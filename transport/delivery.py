"""Delivery: what a peer's items do here. One per link; operations.py lists the items.

    TELL, SEND ──▶ mailbox of the actor with that id or name      nobody there: a dead letter, or FAIL(ActorDied(NoProc))
    its reply  ──▶ Answer ──▶ REPLY or FAIL ──▶ the peer                       answers.py
    CAST       ──▶ the mailboxes of all members that the group has here
    FOLLOW, JOINED ... ──▶ the link's Muster                                   muster.py
    MONITOR    ──▶ Watch ──▶ DOWN ──▶ the peer                                 watch.py
    LINK, EXIT, KILL, STOP ──▶ the same signals that a local actor would send

An item that makes no sense is reported and harms no other: not its batch, not its session.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from understudy.actors import (
    ActorDied,
    ActorRef,
    DeadLetter,
    Envelope,
    ExitReason,
    Failure,
    NoProc,
    NotRegistered,
    Overloaded,
)
from understudy.actors.dead_letters import NO_SUCH_ACTOR, OVERLOADED, UNREADABLE
from understudy.actors.signals import StopRequest
from understudy.transport import lull, operations
from understudy.transport.admission import Admission, MailboxFull, is_life_of_entity
from understudy.transport.answers import Answer, Moved, error_of
from understudy.transport.decoder import Decoder
from understudy.transport.exports import UNIQUE
from understudy.transport.operations import DOWN, LINKED, TELL
from understudy.transport.remote import RemoteNamedRef, RemoteRef
from understudy.transport.roster import checked_group
from understudy.transport.schema import Item, Unreadable
from understudy.transport.steward import sender_of
from understudy.transport.traceback import caused
from understudy.transport.watch import Watch

if TYPE_CHECKING:
    from understudy.transport.link import Link


REPLY_LIMIT = 64 * 1024 * 1024
"""Bytes that wait for acknowledgement beyond which requests are not even begun: their answers, which always pass, would only
make it more. Twice what tells and calls of this node may fill."""


class Delivery:
    """Hands a peer's items to the actors of this node."""

    def __init__(self, link: Link, decoder: Decoder) -> None:
        self._link = link
        self._decoder = decoder
        self._exports = link.links.exports
        self._admission = Admission(link)
        self._answers: dict[int, Answer] = {}
        self._watches: dict[int, Watch] = {}
        self._handlers: dict[int, Callable[[Item], None]] = {
            operations.SEND: self._send,
            operations.REPLY: self._reply,
            operations.FAIL: self._fail,
            operations.CANCEL: self._cancel,
            operations.STOP: self._stop,
            operations.MONITOR: self._monitor,
            operations.DEMONITOR: self._demonitor,
            operations.DOWN: self._down,
            operations.DEFINE: decoder.define,
            operations.LINK: self._link_up,
            operations.UNLINK: self._unlink,
            operations.LINKED: self._linked,
            operations.LINKED_EXIT: self._linked_exit,
            operations.EXIT: self._exit,
            operations.KILL: self._kill,
            operations.WANTED: self._wanted,
            operations.UNWANTED: self._unwanted,
            operations.OFFER: self._offer,
            operations.ROOM: self._room,
            operations.FULL: self._full,
            operations.RETURNED: self._returned,
            operations.CAST: self._cast,
            operations.FOLLOW: link.muster.follow,
            operations.ROSTER: link.muster.anew,
            operations.JOINED: link.muster.joined,
            operations.PARTED: link.muster.parted,
            operations.BROKEN: self._broken,
        }

    def deliver(self, batch: memoryview) -> None:
        """Hand out every item of a batch, in order.

        The collector is kept out of it: a batch is hundreds of new objects, nearly all of them gone a moment later, and
        the collector would walk over each of them several times. That took a third of the receiver's time.
        """
        begun = lull.begin()
        try:
            self._hand_out(batch)
        finally:
            lull.end(begun)

    def _hand_out(self, batch: memoryview) -> None:
        try:
            items = self._decoder.items(batch)
        except Unreadable as error:
            self._report(error)
            return
        actors, unpack, handlers = self._exports.actors, self._decoder.unpack, self._handlers
        lines = self._admission.lines
        for item in items:
            try:
                if item[0] == TELL:
                    actor = actors.get(item[1])
                    if actor is not None and not lines:
                        actor.tell(unpack[item[2]](item))
                    else:
                        self._tell(item)
                else:
                    handlers[item[0]](item)
            except Overloaded as error:
                self._turned_away(item, error)
            except Exception as error:  # noqa: BLE001 - what one item does wrong is reported, and harms no other
                self._report(error, item)

    def close(self) -> None:
        """The peer is gone: nobody waits for answers, nobody watches."""
        for answer in self._answers.values():
            answer.over = True
        self._answers.clear()
        for watch in self._watches.values():
            watch.ref._demonitor(watch.local, watch)
        self._watches.clear()

    # --- messages ---

    def _tell(self, item: Item) -> None:
        """A tell to a name, to nobody, or behind others that stand in line."""
        if self._admission.lines:
            self._admission.check(item[1])
        actor = self._exports.find(item[1])
        message = self._decoder.value(item)
        if actor is not None:
            actor.tell(message)
        elif is_life_of_entity(item[1]):
            self._admission.give_back(item[1], message)
        elif not self._link.links.strayed(item[1], Envelope(message)):
            self._dead_letter(item[1], message, NO_SUCH_ACTOR)

    def _turned_away(self, item: Item, error: Overloaded) -> None:
        """A tell met a full mailbox, and whoever sent it is not there to be told. Nothing here may raise."""
        if item[0] == TELL:
            target, value = item[1], item
        elif item[0] == operations.SEND:
            target, value = item[6], item[5:]
        else:
            self._report(error, item)
            return
        try:
            message = self._decoder.value(value)
        except Exception:  # noqa: BLE001 - it could be made once, and cannot again: its bare fields
            message = value[3:]
        self._admission.turned_away(target)
        self._dead_letter(target, message, OVERLOADED)

    def _send(self, item: Item) -> None:
        _, request, remaining, flags, sender, trace, target, *_ = item
        answer = self._answer(request) if request else None
        actor = self._exports.find(target)
        try:
            message = self._decoder.value(item[5:])
            if self._link.out.size > REPLY_LIMIT and answer is not None:
                raise Overloaded(
                    f"{self._link.out.size:,} bytes wait to be acknowledged by {self._link.peer}, where the answer would "
                    f"go: nothing was done; call again later"
                )
            if self._admission.lines:
                self._admission.check(target)
            deadline = None if remaining is None else self._link.loop.time() + _seconds(remaining)
            if (
                not (sender is None or isinstance(sender, ActorRef))
                or type(trace) is not bytes
                or type(flags) is not int
            ):
                raise Unreadable(f"a request has a sender, a trace and flags, not {str((sender, trace, flags))[:100]}")
            envelope = Envelope(
                message, answer, sender=sender, request_id=request, deadline=deadline, trace=trace, flags=flags
            )
            if actor is not None:
                actor.tell(envelope)
            elif not self._link.links.strayed(target, envelope):
                if answer is None:
                    self._dead_letter(target, message, NO_SUCH_ACTOR)
                elif is_life_of_entity(target):
                    answer.fail(Moved())
                else:
                    answer.fail(ActorDied(NoProc(), repr(self._link.links.here(target))))
        except Exception as error:
            if answer is None:
                raise
            answer.fail(error if isinstance(error, Overloaded) else NotRegistered(str(error)))

    def _answer(self, request: int) -> Answer:
        answer = self._answers[request] = Answer(self._link, self._answers, request)
        return answer

    def _offer(self, item: Item) -> None:
        try:
            message = self._decoder.value(item)
        except Exception:
            self._admission.unreadable(item[1])
            self._dead_letter(item[1], item[2:], UNREADABLE)
            raise
        self._admission.offered(item[1], message)

    def _cast(self, item: Item) -> None:
        groups, group = self._link.system.groups, checked_group(item[1])
        try:
            message = self._decoder.value(item)
        except Exception:
            self._unread(group, item[2:])
            raise
        groups.broadcast_to(group, message, self._admission.lines)

    def _unread(self, group: str, message: Any) -> None:
        """A broadcast could not be read: each member has lost a message."""
        for member in self._link.system.groups.members_of(group):
            self._link.system.dead_letters.add(DeadLetter(member, message, UNREADABLE))

    def _room(self, item: Item) -> None:
        _, target, count, alive, *_ = item
        if type(count) is not int or type(alive) is not bool:
            raise Unreadable(f"room is told of with a count, not {str(item)[:100]}")
        self._link.offers.got_in(target, count, alive)

    def _full(self, item: Item) -> None:
        _, target, count, *_ = item
        if type(target) not in (int, str) or type(count) is not int:
            raise Unreadable(f"a full mailbox is told of with a count, not {str(item)[:100]}")
        self._link.system.hooks.emit(MailboxFull(RemoteRef[Any](self._link, target), count))

    def _returned(self, item: Item) -> None:
        if not is_life_of_entity(item[1]):
            raise Unreadable(f"what comes back was sent to an entity, not to {str(item[1])[:100]!r}")
        self._link.links.returned(self._link, item[1], self._decoder.value(item))

    def _reply(self, item: Item) -> None:
        waiting = self._link.calls.answered(item[1])
        if waiting is not None:
            try:
                waiting.set(self._decoder.value(item))
            except Unreadable as error:
                waiting.fail(NotRegistered(f"the reply cannot be read here: {error}"))

    def _fail(self, item: Item) -> None:
        _, request, kind, text, reason, *more = item
        waiting = self._link.calls.answered(request)
        if waiting is not None:
            failure = reason if isinstance(reason, Failure) else more[0] if more else None
            waiting.fail(caused(error_of(kind, text, reason), self._link.peer.node, failure))

    def _cancel(self, item: Item) -> None:
        answer = self._answers.pop(item[1], None)
        if answer is not None:
            answer.over = True

    # --- life and death ---

    def _stop(self, item: Item) -> None:
        actor = self._exports.find(item[2])
        answer = self._answer(item[1])
        if actor is None:
            answer.set(False)
        else:
            actor.tell(Envelope(StopRequest(), answer))

    def _monitor(self, item: Item) -> None:
        _, token, target, *_ = item
        actor = self._exports.find(target)
        if actor is None:
            self._link.signal(DOWN, token, NoProc())
            return
        watch = self._watches[token] = Watch(self._link, self._watches, token, actor)
        actor._monitor(watch.local, watch)

    def _demonitor(self, item: Item) -> None:
        watch = self._watches.pop(item[1], None)
        if watch is not None:
            watch.ref._demonitor(watch.local, watch)

    def _down(self, item: Item) -> None:
        self._link.bonds.down(item[1], _reason(item[2]))

    def _link_up(self, item: Item) -> None:
        _, target, sender, *_ = item
        sender, actor = _there(sender), self._exports.find(target)
        if actor is None:
            self._link.signal(operations.LINKED_EXIT, sender.target, self._link.links.here(target), NoProc())
            return
        if type(target) is str:
            self._link.signal(LINKED, sender.target, target, actor)
        self._link.bonds.tie(actor, sender)
        actor._link(sender)

    def _linked(self, item: Item) -> None:
        """Whoever has the name that an actor here linked itself to: deaths will be told of that actor, not of the name."""
        _, target, name, there, *_ = item
        here = self._exports.find(target)
        if here is not None:
            named = (
                RemoteRef[Any](self._link, name)
                if name.startswith(UNIQUE)
                else RemoteNamedRef[Any](self._link.links, self._link.peer.node, name)
            )
            self._link.bonds.named(here, named, _there(there))

    def _unlink(self, item: Item) -> None:
        _, target, sender, *_ = item
        sender, actor = _there(sender), self._exports.find(target)
        if actor is not None:
            self._link.bonds.untie(actor, sender)
            actor._unlink(sender)

    def _linked_exit(self, item: Item) -> None:
        _, target, sender, reason, *_ = item
        actor = self._exports.find(target)
        if actor is not None:
            actor._linked_exit(self._link.bonds.untie(actor, _there(sender)), _reason(reason))

    def _exit(self, item: Item) -> None:
        _, target, sender, reason, *_ = item
        actor = self._exports.find(target)
        if actor is not None:
            actor._exit(None if sender is None else sender_of(_ref(sender), actor), _reason(reason))

    def _kill(self, item: Item) -> None:
        actor = self._exports.find(item[1])
        if actor is not None:
            actor.kill()

    # --- payloads that left for there ---

    def _wanted(self, item: Item) -> None:
        _, stream, limit, *_ = item
        self._link.departures.wanted(stream, limit)

    def _unwanted(self, item: Item) -> None:
        self._link.departures.unwanted(item[1])

    # --- what makes no sense ---

    def _broken(self, item: Item) -> None:
        _, inner, why = item
        match inner:
            case [operations.SEND, int(request), *_] if request:
                self._answer(request).fail(NotRegistered(why))
            case [operations.TELL | operations.OFFER as operation, target, *_] if isinstance(target, int | str):
                self._dead_letter(target, inner[2:], UNREADABLE)
                if operation == operations.OFFER:
                    self._admission.unreadable(target)
                raise Unreadable(why)
            case [operations.CAST, group, *_]:
                self._unread(checked_group(group), inner[2:])
                raise Unreadable(why)
            case [operations.REPLY, int(request), *_]:
                waiting = self._link.calls.answered(request)
                if waiting is not None:
                    waiting.fail(NotRegistered(f"the reply cannot be read here: {why}"))
            case _:
                raise Unreadable(why)

    def _report(self, error: Exception, item: Any = None) -> None:
        """Whatever the item is, an array or not: nothing of it may raise here."""
        if type(item) is not list or not item:
            item = None
        if isinstance(error, KeyError):
            error = Unreadable(
                f"operation or code {error} is not known here: does {self._link.peer} speak a later version?"
            )
        elif item is None and not isinstance(error, Unreadable):
            error = Unreadable("an item is an array that begins with its operation")
        if item is not None and item[0] == TELL:
            self._dead_letter(item[1] if len(item) > 1 else None, item[2:], UNREADABLE)
        self._link.links.report(self._link.peer, error)

    def _dead_letter(self, target: Any, message: Any, reason: str) -> None:
        links = self._link.links
        try:
            ref = links.here(target)
        except (TypeError, ValueError):  # neither an id nor a name
            ref = links.here(0)
        links.system.dead_letters.add(DeadLetter(ref, message, reason))


def _seconds(remaining: Any) -> float:
    """What is left of a deadline, if it is a number of seconds."""
    if type(remaining) not in (float, int) or remaining != remaining:
        raise Unreadable(f"what is left of a deadline is a number of seconds, not {str(remaining)[:40]!r}")
    return float(remaining)


def _reason(value: Any) -> ExitReason:
    if not isinstance(value, ExitReason):
        raise Unreadable(f"an exit reason was expected, not {str(value)[:100]!r}")
    return value


def _ref(value: Any) -> ActorRef[Any]:
    if not isinstance(value, ActorRef):
        raise Unreadable(f"a reference was expected, not {str(value)[:100]!r}")
    return value


def _there(value: Any) -> RemoteRef[Any]:
    """A reference to an actor of another node, if it is one."""
    if not isinstance(value, RemoteRef):
        raise Unreadable(f"a reference to an actor of another node was expected, not {str(value)[:100]!r}")
    return value
