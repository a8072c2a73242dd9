"""The chat's page in a real browser, several people at it: what they see of each other, letter by letter, and what they keep."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, Locator, Page, WebSocketRoute, expect

from tests.patience import PATIENCE
from tests.system.demo import Terminal, free_port

BACK_WITHIN = 15_000 * PATIENCE
"""Milliseconds."""

Light = Literal["dark", "light"]

FLOOD = """async ([room, count]) => {
  const { Socket } = await import("/understudy/understudy.js");
  for (let said = 0; said < count; ) {
    const socket = new Socket().connect(); // nobody says more than so much at a time: each 20 lines are somebody else's
    const channel = socket.channel(`room:${room}`, { name: "Prompter" }).join();
    await new Promise((joined) => channel.onState(({ state }) => state === "joined" && joined()));
    for (const end = Math.min(count, said + 20); said < end; said++) await channel.push("say", { text: `line ${said + 1}` });
    socket.disconnect();
  }
}"""
"""People who say a lot, without a page."""


@pytest.fixture(scope="module")
def chat() -> Iterator[str]:
    """The address of a chat server."""
    port = free_port()
    with Terminal(sys.executable, "-m", "understudy.examples.chat", "--port", str(port)) as server:
        server.wait_for(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}/chat/"


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    """A room of the test's own."""
    return re.sub(r"\W+", "-", request.node.name.removeprefix("test_"))[:48]


class Person:
    """Somebody at a browser of their own."""

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.name = name
        self.box = page.locator("#chat-input")

    def say(self, text: str) -> None:
        """Say it, and see it there."""
        self.box.fill(text)
        self.box.press("Enter")
        expect(self.line(text)).to_be_visible()

    def line(self, text: str) -> Locator:
        return self.page.locator("[data-line] .text", has_text=re.compile(f"^{re.escape(text)}$"))

    def texts(self) -> list[str]:
        """What stands there, from the top."""
        return self.page.locator("[data-line] .text").all_inner_texts()

    def unread(self, room: str) -> Locator:
        return self.page.locator(f"[data-room='{room}'] .badge")


def enter(context: BrowserContext, chat: str, room: str, name: str) -> Person:
    """A window of that browser, in the room. What it should not do fails the test, when the browser closes."""
    page = context.new_page()
    page.goto(f"{chat}#{room}")
    expect(page.locator("#connection[data-state=connected]")).to_be_visible(timeout=BACK_WITHIN)
    expect(page.locator(f"[data-room='{room}'][data-state=joined]")).to_be_attached()
    return Person(page, name)


@contextmanager
def person(
    browser: Browser, chat: str, room: str, name: str, *, size: tuple[int, int] = (1280, 800), light: Light = "dark"
) -> Iterator[Person]:
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=light, has_touch=width < 500
    )
    context.add_init_script(f"if (location.host) localStorage['understudy.name'] ??= '{name}'")
    troubles: list[str] = []
    context.on("weberror", lambda error: troubles.append(str(error.error)))
    context.on("request", lambda request: None if request.url.startswith(chat[:-6]) else troubles.append(request.url))
    try:
        yield enter(context, chat, room, name)
    finally:
        context.close()
    assert troubles == [], "the page raises no error and fetches nothing from elsewhere"


def test_every_letter_is_seen_as_it_is_written_and_as_it_is_taken_back(chat: str, browser: Browser, room: str) -> None:
    with person(browser, chat, room, "Ada") as ada, person(browser, chat, room, "Bert") as bert:
        letters = bert.page.locator("[data-draft] .letters")
        seen = bert.page.evaluate_handle(
            "() => { const seen = [];"
            " const look = () => { const text = document.querySelector('[data-draft] .letters')?.textContent ?? '';"
            " if (text !== seen.at(-1)) seen.push(text) };"
            " new MutationObserver(look).observe(document.querySelector('.drafts'),"
            " {childList: true, subtree: true, characterData: true}); return seen }"
        )
        ada.box.press_sequentially("Hej")
        expect(letters).to_have_text("Hej")
        ada.box.press("Backspace")
        ada.box.press_sequentially("llo")
        expect(letters).to_have_text("Hello")
        assert seen.json_value() == ["H", "He", "Hej", "He", "Hel", "Hell", "Hello"]
        ada.box.press("Enter")
        expect(bert.line("Hello")).to_be_visible()
        expect(letters).to_have_count(0)
        ada.box.press_sequentially("x")
        expect(letters).to_have_text("x")
        ada.box.press("Backspace")
        expect(letters).to_have_count(0)


def test_who_keeps_the_letters_back_is_seen_to_write_and_no_more(chat: str, browser: Browser, room: str) -> None:
    with person(browser, chat, room, "Ada") as ada, person(browser, chat, room, "Bert") as bert:
        ada.page.locator("#chat-letters").uncheck()
        ada.box.press_sequentially("a surprise")
        draft = bert.page.locator("[data-draft]")
        expect(draft).to_contain_text("is writing")
        expect(draft).not_to_contain_text("surprise")
        ada.box.press("Enter")
        expect(bert.line("a surprise")).to_be_visible()


def test_in_panes_everybody_has_one_with_what_they_said_and_write(chat: str, browser: Browser, room: str) -> None:
    with person(browser, chat, room, "Ada") as ada, person(browser, chat, room, "Bert") as bert:
        bert.say("from before")
        ada.page.get_by_role("button", name="Panes", exact=True).click()
        pane = ada.page.locator("[data-pane]")
        expect(pane).to_have_count(1)
        expect(pane).to_contain_text("from before")
        bert.box.press_sequentially("and now")
        expect(pane.locator(".letters")).to_have_text("and now")
        expect(pane).to_have_attribute("data-writing", "")
        bert.box.press("Control+A")
        bert.box.press("Delete")
        expect(pane.locator(".letters")).to_have_text("")
        expect(pane).not_to_have_attribute("data-writing", "")
        ada.box.fill("mine")
        ada.box.press("Enter")
        expect(ada.page.locator(".mine")).to_contain_text("mine")
        with person(browser, chat, room, "Cleo"):
            expect(pane).to_have_count(2)
        expect(pane).to_have_count(1, timeout=BACK_WITHIN)


def test_what_is_unread_is_counted_in_the_list_and_the_title_and_marked_where_it_begins(
    chat: str, browser: Browser, room: str
) -> None:
    with person(browser, chat, room, "Ada") as ada, person(browser, chat, room, "Bert") as bert:
        bert.say("read")
        expect(ada.line("read")).to_be_visible()
        ada.page.goto(f"{chat}#lobby")
        bert.say("first")
        bert.say("second")
        expect(ada.unread(room)).to_have_text("2 unread")
        expect(ada.page).to_have_title(re.compile(r"^\(2\) lobby"))
        ada.page.reload()
        expect(ada.unread(room)).to_have_text("2 unread")
        ada.page.locator(f"[data-room='{room}'] a").click()
        marked = ada.page.locator("[data-line]", has=ada.page.locator("[data-new]"))
        expect(marked.locator(".text")).to_have_text("first")
        expect(ada.unread(room)).to_be_hidden()
        expect(ada.page).to_have_title(re.compile(f"^{room}"))
        ada.say("an answer")
        expect(marked).to_have_count(0)


def test_who_reads_back_is_not_moved_by_what_comes_or_by_what_is_fetched(
    chat: str, browser: Browser, room: str
) -> None:
    with person(browser, chat, room, "Ada") as ada:
        ada.page.evaluate(FLOOD, [room, 130])
        expect(ada.line("line 130")).to_be_in_viewport()
        ada.page.reload()
        expect(ada.line("line 130")).to_be_in_viewport()
        assert len(ada.texts()) == 50
        scroll = ada.page.locator(".lines")
        for first in (31, 1):
            scroll.evaluate("box => { box.scrollTop = 100 }")
            expect(ada.line(f"line {first}")).to_be_attached()
        assert ada.texts() == [f"line {number}" for number in range(1, 131)]
        expect(ada.page.locator(".before")).to_have_text("The first line that this room remembers.")
        stays = ada.line("line 60")
        stays.evaluate("line => line.scrollIntoView({block: 'center'})")
        before = stays.bounding_box()
        with person(browser, chat, room, "Bert") as bert:
            bert.say("from below")
            expect(ada.page.get_by_role("button", name="1 new line")).to_be_visible()
        assert stays.bounding_box() == before
        ada.page.get_by_role("button", name="1 new line").click()
        expect(ada.line("from below")).to_be_in_viewport()


def test_a_line_that_is_fetched_from_before_leaves_the_reader_where_they_are(
    chat: str, browser: Browser, room: str
) -> None:
    with person(browser, chat, room, "Ada") as ada:
        ada.page.evaluate(FLOOD, [room, 80])
        ada.page.reload()
        expect(ada.line("line 80")).to_be_in_viewport()
        moved = ada.page.evaluate(
            """async () => {
              const box = document.querySelector(".lines"), lines = document.querySelectorAll("[data-line]");
              const seen = lines[3], log = document.querySelector("[role=log] ol");
              const before = () => seen.getBoundingClientRect().top;
              const fetched = new Promise((done) => new MutationObserver(done).observe(log, { childList: true }));
              box.scrollTop = 60;
              const was = before();
              await fetched;
              return before() - was;
            }"""
        )
        assert abs(moved) < 2


class Cable:
    """The way from a page to the server, which can be pulled out."""

    def __init__(self, page: Page) -> None:
        self.out = False
        self._open: list[WebSocketRoute] = []
        page.route_web_socket(re.compile("/socket/"), self._connect)

    def _connect(self, route: WebSocketRoute) -> None:
        if self.out:
            route.close(code=4000, reason="the cable is out")
        else:
            route.connect_to_server()
            self._open.append(route)

    def pull(self) -> None:
        self.out = True
        for route in self._open:
            route.close(code=4000, reason="the cable is out")
        self._open.clear()

    def plug(self) -> None:
        self.out = False


def test_who_was_cut_off_finds_every_line_and_has_said_their_own_once(
    chat: str, browser: Browser, room: str, screenshots: Path
) -> None:
    with person(browser, chat, room, "Ada") as ada, person(browser, chat, room, "Bert") as bert:
        cable = Cable(ada.page)
        ada.page.reload()
        expect(ada.page.locator(f"[data-room='{room}'][data-state=joined]")).to_be_attached()
        bert.say("before")
        expect(ada.line("before")).to_be_visible()
        cable.pull()
        expect(ada.page.locator("#connection")).not_to_have_attribute("data-state", "connected")
        for number in range(60):
            bert.say(f"meanwhile {number}")
        for text in ("from my desert island", "and another"):
            ada.box.fill(text)
            ada.box.press("Enter")
        expect(ada.page.locator("[data-unsent]")).to_have_count(2)
        expect(ada.page.locator("#chat-trouble")).to_contain_text("goes out as soon as you are")
        ada.page.screenshot(path=screenshots / "chat-offline.png")
        cable.plug()
        expect(ada.line("and another")).to_be_visible(timeout=BACK_WITHIN)
        expect(ada.page.locator("[data-unsent]")).to_have_count(0)
        own = ["from my desert island", "and another"]
        assert ada.texts() == ["before", *(f"meanwhile {number}" for number in range(60)), *own]
        expect(bert.line("and another")).to_have_count(1)
        expect(ada.page.locator("[data-gap]")).to_have_count(0)


def test_two_windows_of_a_browser_are_one_person(chat: str, browser: Browser, room: str) -> None:
    with person(browser, chat, room, "Ada") as ada, person(browser, chat, room, "Bert") as bert:
        second = enter(ada.page.context, chat, room, "Ada")
        expect(bert.page.locator("[data-person]")).to_have_count(2)
        second.say("from my other window")
        expect(ada.page.locator("[data-mine] .text")).to_have_text("from my other window")
        second.page.close()
        expect(bert.page.locator("[data-person]")).to_have_count(2)


def test_everything_is_done_without_a_mouse(chat: str, browser: Browser, room: str) -> None:
    """Nothing here is clicked or focused by the test: a person with a keyboard has only its keys."""
    with person(browser, chat, "lobby", "Ada") as ada, person(browser, chat, room, "Bert") as bert:
        keys = ada.page.keyboard

        def tab_to(name: str, role: str = "button", back: bool = False) -> None:
            for _ in range(40):
                keys.press("Shift+Tab" if back else "Tab")
                if ada.page.get_by_role(role, name=name).and_(ada.page.locator(":focus")).count():  # type: ignore[arg-type]
                    return
            raise AssertionError(f"{role} {name!r} is not reached by Tab")

        expect(ada.box).to_be_focused()
        tab_to("Open a room", "textbox", back=True)
        keys.type(room)
        keys.press("Enter")
        expect(ada.box).to_be_focused()
        expect(ada.page.locator("#room")).to_have_text(room)
        keys.type("one")
        keys.press("Shift+Enter")
        keys.type("two")
        keys.press("Enter")
        expect(bert.page.locator("[data-line] .text")).to_have_text("one\ntwo")
        tab_to("Panes")
        keys.press("Enter")
        expect(ada.page.locator("[data-pane]")).to_contain_text("Bert")
        keys.press("Shift+Tab")
        keys.press("Space")
        expect(ada.page.locator("[data-pane]")).to_be_hidden()
        tab_to("You are", "textbox", back=True)
        keys.press("Control+A")
        keys.type("Countess")
        keys.press("Enter")
        expect(bert.page.locator("[data-person]", has_text="Countess")).to_be_visible()
        tab_to("Live letters", "checkbox")
        keys.press("Space")
        tab_to(f"Conversation in {room}", "region")
        tab_to(f"Your message to {room}", "textbox")
        keys.type("hidden")
        expect(bert.page.locator("[data-draft]")).to_contain_text("is writing")
        keys.press("Alt+ArrowUp")
        expect(ada.page.locator("#room")).to_have_text("lobby")
        bert.say("come back")
        expect(ada.unread(room)).to_be_visible()
        keys.press("Alt+ArrowDown")
        expect(ada.line("come back")).to_be_visible()
        expect(ada.box).to_have_value("hidden")
        tab_to(f"Leave {room}", back=True)
        keys.press("Enter")
        expect(ada.page.locator("#room")).to_have_text("lobby")
        expect(ada.page.locator(f"[data-room='{room}']")).to_have_count(0)
        tab_to("Evening", back=False)
        keys.press("Enter")
        expect(ada.page.locator("html")).to_have_attribute("data-light", "matinee")


def test_on_a_phone_rooms_and_people_open_over_the_page_and_escape_closes_them(
    chat: str, browser: Browser, room: str
) -> None:
    with person(browser, chat, room, "Ada", size=(390, 844)) as ada:
        ada.page.get_by_role("button", name="Rooms").tap()
        rooms = ada.page.get_by_role("navigation", name="Rooms")
        expect(rooms).to_be_visible()
        ada.page.keyboard.press("Escape")
        expect(rooms).to_be_hidden()
        ada.page.get_by_role("button", name="1 here").tap()
        expect(ada.page.locator("[data-person]")).to_be_visible()
        ada.page.keyboard.press("Escape")
        expect(ada.page.locator("[data-person]")).to_be_hidden()
        ada.page.get_by_role("button", name="Rooms").tap()
        ada.page.locator("[data-room=lobby] a").tap()
        expect(rooms).to_be_hidden()
        expect(ada.page.locator("#room")).to_have_text("lobby")


def test_new_lines_are_read_aloud_and_neither_letters_nor_history_are(chat: str, browser: Browser, room: str) -> None:
    with person(browser, chat, room, "Ada") as ada, person(browser, chat, room, "Bert") as bert:
        bert.say("before")
        ada.page.add_init_script(
            "addEventListener('DOMContentLoaded', () => { window.aloud = [];"
            " new MutationObserver((changes) => { for (const {addedNodes} of changes) for (const node of addedNodes) {"
            " const live = node.parentElement?.closest('[aria-live], [role=log], [role=status]');"
            " if (live && live.getAttribute('aria-live') !== 'off') window.aloud.push(node.textContent) } })"
            ".observe(document.querySelector('#chat'), {childList: true, subtree: true}) })"
        )
        ada.page.reload()
        expect(ada.line("before")).to_be_visible()
        ada.page.wait_for_function("() => !document.querySelector('[role=log]').hasAttribute('aria-live')")
        bert.box.press_sequentially("aloud")
        expect(ada.page.locator("[data-draft] .letters")).to_have_text("aloud")
        bert.box.press("Enter")
        expect(ada.line("aloud")).to_be_visible()
        said = [text for text in ada.page.evaluate("window.aloud") if "aloud" in text or "before" in text]
        assert len(said) == 1, said
        assert re.fullmatch(r"Today.*|B?Bert \d\d:\d\daloud", said[0])


@pytest.mark.parametrize("light", ["dark", "light"])
@pytest.mark.parametrize(("device", "size"), [("desktop", (1280, 800)), ("phone", (390, 844))])
def test_nobody_is_shut_out_and_nothing_hangs_out_at_the_side(
    chat: str, browser: Browser, room: str, screenshots: Path, device: str, size: tuple[int, int], light: Light
) -> None:
    """axe-core finds nothing serious in any state of the page. And takes the pictures that a person looks at."""
    room = {"dark": {"desktop": "backstage", "phone": "wings"}, "light": {"desktop": "foyer", "phone": "garden"}}[
        light
    ][device]
    axe = Axe()

    def look(someone: Person, state: str) -> None:
        someone.page.wait_for_function(
            "() => document.getAnimations().every((one) => one.effect.getTiming().iterations !== 1)"
        )
        someone.page.screenshot(path=screenshots / f"chat-{state}-{device}-{light}.png")
        found = axe.run(someone.page).response["violations"]
        serious = [rule for rule in found if rule["impact"] in ("serious", "critical")]
        assert serious == [], [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in serious]
        assert someone.page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    with (
        person(browser, chat, room, "Ada Lovelace", size=size, light=light) as ada,
        person(browser, chat, room, "Bertolt") as bert,
        person(browser, chat, room, "Mae") as mae,
    ):
        look(ada, "empty")
        ada.say("Good evening, everybody. Is the curtain up?")
        bert.say("Nearly. The lamps are warm, the ropes are not.")
        bert.say("Two minutes.")
        ada.say("I have put the running order here: https://example.org/tonight")
        mae.say(
            "Thank you! I am in the wings. What I write is seen letter by letter, which takes some getting used to."
        )
        bert.say("You will like it: nobody waits for anybody, and half of the answers are here before the question is.")
        ada.page.goto(f"{chat}#kitchen")
        mae.box.fill("First act:\n 1. the maze\n 2. the ghosts\n 3. whoever is left")
        mae.box.press("Enter")
        expect(ada.unread(room)).to_have_text("1 unread")
        ada.page.goto(f"{chat}#{room}")
        expect(ada.page.locator("[data-new]")).to_be_visible()
        bert.page.goto(f"{chat}#kitchen")
        bert.say(f"Who has eaten the last scone on the {device}'s {light} plate?")
        bert.page.goto(f"{chat}#{room}")
        bert.box.press_sequentially("I would rather say it as it co")
        mae.box.press_sequentially("Break a le")
        expect(ada.page.locator("[data-draft]")).to_have_count(2)
        look(ada, "talk")
        ada.page.get_by_role("button", name="Panes", exact=True).click()
        ada.box.fill("So this is how y")
        look(ada, "panes")
        if device == "phone":
            ada.page.get_by_role("button", name="Rooms").tap()
            look(ada, "rooms")


def test_a_very_long_name_and_a_very_long_word_break_nothing(chat: str, browser: Browser, room: str) -> None:
    with person(browser, chat, "W" * 60, "W" * 40, size=(390, 844)) as ada:
        ada.say("W" * 400)
        ada.box.press_sequentially("W" * 5)
        assert ada.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        with person(browser, chat, "W" * 60, "Bert") as bert:
            assert bert.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_address_or_a_memory_that_cannot_be_read_is_no_reason_to_show_nothing(
    chat: str, browser: Browser, room: str
) -> None:
    with person(browser, chat, room, "Ada") as ada:
        ada.page.evaluate(
            "room => { localStorage['understudy.rooms'] = '{'; localStorage['understudy.read.lobby'] = 'no' }", room
        )
        ada.page.goto(f"{chat}#%E0%A4%A")
        ada.page.reload()
        expect(ada.page.locator("#room")).to_have_text("lobby")
        ada.say(f"still here: {room}")


def test_the_page_is_small(chat: str, browser: Browser, room: str) -> None:
    sizes: list[int] = []
    with person(browser, chat, room, "Ada") as ada:
        page = ada.page.context.new_page()
        page.on("response", lambda response: sizes.append(len(response.body())) if ".js" in response.url else None)
        page.goto(f"{chat}#{room}", wait_until="networkidle")
        assert 10_000 < sum(sizes) < 100_000
