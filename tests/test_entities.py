"""Entities, from the outside: kinds and keys, threads, real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors import Actor, ActorSystem, NodeDown
from understudy.transport import Node, Payload
from understudy.transport.activation import unique_name

KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)


class Counter(Actor):
    """Adds up."""

    def __init__(self, key: str, start: int = 0) -> None:
        super().__init__()
        self.key = key
        self.count = start

    def on_receive(self, message: Any) -> Any:
        if message == "count":
            return [self.key, self.count]
        if message == "all of it":
            return Payload(bytes(self.count))
        self.count += message
        return None


@given(KEYS, KEYS)
def test_two_keys_have_two_names_and_a_name_has_no_at(one: str, other: str) -> None:
    names = {unique_name("room", one), unique_name("room", other)}
    assert len(names) == len({one, other})
    assert not any("@" in name or "\0" in name for name in names)


@pytest.mark.parametrize("kind", ["", "a/b", "a@b", "x" * 65, "\ud800", 7, None])
def test_what_can_be_no_kind_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="a kind of entities is a text of 1 to 64 characters without '/' and '@'"):
        unique_name(kind, "lobby")


@pytest.mark.parametrize("key", ["", "x" * 251, "@" * 84, 7, None, "\ud800"])
def test_what_can_be_no_key_is_refused(key: Any) -> None:
    with pytest.raises(ValueError, match="the key of a room"):
        unique_name("room", key)
    assert unique_name("room", "x" * 250)


async def test_a_system_that_is_no_node_has_no_entities() -> None:
    async with ActorSystem() as system:
        with pytest.raises(NodeDown, match="is no node"):
            system.nodes.entity("counter", "apples")


async def test_what_cannot_be_hosted_is_refused(tmp_path: Path) -> None:
    async with Node("a", state=tmp_path) as node:
        with pytest.raises(TypeError, match="subclass of Actor, not <class 'int'>"):
            node.host("counter", int)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        for idle in (0, -1, "soon", True, float("nan")):
            with pytest.raises(ValueError, match="the idle time of 'counter'"):
                node.host("counter", Counter, idle=idle)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_threads_speak_to_entities_here_and_elsewhere(tmp_path: Path) -> None:
    async with Node("a", state=tmp_path) as a, Node("b", state=tmp_path) as b:
        b.host("counter", Counter, start=1)
        for node, key in ((a, "ada@example.com"), (b, "b")):
            ref = node.entity("counter", key)

            def work(ref: Any = ref) -> Any:
                for _ in range(100):
                    ref.tell(1)
                first = ref.ask("count", timeout=20)
                later = ref.ask("count", block=False)
                return first, later.get(timeout=20), asyncio.run(ref.call("count", timeout=20))

            assert await asyncio.to_thread(work) == ([key, 101],) * 3
            assert await ref.call("count") == [key, 101]
            await ref.offer(1)
            assert await ref.call("count") == [key, 102]


async def test_what_may_not_cross_is_refused_or_a_dead_letter_and_harms_no_other(tmp_path: Path) -> None:
    async with Node("a", state=tmp_path) as a, Node("b", state=tmp_path) as b:
        b.host("counter", Counter)
        ref = a.entity("counter", "apples")
        ref.tell(object())  # nobody knows yet where it goes
        ref.tell(2)
        assert await ref.call("count", timeout=20) == ["apples", 2]
        assert a.system.dead_letters.count == 1
        with pytest.raises(Exception, match="may not cross the wire"):
            ref.tell(object())
        assert await ref.call("count") == ["apples", 2]


async def test_an_entity_answers_with_a_payload_from_its_first_message_on(tmp_path: Path) -> None:
    async with Node("a", state=tmp_path) as a, Node("b", state=tmp_path) as b:
        b.host("counter", Counter, start=300_000)
        for node in (a, b):
            ref = node.entity("counter", f"asked by {node.system.name}")
            for _ in range(2):  # while it starts, and when it runs
                payload = await ref.call("all of it", timeout=20)
                assert await payload.bytes() == bytes(300_000)


async def test_whoever_means_an_entity_by_its_unique_name_is_told_how(tmp_path: Path) -> None:
    async with Node("a", state=tmp_path) as a, Node("b", state=tmp_path) as b:
        b.host("counter", Counter)
        await a.entity("counter", "apples").call("count", timeout=20)
        plain = await a.spawn(Counter, "plain")
        for node in (a, b):
            with pytest.raises(
                ValueError, match=r"'counter/apples' is an entity: .* node.entity\('counter', 'apples'\)"
            ):
                node.cluster_ref("counter/apples")
        with pytest.raises(ValueError, match=r"node.entity\('counter', 'pears@home'\)"):
            await a.register("counter/pears%40home", plain)
        with pytest.raises(ValueError, match="is an entity"):
            await a.singleton("counter/apples", Counter, "apples")
        assert await a.register("other/apples", plain)
        assert await b.cluster_ref("other/apples").call("count", timeout=20) == ["plain", 0]
