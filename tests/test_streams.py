"""Streams of chunks: the two state machines of a payload that is on its way, without a network between them."""

from __future__ import annotations

import asyncio
import gc
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextvars import Context, copy_context
from typing import Any

import pytest

from tests.virtual import virtually
from understudy.actors import NoConnection, NodeDown, Overloaded
from understudy.transport import arrivals, departures
from understudy.transport.arrivals import Arrivals, Incoming
from understudy.transport.departures import EAGER, FAILED, HELD, LAST, MORE, POOL, STREAMS, WINDOW, Departures
from understudy.transport.payload import Payload
from understudy.transport.schema import Unreadable
from understudy.transport.sources import CHUNK, PayloadError


class Pair:
    """Both ends of a link's payloads, and what is under way: chunks one way, what their readers want the other."""

    def __init__(self, room: int = 1_000) -> None:
        loop = asyncio.get_running_loop()
        self.capacity = room
        self.chunks: deque[tuple[int, int, int, memoryview]] = deque()
        self.wishes: deque[Callable[[], None]] = deque()
        self.put_so_far = 0
        self.arrived = 0
        self.reported: list[str] = []
        self.tried_again = 0
        self.departures = Departures(self, loop, Context, self.again)
        self.arrivals = Arrivals(
            loop,
            copy_context,
            lambda number, limit: self.wishes.append(lambda: self.departures.wanted(number, limit)),
            lambda number: self.wishes.append(lambda: self.departures.unwanted(number)),
            lambda error: self.reported.append(str(error)),
        )

    def room(self) -> bool:
        return len(self.chunks) < self.capacity

    def put(self, stream: int, index: int, kind: int, body: memoryview | bytes) -> int:
        self.chunks.append((stream, index, kind, memoryview(body)))
        self.put_so_far += 1
        return self.put_so_far - 1

    def again(self) -> None:
        self.tried_again += 1

    def send(self, payload: Payload) -> int:
        number = self.departures.take(payload)
        self.departures.packed(sent=True)
        self.departures.pump()
        return number

    def sent(self, payload: Payload) -> Payload:
        """Send it, and what the other side gets."""
        return Payload.of(self.arrivals.announce(self.send(payload), payload.size))

    def chunk(self) -> None:
        self.arrivals.chunk(*self.chunks.popleft())
        self.arrived += 1
        self.departures.acknowledged(self.arrived)

    def wish(self) -> None:
        self.wishes.popleft()()

    async def quiet(self) -> None:
        """Let everything under way arrive, until nothing is any more."""
        still = 0
        while still < 5:
            still = 0 if self.chunks or self.wishes else still + 1
            while self.chunks:
                self.chunk()
            while self.wishes:
                self.wish()
            await asyncio.sleep(0)

    async def carried(self, work: Any) -> Any:
        """Do something while what is under way arrives."""
        task = asyncio.ensure_future(work)
        while not task.done():
            await self.quiet()
        return await task

    def empty(self) -> bool:
        return not len(self.departures) and not len(self.arrivals) and not self.departures.held


def data(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


class Feed:
    """An async iterable that says whether it is being read, and was let go."""

    def __init__(
        self, *pieces: bytes, then: Exception | None = None, endless: bool = False, hangs: bool = False
    ) -> None:
        self.pieces = pieces
        self.then = then
        self.endless = endless
        self.hangs = hangs
        self.begun = 0
        self.ended = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.begun += 1
        try:
            for piece in self.pieces:
                yield piece
            if self.then is not None:
                raise self.then
            if self.hangs:
                await asyncio.Event().wait()
            while self.endless:
                await asyncio.sleep(0)
                yield bytes(1_000)
        finally:
            self.ended += 1


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 30 * CHUNK + 7])
async def test_what_arrives_is_what_was_sent(size: int) -> None:
    pair = Pair()
    whole = data(size)
    payload = pair.sent(Payload(whole))
    assert payload.size == size
    assert await pair.carried(payload.bytes()) == whole
    await pair.quiet()
    assert pair.empty()


async def test_a_source_of_unknown_size_arrives_whole_and_small_pieces_are_gathered_while_they_wait() -> None:
    pair = Pair()
    feed = Feed(*(bytes([number % 251]) * 1_000 for number in range(5_000)), b"", b"x" * (3 * CHUNK + 1))
    payload = pair.sent(Payload(feed))
    assert payload.size is None
    assert await pair.carried(payload.bytes()) == b"".join(feed.pieces)
    await pair.quiet()
    assert pair.put_so_far < 1_000
    assert (feed.begun, feed.ended) == (1, 1)
    assert pair.empty()


async def test_nobody_reads_so_no_more_than_the_first_chunks_are_sent() -> None:
    pair = Pair()
    feed = Feed(endless=True)
    kept = [pair.sent(Payload(data(20 * CHUNK))), pair.sent(Payload(feed))]
    await pair.quiet()
    assert pair.put_so_far == 2 * EAGER
    assert await pair.carried(kept[0].bytes()) == data(20 * CHUNK)
    kept[1].close()
    await pair.quiet()
    assert feed.ended == 1
    assert pair.empty()


async def test_a_reader_has_a_window_ahead_and_no_more() -> None:
    pair = Pair()
    payload = pair.sent(Payload(data(100 * CHUNK)))
    chunks = aiter(payload)
    for taken in range(1, 40):
        await pair.carried(anext(chunks))
        await pair.quiet()
        assert pair.put_so_far <= taken + WINDOW


async def test_payloads_that_nobody_reads_fill_the_pool_and_hold_up_no_other() -> None:
    pair = Pair()
    feeds = [Feed(endless=True) for _ in range(20)]
    unread = [pair.sent(Payload(feed)) for feed in feeds]
    await pair.quiet()
    assert pair.put_so_far == POOL
    whole = data(40 * CHUNK)
    assert await pair.carried(pair.sent(Payload(whole)).bytes()) == whole
    assert pair.put_so_far == POOL + 40
    unread.clear()
    await pair.quiet()
    assert pair.empty()
    assert all(feed.begun == feed.ended for feed in feeds)


async def test_what_is_read_makes_room_in_the_pool_for_others() -> None:
    pair = Pair()
    payloads = [pair.sent(Payload(data(4 * CHUNK, seed))) for seed in range(30)]
    await pair.quiet()
    assert pair.put_so_far == POOL
    for seed, payload in enumerate(payloads):
        assert await pair.carried(payload.bytes()) == data(4 * CHUNK, seed)
    await pair.quiet()
    assert pair.empty()


async def test_what_is_not_wanted_makes_room_in_the_pool_for_others_that_nobody_reads_yet() -> None:
    pair = Pair()
    payload = Payload(data(EAGER * CHUNK))
    kept = [pair.sent(payload) for _ in range(8)]
    await pair.quiet()
    assert pair.put_so_far == POOL
    for unwanted in kept[:4]:
        unwanted.close()
    await pair.quiet()
    assert pair.put_so_far == 2 * POOL  # the first four had it all
    assert pair.arrivals._unread == POOL


async def test_a_source_is_kept_until_its_last_chunk_was_acknowledged() -> None:
    pair = Pair()
    kept = pair.sent(Payload(data(2 * CHUNK)))
    pair.departures.acknowledged(1)
    assert pair.departures.held == 2 * CHUNK
    pair.departures.acknowledged(2)
    assert pair.departures.held == 0
    kept.close()


async def test_streams_take_turns() -> None:
    pair = Pair(room=1)
    long, short = pair.sent(Payload(data(100 * CHUNK))), pair.sent(Payload(data(20 * CHUNK)))
    readers = [asyncio.ensure_future(payload.bytes()) for payload in (long, short)]
    while not readers[1].done():
        await asyncio.sleep(0)
        while pair.wishes:
            pair.wish()
        pair.chunk()
    assert 40 - WINDOW <= pair.put_so_far <= 40 + WINDOW
    assert await readers[1] == data(20 * CHUNK)
    assert await pair.carried(readers[0]) == data(100 * CHUNK)


async def test_the_carrier_is_given_no_more_than_it_has_room_for() -> None:
    pair = Pair(room=3)
    pair.sent(Payload(data(8 * CHUNK)))
    assert len(pair.chunks) == 3


async def test_memory_is_sent_from_where_it_is() -> None:
    pair = Pair()
    memory = bytearray(2 * CHUNK)
    kept = pair.sent(Payload(memory))
    assert all(body.obj is memory for *_, body in pair.chunks)
    kept.close()


async def test_the_source_is_let_go_when_all_of_it_has_arrived_even_if_nobody_reads_it() -> None:
    pair = Pair()
    feed = Feed(data(CHUNK))
    kept = pair.sent(Payload(feed)), pair.sent(Payload(data(2 * CHUNK)))
    assert pair.departures.held == 2 * CHUNK
    await pair.quiet()
    assert feed.ended == 1
    assert pair.departures.held == 0
    assert await kept[0].bytes() == data(CHUNK)
    assert await kept[1].bytes() == data(2 * CHUNK)


@pytest.mark.parametrize("end", ["closed", "garbage", "left in the middle", "reader cancelled and forgotten"])
async def test_when_nobody_wants_it_any_more_its_source_is_closed(end: str) -> None:
    pair = Pair()
    feed = Feed(endless=True)
    payload: Payload | None = pair.sent(Payload(feed))
    assert payload is not None
    await pair.quiet()
    match end:
        case "closed":
            payload.close()
            with pytest.raises(PayloadError, match="once"):
                await payload.bytes()
        case "left in the middle":
            async with payload:
                async for _ in payload:
                    break
        case "reader cancelled and forgotten":
            reader = asyncio.ensure_future(payload.bytes())
            await pair.quiet()
            reader.cancel()
            await asyncio.wait([reader])
            del reader
        case _:
            pass
    payload = None
    gc.collect()
    await pair.quiet()
    assert feed.ended == 1
    assert pair.empty()
    assert not pair.reported


async def test_a_payload_is_not_garbage_while_somebody_iterates_over_it() -> None:
    pair = Pair()
    chunks = aiter(pair.sent(Payload(data(20 * CHUNK))))
    gc.collect()
    got = b"".join([bytes(await pair.carried(anext(chunks))) for _ in range(20)])
    assert got == data(20 * CHUNK)


async def test_a_source_that_fails_is_told_to_its_reader_after_what_came_before() -> None:
    pair = Pair()
    payload = pair.sent(Payload(Feed(b"x" * CHUNK, then=OSError("the tape is torn"))))
    got = 0

    async def read() -> None:
        nonlocal got
        async for chunk in payload:
            got += len(chunk)

    with pytest.raises(PayloadError, match="could not read it: OSError: the tape is torn"):
        await pair.carried(read())
    assert got == CHUNK
    await pair.quiet()
    assert pair.empty()


async def test_when_the_senders_node_dies_a_reader_learns_it_and_what_is_whole_can_be_read() -> None:
    pair = Pair()
    waiting, whole, begun = (
        pair.sent(Payload(source)) for source in (Feed(b"x", hangs=True), data(CHUNK), data(99 * CHUNK))
    )
    reader = asyncio.ensure_future(waiting.bytes())
    await pair.quiet()
    pair.arrivals.close(lambda: NodeDown(NoConnection("it is gone"), "a payload"))
    for lost in (reader, begun.bytes(1 << 30)):
        with pytest.raises(NodeDown, match="it is gone"):
            await lost
    assert await whole.bytes() == data(CHUNK)
    assert not len(pair.arrivals)
    pair.departures.close()
    await pair.quiet()


async def test_when_the_receivers_node_dies_every_source_is_closed() -> None:
    pair = Pair()
    feed = Feed(endless=True)
    kept = [pair.sent(Payload(source)) for source in (feed, data(99 * CHUNK))]
    await pair.quiet()
    pair.departures.close()
    await pair.quiet()
    assert feed.ended == 1
    assert not len(pair.departures)
    assert pair.departures.held == 0
    assert len(kept) == 2


async def test_a_chunk_may_come_before_its_message() -> None:
    pair = Pair()
    whole = data(12 * CHUNK)
    number = pair.send(Payload(whole))
    while pair.chunks:
        pair.chunk()
    payload = Payload.of(pair.arrivals.announce(number, len(whole)))
    assert await pair.carried(payload.bytes()) == whole


async def test_a_message_that_is_decoded_twice_announces_one_stream() -> None:
    pair = Pair()
    whole = data(12 * CHUNK)
    number = pair.send(Payload(whole))
    pair.arrivals.announce(number, len(whole))  # garbage at once
    payload = Payload.of(pair.arrivals.announce(number, len(whole)))
    assert await pair.carried(payload.bytes()) == whole


async def test_streams_whose_messages_made_no_sense_are_not_wanted() -> None:
    pair = Pair()
    feed = Feed(endless=True)
    pair.send(Payload(feed))
    await pair.quiet()
    assert len(pair.arrivals) == 1
    payload = pair.sent(Payload(data(CHUNK)))  # the message after it: the one before did not announce anything
    assert await pair.carried(payload.bytes()) == data(CHUNK)
    await pair.quiet()
    assert feed.ended == 1
    assert pair.empty()


async def test_what_was_not_sent_after_all_leaves_nothing_open() -> None:
    pair = Pair()
    feed = Feed(endless=True)
    pair.departures.take(Payload(feed))
    pair.departures.take(Payload(data(CHUNK)))
    pair.departures.packed(sent=False)
    pair.departures.pump()
    assert pair.empty()
    assert feed.begun == 0
    assert not pair.chunks


async def test_too_many_streams_and_too_much_memory_are_refused_and_told_when_there_is_room() -> None:
    pair = Pair()
    feeds = [pair.sent(Payload(Feed(endless=True))) for _ in range(STREAMS)]
    with pytest.raises(Overloaded, match=r"1,024 payloads .* nothing was sent"):
        pair.departures.take(Payload(b"one more"))
    feeds.clear()
    await pair.quiet()
    assert pair.tried_again
    large = Payload(bytes(HELD + 1))
    kept = [pair.sent(large), pair.sent(large)]  # one alone may be as large as it likes, and it is held once
    assert pair.departures.held == HELD + 1
    beside = pair.sent(Payload(bytes(HELD)))
    with pytest.raises(Overloaded, match="nothing was sent"):
        pair.departures.take(Payload(bytes(1)))
    beside.close()
    kept.pop()
    await pair.quiet()
    assert pair.departures.held == HELD + 1
    kept.pop()
    await pair.quiet()
    assert pair.empty()


async def test_a_received_payload_is_handed_on_once() -> None:
    first, second = Pair(), Pair()
    whole = data(40 * CHUNK)
    handed_on = first.sent(Payload(whole))
    final = second.sent(handed_on)
    reader = asyncio.ensure_future(final.bytes())
    while not reader.done():
        await first.quiet()
        await second.quiet()
    assert await reader == whole
    again = second.sent(handed_on)
    with pytest.raises(PayloadError, match="can be read, or handed on, once"):
        await second.carried(again.bytes())
    for pair in (first, second):
        await pair.quiet()
        assert pair.empty()


async def test_handing_on_stops_when_the_last_reader_does_not_want_it() -> None:
    first, second = Pair(), Pair()
    feed = Feed(endless=True)
    final = second.sent(first.sent(Payload(feed)))
    await first.quiet()
    await second.quiet()
    final.close()
    for pair in (second, first):
        await pair.quiet()
        assert pair.empty()
    assert feed.ended == 1


async def test_many_readers_share_what_a_link_may_be_ahead() -> None:
    pair = Pair()
    large = Payload(data(100 * CHUNK))
    payloads = [pair.sent(large) for _ in range(3)] + [pair.sent(Payload(Feed(endless=True))) for _ in range(200)]
    for payload in payloads:
        await pair.carried(anext(aiter(payload)))
    await pair.quiet()
    kept = sum(len(stream.chunks) for stream in pair.arrivals._streams.values())
    assert arrivals.CREDIT <= kept <= arrivals.CREDIT + len(payloads) + POOL
    payloads.clear()
    del payload
    await pair.quiet()
    assert pair.arrivals._ahead == pair.arrivals._unread == 0
    assert pair.empty()


# --- what breaks the protocol ---


@pytest.mark.parametrize(
    ("size", "chunks", "why"),
    [
        (10, [(0, MORE, b"x" * 5), (2, LAST, b"x" * 5)], "expected chunk 1 of stream 1, got chunk 2"),
        (10, [(0, LAST, b"x" * 9)], "expected 10 bytes, got the end after 9"),
        (10, [(0, MORE, b"x" * 11)], "expected 10 bytes, got 11 so far"),
        (None, [(0, LAST, b"x"), (1, MORE, b"x")], "expected nothing after the end of stream 1"),
        (
            None,
            [(number, MORE, b"x") for number in range(EAGER + 1)],
            f"expected chunks below {EAGER}, got chunk {EAGER}",
        ),
    ],
)
async def test_a_stream_that_makes_no_sense_fails_and_is_never_taken_for_whole(
    size: int | None, chunks: list[tuple[int, int, bytes]], why: str
) -> None:
    pair = Pair()
    payload = Payload.of(pair.arrivals.announce(1, size))
    for index, kind, body in chunks:
        pair.arrivals.chunk(1, index, kind, memoryview(body))
    assert any(why in text for text in pair.reported)
    with pytest.raises(PayloadError, match="expected"):
        await payload.bytes()
    assert not len(pair.arrivals)
    assert len(pair.wishes) == 1  # its sender is told


@pytest.mark.parametrize("early", [True, False])
async def test_a_size_that_is_told_late_is_compared_as_well(early: bool) -> None:
    pair = Pair()
    pair.arrivals.chunk(1, 0, LAST if early else MORE, memoryview(b"x" * (9 if early else 11)))
    payload = Payload.of(pair.arrivals.announce(1, 10))
    with pytest.raises(PayloadError, match="expected 10 bytes"):
        await payload.bytes()


async def test_a_peer_that_floods_with_chunks_or_streams_fills_no_memory() -> None:
    pair = Pair()
    kept: list[Incoming] = [pair.arrivals.announce(number, None) for number in range(1, STREAMS + POOL + 1)]
    with pytest.raises(Unreadable, match="wait to be read already"):
        pair.arrivals.announce(STREAMS + POOL + 1, None)
    for number in range(1, STREAMS):
        pair.arrivals.chunk(number, 0, MORE, memoryview(bytes(10)))
    assert sum(len(stream.chunks) for stream in pair.arrivals._streams.values()) <= POOL
    with pytest.raises(Unreadable, match="is over, or comes out of turn"):
        pair.arrivals.announce(1_000, None)
    assert kept
    strange = Pair()
    for number in range(1, 1_000):
        strange.arrivals.chunk(number, 0, FAILED, memoryview(b"?"))
    assert len(strange.arrivals) <= POOL


def test_whatever_overtakes_what_it_arrives_whole_and_nothing_stays_behind() -> None:
    async def main(seed: int) -> None:
        rng = random.Random(seed)
        pair = Pair(room=rng.choice([1, 2, 5, 100]))
        results: list[tuple[bytes, asyncio.Future[bytes]]] = []
        feeds: list[Feed] = []
        announced: deque[tuple[int, int | None, bytes | None]] = deque()
        kept: list[Payload] = []
        for number in range(rng.randint(1, 12)):
            whole = data(rng.choice([1, CHUNK, rng.randrange(20 * CHUNK)]), number)
            if rng.random() < 0.5:
                feeds.append(Feed(*(whole[at : at + 100_000] for at in range(0, len(whole), 100_000))))
                payload = Payload(feeds[-1])
            else:
                payload = Payload(whole)
            announced.append((pair.send(payload), payload.size, whole if rng.random() < 0.7 else None))
        while announced or pair.chunks or pair.wishes or not all(task.done() for _, task in results):
            match rng.randrange(4):
                case 0 if announced:
                    number, size, wanted = announced.popleft()
                    payload = Payload.of(pair.arrivals.announce(number, size))
                    if wanted is not None:
                        results.append((wanted, asyncio.ensure_future(payload.bytes())))
                    elif rng.random() < 0.5:
                        kept.append(payload)
                    del payload
                case 1 if pair.chunks:
                    pair.chunk()
                case 2 if pair.wishes:
                    pair.wish()
                case _:
                    await asyncio.sleep(0)
        for wanted, task in results:
            assert await task == wanted
        kept.clear()
        await pair.quiet()
        assert pair.empty()
        assert all(feed.begun == feed.ended for feed in feeds)
        assert not pair.reported

    for seed in range(60):
        virtually(main(seed))


def test_the_limits_are_those_of_the_documents() -> None:
    assert (CHUNK, WINDOW, POOL * CHUNK, departures.HELD) == (256 * 1024, 8, 8 << 20, 32 << 20)
