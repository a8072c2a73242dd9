"""A file that is written whole or not at all: under a name of its own beside the one it will have, off the loop.

open .film.mkv.1234.part ── write ... write ── fsync ── rename to film.mkv ── fsync of the folder
               └── anything goes wrong: removed, and what was there before under that name is untouched
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

BUFFER = 1024 * 1024
"""Bytes that are gathered for one write: a hop to another thread costs as much as writing 256 KiB."""

_numbers = itertools.count(1)


class Saving:
    """`async with Saving(path) as file: await file.write(view)`. OSError if the disk does not want it; nothing is left then."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(f".{self.path.name}.{os.getpid()}-{next(_numbers)}.part")
        self._file = -1
        self._there = False  # under the name of its own
        self._held: list[memoryview] = []
        self._size = 0
        self._busy: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        await self._off_the_loop(self._open)
        return self

    async def write(self, piece: memoryview) -> None:
        self._held.append(piece)
        self._size += piece.nbytes
        if self._size >= BUFFER:
            await self._flush()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                await self._flush()
                await self._off_the_loop(self._finish)
            except BaseException:
                self._give_up()
                raise
        else:
            self._give_up()

    async def _flush(self) -> None:
        held, self._held, self._size = self._held, [], 0
        await self._off_the_loop(lambda: self._write(held))

    async def _off_the_loop(self, work: Callable[[], None]) -> None:
        """Shielded: a thread that has begun is not interrupted, and nobody touches its file meanwhile."""
        self._busy = asyncio.get_running_loop().run_in_executor(None, work)
        await asyncio.shield(self._busy)

    def _give_up(self) -> None:
        if self._busy is not None and not self._busy.done():
            self._busy.add_done_callback(self._given_up)
        else:
            self._remove()

    def _given_up(self, done: asyncio.Future[None]) -> None:
        done.exception()
        self._remove()

    # --- in a thread ---

    def _open(self) -> None:
        self._file = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._there = True

    def _write(self, pieces: list[memoryview]) -> None:
        while pieces:
            written = os.writev(self._file, pieces)
            while pieces and written >= pieces[0].nbytes:
                written -= pieces.pop(0).nbytes
            if written:
                pieces[0] = pieces[0][written:]

    def _finish(self) -> None:
        os.fsync(self._file)
        os.close(self._file)
        self._file = -1
        os.replace(self._part, self.path)
        self._there = False
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _remove(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._there:
            self._there = False
            with contextlib.suppress(OSError):  # the disk is gone altogether
                os.unlink(self._part)
