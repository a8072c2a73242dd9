"""Nodes: systems that find each other by name, refuse what they must, and outlive each other's processes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgpack
import pytest
import uvloop
import zmq

from tests.helpers import eventually
from tests.processes import running
from tests.sides import Add, Counter, Misbehave, Total, Who, Witness
from understudy.actors import (
    ActorDied,
    ActorSystem,
    Down,
    Killed,
    NameTaken,
    NoConnection,
    NodeDown,
    NoProc,
    UnderstudyError,
)
from understudy.transport import (
    BadAddress,
    CannotListen,
    CannotReach,
    Change,
    Expect,
    Member,
    MemoryTable,
    Node,
    NodeDrains,
    NodeLost,
    NodeUp,
    Snapshot,
    Versions,
    ZeroMqNetwork,
)
from understudy.transport.frames import HELLO, NEWEST, OLDEST, Peer
from understudy.transport.remote import RemoteRef
from understudy.transport.wire import FRAME_LIMIT


async def test_actors_of_other_nodes_are_told_and_called_by_name() -> None:
    table = MemoryTable()
    async with Node("stage", table=table) as stage, Node("engine-1", table=table) as engine:
        await eventually(lambda: len(stage.members()) == 2)
        await engine.spawn(Counter, name="counter")
        await stage.spawn(Counter, name="counter")
        there, here = stage.ref("counter@engine-1"), stage.ref("counter")
        there.tell(Add(3))
        assert await there.call(Total()) == 3
        assert await here.call(Total()) == 0
        assert stage.ref("counter@stage") == here
        with pytest.raises(NodeDown, match="no node 'engine-9' is up"):
            await stage.ref("counter@engine-9").call(Total())
        with pytest.raises(ActorDied) as died:
            await stage.ref("nobody@engine-1").call(Total())
        assert died.value.reason == NoProc()


async def test_a_killed_process_fails_calls_fires_monitors_and_its_name_is_found_again_in_its_next_life(
    tmp_path: Path,
) -> None:
    async with Node("stage", state=tmp_path, probe_interval=0.3) as stage:
        counter = stage.ref("counter@engine-1")
        seen: asyncio.Queue[Any] = asyncio.Queue()

        class Watching(Witness):
            def on_start(self) -> None:
                self.seen = seen

        watcher = await stage.spawn(Watching)
        async with running("tests.node_program", "engine-1", str(tmp_path)) as engine:
            await engine.line()
            stage.subscribe(watcher)
            up = await seen.get()
            assert isinstance(up, NodeUp)
            counter.tell(Add(5))
            address = await counter.call(Who())
            token = await watcher.call(lambda me: me.monitor(address))
            assert await counter.call(Total()) == 5
            engine.kill()
            with pytest.raises(NodeDown):
                await counter.call(Total(), timeout=5.0)
            news = [await seen.get(), await seen.get()]
        [down] = [one for one in news if isinstance(one, Down)]
        [lost] = [one for one in news if isinstance(one, NodeLost)]
        assert down.token == token
        assert isinstance(down.reason, NoConnection)
        assert (lost.node, lost.incarnation) == ("engine-1", up.member.incarnation)
        async with running("tests.node_program", "engine-1", str(tmp_path)) as engine:
            await engine.line()
            assert isinstance(await seen.get(), NodeUp)
            assert await counter.call(Total()) == 0
            with pytest.raises(NodeDown):
                await address.call(Total())
            assert await engine.ended() == 0
        assert isinstance(await seen.get(), NodeDrains)  # it stopped in order
        assert isinstance(await seen.get(), NodeLost)


async def test_a_monitor_fires_when_the_remote_actor_dies_and_not_its_node(tmp_path: Path) -> None:
    async with (
        Node("stage", state=tmp_path) as stage,
        running("tests.node_program", "engine-1", str(tmp_path)) as engine,
    ):
        await engine.line()
        await eventually(lambda: len(stage.members()) == 2)
        address = await stage.ref("counter@engine-1").call(Who())
        over = asyncio.ensure_future(address.ended(5.0))
        await asyncio.sleep(0)  # the monitor is on its way before the call
        with pytest.raises(ActorDied, match="boom"):
            await address.call(Misbehave("boom"))
        assert "boom" in str(await over)
        assert {row.status for row in stage.members()} == {"active"}


async def test_a_node_that_leaves_lets_its_last_words_arrive() -> None:
    table = MemoryTable()
    async with Node("stage", table=table) as stage:
        engine = Node("engine-1", table=table)
        await engine.start()
        await eventually(lambda: len(stage.members()) == 2)
        ref = await engine.spawn(Counter, name="counter")
        address = await stage.ref("counter@engine-1").call(Who())
        over = asyncio.ensure_future(address.ended(5.0))
        await address.call(Total())
        for _ in range(1_000):
            stage.ref("counter@engine-1").tell(Add())
        assert await stage.ref("counter@engine-1").call(Total()) == 1_000
        await engine.stop()
        await engine.stop()
        assert str(await over) == "shutdown: the system shuts down"
        assert not ref.is_alive()
        assert await engine.ended() == "it was stopped"


async def test_a_second_node_of_the_same_name_is_refused_and_leaves_nothing_open() -> None:
    table = MemoryTable()
    async with Node("stage", table=table) as stage:
        second = Node("stage", table=table)
        with pytest.raises(NameTaken, match=f"taken.*{stage.address}"):
            await second.start()
        [row] = stage.members()
        assert row.incarnation == stage.incarnation
        async with Node("other", join=stage.address):
            await eventually(lambda: len(stage.members()) == 2)
        with pytest.raises(NameTaken, match="is called 'stage' itself"):
            await Node("stage", join=stage.address).start()


async def test_a_port_in_use_a_bad_address_and_one_beyond_loopback_are_clear_errors() -> None:
    async with Node("a") as a:
        with pytest.raises(CannotListen, match="in use"):
            await Node("b", listen=a.address).start()
    for address in ("here", "tcp://0.0.0.0:0", "tcp://10.1.2.3:4000"):
        with pytest.raises(BadAddress, match=r"127\.0\.0"):
            await Node("b", listen=address).start()
    with pytest.raises(BadAddress):
        await Node("b", join="tcp://10.1.2.3:4000").start()


async def test_joining_where_nobody_answers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.transport.joining.MEET_WITHIN", 0.2)
    with pytest.raises(CannotReach, match=r"tcp://127\.0\.0\.1:1 .*is a node of this cluster running there"):
        await Node("b", join="tcp://127.0.0.1:1").start()


@pytest.mark.parametrize("name", ["", "a@b", "n" * 300, 5])
def test_what_is_no_name_of_a_node_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="1 to 200 characters without '@'"):
        Node(name)


@pytest.mark.parametrize("kind", [str, Path])
async def test_the_state_folder_is_a_text_or_a_path(kind: type, tmp_path: Path) -> None:
    async with Node("stage", state=kind(tmp_path / "state")):
        assert (tmp_path / "state" / "membership.db").exists()


@pytest.mark.parametrize("state", [b"state", 1, True])
def test_what_is_no_folder_is_refused_when_the_node_is_made(state: Any) -> None:
    with pytest.raises(TypeError, match="the state of node 'stage' is a folder, as a text or a path, not"):
        Node("stage", state=state)


async def test_a_node_that_is_not_started_says_so_and_none_is_started_twice() -> None:
    node = Node("a")
    assert node.members() == []
    with pytest.raises(RuntimeError, match="not started"):
        node.ref("x")
    async with node:
        with pytest.raises(RuntimeError, match="started before"):
            await node.start()


async def test_a_node_uses_the_system_it_is_given_and_leaves_it_running() -> None:
    async with ActorSystem("mine") as system:
        counter = await system.spawn(Counter, name="counter")
        with pytest.raises(ValueError, match="must have its name"):
            Node("other", system=system)
        async with Node("mine", system=system) as node:
            assert node.system is system
            assert await node.ref("counter").call(Total()) == 0
        assert counter.is_alive()


async def test_a_clock_that_ran_backwards_gives_a_higher_incarnation_all_the_same() -> None:
    table = MemoryTable()
    future = 10**15
    rows = (Member("engine-1", future, "tcp://127.0.0.1:1", status="dead"),)
    await table.commit(Expect(members=0), Change(members=rows))
    async with Node("stage", table=table) as stage, Node("engine-1", join=stage.address) as engine:
        assert engine.incarnation == future + 1
        ref = await engine.spawn(Counter, name="counter")
        assert ref.address.incarnation == future + 1
        await eventually(lambda: any(row.status == "active" for row in stage.members() if row.node == "engine-1"))
        assert await stage.ref("counter@engine-1").call(Add(1)) is None
        assert await engine.ref("counter@engine-1").call(Total()) == 1


def stranger(address: str) -> zmq.Socket[bytes]:
    """A socket of somebody who speaks ZeroMQ, and nothing else of ours."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVTIMEO, 5_000)
    socket.connect(address)
    return socket


async def test_noise_at_the_port_harms_nothing_and_an_oversized_frame_is_refused() -> None:
    table = MemoryTable()
    async with Node("a", table=table) as a, Node("b", table=table) as b:
        await b.spawn(Counter, name="counter")
        socket = stranger(b.address)
        for frame in (b"", b"\x00", b"D" * 16, b"D" * 17, b"A" * 17, os.urandom(1_000), b"H" + os.urandom(50)):
            socket.send(frame)
        socket.send_multipart([b"two", b"parts"])
        strange = [OLDEST, NEWEST, 5, "x", 1, "tcp://127.0.0.1:1", "b", 1]
        socket.send(bytes([HELLO]) + msgpack.packb(strange))
        assert (await asyncio.to_thread(socket.recv))[:1] == b"S"  # stale: no such incarnation of b
        socket.send(b"D" + bytes(7) + b"\x07" + bytes(8) + b"\xdd\x00\x00\x00\x00")
        assert (await asyncio.to_thread(socket.recv))[:1] == b"S"  # a session that was never greeted
        socket.send(b"x" * (FRAME_LIMIT + 1))
        socket.close()
        assert await a.ref("counter@b").call(Total()) == 0
        assert b.links.unreadable > 0


async def test_a_batch_of_nonsense_in_a_welcomed_session_is_reported_and_harms_nothing() -> None:
    async with Node("b") as b:
        counter = await b.spawn(Counter, name="counter")
        socket = stranger(b.address)
        hello = [OLDEST, NEWEST, 7, "x", 1, "tcp://127.0.0.1:1", "b", b.incarnation]
        socket.send(bytes([HELLO]) + msgpack.packb(hello))
        assert (await asyncio.to_thread(socket.recv))[:1] == b"W"
        head = b"D" + (7).to_bytes(8, "big")
        nonsense: list[Any] = [
            *(None, 5, {}, [], [[]], [5], [None], [[0]], [[0, 1]], [[0, 1, 99, 5]], [[99]], [["x"]], [[[]]]),
            *([[operation, *rest]] for operation in range(1, 16) for rest in ([], [1], [1, 2], [None] * 8, ["x"] * 8)),
        ]
        for sequence, batch in enumerate(nonsense):
            socket.send(head + sequence.to_bytes(8, "big") + msgpack.packb(batch))
        for sequence in range(len(nonsense), len(nonsense) + 50):
            socket.send(head + sequence.to_bytes(8, "big") + os.urandom(sequence))
        good = [[0, "counter", 0, None], [9, 1, "sides.add", ["n"]], [0, "counter", 1, 4]]
        socket.send(head + (len(nonsense) + 50).to_bytes(8, "big") + msgpack.packb(good))

        await eventually(lambda: counter.actor.total == 4)  # type: ignore[attr-defined]
        assert b.links.unreadable >= 50
        socket.close()


def test_nodes_run_on_uvloop_too() -> None:
    async def main() -> None:
        table = MemoryTable()
        async with Node("a", table=table) as a, Node("b", table=table) as b:
            await eventually(lambda: len(a.members()) == 2)
            await b.spawn(Counter, name="counter")
            counter = a.ref("counter@b")
            for _ in range(10_000):
                counter.tell(Add())
            assert await counter.call(Total()) == 10_000
            counter.kill()
            assert await counter.ended(1.0) in (Killed(), NoProc())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def test_a_program_that_never_stops_its_node_goes_on_and_ends() -> None:
    async with running("tests.forgetful") as program:
        assert await program.line() == "over"


async def test_without_file_descriptors_calls_end_nothing_is_lost_and_the_node_lives() -> None:
    async with running("tests.exhausted") as program:
        assert await program.line() == "a call ends by its deadline: DeadlineExceeded"
        assert await program.line() == "what was told arrived: 3"
        assert await program.line() == "reported once"


async def test_a_stranger_who_uses_a_living_nodes_name_with_an_older_life_changes_nothing() -> None:
    table = MemoryTable()
    async with Node("a", table=table) as a, Node("b", table=table) as b:
        await a.spawn(Counter, name="counter")
        assert await b.ref("counter@a").call(Total()) == 0
        link = a.links.to(Peer("b", b.incarnation))
        socket = stranger(a.address)
        for incarnation in (0, 1, b.incarnation - 1):
            hello = [OLDEST, NEWEST, incarnation + 9, "b", incarnation, "tcp://127.0.0.1:1", "a", a.incarnation]
            socket.send(bytes([HELLO]) + msgpack.packb(hello))
            await asyncio.to_thread(socket.recv)
        socket.close()
        assert link.lost is None
        assert await b.ref("counter@a").call(Total()) == 0
        assert a.links.towards("b") is link


async def test_a_tell_from_a_thread_returns_though_its_node_has_stopped() -> None:
    async with Node("a") as a, Node("b", join=a.address) as b:
        await b.spawn(Counter, name="recorder")
        by_name = a.ref("recorder@b")
        await by_name.call(Total())
        address = RemoteRef[Any](a.links.towards("b"), "recorder")
        await a.stop()
        before = a.system.dead_letters.count
        for ref in (by_name, address):
            async with asyncio.timeout(30):
                await asyncio.to_thread(ref.tell, Add())
        await eventually(lambda: a.system.dead_letters.count == before + 2)


class Stuck(MemoryTable):
    """Does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def read(self, since: Versions | None = None) -> Snapshot:
        self.asked.set()
        await asyncio.sleep(3600)
        raise AssertionError("nobody waits that long")


async def test_a_node_that_is_stopped_while_it_starts_is_stopped() -> None:
    table = Stuck()
    node = Node("stage", table=table)
    with pytest.raises(RuntimeError, match="the node is not started"):
        await node.stop()
    starting = asyncio.ensure_future(node.start())
    await table.asked.wait()
    address = node.address
    await node.stop()
    with pytest.raises(UnderstudyError, match="the node 'stage' was stopped while it started"):
        await starting
    assert await node.ended() == "it was stopped"
    network = ZeroMqNetwork()
    network.bind(address, lambda *_: None)  # nobody listens there any more
    network.close()


async def test_a_start_may_be_stopped_in_any_step_of_it(tmp_path: Path) -> None:
    for steps in range(40):
        node = Node("stage", state=tmp_path / str(steps))
        starting = asyncio.ensure_future(node.start())
        for _ in range(1 + steps):
            await asyncio.sleep(0.001 if steps > 20 else 0)
        await node.stop()
        await asyncio.wait((starting,))
        assert isinstance(starting.exception(), UnderstudyError | None)
        assert await node.ended() == "it was stopped"
        if node._links is not None and node.links.address:
            again = ZeroMqNetwork()
            again.bind(node.address, lambda *_: None)
            again.close()


async def test_a_name_on_a_node_that_cannot_be_is_refused_where_it_is_said() -> None:
    async with Node("a") as node:
        for name in ("x@", "x@" + "n" * 201):
            with pytest.raises(ValueError, match="a node's name has 1 to 200 characters"):
                node.ref(name)


async def test_whoever_listens_there_and_talks_nonsense_is_reported_and_no_node() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as garbler:
        garbler.linger = 0
        address = f"tcp://127.0.0.1:{garbler.bind_to_random_port('tcp://127.0.0.1')}"

        def garble() -> None:
            path, _ = garbler.recv_multipart()
            garbler.send_multipart([path, b"\xffgarbage"])

        async with Node("a") as a:
            talking = asyncio.create_task(asyncio.to_thread(garble))
            with pytest.raises(CannotReach):
                await a.links.meet(address, 1.0)
            await talking
            assert a.links.unreadable == 1


async def test_another_thread_that_waits_until_all_is_drained_is_told_where_to_wait() -> None:
    table = MemoryTable()
    async with Node("a", table=table) as a, Node("b", table=table) as b:
        await b.spawn(Counter, name="counter")
        await a.up("b")
        with pytest.raises(RuntimeError, match="belongs on the loop of the node 'a'"):
            await asyncio.to_thread(asyncio.run, a.drained(a.ref("counter@b")))
