"""Offers to actors of other nodes wait for room there too, nothing overtakes them, and whoever is turned away is told."""

from __future__ import annotations

import asyncio
import collections
from typing import Any, ClassVar

import pytest

from tests.helpers import eventually
from tests.players import Recorder, inside
from tests.sides import Add, Counter, Faulty, Side, Total, Who, sides
from understudy.actors import (
    Actor,
    ActorDied,
    Bounded,
    DeadLetter,
    NoConnection,
    NodeDown,
    NotRegistered,
    Overloaded,
    message,
)
from understudy.transport import MailboxFull, Node
from understudy.transport.link import OUTBOX_LIMIT
from understudy.transport.offers import AHEAD


class Narrow(Actor):
    """Handles nothing until it may `go`; keeps what came, and how many waited at most."""

    mailbox = Bounded(10)

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.longest = 0
        self.go = asyncio.Event()

    async def on_receive(self, message: Any) -> Any:
        await self.go.wait()
        self.seen.append(message)
        self.longest = max(self.longest, len(self.actor_ref.mailbox))  # type: ignore[attr-defined]
        return len(self.seen)


class Forgetful(Narrow):
    mailbox = Bounded(10, "drop_oldest")


ROOM = AHEAD + 11
"""Messages that a Narrow's sender gets rid of: one at hand, ten in its mailbox, the others in line there."""


class Producer:
    """Offers numbers from 0 on, one after the other."""

    def __init__(self, there: Any, count: int) -> None:
        self.sent = 0
        self.task = asyncio.create_task(self._produce(there, count))

    async def _produce(self, there: Any, count: int) -> None:
        for number in range(count):
            await there.offer(number)
            self.sent = number + 1


async def test_offers_wait_for_room_in_a_mailbox_of_another_node_whose_bound_holds() -> None:
    async with sides("a", "b") as (a, b):
        narrow = await b.system.spawn(Narrow, name="narrow")
        there = a.links.named("b", "narrow")
        producer = Producer(there, 5_000)
        await eventually(lambda: producer.sent == ROOM)
        await a.meets(b).drained()
        with pytest.raises(Overloaded, match="1024 messages stand in line"):
            await there.offer("impatient", timeout=0.05)
        assert producer.sent == ROOM
        inside(narrow).go.set()
        await producer.task
        await eventually(lambda: len(inside(narrow).seen) == 5_000)
        assert inside(narrow).seen == list(range(5_000))
        assert inside(narrow).longest <= 10
        assert (a.system.dead_letters.count, b.system.dead_letters.count) == (0, 0)
        await eventually(lambda: not a.meets(b).offers._lines)
        assert not b.meets(a).delivery._admission.lines


async def test_two_who_offer_take_turns_and_both_end() -> None:
    async with sides("a", "b") as (a, b):
        narrow = await b.system.spawn(Narrow, name="narrow")
        there = a.links.named("b", "narrow")
        producers = [Producer(there, 2_000) for _ in range(3)]
        local = Producer(narrow, 100)
        await eventually(lambda: a.meets(b).offers.waiting)
        inside(narrow).go.set()
        await asyncio.gather(*(producer.task for producer in (*producers, local)))
        await eventually(lambda: len(inside(narrow).seen) == 6_100)
        waits = [producer.sent for producer in producers]
        assert waits == [2_000] * 3


@pytest.mark.parametrize("cls", [Narrow, Forgetful])
async def test_nothing_of_the_same_node_overtakes_an_offer_that_stands_in_line(cls: type[Narrow]) -> None:
    async with sides("a", "b") as (a, b):
        narrow = await b.system.spawn(cls, name="narrow")
        there = a.links.named("b", "narrow")
        events: list[MailboxFull] = []
        a.system.hooks.subscribe(MailboxFull, events.append)
        for number in range(20):
            await there.offer(number)
        there.tell("too much")
        with pytest.raises(Overloaded, match="stand in line"):
            await there.call("too much, too")
        await eventually(lambda: events)
        assert [(repr(event.ref), event.messages) for event in events] == [(repr(there), 1)]
        assert b.system.dead_letters.by_reason == {"overloaded": 1}
        inside(narrow).go.set()
        await eventually(lambda: len(inside(narrow).seen) == 20)
        assert await there.call("now") == 21
        assert inside(narrow).seen == [*range(20), "now"]


async def test_who_tells_into_a_full_mailbox_of_another_node_hears_of_it() -> None:
    async with sides("a", "b") as (a, b):
        narrow = await b.system.spawn(Narrow, name="narrow")
        there = a.links.named("b", "narrow")
        events: list[MailboxFull] = []
        a.system.hooks.subscribe(MailboxFull, events.append)
        await there.offer(0)
        for number in range(1, 100):
            there.tell(number)
        await eventually(lambda: sum(event.messages for event in events) == b.system.dead_letters.count > 80)
        inside(narrow).go.set()


@message("offers.once")
class Once:
    """Can be made at the sender, and once at the receiver."""

    number: int
    made: ClassVar[collections.Counter[int]] = collections.Counter()

    def __post_init__(self) -> None:
        self.made[self.number] += 1
        if self.made[self.number] > 2:
            raise ValueError("never the same twice")


async def test_a_message_that_meets_a_full_mailbox_harms_no_other_of_its_batch_whatever_its_class_does() -> None:
    async with sides("a", "b") as (a, b):
        Once.made.clear()
        narrow = await b.system.spawn(Narrow, name="narrow")
        recorder = await b.system.spawn(Recorder, name="recorder")
        there, beside = a.links.named("b", "narrow"), a.links.named("b", "recorder")
        for number in range(15):
            there.tell(Once(number))
        for number in range(5):
            beside.tell(number)
        assert await inside(recorder).first(5) == list(range(5))
        assert b.system.dead_letters.by_reason == {"overloaded": 5}
        inside(narrow).go.set()


async def test_when_the_actor_there_dies_every_offer_was_handled_or_is_a_dead_letter_or_raises() -> None:
    async with sides("a", "b") as (a, b):
        narrow = await b.system.spawn(Narrow, name="narrow")
        there: Any = b.links.export(narrow)
        address: Any = a.links.resolve(list(there))
        letters: list[DeadLetter] = []
        b.system.hooks.subscribe(DeadLetter, letters.append)
        producer = Producer(address, 5_000)
        await eventually(lambda: producer.sent == ROOM)
        await a.meets(b).drained()
        narrow.kill()
        with pytest.raises(ActorDied):
            await producer.task
        await eventually(lambda: b.system.dead_letters.count == ROOM - 1)  # but for the one at hand
        with pytest.raises(ActorDied):
            await address.offer("another")
        by_name = a.links.named("b", "narrow")
        await by_name.offer("nobody is there")
        await eventually(lambda: b.system.dead_letters.count == ROOM)
        second = await b.system.spawn(Narrow, name="narrow")
        inside(second).go.set()
        await by_name.offer("somebody")
        await eventually(lambda: inside(second).seen == ["somebody"])
        await eventually(lambda: len(letters) == b.system.dead_letters.count == ROOM)
        assert [letter.message for letter in letters if isinstance(letter.message, int)] == list(range(1, ROOM))


async def test_offers_under_way_to_a_node_that_dies_are_dead_letters_of_unknown_fate_and_those_in_line_raise() -> None:
    network = Faulty()
    async with sides("a") as (a,):
        b = Side("b", network=network)
        a.meets(b)
        await b.system.spawn(Narrow, name="narrow")
        there = a.links.named("b", "narrow")
        await there.offer(-1)
        await a.meets(b).drained()
        network.deaf = True
        link = a.meets(b)
        producer = Producer(there, 5_000)
        await eventually(lambda: producer.sent >= AHEAD - 1)
        draining = [asyncio.create_task(link.drained()) for _ in range(2)]
        await asyncio.sleep(0)
        a.links.bury(b.links.me, NoConnection("cut off"))
        with pytest.raises(NodeDown):
            await producer.task
        for drained in draining:
            with pytest.raises(NodeDown, match="cut off"):
                await drained
        with pytest.raises(NodeDown):
            await link.drained()
        await eventually(lambda: link.burial is not None and link.burial.over)
        assert a.system.dead_letters.count == producer.sent
        assert a.system.dead_letters.fates_unknown > 0
        b.die()
        await b.system.shutdown()


async def test_offers_that_wait_for_the_outbox_are_let_in_by_turns() -> None:
    async with sides("a", "b") as (a, b):
        for name in ("first", "second"):
            await b.system.spawn(Counter, name=name)
        link = a.meets(b)
        await a.links.named("b", "first").call(Add())
        blob = {"x": b"x" * 500_000}
        nobody = a.links.named("b", "nobody")
        while not link.full:
            nobody.tell(blob)
        order: list[str] = []

        async def offer(name: str) -> None:
            await a.links.named("b", name).offer(Add())
            order.append(name)

        offers = [asyncio.create_task(offer(name)) for name in ["first"] * 5 + ["second"] * 5]
        await asyncio.sleep(0)
        assert link.offers.waiting == 10
        given_up = asyncio.create_task(offer("first"))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(*offers)
        assert order == ["first", "second"] * 5
        assert await a.links.named("b", "first").call(Total()) == 6
        assert link.out.size < OUTBOX_LIMIT


async def test_an_offer_that_may_not_cross_is_refused_at_once_and_counts_for_nothing() -> None:
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Counter, name="counter")
        counter = a.links.named("b", "counter")
        for _ in range(AHEAD + 1):
            with pytest.raises(NotRegistered):
                await counter.offer(object())
        await counter.offer(Add(3))
        assert await counter.call(Total()) == 3


async def test_an_offer_whose_time_is_up_leaves_nothing_behind() -> None:
    async with sides("a", "b") as (a, b):
        narrow = await b.system.spawn(Narrow, name="narrow")
        there = a.links.named("b", "narrow")
        producer = Producer(there, ROOM + 1)
        await eventually(lambda: producer.sent == ROOM)
        with pytest.raises(Overloaded):
            await there.offer("impatient", timeout=0.01)
        cancelled = asyncio.create_task(there.offer("cancelled"))
        await asyncio.sleep(0)
        assert a.meets(b).offers.waiting == 2
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert a.meets(b).offers.waiting == 1

        def elsewhere() -> None:
            with pytest.raises(Overloaded):
                asyncio.run(there.offer("from another thread", timeout=0.05))

        await asyncio.to_thread(elsewhere)
        await eventually(lambda: a.meets(b).offers.waiting == 1)
        inside(narrow).go.set()
        await producer.task
        await eventually(lambda: inside(narrow).seen == list(range(ROOM + 1)))


async def test_offers_from_another_thread_wait_for_room_in_the_mailbox_there() -> None:
    async with sides("a", "b") as (a, b):
        narrow = await b.system.spawn(Narrow, name="narrow")
        there = a.links.named("b", "narrow")

        def work() -> None:
            async def offer_all() -> None:
                for number in range(2_000):
                    await there.offer(number)
                with pytest.raises(NotRegistered):
                    await there.offer(object())

            asyncio.run(offer_all())

        working = asyncio.create_task(asyncio.to_thread(work))
        await eventually(lambda: a.meets(b).offers.waiting)
        inside(narrow).go.set()
        await working
        await eventually(lambda: inside(narrow).seen == list(range(2_000)))


async def test_drained_waits_until_everything_sent_before_has_arrived() -> None:
    async with Node("a") as a, Node("b", join=a.address) as b:
        counter = await b.spawn(Counter, name="counter")
        there = a.ref("counter@b")
        for _ in range(10_000):
            there.tell(Add())
        await asyncio.gather(a.drained(there), a.drained(there))
        assert a.links.towards("b").out.idle or a.links.towards("b").out.delivered
        assert inside(counter).total + len(counter.mailbox or ()) == 10_000  # type: ignore[attr-defined]
        mine = await a.spawn(Counter, name="mine")
        await a.drained(mine)
        await a.drained(a.ref("mine"))
        with pytest.raises(TypeError, match="given its reference, not 'mine'"):
            await a.drained("mine")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="another node in this process"):
            await b.drained(there)
        with pytest.raises(NodeDown):
            await a.drained(a.ref("counter@nowhere"))
        address = await there.call(Who())
        await b.stop()
        with pytest.raises(NodeDown):
            await a.drained(address)


class Verbose(Actor):
    """Answers at length; counts the requests."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def on_receive(self, message: Any) -> str:
        self.asked += 1
        return "x" * 100_000


async def test_requests_whose_answers_cannot_leave_are_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.transport.delivery.REPLY_LIMIT", 1_000_000)
    network = Faulty()
    async with sides("b") as (b,):
        a = Side("a", network=network)
        a.meets(b)
        b.meets(a)
        verbose = await b.system.spawn(Verbose, name="verbose")
        there = a.links.named("b", "verbose")
        assert len(await there.call("first")) == 100_000
        network.deaf = True
        calls: list[asyncio.Task[Any]] = []
        for _ in range(20):
            calls += [asyncio.create_task(there.call("more", timeout=20.0)) for _ in range(5)]
            await asyncio.sleep(0)
            sent = a.meets(b).out
            await eventually(lambda: b.links.door.inbound(b.meets(a))[0].next == sent.offered)  # noqa: B023
            await eventually(lambda: not b.meets(a).delivery._answers)
        assert inside(verbose).asked <= 20
        assert b.meets(a).out.size < 1_800_000
        network.deaf = False
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(answer, str) for answer in answers) == inside(verbose).asked - 1
        assert sum(isinstance(answer, Overloaded) for answer in answers) == 101 - inside(verbose).asked
        assert len(await there.call("afterwards")) == 100_000
        await a.close()
