"""The reference to a router: whom a message goes to, and how it gets there without passing through the router.

Whoever sends runs this, in whatever thread. A message for the router itself goes into the router's mailbox, and so does
everything before its workers have started; all else is handed to a worker as it is, with its caller and its deadline.
"""

from __future__ import annotations

import itertools
import math
import threading  # noqa: TID251 - whoever sends may be a thread
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias, cast

from understudy.actors import (
    DEFAULT_TIMEOUT,
    ActorDied,
    ActorRef,
    Cell,
    DeadLetter,
    Down,
    Envelope,
    Exit,
    NoProc,
    Overloaded,
    Refused,
    Reply,
    Request,
    message,
)
from understudy.actors.dead_letters import NO_WORKER, OVERLOADED, REFUSED
from understudy.actors.signals import Order, StopRequest
from understudy.supervisors.requests import WhichChildren

Chosen: TypeAlias = Sequence[ActorRef[Any] | None]
"""Whom a message goes to; None stands for a place that nobody fills at the moment."""

SPREAD = 0x9E3779B97F4A7C15
"""Multiplied with a key's hash, so that keys that are all multiples of something still fill every place."""


@message("understudy.supervisors.Resize")
class Resize(Request[int]):
    """Give a router that many workers; answered with it when they are there. Refused if one does not start.

    Workers that are let go, the last ones, get no more messages, handle what they have for as long as their `shutdown`
    allows, and end.
    """

    size: int


OWN = frozenset({Resize, WhichChildren})
"""Messages for the router itself."""

KERNEL = (StopRequest, Order, Down, Exit)
"""What the kernel puts into a mailbox is for the actor that has it, a router too."""


class RouterCell(Cell[Any]):
    """The reference to a router. `places` are the names of its workers, by which they are found at each use."""

    __slots__ = ("choose", "opened", "opening", "places", "to_all", "turns")

    def __init__(self, scheduler: Any, kind: type[Any], number: int, parent: Cell[Any] | None) -> None:
        super().__init__(scheduler, kind, number, parent)
        self.places: tuple[str, ...] = ()
        self.turns = itertools.count()
        self.choose: Callable[[RouterCell, Any], Chosen] = RouterCell.round_robin  # bound to this, it would be a cycle
        self.to_all = False
        self.opened = False
        self.opening = threading.RLock()  # what came before is handed out before anything else is, of whichever thread

    def open(self) -> None:
        with self.opening:
            mailbox, mine = self.box(), list[Any]()
            while mailbox:  # it may grow: a key's function, or a subscriber of dead letters, may tell this very router
                entry = mailbox.popleft()
                if self._is_mine(entry):
                    mine.append(entry)
                    continue
                try:
                    self._hand_on(entry)
                except Overloaded as full:  # whoever sent it is not there to be told
                    if entry.__class__ is Envelope and entry.reply is not None:
                        self.scheduler.signal(entry.reply.fail, (full,))
                    else:
                        self._lost(entry.message if entry.__class__ is Envelope else entry, OVERLOADED)
            for entry in mine:
                mailbox.append(entry)
            self.opened = True
        super().open()

    def tell(self, message: Any) -> None:
        kind = message.__class__
        if kind is Envelope or kind in OWN or not self.opened or self.reason is not None:
            self._tell_with_care(message)
        else:
            self._route(message)

    async def offer(self, message: Any, timeout: float = math.inf) -> None:
        """See ActorRef. All workers at once are offered it one after the other; those that are not there miss it."""
        if message.__class__ in OWN or not self.opened or self.reason is not None:
            await super().offer(message, timeout)
            return
        for worker in self._chosen(message):
            if worker is not None:
                await worker.offer(message, timeout)
            elif self.to_all:
                self._lost(message, NO_WORKER)
            else:
                raise ActorDied(NoProc(), repr(self))

    def _tell_with_care(self, entry: Any) -> None:
        if not self.opened:
            with self.opening:
                if not self.opened:
                    super().tell(entry)  # the workers are being started: what comes waits, as with any actor
                    return
        if self.reason is not None or self._is_mine(entry):
            super().tell(entry)
        else:
            self._hand_on(entry)

    def _hand_on(self, entry: Any) -> None:
        if entry.__class__ is Envelope:
            self._route_envelope(entry)
        else:
            self._route(entry)

    def _is_mine(self, entry: Any) -> bool:
        """Whether an entry is for the router itself; a timer's and its like, which carry a ticket, are in any case."""
        if entry.__class__ is not Envelope:
            return entry.__class__ in OWN
        message = entry.message
        return isinstance(message, KERNEL) or message.__class__ in OWN or entry.ticket is not None

    async def call(self, message: Any, timeout: float = DEFAULT_TIMEOUT) -> Any:
        if message.__class__ in OWN or not self.opened or self.reason is not None:
            return await super().call(message, timeout)
        if self.to_all:
            return await self.call_in_turn(message, timeout)
        (worker,) = self._chosen(message)
        if worker is None:
            raise ActorDied(NoProc(), repr(self))
        return await worker.call(message, timeout)

    def _route(self, message: Any) -> None:
        try:
            chosen = self.choose(self, message)
        except Refused:
            self._lost(message, REFUSED)
            return
        for worker in chosen:
            if worker is None:
                self._lost(message, NO_WORKER)
                continue
            try:
                worker.tell(message)
            except Overloaded:
                if not self.to_all:
                    raise
                self._lost(message, OVERLOADED)  # the others get it

    def _route_envelope(self, entry: Envelope) -> None:
        """Hand an envelope on as it is: the worker answers the caller, and sees its deadline."""
        content, reply = entry.message, entry.reply
        signal = self.scheduler.signal
        try:
            chosen = self.choose(self, content)
        except Refused as refusal:
            if reply is not None:
                signal(reply.fail, (refusal,))
            else:
                self._lost(content, REFUSED)
            return
        answers: Sequence[Reply | None] = (reply,)
        if reply is not None and self.to_all:
            everybody = Answers(reply, len(chosen))
            answers = tuple(_Part(everybody, index) for index in range(len(chosen)))
        for worker, answer in itertools.zip_longest(chosen, answers):
            failure: Exception
            try:
                if worker is not None:
                    worker.tell(_readdressed(entry, answer) if self.to_all else entry)
                    continue
                failure, why = ActorDied(NoProc(), repr(self)), NO_WORKER
            except Overloaded as full:
                if not self.to_all:
                    raise
                failure, why = full, OVERLOADED
            if answer is not None:
                signal(answer.fail, (failure,))
            else:
                self._lost(content, why)

    def _chosen(self, message: Any) -> Chosen:
        try:
            return self.choose(self, message)
        except Refused as refusal:
            refusal.relayed = True  # as if a worker had refused
            raise

    def _lost(self, message: Any, why: str) -> None:
        self.scheduler.signal(self.system.dead_letters.add, (DeadLetter(self, message, why),))

    # --- whom a message goes to ---

    def round_robin(self, _: Any) -> Chosen:
        """The next one that is there."""
        places, find = self.places, self.system.whereis
        count, first = len(places), next(self.turns)
        for step in range(count):
            worker = find(places[(first + step) % count])
            if worker is not None:
                return (worker,)
        return (None,)

    def least_busy(self, _: Any) -> Chosen:
        """The one with the fewest messages, the one at hand included; among equals, the next one."""
        places, find = self.places, self.system.whereis
        count, first = len(places), next(self.turns)
        best: ActorRef[Any] | None = None
        least = math.inf
        for step in range(count):
            worker = find(places[(first + step) % count])
            if worker is not None and (load := burden(cast("Cell[Any]", worker))) < least:
                best, least = worker, load
                if not load:
                    break
        return (best,)

    def broadcast(self, _: Any) -> Chosen:
        """All of them."""
        return tuple(map(self.system.whereis, self.places))

    @staticmethod
    def by_key(key: Callable[[Any], Hashable], router: RouterCell, message: Any) -> Chosen:
        """The one whose place the key falls on: always the same, whoever fills it."""
        try:
            number = hash(key(message))
        except Exception as error:
            raise Refused(f"the key of a {type(message).__name__} could not be made: {error!r}") from error
        places = router.places
        return (router.system.whereis(places[(number * SPREAD >> 32) % len(places)]),)


class Answers:
    """The replies to a request that went to all: the caller gets a list of them, or the first failure."""

    def __init__(self, reply: Reply, count: int) -> None:
        self._reply = reply
        self._missing = count
        self._values: list[Any] = [None] * count

    def set(self, index: int, value: Any) -> None:
        """One has answered."""
        self._values[index] = value
        self._missing -= 1
        if not self._missing:
            self._reply.set(self._values)

    def fail(self, error: Exception) -> None:
        """One has failed."""
        self._reply.fail(error)

    def abandoned(self) -> bool:
        """Whether the caller has gone."""
        return self._reply.abandoned()


class _Part:
    """What one worker answers to."""

    __slots__ = ("_all", "_index")

    def __init__(self, answers: Answers, index: int) -> None:
        self._all = answers
        self._index = index

    def set(self, value: Any) -> None:
        self._all.set(self._index, value)

    def fail(self, error: Exception) -> None:
        self._all.fail(error)

    def abandoned(self) -> bool:
        return self._all.abandoned()


def burden(worker: Cell[Any]) -> int:
    """How many messages a worker has: those that wait, and the one at hand. One that is just being started has that to do."""
    waiting = len(worker.mailbox) if worker.mailbox is not None else 0
    if worker.threaded:
        at_hand = worker.at_hand() is not None
    else:
        at_hand = worker.task is not None or not (worker.idle or waiting)
    return waiting + at_hand


def _readdressed(envelope: Envelope, answer: Reply | None) -> Envelope:
    return Envelope(
        envelope.message,
        answer,
        sender=envelope.sender,
        request_id=envelope.request_id,
        deadline=envelope.deadline,
        trace=envelope.trace,
        flags=envelope.flags,
    )
