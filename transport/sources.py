"""Where the bytes of a payload come from, at the side that has them.

    Memory    anything with the buffer protocol: read in place, never copied             size known, as often as you like
    File      a path: opened when it is read, in pieces, off the loop                    size known, as often as you like
    Flow      an async iterable of bytes: whatever it yields, when it yields it          size unknown, once if it is an iterator

What came from another node is a source too (`Arrival`, in arrivals.py): it can be handed on, once.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

from understudy.actors import UnderstudyError

CHUNK = 256 * 1024
"""Bytes of one piece of a payload, at most: what a small message beside it may have to wait for."""

READ_AHEAD = 4 * CHUNK
"""Bytes that are read from a file at a time: one hop to another thread costs as much as reading a chunk."""


class PayloadError(UnderstudyError):
    """A payload cannot be read to its end: its source failed, or it was closed, or it can be read only once. The text says which."""


class Source(Protocol):
    """`size` in bytes, None if nobody knows. Iterating yields them all or raises: it never ends early in silence."""

    @property
    def size(self) -> int | None: ...

    def __aiter__(self) -> AsyncIterator[memoryview]:
        """From the beginning, flat views of up to CHUNK bytes. PayloadError if that is not possible any more."""
        ...

    def close(self) -> None:
        """Nobody will read it any more. Twice is harmless."""
        ...


class Memory:
    """Bytes that are in this process already. What they stand in is not to be changed while they are sent."""

    __slots__ = ("view",)

    def __init__(self, view: memoryview) -> None:
        self.view = view

    @property
    def size(self) -> int:
        return self.view.nbytes

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        for piece in cut(self.view):
            yield piece

    def close(self) -> None:
        """It costs nothing to keep."""


class File:
    """A file of the length it has now. One that has become shorter by the time it is read is an error; what was added is not read."""

    __slots__ = ("path", "size")

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise FileNotFoundError(f"a payload of {path}: there is no such file")
        self.size = path.stat().st_size

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        loop = asyncio.get_running_loop()
        try:
            file = await loop.run_in_executor(None, os.open, self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise PayloadError(f"{self.path} cannot be opened: {error}") from error
        reading: asyncio.Future[bytes] | None = None
        try:
            at = 0
            while at < self.size:
                reading = reading or loop.run_in_executor(None, self._read, file, at)
                piece = await asyncio.shield(reading)
                at += len(piece)
                reading = loop.run_in_executor(None, self._read, file, at) if at < self.size else None
                for chunk in cut(memoryview(piece)):
                    yield chunk
        finally:
            if reading is not None and not reading.done():  # under no thread's hands
                reading.add_done_callback(partial(_close, file))
            else:
                os.close(file)

    def _read(self, file: int, at: int) -> bytes:
        """In a thread."""
        try:
            piece = os.pread(file, min(READ_AHEAD, self.size - at), at)
        except OSError as error:
            raise PayloadError(f"{self.path} cannot be read at byte {at:,}: {error}") from error
        if not piece:
            raise PayloadError(f"{self.path} ends after {at:,} of {self.size:,} bytes: it was shortened meanwhile")
        return piece

    def close(self) -> None:
        """It is open only while it is read."""


class Flow:
    """What somebody makes as it goes along."""

    __slots__ = ("_iterable", "_spent")

    size = None

    def __init__(self, iterable: AsyncIterable[Any]) -> None:
        self._iterable = iterable
        self._spent = False

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        if self._spent:
            raise PayloadError(
                "this payload is made of an async iterator, which can be read once, and was: "
                "make a Payload for each receiver, or give it an object whose __aiter__ begins anew each time"
            )
        iterator = aiter(self._iterable)
        self._spent = iterator is self._iterable
        try:
            async for piece in iterator:
                if not isinstance(piece, bytes | bytearray | memoryview):
                    raise PayloadError(f"a payload's async iterable yields bytes, not {type(piece).__qualname__}")
                for chunk in cut(memoryview(bytes(piece))):  # a copy of what whoever yields it may well use again
                    yield chunk
        finally:
            await closed(iterator)

    def close(self) -> None:
        """An iterator that nobody has begun has nothing to close; one that was begun is closed by who reads it."""


class Gone:
    """What a payload was made of that left for a node which died: let go already."""

    __slots__ = ("size",)

    def __init__(self, size: int | None) -> None:
        self.size = size

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        raise PayloadError("this payload had left, for a node that is gone now: make another one of its source")
        yield

    def close(self) -> None:
        """There is nothing."""


def _close(file: int, read: asyncio.Future[bytes]) -> None:
    read.exception()
    os.close(file)


def source_of(source: object) -> tuple[Source, str | None, tuple[int, ...] | None]:
    """The source, and the element type and shape if it is an array. TypeError or ValueError for what cannot be meant."""
    if isinstance(source, bytes | bytearray):
        return Memory(memoryview(source).toreadonly()), None, None
    if isinstance(source, os.PathLike):
        return File(Path(cast("os.PathLike[str]", source))), None, None
    if hasattr(source, "__array_interface__"):
        return _array(source)
    if isinstance(source, AsyncIterable):
        return Flow(source), None, None
    try:
        view = memoryview(cast("Any", source))
    except TypeError:
        what = f"{source[:40]!r}" if isinstance(source, str) else f"a {type(source).__qualname__}"
        raise TypeError(
            f"a payload is made of bytes, an array, a pathlib.Path or an async iterable of bytes, not of {what}"
        ) from None
    if not view.c_contiguous:
        raise ValueError("a payload's memory must be in one piece (C-contiguous), which this is not: copy it first")
    return Memory(view.cast("B").toreadonly()), None, None


def _array(array: Any) -> tuple[Source, str | None, tuple[int, ...] | None]:
    """NumPy's arrays, and what speaks their interface. NumPy is not imported for it."""
    interface = array.__array_interface__
    dtype, shape = str(interface["typestr"]), tuple(map(int, interface["shape"]))
    if "O" in dtype or dtype[1:2] == "V":
        raise TypeError(f"an array of {array.dtype} cannot be sent as a payload: its elements are no plain numbers")
    if not array.flags.c_contiguous:
        raise ValueError(
            "a payload's array must be in one piece (C-contiguous), which this one is not: "
            "Payload(numpy.ascontiguousarray(array)) copies it"
        )
    return Memory(memoryview(array.reshape(-1).view("u1")).toreadonly()), dtype, shape


def size_of(dtype: str, shape: Sequence[int]) -> int:
    """Bytes of an array of that NumPy type, such as "<f8", and shape. ValueError if it is none that a payload may have."""
    kind, width = dtype[1:2], dtype[2:].partition("[")[0]
    if dtype[:1] not in "<>|=" or kind not in "?biufcmMSU" or not width.isdigit():
        raise ValueError(f"no array type: {dtype[:40]!r}")
    return math.prod(shape) * int(width) * (4 if kind == "U" else 1)


def cut(view: memoryview) -> Iterator[memoryview]:
    """Into pieces of CHUNK bytes at most, in place."""
    for start in range(0, view.nbytes, CHUNK):
        yield view[start : start + CHUNK]


async def closed(iterator: object) -> None:
    """Let an asynchronous generator end now, and not when it is found to be garbage."""
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()
