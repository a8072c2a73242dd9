"""The debug switch: messages between actors of one process, through the codec, as if they crossed the wire.

    ActorSystem("test", copy=wire_copy)       or UNDERSTUDY_WIRE_COPY=1 in the environment of a node
    ref.tell(message)  ──▶ packed ──▶ unpacked ──▶ mailbox       what could not cross raises where it is sent

So a program that runs on one machine learns today what it would learn on two: a class without @message, a tuple that arrives
as a list, a message that somebody changes after it was sent.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from understudy.actors import ActorRef, NotRegistered
from understudy.transport.decoder import own_decoder
from understudy.transport.encoder import Encoder
from understudy.transport.operations import BROKEN, TELL
from understudy.transport.payload import Payload
from understudy.transport.sources import Source

SWITCH = "UNDERSTUDY_WIRE_COPY"
"""The environment variable: anything but "" and "0" switches it on for the nodes of the process."""


def wire_copy(message: Any) -> Any:
    """The message as it would arrive on another node; references and the sources of payloads are those given.

    Raises NotRegistered and TooLarge, and what its class raises when it is made.
    """
    refs: list[ActorRef[Any]] = []
    sources = _Sources()

    def export(ref: ActorRef[Any]) -> tuple[int]:
        refs.append(ref)
        return (len(refs) - 1,)

    packed = Encoder(export, _known, sources).item(TELL, 0, message)
    decoder = own_decoder(lambda parts: refs[int(parts[0])], sources.arrive)
    [item] = decoder.items(b"\x91" + packed)
    if item[0] == BROKEN:
        raise NotRegistered(item[2])
    return decoder.value(item)


def wanted_copy() -> Callable[[Any], Any] | None:
    """What the environment asks for: `wire_copy` or nothing."""
    return wire_copy if os.environ.get(SWITCH, "0") not in ("", "0") else None


class _Sources:
    """The large payloads of one message, which leave for nowhere."""

    def __init__(self) -> None:
        self._taken: list[Source] = []

    def take(self, payload: Payload) -> int:
        self._taken.append(payload.source)
        return len(self._taken)

    def packed(self, *, sent: bool) -> None:
        """Nothing was begun."""

    def arrive(self, stream: int, size: int | None) -> Source:
        return self._taken[stream - 1]


def _known(definition: bytes) -> None:
    """Both ends are this process."""
