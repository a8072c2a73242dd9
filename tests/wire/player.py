"""A node in a process of its own that does what a test asks of it: `python -m tests.wire.player '{"name": "a", ...}'`.

standard input    [1, "stream", ["b", 1000, 80, 0]]    request, method of Player, arguments; any number at a time
standard output   [1, {...}, null]                     request, what it returned, or null and the error
first line        {"address": ..., "incarnation": ...} once the node has joined
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from tests.processes import orders
from tests.wire.ledger import Account, Book, Echo, Numbered, Ponder, Sink, Whoever, noted_at_the_door
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    Bounded,
    DeadLetter,
    Down,
    Overloaded,
    message,
)
from understudy.transport import Node, NodeLost, NodeUp, ZeroMqNetwork

TURN = 200
"""Messages of a stream that are told before the loop has its turn."""


SLOW_CAPACITY = 100


@message("wire.block")
class Block:
    """Hold the loop until that file is there, or for so many seconds."""

    until: str
    seconds: float


class Blocker(Actor):
    def on_receive(self, message: Any) -> None:
        assert isinstance(message, Block)
        end = time.monotonic() + message.seconds
        while not Path(message.until).exists() and time.monotonic() < end:
            time.sleep(0.02)


class Slow(Sink):
    """Takes its time with each message, and lets no more than SLOW_CAPACITY wait."""

    mailbox = Bounded(SLOW_CAPACITY)

    async def on_receive(self, message: Any) -> Any:
        if isinstance(message, Numbered):
            await asyncio.sleep(0.001)
        return super().on_receive(message)


class News:
    """Which life of whom came up last, and when which was lost, and why; on the clock that all processes of a machine share."""

    def __init__(self) -> None:
        self.up: dict[str, int] = {}
        self.lost: dict[tuple[str, int], tuple[float, str]] = {}
        self.moved = asyncio.Event()


class Reporter(Actor):
    def __init__(self, news: News) -> None:
        super().__init__()
        self.news = news

    def on_receive(self, message: Any) -> None:
        match message:
            case NodeUp(member):
                self.news.up[member.node] = member.incarnation
            case NodeLost(node, incarnation, reason):
                self.news.lost[node, incarnation] = (time.monotonic(), reason)
            case _:
                self.unhandled(message)
        self.news.moved.set()


class Attendant(Actor):
    """Monitors somebody and counts how often it is told of the end."""

    def __init__(self, watched: ActorRef[Any], told: list[str]) -> None:
        super().__init__()
        self.watched = watched
        self.told = told

    def on_start(self) -> None:
        self.monitor(self.watched)

    def on_receive(self, message: Any) -> None:
        assert isinstance(message, Down)
        self.told.append(type(message.reason).__name__)


class Behind(ZeroMqNetwork):
    """A network whose node is reached at another address than it listens at: at that of a proxy in front of it."""

    def __init__(self, front: str) -> None:
        super().__init__()
        self.front = front
        self.door = ""

    def bind(self, address: str, *rest: Any, **more: Any) -> str:
        self.door = super().bind(address, *rest, **more)
        return self.front


class Warnings(logging.Handler):
    """What is logged as a warning or worse, kept instead of printed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[tuple[float, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((time.monotonic(), record.getMessage()))


class Player:
    """What can be asked of it: its public methods."""

    def __init__(self, node: Node, book: Book, warnings: Warnings, born: float) -> None:
        self._born = born
        self._node = node
        self._book = book
        self._warnings = warnings
        self._news = News()
        self._accounts: dict[int, Account] = {}
        self._flows: dict[int, asyncio.Task[None]] = {}
        self._calls: list[asyncio.Task[str]] = []
        self._told: list[str] = []

    async def begin(self) -> None:
        """Spawn whom the others talk to, and listen to the news."""
        node = self._node
        node.system.hooks.subscribe(DeadLetter, self._letter)
        await node.spawn(noted_at_the_door(self._book, node.incarnation), self._book, node.incarnation, name="sink")
        await node.spawn(Sink, self._book, node.incarnation, name="counter")
        await node.spawn(Slow, self._book, node.incarnation, name="slow")
        await node.spawn(Blocker, name="blocker")
        node.subscribe(await node.spawn(Reporter, self._news))

    # --- streams ---

    async def stream(self, number: int, to: str, count: int | None, size: int, pause: float) -> int:
        """Begin to send `count` messages of `size` bytes beside their heads, or until told to stop, to the present life of
        `to`, such as "sink@b", with a pause of so many seconds after each TURN; returns that life."""
        whoever: ActorRef[Any] = await self._node.ref(to).call(Whoever())
        account = self._accounts[number] = Account(whoever.address.incarnation)
        flow = self._flow(number, whoever, account, math.inf if count is None else count, bytes(size), pause)
        self._flows[number] = asyncio.create_task(flow)
        return account.life

    async def sent(self, number: int) -> dict[str, Any]:
        """Wait until all of a stream was sent, or its receiver's node is gone; returns its account."""
        await self._flows[number]
        return self._accounts[number].as_json()

    async def stop(self, number: int) -> dict[str, Any]:
        """Send no more; returns its account."""
        self._accounts[number].over = True
        return await self.sent(number)

    async def account(self, number: int) -> dict[str, Any]:
        """The account of a stream as it is now."""
        return self._accounts[number].as_json()

    async def _flow(
        self, stream: int, to: ActorRef[Any], account: Account, count: float, padding: bytes, pause: float
    ) -> None:
        life = account.life
        while account.sent < count and not account.over and to.is_alive():
            for _ in range(TURN):
                item = Numbered(stream, life, account.sent, padding)
                try:
                    to.tell(item)
                except Overloaded:
                    account.waited += 1
                    if not await self._offered(to, item):
                        return
                account.sent += 1
                if account.sent >= count:
                    return
            await asyncio.sleep(pause)

    async def _offered(self, to: ActorRef[Any], item: Numbered) -> bool:
        """Whether there was room in the end; not if its node died first: then nothing was sent."""
        try:
            await to.offer(item)
        except ActorDied:
            return False
        return True

    def _letter(self, letter: DeadLetter) -> None:
        if isinstance(letter.message, Numbered):
            self._accounts[letter.message.stream].letter(letter)

    # --- open calls, and monitors ---

    async def attend(self, to: str, calls: int) -> None:
        """Monitor whoever has that name now, and leave so many calls open that are never answered."""
        whoever: ActorRef[Any] = await self._node.ref(to).call(Whoever())
        await self._node.spawn(Attendant, whoever, self._told)
        self._calls += [asyncio.create_task(self._ponder(whoever)) for _ in range(calls)]

    async def attended(self) -> dict[str, list[str]]:
        """How those calls ended, and what the monitors said; since the last time."""
        ends = [await call for call in self._calls]
        told = list(self._told)
        self._calls.clear()
        self._told.clear()
        return {"calls": ends, "monitors": told}

    async def _ponder(self, to: ActorRef[Any]) -> str:
        try:
            await to.call(Ponder(), timeout=3600.0)
        except Exception as error:  # noqa: BLE001 - its name is the figure
            return type(error).__name__
        return "an answer"

    # --- how quick, how well ---

    async def latency(self, to: str, seconds: float, pause: float) -> dict[str, float]:
        """Milliseconds that calls took, one after the other with a pause between, for so long."""
        whoever: ActorRef[Any] = await self._node.ref(to).call(Whoever())
        took: list[float] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            begun = time.perf_counter()
            assert await whoever.call(Echo(len(took))) == len(took)
            took.append(time.perf_counter() - begun)
            await asyncio.sleep(pause)
        took.sort()
        return {name: round(1e3 * took[int(part * (len(took) - 1))], 3) for name, part in (("p50", 0.5), ("p99", 0.99))}

    async def joined(self, to: str) -> float:
        """How many seconds it took from the start of this node until it had joined and somebody had answered it; at its first call."""
        await self._node.ref(to).call(Echo(0))
        return time.monotonic() - self._born

    async def call(self, to: str, timeout: float) -> str:
        """What comes of one call: "ok", or the name of the error."""
        try:
            await self._node.ref(to).call(Echo(0), timeout)
        except Exception as error:  # noqa: BLE001 - its name is the figure
            return type(error).__name__
        return "ok"

    async def block(self, until: str, seconds: float) -> None:
        """Hold the loop until that file is there, or for so long, soon."""
        self._node.ref("blocker").tell(Block(until, seconds))

    # --- news ---

    async def up(self, node: str, life: int) -> None:
        """Wait until that life of a node is there."""
        await self._until(lambda: self._news.up.get(node) == life)

    async def lost(self, node: str, life: int) -> tuple[float, str]:
        """Wait until that life of a node is gone: when this was told, and why."""
        await self._until(lambda: (node, life) in self._news.lost)
        return self._news.lost[node, life]

    async def letters(self) -> dict[str, int]:
        """How many dead letters there are here, by their reasons."""
        return dict(self._node.system.dead_letters.by_reason)

    async def waiting(self, name: str) -> int:
        """How many messages wait in the mailbox of an actor here."""
        return self._node.system.info(self._node.ref(name)).mailbox

    async def warnings(self) -> list[tuple[float, str]]:
        """What was logged as a warning or worse so far, and when."""
        return self._warnings.lines

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._news.moved.clear()
            await self._news.moved.wait()


async def main(given: str, program: type[Player] = Player) -> None:
    options = json.loads(given)
    warnings = Warnings()
    logging.getLogger().addHandler(warnings)
    network = Behind(options["behind"]) if "behind" in options else ZeroMqNetwork()
    book = Book(Path(options["book"]))
    node = Node(options["name"], network=network, **options["node"])
    born = time.monotonic()
    async with node:
        player = program(node, book, warnings, born)
        await player.begin()
        door = network.door if isinstance(network, Behind) else node.address
        say({"address": node.address, "door": door, "incarnation": node.incarnation})
        last_words = asyncio.create_task(mourn(node))
        requests: set[asyncio.Task[None]] = set()
        await listen(player, requests)
        for task in (last_words, *requests):
            task.cancel()
        await asyncio.gather(last_words, *requests, return_exceptions=True)
    book.close()


async def mourn(node: Node) -> None:
    """Say why the node has ended, if it does."""
    say({"ended": await node.ended()})


async def listen(player: Player, requests: set[asyncio.Task[None]]) -> None:
    """Do what is asked, until standard input ends."""
    async for line in orders():
        number, method, arguments = json.loads(line)
        request = asyncio.create_task(do(player, number, method, arguments))
        requests.add(request)
        request.add_done_callback(requests.discard)


async def do(player: Player, number: int, method: str, arguments: list[Any]) -> None:
    try:
        say([number, await getattr(player, method)(*arguments), None])
    except Exception as error:  # noqa: BLE001 - whoever asked is told
        say([number, None, f"{type(error).__name__}: {error}"])


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
