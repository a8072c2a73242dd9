"""Rooms as actors, without sockets: who hears what, how often, and what becomes of a room."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from understudy.actors import Actor, ActorRef, ActorSystem, Killed, Later, Normal, Refused, Stop
from understudy.gateway import Member, Room, Topic
from understudy.gateway.messages import (
    Admit,
    Admitted,
    Broadcast,
    Denied,
    Event,
    Join,
    Leave,
    OpenRoom,
    Push,
    Reply,
    RoomOpened,
    RoomRefused,
    Said,
)
from understudy.gateway.rooms import Patterns, Rooms
from understudy.supervisors import WhichChildren

Enough = Callable[[list[Any]], object]


@dataclass
class Wanted:
    """To a probe: set `future` once it was told enough."""

    enough: Enough
    future: asyncio.Future[list[Any]]


class Probe(Actor):
    """Stands for a session or a node's fan-out: keeps what it is told, and says when that is enough."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Any] = []
        self.waiting: list[Wanted] = []

    def on_receive(self, message: object) -> None:
        match message:
            case Wanted():
                self.waiting.append(message)
            case Said(_, _, _, what):
                self.told.append(what)
            case _:
                self.told.append(message)
        for wanted in self.waiting:
            if not wanted.future.done() and wanted.enough(self.told):
                wanted.future.set_result(list(self.told))


class Plain(Room):
    grace = 0.0

    def on_start(self) -> None:
        self.owed: dict[str, Later] = {}

    def on_join(self, member: Member, payload: dict[str, Any]) -> Any:
        if "refuse" in payload:
            raise Refused("not you")
        if "key" in payload:
            self.track(member, {}, key=payload["key"])
        return {"members": len(self.members)}

    def on_event(self, member: Member, event: str, payload: Any) -> Any:
        match event:
            case "all":
                self.broadcast("news", {"n": payload})
            case "me":
                self.push(member, "news", {"n": payload})
            case "show":
                self.track(member, {}, key=payload)
            case "hide":
                self.untrack(member)
            case "ask another":
                return self.ask_another(payload)
            case "later":
                return self.owed.setdefault(payload, Later())
            case "now":
                self.owed.pop(payload).set({"event": payload})
            case "never":
                self.owed.pop(payload).fail(Refused("not after all"))
            case _:
                return super().on_event(member, event, payload)
        return {"event": event}

    async def ask_another(self, other: ActorRef[Any]) -> Any:
        return await other.call("please")


class Unwilling(Actor):
    def on_receive(self, message: object) -> Any:
        raise Refused("not today")


@asynccontextmanager
async def stage() -> AsyncIterator[tuple[ActorSystem, ActorRef[Any]]]:
    async with ActorSystem("test") as system:
        yield system, await system.spawn(Plain, "room:a")


async def member(system: ActorSystem, fanout: ActorRef[Any], name: str) -> Member:
    return Member(name, await system.spawn(Probe), fanout, "stage")


async def told(ref: ActorRef[Any], enough: Enough = bool) -> list[Any]:
    """What a probe was told, once that is enough."""
    future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
    ref.tell(Wanted(enough, future))
    async with asyncio.timeout(30.0):
        return await future


def of(kind: type[Any], messages: list[Any]) -> list[Any]:
    return [message for message in messages if isinstance(message, kind)]


async def test_a_room_says_a_thing_once_per_node_however_many_members_are_there() -> None:
    async with stage() as (system, room):
        nodes = [await system.spawn(Probe) for _ in range(2)]
        crowd = [await member(system, nodes[number % 2], f"m{number}") for number in range(10)]
        for one in crowd:
            room.tell(Join(one, {}))
        room.tell(Event("m3", "7", "all", 1))
        for node in nodes:
            heard = await told(node, lambda messages: of(Broadcast, messages))
            assert len(of(Admit, heard)) == 5
            assert [(b.event, b.payload, b.offset) for b in of(Broadcast, heard)] == [("news", b'{"n":1}', 1)]
        assert of(Reply, await told(nodes[1], lambda m: of(Reply, m))) == [Reply("m3", "7", "ok", b'{"event":"all"}')]
        for one in crowd[1::2]:
            room.tell(Leave(one.id))
        room.tell(Event("m0", None, "all", 2))
        await told(nodes[0], lambda messages: len(of(Broadcast, messages)) == 2)
        assert len(of(Broadcast, await told(nodes[1]))) == 1, "no member is left on that node"


async def test_a_push_goes_to_one_member_and_a_push_without_ref_is_not_answered() -> None:
    async with stage() as (system, room):
        node = await system.spawn(Probe)
        room.tell(Join(await member(system, node, "m1"), {}))
        room.tell(Event("m1", None, "me", 5))
        assert (await told(node, lambda m: of(Push, m)))[-1] == Push("m1", "news", b'{"n":5}')
        room.tell(Event("m1", "9", "me", 6))
        assert len(of(Reply, await told(node, lambda m: len(of(Push, m)) == 2 and of(Reply, m)))) == 1


async def test_a_refusal_of_an_actor_behind_the_room_reaches_the_client_and_the_room_lives() -> None:
    async with stage() as (system, room):
        node = await system.spawn(Probe)
        room.tell(Join(await member(system, node, "m1"), {}))
        room.tell(Event("m1", "1", "ask another", await system.spawn(Unwilling)))
        reply = of(Reply, await told(node, lambda m: of(Reply, m)))[0]
        assert (reply.status, reply.response) == ("error", b'{"reason":"not today","code":"refused","retry":false}')
        assert room.is_alive()


async def test_what_is_answered_later_keeps_nobody_waiting() -> None:
    async with stage() as (system, room):
        node = await system.spawn(Probe)
        room.tell(Join(await member(system, node, "m1"), {}))
        for ref, event, payload in [("1", "later", "a"), ("2", "later", "b"), ("3", "never", "a"), ("4", "now", "b")]:
            room.tell(Event("m1", ref, event, payload))
        replies = of(Reply, await told(node, lambda m: len(of(Reply, m)) == 4))
        assert [(reply.ref, reply.status, reply.response) for reply in replies] == [
            ("1", "error", b'{"reason":"not after all","code":"refused","retry":false}'),
            ("3", "ok", b'{"event":"never"}'),
            ("2", "ok", b'{"event":"b"}'),
            ("4", "ok", b'{"event":"now"}'),
        ]


async def test_all_changes_of_presence_that_wait_together_are_one_diff_and_newcomers_get_the_state() -> None:
    async with stage() as (system, room):
        node = await system.spawn(Probe)
        members = [await member(system, node, f"m{number}") for number in range(6)]
        room.tell(Join(members[0], {}))
        await told(node)
        for number in range(1, 5):
            room.tell(Join(members[number], {"key": f"k{number}"}))
        room.tell(Leave("m4"))
        said = of(Broadcast, await told(node, lambda m: len(of(Broadcast, m)) >= 1))
        assert [b.event for b in said] == ["presence_state"], "the first presence there is: a state for everybody"
        assert (sorted(said[0].only), said[0].payload.count(b"phx_ref")) == (["m0", "m1", "m2", "m3"], 3)
        room.tell(Join(members[5], {"key": "k5"}))
        room.tell(Event("m1", None, "hide", None))
        said = of(Broadcast, await told(node, lambda m: len(of(Broadcast, m)) >= 3))[1:]
        assert [(b.event, b.only, b.excluding) for b in said] == [
            ("presence_diff", (), ("m5",)),
            ("presence_state", ("m5",), ()),
        ]
        assert said[0].payload.count(b"phx_ref") == 2


async def test_a_members_end_is_seen_by_its_rooms_without_being_told() -> None:
    async with stage() as (system, room):
        node = await system.spawn(Probe)
        one, two = await member(system, node, "m1"), await member(system, node, "m2")
        room.tell(Join(one, {"key": "ada"}))
        room.tell(Join(two, {"key": "bob"}))
        await told(node, lambda m: of(Broadcast, m))
        one.session.kill()
        said = of(Broadcast, await told(node, lambda m: len(of(Broadcast, m)) == 2))[1]
        assert said.event == "presence_diff"
        assert b'"leaves":{"ada"' in said.payload


async def test_a_refused_stranger_leaves_no_room_behind_but_ends_none_that_was_used() -> None:
    async with stage() as (system, room):
        node = await system.spawn(Probe)
        stranger, guest = await member(system, node, "m1"), await member(system, node, "m2")
        used = await system.spawn(Plain, "room:b")
        used.tell(Join(guest, {}))
        used.tell(Leave("m2"))
        used.tell(Join(stranger, {"refuse": 1}))
        assert await told(stranger.session) == [Denied("m1", "not you")]
        assert used.is_alive()
        room.tell(Join(stranger, {"refuse": 1}))
        assert await room.ended(timeout=5.0) == Normal()


class Fleeting(Plain):
    async def on_leave(self, member: Member) -> None:
        self.broadcast("left", {"who": member.id})

    def on_empty(self) -> Stop:
        return Stop()


async def test_a_room_hears_that_its_last_member_left_and_may_end() -> None:
    async with ActorSystem("test") as system:
        room, node = await system.spawn(Fleeting, "room:a"), await system.spawn(Probe)
        for name in ("m1", "m2"):
            room.tell(Join(await member(system, node, name), {}))
        room.tell(Leave("m1"))
        assert [b.event for b in of(Broadcast, await told(node, lambda m: of(Broadcast, m)))] == ["left"]
        assert room.is_alive()
        room.tell(Leave("m2"))
        assert await room.ended(timeout=5.0) == Normal()


class Doomed(Plain):
    """Ends in its hooks, before what is asynchronous of them begins."""

    async def linger(self) -> None: ...

    def end_at(self, hook: str) -> Any:
        if hook == self.topic.removeprefix("room:"):
            self.actor_ref.kill()
        return self.linger()

    def on_join(self, member: Member, payload: dict[str, Any]) -> Any:
        return self.end_at("on_join")

    def on_event(self, member: Member, event: str, payload: Any) -> Any:
        return self.end_at("on_event")

    def on_leave(self, member: Member) -> Any:
        return self.end_at("on_leave")


@pytest.mark.parametrize("hook", ["on_join", "on_event", "on_leave"])
async def test_a_room_that_ends_before_its_asynchronous_hook_began_leaves_it_without_a_word(hook: str) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        async with ActorSystem("test") as system:
            room, node = await system.spawn(Doomed, f"room:{hook}"), await system.spawn(Probe)
            room.tell(Join(await member(system, node, "m1"), {}))
            if hook != "on_join":
                await told(node, lambda m: of(Admit, m))
                room.tell(Leave("m1") if hook == "on_leave" else Event("m1", "1", "anything", None))
            assert await room.ended(timeout=5.0) == Killed()
    assert [str(each.message) for each in said] == []


# --- finding and starting them ---


class Stubborn(Room):
    async def on_start(self) -> None:
        if self.topic == "room:closed":
            await self.other.call("please")
        if self.topic == "room:broken":
            raise RuntimeError("on purpose")
        if self.topic == "room:slow":
            await self.gate.wait()

    def __init__(self, topic: str, gate: asyncio.Event, other: ActorRef[Any]) -> None:
        super().__init__(topic)
        self.gate = gate
        self.other = other


@asynccontextmanager
async def lobby(limit: int = 100) -> AsyncIterator[tuple[ActorRef[Any], ActorRef[Any], asyncio.Event]]:
    gate = asyncio.Event()
    async with ActorSystem("test") as system:
        rooms = await system.spawn(Rooms, {"room:*": Topic(Stubborn, (gate, await system.spawn(Unwilling)))}, limit)
        yield rooms, await system.spawn(Probe), gate


async def test_one_topic_has_one_room_however_many_ask_at_once() -> None:
    async with lobby() as (rooms, session, _):
        for number in range(3):
            rooms.tell(OpenRoom("room:a", f"m{number}", session))
        opened = of(RoomOpened, await told(session, lambda m: len(m) == 3))
        assert len({message.room for message in opened}) == 1


async def test_a_room_that_starts_slowly_delays_only_those_who_wait_for_it() -> None:
    async with lobby() as (rooms, session, gate):
        rooms.tell(OpenRoom("room:a", "m1", session))
        await told(session, lambda m: len(m) == 1)
        rooms.tell(OpenRoom("room:slow", "m2", session))
        rooms.tell(OpenRoom("room:a", "m3", session))
        assert [message.member for message in await told(session, lambda m: len(m) == 2)] == ["m1", "m3"]
        gate.set()
        assert (await told(session, lambda m: len(m) == 3))[2].member == "m2"


async def test_a_room_may_refuse_to_open_with_a_reason_of_its_own_or_of_an_actor_it_asked() -> None:
    async with lobby() as (rooms, session, _):
        rooms.tell(OpenRoom("room:closed", "m1", session))
        assert await told(session) == [RoomRefused("m1", "not today")]


async def test_a_room_that_cannot_start_refuses_the_join_and_only_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with lobby() as (rooms, session, _):
        rooms.tell(OpenRoom("room:broken", "m1", session))
        rooms.tell(OpenRoom("elsewhere", "m2", session))
        refused = await told(session, lambda m: len(m) == 2)
        assert {message.member: message.reason for message in of(RoomRefused, refused)} == {
            "m1": "join crashed",
            "m2": "unmatched topic",
        }
    assert "room:broken could not be started" in caplog.text


async def test_rooms_tells_which_there_are_as_a_supervisor_does() -> None:
    async with lobby() as (rooms, session, _):
        rooms.tell(OpenRoom("room:a", "m1", session))
        (opened,) = await told(session)
        (row,) = await rooms.call(WhichChildren())
        assert (row.id, row.cls, row.state, row.ref) == ("room:a", "Stubborn", "running", opened.room)


async def test_there_is_an_end_to_the_rooms_that_strangers_can_open() -> None:
    async with lobby(limit=2) as (rooms, session, _):
        for number in range(3):
            rooms.tell(OpenRoom(f"room:{number}", f"m{number}", session))
        refused = of(RoomRefused, await told(session, lambda m: len(m) == 3))
        assert refused == [RoomRefused("m2", "too many rooms")]


async def test_the_topic_of_a_room_that_ended_gets_a_new_one() -> None:
    async with lobby() as (rooms, session, _):
        rooms.tell(OpenRoom("room:a", "m1", session))
        first = (await told(session))[0].room
        first.kill()
        await first.ended()
        rooms.tell(OpenRoom("room:a", "m2", session))
        second = (await told(session, lambda m: len(m) == 2))[1].room
        assert second is not first
        assert second.is_alive()


@pytest.mark.parametrize("pattern", ["", "a*b", "**"])
def test_a_pattern_is_a_topic_or_a_beginning(pattern: str) -> None:
    with pytest.raises(ValueError, match="final"):
        Patterns({pattern: Plain})


async def test_admission_is_told_to_the_session_before_the_client_can_know() -> None:
    async with stage() as (system, room):
        node = await system.spawn(Probe)
        one = await member(system, node, "m1")
        room.tell(Join(one, {}))
        await told(node)
        assert await told(one.session) == [Admitted("m1")]
