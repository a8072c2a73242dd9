"""A payload: a field of a message that may be as large as you like, and never holds up small messages.

    sender      stage.tell(Film("Metropolis", Payload(Path("metropolis.mkv"))))
                stage.tell(Frame(7, Payload(array)))                   bytes, arrays, paths, async iterables of bytes

    receiver    await film.data.save("/films/metropolis.mkv")          whole, or not there at all
                frame = await message.data.array()                     also .bytes(), .into(memory)
                async for chunk in payload: ...                        views of up to 256 KiB, with as much time as you like

Up to 256 KiB it travels inside its message. A larger one is a stream of its own beside the messages (departures.py,
arrivals.py, lane.py): its chunks are sent as fast as somebody reads them, and its source is let go as soon as the last one
has arrived, or nobody wants them any more. In one process nothing travels: the receiver reads the source itself.

What is read is every byte that was sent, in order, or an error. It is never a part taken for the whole.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from importlib import import_module
from types import TracebackType
from typing import Any, Self

from understudy.transport.saving import Saving
from understudy.transport.sources import Memory, PayloadError, Source, size_of, source_of

LIMIT = 64 * 1024 * 1024
"""Bytes that `bytes()` and `array()` hold in memory unless the reader asks for more: that is not for the sender to decide."""


class Payload:
    """Made of bytes or anything with the buffer protocol, an array, a `pathlib.Path` or an async iterable of bytes.

    Memory and files can be sent to many and read often. An async *iterator*, such as a generator, and what came from another
    node can be read, or handed on, once. Raises TypeError, ValueError, OSError for a source that cannot be read.

    The memory must not change until the payload has arrived: it is sent from where it is.
    """

    __slots__ = ("__weakref__", "dtype", "shape", "source")

    def __init__(self, source: object) -> None:
        made = (source.source, source.dtype, source.shape) if isinstance(source, Payload) else source_of(source)
        self.source: Source = made[0]
        self.dtype: str | None = made[1]
        self.shape: tuple[int, ...] | None = made[2]

    @classmethod
    def of(cls, source: Source, dtype: str | None = None, shape: tuple[int, ...] | None = None) -> Payload:
        """A payload with a source of its own kind."""
        made = cls.__new__(cls)
        made.source, made.dtype, made.shape = source, dtype, shape
        return made

    @property
    def size(self) -> int | None:
        """Bytes; None if nobody knows before the end."""
        return self.source.size

    def __aiter__(self) -> AsyncIterator[memoryview]:
        """All of it, in read-only views of up to 256 KiB. Raises PayloadError, and NodeDown when the sender's node dies."""
        return aiter(self.source)

    async def bytes(self, limit: int = LIMIT) -> bytes:
        """All of it. PayloadError if that is more than `limit` bytes; nothing is read then of a payload whose size is known."""
        source = self.source
        self._within(limit, self.size)
        if isinstance(source, Memory):
            whole = source.view.obj
            return whole if type(whole) is bytes and len(whole) == source.size else bytes(source.view)
        chunks: list[memoryview] = []
        size = 0
        async for chunk in self:
            size += chunk.nbytes
            if size > limit:
                self.close()
                self._within(limit, size)
            chunks.append(chunk)
        return b"".join(chunks)

    async def into(self, memory: Any) -> int:
        """Put all of it into `memory`, writable and in one piece: an array, a bytearray, shared memory. Returns how many bytes.

        ValueError if there is not enough room.
        """
        room = memoryview(memory).cast("B")
        if room.readonly:
            raise ValueError("a payload cannot be put into memory that is read-only")
        at = 0
        async for chunk in self:
            end = at + chunk.nbytes
            if end > room.nbytes:
                self.close()
                raise ValueError(f"{self!r} does not fit into {room.nbytes:,} bytes")
            room[at:end] = chunk
            at = end
        return at

    async def array(self, limit: int = LIMIT) -> Any:
        """The NumPy array that it was made of, read-only: in the sender's own process it is that array's own memory.

        PayloadError if it is none, or of more than `limit` bytes. `into(array)` fills one of yours.
        """
        if self.dtype is None or self.shape is None:
            raise PayloadError(f"{self!r} was not made of an array: use bytes()")
        numpy: Any = import_module("numpy")  # only for those who send arrays
        self._within(limit, self.size)
        source = self.source
        if isinstance(source, Memory):
            return numpy.frombuffer(source.view, self.dtype).reshape(self.shape)
        array = numpy.empty(self.shape, self.dtype)
        filled = await self.into(array.reshape(-1).view("u1"))
        if filled != array.nbytes:
            raise PayloadError(f"{self!r} ended after {filled:,} of {array.nbytes:,} bytes")
        array.flags.writeable = False
        return array

    async def save(self, path: str | os.PathLike[str]) -> int:
        """Write all of it to a file, which is there under that name when it is whole and safe on the disk. Returns its size.

        Raises OSError if the disk does not take it; then, and if the payload fails, nothing is left of it, and a file that was
        there before is untouched.
        """
        size = 0
        async with Saving(path) as file:
            async for chunk in self:
                size += chunk.nbytes
                await file.write(chunk)
        return size

    def close(self) -> None:
        """Not wanted, or not any more: its sender is told to stop. Twice is fine. So is forgetting it instead."""
        self.source.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        size = "unknown size" if self.size is None else f"{self.size:,} bytes"
        return f"<Payload of {size}{f', {self.dtype} {self.shape}' if self.dtype is not None else ''}>"

    def _within(self, limit: int, size: int | None) -> None:
        if size is not None and size > limit:
            raise PayloadError(
                f"{self!r} has more than the {limit:,} bytes that may be held in memory: read it with `async for`, "
                f"save(path) or into(memory), or give a higher limit"
            )


def checked_array(size: int | None, dtype: Any, shape: Any) -> tuple[str | None, tuple[int, ...] | None]:
    """Element type and shape as they came from another node. ValueError if they make no sense."""
    if dtype is None:
        return None, None
    if type(dtype) is not str or type(shape) is not list or len(shape) > 64:
        raise ValueError(f"no array: {str(dtype)[:40]!r} {str(shape)[:40]}")
    if not all(type(length) is int and length >= 0 for length in shape) or size_of(dtype, shape) != size:
        raise ValueError(f"no array of {size} bytes: {dtype[:40]!r} {str(shape)[:40]}")
    return dtype, tuple(shape)
