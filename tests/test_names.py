"""A name belongs to one living actor, and a reference by name outlives it."""

import asyncio
from typing import Any

import pykka
import pytest

from tests.players import Does, Echo, Hanging, Recorder, inside
from tests.sides import Counter, Who, sides
from understudy.actors import ActorDied, ActorRef, ActorSystem, Down, ExitReason, Killed, NamedRef, NameTaken, NoProc
from understudy.actors.by_name import ByName
from understudy.supervisors import Child, Supervisor, WhichChildren
from understudy.transport.cluster_ref import ClusterRef


async def test_a_name_is_taken_while_its_actor_lives_and_free_when_its_end_is_known() -> None:
    async with ActorSystem() as system:
        first = await system.spawn(Echo, name="echo")
        with pytest.raises(NameTaken, match="free again"):
            await system.spawn(Echo, name="echo")
        first.stop()
        await first.ended()
        await system.spawn(Echo, name="echo")


async def test_the_name_is_free_when_a_down_arrives() -> None:
    free: list[bool] = []

    class Watching(Recorder):
        def on_receive(self, message: Any) -> None:
            free.append(self.system.whereis("echo") is None)
            super().on_receive(message)

    async with ActorSystem() as system:
        watching, echo = await system.spawn(Watching), await system.spawn(Echo, name="echo")
        inside(watching).monitor(echo)
        echo.kill()
        await inside(watching).first(1)
    assert free == [True]


async def test_an_ending_actor_is_not_found_but_keeps_its_name_until_its_hook_is_over() -> None:
    hook, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Echo):
        async def on_stop(self, reason: ExitReason) -> None:
            hook.set()
            await go_on.wait()

    async with ActorSystem() as system:
        slow = await system.spawn(Slow, name="slow")
        slow.stop()
        await hook.wait()
        assert system.whereis("slow") is None
        with pytest.raises(NameTaken):
            await system.spawn(Echo, name="slow")
        go_on.set()
        await slow.ended()


async def test_a_named_reference_reaches_whoever_has_the_name_now() -> None:
    async with ActorSystem() as system:
        ref = system.ref("echo")
        for life in range(3):
            echo = await system.spawn(Echo, name="echo")
            assert await ref.call(life) == life
            assert ref.address == echo.address
            assert ref.is_alive()
            ref.kill()
            assert not ref.is_alive()


async def test_a_name_that_nobody_has_is_a_dead_letter_or_a_failed_call() -> None:
    async with ActorSystem() as system:
        ref = system.ref("nobody")
        ref.tell("x")
        assert system.dead_letters.by_reason == {"no such name": 1}
        with pytest.raises(ActorDied) as died:
            await ref.call("x")
        assert died.value.reason == NoProc()
        with pytest.raises(pykka.ActorDeadError):
            await asyncio.to_thread(ref.ask, "x")
        assert await ref.ended() == NoProc()
        assert not await asyncio.to_thread(ref.stop().get)
        ref.exit()
        ref.kill()


async def test_a_monitor_on_a_name_is_on_the_actor_that_has_it_at_the_moment() -> None:
    async with ActorSystem() as system:
        recorder = await system.spawn(Recorder)
        first = await system.spawn(Does, name="n")
        token = inside(recorder).monitor(system.ref("n"))
        first.kill()
        await system.spawn(Hanging, name="n")
        assert await inside(recorder).first(1) == [Down(token, first, Killed())]
        again = inside(recorder).monitor(system.ref("nobody"))
        assert (await inside(recorder).first(2))[1] == Down(again, system.ref("nobody"), NoProc())


async def test_named_references_are_equal_by_name_and_system() -> None:
    async with ActorSystem() as one, ActorSystem() as other:
        assert one.ref("a") == one.ref("a")
        assert len({one.ref("a"), one.ref("a"), one.ref("b"), other.ref("a")}) == 3


@pytest.mark.parametrize("name", ["", "x" * 256, 7])
async def test_a_name_that_cannot_be_is_refused(name: Any) -> None:
    async with ActorSystem() as system:
        with pytest.raises(ValueError, match="1 to 255 characters"):
            await system.spawn(Echo, name=name)
        assert not system._top


async def test_a_name_with_an_at_sign_is_refused_since_a_node_follows_it() -> None:
    async with ActorSystem() as system:
        with pytest.raises(ValueError, match="'@', which stands between a name and its node"):
            await system.spawn(Echo, name="echo@home")
        assert not system._top


async def test_every_reference_prints_what_it_knows_in_one_shape() -> None:
    async with sides("stage", "attic") as (stage, attic):
        named, nameless = await stage.system.spawn(Counter, name="room/lobby"), await stage.system.spawn(Counter)
        afar: ActorRef[Any] = await attic.links.named("stage", "room/lobby").call(Who())
        assert repr(named) == f"<Counter 'room/lobby' at stage:{named.address.id}>"
        assert repr(nameless) == f"<Counter at stage:{nameless.address.id}>"
        assert repr(stage.system.ref("room/lobby")) == "<actor 'room/lobby' at stage>"
        assert repr(attic.links.named("stage", "room/lobby")) == "<actor 'room/lobby' at stage>"
        assert repr(afar) == f"<actor at stage:{named.address.id}>"


def test_whatever_can_be_done_with_a_reference_can_be_done_by_name() -> None:
    promised = {name for name in vars(ActorRef) if not name.startswith("__")} - {"_nobody"}
    promised -= {"_inspect", "_trace", "_foreign"}  # what operators ask of actors that are not of this process
    assert promised <= {*vars(NamedRef), *vars(ByName)}
    assert promised <= {*vars(ClusterRef), *vars(ByName)}


async def test_a_name_taken_over_by_a_successor_leads_to_it_at_once_and_its_groups_with_it() -> None:
    class Member(Echo):
        def on_start(self) -> None:
            self.join("members")

    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, [Child(Member, name="n")], intensity=3)
        named = system.ref("n")
        for _ in range(3):
            before = system.whereis("n")
            assert before is not None
            named.kill()
            await before.ended()
            assert not named.is_alive() or named.address != before.address
            await supervisor.call(WhichChildren())  # answered after it has dealt with that end
            assert await named.call("x") == "x"
            assert [ref.address for ref in system.groups["members"]] == [named.address]
