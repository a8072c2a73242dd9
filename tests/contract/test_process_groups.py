"""What groups promise, those of one system and those of all nodes alike. Written after what Erlang's `pg_SUITE` and the suites of
phoenix_pubsub check of theirs; docs/groups.md says which of their promises are kept here, and which differ on purpose.

    alone    the groups of one system; every actor lives there
    cluster  the groups of all nodes, seen from one of three; the actors live on all of them
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from tests.helpers import eventually
from tests.players import Recorder, inside
from tests.sides import sides
from understudy.actors import (
    Actor,
    ActorRef,
    ActorSystem,
    Address,
    Assembly,
    Bounded,
    Down,
    Joined,
    Left,
    Request,
    ThreadActor,
    message,
)

KINDS = ("alone", "cluster")


@message("contract.groups.me")
class Me(Request[ActorRef[Any]]):
    """Answered with the actor's reference."""


class Member(Recorder):
    """Is in the groups it is made with."""

    def __init__(self, *groups: str) -> None:
        super().__init__()
        self.groups = groups

    def on_start(self) -> None:
        for group in self.groups:
            self.join(group)

    def on_receive(self, message: Any) -> Any:
        return self.actor_ref if message == Me() else super().on_receive(message)


class Full(Member):
    """Has no room for a second message while it is at the first."""

    mailbox = Bounded(1, "reject")

    async def on_receive(self, message: Any) -> Any:
        super().on_receive(message)
        await asyncio.Event().wait()


class Hall:
    """`systems`: where actors live. The first of them looks."""

    def __init__(self, systems: list[ActorSystem]) -> None:
        self.systems = systems

    @property
    def groups(self) -> Assembly:
        """As the first one sees them."""
        return self.systems[0].nodes.groups

    @property
    def letters(self) -> int:
        """Dead letters so far, wherever."""
        return sum(system.dead_letters.count for system in self.systems)

    async def member(self, *groups: str, at: int = 0, kind: type[Actor] = Member) -> ActorRef[Any]:
        """One that lives on the `at`-th system, as a reference of its own."""
        return await self.systems[at % len(self.systems)].spawn(kind, *groups)

    async def watcher(self) -> ActorRef[Any]:
        """One that lives where one looks."""
        return await self.systems[0].spawn(Recorder)

    async def settled(self, group: str, *members: ActorRef[Any]) -> None:
        """Wait until exactly these are in, wherever one looks."""
        addresses = sorted(member.address for member in members)
        for system in self.systems:
            await eventually(
                partial(_has, system, group, addresses), what=f"{members} are in {group} for {system.name}"
            )


def _has(system: ActorSystem, group: str, addresses: list[Address]) -> bool:
    return sorted(ref.address for ref in system.nodes.groups[group].members()) == addresses


@asynccontextmanager
async def hall(kind: str) -> AsyncIterator[Hall]:
    if kind == "alone":
        async with ActorSystem("a") as system:
            yield Hall([system])
    else:
        async with sides("a", "b", "c") as three:
            yield Hall([side.system for side in three])


def everywhere(test: Callable[[Hall], Awaitable[None]]) -> Callable[[str], Awaitable[None]]:
    """Run the test with the groups of one system, and with those of three nodes."""

    @pytest.mark.parametrize("kind", KINDS)
    async def run(kind: str) -> None:
        async with hall(kind) as there:
            await test(there)

    run.__name__ = run.__qualname__ = test.__name__
    return run


@everywhere
async def test_who_joins_is_in_and_who_leaves_is_not_and_an_empty_group_is_none(hall: Hall) -> None:
    one, other = await hall.member("party", at=1), await hall.member("party", at=2)
    await hall.settled("party", one, other)
    assert list(hall.groups) == ["party"]
    assert hall.groups.counts() == {"party": 2}
    assert len(hall.groups["party"]) == 2
    inside(one).leave("party")
    await hall.settled("party", other)
    inside(other).leave("party")
    await hall.settled("party")
    assert (list(hall.groups), len(hall.groups), hall.groups["party"].by_node()) == ([], 0, {})


@everywhere
async def test_to_join_twice_is_as_good_as_once_and_to_leave_what_one_is_not_in_is_nothing(hall: Hall) -> None:
    member = await hall.member("party", "party", at=1)
    inside(member).leave("funeral")
    await hall.settled("party", member)
    inside(member).join("party")
    inside(member).leave("party")
    inside(member).leave("party")
    await hall.settled("party")


@everywhere
async def test_one_actor_is_in_any_number_of_groups(hall: Hall) -> None:
    names = [f"group-{number}" for number in range(20)]
    member = await hall.member(*names, at=1)
    for name in names:
        await hall.settled(name, member)
    assert sorted(hall.groups) == sorted(names)
    inside(member).leave("group-7")
    await hall.settled("group-7")
    assert len(hall.groups) == 19


@pytest.mark.parametrize("end", ["stop", "exit", "kill", "crash"])
@pytest.mark.parametrize("kind", KINDS)
async def test_whoever_ends_is_in_no_group_any_more_however_it_ends(kind: str, end: str) -> None:
    class Frail(Member):
        def on_receive(self, message: Any) -> Any:
            raise ValueError("ordered")

    async with hall(kind) as there:
        frail, other = await there.member("party", "funeral", at=1, kind=Frail), await there.member("party", at=1)
        await there.settled("party", frail, other)
        frail.tell("crash") if end == "crash" else getattr(frail, end)()
        await there.settled("party", other)
        await there.settled("funeral")


@everywhere
async def test_members_are_shown_by_their_nodes(hall: Hall) -> None:
    members = [await hall.member("party", at=number) for number in range(6)]
    await hall.settled("party", *members)
    group = hall.groups["party"]
    nodes = {node: [ref.address for ref in refs] for node, refs in group.by_node().items()}
    assert nodes == {
        system.name: [ref.address for ref in members if ref.address.node == system.name] for system in hall.systems
    }
    assert [ref.address for ref in group.local()] == nodes["a"]
    assert [ref.address for ref in group.members()] == [each for refs in nodes.values() for each in refs]
    assert list(group) == list(group.members())


@everywhere
async def test_members_are_references_like_any_others(hall: Hall) -> None:
    member = await hall.member("party", at=1)
    await hall.settled("party", member)
    [ref] = hall.groups["party"]
    assert await ref.call(Me()) == ref
    assert ref in hall.groups["party"]
    assert ref not in hall.groups["funeral"]
    watcher = await hall.watcher()
    inside(watcher).monitor(ref)
    ref.tell("hello")
    assert await inside(member).first(1) == ["hello"]
    ref.kill()
    [down] = await inside(watcher).first(1)
    assert isinstance(down, Down)
    await hall.settled("party")
    assert ref not in hall.groups["party"]


# --- broadcasts ---


@everywhere
async def test_a_broadcast_reaches_every_member_once_and_nobody_else(hall: Hall) -> None:
    members = [await hall.member("party", at=number) for number in range(6)]
    stranger = await hall.member("funeral", at=1)
    await hall.settled("party", *members)
    assert hall.groups["party"].broadcast("hello") == 6
    assert hall.groups["nobody"].broadcast("hello") == 0
    for member in members:
        assert await inside(member).first(1) == ["hello"]
        member.tell("done")
        assert await inside(member).first(2) == ["hello", "done"]
    assert inside(stranger).seen == []
    assert hall.letters == 0


@everywhere
async def test_what_one_sends_arrives_in_the_order_it_was_sent_told_or_broadcast(hall: Hall) -> None:
    member = await hall.member("party", "news", at=1)
    await hall.settled("news", member)
    [ref] = hall.groups["party"]
    for number in range(0, 300, 3):
        hall.groups["party"].broadcast(number)
        ref.tell(number + 1)
        hall.groups["news"].broadcast(number + 2)
    assert await inside(member).first(300) == list(range(300))


@everywhere
async def test_a_member_without_room_is_left_out_and_that_is_a_dead_letter(hall: Hall) -> None:
    full = await hall.member("party", at=1, kind=Full)
    others = [await hall.member("party", at=number) for number in range(3)]
    await hall.settled("party", full, *others)
    full.tell("busy")
    await inside(full).first(1)
    hall.groups["party"].broadcast("one")
    hall.groups["party"].broadcast("two")
    for member in others:
        assert await inside(member).first(2) == ["one", "two"]
    await eventually(lambda: hall.letters == 1)
    assert sum(system.dead_letters.by_reason["overloaded"] for system in hall.systems) == 1
    full.kill()


@everywhere
async def test_a_thread_broadcasts_looks_and_watches_like_anybody(hall: Hall) -> None:
    members = [await hall.member("party", at=number) for number in range(3)]
    await hall.settled("party", *members)

    class Worker(ThreadActor):
        def on_receive(self, message: Any) -> Any:
            groups = self.system.nodes.groups
            seen = groups.watch(self.actor_ref, "party")["party"]
            groups.unwatch(self.actor_ref, "party")
            told = [groups["party"].broadcast(number) for number in range(50)]
            return len(seen), set(told), len(groups["party"]), groups.counts()

    worker = await hall.systems[0].spawn(Worker)
    assert await worker.call("go") == (3, {3}, 3, {"party": 3})
    for member in members:
        assert await inside(member).first(50) == list(range(50))


# --- watching ---


@everywhere
async def test_whoever_watches_hears_of_every_change_once_from_what_it_saw_on(hall: Hall) -> None:
    first = await hall.member("party", "funeral", at=1)
    await hall.settled("funeral", first)
    watcher = await hall.watcher()
    [seen] = hall.groups.watch(watcher, "party")["party"]
    second = await hall.member("party", "funeral", at=1)
    await hall.settled("party", first, second)
    inside(first).leave("party")
    await hall.settled("party", second)
    second.kill()
    await hall.settled("party")
    news = await inside(watcher).first(3)
    joined = news[0].ref
    assert news == [Joined("party", joined), Left("party", seen), Left("party", joined)]
    assert (seen.address, joined.address) == (first.address, second.address)


@everywhere
async def test_whoever_watches_all_groups_hears_of_new_ones_too(hall: Hall) -> None:
    first = await hall.member("a", "b", at=1)
    await hall.settled("b", first)
    watcher = await hall.watcher()
    seen = hall.groups.watch(watcher)
    assert {group: [ref.address for ref in refs] for group, refs in seen.items()} == {
        name: [first.address] for name in "ab"
    }
    second = await hall.member("c", at=2)
    await hall.settled("c", second)
    first.kill()
    await hall.settled("a")
    await inside(watcher).first(3)
    assert {(type(news), news.group) for news in inside(watcher).seen} == {(Joined, "c"), (Left, "a"), (Left, "b")}


@everywhere
async def test_who_watches_no_more_hears_no_more_not_even_what_waits_in_its_mailbox(hall: Hall) -> None:
    class Fickle(Recorder):
        async def on_receive(self, message: Any) -> Any:
            if message == "look away":
                hall.groups.watch(self.actor_ref, "party")
                hall.groups.watch(self.actor_ref)
                inside(here).join("party")
                inside(there).join("party")
                await hall.settled("party", here, there)  # the news is in the mailbox now
                hall.groups.unwatch(self.actor_ref, "party")
                hall.groups.unwatch(self.actor_ref)
                hall.groups.unwatch(self.actor_ref)
            super().on_receive(message)

    here, there = await hall.member(), await hall.member(at=1)
    fickle = await hall.systems[0].spawn(Fickle)
    await fickle.call("look away")
    inside(there).leave("party")
    await hall.settled("party", here)
    await fickle.call("flush")
    assert inside(fickle).seen == ["look away", "flush"]


@everywhere
async def test_watching_again_begins_afresh(hall: Hall) -> None:
    class Again(Recorder):
        async def on_receive(self, message: Any) -> Any:
            if message == "again":
                inside(member).join("party")
                await hall.settled("party", member)  # the news is in the mailbox now
                return hall.groups.watch(self.actor_ref, "party")["party"]
            return super().on_receive(message)

    member = await hall.member(at=1)
    again = await hall.systems[0].spawn(Again)
    assert hall.groups.watch(again, "party") == {"party": ()}
    [ref] = await again.call("again")
    inside(member).leave("party")
    assert await inside(again).first(1) == [Left("party", ref)]


@everywhere
async def test_a_watcher_that_has_ended_is_told_nothing(hall: Hall) -> None:
    watcher = await hall.watcher()
    hall.groups.watch(watcher, "party")
    hall.groups.watch(watcher)
    watcher.kill()
    await watcher.ended()
    await hall.settled("party", await hall.member("party", at=1))
    assert hall.groups.watch(watcher, "party")["party"] == hall.groups["party"].members()
    await hall.settled("funeral", await hall.member("funeral", at=2))
    assert hall.letters == 0


# --- what cannot be ---


@pytest.mark.parametrize("name", ["", "x" * 256, 7, "party@home"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_name_that_cannot_be_is_refused(kind: str, name: Any) -> None:
    async with hall(kind) as there:
        watcher = await there.watcher()
        with pytest.raises(ValueError, match="a group's name"):
            there.groups[name]
        with pytest.raises(ValueError, match="a group's name"):
            there.groups.watch(watcher, name)


@everywhere
async def test_only_actors_of_this_system_watch(hall: Hall) -> None:
    async with ActorSystem("elsewhere") as system:
        stranger = await system.spawn(Recorder)
        with pytest.raises(ValueError, match=r"no actor of the system 'a': an actor watches groups where it lives"):
            hall.groups.watch(stranger, "party")
        with pytest.raises(TypeError, match="reference"):
            hall.groups.watch("nobody", "party")  # type: ignore[arg-type]
