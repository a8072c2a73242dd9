"""The limits of the wire: looked at before anything is built from bytes, and what the worst frame costs all the same."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgpack
import pytest

from tests.codec import Stranger, Wire, batch
from understudy.actors import Failure, NoConnection, NotRegistered, Shutdown, message
from understudy.transport.decoder import Decoder
from understudy.transport.operations import BROKEN, SEND, TELL
from understudy.transport.schema import Unreadable
from understudy.transport.wire import (
    ALIKE_LIMIT,
    BATCH_ITEMS,
    DATETIME,
    DEFINITION_LIMIT,
    DEFINITION_SIZE,
    FRAME_LIMIT,
    MESSAGE,
    REASON,
    REFERENCE,
)


@message("test.empty")
class Empty:
    pass


def claim(items: int) -> bytes:
    return b"\xdd" + items.to_bytes(4, "big")


@pytest.mark.parametrize(
    "head", [claim(BATCH_ITEMS + 1), claim(2**32 - 1), b"\xdc" + (BATCH_ITEMS + 1).to_bytes(2, "big")]
)
def test_a_batch_that_claims_too_many_items_is_refused_unread(head: bytes) -> None:
    decoder, frame = Wire().decoder, head + b"\x90" * 100_000
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable, match="a batch has 32,768 items at most"):
            decoder.items(frame)
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


def test_as_many_items_as_a_batch_may_have_are_read() -> None:
    items = Wire().decoder.items(claim(BATCH_ITEMS) + msgpack.packb((TELL, 1, 0, 5)) * BATCH_ITEMS)
    assert items == [[TELL, 1, 0, 5]] * BATCH_ITEMS


@pytest.mark.parametrize(
    ("code", "data"),
    [
        (REFERENCE, msgpack.packb(("n" * 2_100, 1, 1))),
        (DATETIME, b"2026-11-20" + b"0" * 60),
        (REASON, msgpack.packb((0, 0, 1, "x" * 66_000))),
    ],
)
def test_an_extension_larger_than_any_of_ours_is_refused_unread(code: int, data: bytes) -> None:
    [item] = Wire().decoder.items(batch(msgpack.packb((TELL, 1, 0, msgpack.ExtType(code, data)))))
    assert item[0] == BROKEN
    assert "larger than any of ours" in item[2]


@pytest.mark.parametrize(
    "parts",
    [
        (1,),
        (1, 5),
        (3, "ValueError", "no"),
        (3, "ValueError", "no", [5]),
        (3, "ValueError", "no", [["f", "1", "g"]]),
        (3, "ValueError", "no", [["f", 1, "g"]] * 33),
        (3, 1, "no", []),
        (5, ["cut"]),
    ],
)
def test_a_reason_of_the_wrong_shape_is_refused(parts: tuple[Any, ...]) -> None:
    extension = msgpack.ExtType(REASON, msgpack.packb((0, 0, *parts)))
    [item] = Wire().decoder.items(batch(msgpack.packb((TELL, 1, 0, extension))))
    assert item[0] == BROKEN


@pytest.mark.parametrize("reason", [Shutdown("x" * 200_000), NoConnection("x" * 200_000), Failure("T", "x" * 200_000)])
def test_a_reason_that_is_too_large_is_shortened_and_the_news_passes(reason: Any) -> None:
    arrived = Wire().carry(reason)
    assert str(arrived).startswith((type(reason).__name__, "T: x"))
    assert len(str(arrived)) < 3_000


def test_a_class_is_defined_once_on_a_session_and_one_in_a_batch() -> None:
    decoder = Wire().decoder
    first, second = [9, 1, "test.empty", [], [], {}], [9, 2, "test.other", [], [], {}]
    decoder.items(batch())
    decoder.define(first)
    with pytest.raises(Unreadable, match=r"test\.other.*second"):
        decoder.define(second)
    decoder.items(batch())
    decoder.define(second)
    decoder.items(batch())
    with pytest.raises(Unreadable, match="defined on this session already"):
        decoder.define(first)


def _define(decoder: Decoder, number: int, fields: list[str]) -> None:
    decoder.items(batch())
    decoder.define([9, number, f"test.number-{number}", fields])


def test_a_session_defines_so_many_classes_and_names_of_such_a_size() -> None:
    many, large = Wire().decoder, Wire().decoder
    for number in range(1, DEFINITION_LIMIT + 1):
        _define(many, number, [])
    with pytest.raises(Unreadable, match="one too many"):
        _define(many, DEFINITION_LIMIT + 1, [])
    fields = [f"{number:0200}" for number in range(255)]
    enough = DEFINITION_SIZE // (255 * 250) + 2
    for number in range(1, enough - 1):
        _define(large, number, fields)
    with pytest.raises(Unreadable, match="one too many"):
        _define(large, enough, fields)


@pytest.mark.parametrize("inner", [1, []])
def test_whatever_depth_the_sender_lets_out_harms_no_other_item_and_all_but_the_deepest_are_read(inner: Any) -> None:
    wire = Wire()
    value: Any = inner
    items: list[bytes] = []
    while True:
        try:
            items.append(wire.encoder.item(SEND, 7, value, (1, 2)))
        except NotRegistered:
            break
        value = [value]
    good = wire.pack("good")
    before, *read, deepest, after = wire.decoder.items(batch(good, *items[-4:], good))
    assert (before[0], [item[:2] for item in read], after[0]) == (TELL, [[1, 2]] * 3, TELL)
    assert deepest[:2] == [1, 2] or (deepest[0] == BROKEN and deepest[1][:2] == [1, 2])
    with pytest.raises(Unreadable, match="StackError"):
        wire.decoder.items(claim(1) + b"\x91" * 2_000 + b"\x90")


def _worst() -> dict[str, Callable[[int], bytes]]:
    """Frames of a full MiB, made to be expensive."""

    def items(one: bytes) -> Callable[[int], bytes]:
        return lambda size: claim(min(size // len(one), BATCH_ITEMS)) + one * min(size // len(one), BATCH_ITEMS)

    def inside(one: bytes) -> Callable[[int], bytes]:
        def frame(size: int) -> bytes:
            count = size // len(one)
            return claim(1) + b"\x94\x00\x01\x00" + claim(count) + one * count

        return frame

    def extension(code: int, *parts: Any) -> bytes:
        return msgpack.packb(msgpack.ExtType(code, msgpack.packb(parts)))

    return {
        "empty lists": inside(b"\x90"),
        "empty dicts": inside(b"\x80"),
        "lists of one": inside(b"\x91\x00"),
        "dicts of one": inside(b"\x81\x00\x00"),
        "dicts with a list as key": inside(b"\x81\x90\x00"),
        "a dict with lists as keys": lambda size: (
            claim(1)
            + b"\x94\x00\x01\x00\xdf"
            + (size // 5).to_bytes(4, "big")
            + b"".join(b"\x91\xcd" + (number % 65_536).to_bytes(2, "big") + b"\x00" for number in range(size // 5))
        ),
        "dicts behind an item that cannot be read": lambda size: (
            claim(2) + b"\x91\xd4\x07\x00\x94\x00\x01\x00" + claim(size // 3) + b"\x81\x00\x00" * (size // 3)
        ),
        "empty messages": inside(extension(MESSAGE, 0, 0, 1)),
        "references": inside(extension(REFERENCE, "n", "a")),
        "reasons": inside(extension(REASON, 0, 0, 0)),
        "times": inside(msgpack.packb(msgpack.ExtType(DATETIME, b"20261120"))),
        "unknown extensions": inside(b"\xd4\x07\x00"),
        "empty items": items(b"\x90"),
        "items that are none": items(b"\x00"),
        "items with unknown extensions": items(b"\x92\x00\xd4\x07\x00"),
        "nested claims": lambda size: claim(1) + (b"\xdd" + size.to_bytes(4, "big")) * 1_000 + bytes(size - 5_005),
        "nested lists": lambda size: claim(1) + b"\x91" * (size - 6) + b"\x90",
    }


def _colliding(count: int) -> list[tuple[int, int]]:
    """Pairs of integers with the same hash: CPython's hash of a tuple, run backwards."""
    first, second, fifth, whole = 11400714785074694791, 14029467366897019727, 2870177450012600261, 1 << 64
    wanted = 12_345 * pow(first, -1, whole) % whole
    wanted = (wanted >> 31 | wanted << 33) % whole
    found: list[tuple[int, int]] = []
    for one in range(10 * count):
        begun = (fifth + one * second) % whole
        begun = (begun << 31 | begun >> 33) % whole * first % whole
        other = (wanted - begun) * pow(second, -1, whole) % whole
        other -= whole if other >> 63 else 0
        if abs(other) < (1 << 61) - 1 and len(found) < count:
            found.append((one, other))
    return found


def test_a_dict_whose_keys_were_made_to_collide_is_refused() -> None:
    keys = _colliding(2_000)
    assert len(set(map(hash, keys))) == 1
    wire, good = Wire(), Wire().pack({(x, y): 0 for x in range(-40, 40) for y in range(-40, 40)})
    bad = wire.pack(dict.fromkeys(keys[:ALIKE_LIMIT], 0))
    large = (
        b"\x94\x00\x01\x00\xdf" + len(keys).to_bytes(4, "big") + b"".join(msgpack.packb(key) + b"\xc0" for key in keys)
    )
    few, refused, read = wire.decoder.items(batch(bad, large, good))
    assert len(few[3]) == ALIKE_LIMIT
    assert refused[0] == BROKEN
    assert "the same hash" in refused[2]
    assert len(read[3]) == 6_400


@pytest.mark.parametrize("name", _worst())
def test_the_worst_frame_of_a_mebibyte_takes_ninety_times_its_size_at_most(name: str) -> None:
    """docs/wire.md has what was measured, of time also."""
    frame = _worst()[name](FRAME_LIMIT - 64)
    decoder = Decoder(lambda parts: Stranger(*parts))
    decoder.items(batch())
    decoder.define([9, 1, "test.empty", []])
    tracemalloc.start()
    try:
        with suppress(Unreadable):
            decoder.items(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 90 * FRAME_LIMIT, f"{peak / FRAME_LIMIT:.0f} times"
