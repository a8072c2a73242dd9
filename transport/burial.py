"""A burial: what a lost link had not delivered becomes dead letters, in the order it was sent, a few milliseconds at a time.

An outbox may hold hundreds of thousands of messages. Turned into letters in one go they would hold the loop for seconds:
probes would go unanswered, and one death would bring on the next. What is told to the lost link meanwhile stands in line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from understudy.actors import DeadLetter
from understudy.transport.decoder import Decoder, own_decoder
from understudy.transport.groups import GroupThere
from understudy.transport.loads import HERALD
from understudy.transport.operations import BROKEN, CAST, OFFER, TELL
from understudy.transport.payload import Payload
from understudy.transport.remote import RemoteRef
from understudy.transport.schema import Item
from understudy.transport.session import Undelivered
from understudy.transport.sources import Gone, Source

if TYPE_CHECKING:
    from understudy.transport.link import Link

SLICE = 0.003
"""Seconds of burying before the loop has its turn."""

LOOK = 64
"""Letters between two looks at the clock."""


class Burial:
    """Begins at once. Calls have failed, and signals have no meaning any more: only tells, offers and broadcasts are buried."""

    def __init__(self, link: Link, undelivered: list[Undelivered], payloads: dict[int, Payload]) -> None:
        self._link = link
        self._reason = str(link.lost)
        self._late: deque[DeadLetter] = deque()
        self._letters = self._all(undelivered, payloads)
        self.over = False
        self._go_on()

    def late(self, letter: DeadLetter) -> None:
        """One that was told to the lost link: after those that were sent before it."""
        if self.over:
            self._link.system.dead_letters.add(letter)
        else:
            self._late.append(letter)

    def finish(self) -> None:
        """All that is left, now: the node ends."""
        self.over = True
        for letter in self._letters:
            self._link.system.dead_letters.add(letter)

    def _go_on(self) -> None:
        if self.over:
            return
        add, clock = self._link.system.dead_letters.add, self._link.loop.time
        end = clock() + SLICE
        for number, letter in enumerate(self._letters, 1):
            add(letter)
            if number % LOOK == 0 and clock() > end:
                self._link.loop.call_soon(self._go_on)
                return
        self.over = True

    def _all(self, undelivered: list[Undelivered], payloads: dict[int, Payload]) -> Iterator[DeadLetter]:
        def source(stream: int, size: int | None) -> Source:
            return payloads[stream].source if stream in payloads else Gone(size)

        reader = own_decoder(self._link.links.resolve, source)
        for batch, fate_unknown in undelivered:
            for item in reader.items(batch):
                told: Item = item[1] if item[0] == BROKEN else item
                if told[:1] in ([TELL], [OFFER], [CAST]) and told[1] != HERALD:  # who is gone needs not know our load
                    kind = GroupThere if told[0] == CAST else RemoteRef[Any]
                    target = kind(self._link, told[1])
                    yield DeadLetter(target, _message(reader, item), self._reason, fate_unknown)
        while self._late:
            yield self._late.popleft()


def _message(reader: Decoder, item: Item) -> Any:
    """What was told; its bare fields if it cannot be made again, which is no reason to be silent about it."""
    try:
        return reader.value(item) if item[0] != BROKEN else item[1][3:]
    except Exception:  # noqa: BLE001 - whatever a message's own code raises
        return item[3:]
