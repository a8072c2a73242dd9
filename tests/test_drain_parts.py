"""What a gateway and an engine do when their node drains, with real sockets and real worker processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateway_helpers import Client, House
from tests.helpers import eventually
from understudy.actors import Actor, ActorRef, Refused
from understudy.engine import EndRun, Engine, RunEnded, StartRun
from understudy.gateway import Gateway, GetUrl
from understudy.gateway.services import Services
from understudy.transport import DrainReport, Node

PROGRAMS = "tests.run_programs"


class Listener(Actor):
    """Puts what it is told into a queue."""

    def __init__(self, heard: "asyncio.Queue[Any]") -> None:
        super().__init__()
        self.heard = heard

    def on_receive(self, message: Any) -> None:
        self.heard.put_nowait(message)


@asynccontextmanager
async def serving(tmp_path: Path, clients: int) -> AsyncIterator[tuple[Node, str, aiohttp.ClientSession, list[Client]]]:
    """A node with a gateway, and so many clients."""
    async with Node("stage", state=tmp_path) as node, aiohttp.ClientSession() as http:
        gateway = await node.spawn(Gateway, "stage", port=0, topics={"room:*": House})
        url = await gateway.call(GetUrl()) + "/socket/websocket?vsn=2.0.0"
        yield node, url, http, [Client(await http.ws_connect(url)) for _ in range(clients)]


async def test_clients_of_a_draining_node_are_sent_away_in_batches_and_new_ones_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.gateway.server.BATCH", 3)
    async with serving(tmp_path, clients=8) as (node, url, http, clients):
        await asyncio.gather(*(client.join("room:a") for client in clients))
        codes: list[int | None] = []

        async def until_closed(client: Client) -> None:
            codes.append(await client.closed())
            if len(codes) == 1:
                assert not draining.done()
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await http.ws_connect(url)
                assert refused.value.status == 503
                assert refused.value.headers is not None
                assert refused.value.headers["Retry-After"] == "1"

        draining = asyncio.ensure_future(node.drain(30.0))
        await asyncio.gather(*(until_closed(client) for client in clients))
        assert codes == [1012] * 8, "whoever sees 1000 does not come back"
        report = await draining
        assert report.complete
        assert report.seconds >= 0.5, "three batches"


async def test_clients_are_taken_again_when_a_drain_is_called_off(tmp_path: Path) -> None:
    """The gateway's /readyz says both."""
    async with serving(tmp_path, clients=1) as (node, url, http, [client]):

        async def ready() -> tuple[int, list[str]]:
            async with http.get(url.partition("/socket")[0] + "/readyz") as answer:
                return answer.status, (await answer.json())["why"]

        await client.join("room:a")
        hanging = asyncio.Event()

        async def hang(deadline: float) -> None:
            hanging.set()
            await asyncio.Event().wait()

        forget = node.drains.add("mailboxes", "mine", hang)
        draining = asyncio.ensure_future(node.drain())
        assert await client.closed() == 1012
        await hanging.wait()
        assert await ready() == (503, ["its node is draining"])
        draining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await draining
        again = Client(await http.ws_connect(url))
        assert (await again.join("room:a"))[0] == "ok"
        forget()
        assert await ready() == (200, [])


@asynccontextmanager
async def running(tmp_path: Path, *programs: tuple[str, dict[str, Any]]) -> AsyncIterator[Any]:
    """A node with an engine, and these runs under way."""
    heard: asyncio.Queue[Any] = asyncio.Queue()
    async with Node("engine-1", state=tmp_path, roles=("engine",)) as node:
        engine = await node.spawn(Engine, [PROGRAMS], name="engine")
        listener = await node.spawn(Listener, heard)
        for number, (program, args) in enumerate(programs):
            await engine.call(StartRun(f"run-{number}", program, args, None, listener), timeout=20.0)
        yield node, engine, listener, heard


async def started(node: Node, engine: ActorRef[Any], listener: ActorRef[Any]) -> "asyncio.Task[DrainReport]":
    """A drain which has come to the runs: the engine refuses others."""
    draining = asyncio.ensure_future(node.drain(60.0))
    await eventually(lambda: node.draining)
    with pytest.raises(Refused, match="the node 'engine-1' drains"):
        await engine.call(StartRun("more", "sum", {"numbers": [1]}, None, listener))
    return draining


async def test_an_engine_that_drains_takes_no_runs_and_lets_those_under_way_end(tmp_path: Path) -> None:
    async with running(tmp_path, ("forever", {}), ("forever", {})) as (node, engine, listener, heard):
        assert node.placement.load.kinds == {"run": 2}
        draining = await started(node, engine, listener)
        for run in ("run-0", "run-1"):
            assert not draining.done()
            engine.tell(EndRun(run))
        report = await draining
        assert report.complete
        ended = set()
        while not heard.empty():
            match heard.get_nowait():
                case RunEnded(run):
                    ended.add(run)
        assert ended == {"run-0", "run-1"}, "before the drain was over"
        assert node.placement.load.kinds == {}


async def test_runs_that_outlast_a_drain_are_named(tmp_path: Path) -> None:
    async with running(tmp_path, ("forever", {})) as (node, _, _, _):
        report = await node.drain(0.2)
        assert report.left == {"engine": ("the run run-0 goes on, and is cut when the node stops",)}
        assert "run-0" in str(report)


async def test_a_client_whose_session_still_starts_is_sent_away_like_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting, go_on = asyncio.Event(), asyncio.Event()
    start = Services.start_actor

    async def slowly(*args: Any) -> Any:
        starting.set()
        await go_on.wait()
        return await start(*args)

    async with serving(tmp_path, clients=0) as (node, url, http, _):
        monkeypatch.setattr(Services, "start_actor", slowly)
        client = Client(await http.ws_connect(url))
        await starting.wait()
        draining = asyncio.ensure_future(node.drain(30.0))
        assert await client.closed() == 1012
        go_on.set()
        assert (await draining).complete
