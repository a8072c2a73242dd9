"""References to whoever has a name in the cluster: what is sent while nobody has it, and what a move does to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from understudy.actors import (
    Actor,
    ActorRef,
    DeadLetter,
    DeadlineExceeded,
    Envelope,
    NameTaken,
    Overloaded,
    Request,
    message,
)
from understudy.simulation import Cluster, Simulation
from understudy.transport import Node
from understudy.transport.waiting_room import LIMIT, PATIENCE


@message("refs.note")
class Note:
    what: Any


@message("refs.read")
class Read(Request[list[Any]]):
    pass


@message("refs.who")
class Who(Request[list[Any]]):
    """Where it is, and its fence."""


class Book(Actor):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[Any] = []

    def on_receive(self, message: object) -> object:
        match message:
            case Note(what):
                self.notes.append(what)
                return None
            case Read():
                return list(self.notes)
            case Who():
                return [self.system.name, self.fence]
            case _:
                return self.unhandled(message)


class Entry(Book):
    """A book that is an entity."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key


async def open_book(cluster: Cluster, name: str) -> ActorRef[Book]:
    """A book on that node, under the name that there is one of."""

    async def opened(node: Node) -> ActorRef[Book]:
        book = await node.spawn(Book)
        await node.register("book", book)
        return book

    return await cluster.run(name, opened(cluster.node(name)))


def letters(node: Node) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    node.system.hooks.subscribe(DeadLetter, found.append)
    return found


@pytest.mark.seeds(20)
async def test_what_is_sent_while_nobody_has_the_name_waits_in_order_and_nothing_overtakes_it(
    simulation: Simulation,
) -> None:
    async with Cluster(simulation) as cluster:
        a, _ = await cluster.start("a"), await cluster.start("b")
        await cluster.met()
        cluster.table.slow(0.1, 0.6)
        book = a.cluster_ref("book")
        asked: list[asyncio.Task[Any]] = []

        async def send() -> None:
            for number in range(20):
                book.tell(Note(number))
                if number % 5 == 4:
                    asked.append(asyncio.ensure_future(book.call(Read(), 30.0)))
                    await asyncio.sleep(0)
                if number % 3 == 0:
                    await asyncio.sleep(simulation.delay(0.0, simulation.choose([0.05, 0.5], "pace"), "between two"))

        sending = asyncio.ensure_future(cluster.run("a", send()))
        await asyncio.sleep(simulation.delay(0.0, simulation.choose([0.1, 4.0], "haste"), "somebody opens it"))
        await open_book(cluster, simulation.choose(["a", "b"], "where"))
        await sending
        for number, read in enumerate(asked):
            assert await read == list(range(5 * number + 5))
        assert await cluster.run("a", book.call(Read())) == list(range(20))


async def test_a_tell_that_nobody_comes_for_is_a_dead_letter_and_a_call_ends_at_its_deadline(
    simulation: Simulation,
) -> None:
    async with Cluster(simulation) as cluster:
        a = await cluster.start("a")
        dead = letters(a)
        book = a.cluster_ref("book")

        async def tell_and_call() -> None:
            book.tell(Note("lost"))
            with pytest.raises(DeadlineExceeded):
                await book.call(Read(), 2 * PATIENCE)

        began = simulation.time
        await cluster.run("a", tell_and_call())
        assert simulation.time - began >= 2 * PATIENCE
        assert [letter.message for letter in dead] == [Note("lost")]
        assert (dead[0].target, dead[0].reason) == (book, "no such name")
        await open_book(cluster, "a")
        assert await cluster.run("a", book.call(Read())) == []


async def test_a_thousand_wait_and_one_more_is_refused(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        a = await cluster.start("a")
        dead = letters(a)
        book = a.cluster_ref("book")

        async def flood() -> None:
            for number in range(LIMIT + 1):
                book.tell(Note(number))
            with pytest.raises(Overloaded):
                await book.call(Read())

        await cluster.run("a", flood())
        assert [letter.message for letter in dead] == [Note(LIMIT)]
        await open_book(cluster, "a")
        assert await cluster.run("a", book.call(Read())) == list(range(LIMIT))


async def test_a_name_is_one_actors_until_it_ends_and_then_the_next_ones_under_a_higher_fence(
    simulation: Simulation,
) -> None:
    async with Cluster(simulation) as cluster:
        a, b = await cluster.start("a"), await cluster.start("b")
        await cluster.met()
        first = await open_book(cluster, "a")
        with pytest.raises(NameTaken, match="on the node 'a'"):
            await open_book(cluster, "b")
        with pytest.raises(NameTaken, match="of this node, has it"):
            await open_book(cluster, "a")
        where, fence = await cluster.run("b", b.cluster_ref("book").call(Who()))
        assert where == "a"
        moved = b.names.moved("book")
        first.kill()
        await moved
        await open_book(cluster, "b")
        assert await cluster.run("a", a.cluster_ref("book").call(Who())) == ["b", fence + 2]
        await cluster.run("b", b.unregister("book"))
        await cluster.run("a", a.names.look())
        assert a.names.owner("book") is None


async def test_what_comes_for_a_name_that_has_moved_is_sent_on(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        a, b, c = [await cluster.start(name) for name in "abc"]
        await cluster.met()
        first = await open_book(cluster, "b")
        book = a.cluster_ref("book")
        assert await cluster.run("a", book.call(Who())) == ["b", 1]
        cluster.table.fail(1.0, "a")  # it does not learn that the name has moved
        moved = b.names.moved("book")
        first.kill()
        await moved
        await open_book(cluster, "c")

        async def speak() -> list[Any]:
            book.tell(Note("after the move"))
            return await book.call(Read())

        assert await cluster.run("a", speak()) == ["after the move"]
        assert c.names.mine()[0].name == "book"


async def test_nothing_overtakes_what_is_being_sent_on(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        b, _ = await cluster.start("b"), await cluster.start("c")
        await cluster.met()
        await open_book(cluster, "c")
        book = b.cluster_ref("book")

        async def speak() -> list[Any]:
            await b.names.look()
            assert b.links.strayed("@book", Envelope(Note("of a third node, which believes that b has it")))
            book.tell(Note("of b itself"))
            return await book.call(Read())

        assert await cluster.run("b", speak()) == ["of a third node, which believes that b has it", "of b itself"]


async def test_an_owner_that_is_still_starting_keeps_what_comes_for_it(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        a, b = await cluster.start("a"), await cluster.start("b")
        await cluster.met()
        row = await cluster.run("b", b.names.claim("book"))
        assert row is not None
        await a.names.look()
        asked = asyncio.ensure_future(cluster.run("a", a.cluster_ref("book").call(Who())))
        await asyncio.sleep(3)
        assert not asked.done()

        async def start() -> None:
            b.registry.bind("book", await b.spawn(Book), row.fence)

        await cluster.run("b", start())
        assert await asked == ["b", row.fence]


async def test_a_reference_crosses_as_the_name_it_is(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        a, b = await cluster.start("a"), await cluster.start("b")
        await cluster.met()
        await open_book(cluster, "b")
        book, other = a.cluster_ref("book"), a.cluster_ref("other")
        book.tell(Note([book, other]))
        [[first, second]] = await cluster.run("a", book.call(Read()))
        assert (first, second) == (book, other)
        [[first, second]] = await cluster.run("b", b.cluster_ref("book").call(Read()))
        assert (first, second) == (b.cluster_ref("book"), b.cluster_ref("other"))


@pytest.mark.seeds(20)
@pytest.mark.parametrize("table", ["fails", "hangs"])
async def test_calls_to_whoever_lives_wait_for_no_table(simulation: Simulation, table: str) -> None:
    """A registered actor, a singleton and an entity; from nodes that have called it before and from one that never has."""
    async with Cluster(simulation) as cluster:

        async def begin(node: Node) -> None:
            node.host("book", Entry)
            await node.singleton("librarian", Book)

        for name in "abc":
            await cluster.start(name, begin)
        await cluster.met()
        await open_book(cluster, "a")
        refs = {
            name: [node.cluster_ref("book"), node.cluster_ref("librarian"), node.entity("book", "first")]
            for name, node in ((name, cluster.node(name)) for name in "abc")
        }

        async def ask(name: str) -> list[Any]:
            return [await ref.call(Who(), timeout=1.0) for ref in refs[name]]

        owners = [await cluster.run("b", ref.call(Who())) for ref in refs["b"]]
        await asyncio.sleep(2.0)
        if table == "fails":
            cluster.table.fail(1.0)
        else:
            cluster.table.slow(1000.0, 1000.0)
        await asyncio.sleep(simulation.delay(0.0, 10.0, "the table is away"))
        loop = asyncio.get_running_loop()
        for _ in range(10):
            for name in "bca":
                begun = loop.time()
                assert await cluster.run(name, ask(name)) == owners
                assert loop.time() - begun < 0.2, "as long as the network takes"
                await asyncio.sleep(1.0)
        cluster.table.mend()
