"""What groups promise, those of one system and those of all nodes alike. Written after what Erlang's `pg_SUITE` and the suites of
phoenix_pubsub check of theirs; docs/groups.md says which of their promises are kept here, and which differ on purpose.

    alone    the groups of one system; every actor lives there
    cluster  the groups of all nodes, seen from one of three; the actors live on all of them
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.helpers import eventually
from tests.players import Recorder, inside
from tests.sides import sides
from understudy.actors import Actor, ActorRef, ActorSystem, Assembly, Down, Request, message

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


class Hall:
    """`systems`: where actors live. The first of them looks."""

    def __init__(self, systems: list[ActorSystem]) -> None:
        self.systems = systems

    @property
    def groups(self) -> Assembly:
        """As the first one sees them."""
        return self.systems[0].nodes.groups

    async def member(self, *groups: str, at: int = 0) -> ActorRef[Any]:
        """One that lives on the `at`-th system, as a reference of its own system."""
        return await self.systems[at % len(self.systems)].spawn(Member, *groups)

    async def seen(self, actor: ActorRef[Any]) -> ActorRef[Any]:
        """The same one, as a reference of the first."""
        system = self.systems[0]
        if inside(actor).system is system:
            return actor
        got: Any = await system.ref(f"mirror@{inside(actor).system.name}").call(actor.address.id)
        return got  # type: ignore[no-any-return]

    async def settled(self, group: str, *members: ActorRef[Any]) -> None:
        """Wait until exactly these are in, wherever one looks."""
        for system in self.systems:
            where = {member.address for member in members}

            def agreed(system: ActorSystem = system, where: set[Any] = where) -> bool:
                return {ref.address for ref in system.nodes.groups[group].members()} == where

            await eventually(agreed, what=f"{members} are in {group} for {system.name}")


class Mirror(Actor):
    """Answers an actor's number with its reference."""

    def on_receive(self, number: int) -> Any:
        return next(
            ref for group in self.system.groups for ref in self.system.groups[group] if ref.address.id == number
        )


@asynccontextmanager
async def hall(kind: str) -> AsyncIterator[Hall]:
    async with AsyncExitStack() as stack:
        if kind == "alone":
            systems = [await stack.enter_async_context(ActorSystem("a"))]
        else:
            systems = [side.system for side in await stack.enter_async_context(sides("a", "b", "c"))]
        for system in systems:
            await system.spawn(Mirror, name="mirror")
        yield Hall(systems)


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
    inside(one).leave("party")
    await hall.settled("party", other)
    inside(other).leave("party")
    await hall.settled("party")
    assert (list(hall.groups), len(hall.groups), hall.groups["party"].by_node()) == ([], 0, {})


@everywhere
async def test_a_broadcast_reaches_every_member_and_nobody_else(hall: Hall) -> None:
    members = [await hall.member("party", at=number) for number in range(6)]
    stranger = await hall.member("funeral", at=1)
    await hall.settled("party", *members)
    assert hall.groups["party"].broadcast("hello") == 6
    for member in members:
        assert await inside(member).first(1) == ["hello"]
    assert inside(stranger).seen == []


@everywhere
async def test_members_are_references_like_any_others(hall: Hall) -> None:
    member = await hall.member("party", at=1)
    await hall.settled("party", member)
    [ref] = hall.groups["party"]
    assert await ref.call(Me()) == ref
    assert ref in hall.groups["party"]
    assert ref not in hall.groups["funeral"]
    witness = await hall.systems[0].spawn(Recorder)
    inside(witness).monitor(ref)
    ref.tell("hello")
    assert await inside(member).first(1) == ["hello"]
    ref.kill()
    [down] = await inside(witness).first(1)
    assert isinstance(down, Down)
    await hall.settled("party")
