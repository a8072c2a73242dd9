"""Reads event streams as the HTML standard says it is done, so that what we write can be told from what a browser reads.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

import codecs
from collections.abc import Iterator
from typing import NamedTuple


class StreamEvent(NamedTuple):
    """What an `EventSource` dispatches: `id` is the last one seen, of this or an earlier event."""

    event: str
    data: str
    id: str


class StreamReader:
    """Feed it the bytes as they come, in pieces of whatever size."""

    def __init__(self) -> None:
        self.retry: int | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = False
        self._rest = ""
        self._data: list[str] = []
        self._event = ""
        self._id = ""

    def feed(self, piece: bytes) -> Iterator[StreamEvent]:
        """The events that are complete now. One that its stream does not complete never happens."""
        text = self._decoder.decode(piece)
        if text and not self._begun:
            self._begun = True
            text = text.removeprefix("\ufeff")
        self._rest += text
        while True:
            ends = [at for end in "\r\n" if (at := self._rest.find(end)) >= 0]
            if not ends or (self._rest[min(ends)] == "\r" and min(ends) + 1 == len(self._rest)):
                return  # a line feed may follow that belongs to it
            line, end = self._rest[: min(ends)], min(ends)
            self._rest = self._rest[end + (2 if self._rest[end : end + 2] == "\r\n" else 1) :]
            yield from self._line(line)

    def end(self) -> Iterator[StreamEvent]:
        """The stream is over: a carriage return that came last was a line's end."""
        if self._rest.endswith("\r"):
            line, self._rest = self._rest[:-1], ""
            yield from self._line(line)

    def _line(self, line: str) -> Iterator[StreamEvent]:
        if not line:
            if self._data:
                yield StreamEvent(self._event or "message", "\n".join(self._data), self._id)
            self._data, self._event = [], ""
            return
        field, colon, value = line.partition(":")
        value = value.removeprefix(" ") if colon else ""
        match field:
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry = int(value)
            case _:
                pass
