"""Gateways are restarted under programs that listen: nobody misses anything, and everybody comes back when it was asked to."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from tests.gateway_helpers import PATIENCE, House
from tests.helpers import eventually
from understudy.actors import ActorSystem
from understudy.client import Channel, Event, connect
from understudy.client.socket import address
from understudy.client.wire import Wire, dial
from understudy.gateway import Gateway, GetUrl, Shared
from understudy.transport import Node


class Street:
    """Several gateways behind one address: each connection goes to the next one in turn. The room is on none of them."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._nodes: dict[str, Node] = {}
        self._urls: dict[str, str] = {}
        self._turns = count()

    async def open(self, name: str) -> None:
        node = self._nodes[name] = await Node(name, state=self._state).__aenter__()
        gateway = await node.spawn(Gateway, name, port=0, topics={"room:*": Shared("room")})
        self._urls[name] = address(await gateway.call(GetUrl()))

    async def close(self, name: str) -> None:
        node = self._nodes.pop(name)
        await node.drain(30.0)
        del self._urls[name]
        await node.__aexit__(None, None, None)

    async def dial(self, url: str, headers: Mapping[str, str], token: str | None) -> Wire:
        names = sorted(self._urls)
        return await dial(self._urls[names[next(self._turns) % len(names)]], headers, token)


@asynccontextmanager
async def street(state: Path) -> AsyncIterator[Street]:
    async with Node("attic", state=state) as attic:
        attic.host("room", House)
        made = Street(state)
        try:
            yield made
        finally:
            for name in list(made._nodes):
                await made.close(name)


async def test_a_rolling_restart_of_three_gateways_loses_no_event_of_a_client_that_resumes(tmp_path: Path) -> None:
    names = ("one", "two", "three")
    async with street(tmp_path) as gateways:
        for name in names:
            await gateways.open(name)
        sockets = [await connect("http://street", dial=gateways.dial).open() for _ in range(4)]
        rooms = [await socket.join("room:a") for socket in sockets]
        said: list[int] = []
        over = asyncio.Event()

        async def speak(room: Channel) -> None:
            """Goes on until all are restarted; what was not answered may have been said."""
            for number in count():
                if over.is_set():
                    break
                await asyncio.sleep(0.02)  # no faster than a gateway lets one connection speak
                try:
                    await room.push("shout", {"n": number})
                except ConnectionError:
                    continue
                said.append(number)

        async def listen(room: Channel) -> list[Event]:
            return [event async for event in room if event.name in ("heard", "phx_resync")]

        listeners = [asyncio.create_task(listen(room)) for room in rooms[1:]]
        speaker = asyncio.create_task(speak(rooms[0]))
        for name in names:
            await gateways.close(name)
            await gateways.open(name)
        over.set()
        await speaker
        assert await rooms[0].push("shout", {"n": "last"}) == {"shouted": True}
        await eventually(lambda: len({room.cursor for room in rooms}) == 1)
        for socket in sockets:
            await socket.close()
        for heard in await asyncio.gather(*listeners):
            assert all(event.name == "heard" for event in heard), "nobody was told of a gap"
            numbers = [event.payload["n"] for event in heard if event.payload["n"] != "last"]
            assert numbers == sorted(set(numbers)), "in order, none twice"
            assert set(said) <= set(numbers)


async def test_a_gateway_that_stops_names_a_window_and_its_clients_keep_to_it() -> None:
    async with ActorSystem("one") as system:
        gateway = await system.spawn(Gateway, "one", port=0, topics={"room:*": House})
        socket = await connect(await gateway.call(GetUrl())).open()
        room = await socket.join("room:a")
        started = asyncio.get_running_loop().time()
    assert socket._back_at is not None
    assert started <= socket._back_at <= asyncio.get_running_loop().time() + 5.0
    assert room.state == "waiting"
    await asyncio.wait_for(socket.close(), PATIENCE)
