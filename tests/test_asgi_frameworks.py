"""The gateway inside of FastAPI, Starlette and Django: the three examples, behind a real server."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tests.asgi_helpers import serving
from tests.gateway_helpers import Client
from understudy.examples.mounted import with_django, with_fastapi, with_starlette


@pytest.mark.parametrize("site", [with_fastapi, with_starlette, with_django], ids=lambda site: site.__name__)
async def test_a_site_has_its_own_pages_and_everything_of_the_gateway_below_live(site: Any) -> None:
    async with serving(site.app) as url, aiohttp.ClientSession() as http:
        async with http.ws_connect(f"{url}/live/socket/websocket?vsn=2.0.0") as socket:
            client = Client(socket)
            assert await client.join("cafe:corner") == ("ok", {"menu": ["tea", "cake"]})
            stream = await http.get(f"{url}/live/topics/cafe:corner/events")
            assert stream.content_type == "text/event-stream"
            await stream.content.readuntil(b"\n\n")

            assert await client.ask("cafe:corner", "order", {"dish": "tea"}) == ("ok", {"minutes": 3})
            assert await client.event("cafe:corner", "ordered") == {"dish": "tea"}
            async with http.post(f"{url}/announce/corner?text=closing") as response:
                assert (response.status, await response.json()) == (200, {"announced": True})
            assert await client.event("cafe:corner", "announced") == {"text": "closing"}
            assert b'event: ordered\ndata: {"dish":"tea"}\n' in await stream.content.readuntil(b"\n\n")
            assert b"event: announced\n" in await stream.content.readuntil(b"\n\n")
            stream.close()

            body = json.dumps({"event": "announced", "payload": {"text": "free cake"}})
            async with http.post(f"{url}/live/topics/cafe:corner/publish", data=body) as response:
                assert (await response.json())["error"]["message"] == "only the house announces"
        async with http.get(f"{url}/live/healthz") as response:
            assert (await response.json())["node"] == "cafe"
        async with http.get(f"{url}/live/understudy/understudy.js") as response:
            assert (response.status, response.content_type) == (200, "text/javascript")
        async with http.get(f"{url}/nothing/here") as response:
            assert response.status == 404
        system = site.live.system
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    with pytest.raises(RuntimeError, match="not started"):
        _ = site.live.system
    assert system.name == "cafe"


async def test_a_client_is_sent_away_with_1012_when_the_site_stops_and_the_site_stops() -> None:
    async with aiohttp.ClientSession() as http:
        async with serving(with_fastapi.app) as url:
            socket = await http.ws_connect(f"{url}/live/socket/websocket?vsn=2.0.0")
            await Client(socket).join("cafe:corner")
            closed = asyncio.create_task(Client(socket).closed())
        assert await closed == 1012
