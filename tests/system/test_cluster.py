"""The demonstration as a real cluster: four machines, keys, PostgreSQL; two people at it while its nodes are killed, paused, cut off.

Ada's page is of stage-1, Bert's of stage-2. Both write lines all the time, as fast as the chat takes them, and watch a game.
Each node has one fault here; each has each with UNDERSTUDY_ALL_FAULTS=1, in some ten minutes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.patience import PATIENCE
from tests.servers import missing_postgres
from tests.system.conftest import CHROMIUM, QUIET
from tests.system.street import missing
from tests.system.theatre import Theatre

STARTS_WITHIN = 60_000 * PATIENCE
LOST_WITHIN = 15_000 * PATIENCE
"""Until a node that is gone is declared dead, and what was on it is elsewhere: ten seconds, and some for a machine that others use."""

BACK_WITHIN = 30_000 * PATIENCE
"""Until a node that was started again is a member, and a page is back on it."""

GHOSTS_GONE_WITHIN = 12_000 * PATIENCE
"""Milliseconds, all of them."""

WRITES = """
(name) => {
  const input = document.getElementById("chat-input");
  window.written = 0;
  window.writing = setInterval(() => {
    if (input.value || input.readOnly) return;
    input.value = `${name} ${++window.written}`;
    input.form.requestSubmit();
  }, 400);
}
"""
"""Write the next line whenever the box is empty. What cannot be sent waits on the page, in order."""

LAUNCHES = """
async () => {
  const wish = { program: "arena", args: { turns: 6000 } };
  return (await (await fetch("/runs", { method: "POST", body: JSON.stringify(wish) })).json()).id;
}
"""
"""Start a game of ten minutes, longer than any evening."""

LINES = "() => [...document.querySelectorAll('[data-line] .text')].map((text) => text.textContent)"

Light = Literal["dark", "light"]


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    why = (
        missing()
        or missing_postgres()
        or ("" if CHROMIUM else "not installed: chromium (Debian: apt-get install chromium)")
    )
    if why:
        pytest.skip(why)
    with Theatre(tmp_path_factory.mktemp("theatre")) as running:
        yield running


@pytest.fixture(scope="module")
def town(theatre: Theatre) -> Iterator[Browser]:
    """A browser on the people's machine."""
    assert CHROMIUM is not None
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=theatre.browser(CHROMIUM), args=QUIET)
        yield chromium
        chromium.close()


@contextmanager
def person(
    town: Browser,
    theatre: Theatre,
    stage: str,
    name: str,
    *,
    width: int = 1280,
    height: int = 800,
    light: Light = "dark",
) -> Iterator[Page]:
    """Somebody in the lobby of that stage, once all four nodes are there. Errors of the page fail the test."""
    context = town.new_context(viewport={"width": width, "height": height}, color_scheme=light)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.add_init_script(f"try {{ localStorage.setItem('understudy.name', {name!r}) }} catch {{}}")
    with ExitStack() as stack:
        stack.callback(context.close)
        patiently(lambda: page.goto(theatre.url(stage)))
        expect(page.locator("#connection")).to_have_attribute("data-state", "connected", timeout=STARTS_WITHIN)
        for node in theatre.nodes:
            expect(status(page, node, "active")).to_be_visible(timeout=STARTS_WITHIN)
        expect(page.locator("#chat-input")).to_be_enabled(timeout=STARTS_WITHIN)
        yield page
    assert errors == [], f"the page raises errors: {errors}"


def patiently(act: Callable[[], Any], tries: int = 60) -> None:
    """Do it again until it works: a stage that was just started does not listen yet."""
    for left in range(tries, 0, -1):
        try:
            act()
        except Exception:
            if left == 1:
                raise
            signal.sigtimedwait([], 0.5)
        else:
            return


def status(page: Page, node: str, status: str) -> Any:
    return page.locator(f"[data-node='{node}'][data-status={status}]")


def start_game(page: Page) -> str:
    """Press New game until one is drawn; its id."""
    before = page.url
    page.locator("#new-game").click()
    expect(page).not_to_have_url(before, timeout=LOST_WITHIN)
    run = page.url.partition("#run/")[2]
    expect(page.locator(f"#stage[data-run='{run}'] canvas[data-turn]")).to_be_visible(timeout=LOST_WITHIN)
    return run


def watch(page: Page, run: str) -> None:
    page.evaluate("(run) => { location.hash = `#run/${run}` }", run)
    expect(page.locator(f"#stage[data-run='{run}'] canvas[data-turn]")).to_be_visible(timeout=LOST_WITHIN)


def plays_on(page: Page) -> None:
    """The game on its stage goes on: five more turns."""
    turn = int(page.locator("canvas").get_attribute("data-turn") or -1)
    page.wait_for_function(
        "turn => Number(document.querySelector('canvas').dataset.turn) >= turn + 5", arg=turn, timeout=BACK_WITHIN
    )


def engine_of(page: Page, run: str) -> str:
    facts = page.locator(f"#stage[data-run='{run}'] .facts")
    expect(facts).to_contain_text("engine-", timeout=LOST_WITHIN)
    return "engine-" + str(facts.text_content()).partition("engine-")[2][0]


def people(page: Page) -> list[str]:
    """Whom the chat shows, each once for every time that it does."""
    return sorted(page.locator("[data-person]").evaluate_all("items => items.map((item) => item.title)"))


class Evening:
    """Ada on stage-1, Bert on stage-2, a game on each engine; both write all the time. Names are new ones each evening."""

    def __init__(self, theatre: Theatre, ada: Page, bert: Page, names: tuple[str, str]) -> None:
        self.theatre = theatre
        self.pages = {"stage-1": ada, "stage-2": bert}
        self.names = dict(zip(self.pages, names))
        self.games: dict[str, str] = {}

    def opens(self) -> None:
        """One game on each engine, seen by both; then they begin to write."""
        ada, bert = self.pages.values()
        for page in (ada, bert):
            run = page.evaluate(LAUNCHES)
            watch(page, run)
            self.games[engine_of(page, run)] = run
        assert set(self.games) == {"engine-1", "engine-2"}, "a new game is placed where there are fewer"
        for page in (ada, bert):
            expect(page.locator("[data-person]")).to_have_count(2)
            page.evaluate(WRITES, page.locator("#chat-name").input_value())

    def all_said(self) -> None:
        """Everything that was written is on both pages, once and in the same order, each writer's in the order of writing."""
        written: dict[str, int] = {}
        for stage, page in self.pages.items():
            page.evaluate("clearInterval(window.writing)")
            page.wait_for_function("() => !document.getElementById('chat-input').value", timeout=BACK_WITHIN)
            written[self.names[stage]] = page.evaluate("window.written")
        expected = {name: [f"{name} {number + 1}" for number in range(count)] for name, count in written.items()}
        shown: list[list[str]] = []
        for page in self.pages.values():
            page.wait_for_function(
                f"(last) => {{ const lines = ({LINES})(); return last.every((line) => lines.includes(line)) }}",
                arg=[lines[-1] for lines in expected.values()],
                timeout=BACK_WITHIN,
            )
            shown.append([line for line in page.evaluate(LINES) if line.rpartition(" ")[0] in expected])
        for lines in shown:
            for name, mine in expected.items():
                assert [line for line in lines if line.rpartition(" ")[0] == name] == mine
        assert shown[0] == shown[1]

    def other(self, stage: str) -> Page:
        """The page of the other stage."""
        return next(page for name, page in self.pages.items() if name != stage)


@contextmanager
def evening(town: Browser, theatre: Theatre, title: str, **bert_has: Any) -> Iterator[Evening]:
    """`bert_has`: another screen, or another light."""
    names = (f"Ada {title}", f"Bert {title}")
    with (
        person(town, theatre, "stage-1", names[0]) as ada,
        person(town, theatre, "stage-2", names[1], **bert_has) as bert,
    ):
        night = Evening(theatre, ada, bert, names)
        night.opens()
        try:
            yield night
        finally:
            theatre.mends()
        night.all_said()
        for run in night.games.values():
            watch(bert, run)
            if bert.locator("#cancel").is_visible():
                bert.locator("#cancel").click()


@contextmanager
def gone(theatre: Theatre, node: str, how: str) -> Iterator[None]:
    """That node is killed and not started again, paused, or cut off from everybody, until the end."""
    service, machine = theatre.nodes[node], theatre.machine(node)
    match how:
        case "killed":
            service.hold()
            service.signal(signal.SIGKILL)
            yield
            service.release()
        case "paused":
            service.signal(signal.SIGSTOP)
            yield
            service.signal(signal.SIGCONT)
        case _:
            machine.cut_off()
            yield
            machine.plug_in()


FAULTS = ("killed", "paused", "cut off")


def faults(kind: str, *few: tuple[int, str]) -> list[tuple[str, str]]:
    """What is done to which node of a kind: these few, or all there is."""
    every = [(number, how) for number in (1, 2) for how in FAULTS]
    return [(f"{kind}-{number}", how) for number, how in (every if os.environ.get("UNDERSTUDY_ALL_FAULTS") else few)]


@pytest.mark.parametrize(("engine", "how"), faults("engine", (1, "killed"), (2, "paused")))
def test_games_of_an_engine_that_is_gone_are_lost_and_new_ones_start_while_all_else_goes_on(
    town: Browser, theatre: Theatre, engine: str, how: str, screenshots: Path
) -> None:
    phone = {"width": 390, "height": 844, "light": "light"}
    with evening(town, theatre, f"{engine} {how}", **(phone if how == "paused" else {})) as night:
        ada, bert = night.pages.values()
        lost = night.games.pop(engine)
        [(other, going)] = night.games.items()
        watch(ada, going)
        watch(bert, lost)
        with gone(theatre, engine, how):
            if how != "killed":
                expect(bert.locator("#stage .late")).to_contain_text("No news for", timeout=LOST_WITHIN)
            for page in (ada, bert):
                expect(status(page, engine, "dead")).to_be_visible(timeout=LOST_WITHIN)
                expect(page.locator(f"#games-lists [data-run='{lost}'][data-state=lost]")).to_be_visible(
                    timeout=LOST_WITHIN
                )
            expect(bert.locator(f"#stage[data-run='{lost}']")).to_have_attribute("data-state", "lost")
            bert.screenshot(path=screenshots / f"cluster-{engine}-{how.replace(' ', '-')}.png")
            plays_on(ada)
            again = start_game(bert)
            assert engine_of(bert, again) == other
            night.games["again"] = again
        for page in (ada, bert):
            expect(status(page, engine, "active")).to_be_visible(timeout=BACK_WITHIN)
            expect(page.locator("#connection")).to_have_attribute("data-state", "connected")


@pytest.mark.parametrize(("stage", "how"), faults("stage", (2, "killed"), (1, "cut off")))
def test_people_of_a_stage_that_is_gone_come_back_and_have_missed_nothing(
    town: Browser, theatre: Theatre, stage: str, how: str, screenshots: Path
) -> None:
    with evening(town, theatre, f"{stage} {how}") as night:
        away, there = night.pages[stage], night.other(stage)
        run = night.games["engine-1"]
        for page in (away, there):
            watch(page, run)
        served = str(away.locator("#served-by").text_content())
        with gone(theatre, stage, how):
            expect(away.locator("#connection")).to_have_attribute("data-state", "reconnecting", timeout=LOST_WITHIN)
            expect(there.locator("[data-person]")).to_have_count(1, timeout=GHOSTS_GONE_WITHIN)
            expect(status(there, stage, "dead")).to_be_visible(timeout=LOST_WITHIN)
            plays_on(there)
            away.screenshot(path=screenshots / f"cluster-{stage}-{how.replace(' ', '-')}.png")
        expect(away.locator("#connection")).to_have_attribute("data-state", "connected", timeout=BACK_WITHIN)
        expect(away.locator("#served-by")).not_to_have_text(served, timeout=BACK_WITHIN)
        expect(away.locator("#served-by")).to_contain_text(f"Served by {stage}, process {theatre.nodes[stage].pid}")
        for page in (away, there):
            expect(status(page, stage, "active")).to_be_visible(timeout=BACK_WITHIN)
            expect(page.locator(f"#stage[data-run='{run}']")).to_have_attribute("data-state", "running")
            plays_on(page)
            expect(page.locator("[data-person]")).to_have_count(2, timeout=GHOSTS_GONE_WITHIN)
            assert people(page) == sorted(night.names.values())


def test_a_stage_that_is_cut_off_from_the_cluster_and_not_from_its_people_takes_no_lines_and_loses_none(
    town: Browser, theatre: Theatre, screenshots: Path
) -> None:
    with evening(town, theatre, "apart") as night:
        ada, bert = night.pages.values()
        alone = theatre.machine("stage-1")
        alone.hear_only(theatre.people)
        expect(status(bert, "stage-1", "dead")).to_be_visible(timeout=LOST_WITHIN)
        expect(bert.locator("[data-person]")).to_have_count(1, timeout=GHOSTS_GONE_WITHIN)
        expect(ada.locator("#connection")).to_have_attribute("data-state", "connected")
        expect(ada.locator("[data-notice=warn]", has_text="does not reach the table")).to_be_visible(
            timeout=BACK_WITHIN
        )
        for node in theatre.nodes.keys() - {"stage-1"}:
            expect(ada.locator(f"[data-node='{node}'][data-silent]")).to_contain_text("no answer")
        ada.screenshot(path=screenshots / "cluster-apart.png")
        alone.hear_all()
        expect(bert.locator("[data-person]")).to_have_count(2, timeout=BACK_WITHIN)
        assert people(bert) == sorted(night.names.values())


def test_stages_are_restarted_one_after_the_other_and_nobody_misses_anything(town: Browser, theatre: Theatre) -> None:
    with evening(town, theatre, "rolling") as night:
        run = night.games["engine-1"]
        for page in night.pages.values():
            watch(page, run)
        for stage, page in night.pages.items():
            service = theatre.nodes[stage]
            before = len(service.lives)
            service.signal(signal.SIGTERM)  # as `systemctl restart` does
            expect(page.locator("#connection")).not_to_have_attribute("data-state", "connected", timeout=LOST_WITHIN)
            expect(page.locator("#connection")).to_have_attribute("data-state", "connected", timeout=BACK_WITHIN)
            assert service.statuses[before - 1] == 0, service.said()
            assert len(service.lives) == before + 1
            for each in night.pages.values():
                expect(status(each, stage, "active")).to_be_visible(timeout=BACK_WITHIN)
                expect(each.locator("[data-person]")).to_have_count(2, timeout=GHOSTS_GONE_WITHIN)
                expect(each.locator(f"#stage[data-run='{run}']")).to_have_attribute("data-state", "running")
                plays_on(each)


def test_while_the_table_is_away_everybody_stays_and_what_is_written_then_arrives_once(
    town: Browser, theatre: Theatre
) -> None:
    with evening(town, theatre, "tableless") as night:
        ada, bert = night.pages.values()
        for page in (ada, bert):
            watch(page, night.games["engine-2"])
        theatre.machine("table").cut_off()
        expect(ada.locator("[data-notice=warn]", has_text="does not reach the table")).to_be_visible(
            timeout=BACK_WITHIN
        )
        for page in (ada, bert):
            plays_on(page)
            for node in theatre.nodes:
                expect(status(page, node, "active")).to_be_visible()
        theatre.machine("table").plug_in()
        expect(ada.locator("[data-notice=info]", has_text="reaches the table")).to_be_visible(timeout=BACK_WITHIN)
