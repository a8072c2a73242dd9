"""The page in a real browser, two people at it: New game, frames, chat, presence, a killed engine. And what it looks like."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.patience import PATIENCE
from tests.system.demo import Demo, Terminal, free_port, is_running
from understudy import Node
from understudy.gateway.messages import Locate
from understudy.supervisors import WhichChildren

GONE_WITHIN = 5_000 * PATIENCE
BACK_WITHIN = 10_000 * PATIENCE
SILENT_WITHIN = 9_000 * PATIENCE
"""Milliseconds."""

Light = Literal["dark", "light"]


@contextmanager
def person(
    browser: Browser, demo: Demo, *, width: int = 1280, height: int = 800, light: Light = "dark"
) -> Iterator[Page]:
    """Somebody at a browser of their own, in the lobby. Errors of the page fail the test."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=light)
    page = context.new_page()
    errors: list[str] = []
    foreign: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(demo.url) else foreign.append(request.url))
    page.goto(demo.url)
    expect(page.locator("#connection[data-state=connected]")).to_be_visible(timeout=GONE_WITHIN)
    expect(page.locator("[data-node='engine-1'][data-status=active]")).to_be_visible(timeout=BACK_WITHIN)
    try:
        yield page
    finally:
        context.close()
    assert errors == [], "the page raises no error"
    assert foreign == [], "nothing is fetched from elsewhere"


def call_oneself(page: Page, name: str) -> None:
    """Say in the chat who one is, as far as it asks."""
    field = page.locator("#chat-name")
    if field.is_visible():
        field.fill(name)
        field.press("Enter")
    expect(page.locator("#chat-input")).to_be_enabled()


def start_game(page: Page) -> str:
    """Press New game and return the run's id once its frames are drawn."""
    before = page.url
    page.locator("#new-game").click()
    expect(page).not_to_have_url(before)
    run = page.url.partition("#run/")[2]
    assert run
    expect(page.locator(f"#stage[data-run='{run}'] canvas[data-turn]")).to_be_visible(timeout=BACK_WITHIN)
    return run


def say(page: Page, text: str) -> None:
    """Say something in the chat, and see it there."""
    page.locator("#chat-input").fill(text)
    page.locator("#chat-input").press("Enter")
    expect(page.locator("[data-line]", has_text=text).last).to_be_visible()


def turn(page: Page) -> int:
    """The turn that the canvas shows."""
    return int(page.locator("canvas").get_attribute("data-turn") or -1)


def test_two_people_watch_the_same_game_live(demo: Demo, browser: Browser) -> None:
    with person(browser, demo) as ada, person(browser, demo) as bert:
        run = start_game(ada)
        expect(bert.locator(f"[data-run='{run}'][data-state=running]").first).to_be_visible()
        expect(bert.locator("canvas[data-turn]")).to_be_visible()
        for page in (ada, bert):
            before = turn(page)
            page.wait_for_function(
                "turn => Number(document.querySelector('canvas').dataset.turn) >= turn + 5", arg=before
            )
        assert abs(turn(ada) - turn(bert)) <= 5

        worker = demo.request("GET", f"/runs/{run}")[1]["worker_pid"]
        expect(ada.locator("#stage .facts")).to_contain_text(f"engine-1,\u00a0worker\u00a0{worker}")

        served = ada.locator("#served-by")
        expect(served).to_contain_text("stage")
        expect(served).to_contain_text(str(demo.process_of("stage")))


def test_a_game_is_watched_late_from_its_current_state(demo: Demo, browser: Browser) -> None:
    with person(browser, demo) as ada:
        run = start_game(ada)
        ada.wait_for_function("() => Number(document.querySelector('canvas').dataset.turn) >= 15")
        with person(browser, demo) as late:
            late.goto(f"{demo.url}/#run/{run}")
            expect(late.locator("canvas[data-turn]")).to_be_visible()
            assert turn(late) >= 15


def test_the_chat_shows_who_is_there_who_types_and_each_message_at_once(demo: Demo, browser: Browser) -> None:
    with person(browser, demo) as ada:
        call_oneself(ada, "Ada")
        with person(browser, demo) as bert:
            call_oneself(bert, "Bert")
            people = ada.locator("[data-person]")
            expect(people).to_have_count(2)

            bert.locator("#chat-input").press_sequentially("Good eve")
            expect(ada.locator("[data-draft] .letters")).to_have_text("Good eve")
            bert.locator("#chat-input").press_sequentially("ning!")
            bert.locator("#chat-input").press("Enter")
            expect(ada.locator("[data-line]", has_text="Good evening!")).to_be_visible()

            say(ada, "And to you")
            expect(bert.locator("[data-line]", has_text="And to you")).to_be_visible()
        expect(people).to_have_count(1, timeout=GONE_WITHIN)


def as_operator(demo: Demo, act: Callable[[Node], Awaitable[None]]) -> None:
    """Do something from another node."""

    async def acting() -> None:
        async with Node("operator", join=demo.join_address) as operator:
            await act(operator)

    with ThreadPoolExecutor() as elsewhere:  # Playwright has an event loop in this thread already
        elsewhere.submit(asyncio.run, acting()).result()


async def kill_sessions(operator: Node) -> None:
    for child in await operator.ref("gateway/sessions@stage").call(WhichChildren()):
        if child.ref is not None:
            child.ref.kill()
            await child.ref.ended(5)


async def kill_chat_room(operator: Node) -> None:
    room = await operator.entity("room", "room:lobby").call(Locate())
    room.kill()
    await room.ended(5)


def test_a_crashed_chat_room_comes_back_alone(demo: Demo, browser: Browser) -> None:
    """The game goes on without a pause, the connection stays, and the chat works again without a reload."""
    with person(browser, demo) as ada:
        call_oneself(ada, "Ada")
        say(ada, "before the crash")
        start_game(ada)
        ada.locator("#connection").evaluate(
            "mark => { window.lost = 0; new MutationObserver(() => { window.lost += mark.dataset.state !== 'connected' })"
            ".observe(mark, {attributes: true}) }"
        )
        as_operator(demo, kill_chat_room)
        say(ada, "after the crash")
        for text in ("before the crash", "after the crash"):
            expect(ada.locator("[data-line]", has_text=text)).to_have_count(1)
        expect(ada.locator("[data-gap]")).to_have_count(0)  # what was said is kept
        expect(ada.locator("[data-person]")).to_have_count(1)
        before = turn(ada)
        ada.wait_for_function("turn => Number(document.querySelector('canvas').dataset.turn) > turn", arg=before)
        assert ada.evaluate("window.lost") == 0


def test_a_crashed_session_comes_back_alone(demo: Demo, browser: Browser) -> None:
    """Only the client whose session it was reconnects, and then sees and hears as before."""
    with person(browser, demo) as ada:
        call_oneself(ada, "Ada")
        as_operator(demo, kill_sessions)
        expect(ada.locator("#connection")).to_have_attribute("data-state", "connected", timeout=BACK_WITHIN)
        say(ada, "here again")


def test_a_killed_engine_is_told_and_a_new_game_plays_without_a_reload(demo: Demo, browser: Browser) -> None:
    with person(browser, demo) as ada:
        ada.evaluate("window.notReloaded = true")
        for _ in range(3):
            run = start_game(ada)
            _, info = demo.request("GET", f"/runs/{run}")
            os.kill(info["pid"], signal.SIGKILL)

            lost = ada.locator(f"[data-run='{run}'][data-state=lost]").first
            expect(lost).to_be_visible(timeout=GONE_WITHIN)
            expect(ada.locator("[data-notice=warn]", has_text="engine-1").first).to_be_visible(timeout=GONE_WITHIN)
            expect(ada.locator("[data-node='engine-1'][data-status=active]")).to_be_visible(timeout=BACK_WITHIN)
            again = start_game(ada)
            assert again != run
            demo.request("DELETE", f"/runs/{again}")
        assert ada.evaluate("window.notReloaded") is True


def test_a_killed_stage_is_reconnected_to_without_a_reload(demo: Demo, browser: Browser) -> None:
    with person(browser, demo) as ada:
        ada.evaluate("window.notReloaded = true")
        seen = len(demo.lines)
        stage = int(ada.locator("#served-by").get_attribute("data-pid") or 0)
        assert is_running(stage)
        os.kill(stage, signal.SIGKILL)
        expect(ada.locator("#connection")).not_to_have_attribute("data-state", "connected", timeout=GONE_WITHIN)
        successor = demo.process_of("stage", after=seen)
        expect(ada.locator("#connection")).to_have_attribute("data-state", "connected", timeout=BACK_WITHIN)
        expect(ada.locator("#served-by")).to_contain_text(str(successor), timeout=BACK_WITHIN)
        assert ada.evaluate("window.notReloaded") is True


def test_games_and_what_was_said_outlive_the_stage_and_the_page_says_who_serves_it(
    demo: Demo, browser: Browser, screenshots: Path
) -> None:
    with person(browser, demo) as ada, person(browser, demo, width=390, height=844) as phone:
        run = start_game(ada)
        worker = demo.request("GET", f"/runs/{run}")[1]["worker_pid"]
        phone.goto(f"{demo.url}/#run/{run}")
        say(ada, "before the stage fell")
        for page in (ada, phone):
            page.wait_for_function("() => Number(document.querySelector('canvas').dataset.turn) >= 5")
        seen = len(demo.lines)
        os.kill(int(ada.locator("#served-by").get_attribute("data-pid") or 0), signal.SIGKILL)
        expect(ada.locator("#connection")).not_to_have_attribute("data-state", "connected", timeout=GONE_WITHIN)
        ada.locator("#chat-input").fill("while it was away")
        ada.locator("#chat-input").press("Enter")
        successor = demo.process_of("stage", after=seen)
        for page, name in ((ada, "desktop"), (phone, "phone")):
            notice = page.locator("[data-notice=info]", has_text=f"stage serves you now, as process {successor}.")
            expect(notice).to_be_visible(timeout=BACK_WITHIN)
            expect(page.locator(f"#stage[data-run='{run}']")).to_have_attribute("data-state", "running")
            page.screenshot(path=screenshots / f"stage-anew-{name}.png")
            for text in ("before the stage fell", "while it was away"):
                expect(page.locator("[data-line]", has_text=text)).to_have_count(1, timeout=BACK_WITHIN)
            expect(page.locator("[data-gap]")).to_have_count(0)
            before = turn(page)
            page.wait_for_function(
                "turn => Number(document.querySelector('canvas').dataset.turn) >= turn + 5", arg=before
            )
        assert demo.request("GET", f"/runs/{run}")[1]["worker_pid"] == worker
        ada.locator("#cancel").click()
        expect(phone.locator(f"#stage[data-run='{run}']")).to_have_attribute("data-state", "cancelled")


def test_a_server_that_stands_still_is_not_called_connected(browser: Browser, screenshots: Path) -> None:
    port = free_port()
    with Terminal(sys.executable, "-m", "understudy.examples.chat", "--port", str(port)) as server:
        server.wait_for(f"http://127.0.0.1:{port}")
        context = browser.new_context(viewport={"width": 390, "height": 600})
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/chat/")
        mark = page.locator("#connection")
        expect(mark).to_have_attribute("data-state", "connected")
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            expect(mark).to_have_attribute("data-state", "silent", timeout=SILENT_WITHIN)
            expect(mark).to_contain_text("No news for")
            page.screenshot(path=screenshots / "silent-phone.png")
            os.kill(server.process.pid, signal.SIGCONT)
            expect(mark).to_have_attribute("data-state", "connected", timeout=2_000)
            os.kill(server.process.pid, signal.SIGSTOP)
            expect(mark).to_have_attribute("data-state", "reconnecting", timeout=2 * SILENT_WITHIN)
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        expect(mark).to_have_attribute("data-state", "connected", timeout=BACK_WITHIN)
        context.close()


def test_a_game_without_news_says_so_on_the_stage_until_there_are_some(demo: Demo, browser: Browser) -> None:
    with person(browser, demo) as ada:
        worker = demo.request("GET", f"/runs/{start_game(ada)}")[1]["worker_pid"]
        late = ada.locator("#stage .late")
        os.kill(worker, signal.SIGSTOP)
        try:
            expect(late).to_contain_text("No news for 3 s", timeout=GONE_WITHIN)
            expect(ada.locator("#connection")).to_have_attribute("data-state", "connected")
        finally:
            os.kill(worker, signal.SIGCONT)
        expect(late).to_be_hidden(timeout=GONE_WITHIN)


def test_on_a_phone_a_notice_covers_nothing_and_a_tap_dismisses_it(
    demo: Demo, browser: Browser, screenshots: Path
) -> None:
    with person(browser, demo, width=390, height=844) as ada:
        ada.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        os.kill(demo.request("GET", f"/runs/{start_game(ada)}")[1]["pid"], signal.SIGKILL)
        notice = ada.locator(".notice")
        expect(notice).to_have_count(1, timeout=GONE_WITHIN)
        top = ada.locator("#notices").bounding_box()
        assert top is not None
        for needed in ("#served-by", "#nodes"):
            ada.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
            box = ada.locator(needed).bounding_box()
            assert box is not None
            assert box["y"] + box["height"] <= top["y"]
        ada.screenshot(path=screenshots / "notice-phone-end.png")
        ada.locator("[data-jump=chat-section]").click()
        ada.wait_for_function(
            "() => { const place = (id) => document.querySelector(id).getBoundingClientRect();"
            " return place('#chat-section').top >= 0 && place('#chat-section').bottom <= place('#notices').top }"
        )
        ada.screenshot(path=screenshots / "notice-phone-chat.png")
        expect(notice).to_have_count(1)
        notice.locator("p").click()
        expect(notice).to_have_count(0)


@pytest.mark.parametrize("light", ["dark", "light"])
@pytest.mark.parametrize(("device", "width", "height"), [("desktop", 1280, 800), ("phone", 390, 844)])
def test_pages_fit_their_screen_in_both_lights(
    demo: Demo, browser: Browser, screenshots: Path, device: str, width: int, height: int, light: Light
) -> None:
    """Takes the pictures that a person looks at; checks what a machine can see: nothing hangs out at the side."""
    with person(browser, demo, width=width, height=height, light=light) as ada:
        call_oneself(ada, "Ada")
        start_game(ada)
        say(ada, "Break a leg, everybody")
        ada.wait_for_function("() => Number(document.querySelector('canvas').dataset.turn) >= 20")
        ada.evaluate("scrollTo(0, 0)")
        ada.screenshot(path=screenshots / f"lobby-{device}-{light}.png")
        ada.screenshot(path=screenshots / f"lobby-{device}-{light}-whole.png", full_page=True)
        assert ada.evaluate("document.documentElement.scrollWidth <= innerWidth")
