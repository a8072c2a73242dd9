"""What every reference promises, whether its actor lives here or on another node, and is known by its address or by a name."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pykka
import pytest

from tests.helpers import eventually
from tests.sides import Side, sides
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    CallError,
    DeadlineExceeded,
    Down,
    Exit,
    ExitReason,
    Failure,
    Killed,
    Later,
    NoProc,
    Normal,
    Refused,
    Request,
    Shutdown,
    ThreadActor,
    message,
)
from understudy.actors.deadlines import current_request
from understudy.transport import MemoryTable, Node

KINDS = ("here", "here by name", "there", "there by name", "here by the cluster's name", "there by the cluster's name")


@message("contract.do")
class Do(Request[Any]):
    """What a Servant is to do."""

    what: str
    value: Any = None


class SoldOut(Refused):
    """A refusal of the user's own."""


class Servant(Actor):
    """Does what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.later = Later()

    def on_get_state(self) -> Any:
        return self.seen

    def on_replace_state(self, state: Any) -> None:
        self.seen = state

    def on_receive(self, message: Any) -> Any:
        match message:
            case Do("note", value):
                self.seen.append(value)
                return None
            case Do("seen"):
                return list(self.seen)
            case Do("me"):
                return self.actor_ref
            case Do("left"):
                return self._left()
            case Do("refuse", str(text)):
                raise Refused(text)
            case Do("sold out"):
                raise SoldOut("no bread left")
            case Do("crash", str(text)):
                raise ValueError(text)
            case Do("sleep"):
                return asyncio.sleep(3600)
            case Do("later"):
                return self.later
            case Do("now", value):
                self.later.set(value)
                self.later = Later()
                return None
            case Do("not now"):
                self.later.fail(KeyError("lost"))
                self.later = Later()
                return None
            case _:
                return self.unhandled(message)

    async def _left(self) -> float:
        request = current_request.get()
        assert request is not None
        assert request.deadline is not None
        return request.deadline - asyncio.get_running_loop().time()


@dataclass
class Scene:
    """`servant` as `a` knows it; `actor` its own reference, where it lives; `home` that node."""

    a: Side
    home: Side
    actor: ActorRef[Any]
    servant: ActorRef[Any]
    kind: str

    @property
    def afar(self) -> bool:
        return self.home is not self.a

    @property
    def named(self) -> bool:
        """Whether it is known by a name, which the next one may have."""
        return self.kind.endswith("name")

    @property
    def clustered(self) -> bool:
        """Whether it is known by a name of the cluster: while nobody has that, messages wait."""
        return self.kind.endswith("the cluster's name")


class NodeSide(Side):
    """A node of a cluster, as a side."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.system = node.system
        self.links = node.links


@asynccontextmanager
async def in_a_cluster(kind: str) -> AsyncIterator[Scene]:
    table = MemoryTable()
    async with Node("a", table=table) as one, Node("b", table=table) as other:
        home = other if kind.startswith("there") else one
        await one.up("b")
        actor = await home.spawn(Servant, name="servant")
        await home.register("butler", actor)
        await one.names.look()
        a = NodeSide(one)
        yield Scene(a, a if home is one else NodeSide(other), actor, one.cluster_ref("butler"), kind)


@asynccontextmanager
async def setting(kind: str) -> AsyncIterator[Scene]:
    if kind.endswith("the cluster's name"):
        async with in_a_cluster(kind) as scene:
            yield scene
        return
    async with sides("a", "b") as (a, b):
        home = b if kind.startswith("there") else a
        actor = await home.system.spawn(Servant, name="servant")
        servant = a.system.ref(f"servant@{home.system.name}")
        if not kind.endswith("by name"):
            servant = await servant.call(Do("me"))
        yield Scene(a, home, actor, servant, kind)


def everywhere(test: Callable[[Scene], Awaitable[None]]) -> Callable[[str], Awaitable[None]]:
    """Run the test with every kind of reference."""

    @pytest.mark.parametrize("kind", KINDS)
    async def run(kind: str) -> None:
        async with setting(kind) as scene:
            await test(scene)

    run.__name__ = run.__qualname__ = test.__name__
    return run


async def watched(scene: Scene) -> tuple[ActorRef[Any], asyncio.Queue[Any]]:
    return await scene.a.witness()


# --- talking ---


@everywhere
async def test_tells_and_calls_arrive_in_the_order_sent(scene: Scene) -> None:
    for number in range(200):
        scene.servant.tell(Do("note", number))
    assert await scene.servant.call(Do("seen")) == list(range(200))
    await scene.servant.offer(Do("note", "offered"))
    assert (await scene.servant.call(Do("seen")))[-1] == "offered"


@everywhere
async def test_a_plain_thread_asks(scene: Scene) -> None:
    assert await asyncio.to_thread(scene.servant.ask, Do("seen"), timeout=5.0) == []
    with pytest.raises(Refused, match="not you"):
        await asyncio.to_thread(scene.servant.ask, Do("refuse", "not you"), timeout=5.0)


@everywhere
async def test_what_is_left_of_the_time_comes_with_the_call(scene: Scene) -> None:
    left = await scene.servant.call(Do("left"), timeout=3.0)
    assert 2.0 < left <= 3.0
    with pytest.raises(DeadlineExceeded):
        await scene.servant.call(Do("sleep"), timeout=0.05)


@everywhere
async def test_an_answer_may_come_later_and_others_are_served_in_between(scene: Scene) -> None:
    waiting = [asyncio.ensure_future(scene.servant.call(Do("later"))) for _ in range(3)]
    await asyncio.sleep(0)
    assert await scene.servant.call(Do("seen")) == []
    scene.servant.tell(Do("now", ["it", scene.servant]))
    assert [one[0] for one in await asyncio.gather(*waiting)] == ["it"] * 3
    failing = asyncio.ensure_future(scene.servant.call(Do("later")))
    await asyncio.sleep(0)
    scene.servant.tell(Do("not now"))
    with pytest.raises(CallError, match="the request failed: KeyError: 'lost'") as failed:
        await failing
    assert "KeyError" in "".join(traceback.format_exception(failed.value))


class Asker(ThreadActor):
    """Asks from its own thread."""

    def on_receive(self, message: ActorRef[Any]) -> Any:
        return message.ask(Do("left"), timeout=60.0)


@everywhere
async def test_what_a_thread_asks_has_no_more_time_than_the_request_it_handles(scene: Scene) -> None:
    asker = await scene.a.system.spawn(Asker)
    assert 1.0 < await asker.call(scene.servant, timeout=2.0) <= 2.0


async def test_who_asks_and_gives_up_leaves_no_open_request_on_either_node() -> None:
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Servant, name="servant")
        servant = a.system.ref("servant@b")
        here, there = a.meets(b).calls, b.meets(a).delivery._answers
        with pytest.raises(pykka.Timeout):
            await asyncio.to_thread(servant.ask, Do("later"), timeout=0.05)
        await eventually(lambda: not len(here) and not there, what="a thread that waited")
        answer = servant.ask(Do("later"), block=False)
        await eventually(lambda: there)
        del answer
        await eventually(lambda: not len(here) and not there, what="an answer that nobody has")


# --- errors ---


@everywhere
async def test_a_refusal_leaves_the_actor_alive_and_says_what_it_says(scene: Scene) -> None:
    with pytest.raises(Refused) as refused:
        await scene.servant.call(Do("refuse", "not today"))
    assert refused.value.detail == "not today"
    assert refused.value.relayed
    with pytest.raises(Refused, match="no bread left") as sold_out:
        await scene.servant.call(Do("sold out"))
    shown = "".join(traceback.format_exception(sold_out.value))
    assert "SoldOut: no bread left" in shown
    with pytest.raises(Refused, match="does not know"):
        await scene.servant.call("what?")
    assert await scene.servant.call(Do("seen")) == []


@everywhere
async def test_a_crash_tells_type_text_and_place_to_its_caller_and_to_whoever_watches(scene: Scene) -> None:
    witness, seen = await watched(scene)
    whom = await scene.servant.call(Do("me"))
    token = await witness.call(lambda me: me.monitor(whom))
    await witness.call(lambda me: me.link(whom))
    with pytest.raises(ActorDied, match="ValueError: boom") as died:
        await scene.servant.call(Do("crash", "boom"))
    reason = died.value.reason
    assert isinstance(reason, Failure)
    assert (reason.type, reason.message, reason.trace[-1][2]) == ("ValueError", "boom", "Servant.on_receive")
    news = [await seen.get(), await seen.get()]
    assert Down(token, whom, reason) in news
    assert Exit(whom, reason) in news


@pytest.mark.parametrize("kind", ["there", "there by name"])
async def test_an_error_from_another_node_shows_where_it_was_raised_there(kind: str) -> None:
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Servant, name="servant")
        servant = a.system.ref("servant@b")
        servant = servant if kind == "there by name" else await servant.call(Do("me"))
        with pytest.raises(ActorDied) as died:
            await servant.call(Do("crash", "boom" + "!" * 5_000))
        shown = "".join(traceback.format_exception(died.value))
        assert "RemoteTraceback: \nOn node b:\nTraceback (most recent call last):\n" in shown
        assert "in Servant.on_receive\nValueError: boom!!!" in shown
        assert "direct cause of the following exception" in shown
        assert len(shown) < 10_000


# --- ending ---


@everywhere
async def test_every_end_is_told_with_its_reason(scene: Scene) -> None:
    ends: list[tuple[Callable[[ActorRef[Any]], object], ExitReason]] = [
        (lambda ref: ref.exit(Shutdown("so")), Shutdown("so")),
        (lambda ref: ref.kill(), Killed()),
        (lambda ref: ref.stop(), Normal()),
    ]
    witness, seen = await watched(scene)
    for end, reason in ends:
        ref = await scene.servant.call(Do("me")) if scene.named else scene.servant
        over = asyncio.ensure_future(ref.ended(5.0))
        token = await witness.call(lambda me, ref=ref: me.monitor(ref))
        await scene.servant.call(Do("seen"))
        end(scene.servant)
        assert await over == reason
        assert await seen.get() == Down(token, ref, reason)
        scene.actor = await scene.home.system.spawn(Servant, name="servant")
        if scene.clustered:
            await scene.home.system.nodes.register("butler", scene.actor)
            assert await scene.servant.call(Do("seen")) == []
        if not scene.named:
            scene.servant = await scene.a.system.ref(f"servant@{scene.home.system.name}").call(Do("me"))


@everywhere
async def test_stop_says_whether_it_ended_the_actor_and_comes_in_its_place(scene: Scene) -> None:
    scene.servant.tell(Do("note", 1))
    assert await scene.servant.stop() is True
    assert await scene.servant.stop() is False
    with pytest.raises(DeadlineExceeded if scene.clustered else ActorDied):
        await scene.servant.call(Do("seen"), 0.1)


@everywhere
async def test_a_dead_actor_takes_no_call_and_a_tell_to_it_is_a_dead_letter(scene: Scene) -> None:
    if scene.clustered:
        return  # it waits for the next one: tests/simulation/test_cluster_refs.py
    scene.actor.kill()
    await scene.actor.ended()
    with pytest.raises(ActorDied) as died:
        await scene.servant.call(Do("seen"))
    assert died.value.reason in (Killed(), NoProc())
    before = scene.home.system.dead_letters.count
    scene.servant.tell(Do("note"))
    with pytest.raises(ActorDied):
        await scene.servant.info()
    await eventually(lambda: scene.home.system.dead_letters.count == before + 1)
    witness, seen = await watched(scene)
    token = await witness.call(lambda me: me.monitor(scene.servant))
    down = await seen.get()
    assert (down.token, down.reason) == (token, NoProc())


@everywhere
async def test_linked_actors_end_together_and_unlinked_ones_do_not(scene: Scene) -> None:
    witness, seen = await watched(scene)
    await witness.call(lambda me: me.link(scene.servant))
    await witness.call(lambda me: me.unlink(scene.servant))
    await scene.servant.call(Do("seen"))
    token = await witness.call(lambda me: me.monitor(scene.servant))
    taken_back = await witness.call(lambda me: me.monitor(scene.servant))
    await witness.call(lambda me: me.demonitor(taken_back))
    await witness.call(lambda me: me.link(scene.servant))
    await scene.servant.call(Do("seen"))
    witness.exit(Shutdown("trapped"))
    assert (await seen.get()).reason == Shutdown("trapped")
    scene.servant.kill()
    news = [await seen.get(), await seen.get()]
    assert sorted(type(one).__name__ for one in news) == ["Down", "Exit"]
    assert all(one.reason == Killed() for one in news)
    [down] = [one for one in news if isinstance(one, Down)]
    assert down.token == token
    assert seen.empty()


# --- who it is ---


@everywhere
async def test_a_reference_is_a_value_that_comes_home_as_it_left(scene: Scene) -> None:
    again = await scene.servant.call(Do("me"))
    assert again == await scene.servant.call(Do("me"))
    assert hash(again) == hash(await scene.servant.call(Do("me")))
    assert again.address.node == scene.home.system.name
    assert scene.servant.is_alive()
    assert scene.home.system.name in repr(scene.servant)
    scene.servant.tell(Do("note", [scene.servant, {"k": scene.servant}]))
    assert await scene.servant.call(Do("seen")) == [[scene.servant, {"k": scene.servant}]]
    with pytest.raises(TypeError, match="cannot be pickled"):
        scene.servant.__reduce__()


# --- operators ---


@everywhere
async def test_an_operator_sees_it_holds_it_and_lets_it_go(scene: Scene) -> None:
    system, servant = scene.a.system, scene.servant
    servant.tell(Do("note", 1))
    await servant.call(Do("seen"))
    info = await servant.info()
    assert (info.name, info.state, info.ref) == ("servant", "alive", await servant.call(Do("me")))
    assert info.handled >= 2
    assert await system.get_state(servant) == [1]
    await system.suspend(servant)
    servant.tell(Do("note", 2))
    waiting = asyncio.ensure_future(servant.call(Do("seen")))
    await asyncio.sleep(0)
    assert (await servant.info()).state == "suspended"
    assert not waiting.done()
    await system.resume(servant)
    assert await waiting == [1, 2]


@everywhere
async def test_a_trace_tells_what_it_receives_and_answers_until_it_is_closed_or_the_actor_ends(scene: Scene) -> None:
    system, servant = scene.a.system, scene.servant
    async with system.trace(servant) as trace:
        servant.tell(Do("note", "first"))
        await servant.call(Do("seen"))
        events = [await anext(trace) for _ in range(4)]
    assert [event.kind for event in events] == ["received", "handled", "received", "replied"]
    assert "first" in events[0].detail
    async with system.trace(servant) as trace:
        with pytest.raises(ActorDied):
            await servant.call(Do("crash", "boom"))
        kinds = [event.kind async for event in trace]
    assert kinds == ["received", "failed", "ended"]
    with pytest.raises(ActorDied):
        async with system.trace(servant):
            pass


@everywhere
async def test_a_trace_keeps_no_more_events_than_it_may_and_counts_those_it_drops(scene: Scene) -> None:
    async with scene.a.system.trace(scene.servant, limit=10) as trace:
        for number in range(50):
            scene.servant.tell(Do("note", number))
        await scene.servant.call(Do("seen"))
        first = await anext(trace)
        assert trace.dropped == 2 * 51 - 10
        assert first.kind == "received"
        with pytest.raises(ValueError, match="a number of events from 1 up"):
            scene.a.system.trace(scene.servant, limit=0)


@everywhere
async def test_what_cannot_be_done_from_afar_is_refused_with_the_reason(scene: Scene) -> None:
    system, servant = scene.a.system, scene.servant
    if not scene.afar:
        assert await system.replace_state(servant, lambda state: [*state, 7]) == [7]
        assert system.info(servant).name == "servant"
        assert await servant.proxy().seen == [7]
        return
    with pytest.raises(ValueError, match="a function does not cross the wire"):
        await system.replace_state(servant, lambda state: state)
    with pytest.raises(ValueError, match=r"`await ref\.info\(\)`"):
        system.info(servant)
    with pytest.raises(TypeError, match="attributes and methods do not cross the wire"):
        servant.proxy()


@everywhere
async def test_whatever_can_be_done_with_a_reference_can_be_done_with_every_one(scene: Scene) -> None:
    promised = {name for name in vars(ActorRef) if not name.startswith("__")}
    elsewhere = {"_inspect", "_trace", "_foreign"}  # what operators ask of actors that are not of this process
    in_process = {"proxy", "_actor_weakref", "_order", "_refuse_blocking"}  # refused from afar: see above
    mine = {name for kind in type(scene.servant).__mro__ if kind is not ActorRef for name in vars(kind)}
    shared = {"_nobody", "_meant", *(in_process if scene.afar else elsewhere), *({"_foreign"} if scene.afar else ())}
    assert promised - shared <= mine
