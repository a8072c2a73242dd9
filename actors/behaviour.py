"""What handles an actor's messages at present: its `on_receive`, or what it has become."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from understudy.actors.arguments import takes

if TYPE_CHECKING:
    from understudy.actors.cell import Cell


def become(cell: Cell[Any], handler: Callable[[Any], Any], push: bool) -> None:
    """Set the handler; what `Actor.become` does."""
    if not takes(handler):
        raise TypeError(f"become takes a function of one message, such as self.on_print, not {handler!r}")
    if cell.threaded and inspect.iscoroutinefunction(handler):
        raise TypeError(f"{cell!r} is a ThreadActor: its handlers are plain, not async")
    bonds = cell.tied()
    if push and bonds.behaviour is not None:
        bonds.behaviours = (*bonds.behaviours, bonds.behaviour)
    bonds.behaviour = handler
    cell.behave()


def unbecome(cell: Cell[Any]) -> None:
    """Go back to the one below."""
    bonds = cell.tied()
    below = bonds.behaviours
    bonds.behaviour = below[-1] if below else None
    bonds.behaviours = below[:-1]
    cell.behave()


def asynchronous(cell: Cell[Any]) -> bool:
    """Whether it is an `async def`."""
    behaviour = cell.bonds.behaviour if cell.bonds is not None else None
    return cell.kind.asynchronous if behaviour is None else inspect.iscoroutinefunction(behaviour)
