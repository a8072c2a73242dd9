"""Bounded mailboxes: how many messages may wait, and what becomes of one too many.

    class Ticker(Actor):
        mailbox = Bounded(1000, "drop_oldest")

    tell, call ──> room? ──> the line ──> taken by the actor ──> the first who waits in `offer` gets the place
                    │ no
                    ├── "reject"        Overloaded at the sender: nothing was sent
                    ├── "drop_oldest"   the one that has waited longest goes, \\  a tell: a dead letter
                    ├── "drop_newest"   the new one goes                      /  a call: Overloaded, at once
                    └── conflate(key)   see there; a waiting one with the same key is replaced even if there is room

Only what others send is counted: messages, requests, uses of a proxy. What the kernel puts in (`Down`, a trapped `Exit`, a
stop, a timer's message, news of groups, what `self.run` brings back) is neither counted nor dropped, nor is what the actor puts first itself.

One lock guards the line, for every sender and the actor: the capacity is exact, in any number of threads. Unbounded
mailboxes are plain deques and know nothing of all this.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import math
import queue
import threading  # noqa: TID251 - senders of several threads share the line
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from understudy.actors.arguments import takes
from understudy.actors.dead_letters import CONFLATED, DROPPED_NEWEST, DROPPED_OLDEST
from understudy.actors.deadlines import allowance
from understudy.actors.envelope import Envelope
from understudy.actors.errors import ActorDied, DeadlineExceeded, Deadlock, Overloaded
from understudy.actors.reasons import NoProc
from understudy.actors.signals import Exit, Order, StopRequest

if TYPE_CHECKING:
    from understudy.actors.cell import Cell

logger = logging.getLogger("understudy.actors")

Overflow: TypeAlias = Literal["reject", "drop_oldest", "drop_newest"]


@dataclass(frozen=True, slots=True)
class Conflate:
    """What `conflate` returns."""

    key: Callable[[Any], Hashable | None]
    otherwise: Overflow = "reject"

    def __post_init__(self) -> None:
        if not takes(self.key) or inspect.iscoroutinefunction(self.key):
            raise TypeError(f"conflate takes a plain function from a message to its key, not {self.key!r}")
        _checked_overflow(self.otherwise)


def conflate(key: Callable[[Any], Hashable | None], otherwise: Overflow = "reject") -> Conflate:
    """Let only the latest message of each key wait: it takes the place of the one before, which is a dead letter.

    In its *place*, so a stream that never pauses keeps no key waiting for ever; in exchange, the new message overtakes what
    its sender sent in between. Where `key(message)` is None nothing is replaced. A waiting *call* that is replaced raises
    Overloaded at its caller. `otherwise` is for a message without a predecessor when the mailbox is full.
    """
    return Conflate(key, otherwise)


@dataclass(frozen=True, slots=True)
class Bounded:
    """A mailbox in which `capacity` messages may wait, the one at hand not counted. ValueError for what cannot be meant."""

    capacity: int
    overflow: Overflow | Conflate = "reject"

    def __post_init__(self) -> None:
        if not isinstance(self.capacity, int) or isinstance(self.capacity, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"a mailbox's capacity is a number of messages, not {self.capacity!r}")
        if self.capacity < 1:
            raise ValueError(f"a mailbox's capacity is a number of messages from 1 up, not {self.capacity!r}")
        if not isinstance(self.overflow, Conflate):
            _checked_overflow(self.overflow)


class _Own:
    """The ticket of what an actor's own background work brings back: always valid, and no others sent it."""

    active = True


OWN = _Own()


def _checked_overflow(overflow: object) -> None:
    if overflow not in get_args(Overflow):
        choice = ", ".join(map(repr, get_args(Overflow)))
        raise ValueError(f"a full mailbox can {choice} or conflate(key), not {overflow!r}")


def counted(entry: Any) -> bool:
    """Whether an entry was sent by others, and takes up room."""
    if entry.__class__ is not Envelope:
        return True
    message = entry.message
    if isinstance(message, Order):
        return message.counted
    return entry.ticket is None and message.__class__ is not StopRequest and message.__class__ is not Exit


class _Offer:
    """One who waits for room. `outcome`: None while waiting, True when let in, an error when it never will be."""

    __slots__ = ("_loop", "_thread", "entry", "future", "outcome")

    def __init__(self, entry: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.entry = entry
        self.future: asyncio.Future[None] = loop.create_future()
        self.outcome: bool | ActorDied | None = None
        self._loop = loop
        self._thread = threading.get_ident()

    def tell(self) -> None:
        """Tell the one who waits what has become of it. From any thread."""
        if threading.get_ident() == self._thread:
            self._settle()
        else:
            with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if self.future.done():
            return
        if isinstance(self.outcome, ActorDied):
            self.future.set_exception(self.outcome)
        else:
            self.future.set_result(None)


class BoundedMailbox:
    """What stands for the deque. `front` is what the actor or the kernel has put first; the line is by number of arrival."""

    __slots__ = (
        "_capacity",
        "_cell",
        "_counted",
        "_key",
        "_keys",
        "_line",
        "_lock",
        "_next",
        "_offers",
        "_open",
        "_overflow",
        "_wakeups",
        "front",
    )

    def __init__(self, cell: Cell[Any], bounds: Bounded, wakeups: queue.SimpleQueue[None] | None = None) -> None:
        """`wakeups`: what the actor's own thread waits for, if it has one."""
        overflow = bounds.overflow
        self._cell = cell
        self._capacity = bounds.capacity
        self._key = overflow.key if isinstance(overflow, Conflate) else None
        self._overflow: Overflow = overflow.otherwise if isinstance(overflow, Conflate) else overflow
        self._wakeups = wakeups
        self._lock = threading.RLock()  # a finalizer that tells may run anywhere
        self._line: OrderedDict[int, tuple[Any, Hashable | None]] = OrderedDict()
        self._counted: deque[int] = deque()  # the numbers of those that take up room, oldest first
        self._keys: dict[Hashable, int] = {}
        self._offers: deque[_Offer] = deque()
        self._next = 0
        self._open = True
        self.front: deque[Any] = deque()

    # --- as the deque it stands for ---

    def __len__(self) -> int:
        return len(self.front) + len(self._line)

    def __iter__(self) -> Iterator[Any]:
        with self._lock:
            return iter((*self.front, *(entry for entry, _ in self._line.values())))

    def __getitem__(self, index: int) -> Any:
        with self._lock:
            if index < len(self.front):
                return self.front[index]
            if self._line and index == len(self.front):
                return next(iter(self._line.values()))[0]
        return tuple(self)[index]

    def append(self, entry: Any) -> None:
        """Put in at the end what was sent, by the rules. Raises Overloaded."""
        takes_room = counted(entry)
        key = self._key_of(entry) if takes_room else None
        lost = None
        with self._lock:
            if not self._open:
                self.front.append(entry)
                return
            if takes_room:
                lost = self._put(entry, key)
            else:
                self._add(entry)
        if lost is not None:
            self._cell.on_loop(_lose, self._cell, *lost)
        elif self._wakeups is not None:
            self._wakeups.put(None)

    def appendleft(self, entry: Any) -> None:
        """Put an entry first. It takes up no room."""
        self.front.appendleft(entry)

    def popleft(self) -> Any:
        """Take the first out, and let in who waits for its place. Raises IndexError."""
        admitted: list[_Offer] = []
        lost: list[tuple[Any, str]] = []
        with self._lock:
            if self.front:
                return self.front.popleft()
            if not self._line:
                raise IndexError("pop from an empty mailbox")
            number, (entry, key) = self._line.popitem(last=False)
            if self._counted and self._counted[0] == number:
                self._counted.popleft()
                self._forget(key, number)
                while self._offers and len(self._counted) < self._capacity:
                    offer = self._offers.popleft()
                    offer.outcome = True
                    admitted.append(offer)
                    replaced = self._put(offer.entry, self._key_of(offer.entry))
                    if replaced is not None:
                        lost.append(replaced)
        for offer in admitted:
            if self._wakeups is not None:
                self._wakeups.put(None)
            offer.tell()
        for each in lost:
            self._cell.on_loop(_lose, self._cell, *each)
        return entry

    def numbers(self) -> tuple[int, int]:
        """Of the last entry that has left the line, and of the last that has come in."""
        with self._lock:
            return next(iter(self._line), self._next) - 1, self._next - 1

    # --- for `offer` ---

    def enter(self, entry: Any, loop: asyncio.AbstractEventLoop) -> _Offer | None:
        """Put in at the end if there is room, else stand in line for it. Raises ActorDied."""
        key = self._key_of(entry)
        with self._lock:
            if not self._open:
                raise ActorDied(self._cell.reason or NoProc(), repr(self._cell))
            if len(self._counted) >= self._capacity and (key is None or key not in self._keys):
                offer = _Offer(entry, loop)
                self._offers.append(offer)
                return offer
            lost = self._put(entry, key)
        if lost is not None:
            self._cell.on_loop(_lose, self._cell, *lost)
        elif self._wakeups is not None:
            self._wakeups.put(None)
        return None

    def withdraw(self, offer: _Offer) -> bool:
        """Stand in line no more. False: it was let in already, or the actor has died."""
        with self._lock:
            if offer.outcome is not None:
                return False
            self._offers.remove(offer)
            return True

    def close(self) -> None:
        """The actor is dead: nobody gets in any more. `front` alone stands in its reference from now on, with what is left and
        whatever is still sent, to be buried: so the reference and this make no cycle."""
        cell = self._cell
        with self._lock:
            self._open = False
            self.front.extend(entry for entry, _ in self._line.values())
            self._line.clear()
            self._counted.clear()
            self._keys.clear()
            cell.mailbox, cell.append = self.front, self.front.append
            waiting, self._offers = self._offers, deque()
            for offer in waiting:
                offer.outcome = ActorDied(cell.reason or NoProc(), repr(cell))
        for offer in waiting:
            offer.tell()

    def overloaded(self) -> Overloaded:
        """The error of one too many."""
        return Overloaded(
            f"the mailbox of {self._cell!r} is full with {self._capacity} messages: nothing was sent; "
            f"wait for room with `await ref.offer(message)`, or send less"
        )

    # --- under the lock ---

    def _put(self, entry: Any, key: Hashable | None) -> tuple[Any, str] | None:
        """By the rules. What was lost for it, and why."""
        before = self._keys.get(key) if key is not None else None
        if before is not None:
            lost = self._line[before][0]
            self._line[before] = (entry, key)
            return lost, CONFLATED
        if len(self._counted) < self._capacity or self._cell.reason is not None:  # a tell to the dead is a dead letter
            self._add(entry, key, takes_room=True)
            return None
        if self._overflow == "reject":
            raise self.overloaded()
        if self._overflow == "drop_newest":
            return entry, DROPPED_NEWEST
        number = self._counted.popleft()
        lost, its_key = self._line.pop(number)
        self._forget(its_key, number)
        self._add(entry, key, takes_room=True)
        return lost, DROPPED_OLDEST

    def _add(self, entry: Any, key: Hashable | None = None, takes_room: bool = False) -> None:
        number = self._next
        self._next = number + 1
        self._line[number] = (entry, key)
        if takes_room:
            self._counted.append(number)
            if key is not None:
                self._keys[key] = number

    def _forget(self, key: Hashable | None, number: int) -> None:
        if key is not None and self._keys.get(key) == number:
            del self._keys[key]

    def _key_of(self, entry: Any) -> Hashable | None:
        if self._key is None:
            return None
        message = entry.message if entry.__class__ is Envelope else entry
        if isinstance(message, Order):
            return None
        try:
            key = self._key(message)
            hash(key)
        except Exception:
            logger.exception("the key of a %s for the mailbox of %r failed", type(message).__name__, self._cell)
            return None
        return key


async def offer(cell: Cell[Any], message: Any, timeout: float) -> None:
    """Wait until there is room for `message` in the mailbox of `cell`: what `Cell.offer` does."""
    loop = asyncio.get_running_loop()
    due = allowance(timeout, loop.time())
    if cell.reason is not None or cell.scheduler.lost():
        await asyncio.sleep(0)
        raise ActorDied(NoProc(), repr(cell))
    mailbox = cell.box()
    if not isinstance(mailbox, BoundedMailbox):
        cell.tell(message)
        await asyncio.sleep(0)  # it has no end, and who fills it must not keep it from being emptied
        return
    waiting = mailbox.enter(message, loop)
    if waiting is None:
        cell.rouse()
        return
    try:
        if cell.task is not None and cell.task is asyncio.current_task():
            raise Deadlock(f"{cell!r} waits for room in its own mailbox, which only it could make", (repr(cell),) * 2)
        async with asyncio.timeout_at(due.deadline if due.deadline < math.inf else None):
            await waiting.future
    except TimeoutError:
        if mailbox.withdraw(waiting):
            if due.inherited:
                raise DeadlineExceeded("no time is left of the request being handled", inherited=True) from None
            raise mailbox.overloaded() from None
        if isinstance(waiting.outcome, ActorDied):  # at this very moment; or else it was let in
            raise waiting.outcome from None
    except BaseException:
        mailbox.withdraw(waiting)
        raise
    finally:
        del waiting  # an error that it was given knows this frame


def enter(cell: Cell[Any], message: Any) -> asyncio.Future[None] | None:
    """Put a message into a mailbox if there is room, else stand in line: the future is done when it got in, and has the ActorDied
    of an actor that dies meanwhile. On the actor's loop. Raises ActorDied."""
    if cell.reason is not None or cell.scheduler.lost():
        raise ActorDied(NoProc(), repr(cell))
    mailbox = cell.box()
    if not isinstance(mailbox, BoundedMailbox):
        cell.tell(message)
        return None
    waiting = mailbox.enter(message, cell.scheduler.loop)
    if waiting is None:
        cell.rouse()
        return None
    return waiting.future


def _lose(cell: Cell[Any], entry: Any, reason: str) -> None:
    """On the loop: a message that had to go. A call is answered, a tell is a dead letter."""
    if entry.__class__ is Envelope and entry.reply is not None:
        why = "a newer message took its place" if reason == CONFLATED else f"its mailbox is full ({reason})"
        entry.reply.fail(Overloaded(f"{cell!r} will not come to this request: {why}"))
        return
    cell.scheduler.mortician.dead_letter(cell, entry.message if entry.__class__ is Envelope else entry, reason)
