"""Groups over several nodes: what their own suite (tests/contract/test_process_groups.py) cannot ask of one system."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import msgpack
import pytest

from tests.helpers import eventually
from tests.players import Recorder, inside
from tests.sides import Faulty, Side, sides
from understudy.actors import (
    Actor,
    ActorSystem,
    Bounded,
    DeadLetter,
    Down,
    Joined,
    Left,
    NoConnection,
    NotRegistered,
    Overloaded,
    message,
)
from understudy.transport import MemoryTable, Node, TooLarge, muster
from understudy.transport.groups import GroupThere
from understudy.transport.link import Link
from understudy.transport.operations import CAST, JOINED, PARTED


class Member(Recorder):
    """Is in the groups it is made with."""

    def __init__(self, *groups: str) -> None:
        super().__init__()
        self.groups = groups

    def on_start(self) -> None:
        for group in self.groups:
            self.join(group)


@message("cluster_groups.news")
class News:
    text: str


async def sees(side: Side, group: str, count: int) -> None:
    await eventually(lambda: len(side.links.groups[group]) == count, what=f"{side.system.name} sees {count} in {group}")


def letters(side: Side) -> list[DeadLetter]:
    kept: list[DeadLetter] = []
    side.system.hooks.subscribe(DeadLetter, kept.append)
    return kept


def frames(link: Link) -> int:
    """How many frames that link has been given to send."""
    return link.out.offered


# --- who is in ---


async def test_whoever_joined_before_two_nodes_met_is_known_once_they_have() -> None:
    a, b = Side("a"), Side("b")
    try:
        early = [await a.system.spawn(Member, "party") for _ in range(3)]
        early[1].kill()
        await early[1].ended()
        a.meets(b)
        b.meets(a)
        await sees(b, "party", 2)
        assert [ref.address for ref in b.links.groups["party"]] == [early[0].address, early[2].address]
    finally:
        await a.close()
        await b.close()


async def test_a_node_that_is_gone_takes_its_members_along_before_any_down_arrives() -> None:
    async with sides("a", "b") as (a, b):
        member = await b.system.spawn(Member, "party", "funeral")
        await sees(a, "party", 1)
        [ref] = a.links.groups["party"]
        seen: list[Any] = []

        class Watching(Actor):
            def on_start(self) -> None:
                self.monitor(ref)
                a.links.groups.watch(self.actor_ref)

            def on_receive(self, message: Any) -> None:
                seen.append((message, len(a.links.groups)))

        await a.system.spawn(Watching)
        assert member.is_alive()
        a.links.bury(b.links.me, NoConnection("declared dead"))
        await eventually(lambda: len(seen) == 3)
        (first, left), (second, _), (down, _) = seen
        assert {first, second} == {Left("party", ref), Left("funeral", ref)}
        assert isinstance(down, Down)
        assert left == 0
        assert a.links.groups.counts() == {}
        assert ref not in a.links.groups["party"]


async def test_the_next_life_of_a_node_begins_with_its_own_members_only() -> None:
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Member, "party")
        await sees(a, "party", 1)
        [before] = a.links.groups["party"]
        b.die()
        again = Side("b", incarnation=2)
        try:
            await again.system.spawn(Member, "party")
            await again.system.spawn(Member, "party")
            again.meets(a)
            await sees(a, "party", 2)
            assert before not in a.links.groups["party"]
            assert {ref.address.incarnation for ref in a.links.groups["party"]} == {2}
        finally:
            await again.close()


async def test_members_of_a_node_are_the_same_after_its_connection_was_cut_any_number_of_times() -> None:
    network = Faulty()
    a, b = Side("a"), Side("b", network=network)
    try:
        a.meets(b)
        b.meets(a)
        stays = await b.system.spawn(Member, "party")
        goes = await b.system.spawn(Member, "party")
        await sees(a, "party", 2)
        network.deaf = True
        goes.kill()
        await goes.ended()
        for _ in range(50):  # nobody who is gone before anything is heard is ever known
            (await b.system.spawn(Member, "party")).kill()
        comes = await b.system.spawn(Member, "party")
        await asyncio.sleep(0)
        network.deaf = False
        await sees(a, "party", 2)
        await eventually(lambda: [r.address for r in a.links.groups["party"]] == [stays.address, comes.address])
    finally:
        await a.close()
        await b.close()


async def test_a_node_that_begins_to_follow_anew_hears_it_all_once_more_and_keeps_nothing_of_before() -> None:
    async with sides("a", "b") as (a, b):
        member = await b.system.spawn(Member, "party")
        await sees(a, "party", 1)
        link = a.links.towards("b")
        link.muster.roster.join("party", [12_345])  # what it would have kept of a life before
        for _ in range(5):
            link.muster.ask()
        await eventually(lambda: [ref.address for ref in a.links.groups["party"]] == [member.address])
        inside(member).leave("party")
        await sees(a, "party", 0)


async def test_ten_thousand_groups_and_thousands_who_ask_at_once_hold_nobody_up() -> None:
    async with sides("a", "b") as (a, b):
        names = [f"group-{number}" for number in range(10_000)]
        member = await b.system.spawn(Member, *names)
        await eventually(lambda: len(a.links.groups) == 10_000, 30)
        link, back = a.links.towards("b"), b.links.towards("a")
        offered = frames(back)
        for _ in range(2_000):
            link.muster.ask()
        inside(member).join("the last")
        await sees(a, "the last", 1)
        await eventually(lambda: len(a.links.groups) == 10_001, 30)
        assert frames(back) - offered < 200, "it was told anew once or twice, not two thousand times"


async def test_a_hundred_thousand_members_are_told_of_a_slice_at_a_time() -> None:
    network = Faulty()
    a, b = Side("a"), Side("b", network=network)
    turns = 0

    async def takes_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += bool(len(b.links.groups._here.counts()) > 0 and a.links.groups.counts().get("crowd", 0) < 100_000)

    class Small(Actor):
        def on_start(self) -> None:
            self.join("crowd")

    class Crowd(Actor):
        async def on_start(self) -> None:
            for _ in range(100_000):
                await self.spawn(Small)

    gc.collect()
    gc.freeze()  # the collector would walk over it all again and again
    gc.disable()
    try:
        crowd = await b.system.spawn(Crowd)
        ticker = asyncio.ensure_future(takes_turns())
        a.meets(b)
        b.meets(a)
        await eventually(lambda: a.links.groups.counts() == {"crowd": 100_000}, 60)
        ticker.cancel()
        assert turns > 100_000 / muster.SLICE
        assert max(network.frames) < 128 * 1024
        assert a.links.groups["crowd"].broadcast("hello") == 100_000
        watching = await a.system.spawn(Recorder)
        assert len(a.links.groups.watch(watching, "crowd")["crowd"]) == 100_000
        crowd.kill()
        await eventually(lambda: len(inside(watching).seen) == 100_000, 60)
        assert a.links.groups.counts() == {}
        assert {type(news) for news in inside(watching).seen} == {Left}
    finally:
        await a.close()
        await b.close()
        gc.enable()
        gc.unfreeze()


async def test_while_a_node_reads_nothing_what_it_is_to_be_told_is_no_more_than_what_differs() -> None:
    network = Faulty()
    a, b = Side("a"), Side("b", network=network)
    try:
        a.meets(b)
        b.meets(a)
        member = await b.system.spawn(Member, "party")
        await sees(a, "party", 1)
        link = b.links.towards("a")
        await link.drained()
        network.deaf = True
        link.full = True
        offered = frames(link)
        for _ in range(1_000):
            inside(member).leave("party")
            inside(member).join("party")
        await b.system.spawn(Member, "party")
        await member.call("flush")
        await asyncio.sleep(0.01)
        assert frames(link) == offered
        network.deaf = False
        link._progressed()
        await sees(a, "party", 2)
        assert frames(link) == offered + 1
    finally:
        await a.close()
        await b.close()


# --- broadcasts ---


async def test_a_broadcast_is_one_frame_for_each_node_that_has_members_however_many_there_are() -> None:
    async with sides("a", "b", "c", "d") as (a, b, c, d):
        members = [await side.system.spawn(Member, "party") for side in (b, c) for _ in range(100)]
        for side in (a, d):
            await sees(side, "party", 200)
        before = {side.system.name: frames(a.links.towards(side.system.name)) for side in (b, c, d)}
        assert a.links.groups["party"].broadcast("hello") == 200
        for member in members:
            await inside(member).first(1)
        sent = {
            side.system.name: frames(a.links.towards(side.system.name)) - before[side.system.name] for side in (b, c, d)
        }
        assert sent == {"b": 1, "c": 1, "d": 0}


@pytest.mark.parametrize(("what", "error"), [(object(), NotRegistered), ("x" * 2_000_000, TooLarge)])
async def test_what_may_not_cross_is_refused_before_anybody_was_told(what: Any, error: type[Exception]) -> None:
    async with sides("a", "b") as (a, b):
        here, there = await a.system.spawn(Member, "party"), await b.system.spawn(Member, "party")
        await sees(a, "party", 2)
        with pytest.raises(error):
            a.links.groups["party"].broadcast(what)
        with pytest.raises(error):
            await asyncio.to_thread(a.links.groups["party"].broadcast, what)
        a.links.groups["party"].broadcast("hello")
        assert await inside(here).first(1) == ["hello"]
        assert await inside(there).first(1) == ["hello"]


async def test_what_may_not_cross_is_for_members_here_as_good_as_anything() -> None:
    async with sides("a", "b") as (a, _):
        here, what = await a.system.spawn(Member, "party"), object()
        assert a.links.groups["party"].broadcast(what) == 1
        assert await inside(here).first(1) == [what]


async def test_a_node_whose_outbox_is_full_is_left_out_and_nobody_else() -> None:
    async with sides("a", "b", "c") as (a, b, c):
        members = [await side.system.spawn(Member, "party") for side in (a, b, c)]
        await sees(a, "party", 3)
        kept, link = letters(a), a.links.towards("b")
        link.full = True
        assert a.links.groups["party"].broadcast("hello") == 3
        for member in (members[0], members[2]):
            assert await inside(member).first(1) == ["hello"]
        await eventually(lambda: kept)
        there = GroupThere(link, "party")
        assert kept == [DeadLetter(there, "hello", "overloaded")]
        assert repr(there) == "<group 'party' at b>"
        link.full = True
        with pytest.raises(Overloaded, match="wait to be acknowledged"):
            there.tell("again")
        link.full = False
        kept[0].target.tell(kept[0].message)  # whoever collects dead letters may try again
        assert await inside(members[1]).first(1) == ["hello"]


async def test_a_broadcast_that_was_not_acknowledged_when_a_node_is_lost_is_one_dead_letter() -> None:
    async with sides("a", "b") as (a, b):
        for _ in range(3):
            await b.system.spawn(Member, "party")
        await sees(a, "party", 3)
        kept, link = letters(a), a.links.towards("b")
        b.die()
        a.links.groups["party"].broadcast(News("hello"))
        link.flush()
        a.links.bury(b.links.me, NoConnection("declared dead"))
        assert a.links.groups["party"].broadcast(News("too late")) == 0
        await eventually(lambda: kept)
        assert [(letter.target, letter.message) for letter in kept] == [(GroupThere(link, "party"), News("hello"))]
        assert "declared dead" in kept[0].reason
        GroupThere(link, "party").tell("into nothing")
        await eventually(lambda: len(kept) == 2)


async def test_a_broadcast_that_cannot_be_read_there_is_a_dead_letter_for_each_member_and_harms_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with sides("a", "b") as (a, b):
        members = [await b.system.spawn(Member, "party") for _ in range(2)]
        await sees(a, "party", 2)
        kept, link = letters(b), a.links.towards("b")
        with caplog.at_level(logging.CRITICAL, "understudy.transport"):
            link.push(msgpack.packb((CAST, "party", 99, "of no known class")))
            link.push(msgpack.packb((CAST, "party", 0, msgpack.ExtType(77, b"of no known kind"))))
            link.push(msgpack.packb((CAST, "x" * 300, 0, "to no group")))
            link.push(msgpack.packb((CAST,)))
            a.links.groups["party"].broadcast("hello")
            for member in members:
                assert await inside(member).first(1) == ["hello"]
        await eventually(lambda: len(kept) == 4)
        assert [letter.target for letter in kept] == members * 2
        assert {letter.reason for letter in kept} == {"unreadable"}
        assert b.links.unreadable == 4


async def test_a_broadcast_does_not_overtake_what_the_same_node_offers_to_a_member() -> None:
    class Narrow(Member):
        mailbox = Bounded(1, "drop_oldest")

        async def on_receive(self, message: Any) -> Any:
            super().on_receive(message)
            await go_on.wait()

    go_on = asyncio.Event()
    async with sides("a", "b") as (a, b):
        narrow, other = await b.system.spawn(Narrow, "party"), await b.system.spawn(Member, "party")
        await sees(a, "party", 2)
        kept = letters(b)
        ref = next(ref for ref in a.links.groups["party"] if ref.address == narrow.address)
        for number in range(4):
            await ref.offer(number)
        lines = b.links.towards("a").delivery._admission.lines
        await eventually(lambda: narrow in lines)
        a.links.groups["party"].broadcast("hello")
        assert await inside(other).first(1) == ["hello"]
        await eventually(lambda: kept)
        assert kept == [DeadLetter(narrow, "hello", "overloaded")]
        go_on.set()
        assert await inside(narrow).first(4) == [0, 1, 2, 3]


# --- other nodes say what they like ---


async def test_what_makes_no_sense_about_groups_is_reported_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Member, "party")
        await sees(a, "party", 1)
        link = b.links.towards("a")
        with caplog.at_level(logging.CRITICAL, "understudy.transport"):
            for operation in (JOINED, PARTED):
                for parts in ((), (7, 1), ("", 1), ("party", -1), ("party", "x"), ("party", None), ("a@b", 1)):
                    link.signal(operation, *parts)
            await eventually(lambda: a.links.unreadable == 14)
        assert a.links.groups.counts() == {"party": 1}
        link.signal(JOINED, "nobody")
        link.signal(PARTED, "party")
        link.signal(PARTED, "nobody", 7)
        late = await b.system.spawn(Member, "party")
        await sees(a, "party", 2)
        assert late.address in [ref.address for ref in a.links.groups["party"]]
        assert a.links.groups.counts() == {"party": 2}


async def test_a_node_that_does_not_ask_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muster.Muster, "ask", lambda muster: None)
    async with sides("a", "b") as (a, b):
        member = await b.system.spawn(Member, "party")
        await member.call("flush")
        await asyncio.sleep(0)
        assert frames(b.links.towards("a")) == 0
        assert a.links.groups["party"].broadcast("hello") == 0


# --- nodes ---


async def test_two_nodes_share_their_groups_and_actors_reach_them_by_their_system() -> None:
    async with Node("a", table=(table := MemoryTable())) as a, Node("b", table=table) as b:
        await a.up("b")
        here, there = await a.spawn(Member, "party"), await b.spawn(Member, "party")
        await eventually(lambda: len(a.groups["party"]) == len(b.groups["party"]) == 2)
        assert a.groups is a.system.nodes.groups
        assert repr(a.groups["party"]) == "<group 'party' of all nodes, seen from a>"
        assert repr(a.system.groups["party"]) == "<group 'party' at a>"
        assert list(a.groups["party"].by_node()) == ["a", "b"]
        assert a.system.groups["party"].members() == (here,)
        b.groups["party"].broadcast(News("hello"))
        for member in (here, there):
            assert await inside(member).first(1) == [News("hello")]


async def test_a_system_that_outlives_its_node_keeps_its_own_groups() -> None:
    async with ActorSystem("a") as system:
        table = MemoryTable()
        async with Node("a", system=system, table=table) as a, Node("b", table=table) as b:
            await a.up("b")
            here, _ = await a.spawn(Member, "party"), await b.spawn(Member, "party")
            await eventually(lambda: len(a.groups["party"]) == 2)
            watching = await a.spawn(Recorder)
            a.groups.watch(watching, "party")
            groups = a.groups
        assert system.nodes.groups is system.groups
        assert [news.ref.address.node for news in await inside(watching).first(1)] == ["b"]
        assert groups["party"].members() == system.groups["party"].members() == (here,)
        await system.spawn(Member, "party")
        assert isinstance((await inside(watching).first(2))[1], Joined)
