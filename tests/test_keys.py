"""Nodes with keys, over real sockets: who is heard, who is let in by a token, who is thrown out, and a key that changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import zmq

from tests.helpers import eventually
from tests.processes import running
from tests.sides import Add, Counter, Total
from understudy.actors import NodeDown
from understudy.transport import CannotReach, Change, Expect, KeyFolder, KeyTrouble, Member, MemoryTable, Node
from understudy.transport.frames import Hello, Introduce, Peer, Ping
from understudy.transport.keys import KeyPair, new_pair


def soon(folder: KeyFolder, node: str, seconds: float = 60.0, name: str = "") -> str:
    """A token that lets in where `node` of that folder listens."""
    return folder.issue(node, time.time() + seconds, name).encode()


def socket_of(address: str, server: str, pair: KeyPair | None) -> zmq.Socket[bytes]:
    """A socket of somebody who speaks ZeroMQ, with that key."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVTIMEO, 5_000)
    if pair is not None:
        socket.setsockopt(zmq.CURVE_PUBLICKEY, bytes.fromhex(pair.public))
        socket.setsockopt(zmq.CURVE_SECRETKEY, bytes.fromhex(pair.secret))
        socket.setsockopt(zmq.CURVE_SERVERKEY, bytes.fromhex(server))
    socket.connect(address)
    return socket


async def test_nodes_that_share_a_folder_trust_one_another(tmp_path: Path) -> None:
    async with (
        Node("stage", state=tmp_path, keys=tmp_path / "keys") as stage,
        Node("engine-1", state=tmp_path, keys=tmp_path / "keys") as engine,
    ):
        await engine.spawn(Counter, name="counter")
        await eventually(lambda: len(stage.members()) == 2)
        counter = stage.ref("counter@engine-1")
        counter.tell(Add(3))
        assert await counter.call(Total()) == 3
        assert all(row.curve_key for row in stage.members())


async def test_a_token_lets_one_node_in_once_and_all_others_trust_it_then(tmp_path: Path) -> None:
    here, there, elsewhere = (KeyFolder(tmp_path / name) for name in ("a", "b", "c"))
    async with Node("stage", keys=here) as stage:
        token = soon(here, "stage")
        async with Node("engine-1", keys=there, join=stage.address, token=token) as engine:
            await engine.spawn(Counter, name="counter")
            assert await stage.ref("counter@engine-1").call(Total()) == 0
            with pytest.raises(KeyTrouble, match=r"stage.*used before, by 'engine-1'.*new one"):
                await Node("engine-2", keys=elsewhere, join=stage.address, token=token).start()
            async with Node("engine-2", keys=elsewhere, join=stage.address, token=soon(here, "stage")) as second:
                await eventually(lambda: len(engine.members()) == 3)
                assert await second.ref("counter@engine-1").call(Total()) == 0
        async with Node("engine-1", keys=there, join=stage.address, token=token) as engine:
            assert engine.links.trust is not None
        async with Node("engine-1", keys=there, join=stage.address) as engine:
            await eventually(lambda: any(row.node == "engine-1" and row.status == "active" for row in stage.members()))


async def test_a_token_that_nobody_would_use_is_refused_but_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = KeyFolder(tmp_path)
    folder.make("stage")
    token = soon(folder, "stage")
    with pytest.raises(ValueError, match="token lets node 'engine-1' in where it joins: say where with `join`"):
        Node("engine-1", keys=tmp_path, token=token)
    with pytest.raises(ValueError, match="`join`"):
        Node("engine-1", keys=tmp_path, token=token, join="tcp://127.0.0.1:4100", table=MemoryTable())
    monkeypatch.setenv("UNDERSTUDY_TOKEN", token)
    async with Node("stage", keys=tmp_path) as node:
        assert node.links.trust is not None


@pytest.mark.parametrize("keyed", [True, False])
async def test_nodes_with_and_without_keys_do_not_share_a_table(tmp_path: Path, keyed: bool) -> None:
    keys = tmp_path / "keys"
    first, second, remedy = (keys, None, r"give this one keys") if keyed else (None, keys, r"start that one.*with keys")
    async with Node("stage", state=tmp_path, keys=first) as stage:
        with pytest.raises(KeyTrouble, match=rf"'stage', at tcp.*and the node 'engine-1' has.*or none; {remedy}"):
            await Node("engine-1", state=tmp_path, keys=second).start()
        with pytest.raises(KeyTrouble, match="'stage'"):  # nor does it take its name
            await Node("stage", state=tmp_path, keys=second).start()
        assert [row.node for row in stage.members()] == ["stage"]


async def test_a_row_that_stayed_from_a_killed_life_keeps_nobody_from_changing_to_keys(tmp_path: Path) -> None:
    table = MemoryTable()
    await table.commit(Expect(members=0), Change(members=(Member("engine-1", 1, "tcp://127.0.0.1:1"),)))
    async with Node("stage", table=table, keys=tmp_path) as stage:
        assert stage.links.trust is not None


def befriend(*folders: tuple[KeyFolder, str]) -> None:
    """Have each folder trust the nodes of the others."""
    for folder, node in folders:
        folder.make(node)
    for folder, _ in folders:
        for other, node in folders:
            if other is not folder:
                folder.trust(node, *(key.public for key in other.held().own[node]))


async def test_strangers_deliver_nothing_the_node_lives_and_a_friend_joins_within_two_seconds(tmp_path: Path) -> None:
    here, there = KeyFolder(tmp_path / "a"), KeyFolder(tmp_path / "b")
    befriend((here, "stage"), (there, "engine-1"))
    async with Node("stage", keys=here) as stage:
        counter = await stage.spawn(Counter, name="counter")
        server = stage.links.trust.pair.public  # type: ignore[union-attr]
        friend = there.held().own["engine-1"][0]
        strangers = [
            socket_of(stage.address, server, None),
            socket_of(stage.address, server, new_pair()),
            socket_of(stage.address, new_pair().public, friend),
        ]
        hello = Hello(1, 1, 7, Peer("engine-1", 1), "tcp://127.0.0.1:1", Peer("stage", stage.incarnation)).encode()
        for socket in strangers:
            for frame in (hello, Ping(1).encode(), Introduce("engine-1", friend.public).encode(), b"D" + bytes(40)):
                socket.send(frame)
        began = asyncio.get_running_loop().time()
        async with Node("engine-1", keys=there, join=stage.address) as engine:
            await engine.ref("counter@stage").call(Total())
            assert asyncio.get_running_loop().time() - began < 2.0
        for socket in strangers:
            assert not socket.poll(0)
            socket.close()
        assert stage.links.unreadable == 0
        assert stage.links.door.gate.refused > 0  # type: ignore[union-attr]
        assert counter.is_alive()


async def test_who_is_trusted_cannot_speak_as_another_nor_in_anothers_session(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path / "keys")
    keys.make("mallory")
    pair = keys.held().own["mallory"][0]
    async with Node("stage", state=tmp_path, keys=keys) as stage, Node("engine-1", state=tmp_path, keys=keys) as engine:
        await stage.spawn(Counter, name="counter")
        await engine.ref("counter@stage").call(Total())
        socket = socket_of(stage.address, stage.links.trust.pair.public, pair)  # type: ignore[union-attr]
        target = Peer("stage", stage.incarnation)

        async def answer(frame: bytes) -> bytes:
            await asyncio.to_thread(socket.send, frame)
            return await asyncio.to_thread(socket.recv)

        as_another = Hello(1, 1, 7, Peer("engine-1", engine.incarnation + 1), "tcp://127.0.0.1:1", target)
        assert b"speaks for 'mallory', not for 'engine-1'" in await answer(as_another.encode())
        stolen = engine.links.towards("stage").out.session
        data = b"D" + stolen.to_bytes(8, "big") + (99).to_bytes(8, "big") + b"\xdd\x00\x00\x00\x00"
        assert b"speaks for 'mallory', not for 'engine-1'" in await answer(data)
        assert (await answer(Introduce("engine-1", new_pair().public).encode()))[:1] == b"J"
        as_itself = Hello(1, 1, 8, Peer("mallory", 5), "tcp://127.0.0.1:1", target)
        assert (await answer(as_itself.encode()))[:1] == b"W"
        socket.close()
        assert await engine.ref("counter@stage").call(Total()) == 0


async def test_a_revoked_node_is_cut_off_and_is_heard_no_more_though_its_connection_stands(tmp_path: Path) -> None:
    a, b, c = (KeyFolder(tmp_path / name) for name in "abc")
    befriend((a, "stage"), (b, "engine-1"))
    befriend((a, "stage"), (c, "engine-2"))
    async with (
        Node("stage", keys=a) as stage,
        Node("engine-1", keys=b, join=stage.address) as engine,
        Node("engine-2", keys=c, join=stage.address) as other,
    ):
        counter = await stage.spawn(Counter, name="counter")
        await other.spawn(Counter, name="counter")
        await engine.ref("counter@stage").call(Total())
        await eventually(lambda: engine.links.towards("engine-2").lost is None)
        await engine.ref("counter@engine-2").call(Total())
        a.revoke("engine-1")
        await eventually(lambda: stage.links.towards("engine-1").lost)
        engine.ref("counter@stage").tell(Add(1))
        with pytest.raises(NodeDown):
            await engine.ref("counter@stage").call(Total())
        assert "declared this node dead" in await asyncio.wait_for(engine.ended(), 30.0)
        await eventually(lambda: other.links.towards("engine-1").lost)
        [row] = [row for row in other.members() if row.node == "engine-1"]
        assert (row.status, row.reason) == ("dead", "its key was revoked on stage")
        with pytest.raises(CannotReach):
            await Node("engine-1", keys=b, join=stage.address).start()
        assert await stage.ref("counter").call(Total()) == 0
        assert counter.is_alive()
        key = b.held().own["engine-1"][0].public
        a.trust("engine-1", key)
        async with Node("engine-1", keys=b, join=stage.address) as engine:
            assert await engine.ref("counter@stage").call(Total()) == 0


async def test_a_key_changes_while_messages_flow_and_none_is_lost(tmp_path: Path) -> None:
    a, b = KeyFolder(tmp_path / "a"), KeyFolder(tmp_path / "b")
    befriend((a, "stage"), (b, "engine-1"))
    async with Node("stage", keys=a) as stage, Node("engine-1", keys=b, join=stage.address) as engine:
        await stage.spawn(Counter, name="counter")
        await engine.spawn(Counter, name="counter")
        there, here = stage.ref("counter@engine-1"), engine.ref("counter@stage")
        sessions = [side.links.towards(name).out.session for side, name in ((stage, "engine-1"), (engine, "stage"))]
        sent = 0

        async def until(done: Callable[[], bool]) -> None:
            nonlocal sent
            end = asyncio.get_running_loop().time() + 10
            while not done():
                assert asyncio.get_running_loop().time() < end
                for _ in range(20):
                    there.tell(Add(1))
                    here.tell(Add(1))
                sent += 20
                await asyncio.sleep(0.005)

        for folder, node, other in ((a, "stage", b), (b, "engine-1", a)):
            new = folder.rotate(node)
            await until(
                partial(
                    lambda folder, node, new: folder.held().own[node] == (new,) and not folder.held().next,
                    folder,
                    node,
                    new,
                )
            )
            assert other.held().trusted[node] == (new.public,)
        assert await there.call(Total()) == sent
        assert await here.call(Total()) == sent
        assert sessions == [
            side.links.towards(name).out.session for side, name in ((stage, "engine-1"), (engine, "stage"))
        ]
        await eventually(
            lambda: (
                {row.curve_key for row in engine.members()}
                == {folder.held().own[node][0].public for folder, node in ((a, "stage"), (b, "engine-1"))}
            )
        )


async def test_processes_change_their_keys_by_the_command_while_messages_flow(tmp_path: Path) -> None:
    a, b = KeyFolder(tmp_path / "a"), KeyFolder(tmp_path / "b")
    befriend((a, "stage"), (b, "engine-1"))
    async with (
        Node("stage", state=tmp_path, keys=a) as stage,
        running("tests.keyed_program", "engine-1", str(tmp_path), str(b.path)) as engine,
    ):
        await engine.line()
        await eventually(lambda: stage.links.towards("engine-1").lost is None)
        counter, sent, over = stage.ref("counter@engine-1"), 0, False

        async def tell() -> None:
            nonlocal sent
            while not over:
                counter.tell(Add(1))
                sent += 1
                await asyncio.sleep(0.002)

        telling = asyncio.create_task(tell())
        for folder, node in ((b, "engine-1"), (a, "stage")):
            [old] = folder.held().own[node]
            async with running("understudy", "keys", "rotate", node, "--keys", str(folder.path)) as command:
                assert await command.ended() == 0
            await eventually(partial(_given_up, folder, node, old), timeout=30.0)
        over = True
        await telling
        assert await counter.call(Total()) == sent > 0


def _given_up(folder: KeyFolder, node: str, old: KeyPair) -> bool:
    held = folder.held()
    return not held.next and old not in held.own[node]
