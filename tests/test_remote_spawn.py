"""Actors started on other nodes: as top-level ones, or as children of an actor here; and nothing is ever left that nobody has."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import Any

import pytest

from tests.emigrants import Emigrant, Parent, Say, Slow, Stillborn, Trapping
from tests.helpers import eventually
from tests.sides import Side, sides
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    CallError,
    Exit,
    Failure,
    NameTaken,
    NoConnection,
    NodeDown,
    NoProc,
    Normal,
    NotRegistered,
    Overloaded,
    Shutdown,
    StartFailed,
)
from understudy.transport import MemoryTable, Node, RemoteTraceback
from understudy.transport.placement import Placement
from understudy.transport.steward import STEWARD, Deputy, Forsaken, Kept, NotStarted, Show, Spawn, Steward


async def started(on: Side, by: Side, cls: Any, *args: Any, timeout: float = 5.0, name: str | None = None) -> Any:
    return await by.system.nodes.spawn_on(on.system.name, cls, args, {}, name=name, timeout=timeout)


class Frail(Parent):
    trap_exit = False


def living(side: Side, cls: type[Actor]) -> list[ActorRef[Any]]:
    return [ref for ref in side.system.actors() if getattr(ref, "kind", None) is cls]


def note(ends: list[Any], ref: Any, _: object) -> None:
    ends.append(ref)


async def test_an_actor_is_started_on_another_node_with_what_it_was_given() -> None:
    async with sides("a", "b") as (a, _):
        ref = await a.system.nodes.spawn_on(
            "b", Emigrant, (1, "x", a.system.ref("n")), {"k": [2.5]}, name="there", timeout=5.0
        )
        assert await ref.call(Say("where")) == "b"
        assert await ref.call(Say("given")) == [[1, "x", a.system.ref("n")], {"k": [2.5]}]
        assert await a.links.named("b", "there").call(Say("echo", "hi")) == "hi"
        assert (await ref.info()).parent is None, "it is a top-level actor there"


async def test_one_that_does_not_start_fails_with_its_reason_and_the_trace_of_over_there() -> None:
    async with sides("a", "b") as (a, b):
        with pytest.raises(StartFailed, match=r"<Stillborn at b:\d+> did not start: ValueError: no bread") as failed:
            await started(b, a, Stillborn, "no bread")
        assert isinstance(failed.value.reason, Failure)
        cause = failed.value.__cause__
        assert isinstance(cause, RemoteTraceback)
        assert cause.node == "b"
        assert "On node b:" in str(cause)
        assert "in Stillborn.__init__" in str(cause)
        with pytest.raises(StartFailed, match=r"Stillborn.__init__\(\) takes 2 positional"):
            await started(b, a, Stillborn, 1, 2, 3)
        assert living(b, Stillborn) == []


async def test_a_name_that_is_taken_there_is_said_so() -> None:
    async with sides("a", "b") as (a, b):
        await started(b, a, Emigrant, name="one")
        with pytest.raises(NameTaken, match="on b: the name 'one' belongs to <Emigrant 'one'"):
            await started(b, a, Emigrant, name="one")
        assert len(living(b, Emigrant)) == 1


async def test_a_class_is_found_among_those_that_are_imported_there_and_never_imported_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Local(Actor):
        pass

    async with sides("a", "b") as (a, b):
        with pytest.raises(NotRegistered, match="declared inside a function, where no other node finds it"):
            await started(b, a, Local)
        for missing in (
            "this.is.nowhere:Engine",
            "tests.emigrants:Nobody",
            "os:getcwd",
            "tests.emigrants:Actor",
            "antigravity:X",
        ):
            monkeypatch.setattr("understudy.transport.abroad.named", lambda cls, missing=missing: missing)
            with pytest.raises(
                NotRegistered, match=f"b: no actor class '{missing}' is imported on that node: import its module"
            ):
                await started(b, a, Emigrant)
        assert await b.system.ref("understudy/steward").info()


async def test_arguments_that_may_not_cross_are_refused_at_the_spawner() -> None:
    async with sides("a", "b") as (a, b):
        with pytest.raises(NotRegistered, match="object may not cross"):
            await started(b, a, Emigrant, object())
        assert living(b, Emigrant) == []


async def test_what_cannot_be_meant_is_refused_where_it_is_said() -> None:
    async with sides("a", "b") as (a, b):
        wrong: list[tuple[type[Exception], str, dict[str, Any]]] = [
            (TypeError, "a subclass of Actor", {"cls": int}),
            (ValueError, "no '@'", {"name": "x@b"}),
            (ValueError, "a timeout is", {"timeout": -1.0}),
            (ValueError, "a timeout is", {"timeout": math.nan}),
        ]
        for kind, text, given in wrong:
            with pytest.raises(kind, match=text):
                await started(b, a, **{"cls": Emigrant, **given})
        for name in ("x@", "@b", "x@y@b", "x@" + "n" * 201, "x@" + "n" * 300):
            with pytest.raises(ValueError, match="name"):
                a.system.ref(name)
        with pytest.raises(TypeError, match="name of a node first"):
            await a.system.nodes.spawn_on(3, Emigrant, (), {}, name=None, timeout=1.0)  # type: ignore[arg-type]
        assert living(b, Emigrant) == []


async def test_on_a_node_that_is_not_up_nothing_is_started_and_that_is_said_at_once() -> None:
    async with sides("a") as (a,):
        with pytest.raises(NodeDown, match="the node 'nowhere' died: no connection: no node 'nowhere' is up"):
            await a.system.nodes.spawn_on("nowhere", Emigrant, (), {}, name=None, timeout=math.inf)
    async with ActorSystem("alone") as system:
        parent = await system.spawn(Parent)
        with pytest.raises(ActorDied, match="the system 'alone' is no node: `async with Node"):
            await parent.call(("spawn", "b", Emigrant))
        with pytest.raises(NodeDown, match="is no node"):
            system.ref("engine@engine-1")


async def test_whoever_wants_a_node_waits_for_it() -> None:
    table = MemoryTable()
    async with Node("a", table=table) as a:
        await a.up("a", 0.0)
        with pytest.raises(NodeDown, match=r"the node 'b' died: no connection: it was not there within 0\.01 s"):
            await a.up("b", timeout=0.01)
        coming = asyncio.ensure_future(a.up("b"))
        await asyncio.sleep(0)
        async with Node("b", table=table):
            await coming
            assert await (await a.spawn_on("b", Emigrant)).call(Say("where")) == "b"


async def test_ones_own_node_is_a_node_like_any_other() -> None:
    async with Node("a") as a:
        ref = await a.spawn_on("a", Emigrant, 1, name="here")
        assert ref is a.system.whereis("here")
        assert a.system.ref("here@a") == a.system.ref("here")
        with pytest.raises(StartFailed, match="took longer than"):
            await a.spawn_on("a", Slow, 60.0, timeout=0.01)


@pytest.mark.parametrize("way", ["late", "cancelled"])
async def test_one_that_nobody_waits_for_any_more_is_ended_whether_it_has_started_or_not(way: str) -> None:
    async with sides("a", "b") as (a, b):
        if way == "late":
            with pytest.raises(StartFailed, match="should it start after all, it is ended"):
                await started(b, a, Slow, 60.0, timeout=0.1)
        else:
            spawning = asyncio.ensure_future(started(b, a, Slow, 60.0, timeout=60.0))
            await eventually(lambda: living(b, Slow))
            spawning.cancel()
            with pytest.raises(asyncio.CancelledError):
                await spawning
        await eventually(lambda: not living(b, Slow))
        assert not len(a.meets(b).calls)
        await eventually(lambda: not b.meets(a).delivery._answers)
        # The answer is under way, and whoever waits is cancelled before it comes.
        spawning = asyncio.ensure_future(started(b, a, Emigrant))
        await eventually(lambda: living(b, Emigrant))
        spawning.cancel()
        await asyncio.wait((spawning,))
        if spawning.cancelled():
            await eventually(lambda: not living(b, Emigrant))


async def test_a_top_level_actor_outlives_its_spawners_node_unless_nobody_there_ever_got_its_reference() -> None:
    async with sides("a", "b") as (a, b):
        await started(b, a, Emigrant, name="kept")
        spawning = asyncio.ensure_future(started(b, a, Slow, 0.3, name="unheard"))
        await eventually(lambda: living(b, Slow))
        a.die()
        with pytest.raises(NodeDown):
            await spawning
        b.links.bury(a.links.me, NoConnection("killed by the test"))
        await eventually(lambda: not living(b, Slow))
        await asyncio.sleep(0)
        kept = b.system.whereis("kept")
        assert kept is not None
        assert await kept.call(Say("echo", "here")) == "here"


# --- children ---


async def test_the_end_of_a_child_elsewhere_reaches_its_parent_with_the_true_reason_however_soon() -> None:
    async with sides("a", "b") as (a, b):
        made: list[Parent] = []

        class Watching(Parent):
            def on_start(self) -> None:
                made.append(self)

        parent = await a.system.spawn(Watching)
        child = await parent.call(("spawn", "b", Emigrant))
        with pytest.raises(ActorDied):
            await child.call(Say("raise", "boom"))
        exit_ = await made[0].seen.get()
        assert isinstance(exit_, Exit)
        assert isinstance(exit_.reason, Failure)
        assert (exit_.sender, exit_.reason.type, exit_.reason.message) == (child, "ValueError", "boom")
        assert exit_.reason.trace[-1][2] == "Emigrant.on_receive"
        child = await parent.call(("spawn", "b", Emigrant))
        child.stop()
        assert await made[0].seen.get() == Exit(child, Normal())

        class Hasty(Steward):
            """The child dies between its start and the news that its parent has it."""

            def _keep(self, key: Any) -> None:
                order = self._orders[key]
                assert order.made is not None
                order.made.kill()
                self.system.loop.call_soon(super()._keep, key)

        [steward] = living(b, Steward)
        await steward.stop()
        await b.system.spawn(Hasty, Placement(b.links), name="understudy/steward")
        child = await parent.call(("spawn", "b", Emigrant))
        exit_ = await made[0].seen.get()
        assert str(exit_.reason) == "killed"


@pytest.mark.parametrize("how", ["stop", "crash", "kill", "its node"])
async def test_children_elsewhere_end_with_their_parent_whatever_ends_it_and_whatever_they_trap_the_last_one_first(
    how: str,
) -> None:
    async with sides("a", "b") as (a, b):
        parent = await a.system.spawn(Parent)
        children = [await parent.call(("spawn", "b", Trapping)) for _ in range(3)]
        await children[-1].call(Say("echo"))  # what was said before has arrived there, too
        ends: list[Any] = []
        here = living(b, Trapping)
        waiting = [asyncio.ensure_future(ref.ended()) for ref in here]
        for ref, task in zip(here, waiting):
            task.add_done_callback(partial(note, ends, ref))
        await asyncio.sleep(0)
        match how:
            case "stop":
                parent.stop()
            case "crash":
                parent.tell(("crash",))
            case "kill":
                parent.kill()
            case _:
                a.die()
                b.links.bury(a.links.me, NoConnection("killed by the test"))
        reasons = await asyncio.gather(*waiting)
        assert reasons == [Shutdown("its parent ended")] * 3
        await asyncio.sleep(0)
        assert ends == here[::-1]
        await eventually(lambda: not living(b, Deputy))


async def test_a_parent_that_does_not_trap_dies_of_its_child_elsewhere_unless_that_ends_normally() -> None:
    async with sides("a", "b") as (a, _):
        parent = await a.system.spawn(Frail)
        child = await parent.call(("spawn", "b", Emigrant))
        child.stop()
        assert await child.ended() in (Normal(), NoProc())
        child = await parent.call(("spawn", "b", Emigrant))
        unlinked = await parent.call(("spawn", "b", Emigrant))
        await parent.call(lambda me: me.unlink(unlinked))
        with pytest.raises(ActorDied):
            await unlinked.call(Say("raise", "not tied any more"))
        assert await child.call(Say("where")) == "b"
        with pytest.raises(ActorDied):
            await child.call(Say("raise", "boom"))
        reason = await parent.ended(5.0)
        assert isinstance(reason, Failure)
        assert reason.message == "boom"


async def test_a_start_elsewhere_passes_a_full_outbox() -> None:
    async with sides("a", "b") as (a, b):
        link = a.meets(b)
        link.full = True
        with pytest.raises(Overloaded):
            a.links.named("b", "nobody").tell(None)
        ref = await started(b, a, Emigrant)
        assert living(b, Emigrant) != []
        link.full = False
        assert await ref.call(Say("where")) == "b"


async def test_nonsense_from_another_node_is_refused_and_harms_no_steward() -> None:
    async with sides("a", "b") as (a, b):
        steward = a.links.named("b", STEWARD)
        me = a.system.ref(STEWARD)
        for nonsense in (
            Spawn("1", me, None, "x", (), {}, None, 1.0),  # type: ignore[arg-type]
            Spawn(1, None, None, "x", (), {}, None, 1.0),  # type: ignore[arg-type]
            Spawn(1, me, "owner", "x", (), {}, None, 1.0),  # type: ignore[arg-type]
            Spawn(1, me, None, ["x"], (), {}, None, 1.0),  # type: ignore[arg-type]
            Spawn(1, me, None, "x", (), [], None, 1.0),  # type: ignore[arg-type]
            Kept([], {}),  # type: ignore[arg-type]
            Forsaken(1, []),  # type: ignore[arg-type]
            Show("ref", "info", 1.0),  # type: ignore[arg-type]
        ):
            with pytest.raises(CallError):
                await steward.call(nonsense)
        with pytest.raises(CallError, match="does not know how to show 'secrets'"):
            await steward.call(Show(steward, "secrets", 1.0))
        name = "tests.emigrants:Emigrant"
        for odd in (Spawn(1, me, None, name, (), {1: 2}, None, 1.0), Spawn(2, me, None, name, (), {}, "a@b", 1.0)):  # type: ignore[dict-item]
            assert isinstance(await steward.call(odd), NotStarted)
        assert (await b.system.ref(STEWARD).info()).state == "alive"


async def test_a_child_elsewhere_obeys_its_parent_and_no_stranger() -> None:
    async with sides("a", "b") as (a, _):
        parent = await a.system.spawn(Parent)
        child = await parent.call(("spawn", "b", Trapping))
        child.exit(Shutdown("says a stranger"))
        assert await child.call(Say("echo", "still here")) == "still here"
        ending = asyncio.ensure_future(child.ended())
        await asyncio.sleep(0)
        await parent.call(lambda me: child.exit(Shutdown("says its parent")))
        assert await ending == Shutdown("says its parent")


async def test_the_loss_of_its_node_is_the_end_of_a_child_for_its_parent() -> None:
    async with sides("a", "b") as (a, b):
        made: list[Parent] = []

        class Watching(Parent):
            def on_start(self) -> None:
                made.append(self)

        parent = await a.system.spawn(Watching)
        child = await parent.call(("spawn", "b", Emigrant))
        b.die()
        a.links.bury(b.links.me, NoConnection("killed by the test"))
        exit_ = await made[0].seen.get()
        assert (exit_.sender, exit_.reason) == (child, NoConnection("killed by the test"))


async def test_a_node_in_a_system_that_goes_on_leaves_nothing_in_it() -> None:
    async with ActorSystem("a") as system:
        async with Node("a", system=system):
            assert await system.ref("understudy/steward").info()
        await eventually(lambda: not system.actors())
        async with Node("a", system=system) as again:
            assert again.incarnation > 0, "the next one begins as the first did"
        await eventually(lambda: not system.actors())
        with pytest.raises(CallError, match="is no node"):
            await system.nodes.spawn_on("b", Emigrant, (), {}, name=None, timeout=1.0)
