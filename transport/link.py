"""A link: everything between this node and one life of another. There is one per pair of incarnations, and no second.

    RemoteRef.tell ──▶ items ── once per tick, or at 64 KiB ──▶ Outbound session ──▶ Channel ──▶ the other node
                                                                                                      │
    actors here    ◀── Delivery ◀── Decoder ◀───────── Inbound session ◀───── the router of this node ◀┘

It opens at its first message, survives every broken connection, and ends once: when its peer is declared dead. Then, in
this order: open calls fail, monitors fire, links break, and what was not acknowledged becomes dead letters.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from understudy.actors import (
    ActorDied,
    ActorRef,
    DeadLetter,
    ExitReason,
    NoConnection,
    NodeDown,
    Overloaded,
    Reply,
    UnderstudyError,
    Watcher,
)
from understudy.actors.dead_letters import OVERLOADED
from understudy.transport.delivery import Delivery
from understudy.transport.frames import NEWEST, OLDEST, Ack, Bye, Hello, Peer, Ping, Pong, Stale, Welcome, decode
from understudy.transport.operations import (
    CANCEL,
    DEMONITOR,
    LINK,
    LINKED_EXIT,
    MONITOR,
    SEND,
    TELL,
    UNLINK,
)
from understudy.transport.remote import RemoteRef
from understudy.transport.schema import Unreadable
from understudy.transport.session import Outbound, SessionError, Undelivered
from understudy.transport.wire import Decoder, Encoder, own_decoder

if TYPE_CHECKING:
    from understudy.transport.links import Links
    from understudy.transport.network import Channel

BATCH = 64 * 1024
"""Bytes after which a batch does not wait for the end of the tick."""

OUTBOX_LIMIT = 32 * 1024 * 1024
"""Bytes that may wait for acknowledgement; beyond it `tell` and `call` raise Overloaded. Signals and replies always pass."""


class Link:
    """`lost` is why the peer is gone for good; None while it may live. Used on the loop's thread only."""

    def __init__(self, links: Links, peer: Peer, address: str | None) -> None:
        system = links.system
        self.links = links
        self.system = system
        self.loop = system.loop
        self.thread = system.scheduler.thread
        self.peer = peer
        self.address = address
        self.lost: ExitReason | None = None
        self.encoder = Encoder(links.export, self._announce)
        self.delivery = Delivery(self, Decoder(links.resolve))
        self.full = False  # tell and call are to look why before they pack anything
        self.room = 0  # bytes that the present batch may still grow by; 0: none is begun
        self.items: list[bytes] = []
        hello = Hello(OLDEST, NEWEST, system.world.random.getrandbits(64), links.me, links.address, peer, links.guest)
        self.out = Outbound(hello)
        self._channel: Channel | None = None
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._requests = 0
        self._calls: dict[int, tuple[RemoteRef[Any], Reply]] = {}
        self._monitors: dict[int, tuple[RemoteRef[Any], Watcher]] = {}
        self._ties: dict[tuple[ActorRef[Any], RemoteRef[Any]], ActorRef[Any]] = {}
        self._reached = False  # it answered something, ever
        self._ping: Ping | None = None
        self._pings: dict[int, asyncio.Future[Pong]] = {}
        self._drained: asyncio.Future[None] | None = None
        self._offers: deque[tuple[RemoteRef[Any], Any, Reply]] = deque()

    def __repr__(self) -> str:
        return f"<Link to {self.peer} at {self.address}>"

    # --- out: items, batches, frames ---

    def push(self, item: bytes) -> None:
        """Send one packed item with the present batch."""
        if self.lost is not None:
            return
        size = len(item)
        if size > self.room:
            self.make_room(size)
        self.room -= size
        self.items.append(item)

    def _announce(self, definition: bytes) -> None:
        """Definitions end their batch: the receiver reads a batch as a whole, with what it learned from earlier ones."""
        self.push(definition)
        self._flush()

    def make_room(self, size: int) -> None:
        """Begin a batch that has room for `size` bytes; what waited before goes out now."""
        if self.items:
            self._flush()
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._tick)
        self.room = max(BATCH, size)

    def _tick(self) -> None:
        self._scheduled = False
        self.room = 0
        if self.items:
            self._flush()

    def _flush(self) -> None:
        items, self.items = self.items, []
        if self.lost is None:
            self.out.offer(items)
            if self.out.size > OUTBOX_LIMIT:
                self.full = True
            self.transmit()

    def transmit(self) -> None:
        """Hand the network what it takes; it calls again when it can take more."""
        if self.lost is not None or self.address is None:
            return
        if self._channel is None:
            self._channel = self.links.network.connect(self.address, self.heard, self.transmit)
        if self._ping is not None and self._channel.send(self._ping.encode()):
            self._ping = None
        out, now = self.out, self.loop.time()
        # HELLO is said even with nothing to deliver: a node whose old life still counts as alive elsewhere is met that way.
        while (frame := out.pending()) is not None and self._channel.send(frame):
            out.sent(now)
        if self._timer is None and (due := out.due) is not None:
            self._timer = self.loop.call_at(due, self._alarm)

    def _alarm(self) -> None:
        self._timer = None
        self.out.tick(self.loop.time())
        self.transmit()

    def connect(self, address: str) -> None:
        """The peer's address became known."""
        if self.address is None:
            self.address = address
            self.transmit()

    # --- back: what the peer's router answers ---

    def heard(self, data: bytes) -> None:
        """A frame came back on the channel."""
        try:
            frame = decode(data)
            self._reached = True
            match frame:
                case Ack():
                    self.out.acknowledged(frame, self.loop.time())
                case Welcome():
                    self.out.welcomed(frame, self.loop.time())
                case Stale():
                    self.links.refused(self, frame)
                case Bye():
                    self.out.acknowledged(frame, self.loop.time())
                    self.links.stopped(self)
                case Pong():
                    waiting = self._pings.get(frame.nonce)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(frame)
                case _:
                    raise Unreadable(f"a {type(frame).__name__} does not come this way")
        except (Unreadable, SessionError) as error:
            self.links.report(self.peer, error)
            return
        if self.lost is None:
            if self.full and self.out.size <= OUTBOX_LIMIT // 2:
                self.full = False
                self._let_in()
            self.transmit()
            if self._drained is not None and self.out.idle and not self._drained.done():
                self._drained.set_result(None)

    async def ping(self, timeout: float) -> bool:
        """Whether an actor of exactly this incarnation answered within `timeout` seconds; False early if nobody listens."""
        if self.lost is not None:
            return False
        if not self._reached and self.address is not None and not await self.links.network.listens(self.address):
            return False
        nonce = self.system.world.random.getrandbits(63)
        future: asyncio.Future[Pong] = self.loop.create_future()
        self._pings[nonce] = future
        self._ping = Ping(nonce)
        self.transmit()
        try:
            async with asyncio.timeout(timeout):
                return (await future).answerer == self.peer
        except TimeoutError:
            return False
        finally:
            del self._pings[nonce]

    async def drained(self) -> None:
        """Wait until everything sent was acknowledged, or the link is lost."""
        if self.items:
            self._flush()
        if not self.out.idle and self.lost is None:
            self._drained = self.loop.create_future()
            await self._drained

    # --- requests of actors here to actors there ---

    def send(self, ref: RemoteRef[Any], message: Any) -> None:
        """A tell from another thread, which has looked at it already: nobody is there to be told of an overload."""
        try:
            ref.tell(message)
        except Overloaded:
            self.system.dead_letters.add(DeadLetter(ref, message, OVERLOADED))

    def offer(self, ref: RemoteRef[Any], message: Any, reply: Reply) -> None:
        """A tell that waits for room, after those that do already. `reply` gets None when it was sent."""
        self._offers.append((ref, message, reply))
        self._let_in()

    def _let_in(self) -> None:
        while self._offers and (self.lost is not None or not self.full):
            ref, message, reply = self._offers.popleft()
            if reply.abandoned():
                continue
            if self.lost is not None:
                reply.fail(self.death(ref))
                continue
            try:
                ref.tell(message)
            except UnderstudyError as error:
                reply.fail(error)
            else:
                reply.set(None)

    def obstructed(self, ref: RemoteRef[Any], message: Any) -> None:
        """A tell met a link that is full or lost."""
        if self.lost is None:
            raise self.overloaded()
        self.system.dead_letters.add(DeadLetter(ref, message, str(self.lost)))

    def request(
        self,
        ref: RemoteRef[Any],
        message: Any,
        reply: Reply,
        remaining: float | None,
        sender: ActorRef[Any] | None = None,
        trace: bytes = b"",
    ) -> int:
        """Send a request. Its number is for `forget`; 0 if it failed at once. Raises Overloaded, NotRegistered, TooLarge."""
        if self.lost is not None:
            reply.fail(self.death(ref))
            return 0
        if self.full:
            raise self.overloaded()
        number = self._requests + 1
        item = self.encoder.item(trace, ref.target, message, (SEND, number, remaining, 0, sender))
        return self._ask(number, ref, reply, item)

    def request_stop(self, operation: int, ref: RemoteRef[Any], reply: Reply) -> int:
        """Send a request that is no message but an operation of its own."""
        if self.lost is not None:
            reply.set(False)
            return 0
        number = self._requests + 1
        return self._ask(number, ref, reply, self.encoder.pack((operation, number, ref.target)))

    def _ask(self, number: int, ref: RemoteRef[Any], reply: Reply, item: bytes) -> int:
        self._requests = number
        self._calls[number] = (ref, reply)
        self.push(item)
        return number

    def answered(self, request: int) -> Reply | None:
        """The one who waits for that request, if anybody does still."""
        call = self._calls.pop(request, None)
        return call[1] if call is not None else None

    def forget(self, request: int) -> None:
        """Nobody waits for that request any more."""
        if self._calls.pop(request, None) is not None:
            self.push(self.encoder.pack((CANCEL, request)))

    def death(self, ref: RemoteRef[Any]) -> ActorDied:
        """The error of a call over a lost link."""
        assert self.lost is not None, "asked of a lost link only"
        return (
            NodeDown(self.lost, repr(ref)) if isinstance(self.lost, NoConnection) else ActorDied(self.lost, repr(ref))
        )

    def overloaded(self) -> Overloaded:
        """The error of a full outbox."""
        return Overloaded(
            f"{self.out.size:,} bytes wait to be acknowledged by {self.peer}: nothing was sent; "
            f"send less, or wait for answers before sending more"
        )

    # --- monitors and links of actors here on actors there ---

    def signal(self, *item: Any) -> None:
        """Send an operation that asks for no answer."""
        if self.lost is None:
            self.push(self.encoder.pack(item))

    def monitor(self, ref: RemoteRef[Any], token: int, watcher: Watcher) -> None:
        if self.lost is not None:
            watcher.down(token, ref, self.lost)
            return
        self._monitors[token] = (ref, watcher)
        self.signal(MONITOR, token, ref.target)

    def demonitor(self, token: int) -> None:
        if self._monitors.pop(token, None) is not None:
            self.signal(DEMONITOR, token)

    def down(self, token: int, reason: ExitReason) -> None:
        """What a monitor watched is dead."""
        monitor = self._monitors.pop(token, None)
        if monitor is not None:
            monitor[1].down(token, monitor[0], reason)

    def link(self, ref: RemoteRef[Any], sender: ActorRef[Any]) -> None:
        if self.lost is not None:
            sender._linked_exit(ref, self.lost)
            return
        self.tie(sender, ref)
        self.signal(LINK, ref.target, sender)

    def unlink(self, ref: RemoteRef[Any], sender: ActorRef[Any]) -> None:
        there = self._tied(sender, ref)
        self.untie(sender, there)
        self.signal(UNLINK, there.target, sender)

    def linked_exit(self, ref: RemoteRef[Any], sender: ActorRef[Any], reason: ExitReason) -> None:
        there = self._tied(sender, ref)
        self.untie(sender, there)
        self.signal(LINKED_EXIT, there.target, sender, reason)

    def _tied(self, here: ActorRef[Any], known_as: RemoteRef[Any]) -> RemoteRef[Any]:
        """The actor that `here` is linked to under that reference, which may be a name."""
        return next((to for (by, to), known in self._ties.items() if by is here and known == known_as), known_as)

    def tie(self, here: ActorRef[Any], there: RemoteRef[Any], known_as: ActorRef[Any] | None = None) -> None:
        """Remember a link between two actors. `known_as` is the reference, perhaps a name, that `here` linked itself to."""
        self._ties[here, there] = known_as if known_as is not None else there

    def untie(self, here: ActorRef[Any], there: RemoteRef[Any]) -> ActorRef[Any]:
        """Forget it; returns what `here` knows the other one as."""
        return self._ties.pop((here, there), there)

    # --- the end ---

    def lose(self, reason: ExitReason) -> None:
        """The peer is gone for good."""
        if self.lost is not None:
            return
        if self.items:
            self.out.offer(self.items)
            self.items = []
        self.lost = reason
        self.full = True
        if self._timer is not None:
            self._timer.cancel()
        if self._channel is not None:
            self._channel.close()
        undelivered = list(self.out.end())
        calls, self._calls = self._calls, {}
        for ref, reply in calls.values():
            reply.fail(self.death(ref))
        self._let_in()
        monitors, self._monitors = self._monitors, {}
        for token, (ref, watcher) in monitors.items():
            watcher.down(token, ref, reason)
        ties, self._ties = self._ties, {}
        for (here, _), there in ties.items():
            here._linked_exit(there, reason)
        self.delivery.close()
        if undelivered:
            self._bury(undelivered, reason)
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _bury(self, undelivered: list[Undelivered], reason: ExitReason) -> None:
        """Make dead letters of the tells that were never acknowledged. Calls have failed, signals have no meaning any more."""
        reader = own_decoder(self.links.resolve)
        for batch, fate_unknown in undelivered:
            for item in reader.items(batch):
                if item[0] == TELL:
                    letter = DeadLetter(RemoteRef[Any](self, item[1]), reader.value(item), str(reason), fate_unknown)
                    self.system.dead_letters.add(letter)
