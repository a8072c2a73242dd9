"""What every network must do, run on every network we have."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import zmq

from tests.helpers import eventually
from understudy.simulation import VirtualNetwork
from understudy.transport import BadAddress, CannotListen, Network, ZeroMqNetwork
from understudy.transport.keys import KeyPair, new_pair
from understudy.transport.network import Channel, Loaded, check_reach, parse_address
from understudy.transport.wire import FRAME_LIMIT

ANY = "tcp://127.0.0.1:0"

AT_ONCE = 150
"""Frames between two turns of the loop, at most: what a virtual network may have under way, and some."""


PAIR = new_pair()
"""The key that all have, where what is asked is not about keys."""


def zeromq() -> Callable[[], Network]:
    return ZeroMqNetwork


def virtual() -> Callable[[], Network]:
    return VirtualNetwork().interface


def secured(kind: Callable[[], Callable[[], Network]]) -> Callable[[], Callable[[], Network]]:
    def make_one(make: Callable[[], Network]) -> Network:
        network = make()
        network.secure(PAIR, lambda key: key == PAIR.public)
        return network

    def make_whole() -> Callable[[], Network]:
        make = kind()
        return lambda: make_one(make)

    return make_whole


@pytest.fixture(
    params=[zeromq, virtual, secured(zeromq), secured(virtual)],
    ids=["zeromq", "virtual", "zeromq-keys", "virtual-keys"],
)
def make(request: pytest.FixtureRequest) -> Callable[[], Network]:
    """Makes one node's network; all of a test are parts of one whole."""
    made: Callable[[], Network] = request.param()
    return made


@pytest.fixture(params=[zeromq, virtual])
def bare(request: pytest.FixtureRequest) -> Callable[[], Network]:
    """The same, all without keys."""
    made: Callable[[], Network] = request.param()
    return made


class Ear:
    """A node's worth of network that listens and keeps what it hears."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.heard: list[tuple[bytes, bytes]] = []
        self.bodies: list[memoryview] = []
        self.answers: list[bytes] = []
        self.writable = 0
        self.work = 0.0  # seconds that every frame takes
        self.address = network.bind(ANY, self.hear)

    def hear(self, path: bytes, frame: bytes, body: memoryview | None = None) -> None:
        time.sleep(self.work)
        self.heard.append((path, frame))
        if body is not None:
            self.bodies.append(body)

    def connect(self, address: str) -> Channel:
        return self.network.connect(address, self.answers.append, self.count, key=PAIR.public)

    def count(self) -> None:
        self.writable += 1

    @property
    def frames(self) -> list[bytes]:
        return [frame for _, frame in self.heard]


@asynccontextmanager
async def ears(make: Callable[[], Network], count: int = 2) -> AsyncIterator[list[Ear]]:
    made = [Ear(make()) for _ in range(count)]
    try:
        yield made
    finally:
        for ear in made:
            ear.network.close()


async def sent(channel: Channel, frame: bytes | Loaded) -> None:
    await eventually(lambda: channel.send(frame), what="the frame is taken")


async def test_frames_arrive_whole_and_in_order_and_can_be_answered(make: Callable[[], Network]) -> None:
    async with ears(make) as (a, b):
        channel = a.connect(b.address)
        frames = [os.urandom(size) for size in (1, 100, 70_000, FRAME_LIMIT)] + [
            b"%d" % number for number in range(100)
        ]
        for frame in frames:
            await sent(channel, frame)
        await eventually(lambda: len(b.heard) == len(frames))
        assert b.frames == frames
        path = b.heard[0][0]
        assert b.network.answer(path, b"yes")
        await eventually(lambda: a.answers == [b"yes"])


async def test_a_channel_may_be_opened_before_anybody_listens_and_says_when_it_is_worth_another_try(
    make: Callable[[], Network],
) -> None:
    async with ears(make) as (a, b):
        address = b.address
        b.network.close()
        channel = a.connect(address)
        assert not channel.send(b"too early")
        assert a.writable == 0
        later = make()
        heard: list[bytes] = []
        later.bind(address, lambda path, frame: heard.append(frame))
        await eventually(lambda: a.writable)
        assert channel.send(b"now")
        await eventually(lambda: heard == [b"now"])
        later.close()


async def test_a_full_queue_refuses_and_then_calls_when_there_is_room(make: Callable[[], Network]) -> None:
    async with ears(make) as (a, b):
        channel = a.connect(b.address)
        await sent(channel, b"first")
        taken = 1
        while channel.send(b"x" * FRAME_LIMIT):  # the loop is not given back, so nobody reads
            taken += 1
        assert taken < 1_000
        await eventually(lambda: a.writable)
        await eventually(lambda: len(b.heard) == taken)


async def test_an_answer_to_nobody_is_refused_and_harms_nothing(make: Callable[[], Network]) -> None:
    async with ears(make) as (a, b):
        assert not b.network.answer(b"nobody", b"hello?")
        channel = a.connect(b.address)
        await sent(channel, b"still here")
        await eventually(lambda: b.frames == [b"still here"])


async def test_an_oversized_frame_is_refused_and_the_channel_recovers(make: Callable[[], Network]) -> None:
    async with ears(make) as (a, b):
        channel = a.connect(b.address)
        await sent(channel, b"before")
        await eventually(lambda: b.frames == [b"before"])
        channel.send(b"x" * (FRAME_LIMIT + 1))

        def heard_after() -> bool:
            channel.send(b"after")
            return b"after" in b.frames

        await eventually(heard_after, what="frames pass again")
        assert set(b.frames) == {b"before", b"after"}


async def test_a_frame_with_a_body_arrives_in_its_place_with_all_of_it(make: Callable[[], Network]) -> None:
    async with ears(make) as (a, b):
        channel = a.connect(b.address)
        memory = bytearray(os.urandom(FRAME_LIMIT))
        bodies = [memoryview(memory)[:size] for size in (0, 1, 100_000, FRAME_LIMIT)]
        await sent(channel, b"before")
        for number, body in enumerate(bodies):
            await sent(channel, Loaded(b"%d" % number, body))
        await sent(channel, b"after")
        await eventually(lambda: len(b.heard) == 6)
        assert b.frames == [b"before", b"0", b"1", b"2", b"3", b"after"]
        assert b.bodies == bodies
        assert b.network.answer(b.heard[1][0], b"yes")
        await eventually(lambda: a.answers == [b"yes"])


@pytest.mark.parametrize("head", [1, FRAME_LIMIT + 1])
async def test_a_body_is_no_larger_than_a_frame_may_be_nor_is_its_head(make: Callable[[], Network], head: int) -> None:
    async with ears(make) as (a, b):
        channel = a.connect(b.address)
        await sent(channel, b"before")
        await eventually(lambda: b.frames == [b"before"])
        channel.send(Loaded(bytes(head), bytes(FRAME_LIMIT + 2 - head if head > 1 else FRAME_LIMIT + 1)))

        def heard_after() -> bool:
            channel.send(b"after")
            return b"after" in b.frames

        await eventually(heard_after, what="frames pass again")
        assert set(b.frames) == {b"before", b"after"}
        assert b.bodies == []


async def test_what_has_more_parts_than_a_frame_and_a_body_is_not_heard() -> None:
    async with ears(zeromq()) as (_, b):
        context = zmq.Context()
        stranger = context.socket(zmq.DEALER)
        try:
            stranger.connect(b.address)
            for parts in ([b"a", b"b", b"c"], [b"a"] * 100, [b"a", b"b"], [b"a"]):
                stranger.send_multipart(parts)
            await eventually(lambda: len(b.heard) == 2)
            assert b.frames == [b"a", b"a"]
            assert [bytes(body) for body in b.bodies] == [b"b"]
        finally:
            context.destroy(linger=0)


@pytest.mark.parametrize("make", [zeromq], indirect=True)  # a virtual port can be reached by virtual nodes alone
async def test_random_bytes_at_the_port_harm_nothing(make: Callable[[], Network]) -> None:
    async with ears(make) as (a, b):
        host, port = parse_address(b.address)
        for size in (1, 10, 64, 1_000, 100_000):
            _, writer = await asyncio.open_connection(host, port)
            writer.write(os.urandom(size))
            writer.close()
        channel = a.connect(b.address)
        await sent(channel, b"well")
        await eventually(lambda: b"well" in b.frames)  # noise may look like a frame to a network; nodes refuse it then


async def test_a_flood_does_not_keep_the_loop_from_turning(make: Callable[[], Network]) -> None:
    async with ears(make) as (a, b):
        channel = a.connect(b.address)
        await sent(channel, b"first")
        await eventually(lambda: b"first" in b.frames)
        b.work = 0.001
        most, before = 0, len(b.heard)
        while before < 400:  # many more wait, in buffers on the way
            while channel.send(b"x" * 1_000):
                pass
            await asyncio.sleep(0)
            most, before = max(most, len(b.heard) - before), len(b.heard)
        assert most <= AT_ONCE


async def test_whether_anybody_listens_is_known_at_once(make: Callable[[], Network]) -> None:
    async with ears(make) as (a, b):
        assert await a.network.listens(b.address)
        b.network.close()
        assert not await a.network.listens(b.address)


async def test_a_port_in_use_is_a_clear_error(make: Callable[[], Network]) -> None:
    async with ears(make) as (a, b):
        other = make()
        with pytest.raises(CannotListen, match=f"{b.address}.*in use.*another port"):
            other.bind(b.address, lambda path, frame: None)
        other.close()
        assert a.address != b.address


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1:80", "tcp://127.0.0.1", "tcp://127.0.0.1:x", "tcp://127.0.0.1:70000", "ipc:///tmp/x", "tcp://:5"],
)
async def test_what_is_no_address_is_refused_with_an_example(make: Callable[[], Network], address: str) -> None:
    network = make()
    with pytest.raises(BadAddress, match="tcp://127"):
        network.bind(address, lambda path, frame: None)
    with pytest.raises(BadAddress, match="tcp://127"):
        network.connect(address, lambda frame: None, lambda: None)
    network.close()


@pytest.mark.parametrize(
    "address", ["tcp://0.0.0.0:0", "tcp://*:0", "tcp://192.168.1.7:4000", "tcp://example.org:1", "tcp://eth0:1"]
)
async def test_beyond_loopback_is_refused_in_one_line(bare: Callable[[], Network], address: str) -> None:
    network = bare()
    with pytest.raises(BadAddress, match=r"not on loopback.*127\.0\.0\.0/8") as refusal:
        network.bind(address, lambda path, frame: None)
    assert "\n" not in str(refusal.value)
    network.close()


async def test_closing_twice_is_harmless_and_a_closed_channel_takes_nothing(make: Callable[[], Network]) -> None:
    async with ears(make) as (a, b):
        channel = a.connect(b.address)
        await sent(channel, b"one")
        channel.close()
        channel.close()
        assert not channel.send(b"two")
        a.network.close()


async def test_whoever_connects_is_told_of_every_connection_that_stands(make: Callable[[], Network]) -> None:
    here, connections = make(), 0

    def connected() -> None:
        nonlocal connections
        connections += 1

    first = Ear(make())
    channel = here.connect(first.address, lambda frame: None, lambda: None, connected=connected, key=PAIR.public)
    assert not channel.stands
    await eventually(lambda: connections == 1)
    assert channel.stands
    first.network.close()
    await eventually(lambda: not channel.stands)
    network = make()
    network.bind(first.address, lambda path, frame: None)
    await eventually(lambda: connections == 2)
    assert channel.stands
    channel.close()
    assert not channel.stands
    here.close()
    network.close()


# --- keys ---


class Keyed(Ear):
    """An ear with a key of its own, and a list of those that it hears. `speakers` has the key behind each frame."""

    def __init__(self, network: Network) -> None:
        self.pair = new_pair()
        self.trusted: set[str] = set()
        self.speakers: list[str] = []
        network.secure(self.pair, self.trusted.__contains__)
        super().__init__(network)

    def hear(self, path: bytes, frame: bytes, body: memoryview | None = None) -> None:
        self.speakers.append(self.network.key_of(path))
        super().hear(path, frame)

    def to(self, other: Keyed, key: str | None = None, pair: KeyPair | None = None) -> Channel:
        return self.network.connect(
            other.address,
            self.answers.append,
            self.count,
            key=key if key is not None else other.pair.public,
            pair=pair,
        )


@asynccontextmanager
async def keyed(make: Callable[[], Network], count: int = 2) -> AsyncIterator[list[Keyed]]:
    made = [Keyed(make()) for _ in range(count)]
    try:
        yield made
    finally:
        for ear in made:
            ear.network.close()


async def test_each_frame_comes_with_the_key_that_its_sender_has_proved(bare: Callable[[], Network]) -> None:
    async with keyed(bare, 3) as (a, b, door):
        door.trusted |= {a.pair.public, b.pair.public}
        first, second = a.to(door), b.to(door)
        for _ in range(5):
            await sent(first, b"a")
            await sent(second, b"b")
        await eventually(lambda: len(door.heard) == 10)
        names = {a.pair.public: b"a", b.pair.public: b"b"}
        assert [names[key] for key in door.speakers] == door.frames


async def test_who_has_no_key_an_unknown_one_or_names_the_wrong_one_is_not_heard_and_others_are_at_once(
    bare: Callable[[], Network],
) -> None:
    async with keyed(bare, 3) as (friend, stranger, door):
        door.trusted |= {friend.pair.public}
        naked = bare()
        attempts = [
            naked.connect(door.address, stranger.answers.append, stranger.count),
            stranger.to(door),
            friend.to(door, key=stranger.pair.public),
            friend.to(door, pair=new_pair()),
        ]
        for _ in range(20):
            for channel in attempts:
                assert not channel.send(b"let me in")
            await asyncio.sleep(0.01)
        channel = friend.to(door)
        await eventually(lambda: channel.send(b"it is me"))
        await eventually(lambda: door.heard)
        assert door.frames == [b"it is me"]
        await eventually(lambda: all(attempt.refused for attempt in attempts[1:]))
        assert not channel.refused, "those who are let in are not told so"
        naked.close()


async def test_who_listens_without_a_key_is_sent_nothing_by_one_who_expects_it(bare: Callable[[], Network]) -> None:
    async with keyed(bare, 1) as (a,), ears(bare, 1) as (naked,):
        channel = a.network.connect(naked.address, a.answers.append, a.count, key=a.pair.public)
        for _ in range(20):
            assert not channel.send(b"secret")
            await asyncio.sleep(0.01)
        assert naked.heard == []


async def test_a_node_takes_a_new_key_where_it_listens(bare: Callable[[], Network]) -> None:
    async with keyed(bare) as (a, door):
        door.trusted |= {a.pair.public}
        await sent(a.to(door), b"one")
        await eventually(lambda: door.heard)
        old, door.pair = door.pair, new_pair()
        door.network.secure(door.pair, door.trusted.__contains__)
        await sent(a.to(door), b"two")
        await eventually(lambda: door.frames == [b"one", b"two"])
        late = a.to(door, key=old.public)
        for _ in range(20):
            assert not late.send(b"three")
            await asyncio.sleep(0.01)


async def test_who_was_refused_comes_in_within_two_seconds_of_being_trusted(bare: Callable[[], Network]) -> None:
    async with keyed(bare) as (a, door):
        channel = a.to(door)
        for _ in range(30):
            assert not channel.send(b"too early")
            await asyncio.sleep(0.01)
        door.trusted |= {a.pair.public}
        await eventually(lambda: channel.send(b"now"))
        await eventually(lambda: door.frames == [b"now"])


async def test_with_keys_a_node_may_listen_beyond_loopback_but_at_one_address(bare: Callable[[], Network]) -> None:
    network = bare()
    network.secure(PAIR, lambda key: False)
    for address in ("tcp://0.0.0.0:0", "tcp://[::]:0", "tcp://*:0", "tcp://example.org:4000"):
        with pytest.raises(BadAddress, match="is not one address of this machine"):
            network.bind(address, lambda path, frame: None)
    network.close()
    assert check_reach("tcp://203.0.113.7:4000", secure=True, listening=True) == ("203.0.113.7", 4000)
