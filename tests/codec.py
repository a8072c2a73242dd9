"""Two ends of a wire in one test: what one packs, the other reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import msgpack

from understudy.actors import ActorRef
from understudy.actors.message import _classes, _registered
from understudy.transport.decoder import Decoder
from understudy.transport.encoder import Encoder
from understudy.transport.operations import DEFINE, TELL


class Stranger(ActorRef[Any]):
    """A reference that is only its name here."""

    __slots__ = ("parts",)

    def __init__(self, *parts: Any) -> None:
        self.parts = parts


class Wire:
    """An encoder and a decoder, with the batches between them."""

    def __init__(self) -> None:
        self.definitions: list[bytes] = []
        self.encoder = Encoder(lambda ref: ref.parts, self.definitions.append)  # type: ignore[attr-defined]
        self.decoder = Decoder(lambda parts: Stranger(*parts))

    def pack(self, value: Any) -> bytes:
        return self.encoder.item(TELL, 1, value)

    def learn(self) -> None:
        """Hand the definitions over, as a batch before the next."""
        for definition in self.definitions:
            [item] = self.decoder.items(batch(definition))
            self.decoder.define(item)
        self.definitions.clear()

    def define(self, *definition: Any) -> None:
        """Have the decoder read a definition, in a batch of its own."""
        [item] = self.decoder.items(batch(msgpack.packb((DEFINE, *definition))))
        self.decoder.define(item)

    def carry(self, value: Any) -> Any:
        """The value as it arrives."""
        item = self.pack(value)
        self.learn()
        [arrived] = self.decoder.items(batch(item))
        return self.decoder.value(arrived)


def batch(*items: bytes) -> bytes:
    return b"\xdd" + len(items).to_bytes(4, "big") + b"".join(items)


Program: TypeAlias = Callable[[], Any]
"""Registers one version's classes and returns the one that matters."""


@contextmanager
def version(program: Program) -> Iterator[Any]:
    """Be a process that has imported that version of a program and nothing else."""
    classes, registered = _classes.copy(), _registered.copy()
    _classes.clear()
    _registered.clear()
    try:
        yield program()
    finally:
        _classes.clear()
        _classes.update(classes)
        _registered.clear()
        _registered.update(registered)
