"""The debug switch: local messages go through the codec, and what could not cross says so where it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from tests.players import Recorder
from understudy.actors import Actor, ActorRef, ActorSystem, Down, NotRegistered, Request, ThreadActor, message
from understudy.transport import MemoryTable, Node, wire_copy


@message("copies.keep")
class Keep(Request[Any]):
    value: Any


@message("copies.to")
class To:
    ref: ActorRef[Any]


class Unregistered:
    pass


class Keeper(Actor):
    """Keeps the last value and answers with it, or with what may not cross."""

    kept: Any = None

    def on_receive(self, message: object) -> object:
        match message:
            case Keep(value):
                self.kept = value
            case To(ref):
                self.monitor(ref)
            case "object":
                return Unregistered()
            case _:
                pass
        return self.kept


class ThreadKeeper(ThreadActor):
    kept: Any = None

    def on_receive(self, message: object) -> object:
        if isinstance(message, Keep):
            self.kept = message.value
        return self.kept


@pytest.fixture(params=[Keeper, ThreadKeeper])
def kind(request: pytest.FixtureRequest) -> type[Actor]:
    kind: type[Actor] = request.param
    return kind


async def test_what_arrives_is_a_copy_as_it_would_arrive_elsewhere_and_so_is_the_answer(kind: type[Actor]) -> None:
    async with ActorSystem("test", copy=wire_copy) as system:
        keeper = await system.spawn(kind)
        value = [1, (2, 3), {"a": b"b"}]
        answer = await keeper.call(Keep(value))
        assert answer == [1, [2, 3], {"a": b"b"}]
        value.append("changed after it was sent")
        first, second = await keeper.call("kept"), await keeper.call("kept")
        assert first == answer == second
        assert first is not second


async def test_what_could_not_cross_raises_where_it_is_sent_and_nothing_is_sent(kind: type[Actor]) -> None:
    async with ActorSystem("test", copy=wire_copy) as system:
        keeper = await system.spawn(kind)
        with pytest.raises(NotRegistered, match="Unregistered"):
            keeper.tell(Keep(Unregistered()))
        with pytest.raises(NotRegistered, match="Unregistered"):
            await keeper.call(Keep(Unregistered()))
        with pytest.raises(NotRegistered, match="Unregistered"):
            await keeper.offer(Keep(Unregistered()))
        with pytest.raises(NotRegistered, match="Unregistered"):
            keeper.ask(Keep(Unregistered()), block=False)
        assert await keeper.call("kept") is None


def test_a_tuple_that_is_a_key_is_one_in_the_copy_and_a_message_that_is_none_any_more_is_refused() -> None:
    assert wire_copy({(1, 2): [(3,)]}) == {(1, 2): [[3]]}
    with pytest.raises(NotRegistered, match="a key of a dict cannot be one here"):
        wire_copy({Keep((1, 2)): 3})


async def test_an_answer_that_could_not_cross_is_the_callers_to_see() -> None:
    async with ActorSystem("test", copy=wire_copy) as system:
        keeper = await system.spawn(Keeper)
        with pytest.raises(NotRegistered, match="Unregistered"):
            await keeper.call("object")
        assert keeper.is_alive()


async def test_references_names_and_what_the_kernel_sends_are_what_they_are() -> None:
    async with ActorSystem("test", copy=wire_copy) as system:
        keeper, recorder = await system.spawn(Keeper, name="keeper"), await system.spawn(Recorder)
        await system.ref("keeper").call(Keep(recorder))
        assert await keeper.call("kept") is recorder
        await recorder.stop()
        keeper.tell(To(recorder))
        keeper.tell(Keep(7))
        assert await keeper.call("kept") == 7
        assert await keeper.proxy().kept == 7  # a proxy never crosses the wire


async def test_a_downed_actor_is_told_of_as_ever() -> None:
    class Watcher(Keeper):
        def on_receive(self, message: object) -> object:
            if isinstance(message, Down):
                self.kept = "down"
            return super().on_receive(message)

    async with ActorSystem("test", copy=wire_copy) as system:
        watcher, other = await system.spawn(Watcher), await system.spawn(Recorder)
        await watcher.call(To(other))
        await other.stop()
        await other.ended()
        assert await watcher.call("kept") == "down"


@pytest.mark.parametrize(("value", "on"), [("1", True), ("0", False), ("", False), (None, False)])
async def test_an_environment_variable_switches_it_on_for_nodes(
    value: str | None, on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is None:
        monkeypatch.delenv("UNDERSTUDY_WIRE_COPY", raising=False)
    else:
        monkeypatch.setenv("UNDERSTUDY_WIRE_COPY", value)
    async with Node("test", table=MemoryTable()) as node:
        keeper = await node.spawn(Keeper)
        answer = await keeper.call(Keep((1, 2)))
        assert answer == ([1, 2] if on else (1, 2))


async def test_a_copy_that_is_no_function_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="ActorSystem's copy is a function"):
        ActorSystem("test", copy="yes")  # type: ignore[arg-type]
