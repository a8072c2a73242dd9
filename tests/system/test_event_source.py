"""Chromium's own `EventSource` and `fetch`: the cases of our fixture, a stream that is cut, and a page of another origin."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.sync_api import Browser, Page

from understudy.actors import ActorSystem
from understudy.gateway import Gateway, GetUrl, Principal, Room

CASES = json.loads((Path(__file__).parent.parent / "fixtures" / "event_streams.json").read_text())

READ = """([url, names]) => new Promise((done) => {
  const heard = [], source = new EventSource(url);
  const hear = ({ type, data, lastEventId }) => { heard.push([type, data, lastEventId]); };
  for (const name of names) source.addEventListener(name, hear);
  source.onerror = () => { source.close(); done(heard); };  // the stream's end
})"""

FOLLOW = """([base, times]) => new Promise((done, fail) => {
  const heard = [], ids = [], source = new EventSource(`${base}/topics/board:a/events`);
  const say = (n) => fetch(`${base}/topics/board:a/publish`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ event: "note", payload: { n } }),
  });
  source.addEventListener("joined", async ({ data }) => {
    ids.push(JSON.parse(data).recovered);
    // Each time that it is there it is cut, and told something while it is away.
    if (ids.length <= times) { await fetch(`${base}/cut`, { method: "POST" }); await say(heard.length + 100 * ids.length); }
    else await say("last");
  });
  source.addEventListener("note", ({ data }) => {
    heard.push(JSON.parse(data).n);
    if (heard.at(-1) === "last") { source.close(); done({ heard, ids }); }
  });
  setTimeout(() => fail(new Error(JSON.stringify({ heard, ids }))), 30000);
})"""

SHOP = """async (base) => {
  const module = await import(`${base}/understudy/understudy.js`);
  const said = await fetch(`${base}/topics/board:b/publish`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ event: "note", payload: 1 }),
  });
  const refused = await fetch(`${base}/topics/nowhere/state`);
  return { module: typeof module.Socket, said: await said.json(), refused: (await refused.json()).error.code };
}"""


class Board(Room):
    def on_read(self, principal: Principal) -> None:
        pass

    def on_publish(self, principal: Principal, event: str, payload: Any) -> None:
        self.broadcast(event, payload)


async def case(request: web.Request) -> web.Response:
    text = CASES[int(request.match_info["number"])]["stream"].encode()
    return web.Response(body=text, content_type="text/event-stream")


async def page(_: web.Request) -> web.Response:
    return web.Response(text="<!doctype html><title>Shop</title>", content_type="text/html")


class Site:
    """A gateway, and a shop on another port, which is another origin; on a loop of their own, since Playwright holds this one."""

    gateway: str
    shop: str

    async def run(self, ready: "Future[None]", over: "Future[None]") -> None:
        shop = web.Application()
        shop.add_routes([web.get("/", page)])
        runner = web.AppRunner(shop)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.shop = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with ActorSystem("site") as system:

            async def cut(_: web.Request) -> web.Response:
                for connection in list(services.connections):
                    connection.reset()
                return web.json_response({})

            routes = [web.get("/cases/{number}", case), web.get("/page", page), web.post("/cut", cut)]
            gateway = await system.spawn(
                Gateway, "site", port=0, topics={"board:*": Board}, routes=routes, origins=[self.shop]
            )
            services = gateway.actor.server.services  # type: ignore[attr-defined]
            self.gateway = await gateway.call(GetUrl())
            ready.set_result(None)
            await asyncio.wrap_future(over)
        await runner.cleanup()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site, ready, over = Site(), Future[None](), Future[None]()
    thread = threading.Thread(target=lambda: asyncio.run(site.run(ready, over)))
    thread.start()
    try:
        ready.result(30.0)
        yield site
    finally:
        over.set_result(None)
        thread.join(30.0)


@pytest.fixture
def at_home(browser: Browser, site: Site) -> Iterator[Page]:
    with browser.new_page() as page:
        page.goto(site.gateway + "/page")
        yield page


def test_a_browser_reads_our_cases_as_we_say_it_does(at_home: Page, site: Site) -> None:
    for number, expected in enumerate(CASES):
        names = sorted({"message", *(name for name, _, _ in expected["events"])})
        heard = at_home.evaluate(READ, [f"{site.gateway}/cases/{number}", names])
        assert heard == expected["events"], expected["name"]


def test_an_event_source_that_is_cut_over_and_over_hears_everything_once_and_in_order(
    at_home: Page, site: Site
) -> None:
    found = at_home.evaluate(FOLLOW, [site.gateway, 2])
    assert found["heard"][-1] == "last"
    assert len(found["heard"]) == 3
    assert found["heard"] == [*sorted(found["heard"][:2]), "last"]
    assert found["ids"] == [False, True, True]


def test_a_page_of_an_allowed_origin_uses_the_gateway_as_a_service(browser: Browser, site: Site) -> None:
    with browser.new_page() as page:
        page.goto(site.shop)
        assert page.evaluate(SHOP, site.gateway) == {
            "module": "function",
            "said": {"response": {}},
            "refused": "unmatched_topic",
        }
        assert page.evaluate(FOLLOW, [site.gateway, 0])["heard"] == ["last"]


def test_a_page_of_another_origin_can_read_nothing(browser: Browser, site: Site) -> None:
    with browser.new_page() as page:
        page.goto(site.shop.replace("127.0.0.1", "localhost"))
        asked = "(base) => fetch(`${base}/topics/board:a/state`).then((answer) => answer.json(), (error) => error.name)"
        assert page.evaluate(asked, site.gateway) == "TypeError"
