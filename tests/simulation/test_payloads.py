"""Large payloads, whatever the network and their ends do: what is read is what was sent, or an error; nothing stays behind.

Senders on every node send payloads of all kinds and sizes to readers on the others, in tells, calls and replies. A reader
reads all, a part, slowly, hands on, keeps or throws away. What was sent and what came of it stands in a ledger outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from tests.properties import OF_NODES
from understudy.actors import (
    Actor,
    ActorRef,
    CallError,
    DeadLetter,
    NodeDown,
    Overloaded,
    Request,
    message,
)
from understudy.simulation import Cluster, Simulation, faults
from understudy.transport import Node
from understudy.transport.payload import Payload
from understudy.transport.sources import CHUNK, PayloadError

BYTES = memoryview(Random(6).randbytes(6 * 1024 * 1024))
"""What all payloads are cut from."""

PAYLOADS = 4
"""That each sender sends to each other node."""

QUIET = 8.0
"""Seconds after the last fault in which everything comes to its end."""


@message("test.parcel")
class Parcel(Request[Any]):
    """Some payloads and what to do with each of them; answered with one of its own if it was asked for."""

    numbers: list[int]
    payloads: list[Payload]
    how: list[str]
    friend: ActorRef[Any] | None = None
    back: int = -1


@dataclass
class Sent:
    """One payload. `read`: by whom, and what came of it."""

    whole: memoryview
    feed: Feed | None
    fails: bool
    outcomes: list[bool | Exception] = field(default_factory=list)


class Feed:
    """A source that takes its time, and may fail at its end."""

    def __init__(self, whole: memoryview, random: Random, fails: bool) -> None:
        self.whole = whole
        self.random = random
        self.fails = fails
        self.node = ""
        self.open = 0

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        self.open += 1
        try:
            at = 0
            while at < len(self.whole):
                size = self.random.choice([1_000, 100_000, 700_000])
                yield self.whole[at : at + size]
                at += size
                if self.random.random() < 0.3:
                    await asyncio.sleep(self.random.uniform(0.0, 0.2))
            if self.fails:
                raise OSError("the tape is torn")
        finally:
            self.open -= 1


@dataclass
class Ledger:
    simulation: Simulation
    sent: list[Sent] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=set)  # that were told, to be read in whole
    kept: list[Payload] = field(default_factory=list)
    busy: int = 0

    def payload(self) -> tuple[int, Payload]:
        """A new one, and its number."""
        random = self.simulation.random
        size = random.choice([0, 10, 300_000, CHUNK, 4 * CHUNK, random.randrange(4_000_000)])
        start = random.randrange(len(BYTES) - size)
        whole = BYTES[start : start + size]
        if random.random() < 0.5:
            self.sent.append(Sent(whole, None, fails=False))
            return len(self.sent) - 1, Payload(whole)
        fails = random.random() < 0.2
        feed = Feed(whole, random, fails)
        self.sent.append(Sent(whole, feed, fails))
        return len(self.sent) - 1, Payload(feed)

    def letter(self, letter: DeadLetter) -> None:
        """It reached nobody: a reader that has not started yet, or an earlier life."""
        if isinstance(letter.message, Parcel):
            self.expected.difference_update(letter.message.numbers)

    async def read(self, number: int, payload: Payload, how: str) -> None:
        """Read it in one of the ways, and note what came of it."""
        random, sent, got = self.simulation.random, self.sent[number], bytearray()
        try:
            if how == "whole":
                got += await payload.bytes()
            else:
                async for chunk in payload:
                    got += chunk
                    if how == "part" and random.random() < 0.3:
                        payload.close()
                        return
                    if how == "slowly":
                        await asyncio.sleep(random.uniform(0.0, 0.2))
        except (PayloadError, NodeDown) as error:
            if got != sent.whole[: len(got)]:
                self.mistakes.append(f"{number}: what came before the error was not what was sent")
            sent.outcomes.append(error)
        else:
            if got != sent.whole or sent.fails:
                self.mistakes.append(f"{number}: {len(got)} of {len(sent.whole)} bytes were taken for the whole")
            sent.outcomes.append(True)


class ReaderOfAll(Actor):
    """Does with each payload what its parcel says."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    async def on_receive(self, parcel: object) -> object:
        assert isinstance(parcel, Parcel)
        for number, payload, how in zip(parcel.numbers, parcel.payloads, parcel.how):
            match how:
                case "throw away":
                    pass
                case "keep":
                    self.ledger.kept.append(payload)
                case "hand on" if parcel.friend is not None:
                    try:
                        parcel.friend.tell(Parcel([number], [payload], ["slowly"]))
                    except Overloaded as error:
                        self.ledger.sent[number].outcomes.append(error)
                case _:
                    self.run(self.ledger.read(number, payload, how))
        if parcel.back < 0:
            return None
        number, payload = self.ledger.payload()
        return [number, payload]


class Sender(Actor):
    """Sends payloads to the reader of one other node."""

    def __init__(self, ledger: Ledger, other: ActorRef[Any], friend: ActorRef[Any] | None) -> None:
        super().__init__()
        self.ledger = ledger
        self.other = other
        self.friend = friend

    def on_start(self) -> None:
        self.run(self.send_all())

    async def send_all(self) -> None:
        ledger, random = self.ledger, self.ledger.simulation.random
        ledger.busy += 1
        try:
            for _ in range(PAYLOADS):
                made = [ledger.payload() for _ in range(random.choice([1, 1, 3]))]
                ways = [
                    "whole",
                    "slowly",
                    "part",
                    "keep",
                    "throw away",
                    *(["hand on"] if self.friend is not None else []),
                ]
                how = [random.choice(ways) for _ in made]
                parcel = Parcel([number for number, _ in made], [payload for _, payload in made], how, self.friend, 0)
                try:
                    if random.random() < 0.5:
                        ledger.expected.update(
                            number for (number, _), way in zip(made, how) if way in ("whole", "slowly")
                        )
                        self.other.tell(parcel)
                    else:
                        number, payload = await self.other.call(parcel, timeout=4.0)
                        await ledger.read(number, payload, "whole")
                except CallError:
                    pass
                except Overloaded:
                    ledger.expected.difference_update(parcel.numbers)
                del made, parcel
                await asyncio.sleep(random.uniform(0.0, 0.5))
        finally:
            ledger.busy -= 1


async def play(simulation: Simulation, cluster: Cluster, names: list[str], kinds: Any, longest: float) -> Ledger:
    ledger = Ledger(simulation)

    async def setup(node: Node) -> None:
        node.system.hooks.subscribe(DeadLetter, ledger.letter)
        await node.spawn(ReaderOfAll, ledger, name="reader")
        others = [name for name in names if name != node.name]
        for name in others:
            friends = [other for other in others if other != name]
            friend = node.ref(f"reader@{friends[0]}") if friends else None
            await node.spawn(Sender, ledger, node.ref(f"reader@{name}"), friend)

    await asyncio.gather(*(cluster.start(name, setup) for name in names))
    await cluster.met()
    await faults.play(cluster, faults.plan(simulation, names, kinds, seconds=5, longest=longest))
    for _ in range(40):
        if ledger.busy:
            await asyncio.sleep(0.5)
    await asyncio.sleep(QUIET)
    ledger.kept.clear()
    await asyncio.sleep(QUIET)
    return ledger


def nothing_is_left(cluster: Cluster) -> None:
    for name in cluster.running():
        for link in cluster.node(name).links._links.values():
            assert len(link.arrivals) == 0, f"{name} has arrivals: {link}"
            assert len(link.departures) == 0, f"{name} has departures: {link}"
            assert link.departures.held == 0


@pytest.mark.seeds(OF_NODES)
async def test_between_living_nodes_every_payload_arrives_whole(simulation: Simulation) -> None:
    async with Cluster(simulation, probe_misses=1000) as cluster:
        ledger = await play(simulation, cluster, ["a", "b"], faults.NETWORK, 2.0)
        assert not ledger.mistakes
        for number, sent in enumerate(ledger.sent):
            for outcome in sent.outcomes:
                assert outcome is True or (sent.fails and "torn" in str(outcome)), f"{number}: {outcome!r}"
            if number in ledger.expected:
                assert len(sent.outcomes) == 1, f"{number}: {sent.outcomes}"
            assert sent.feed is None or not sent.feed.open, f"{number} is read still"
        nothing_is_left(cluster)


@pytest.mark.seeds(OF_NODES)
async def test_whatever_happens_to_nodes_nothing_is_taken_for_whole_and_nothing_stays_behind(
    simulation: Simulation,
) -> None:
    async with Cluster(simulation) as cluster:
        ledger = await play(simulation, cluster, ["a", "b", "c"], [*faults.NETWORK, *faults.NODES], 6.0)
        assert not ledger.mistakes
        nothing_is_left(cluster)
