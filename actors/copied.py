"""A cell whose messages and answers are copied on the way: the debug switch of `ActorSystem(copy=...)`. See transport/copies.py.

What users send is copied where it is sent, so that an error is raised there; what the kernel and the framework send is not, nor
are proxies, which never cross the wire. With the switch off none of this exists: the cell is the usual one.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar, cast

from understudy.actors.cell import Cell
from understudy.actors.envelope import Envelope
from understudy.actors.ref import DEFAULT_TIMEOUT

C = TypeVar("C", bound=Cell[Any])

OWN, EXAMPLES = ("understudy.", "pykka."), "understudy.examples."
"""Modules whose messages stay as they are; examples are programs like a user's."""


class Copied(Cell[Any]):
    """Mixed into a cell that exists already."""

    __slots__ = ()

    def tell(self, message: Any) -> None:
        super().tell(self._copy(message))

    async def call(self, message: Any, timeout: float = DEFAULT_TIMEOUT) -> Any:
        return self._copy(await super().call(self._copy(message), timeout))

    async def offer(self, message: Any, timeout: float = math.inf) -> None:
        await super().offer(self._copy(message), timeout)

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        answer = super().ask(self._copy(message), block=block, timeout=timeout)
        return self._copy(answer) if block else answer

    def _copy(self, message: Any) -> Any:
        cls = type(message)
        module = cls.__module__
        if cls is Envelope or (module.startswith(OWN) and not module.startswith(EXAMPLES)):
            return message
        copy = self.scheduler.system.copy
        return message if copy is None else copy(message)


def copied(cell: C) -> C:
    """Make a cell, before anybody has it, one whose messages are copied."""
    cls: type[Cell[Any]] = type(cell)
    if cls not in _mixed:
        _mixed[cls] = type(f"Copied{cls.__name__}", (Copied, cls), {"__slots__": ()})
    cell.__class__ = cast("type[C]", _mixed[cls])
    return cell


_mixed: dict[type[Cell[Any]], type[Cell[Any]]] = {}
