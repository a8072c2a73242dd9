"""What a message is: a frozen dataclass under a stable name, which may cross the wire.

@message                          its name is "package.module:Qualname"
class Say:
    text: str

@message("chat.history")          a name that survives moving the class
class History(Request[list[str]]):    `call` knows that the reply is a list of str
    last: int = 20
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, dataclass_transform, overload

from understudy.actors.errors import NotRegistered

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

NAME_LIMIT = 200
"""Characters of a wire name; the receiver refuses longer ones unread."""

_classes: dict[str, type] = {}
_names: dict[type, str] = {}


class Request(Generic[R_co]):
    """A message that is answered with an `R`: `await ref.call(History())` is typed `list[str]`."""

    __slots__ = ()


@overload
def message(cls: type[T], /) -> type[T]: ...
@overload
def message(name: str, /) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True)
def message(name_or_class: str | type[T], /) -> Any:
    """Make a class a message: a frozen, slotted dataclass, registered under a stable wire name.

    Raises ValueError when another class already has that name, TypeError when it decorates no class.
    """
    if isinstance(name_or_class, str):
        name = name_or_class
        if not 0 < len(name) <= NAME_LIMIT:
            raise ValueError(
                f"a message's wire name has 1 to {NAME_LIMIT} characters, this one {len(name)}: {name[:40]!r}"
            )
        return partial(_register, name=name)
    if not isinstance(name_or_class, type):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"@message decorates a class, not {name_or_class!r}")
    return _register(name_or_class, f"{name_or_class.__module__}:{name_or_class.__qualname__}")


def registered_name(cls: type) -> str:
    """The wire name of a message class; NotRegistered with the remedy if it has none."""
    if not isinstance(cls, type):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"registered_name takes a message's class, not {cls!r}")
    try:
        return _names[cls]
    except KeyError:
        raise NotRegistered(
            f"{cls.__module__}.{cls.__qualname__} may not cross the wire: "
            f"decorate the class with @message, or send MessagePack scalars, lists and dicts"
        ) from None


def registered_class(name: str) -> type | None:
    """The message class of that wire name, or None: its module was never imported here, or it does not exist."""
    return _classes.get(name)


def _register(cls: type[T], name: str) -> type[T]:
    if not isinstance(cls, type):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"@message decorates a class, not {cls!r}")
    made = dataclass(frozen=True, slots=True)(cls)
    known = _classes.get(name)
    # The same class again is a reloaded module: the new one takes the name over.
    if known is not None and (known.__module__, known.__qualname__) != (made.__module__, made.__qualname__):
        raise ValueError(
            f"the wire name {name!r} belongs to {known.__module__}.{known.__qualname__} already; "
            f"give {made.__module__}.{made.__qualname__} another: @message('another.name')"
        )
    _classes[name] = made
    _names[made] = name
    return made
