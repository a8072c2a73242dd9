"""Who plays: nodes in processes of their own, which share a membership table, and what a test asks of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.helpers import eventually
from tests.processes import Process, running
from tests.wire.ledger import STREAMS, Account, Balance, Book, Entry, balance

PAGE = 4096


class Gone(Exception):
    """The player's process has ended."""


class Player:
    """One life of a node. Ended with the test, whatever happens."""

    def __init__(self, cast: Cast, name: str, process: Process, book: Path) -> None:
        self.name = name
        self.address = ""
        self.door = ""
        self.life = 0
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why its node ended, if that was not our doing."""
        self._process = process
        self._book = Book(book)
        self._cast = cast
        self._requests = count(1)
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._listening: asyncio.Task[None] | None = None

    async def joined(self) -> None:
        """Wait for its first words."""
        first = json.loads(await self._process.line(30.0) or '{"ended": "before it joined"}')
        assert "ended" not in first, f"{self.name} ended before it had joined"
        self.address, self.door, self.life = first["address"], first["door"], first["incarnation"]
        self._listening = asyncio.create_task(self._listen())

    async def ask(self, method: str, *arguments: Any, within: float = 30.0) -> Any:
        """What a method of the player program returns. Raises Gone, TimeoutError, AssertionError with its error."""
        if self._listening is None or self._listening.done():
            raise Gone(self.name)
        number = next(self._requests)
        answer = self._open[number] = asyncio.get_running_loop().create_future()
        await self._process.say(json.dumps([number, method, arguments]))
        try:
            async with asyncio.timeout(within):
                return await answer
        except TimeoutError:
            raise TimeoutError(f"{self.name} did not answer {method!r} within {within} s") from None
        finally:
            del self._open[number]

    def entry(self, stream: int) -> Entry:
        """What came here of a stream, also after its end."""
        return self._book.read(stream)

    def stale(self) -> int:
        """Messages that came here and were meant for another life of the node."""
        return sum(self._book.read(stream).stale for stream in range(STREAMS))

    def everything(self) -> int:
        """Messages that came here, of whatever stream, for whomever."""
        entries = [self._book.read(stream) for stream in range(STREAMS)]
        return sum(entry.came + entry.again + entry.stale for entry in entries)

    @property
    def memory(self) -> int:
        """Bytes that it has in memory now."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * PAGE

    def growth(self) -> Callable[[], int]:
        """From now on; the function returned says by how many bytes it grew at most."""
        before = self.memory
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")  # the peak is the present

        def grown() -> int:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
            return int(status.partition("VmHWM:")[2].split()[0]) * 1024 - before

        return grown

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()

    def pause(self) -> None:
        """SIGSTOP."""
        self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._process.signal(signal.SIGCONT)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """SIGSTOP, and SIGCONT in the end."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    async def sees(self, *others: Player) -> None:
        """Wait until it knows of these lives of other nodes."""
        for other in others:
            await self.ask("up", other.name, other.life)

    async def loses(self, other: Player, within: float) -> tuple[float, str]:
        """Wait until it knows that this life of another node is over: when it was told, and why."""
        when, why = await self.ask("lost", other.name, other.life, within=within)
        return when, why

    async def leave(self) -> None:
        """Let it end in order."""
        assert self._listening is not None
        self._process.say_no_more()
        await self._listening
        assert await self._process.ended() == 0

    async def close(self) -> None:
        self._book.close()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def _listen(self) -> None:
        """Pass on what it says, until it is gone: then, or when it cannot be understood, nobody waits for it any more."""
        why: Exception = Gone(self.name)
        try:
            await self._pass_on()
        except Exception as error:
            why = error
            raise
        finally:
            for answer in self._open.values():
                if not answer.done():
                    answer.set_exception(why)

    async def _pass_on(self) -> None:
        while line := await self._process.line(timeout=86_400.0):
            match json.loads(line):
                case {"ended": str(why)}:
                    self.ended.set_result(why)
                case [number, result, error]:
                    answer = self._open.get(number)
                    if answer is None or answer.done():
                        continue
                    if error is None:
                        answer.set_result(result)
                    else:
                        answer.set_exception(AssertionError(f"{self.name}: {error}"))
                case other:
                    raise AssertionError(f"{self.name} says {other}")


class Cast:
    """The nodes of one play, and the streams between them. `program`: what each of them runs."""

    def __init__(self, folder: Path, program: str = "tests.wire.player") -> None:
        self.folder = folder
        self._program = program
        self._streams = count()
        self._lives = count()
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:  # fmt: skip
        await self._open.aclose()

    async def enter(
        self, name: str, *, behind: str | None = None, through: tuple[str, ...] = (), **node: Any
    ) -> Player:
        """Start a node and wait until it has joined. `behind`: the address of the proxy in front of it; `through`: a
        command that the process is started by; the rest is for `Node`."""
        return await self._open.enter_async_context(self._playing(name, behind, through, node))

    @asynccontextmanager
    async def _playing(
        self, name: str, behind: str | None, through: tuple[str, ...], node: dict[str, Any]
    ) -> AsyncIterator[Player]:
        book = self.folder / f"{name}-{next(self._lives)}.book"
        options = {"name": name, "book": str(book), "node": {"state": str(self.folder)} | node}
        if behind is not None:
            options["behind"] = behind
        async with running(self._program, json.dumps(options), through=through) as process:
            player = Player(self, name, process, book)
            try:
                await player.joined()
                yield player
            finally:
                await player.close()

    async def stream(
        self, sender: Player, to: Player, size: int, count: int | None = None, actor: str = "sink", pause: float = 0.0
    ) -> Stream:
        """Let `sender` send so many messages of that size, or until it is told to stop, to an actor of `to`; as fast as they
        are taken, or with a pause of so many seconds now and then."""
        number = next(self._streams)
        life = await sender.ask("stream", number, f"{actor}@{to.name}", count, size, pause)
        assert life == to.life, f"{sender.name} sends to life {life} of {to.name}, expected {to.life}"
        return Stream(number, sender, to)


class Stream:
    """What one life of a node sends to one of another."""

    def __init__(self, number: int, sender: Player, to: Player) -> None:
        self.number = number
        self.sender = sender
        self.to = to

    @property
    def entry(self) -> Entry:
        """What has come of it."""
        return self.to.entry(self.number)

    async def flows(self, messages: int = 1_000, within: float = 20.0) -> None:
        """Wait until so many of it came."""
        await eventually(lambda: self.entry.came >= messages, within, f"{messages} messages came")

    async def sent(self, within: float) -> Account:
        """Wait until all of it was sent, or its receiver is gone."""
        return Account(**await self.sender.ask("sent", self.number, within=within))

    async def stop(self) -> Account:
        """Let it end here."""
        return Account(**await self.sender.ask("stop", self.number))

    async def settled(self, within: float = 30.0) -> Balance:
        """Wait until the equation holds, which has to become true, and stay so; of a stream that is sent."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        while True:
            account = Account(**await self.sender.ask("account", self.number))
            try:
                return balance(account, self.entry)
            except AssertionError:
                if loop.time() > end:
                    raise
            await asyncio.sleep(0.02)
