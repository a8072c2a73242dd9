"""The text of an event stream: what a topic says as server-sent events. Pure.

    id: 6f0c-40                         the reply to the join; its id is the place from which this stream goes on
    event: joined
    data: {"epoch": "6f0c", "offset": 42, "recovered": true, ...}

    id: 6f0c-41                         what a listener missed that was here before, then what is said from now on
    event: line
    data: {"text": "hello"}

    event: typing                       without an id: a conflated event, which takes no offset
    data: {"who": "ada"}

An `EventSource` that comes back shows the last id it saw, so the ids are all that it takes to miss nothing. Payloads are as
their room made them: offsets stand in the id alone.
"""

import json

from understudy.gateway import phoenix
from understudy.gateway.delivery import as_json
from understudy.gateway.log import Cursor
from understudy.gateway.phoenix import Ref

JOINED = "joined"
"""The event that the reply to the join is."""


class EventSerializer:
    """One event after the other; for HTTP/1.1 in chunks of the chunked transfer coding, so that it is encoded once, too."""

    def __init__(self, chunked: bool) -> None:
        self.chunked = chunked

    def reply(self, join_ref: Ref, ref: Ref, topic: str, status: str, response: bytes, binary: bool = False) -> bytes:
        """The reply to the join, and after it what was missed. A listener says nothing that other replies could be for."""
        said = json.loads(response)
        missed = said.pop("events", [])
        begin = Cursor(said["epoch"], said["offset"] - len(missed))
        text = [_event(JOINED, phoenix.to_json(said), begin)]
        for offset, event, payload in missed:
            text.append(_event(event, phoenix.to_json(payload), Cursor(begin.epoch, offset)))
        return self.piece(b"".join(text))

    def push(self, join_ref: Ref, topic: str, event: str, payload: bytes, binary: bool = False) -> bytes:
        return self.piece(_event(event, as_json(payload, binary), None))

    def broadcast(
        self, topic: str, event: str, payload: bytes, cursor: Cursor | None = None, binary: bool = False
    ) -> bytes:
        return self.piece(_event(event, as_json(payload, binary), cursor))

    def keep_alive(self) -> bytes:
        """A comment: it means nothing, and shows that the stream lives."""
        return self.piece(b": keep-alive\n\n")

    def piece(self, text: bytes) -> bytes:
        """Text as it goes onto the socket."""
        return b"%x\r\n%b\r\n" % (len(text), text) if self.chunked else text


CHUNKED, PLAIN = EventSerializer(True), EventSerializer(False)


def _event(event: str, data: bytes, cursor: Cursor | None) -> bytes:
    """`data` is JSON, which has no line ends in it; an event's name may have any."""
    name = event.replace("\r", " ").replace("\n", " ").encode()
    place = b"" if cursor is None else b"id: %b\n" % str(cursor).encode()
    return b"%bevent: %b\ndata: %b\n\n" % (place, name, data)
