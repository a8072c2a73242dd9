"""A sketch: a value as a short text for people, made without running any code of its own.

Crash reports and traces show messages and states that may be huge, deep, cyclic, secret or broken. So a sketch calls no
`__repr__`, no property and no `__getattr__`: it reads the storage of containers and objects, spends a budget of parts and
characters, and stops. Looking at anything at all takes less than a few milliseconds.

What is secret shows as `***`: whatever stands under a name that sounds so (`SECRETS`, see `hide`) or that its class lists in
`__redacted__ = ("pin",)`, and inside texts what follows such a name, `Bearer` or `Basic`, and the password of a URL.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import islice
from types import BuiltinFunctionType, CoroutineType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any, cast

from understudy.actors.ref import ActorRef

SECRETS = {
    "password", "passwd", "passphrase", "secret", "token", "authorization", "cookie", "credential", "apikey", "accesskey",
    "privatekey", "sessionid", "signature",
}  # fmt: skip
"""Names that hide what they name, wherever they are part of one; without regard to case, `_` and `-`. `hide` adds more."""

HIDDEN = "***"

TEXT_LIMIT = 2_000
"""Characters of one sketch."""

PIECE_LIMIT = 200
"""Characters of one text inside it."""

PARTS_LIMIT = 200
"""Values that one sketch looks at."""

ITEMS_LIMIT = 20
"""Items of one container."""

DEPTH_LIMIT = 5

_PLAIN_MODULES = {"datetime", "decimal", "fractions", "ipaddress", "pathlib", "uuid", "zoneinfo"}
"""Modules of the standard library whose classes print themselves safely and shortly."""

_DIGITS_LIMIT = 400
"""Bits of an integer that is shown digit by digit."""

_SEQUENCES: tuple[tuple[Any, str, str], ...] = (
    (tuple, "(", ")"), (list, "[", "]"), (set, "{", "}"), (frozenset, "{", "}"), (deque, "[", "]"),
)  # fmt: skip

_arguments_of = cast("Any", BaseException).args.__get__

_VALUE = r"""["']?\s*[=:]\s*["']?(?:(?:bearer|basic)\s+)?([^\s"'&;,]+)"""
_SCHEME = re.compile(r"\b(bearer|basic)\s+[^\s\"',;]{6,}", re.IGNORECASE)
_URL = re.compile(r"(://[^/\s:@]{0,100}:)[^/\s@]{1,100}@")


def hide(*names: str) -> None:
    """Hide what stands under these names too, in every sketch of this process: `hide("iban", "birthday")`."""
    for name in names:
        if not (isinstance(name, str) and _folded(name)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"hide takes names such as 'iban', not {name!r}")
    SECRETS.update(map(_folded, names))
    _hides.clear()
    global _assigned  # made of SECRETS, and read at every text
    _assigned = _assignments()


def hidden(name: object) -> bool:
    """Whether a name sounds as if what it names should not be seen."""
    cls = type(name)
    if issubclass(cls, bytes):
        name = bytes.__getitem__(cast("bytes", name), slice(PIECE_LIMIT)).decode("latin-1")
    elif issubclass(cls, str):
        name = str.__getitem__(cast("str", name), slice(PIECE_LIMIT))
    else:
        return False
    known = _hides.get(name)
    if known is None:
        folded = _folded(name)
        known = any(secret in folded for secret in SECRETS)
        if len(_hides) < 10_000:  # names may come from outside
            _hides[name] = known
    return known


def sketch(value: object, limit: int = TEXT_LIMIT) -> str:
    """`value` as a text of at most `limit` characters. Never raises, and runs no code of the value's class."""
    return _Sketch(limit).of(value)


def sketch_fields(value: object, leave_out: Callable[[str], bool], limit: int = TEXT_LIMIT) -> dict[str, str]:
    """What is stored in an object, by name, each as a short text; all of them together at most `limit` characters long."""
    pad = _Sketch(limit)
    fields: dict[str, str] = {}
    redacted = _redacted(type(value))
    for name, field in stored(value):
        if leave_out(name):
            continue
        if pad.left <= 0 or pad.parts <= 0 or len(fields) >= 10 * ITEMS_LIMIT:
            fields["..."] = "more"
            break
        fields[name[:PIECE_LIMIT]] = HIDDEN if name in redacted or hidden(name) else pad.of(field)
    return fields


def masked(text: str) -> str:
    """A text, shortened, without the secrets that stand in it."""
    text = str.__getitem__(text, slice(TEXT_LIMIT))
    text = _URL.sub(rf"\1{HIDDEN}@", text)
    text = _assigned.sub(lambda found: found.group(0)[: found.start(1) - found.start()] + HIDDEN, text)
    return _SCHEME.sub(rf"\1 {HIDDEN}", text)


def class_name(cls: type) -> str:
    """A class as a report names it: `module.Class`, or bare for a built-in one."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _folded(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def _assignments() -> re.Pattern[str]:
    """Matches `password=...`, `"api-key": "..."` and their like; group 1 is the secret."""
    names = "|".join("[-_ ]?".join(map(re.escape, secret)) for secret in sorted(SECRETS))
    return re.compile(rf"(?:{names})[\w-]{{0,40}}{_VALUE}", re.IGNORECASE)


_hides: dict[str, bool] = {}
_assigned = _assignments()


class _Sketch:
    """One sketch under way: what may still be spent on it, and which objects it is inside of."""

    def __init__(self, limit: int) -> None:
        self.left = limit
        self.parts = PARTS_LIMIT
        self._inside: list[object] = []

    def of(self, value: object) -> str:
        try:
            return self._of(value, type(value))
        except Exception:  # noqa: BLE001 - it changes while it is looked at, or its class is broken
            return self._spend(f"<{type(value).__name__}, which could not be looked at>")

    def _of(self, value: Any, cls: type) -> str:
        # `issubclass` of its class, since `isinstance` may ask the value itself.
        self.parts -= 1
        if self.left <= 0 or self.parts <= 0:
            return self._spend("...")
        if value is None or cls is bool or cls is float or cls is complex:
            return self._spend(repr(value))
        if issubclass(cls, Enum):
            return self._spend(f"{cls.__name__}.{object.__getattribute__(value, '_name_')}")
        if issubclass(cls, int):
            bits = int.bit_length(value)
            return self._spend(int.__repr__(value) if bits <= _DIGITS_LIMIT else f"<int of {bits} bits>")
        if issubclass(cls, str):
            return self._text(str.__getitem__(value, slice(PIECE_LIMIT)), str.__len__(value))
        for kind in (bytes, bytearray):
            if issubclass(cls, kind):
                head = bytes(kind.__getitem__(value, slice(PIECE_LIMIT)))
                return self._text(head.decode("latin-1"), kind.__len__(value), "b")
        if issubclass(cls, ActorRef) or cls.__module__ in _PLAIN_MODULES:
            return self._spend(repr(value)[:PIECE_LIMIT])
        if issubclass(cls, type | FunctionType | BuiltinFunctionType | MethodType | ModuleType | CoroutineType):
            return self._spend(f"<{cls.__name__} {value.__name__}>")
        if len(self._inside) >= DEPTH_LIMIT or any(value is outer for outer in self._inside):
            return self._spend(f"{cls.__name__}(...)")
        self._inside.append(value)
        try:
            return self._parts(value, cls)
        finally:
            self._inside.pop()

    def _parts(self, value: Any, cls: type) -> str:
        if issubclass(cls, dict):
            pairs = ((self._key(key), hidden(key), part) for key, part in dict.items(value))
            return self._bracketed("{", "}", self._named(pairs, ": "), cls, dict)
        redacted = _redacted(cls)
        parts: Iterable[tuple[str, object]]
        if issubclass(cls, tuple) and isinstance(fields := getattr(cls, "_fields", None), tuple):
            parts = zip(map(str, fields), tuple.__iter__(value), strict=False)
        else:
            for kind, start, end in _SEQUENCES:
                if issubclass(cls, kind):
                    return self._bracketed(start, end, self._items(value, kind), cls, kind)
            if issubclass(cls, BaseException):
                arguments = self._items(_arguments_of(value), tuple)
                return self._bracketed(f"{cls.__name__}(", ")", arguments, cls, cls)
            parts = stored(value)
        named = ((name, name in redacted or hidden(name), part) for name, part in parts)
        return self._bracketed(f"{cls.__name__}(", ")", self._named(named, "="), cls, cls)

    def _items(self, value: Any, kind: Any) -> Iterator[str]:
        """The items of a sequence or set; in a pair such as ("password", "x") the second is named by the first."""
        named = kind in (tuple, list) and kind.__len__(value) == 2 and hidden(kind.__getitem__(value, 0))
        for number, item in enumerate(kind.__iter__(value)):
            yield HIDDEN if named and number == 1 else self.of(item)

    def _named(self, parts: Iterable[tuple[str, bool, object]], between: str) -> Iterator[str]:
        for name, secret, part in parts:
            self.left -= len(name)
            yield f"{name}{between}{HIDDEN if secret else self.of(part)}"

    def _bracketed(self, start: str, end: str, parts: Iterator[str], cls: type, plain: type) -> str:
        if cls is not plain:
            start, end = f"{cls.__name__}({start}", f"{end})"
        shown: list[str] = []
        for text in parts:
            if len(shown) == ITEMS_LIMIT:
                shown.append("...")
                break
            shown.append(text)
            if self.left <= 0 or self.parts <= 0:
                break
        self._spend(start + end)
        return f"{start}{', '.join(shown)}{end}"

    def _key(self, key: object) -> str:
        return repr(str.__getitem__(key, slice(PIECE_LIMIT))) if type(key) is str else self.of(key)

    def _text(self, head: str, length: int, prefix: str = "") -> str:
        head = masked(head[: max(20, self.left)])
        more = f"... ({length} long)" if length > PIECE_LIMIT else ""
        return self._spend(f"{prefix}{head!r}{more}")

    def _spend(self, text: str) -> str:
        self.left -= len(text) + 2
        return text


def stored(value: object) -> Iterator[tuple[str, object]]:
    """The fields in an object's own storage, `__slots__` and `__dict__`, read past whatever its class does about attributes."""
    cls = type(value)
    for base in reversed(type.__getattribute__(cls, "__mro__")):
        for name, member in tuple(type.__getattribute__(base, "__dict__").items()):
            if type(member) is MemberDescriptorType and name not in ("__weakref__", "__dict__"):
                try:
                    yield name, member.__get__(value, cls)
                except AttributeError:  # not set
                    continue
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return
    if isinstance(own, dict):
        for name, part in islice(dict.items(dict.copy(own)), 10 * ITEMS_LIMIT):
            yield name if type(name) is str else sketch(name), part


def _redacted(cls: type) -> frozenset[str]:
    """The fields that a class or one of its bases declares as nobody's business."""
    known = _declared.get(cls)
    if known is None:
        names: set[str] = set()
        for base in type.__getattribute__(cls, "__mro__"):
            declared = type.__getattribute__(base, "__dict__").get("__redacted__", ())
            names.update((declared,) if isinstance(declared, str) else declared)
        known = frozenset(names)
        if len(_declared) < 10_000:
            _declared[cls] = known
    return known


_declared: dict[type, frozenset[str]] = {}
