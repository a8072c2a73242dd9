"""Payloads as their users meet them: in one process, between two nodes, from and to files."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import eventually
from tests.sides import Side, sides
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    Bounded,
    CallError,
    DeadLetter,
    NoConnection,
    NodeDown,
    Overloaded,
    Refused,
    Request,
    message,
)
from understudy.transport import KeyFolder, Node, Payload, PayloadError, TooLarge
from understudy.transport.departures import EAGER, HELD
from understudy.transport.sources import CHUNK
from understudy.transport.wire import INLINE

WHOLE = bytes(range(256)) * 8192 + b"and a bit"
"""2 MiB and a bit."""


@message("payload.parcel")
class Parcel(Request[Any]):
    data: Any
    how: str = "read"
    to: ActorRef[Any] | None = None


class Reader(Actor):
    """Reads each payload as it is told to, or keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []

    async def on_receive(self, parcel: Any) -> Any:
        data, how = parcel.data, parcel.how
        match how:
            case "read":
                return await data.bytes()
            case "all":
                return [len(await each.bytes()) for each in data]
            case "first chunk":
                async for chunk in data:
                    return len(chunk)
                return None
            case "keep":
                self.kept.append(data)
                return len(self.kept)
            case "read kept":
                return [len(await each.bytes()) for each in self.kept]
            case "drop":
                self.kept.clear()
                return None
            case "hand on":
                return await parcel.to.call(Parcel(data, "digest"))
            case "digest":
                return sum([sum(chunk) async for chunk in data])
            case "array":
                array = await data.array()
                return [str(array.dtype), list(array.shape), int(array.sum()), array.flags.writeable]
            case "back":
                return data
            case "give":
                return Payload(Feed(bytes(10), endless=True))
            case "crash":
                self.kept.append(data)
                raise ValueError("boom")
            case "refuse":
                raise Refused("not today")
            case _:
                return await data.save(how)


class Feed:
    """An async iterable that can be watched."""

    def __init__(self, piece: bytes = b"", *, endless: bool = False) -> None:
        self.piece = piece
        self.endless = endless
        self.begun = self.ended = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.begun += 1
        try:
            if self.piece:
                yield self.piece
            while self.endless:
                await asyncio.sleep(0)
                yield bytes(50_000)
        finally:
            self.ended += 1


async def pair(a: Side, b: Side) -> ActorRef[Any]:
    """A reader on b, as a sees it."""
    await b.system.spawn(Reader, name="reader")
    return a.links.named(b.system.name, "reader")


def nothing_is_left(*all_sides: Side) -> Callable[[], bool]:
    """Whether no link of these nodes has a stream still."""

    def empty() -> bool:
        gc.collect()
        links = [link for side in all_sides for link in side.links._links.values()]
        return not any(len(link.departures) or len(link.arrivals) or link.departures.held for link in links)

    return empty


# --- what it is made of ---


@pytest.mark.parametrize(
    ("source", "size"),
    [(b"", 0), (b"abc", 3), (bytearray(b"abc"), 3), (memoryview(b"abc")[1:], 2), (memoryview(b"abcd").cast("H"), 4)],
)
async def test_it_is_made_of_anything_with_the_buffer_protocol_and_copies_none_of_it(source: Any, size: int) -> None:
    payload = Payload(source)
    assert payload.size == size
    assert await payload.bytes() == bytes(memoryview(source))
    assert await payload.bytes() == b"".join([bytes(chunk) async for chunk in payload])  # as often as you like
    if isinstance(source, bytes):
        assert await payload.bytes() is source
    async for chunk in payload:
        assert chunk.obj is memoryview(source).obj
        assert chunk.readonly


async def test_a_payload_of_a_payload_is_the_same_source() -> None:
    payload = Payload(Payload(WHOLE))
    assert payload.size == len(WHOLE)
    assert await payload.bytes() is WHOLE


@pytest.mark.parametrize("source", ["text", 3, None, [b"x"], object()])
def test_what_it_cannot_be_made_of_is_refused_by_name(source: object) -> None:
    with pytest.raises(TypeError, match=r"made of bytes, an array, a pathlib.Path or an async iterable"):
        Payload(source)


def test_memory_that_is_not_in_one_piece_is_refused() -> None:
    with pytest.raises(ValueError, match="in one piece"):
        Payload(memoryview(b"abcdef")[::2])


def test_a_file_that_is_not_there_is_an_error_where_the_payload_is_made(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(FileNotFoundError, match="no such file"):
            Payload(path)


async def test_an_async_generator_is_read_once_and_what_begins_anew_as_often_as_you_like() -> None:
    async def lines() -> AsyncIterator[bytes]:
        yield b"one\n"
        yield b"two\n"

    once = Payload(lines())
    assert once.size is None
    assert await once.bytes() == b"one\ntwo\n"
    with pytest.raises(PayloadError, match="can be read once, and was"):
        await once.bytes()
    often = Payload(Feed(b"again"))
    assert [await often.bytes(), await often.bytes()] == [b"again"] * 2


async def test_an_iterable_of_anything_but_bytes_is_an_error_for_who_reads_it() -> None:
    async def numbers() -> AsyncIterator[Any]:
        yield 1

    with pytest.raises(PayloadError, match="yields bytes, not int"):
        await Payload(numbers()).bytes()


async def test_what_an_iterable_yields_again_and_again_is_copied_before_it_changes() -> None:
    async def same() -> AsyncIterator[bytearray]:
        piece = bytearray(3)
        for number in range(3):
            piece[:] = bytes([number] * 3)
            yield piece

    assert await Payload(same()).bytes() == bytes([0, 0, 0, 1, 1, 1, 2, 2, 2])


# --- arrays ---


@pytest.mark.parametrize("dtype", ["<f8", ">i2", "|u1", "<U3", "<M8[s]", "?", "<c16"])
async def test_an_array_arrives_with_its_type_and_shape(dtype: str) -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(300_000).astype(dtype).reshape(100, 3, 1000)
    assert numpy.shares_memory(await Payload(array).array(), array)
    async with sides("a", "b") as (a, b):
        there = await pair(a, b)
        for sent in (array, array[:1, :, :10].copy(), array[0, 0, 0].copy(), array[:0]):
            back = await (await there.call(Parcel(Payload(sent), "back"))).array()
            assert back.dtype == sent.dtype
            assert back.shape == sent.shape
            assert numpy.array_equal(back, sent)
            assert not back.flags.writeable


async def test_arrays_that_cannot_cross_are_refused() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(TypeError, match="no plain numbers"):
        Payload(numpy.array([object()]))
    with pytest.raises(ValueError, match="ascontiguousarray"):
        Payload(numpy.zeros((10, 10)).T[:, 1:])
    with pytest.raises(PayloadError, match="was not made of an array"):
        await Payload(b"abc").array()


async def test_an_array_of_ones_own_is_filled_with_a_payload() -> None:
    numpy = pytest.importorskip("numpy")
    async with sides("a", "b") as (a, b):
        there = await pair(a, b)
        array = numpy.random.default_rng(1).random(500_000)
        room = numpy.zeros(500_001)
        payload = await there.call(Parcel(Payload(array), "back"))
        assert await payload.into(room) == array.nbytes
        assert numpy.array_equal(room[:-1], array)
        assert room[-1] == 0
        with pytest.raises(ValueError, match="does not fit into 8 bytes"):
            await (await there.call(Parcel(Payload(array), "back"))).into(bytearray(8))
        with pytest.raises(ValueError, match="read-only"):
            await Payload(b"x").into(b"y")


# --- between two nodes ---


@pytest.mark.parametrize("size", [0, 1, INLINE, INLINE + 1, CHUNK * 3, 9_000_000])
async def test_whatever_its_size_it_arrives_as_it_was_sent(size: int) -> None:
    whole = (WHOLE * (size // len(WHOLE) + 1))[:size]
    async with sides("a", "b") as (a, b):
        there = await pair(a, b)
        for source in (whole, Feed(whole)):
            payload = await there.call(Parcel(Payload(source), "back"))
            assert payload.size == (size if source is whole else None)
            assert await payload.bytes() == whole
        await eventually(nothing_is_left(a, b))


async def test_it_is_told_called_offered_answered_and_several_are_in_one_message() -> None:
    async with sides("a", "b") as (a, b):
        there = await pair(a, b)
        there.tell(Parcel(Payload(WHOLE), "keep"))
        await there.offer(Parcel(Payload(WHOLE), "keep"))
        assert await there.call(Parcel(None, "read kept")) == [len(WHOLE)] * 2
        many = [Payload(bytes(INLINE)) for _ in range(7)] + [Payload(WHOLE), Payload(b""), Payload(Feed(WHOLE))]
        assert await there.call(Parcel(many, "all")) == [INLINE] * 7 + [len(WHOLE), 0, len(WHOLE)]
        nested = {"deep": [Parcel(Payload(WHOLE))]}
        back = await there.call(Parcel(nested, "back"))
        assert await back["deep"][0].data.bytes() == WHOLE


async def test_small_ones_travel_inside_the_message_and_those_that_do_not_fit_beside_it_do_not() -> None:
    async with sides("a", "b") as (a, b):
        there = await pair(a, b)
        [link] = a.links._links.values()
        await there.call(Parcel(Payload(bytes(INLINE)), "keep"))
        assert link.freight._lane is None  # nothing was dialled for it
        await there.call(Parcel([Payload(bytes(200_000)), bytes(900_000)], "keep"))
        assert link.freight._lane is not None
        with pytest.raises(TooLarge, match="put what is large in it into a Payload"):
            there.tell(Parcel(bytes(2_000_000)))
        with pytest.raises(TooLarge):
            there.tell(Parcel([Payload(WHOLE), bytes(2_000_000)]))
        assert len(link.departures) == 1


async def test_more_than_the_limit_is_held_in_memory_by_nobody_who_did_not_ask_for_it() -> None:
    async with sides("a", "b") as (a, b):
        there = await pair(a, b)
        for source in (WHOLE, Feed(WHOLE)):
            payload = await there.call(Parcel(Payload(source), "back"))
            with pytest.raises(PayloadError, match=r"more than the 1,000,000 bytes .* save\(path\)"):
                await payload.bytes(limit=1_000_000)
        del payload
        await eventually(nothing_is_left(a, b))


async def test_one_that_is_sent_to_many_arrives_at_each() -> None:
    async with sides("a", "b", "c") as (a, b, c):
        readers = [await side.system.spawn(Reader, name="reader") for side in (a, b, c)]
        payload = Payload(WHOLE)
        refs: list[Any] = [readers[0], a.links.named("b", "reader"), a.links.named("c", "reader")]
        answers = await asyncio.gather(*(ref.call(Parcel(payload, "digest")) for ref in refs * 3))
        assert answers == [sum(WHOLE)] * 9
        await eventually(nothing_is_left(a, b, c))


async def test_what_was_received_is_handed_on_to_a_local_actor_or_a_third_node_once() -> None:
    async with sides("a", "b", "c") as (a, b, c):
        there = await pair(a, b)
        await b.system.spawn(Reader, name="local")
        await c.system.spawn(Reader, name="last")
        for last in (a.links.named("b", "local"), a.links.named("c", "last")):
            assert await there.call(Parcel(Payload(WHOLE), "hand on", last)) == sum(WHOLE)
        received = await there.call(Parcel(Payload(WHOLE), "back"))
        assert await received.bytes() == WHOLE
        with pytest.raises(PayloadError, match="once"):
            await received.bytes()
        with pytest.raises(PayloadError, match="once"):
            await (await there.call(Parcel(received, "back"))).bytes()
        await eventually(nothing_is_left(a, b, c))


async def test_threads_send_payloads_and_read_them_through_the_loop() -> None:
    async with sides("a", "b") as (a, b):
        there = await pair(a, b)
        received = await asyncio.to_thread(lambda: there.ask(Parcel(Payload(WHOLE), "back"), timeout=10.0))

        def in_a_thread() -> int:
            with pytest.raises(RuntimeError, match="run_coroutine_threadsafe"):
                asyncio.run(received.bytes())
            return len(asyncio.run_coroutine_threadsafe(received.bytes(), a.system.loop).result(10.0))

        assert await asyncio.to_thread(in_a_thread) == len(WHOLE)
        there.tell(Parcel(Payload(Feed(endless=True)), "keep"))
        closing = await there.call(Parcel(Payload(WHOLE), "back"))
        await asyncio.to_thread(closing.close)
        await there.call(Parcel(None, "drop"))
        await eventually(nothing_is_left(a, b))


async def test_it_crosses_between_nodes_that_prove_who_they_are_while_one_changes_its_key(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path / "keys")
    async with Node("a", state=tmp_path, keys=keys) as a, Node("b", state=tmp_path, keys=keys) as b:
        await b.spawn(Reader, name="reader")
        there = a.ref("reader@b")
        await eventually(lambda: len(a.members()) == 2)
        whole = WHOLE * 20
        reading = asyncio.ensure_future(there.call(Parcel(Payload(Feed(whole)), "digest"), timeout=30.0))
        link = a.links.towards("b")
        await eventually(lambda: link.freight._lane is not None and link.freight._lane.out.delivered > 0)
        key = keys.rotate("b").public
        assert await reading == sum(whole)
        await eventually(lambda: link.freight._lane is not None and link.freight._lane._keys[0] == key)
        assert await there.call(Parcel(Payload(WHOLE), "digest")) == sum(WHOLE)


# --- when nobody reads it ---


@pytest.mark.parametrize("how", ["first chunk", "crash", "refuse", "nobody", "dropped by the mailbox", "caller gone"])
async def test_when_nobody_reads_it_any_more_its_source_is_let_go(how: str) -> None:
    class Narrow(Reader):
        mailbox = Bounded(1, "drop_oldest")

    async with sides("a", "b") as (a, b):
        there = await pair(a, b)
        feed = Feed(endless=True)
        match how:
            case "nobody":
                a.links.named("b", "nobody").tell(Parcel(Payload(feed), "keep"))
            case "dropped by the mailbox":
                await b.system.spawn(Narrow, name="narrow")
                for _ in range(5):
                    a.links.named("b", "narrow").tell(Parcel(Payload(feed), "first chunk"))
            case "caller gone":
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await there.call(Parcel(Payload(feed), "digest"))
                b.system.ref("reader").kill()
            case "first chunk":
                assert await there.call(Parcel(Payload(feed), how))
            case _:
                with pytest.raises(CallError, match=r"boom|not today"):
                    await there.call(Parcel(Payload(feed), how))
        await eventually(nothing_is_left(a, b))
        await eventually(lambda: feed.begun == feed.ended)


async def test_one_that_nobody_reads_costs_its_receiver_no_more_than_the_first_chunks() -> None:
    async with sides("a", "b") as (a, b):
        there = await pair(a, b)
        feed = Feed(endless=True)
        assert await there.call(Parcel(Payload(feed), "keep")) == 1
        [link] = b.links._links.values()
        await eventually(lambda: sum(len(stream.chunks) for stream in link.arrivals._streams.values()) == EAGER)
        assert await there.call(Parcel(Payload(WHOLE), "digest")) == sum(WHOLE)  # and others pass it
        assert sum(len(stream.chunks) for stream in link.arrivals._streams.values()) == EAGER
        await there.call(Parcel(None, "drop"))
        await eventually(nothing_is_left(a, b))
        await eventually(lambda: feed.ended == 1)


async def test_whoever_sends_more_memory_than_may_be_held_is_told_and_an_offer_waits() -> None:
    async with sides("a", "b") as (a, b):
        there = await pair(a, b)
        large = HELD // 2 + 1
        there.tell(Parcel(Payload(bytes(large)), "keep"))
        there.tell(Parcel(Payload(bytes(large)), "keep"))
        with pytest.raises(Overloaded, match="nothing was sent"):
            there.tell(Parcel(Payload(bytes(large)), "keep"))
        with pytest.raises(Overloaded, match="nothing was sent"):
            await there.call(Parcel(Payload(bytes(large)), "keep"))
        offered = asyncio.ensure_future(there.offer(Parcel(Payload(bytes(large)), "keep")))
        assert await there.call(Parcel(None, "keep")) == 3
        assert not offered.done()
        await there.call(Parcel(None, "drop"))
        await offered
        await there.call(Parcel(None, "drop"))
        await eventually(nothing_is_left(a, b))


# --- when a node dies ---


async def test_when_the_senders_node_dies_who_reads_gets_node_down() -> None:
    async with sides("a", "b") as (a, b):
        there = await pair(b, a)
        reading = await there.call(Parcel(None, "give"))
        chunks = aiter(reading)
        await anext(chunks)
        a.die()
        b.links.bury(a.links.me, NoConnection("it was killed"))
        with pytest.raises(NodeDown, match="it was killed"):
            async for _ in chunks:
                pass
        with pytest.raises(PayloadError, match="once"):
            await reading.bytes()


async def test_when_the_receivers_node_dies_the_source_is_let_go_and_the_message_a_dead_letter_with_its_payload() -> (
    None
):
    letters: list[DeadLetter] = []
    async with sides("a", "b") as (a, b):
        there = await pair(a, b)
        feed = Feed(endless=True)
        await there.call(Parcel(Payload(feed), "keep"))
        a.system.hooks.subscribe(DeadLetter, letters.append)
        b.die()
        payload = Payload(WHOLE)
        there.tell(Parcel([payload, Payload(Feed(b"x"))], "keep"))
        a.links.bury(b.links.me, NoConnection("it was killed"))
        await eventually(lambda: feed.begun == feed.ended == 1)
        await eventually(lambda: bool(letters))
        assert await letters[0].message.data[0].bytes() == WHOLE
        assert nothing_is_left(a)()


# --- files ---


async def test_a_file_goes_from_disk_to_disk_and_is_there_when_it_is_whole(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(WHOLE * 5)
    target.write_bytes(b"what was there before")
    async with sides("a", "b") as (a, b):
        there = await pair(a, b)
        assert await there.call(Parcel(Payload(source), str(target)), timeout=30.0) == source.stat().st_size
        await eventually(nothing_is_left(a, b))
    assert target.read_bytes() == source.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["source", "target"]
    assert target.stat().st_mode & 0o777 == source.stat().st_mode & 0o777


@pytest.mark.parametrize("failure", ["shortened", "gone", "source fails"])
async def test_a_source_that_fails_is_told_to_its_reader_and_nothing_is_left_on_his_disk(
    tmp_path: Path, failure: str
) -> None:
    async def torn() -> AsyncIterator[bytes]:
        yield WHOLE
        raise OSError(errno.EIO, "the tape is torn")

    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(WHOLE)
    payload = Payload(torn()) if failure == "source fails" else Payload(source)
    target.write_bytes(b"before")
    if failure == "shortened":
        os.truncate(source, len(WHOLE) // 2)
    elif failure == "gone":
        source.unlink()
    why = {"shortened": "it was shortened", "gone": "cannot be opened", "source fails": "the tape is torn"}[failure]
    async with sides("a", "b") as (a, b):
        there = await pair(a, b)
        received = await there.call(Parcel(payload, "back"))
        with pytest.raises(PayloadError, match=why):
            await received.save(target)
        await eventually(nothing_is_left(a, b))
    assert target.read_bytes() == b"before"
    assert set(os.listdir(tmp_path)) <= {"source", "target"}


async def test_a_disk_that_is_full_is_a_loud_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with sides("a", "b") as (a, b):
        there = await pair(a, b)
        received = await there.call(Parcel(Payload(Feed(endless=True)), "back"))
        monkeypatch.setattr(os, "writev", full)
        with pytest.raises(OSError, match="No space left"):
            await received.save(tmp_path / "target")
        del received
        await eventually(nothing_is_left(a, b))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("where", ["no folder", "a folder is in the way", "cancelled"])
async def test_a_save_that_cannot_be_leaves_nothing(tmp_path: Path, where: str) -> None:
    payload = Payload(WHOLE)
    match where:
        case "no folder":
            with pytest.raises(FileNotFoundError):
                await payload.save(tmp_path / "nowhere" / "target")
        case "a folder is in the way":
            (tmp_path / "target").mkdir()
            with pytest.raises(IsADirectoryError):
                await payload.save(tmp_path / "target")
            (tmp_path / "target").rmdir()
        case _:
            feed = Feed(bytes(2 * CHUNK), endless=True)
            saving = asyncio.ensure_future(Payload(feed).save(tmp_path / "target"))
            await eventually(lambda: bool(os.listdir(tmp_path)))
            saving.cancel()
            await asyncio.wait([saving])
            await eventually(lambda: not os.listdir(tmp_path))
    assert os.listdir(tmp_path) == []


# --- in one process ---


async def test_in_one_process_the_receiver_reads_the_source_itself() -> None:
    async with ActorSystem("local") as system:
        reader = await system.spawn(Reader)
        payload = Payload(WHOLE)
        assert await reader.call(Parcel(payload, "back")) is payload
        assert await reader.call(Parcel(payload, "read")) is WHOLE
        assert await reader.call(Parcel(payload, "digest")) == sum(WHOLE)


async def test_small_calls_pass_a_stream() -> None:
    async with sides("a", "b") as (a, b):
        there = await pair(a, b)
        await b.system.spawn(Reader, name="desk")
        desk = a.links.named("b", "desk")
        feed = Feed(endless=True)
        reading = asyncio.ensure_future(there.call(Parcel(Payload(feed), "digest"), timeout=60.0))
        await eventually(lambda: feed.begun == 1)
        for _ in range(50):
            assert await desk.call(Parcel("small", "back"), timeout=5.0) == "small"
        assert not reading.done()
        b.system.ref("reader").kill()
        with pytest.raises(ActorDied):
            await reading
        await eventually(nothing_is_left(a, b))
        await eventually(lambda: feed.ended == 1)
