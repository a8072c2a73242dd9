"""docs/wire.md is true: its bytes are read, and nothing is missing from its tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import msgpack
import pytest

from tests.codec import Wire, version
from understudy.actors import ActorRef, message
from understudy.actors.message import FIELD_LIMIT
from understudy.transport import answers, door, frames, links, operations, wire

PAGE = (Path(__file__).parent.parent / "docs" / "wire.md").read_text()

KINDS = {kind.__name__.upper() for kind in get_args(frames.Frame)}


def examples(kind: str) -> list[tuple[bytes, str]]:
    """The bytes of that kind on the page, each with what is said of them."""
    blocks = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    pairs = re.findall(r"^([0-9a-f ]+)\n    (.+)$", "".join(blocks), re.MULTILINE)
    assert len(pairs) == sum(len(block.strip().splitlines()) for block in blocks) // 2
    return [(bytes.fromhex(data), said) for data, said in pairs]


def table(first: str) -> dict[str, list[str]]:
    """The rows of the table whose head begins like this, by their first cell."""
    head = PAGE.index(first)
    rows = PAGE[head:].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {row[0]: row[1:] for row in cells}


@pytest.mark.parametrize(("data", "said"), examples("frames"))
def test_the_frames_of_the_page_are_what_it_says_and_are_written_so(data: bytes, said: str) -> None:
    frame = frames.decode(data)
    assert repr(frame) == said
    assert frame.encode() == data  # type: ignore[union-attr]


@pytest.mark.parametrize(("data", "said"), examples("batches"))
def test_the_batches_of_the_page_are_what_it_says_to_us_and_to_plain_messagepack(data: bytes, said: str) -> None:
    assert repr(msgpack.unpackb(data)) == said
    decoder = Wire().decoder
    items = decoder.items(data)
    assert repr(items) == said
    for item in items:
        if item[0] == operations.DEFINE:
            decoder.define(item)


@pytest.mark.parametrize(("data", "said"), examples("values"))
def test_the_values_of_the_page_are_what_it_says(data: bytes, said: str) -> None:
    [item] = Wire().decoder.items(b"\x91\x94\x00\x01\x00" + data)
    value: Any = item[3]
    if isinstance(value, ActorRef):
        parts = value.parts  # type: ignore[attr-defined]
        number = (
            f"number {parts[2]} of {parts[0]}, incarnation {parts[1]}"
            if len(parts) == 3
            else f"{parts[1]} at {parts[0]}"
        )
        assert said == f"a reference to {number}"
    else:
        assert said == str(value)


def test_the_definition_on_the_page_is_what_its_class_would_send() -> None:
    def program() -> Any:
        @message("chat.say", formerly="chat.speak", renamed={"body": "text"})
        class Say:
            text: str
            last: int = 20

        return Say

    wired = Wire()
    with version(program) as say:
        wired.pack(say("hi"))
    [definition] = wired.definitions
    _, _, *sent = msgpack.unpackb(definition)
    _, _, *shown = msgpack.unpackb(examples("batches")[0][0])[0]
    assert sent == shown


def test_every_frame_operation_and_extension_is_in_its_table() -> None:
    kinds = {name: f"`{chr(getattr(frames, name))}`" for name in KINDS}
    assert {byte: row[0] for byte, row in table("| Byte | Frame").items()} == {b: name for name, b in kinds.items()}
    shown = {int(number): row[0] for number, row in table("| | Operation |").items()}
    known = {
        value: name for name, value in vars(operations).items() if name.isupper() and type(value) is int and value >= 0
    }
    assert shown == known
    codes = {int(code): row[0] for code, row in table("| Code | Extension").items()}
    assert codes == {getattr(wire, name): name for name in ("REFERENCE", "DATETIME", "REASON", "PAYLOAD", "MESSAGE")}


def test_every_limit_is_what_the_page_says() -> None:
    shown = {row[0].strip("`"): row[1] for row in table("| | | |\n|---|---|---|\n| a frame |").values() if row[0]}
    values = {"FIELD_LIMIT": FIELD_LIMIT, "TEXT_LIMIT": answers.TEXT_LIMIT, "INLINE": wire.INLINE}
    for module in (wire, frames, door, links):
        values |= {name: value for name, value in vars(module).items() if name in shown and type(value) is int}
    assert set(shown) == set(values)
    for name, value in values.items():
        assert shown[name].startswith(f"{value:,}"), (name, value, shown[name])
    limits = {name for name in vars(wire) if name.endswith("_LIMIT")}
    assert limits - {"NAME_LIMIT"} <= set(shown), "a limit is missing on the page"
