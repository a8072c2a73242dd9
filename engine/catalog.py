"""The catalog: which installed functions may be run, and under which names.

    @program("arena", rate=10)                  a function or a generator of an installed module
    def play(seed: int | None = None): ...      what it yields are frames, what it returns is the result

    catalog = load(["understudy.examples.arena"])     the engine imports what it was told to publish, and nothing else
    catalog["arena"].check({"seed": 7})

Frames, results and arguments are what MessagePack carries: None, bool, int (64 bits), float, str, bytes, lists, and dicts with
str keys.
"""

import importlib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgpack

Function = TypeVar("Function", bound=Callable[..., object])

MAX_RATE = 1_000.0
"""Frames per second."""

FRAME_LIMIT = 768 * 1024
RESULT_LIMIT = 128 * 1024
ARGUMENTS_LIMIT = 64 * 1024
"""Bytes as MessagePack of a frame, a result, and all arguments: together they fit one message between nodes."""

CARRIED = "None, bool, int (64 bits), float, str, bytes, lists, and dicts with str keys"
"""What a frame, a result or an argument may be."""


class CatalogError(Exception):
    """A program that cannot be published or run; the text says which, why, and what would do."""


@dataclass(frozen=True, slots=True)
class Program:
    """A published function. `rate`: frames per second unless a launch says otherwise; None: as fast as it yields."""

    name: str
    function: Callable[..., object]
    rate: float | None = None

    def check(self, arguments: Mapping[str, object]) -> None:
        """Raise CatalogError if the function cannot be called with these keyword arguments: names, then annotated types."""
        signature = inspect.signature(self.function)
        try:
            bound = signature.bind(**arguments)
        except TypeError as error:
            takes = signature.replace(return_annotation=inspect.Signature.empty)
            raise CatalogError(f"program {self.name!r}: {error}; it takes {takes}") from None
        hints = typing.get_type_hints(self.function)
        for name, value in bound.arguments.items():
            if name in hints and not _fits(value, hints[name]):
                wanted = inspect.formatannotation(hints[name]).replace("typing.", "")
                raise CatalogError(f"program {self.name!r}: {name} must be {wanted}, not {value!r}")


_published: dict[str, Program] = {}


def program(name: str, *, rate: float | None = None) -> Callable[[Function], Function]:
    """Publish a function or a generator under a name, and leave it as it is.

    `rate`: its usual frames per second. CatalogError: the name is empty, the rate is no such number, or another function has the name.
    """
    if not isinstance(name, str) or not name:
        raise CatalogError(f"a program is published under a name, not under {name!r}")
    check_rate(rate)

    def publish(function: Function) -> Function:
        before = _published.get(name)
        if before and _place(before.function) != _place(function):
            raise CatalogError(
                f"two functions are published as {name!r}: {_place(before.function)} and {_place(function)}"
            )
        _published[name] = Program(name, function, rate)
        return function

    return publish


def load(paths: Iterable[str]) -> dict[str, Program]:
    """Import these modules or packages and return the programs that they, or modules inside them, publish.

    CatalogError: one cannot be imported, or publishes nothing.
    """
    found: dict[str, Program] = {}
    for path in paths:
        try:
            importlib.import_module(path)
        except Exception as error:  # whatever a module of the user's raises, it cannot be published
            raise CatalogError(f"cannot import {path!r}: {type(error).__name__}: {error}") from error
        inside = {
            name: each for name, each in _published.items() if f"{each.function.__module__}.".startswith(f"{path}.")
        }
        if not inside:
            raise CatalogError(f"{path!r} publishes no program: decorate a function in it with @program(name)")
        found |= inside
    return found


def check_arguments(arguments: object) -> None:
    """Raise CatalogError unless these are named values that can be sent, and not too many bytes of them."""
    if not isinstance(arguments, dict) or not all(isinstance(name, str) for name in arguments):
        raise CatalogError(f"a program's arguments are values by name, such as {{'seed': 7}}, not {arguments!r:.200}")
    try:
        packed = msgpack.packb(arguments)
        msgpack.unpackb(packed)
    except (TypeError, ValueError, OverflowError) as error:
        raise CatalogError(f"the arguments cannot be sent: {error}; what can: {CARRIED}") from None
    if len(packed) > ARGUMENTS_LIMIT:
        raise CatalogError(f"the arguments have {len(packed):,} bytes as MessagePack; {ARGUMENTS_LIMIT:,} is the limit")


def check_rate(rate: object) -> None:
    """Raise CatalogError unless this is None, 0 (unpaced), or a number of frames per second up to MAX_RATE."""
    if rate is None:
        return
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= MAX_RATE:
        raise CatalogError(f"a rate is a number of frames per second from 0 (unpaced) to {MAX_RATE:g}, not {rate!r}")


def _place(function: Callable[..., object]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _fits(value: object, hint: Any) -> bool:
    """Whether a plain value is what an annotation says, as far as plain values go; what it cannot judge, it lets pass."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is typing.Literal:
        return any(value == each and type(value) is type(each) for each in inner)
    if origin is list:
        return isinstance(value, list) and all(_fits(each, inner[0]) for each in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(key, inner[0]) and _fits(each, inner[1]) for key, each in value.items()
        )
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (None, type(None), bool, str, bytes, list, dict):
        return isinstance(value, type(None) if hint is None else hint)
    return True
