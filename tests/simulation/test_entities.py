"""Entities: one actor for each key, wherever it is and whenever somebody needs it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    DeadLetter,
    Down,
    ExitReason,
    Failure,
    Killed,
    Later,
    NodeDown,
    NoProc,
    Normal,
    NoRoom,
    Overloaded,
    Request,
    Shutdown,
    StartFailed,
    message,
)
from understudy.simulation import Cluster, Simulation
from understudy.transport import Node


@message("test.entities.say")
class Say:
    """Put down in the chronicle."""

    text: str


@message("test.entities.who")
class Who(Request[list[Any]]):
    """Answered with the node, the fence, and what this life was told."""


@message("test.entities.order")
class Do:
    """crash, stop, or wait: so many seconds."""

    what: str
    seconds: float = 0.0


@dataclass
class Life:
    """One life of an entity."""

    key: str
    node: str
    fence: int
    told: list[str] = field(default_factory=list)
    ended: ExitReason | None = None


@dataclass
class Chronicle:
    """What all the rooms went through, as nobody inside can know it."""

    lives: list[Life] = field(default_factory=list)
    starts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    broken: set[str] = field(default_factory=set)
    slow_start: float = 0.0
    slow_stop: float = 0.0

    def of(self, key: str) -> list[Life]:
        return [life for life in self.lives if life.key == key]

    def told(self, key: str) -> list[str]:
        return [text for life in self.of(key) for text in life.told]


class Room(Actor):
    """Remembers what it was told."""

    def __init__(self, key: str, chronicle: Chronicle) -> None:
        super().__init__()
        self.key = key
        self.chronicle = chronicle

    async def on_start(self) -> None:
        self.chronicle.starts[self.key] += 1
        if self.chronicle.slow_start:
            await asyncio.sleep(self.chronicle.slow_start)
        if self.key in self.chronicle.broken:
            raise ValueError(f"{self.key} is broken")
        self.life = Life(self.key, self.system.name, self.fence)
        self.chronicle.lives.append(self.life)

    def on_receive(self, message: Any) -> Any:
        match message:
            case Say(text):
                self.life.told.append(text)
                return None
            case Who():
                return [self.life.node, self.life.fence, self.life.told]
            case Do("crash"):
                raise ValueError("as it was told")
            case Do("wait", seconds):
                return self._wait(seconds)
            case _:
                return self.unhandled(message)

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def on_stop(self, reason: ExitReason) -> None:
        if self.chronicle.slow_stop:
            await asyncio.sleep(self.chronicle.slow_stop)
        self.life.ended = reason


@asynccontextmanager
async def street(
    simulation: Simulation, *, guests: tuple[str, ...] = ("a",), hosts: tuple[str, ...] = ("b", "c"), **options: Any
) -> AsyncGenerator[tuple[Cluster, Chronicle], None]:
    """A cluster of nodes that have guests and nodes that host rooms."""
    chronicle = Chronicle()

    async def host(node: Node) -> None:
        node.host("room", Room, chronicle, **options)

    async with Cluster(simulation) as cluster:
        await asyncio.gather(*(cluster.start(name) for name in guests), *(cluster.start(name, host) for name in hosts))
        await cluster.met()
        await asyncio.sleep(0.5)
        yield cluster, chronicle


@pytest.mark.seeds(10)
async def test_an_entity_starts_with_the_first_message_and_is_the_same_from_everywhere(simulation: Simulation) -> None:
    async with street(simulation, guests=("a", "d")) as (cluster, chronicle):
        lobby = cluster.node("a").entity("room", "lobby")
        assert chronicle.starts == {}
        lobby.tell(Say("hello"))
        node, fence, told = await lobby.call(Who())
        assert (node in "bc", fence > 0, told) == (True, True, ["hello"])
        for name in "abcd":
            assert await cluster.node(name).entity("room", "lobby").call(Who()) == [node, fence, ["hello"]]
        assert chronicle.starts == {"lobby": 1}
        for name in "bc":
            owner = cluster.node(name).names.owner("room/lobby")
            assert owner is not None
            assert (owner.node, owner.fence) == (node, fence)


@pytest.mark.seeds(20)
async def test_many_that_send_at_once_start_one_and_none_of_their_messages_is_lost(simulation: Simulation) -> None:
    nodes = ("b", "c", "d", "e")
    async with street(simulation, guests=("a",), hosts=nodes) as (cluster, chronicle):
        refs = {name: cluster.node(name).entity("room", "lobby") for name in ("a", *nodes)}
        for number in range(5):
            for name, ref in refs.items():
                await cluster.run(name, _tell(ref, Say(f"{name}{number}")))
        for name, ref in refs.items():
            assert len(await cluster.run(name, ref.call(Who()))) == 3
        [life] = chronicle.lives
        for name in refs:
            assert [text for text in life.told if text[0] == name] == [f"{name}{number}" for number in range(5)]
        assert len(life.told) == 25


async def test_an_idle_entity_ends_and_gives_its_name_up_and_the_next_message_starts_it_again(
    simulation: Simulation,
) -> None:
    async with street(simulation, idle=60.0) as (cluster, chronicle):
        a = cluster.node("a")
        lobby = a.entity("room", "lobby")
        for number in range(5):
            lobby.tell(Say(str(number)))
            await asyncio.sleep(40)
        [life] = chronicle.lives
        assert (life.told, life.ended) == (["0", "1", "2", "3", "4"], None)
        await asyncio.sleep(40)
        assert isinstance(life.ended, Normal)
        await a.names.look()
        assert a.names.owner("room/lobby") is None
        assert all(len(cluster.node(name).entities.host) == 0 for name in "bc")
        _, fence, told = await lobby.call(Who())
        assert (fence > life.fence, told) == (True, [])


async def test_what_works_is_not_idle(simulation: Simulation) -> None:
    async with street(simulation, idle=10.0) as (cluster, chronicle):
        lobby = cluster.node("a").entity("room", "lobby")
        lobby.tell(Do("wait", 100.0))
        await asyncio.sleep(99)
        assert chronicle.lives[0].ended is None
        await asyncio.sleep(20)
        assert chronicle.lives[0].ended == Normal()


@pytest.mark.seeds(10)
async def test_what_is_sent_while_it_ends_is_handled_by_the_next_life_in_order_and_none_is_lost(
    simulation: Simulation,
) -> None:
    async with street(simulation) as (cluster, chronicle):
        chronicle.slow_stop = simulation.delay(0.0, 0.3, "the hook takes")
        refs = {name: cluster.node(name).entity("room", "lobby") for name in "abc"}
        for number in range(300):
            for name, ref in refs.items():
                await cluster.run(name, _tell(ref, Say(f"{name}{number}")))
            if simulation.chance(0.05, "it is stopped"):
                refs[simulation.choose("abc", "by")].stop()
            await asyncio.sleep(simulation.delay(0.0, 0.02, "pause"))
        for name, ref in refs.items():
            await cluster.run(name, ref.call(Who()))
        told = chronicle.told("lobby")
        for name in refs:
            assert [text for text in told if text[0] == name] == [f"{name}{number}" for number in range(300)]
        assert sum(node.system.dead_letters.count for node in map(cluster.node, "abc")) == 0
        _alone(chronicle)


@pytest.mark.seeds(20)
async def test_calls_and_offers_are_kept_for_the_next_life_too(simulation: Simulation) -> None:
    async with street(simulation) as (cluster, chronicle):
        chronicle.slow_stop = 0.2
        lobby = cluster.node("a").entity("room", "lobby")
        first = await lobby.call(Who())
        stopped = lobby.stop()
        await asyncio.sleep(0.1)
        lobby.tell(Say("told"))
        second = asyncio.create_task(cluster.run("a", lobby.call(Who())))
        await cluster.run("a", lobby.offer(Say("offered")))
        assert await stopped
        _, fence, _ = await second
        assert fence > first[1]
        assert (await lobby.call(Who()))[2] == ["told", "offered"]
        assert (chronicle.lives[0].told, chronicle.lives[0].ended) == ([], Normal())


@pytest.mark.seeds(10)
async def test_one_that_crashes_is_started_by_the_next_message_and_its_fence_grows(simulation: Simulation) -> None:
    async with street(simulation) as (cluster, chronicle):
        for name in "ab":
            lobby = cluster.node(name).entity("room", "lobby")
            before = await lobby.call(Who())
            with pytest.raises(ActorDied) as death:
                await lobby.call(Do("crash"))
            assert isinstance(death.value.reason, Failure)
            assert death.value.reason.message == "as it was told"
            lobby.tell(Say("after"))
            after = await lobby.call(Who())
            assert (after[1] > before[1], after[2]) == (True, ["after"])
        _alone(chronicle)


async def test_one_that_does_not_start_says_why_to_callers_and_is_not_tried_again_and_again(
    simulation: Simulation,
) -> None:
    async with street(simulation) as (cluster, chronicle):
        letters: list[DeadLetter] = []
        for name in "ab":
            chronicle.broken.add(name)
            node = cluster.node(name)
            node.system.hooks.subscribe(DeadLetter, letters.append)
            ref = node.entity("room", name)
            ref.tell(Say("lost"))
            with pytest.raises(StartFailed) as failed:
                await ref.call(Who())
            assert isinstance(failed.value.reason, Failure)
            assert failed.value.reason.message == f"{name} is broken"
            assert f"room/{name}" in str(failed.value)
            for _ in range(200):
                with pytest.raises(StartFailed):
                    await ref.call(Who())
                await asyncio.sleep(0.05)
            assert chronicle.starts[name] < 20
            assert [(letter.target, letter.message, letter.reason) for letter in letters] == [
                (ref, Say("lost"), "no entity")
            ]
            letters.clear()
            chronicle.broken.clear()
            await asyncio.sleep(6)
            assert (await ref.call(Who()))[2] == []


@pytest.mark.seeds(10)
async def test_when_its_node_dies_calls_say_so_and_the_next_message_has_it_elsewhere(simulation: Simulation) -> None:
    async with street(simulation, hosts=("b", "c", "d")) as (cluster, _):
        a = cluster.node("a")
        letters: list[DeadLetter] = []
        a.system.hooks.subscribe(DeadLetter, letters.append)
        lobby = a.entity("room", "lobby")
        node, fence, _ = await lobby.call(Who())
        cluster.crash(node)
        lobby.tell(Say("into the dark"))
        call = asyncio.create_task(cluster.run("a", lobby.call(Who(), timeout=30)))
        with pytest.raises(NodeDown):
            await call
        await asyncio.sleep(0.1)
        assert [(letter.message, letter.fate_unknown) for letter in letters] == [(Say("into the dark"), True)]
        elsewhere, later, told = await lobby.call(Who())
        assert (elsewhere != node, later > fence, told) == (True, True, [])


@pytest.mark.seeds(10)
async def test_a_drain_hands_everything_over_and_nothing_is_lost(simulation: Simulation) -> None:
    async with street(simulation) as (cluster, chronicle):
        chronicle.slow_stop = 0.1
        refs = {
            (name, key): cluster.node(name).entity("room", key) for name in "abc" for key in ("hall", "attic", "yard")
        }
        b = cluster.node("b")
        sent = 0

        async def talk() -> None:
            nonlocal sent
            while True:
                for (name, _), ref in refs.items():
                    await cluster.run(name, _tell(ref, Say(f"{name}{sent}")))
                sent += 1
                await asyncio.sleep(simulation.delay(0.0, 0.05, "pause"))

        talking = asyncio.create_task(talk())
        await asyncio.sleep(1)
        assert str(await cluster.run("b", b.drain(30))).startswith("b has drained")
        assert len(b.entities.host) == 0
        await asyncio.sleep(1)
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        for (name, key), ref in refs.items():
            assert (await cluster.run(name, ref.call(Who())))[0] == "c"
            assert [text for text in chronicle.told(key) if text[0] == name] == [f"{name}{n}" for n in range(sent)]
        assert sum(node.system.dead_letters.count for node in map(cluster.node, "abc")) == 0
        _alone(chronicle)


@pytest.mark.seeds(20)
async def test_one_that_still_starts_when_its_node_drains_is_handed_over_and_nothing_is_lost(
    simulation: Simulation,
) -> None:
    async with street(simulation, hosts=("b",)) as (cluster, chronicle):
        chronicle.slow_start = 1.0
        lobby = cluster.node("a").entity("room", "lobby")
        await cluster.run("a", _tell(lobby, Say("first")))
        asked = asyncio.create_task(cluster.run("a", lobby.call(Who(), 30.0)))
        await asyncio.sleep(simulation.delay(0.0, 1.2, "it starts"))

        async def host(node: Node) -> None:
            node.host("room", Room, chronicle)

        started = asyncio.create_task(cluster.start("c", host))
        assert (await cluster.run("b", cluster.node("b").drain(30.0))).complete
        await started
        await cluster.run("a", _tell(lobby, Say("second")))
        where, _, _ = await cluster.run("a", lobby.call(Who(), 30.0))
        assert where == "c"
        assert (await asked)[0] in {"b", "c"}
        assert chronicle.told("lobby") == ["first", "second"]
        assert sum(node.system.dead_letters.count for node in map(cluster.node, "abc")) == 0
        _alone(chronicle)


async def test_a_kind_that_nobody_hosts_is_said_so(simulation: Simulation) -> None:
    async with street(simulation) as (cluster, _):
        a = cluster.node("a")
        letters: list[DeadLetter] = []
        a.system.hooks.subscribe(DeadLetter, letters.append)
        ref = a.entity("romo", "lobby")
        ref.tell(Say("lost"))
        with pytest.raises(NoRoom, match="no node hosts 'romo', so there is no 'romo/lobby'; what is hosted: 'room'"):
            await ref.call(Who())
        await asyncio.sleep(0.1)
        assert [letter.reason for letter in letters] == ["no entity"]


@pytest.mark.seeds(10)
async def test_who_hosts_no_more_hands_over_and_is_not_asked_again(simulation: Simulation) -> None:
    async with street(simulation) as (cluster, chronicle):
        refs = [cluster.node("a").entity("room", str(number)) for number in range(6)]
        for ref in refs:
            await ref.call(Who())
        assert {life.node for life in chronicle.lives} == {"b", "c"}
        b = cluster.node("b")
        await cluster.run("b", b.unhost("room"))
        with pytest.raises(ValueError, match="does not host 'room'; it hosts none"):
            await b.unhost("room")
        for ref in refs:
            assert (await ref.call(Who()))[0] == "c"
        assert (await b.entity("room", "0").call(Who()))[0] == "c"
        await cluster.run("b", _call(b.host, "room", Room, chronicle))
        with pytest.raises(ValueError, match="hosts 'room' already"):
            b.host("room", Room, chronicle)


def _alone(chronicle: Chronicle) -> None:
    """Of each entity one life after the other, each with a fence higher than the last."""
    for key in {life.key for life in chronicle.lives}:
        lives = chronicle.of(key)
        fences = [life.fence for life in lives]
        assert fences == sorted(set(fences)), f"{key}: {fences}"


async def _tell(ref: ActorRef[Any], message: Any) -> None:
    ref.tell(message)


async def _call(function: Any, *args: Any) -> None:
    function(*args)


async def test_a_host_at_its_capacity_takes_no_more_and_the_next_one_does_until_all_are_full(
    simulation: Simulation,
) -> None:
    chronicle = Chronicle()
    async with Cluster(simulation) as cluster:
        a = await cluster.start("a")
        for name in "bc":
            node = await cluster.start(name, capacity=2)
            node.host("room", Room, chronicle)
        await cluster.met()
        await asyncio.sleep(1.5)
        said = await asyncio.gather(*(cluster.run("a", a.entity("room", str(n)).call(Who())) for n in range(4)))
        assert sorted(node for node, *_ in said) == ["b", "b", "c", "c"]
        with pytest.raises(NoRoom, match=r"no node has room for 'room/4': b is full.*; c is full"):
            await a.entity("room", "4").call(Who())
        assert await a.entity("room", "0").stop()
        await asyncio.sleep(1.5)
        assert (await a.entity("room", "4").call(Who()))[0] == said[0][0]


async def test_a_kind_is_hosted_by_nodes_of_its_role_alone(simulation: Simulation) -> None:
    chronicle = Chronicle()

    async def host(node: Node) -> None:
        node.host("room", Room, chronicle, role="stage")

    async with Cluster(simulation) as cluster:
        a = await cluster.start("a", host)
        await cluster.start("b", host, roles=("stage",))
        await cluster.met()
        for number in range(5):
            assert (await cluster.run("a", a.entity("room", str(number)).call(Who())))[0] == "b"


@pytest.mark.seeds(10)
async def test_a_monitor_starts_it_and_says_of_the_entity_that_it_ended_and_why(simulation: Simulation) -> None:
    async with street(simulation) as (cluster, chronicle):
        for name in "ab":
            node = cluster.node(name)
            seen: list[Any] = []
            lobby = node.entity("room", name)
            watcher = await cluster.run(name, node.spawn(Watcher, lobby, seen))
            assert (await lobby.call(Who()))[2] == []
            await lobby.stop()
            await watcher.call("wait")
            with pytest.raises(ActorDied):
                await lobby.call(Do("crash"))
            await watcher.call("wait")
            assert (await lobby.call(Who()))[2] == []
            assert chronicle.starts[name] == 3  # each by a monitor; another begins with the next end
            lobby.kill()
            await watcher.call("wait")
            ends = [down.reason for down in seen]
            assert [type(reason) for reason in ends] == [Normal, Failure, Killed]
            assert all(down.ref == lobby for down in seen)
            await watcher.call("no more")
            await asyncio.sleep(1)
            await lobby.stop()
            await asyncio.sleep(1)
            assert len(seen) == 3


async def test_a_link_to_an_entity_ends_the_other_side(simulation: Simulation) -> None:
    async with street(simulation) as (cluster, chronicle):
        for name in "ab":
            node = cluster.node(name)
            lobby = node.entity("room", name)
            first = await cluster.run(name, node.spawn(Linked, lobby))
            await lobby.call(Who())
            with pytest.raises(ActorDied):
                await lobby.call(Do("crash"))
            reason = await first.ended(5)
            assert isinstance(reason, Failure)
            second = await cluster.run(name, node.spawn(Linked, lobby))
            await lobby.call(Who())
            life = chronicle.of(name)[-1]
            second.exit(Shutdown("enough"))
            await second.ended(5)
            await asyncio.sleep(1)
            assert life.ended == Shutdown("enough")


@pytest.mark.seeds(5)
async def test_what_ends_it_or_looks_at_it_does_not_start_it(simulation: Simulation) -> None:
    async with street(simulation) as (cluster, chronicle):
        for name in "ab":
            lobby = cluster.node(name).entity("room", name)
            lobby.kill()
            lobby.exit(Shutdown())
            assert await lobby.stop() is False
            assert not lobby.is_alive()
            assert isinstance(await lobby.ended(), NoProc)
            with pytest.raises(ActorDied):
                await lobby.info()
            assert chronicle.starts[name] == 0
            node, *_ = await lobby.call(Who())
            info = await lobby.info()
            assert (info.name, info.ref.address.node) == (f"room/{name}", node)
            await cluster.node(name).system.suspend(lobby)
            await cluster.node(name).system.resume(lobby)
            assert lobby.is_alive()
            assert lobby.address.node == node
            ended = asyncio.create_task(cluster.run(name, lobby.ended(5)))
            await asyncio.sleep(0.1)
            lobby.exit(Shutdown("go"))
            assert await ended == Shutdown("go")


async def test_references_cross_the_wire_as_kind_and_key(simulation: Simulation) -> None:
    async with street(simulation) as (cluster, _):
        a, b = cluster.node("a"), cluster.node("b")
        await cluster.run("b", b.spawn(Echo, name="echo"))
        lobby = a.entity("room", "ada@example.com")
        assert await a.ref("echo@b").call(Pass(lobby)) == [lobby, ["b", "room", "ada@example.com"]]


async def test_a_thousand_wait_for_ten_seconds_and_what_is_more_or_longer_is_a_dead_letter(
    simulation: Simulation,
) -> None:
    async with street(simulation, hosts=("b",)) as (cluster, chronicle):
        a = cluster.node("a")
        letters: list[DeadLetter] = []
        a.system.hooks.subscribe(DeadLetter, letters.append)
        lobby = a.entity("room", "lobby")
        chronicle.slow_start = 20.0
        for number in range(1_005):
            lobby.tell(Say(str(number)))
        with pytest.raises(Overloaded, match="1,000 messages wait"):
            await lobby.call(Who(), timeout=5)
        await asyncio.sleep(9)
        assert [letter.reason for letter in letters] == ["overloaded"] * 5
        await asyncio.sleep(2)
        assert len(letters) == 1_005
        assert letters[-1].reason == "no entity"
        late = asyncio.create_task(cluster.run("a", lobby.call(Who(), timeout=60)))
        assert (await late)[2] == []


async def test_ways_that_nobody_uses_are_forgotten_and_found_again(simulation: Simulation) -> None:
    async with street(simulation) as (cluster, _):
        a = cluster.node("a")
        refs = [a.entity("room", str(number)) for number in range(50)]
        for ref in refs:
            ref.tell(Say("hello"))
        await asyncio.sleep(1)
        assert len(a.entities.routes) == 50
        await asyncio.sleep(70)
        refs[7].tell(Say("again"))
        await asyncio.sleep(60)
        assert len(a.entities.routes) == 1
        assert (await refs[3].call(Who()))[2] == ["hello"]
        assert (await refs[7].call(Who()))[2] == ["hello", "again"]


async def test_one_whose_name_is_taken_ends_at_once(simulation: Simulation) -> None:
    async with street(simulation, hosts=("b", "c", "d")) as (cluster, chronicle):
        lobby = cluster.node("a").entity("room", "lobby")
        node, fence, _ = await lobby.call(Who())
        cluster.pause(node)
        await asyncio.sleep(15)
        elsewhere, later, _ = await lobby.call(Who())
        assert (elsewhere != node, later > fence) == (True, True)
        cluster.resume(node)
        await cluster.node(node).ended()
        assert len(cluster.node(node).entities.host) == 0
        _alone(chronicle)


class Watcher(Actor):
    """Monitors an entity again and again; a call of "wait" is answered when it has been told of an end."""

    def __init__(self, whom: ActorRef[Any], seen: list[Any]) -> None:
        super().__init__()
        self.whom = whom
        self.seen = seen
        self.waiting: list[Later] = []
        self.told = 0

    def on_start(self) -> None:
        self.token = self.monitor(self.whom)

    def on_receive(self, message: Any) -> Any:
        match message:
            case Down():
                self.seen.append(message)
                self.told += 1
                self.token = self.monitor(self.whom)
            case "wait":
                later = Later()
                self.waiting.append(later)
                self._answer()
                return later
            case _:
                self.demonitor(self.token)
        self._answer()
        return None

    def _answer(self) -> None:
        if self.told and self.waiting:
            self.told -= 1
            self.waiting.pop().set(None)


class Linked(Actor):
    """Linked to an entity."""

    def __init__(self, whom: ActorRef[Any]) -> None:
        super().__init__()
        self.whom = whom

    def on_start(self) -> None:
        self.link(self.whom)


@message("test.entities.pass")
class Pass:
    """Sent back with what the reference looks like there."""

    ref: ActorRef[Any]


class Echo(Actor):
    """Sends references back."""

    def on_receive(self, message: Any) -> Any:
        ref = message.ref
        return [ref, [self.system.name, ref.kind, ref.key]]
