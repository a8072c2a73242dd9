"""What a message is: a frozen dataclass under a stable name, which may cross the wire.

@message                          its name is "package.module:Qualname"
class Say:
    text: str

@message("chat.history")          a name that survives moving the class
class History(Request[list[str]]):    `call` knows that the reply is a list of str
    last: int = 20

@message("chat.say", formerly="chat.speak", renamed={"body": "text"})
class Say:                        nodes that know it under its old name, or its field under that, understand it, and are understood
    text: str
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar, dataclass_transform, overload

from understudy.actors.errors import NotRegistered

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

NAME_LIMIT = 200
"""Characters of a wire name, and of a field's; the receiver refuses longer ones unread."""

FIELD_LIMIT = 255
"""Fields of a message class, and former names of it and of its fields."""


NOTHING: Mapping[str, Any] = MappingProxyType({})


class Registration(NamedTuple):
    """What a message class is called: `name` now, `formerly` once; `renamed` leads from a field's former name to its present one."""

    name: str
    formerly: tuple[str, ...] = ()
    renamed: Mapping[str, str] = NOTHING


_classes: dict[str, type] = {}  # by every name, former ones too
_registered: dict[type, Registration] = {}


class Request(Generic[R_co]):
    """A message that is answered with an `R`: `await ref.call(History())` is typed `list[str]`."""

    __slots__ = ()


@overload
def message(cls: type[T], /) -> type[T]: ...
@overload
def message(
    name: str | None = None, /, *, formerly: str | tuple[str, ...] = (), renamed: Mapping[str, str] = ...
) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True)
def message(
    name_or_class: str | type[T] | None = None,
    /,
    *,
    formerly: str | tuple[str, ...] = (),
    renamed: Mapping[str, str] = NOTHING,
) -> Any:
    """Make a class a message: a frozen, slotted dataclass, registered under a stable wire name.

    `formerly`: the wire names that it had before; `renamed`: its fields' former names, each with the present one. Nodes that
    know it, or a field, under the old name and nodes that know the new one understand each other, whoever sends.
    Raises ValueError when another class has one of its names, or a renamed field does not exist; TypeError when it decorates no class.
    """
    former = (formerly,) if isinstance(formerly, str) else tuple(formerly)
    if isinstance(name_or_class, str):
        return partial(_register, name=_checked_name(name_or_class), formerly=former, renamed=renamed)
    if name_or_class is None:
        return partial(_register, name=None, formerly=former, renamed=renamed)
    return _register(name_or_class, None)


def registered_name(cls: type) -> str:
    """The wire name of a message class; NotRegistered with the remedy if it has none."""
    if not isinstance(cls, type):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"registered_name takes a message's class, not {cls!r}")
    return registration(cls).name


def registration(cls: type) -> Registration:
    """All that a message class is and was called; NotRegistered with the remedy if it is none."""
    try:
        return _registered[cls]
    except KeyError:
        raise NotRegistered(
            f"{cls.__module__}.{cls.__qualname__} may not cross the wire: "
            f"decorate the class with @message, or send MessagePack scalars, lists and dicts"
        ) from None


def registered_class(name: str) -> type | None:
    """The message class that has, or once had, that wire name; None: its module was never imported here, or it does not exist."""
    return _classes.get(name)


def _register(
    cls: type[T],
    name: str | None,
    formerly: tuple[str, ...] = (),
    renamed: Mapping[str, str] = NOTHING,
) -> type[T]:
    if not isinstance(cls, type):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"@message decorates a class, not {cls!r}")
    made = dataclass(frozen=True, slots=True)(cls)
    is_called = Registration(
        name or f"{cls.__module__}:{cls.__qualname__}", tuple(map(_checked_name, formerly)), dict(renamed)
    )
    _check_fields(made, is_called.renamed)
    names = (is_called.name, *is_called.formerly)
    for one in names:
        known = _classes.get(one)
        # The same class again is a reloaded module: the new one takes the name over.
        if known is not None and (known.__module__, known.__qualname__) != (made.__module__, made.__qualname__):
            raise ValueError(
                f"the wire name {one!r} belongs to {known.__module__}.{known.__qualname__} already; "
                f"give {made.__module__}.{made.__qualname__} another: @message('another.name')"
            )
    _classes.update(dict.fromkeys(names, made))
    _registered[made] = is_called
    return made


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LIMIT:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"a message's wire name has 1 to {NAME_LIMIT} characters, not {str(name)[:40]!r}")
    return name


def _check_fields(cls: type, renamed: Mapping[str, str]) -> None:
    names = {field.name for field in fields(cls)}
    whose = f"{cls.__module__}.{cls.__qualname__}"
    if len(names) > FIELD_LIMIT or len(renamed) > FIELD_LIMIT or any(len(name) > NAME_LIMIT for name in names):
        raise ValueError(
            f"a message has {FIELD_LIMIT} fields at most, each of {NAME_LIMIT} characters; {whose} has more"
        )
    for before, now in renamed.items():
        if now not in names or before in names:
            raise ValueError(
                f"{whose} cannot have a field renamed from {before!r} to {now!r}: the first must be a name that it has no more, "
                f"the second one of {', '.join(sorted(names)) or 'its fields, of which it has none'}"
            )
