"""A lane: what drives one outbound session over one channel to a peer.

    send(items) ──▶ Outbound ── pending ──▶ Channel ──▶ the peer's router
                       ▲                       │
                       └── ACK, WELCOME ◀──────┤ heard
        STALE, BYE, PONG ──▶ the link      ◀───┘

A link has one for everything that its actors say, and another for the chunks of their payloads (freight.py). Used on the loop's thread only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING

from understudy.transport.frames import Ack, Bye, Hello, Introduced, Pong, Stale, Welcome, decode
from understudy.transport.schema import Unreadable
from understudy.transport.session import Outbound, SessionError, Undelivered

if TYPE_CHECKING:
    from understudy.transport.keys import KeyPair
    from understudy.transport.link import Link
    from understudy.transport.network import Channel


class Lane:
    """`progressed` is called when something came back, and the session may hold less than before."""

    __slots__ = ("_channel", "_keys", "_link", "_progressed", "_timer", "_urgent", "acknowledged", "out", "reached")

    def __init__(self, link: Link, progressed: Callable[[], None]) -> None:
        links = link.links
        session = link.system.world.random.getrandbits(64)
        self.out = Outbound(
            Hello(links.versions[0], links.versions[-1], session, links.me, links.address, link.peer, links.guest)
        )
        self.reached = False
        """Whether the peer answered anything, ever."""
        self.acknowledged = 0.0
        """When its loop last acknowledged something of this session: it is alive, though nothing else may come back."""
        self._link = link
        self._progressed = progressed
        self._channel: Channel | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._urgent: bytes | None = None
        self._keys: tuple[str, KeyPair | None] = "", None  # which the channel was made with

    @property
    def connected(self) -> bool:
        """Whether a connection stands."""
        return self._channel is not None and self._channel.stands

    @property
    def refused(self) -> bool:
        """Whether none stands because of a key."""
        return self._channel is not None and self._channel.refused

    def send(self, items: list[bytes]) -> None:
        """Take a batch for delivery, and let go what the network takes."""
        self.out.offer(items)
        self.transmit()

    def send_first(self, frame: bytes) -> None:
        """Send a frame that belongs to no session, before anything else; the last one counts, if it has to wait."""
        self._urgent = frame
        self.transmit()

    def transmit(self) -> None:
        """Hand the network what it takes; it calls again when it can take more. HELLO is said even with nothing to deliver:
        a node whose old life still counts as alive elsewhere is met that way."""
        out = self.out
        channel = self._channel
        if channel is None:
            address = self._link.address
            if address is None or out.state == "ended":
                return
            self._keys = key, pair = self._link.keys()
            if pair is not None and not key:
                return  # nobody there could prove to be the one; when a key is known, it is tried again
            channel = self._channel = self._neutral().run(
                partial(self._link.links.network.connect, key=key, pair=pair),
                *(address, self.heard, self.transmit),
                connected=self._connected,
            )
        if self._urgent is not None and channel.send(self._urgent):
            self._urgent = None
        now = self._link.loop.time()
        while (frame := out.pending()) is not None and channel.send(frame):
            out.sent(now)
        if self._timer is None and (due := out.due) is not None:
            self._timer = self._link.loop.call_at(due, self._alarm, context=self._neutral())

    def rekey(self) -> None:
        """Connect anew, if other keys hold now than when it last did. What was under way is sent again."""
        if self._channel is not None and self._keys != self._link.keys():
            self._channel.close()
            self._channel = None
        self.transmit()

    def end(self) -> list[Undelivered]:
        """The peer is gone for good: what it has not acknowledged, oldest first."""
        if self._timer is not None:
            self._timer.cancel()
        if self._channel is not None:
            self._channel.close()
        return list(self.out.end())

    def _neutral(self) -> Context:
        """For what outlives this moment: an actor's own context would keep the message at hand, payloads and all."""
        return self._link.system.scheduler.neutral_context()

    def _alarm(self) -> None:
        self._timer = None
        self.out.tick(self._link.loop.time())
        self.transmit()

    def _connected(self) -> None:
        self.out.connected(self._link.loop.time())
        self.transmit()

    def heard(self, data: bytes) -> None:
        """A frame came back on the channel."""
        link, out = self._link, self.out
        try:
            frame = decode(data)
            self.reached = True
            match frame:
                case Ack():
                    now = link.loop.time()
                    out.acknowledged(frame, now)
                    self.acknowledged = now
                case Welcome():
                    out.welcomed(frame, link.loop.time())
                case Stale():
                    link.links.refused(link, frame, ours=frame.session == out.session)
                case Bye():
                    out.acknowledged(frame, link.loop.time())
                    if link.lane is self:  # a message may have its last acknowledgement under way still
                        link.links.stopped(link)
                case Pong():
                    link.ponged(frame)
                case Introduced():
                    link.links.introduced(link, frame)
                case _:
                    raise Unreadable(f"a {type(frame).__name__} does not come this way")
        except (Unreadable, SessionError) as error:
            link.links.report(link.peer, error)
            return
        if out.state != "ended":
            self._progressed()
            self.transmit()
