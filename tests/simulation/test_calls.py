"""Reentrant handlers, rings of calls, and starts with a link or a monitor: random scripts under every order the seed knows."""

import asyncio
import contextlib
import time
from collections import Counter
from random import Random
from typing import Any, NamedTuple

import pytest

from tests.simulation.puppets import Crash, end, pause
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    CallError,
    DeadlineExceeded,
    Deadlock,
    Down,
    Exit,
    ExitReason,
    Later,
    Refused,
    StartFailed,
    Stop,
    ThreadActor,
    reentrant,
)
from understudy.simulation import Simulation

SEEDS = 300

FOR_EVER = 1000.0

PATIENCE = 100.0
"""Seconds that the first call of a chain may take: then all of it is given up."""


# --- rings of calls ---


class Ask(NamedTuple):
    """Ask the first of `path` to ask the rest, in `wait` seconds."""

    number: int
    path: tuple[int, ...]
    wait: float
    timeout: float


class Edge(NamedTuple):
    callee: int
    ask: Ask


class Web:
    """Who waits for whom, as a bystander sees it: `edges` by who cannot take a message before it is answered."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.random = simulation.random
        self.refs: list[ActorRef[Any]] = []
        self.edges: dict[int, Edge] = {}
        self.given_up: dict[int, tuple[float, Edge]] = {}
        self.settled: set[int] = set()
        self.rings: list[set[int]] = []
        self.reported: set[int] = set()
        self.numbers = 0

    def request(self, path: tuple[int, ...], timeout: float = FOR_EVER) -> Ask:
        self.numbers += 1
        return Ask(self.numbers, path, self.random.choice((0.0, 0.0, 0.001, 0.01)), timeout)

    def next_of(self, ask: Ask) -> tuple[int, Ask]:
        timeout = ask.timeout  # whoever has little time leaves no more to those it asks
        if timeout == FOR_EVER and self.random.random() < 0.2:
            timeout = self.random.choice((0.001, 0.01))
        return ask.path[0], self.request(ask.path[1:], timeout)

    def begins(self, who: int, callee: int, ask: Ask) -> None:
        self.edges[who] = Edge(callee, ask)
        ring = self.ring(who)
        if ring and self.simulation.time < PATIENCE and all(edge.ask.timeout == FOR_EVER for edge in ring):
            self.rings.append({edge.ask.number for edge in ring})

    def ends(self, who: int) -> None:
        self.given_up[who] = self.simulation.time, self.edges.pop(who)

    def ring(self, who: int, at_this_moment: bool = False) -> list[Edge]:
        """The edges from `who` back to it, none of them answered; with those that were given up `at_this_moment`."""
        edges = dict(self.edges)
        for caller, (when, given_up) in self.given_up.items() if at_this_moment else ():
            if when == self.simulation.time:
                edges.setdefault(caller, given_up)
        ring: list[Edge] = []
        at = who
        while len(ring) <= len(edges) and (edge := edges.get(at)) is not None:
            if edge.ask.number in self.settled:
                return []
            ring.append(edge)
            at = edge.callee
            if at == who:
                return ring
        return []

    def is_told(self, who: int, found: Deadlock) -> None:
        """A caller got a Deadlock: is it real?"""
        ring = self.ring(who) or self.ring(who, at_this_moment=True)
        assert ring, f"a false alarm: {found}"
        assert list(found.ring) == [repr(self.refs[who]), *(repr(self.refs[edge.callee]) for edge in ring)]
        self.reported.add(ring[0].ask.number)


class Spider(Actor):
    """`on_receive` of each kind asks in the way of its kind."""

    def __init__(self, web: Web, me: int) -> None:
        super().__init__()
        self.web, self.me = web, me

    async def ask(self, ask: Ask, waits: bool) -> Any:
        await asyncio.sleep(ask.wait)
        callee, onward = self.web.next_of(ask)
        if waits:
            self.web.begins(self.me, callee, onward)
        try:
            return await self.web.refs[callee].call(onward, onward.timeout)
        except Deadlock as found:
            self.web.is_told(self.me, found)  # it must have seen this one wait
            return "deadlock"
        except CallError:
            return "failed"
        finally:
            if waits:
                self.web.ends(self.me)


class SlowSpider(Spider):
    async def on_receive(self, ask: Ask) -> Any:
        answer = await self.ask(ask, waits=True) if ask.path else "end"
        self.web.settled.add(ask.number)
        return answer


class MixedSpider(Spider):
    def on_receive(self, ask: Ask) -> Any:
        if ask.path:
            return self.go_on(ask)
        self.web.settled.add(ask.number)
        return "end"

    async def go_on(self, ask: Ask) -> Any:
        answer = await self.ask(ask, waits=True)
        self.web.settled.add(ask.number)
        return answer


class SubTaskSpider(Spider):
    """Waits in a task of its own: as far as anybody knows, its handler may go on."""

    async def on_receive(self, ask: Ask) -> Any:
        answer: Any = "end"
        if ask.path:
            try:
                answer = await asyncio.wait_for(asyncio.shield(self.ask(ask, waits=False)), 0.05)
            except TimeoutError:
                answer = "gave up"
        self.web.settled.add(ask.number)
        return answer


class ReentrantSpider(Spider):
    @reentrant
    async def on_receive(self, ask: Ask) -> Any:
        return await self.ask(ask, waits=False) if ask.path else "end"


class LaterSpider(Spider):
    """Answers a while later, and asks others meanwhile."""

    async def on_receive(self, ask: Any) -> Any:
        later = Later()
        if isinstance(ask, Later):
            return ask.set("end")
        if ask.path:
            later.set(await self.ask(ask, waits=True))
        else:
            self.send_after(ask.wait, later)
        self.web.settled.add(ask.number)
        return later


class ThreadSpider(ThreadActor):
    def __init__(self, web: Web, me: int) -> None:
        super().__init__()
        self.web, self.me = web, me

    def on_receive(self, ask: Ask) -> Any:
        answer = ask_in_thread(self.web, self.me, ask) if ask.path else "end"
        self.web.settled.add(ask.number)
        return answer


class OffloadSpider(Spider):
    async def on_receive(self, ask: Ask) -> Any:
        answer = await self.offload(ask_in_thread, self.web, self.me, ask) if ask.path else "end"
        self.web.settled.add(ask.number)
        return answer


def ask_in_thread(web: Web, me: int, ask: Ask) -> Any:
    time.sleep(ask.wait)
    callee, onward = web.next_of(ask)
    web.begins(me, callee, onward)
    try:
        if web.random.random() < 0.5:
            return web.refs[callee].ask(onward, timeout=onward.timeout)
        return web.refs[callee].ask(onward, block=False).get(timeout=onward.timeout)
    except Deadlock as found:
        web.is_told(me, found)
        return "deadlock"
    except Exception:  # noqa: BLE001 - it gave up, or whoever it asked is gone
        return "failed"
    finally:
        web.ends(me)


SPIDERS: tuple[Any, ...] = (
    *(SlowSpider, SlowSpider, MixedSpider, MixedSpider, SubTaskSpider, ReentrantSpider, LaterSpider),
    *(ThreadSpider, OffloadSpider),
)


@pytest.mark.seeds(SEEDS)
async def test_a_ring_of_calls_is_told_to_one_of_them_and_nothing_else_is_called_one(simulation: Simulation) -> None:
    random = simulation.random
    web = Web(simulation)
    system = simulation.system("web")
    count = random.randint(2, 5)
    kinds = [random.choice(SPIDERS) for _ in range(count)]
    web.refs = [await system.spawn(kind, web, index) for index, kind in enumerate(kinds)]

    async def poke() -> None:
        await pause(random)
        path = tuple(random.randrange(count) for _ in range(random.randint(1, 5)))
        with contextlib.suppress(CallError):
            await web.refs[path[0]].call(web.request(path[1:]), PATIENCE)

    await asyncio.gather(*(poke() for _ in range(random.randint(1, 6))))
    if not {ReentrantSpider, LaterSpider} & set(
        kinds
    ):  # who waits for one of these may wait in vain, and is not seen to
        assert simulation.time < 50, "somebody waited for a deadline"
    for ring in web.rings:
        assert ring & web.reported, "a ring that nobody was told of"
    await asyncio.sleep(2 * PATIENCE)  # what was given up, and still waits in a sub-task or thread, ends too
    assert not web.edges, (kinds, web.edges)
    assert not system.scheduler.waits._edges
    for ref in web.refs:
        assert ref.is_alive()


# --- reentrant handlers ---


class Hotel(Actor):
    """Reentrant and exclusive handlers, and a hook that must find none of them running."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random = random
        self.beside: set[int] = set()
        self.alone: set[int] = set()
        self.most = 0
        self.closed = False
        self.problems: list[str] = []

    def on_receive(self, message: Any) -> Any:
        if self.alone:
            self.problems.append("a message came while an exclusive handler awaited")
        match message:
            case ("beside", number, seconds):
                return self.serve_beside(number, seconds)
            case ("alone", number, seconds):
                return self.serve_alone(number, seconds)
            case Crash():
                raise message
        return message

    @reentrant
    async def serve_beside(self, number: int, seconds: float) -> Any:
        self.beside.add(number)
        self.most = max(self.most, len(self.beside))
        try:
            await asyncio.sleep(seconds)
            if number % 11 == 10:
                raise Refused(str(number))
            if number % 31 == 30:
                raise Crash(str(number))
            return number
        finally:
            if self.closed:
                self.problems.append("a handler ended after the hook had begun")
            self.beside.discard(number)

    async def serve_alone(self, number: int, seconds: float) -> Any:
        self.alone.add(number)
        try:
            await asyncio.sleep(seconds)
            return number
        finally:
            if self.closed:
                self.problems.append("a handler ended after the hook had begun")
            self.alone.discard(number)

    def on_stop(self, reason: ExitReason) -> None:
        if self.beside or self.alone:
            self.problems.append("the hook began before the handlers had ended")
        self.closed = True

    def on_failure(self, *_: Any) -> None:
        self.on_stop(Stop().reason)


@pytest.mark.seeds(SEEDS)
async def test_reentrant_handlers_run_beside_each_other_and_every_call_ends(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("hotel")
    hotel: Any = await system.spawn(Hotel, random)
    actor: Hotel = hotel.actor
    ends: Counter[str] = Counter()

    async def guest(number: int) -> None:
        await pause(random, 0.1)
        kind = random.choice(("beside", "beside", "alone", "plain"))
        seconds = random.choice((0.0, 0.01, 0.1, 1.0))
        timeout = random.choice((0.005, 0.5, 50.0))
        begun = simulation.time
        try:
            answer = await hotel.call((kind, number, seconds), timeout)
            assert answer == ((kind, number, seconds) if kind == "plain" else number)
            ends["answered"] += 1
        except Refused as refused:
            ends["refused" if str(refused) == str(number) else "refused as another"] += 1
        except DeadlineExceeded:
            assert simulation.time == pytest.approx(begun + timeout)
            ends["late"] += 1
        except ActorDied:
            assert hotel.reason is not None
            ends["died"] += 1

    async def finish() -> None:
        await asyncio.sleep(random.choice((0.05, 0.5, 5.0)))
        end(hotel, random)

    guests = [random.randrange(1, 60) * 100 + number for number in range(random.randint(1, 12))]
    await asyncio.gather(*map(guest, guests), *([finish()] if random.random() < 0.6 else []))
    assert sum(ends.values()) == len(guests)
    assert not ends["refused as another"]
    if hotel.reason is not None:
        await hotel.ended(100)
        await asyncio.sleep(0.01)
        if hotel.reason is not None and actor.closed:
            assert not actor.beside
    await asyncio.sleep(2)
    assert not actor.beside
    assert not actor.alone
    assert not actor.problems
    if hotel.is_alive():
        assert not (hotel.bonds is not None and hotel.bonds.under_way)


# --- starts with a tie ---


class Newborn(Actor):
    """Ends in one way or another around its start."""

    def __init__(self, how: str, wait: float) -> None:
        super().__init__()
        self.how, self.wait = how, wait

    async def on_start(self) -> None:
        await asyncio.sleep(self.wait)
        match self.how:
            case "fails":
                raise Crash("at the start")
            case "kills itself":
                self.actor_ref.kill()
            case "exits":
                self.actor_ref.exit()
            case "stops":
                self.stop()
            case "crashes":
                self.actor_ref.tell("crash")

    def on_receive(self, message: Any) -> Any:
        raise Crash(message)


class ThreadNewborn(ThreadActor):
    def __init__(self, how: str, wait: float) -> None:
        super().__init__()
        self.how, self.wait = how, wait

    def on_start(self) -> None:
        time.sleep(self.wait)
        if self.how == "fails":
            raise Crash("at the start")
        if self.how in ("stops", "exits", "kills itself"):
            {"stops": self.stop, "exits": self.actor_ref.exit, "kills itself": self.actor_ref.kill}[self.how]()
        elif self.how == "crashes":
            self.actor_ref.tell("crash")

    def on_receive(self, message: Any) -> Any:
        raise Crash(message)


class Midwife(Actor):
    """Starts others and keeps what it hears of them."""

    trap_exit = True

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Down | Exit] = []

    def on_receive(self, message: Any) -> Any:
        match message:
            case Down() | Exit():
                self.heard.append(message)
                return None
            case (way, cls, *arguments):
                return self.deliver(way, cls, arguments)
        return message

    async def deliver(self, way: str, cls: type[Actor], arguments: list[Any]) -> Any:
        try:
            return await getattr(self, way)(cls, *arguments, start_timeout=0.5)
        except StartFailed:
            return None


@pytest.mark.seeds(SEEDS)
async def test_whoever_starts_an_actor_with_a_tie_hears_of_its_end_exactly_once(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("births")
    midwife: Any = await system.spawn(Midwife)
    actor: Midwife = midwife.actor
    born: dict[ActorRef[Any], tuple[str, Any]] = {}

    async def intrude(before: set[ActorRef[Any]]) -> None:
        """Somebody else ends whatever is being born."""
        await pause(random, 0.6)
        for cell in tuple(system._top):
            if cell not in before and random.random() < 0.5:
                end(cell, random)

    for _ in range(random.randint(1, 5)):
        way = random.choice(("spawn_link", "spawn_monitor"))
        how = random.choice(("fails", "kills itself", "exits", "stops", "crashes", "lives", "lives"))
        cls = random.choice((Newborn, Newborn, ThreadNewborn))
        intruder = asyncio.create_task(intrude(set(system._top)))
        outcome = await midwife.call((way, cls, how, random.choice((0.0, 0.01, 0.4, 0.9))), 100)
        if outcome is None:
            await intruder
            continue
        ref, token = outcome if way == "spawn_monitor" else (outcome, None)
        born[ref] = (way, token)
        await intruder
        if how != "lives" and random.random() < 0.5:
            await ref.ended(100)

    for ref in born:
        if ref.is_alive():
            end(ref, random)
    reasons = {ref: await ref.ended(100) for ref in born}
    await midwife.call("flush", 100)
    await asyncio.sleep(0.1)
    for ref, (way, token) in born.items():
        mine: list[Any] = [news for news in actor.heard if (news.ref if isinstance(news, Down) else news.sender) is ref]
        expected = Down(token, ref, reasons[ref]) if way == "spawn_monitor" else Exit(ref, reasons[ref])
        assert mine == [expected], (way, mine)
    assert len(actor.heard) == len(born)
