"""Freight: the lane of a link for the chunks of payloads, beside the one for messages. It opens with the first chunk.

    Departures ── put ──▶ CHUNK: head and body in two parts, the body from where it is ──▶ the peer's Arrivals
               ◀── acknowledged ── a session and a connection of its own

Measured (0012): a small message beside a stream waits three times as long if both share one connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.transport.frames import Chunk
from understudy.transport.lane import Lane
from understudy.transport.network import Loaded

if TYPE_CHECKING:
    from understudy.transport.link import Link

UNDER_WAY = 32
"""Chunks that may be under way unacknowledged, of all streams together: what a sender holds in memory of its files."""


class Freight:
    """The `Carrier` of a link's departures."""

    __slots__ = ("_lane", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lane: Lane | None = None

    def room(self) -> bool:
        if self._link.lost is not None:
            return False
        return self._lane is None or self._lane.out.offered - self._lane.out.delivered < UNDER_WAY

    def put(self, stream: int, index: int, kind: int, body: memoryview | bytes) -> int:
        self._link.flush()  # the message first
        lane = self._lane
        if lane is None:
            lane = self._lane = Lane(self._link, self._progressed)
        out = lane.out
        sequence = out.offered
        out.load(Loaded(Chunk(out.session, sequence, stream, index, kind).encode(), body))
        lane.transmit()
        return sequence

    def transmit(self) -> None:
        """The peer's address became known."""
        if self._lane is not None:
            self._lane.transmit()

    def rekey(self) -> None:
        """See Lane."""
        if self._lane is not None:
            self._lane.rekey()

    def end(self) -> None:
        """The peer is gone for good."""
        if self._lane is not None:
            self._lane.end()

    def _progressed(self) -> None:
        assert self._lane is not None, "it is what progressed"
        self._link.departures.acknowledged(self._lane.out.delivered)
