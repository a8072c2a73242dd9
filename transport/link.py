"""A link: everything between this node and one life of another. There is one per pair of incarnations, and no second.

    RemoteRef.tell ──▶ items ── once per tick, or at 48 KiB ──▶ Lane: Outbound session, Channel ──▶ the other node
    call           ──▶ Calls ── at once if it is alone ──────▶                                         │
    monitor, link  ──▶ Bonds ──▶                                                                       │
    groups         ──▶ Muster ─▶                                                                       │
    offer          ──▶ Offers ─▶                                                                       │
    payloads       ──▶ Departures ── chunk by chunk ──▶ Freight: a lane of their own ──▶ its Arrivals  │
    actors here    ◀── Delivery ◀── Decoder ◀── Inbound session ◀── the door of this node ◀────────────┘

It opens at its first message, survives every broken connection, and ends once: when its peer is declared dead. Then, in
this order: open calls fail, offers end, groups are left, monitors fire, links break, and what was not acknowledged becomes dead letters.
"""

from __future__ import annotations

import asyncio
import threading  # noqa: TID251 - only to ask which thread this is
from functools import partial
from typing import TYPE_CHECKING, Any

from understudy.actors import (
    ActorDied,
    ActorRef,
    DeadLetter,
    ExitReason,
    NoConnection,
    NodeDown,
    Overloaded,
)
from understudy.actors.dead_letters import OVERLOADED
from understudy.transport.arrivals import Arrivals
from understudy.transport.bonds import Bonds
from understudy.transport.burial import Burial
from understudy.transport.calls import Calls
from understudy.transport.decoder import Decoder
from understudy.transport.delivery import Delivery
from understudy.transport.departures import Departures
from understudy.transport.encoder import Encoder
from understudy.transport.frames import Peer, Ping, Pong
from understudy.transport.freight import Freight
from understudy.transport.keys import KeyPair
from understudy.transport.lane import Lane
from understudy.transport.muster import Muster
from understudy.transport.offers import AHEAD, Offers
from understudy.transport.operations import UNWANTED, WANTED
from understudy.transport.remote import RemoteRef

if TYPE_CHECKING:
    from understudy.transport.links import Links

BATCH = 48 * 1024
"""Bytes after which a batch does not wait for the end of the tick. Larger ones do not move more: from some 700 messages on
the receiver's collector begins to walk over them while they wait for their turn (docs/performance.md)."""

OUTBOX_LIMIT = 32 * 1024 * 1024
"""Bytes that may wait for acknowledgement; beyond it `tell` and `call` raise Overloaded, and offers wait. What must pass does:
signals, at most one for each monitor, link and order that an actor here made; what tells of offers, a few bytes; and
replies, until there are delivery.REPLY_LIMIT bytes: then requests of the peer are refused as long as it does not read."""

PING_AGAIN = 0.2
"""Seconds until a ping is said again that nobody answered: a connection that broke may have taken it along."""


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
        self.freight = Freight(self)
        context = system.scheduler.neutral_context
        self.departures = Departures(self.freight, self.loop, context, self._progressed)
        self.arrivals = Arrivals(
            self.loop,
            context,
            wanted=partial(self.signal, WANTED),
            unwanted=partial(self.signal, UNWANTED),
            report=partial(links.report, peer),
        )
        self.encoder = Encoder(links.export, self._announce, self.departures)
        self.muster = Muster(self)
        self.delivery = Delivery(self, Decoder(links.resolve, self.arrivals.announce))
        self.full = False  # tell and call are to look why before they pack anything
        self.room = 0  # bytes that the present batch may still grow by; 0: none is begun
        self.items: list[bytes] = []
        self.pair: KeyPair | None = None  # what this node proves to the peer, if not what it proves to everybody
        self.lane = Lane(self, self._progressed)
        self.out = self.lane.out
        self.calls = Calls(self)
        self.bonds = Bonds(self)
        self.offers = Offers(self)
        self._scheduled = False
        self._pings: dict[int, asyncio.Future[Pong]] = {}
        self._drained: dict[asyncio.Future[None], tuple[int, int]] = {}
        self.burial: Burial | None = None  # of what was lost with it

    def __repr__(self) -> str:
        return f"<Link to {self.peer} at {self.address}>"

    @property
    def connected(self) -> bool:
        """Whether a connection stands."""
        return self.lane.connected

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

    def send_now(self, item: bytes) -> None:
        """Send one packed item, and what waits before it, without waiting for more: somebody waits for this one alone."""
        if self.lost is not None:
            return
        if self.items and len(item) > self.room:
            self._flush()
        self.items.append(item)
        self._flush()

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
        self.flush()

    def flush(self) -> None:
        """Let go of what waits for the end of the tick."""
        if self.items:
            self._flush()

    def _flush(self) -> None:
        items, self.items = self.items, []
        if self.lost is None:
            self.lane.send(items)
            if self.out.size > OUTBOX_LIMIT:
                self.full = True

    def connect(self, address: str) -> None:
        """The peer's address became known."""
        if self.address is None:
            self.address = address
            self.lane.transmit()
            self.freight.transmit()

    def _progressed(self) -> None:
        """The peer has taken something."""
        if self.full and self.out.size <= OUTBOX_LIMIT // 2:
            self.full = False
            self.muster.go_on()
        if self.offers.waiting:
            self.loop.call_soon(self.offers.let_in)
        for future, (batches, streams) in self._drained.items():
            if self.out.delivered >= batches and self.departures.arrived(streams) and not future.done():
                future.set_result(None)

    async def ping(self, timeout: float) -> bool:
        """Whether an actor of exactly this incarnation answered within `timeout` seconds; False early if nobody listens.

        On a connection that breaks all the time no answer may come back: then an acknowledgement is as good as one.
        """
        if self.lost is not None:
            return False
        if not self.lane.reached and self.address is not None and not await self.links.network.listens(self.address):
            return False
        nonce = self.system.world.random.getrandbits(63)
        future: asyncio.Future[Pong] = self.loop.create_future()
        self._pings[nonce] = future
        begun = self.loop.time()
        try:
            async with asyncio.timeout(timeout):
                while not future.done():
                    self.lane.send_first(Ping(nonce).encode())
                    await asyncio.wait([future], timeout=PING_AGAIN)
                    if self.lane.acknowledged > begun and not future.done():
                        return True
                return future.result().answerer == self.peer
        except TimeoutError:
            return False
        finally:
            del self._pings[nonce]

    def keys(self) -> tuple[str, KeyPair | None]:
        """What the peer must prove, "" as long as that is not known, and what this node proves to it; None without keys."""
        trust = self.links.trust
        return ("", None) if trust is None else (trust.door(self.peer.node), self.pair or trust.pair)

    def prove(self, pair: KeyPair | None) -> None:
        """Prove that key to the peer from now on; None: the one that is proved to everybody. If that, or the key that the
        peer proves, is another than before, it is connected anew."""
        self.pair = pair
        if self.lost is None:
            self.lane.rekey()
            self.freight.rekey()

    def ponged(self, pong: Pong) -> None:
        """Somebody answered at the peer's address."""
        waiting = self._pings.get(pong.nonce)
        if waiting is not None and not waiting.done():
            waiting.set_result(pong)

    async def drained(self) -> None:
        """Wait until everything sent so far is acknowledged, payloads and all. Raises NodeDown if the link is lost before."""
        self.flush()
        if self.lost is not None:
            raise NodeDown(self.lost, f"the node {self.peer}")
        batches, streams = self.out.offered, self.departures.taken
        if self.out.delivered < batches or not self.departures.arrived(streams):
            future: asyncio.Future[None] = self.loop.create_future()
            self._drained[future] = batches, streams
            try:
                await future
            finally:
                del self._drained[future]

    # --- what cannot be sent at once ---

    def send(self, ref: ActorRef[Any], message: Any) -> None:
        """A tell from another thread, which has looked at it already: nobody is there to be told of an overload."""
        if self.lost is not None:
            self.obstructed(ref, message)
            return
        if self.thread != threading.get_ident():  # the loop has ended, and nothing leaves any more
            self.system.dead_letters.add(DeadLetter(ref, message, str(NoConnection("this node has ended"))))
            return
        try:
            ref.tell(message)
        except Overloaded:
            self.system.dead_letters.add(DeadLetter(ref, message, OVERLOADED))

    def obstructed(self, ref: ActorRef[Any], message: Any) -> None:
        """A tell met a link that is full or lost."""
        if self.lost is None:
            raise self.overloaded()
        letter = DeadLetter(ref, message, str(self.lost))
        if self.burial is not None:
            self.burial.late(letter)
        else:
            self.system.dead_letters.add(letter)

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

    def no_room(self, ref: RemoteRef[Any]) -> Overloaded:
        """The error of an offer whose time is up."""
        if self.full:
            return self.overloaded()
        if self.offers.crowded(ref):
            return Overloaded(
                f"the mailbox of {ref!r} is full, and {AHEAD} messages stand in line for it: nothing was sent"
            )
        return Overloaded(f"payloads to {self.peer} are under way, and there is no room for more yet: nothing was sent")

    def signal(self, *item: Any) -> None:
        """Send an operation that asks for no answer."""
        if self.lost is None:
            self.push(self.encoder.pack(item))

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
        undelivered = self.lane.end()
        self.freight.end()
        payloads = self.departures.close()
        self.calls.lose()
        self.offers.lose()
        self.muster.lose()
        self.bonds.lose(reason)
        self.delivery.close()
        self.arrivals.close(lambda: NodeDown(reason, f"the sender of a payload, on {self.peer.node},"))
        for future in self._drained:
            if not future.done():
                future.set_exception(NodeDown(reason, f"the node {self.peer}"))
        if undelivered:
            self.burial = Burial(self, undelivered, payloads)
