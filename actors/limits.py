"""What a class of actors says of its mailbox and its hooks, checked when the class is made."""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import TYPE_CHECKING

from understudy.actors.arguments import is_number, takes
from understudy.actors.mailbox import Bounded

if TYPE_CHECKING:
    from understudy.actors.actor import Actor

STASH_LIMIT = 1_000
"""Messages that an actor may stash, unless its class says otherwise."""


HOOKS: dict[str, tuple[tuple[str, ...], ...]] = {
    "on_start": ((),),
    "on_receive": (("message",),),
    "on_stop": (("reason",), ()),
    "on_failure": (("exception_type", "exception_value", "traceback"),),
}
"""The hooks that may be async, and each way in which one may be called."""


def checked_limits(cls: type[Actor]) -> None:
    """Raise TypeError or ValueError for what cannot be meant."""
    if cls.mailbox is not None and not isinstance(cls.mailbox, Bounded):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{cls.__name__}.mailbox is Bounded(capacity, overflow) or None, not {cls.mailbox!r}")
    for name, value in (("high_water", cls.high_water), ("stash_limit", cls.stash_limit)):
        if not is_number(value):
            raise TypeError(f"{cls.__name__}.{name} is a number of messages, not {value!r}")
        if not value > 0:
            raise ValueError(f"{cls.__name__}.{name} is a number of messages from 1 up, not {value!r}")


def checked_hooks(cls: type[Actor]) -> None:
    """Raise TypeError or ValueError for hooks that nothing would ever run, or wait for."""
    for name, counts in HOOKS.items():
        hook = getattr(cls, name)
        if inspect.isgeneratorfunction(hook) or inspect.isasyncgenfunction(hook):
            raise TypeError(
                f"{cls.__name__}.{name} yields: nothing would run it; it is a plain function or an async def"
            )
        if isinstance(hook, FunctionType) and not any(takes(hook, len((cls, *given))) for given in counts):
            raise TypeError(f"{cls.__name__}.{name} is called as {_calls(name, counts)}, which it does not take")
    for name in ("on_get_state", "on_replace_state"):
        if inspect.iscoroutinefunction(getattr(cls, name)):
            raise TypeError(f"{cls.__name__}.{name} is an async def: it runs between two messages, and has to be plain")
    if not isinstance(cls.trap_exit, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{cls.__name__}.trap_exit is True or False, not {cls.trap_exit!r}")
    timeout = cls.stop_timeout
    if timeout is not None and not is_number(timeout):
        raise TypeError(f"{cls.__name__}.stop_timeout is a number of seconds or None, not {timeout!r}")
    if timeout is not None and not timeout >= 0:
        raise ValueError(f"{cls.__name__}.stop_timeout is a number of seconds from 0 up, not {timeout!r}")


def _calls(name: str, ways: tuple[tuple[str, ...], ...]) -> str:
    return " or ".join(f"{name}({', '.join(given)})" for given in ways)
