"""Small actors that the kernel's tests have in common."""

import asyncio
from collections.abc import Callable
from typing import Any

from understudy.actors import Actor, ActorRef, Down, Exit


class Echo(Actor):
    """Answers with what it got."""

    def on_receive(self, message: Any) -> Any:
        return message


class Recorder(Actor):
    """Keeps every message, and lets a test wait for the n-th."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.news = asyncio.Event()

    def on_receive(self, message: Any) -> Any:
        self.seen.append(message)
        self.news.set()

    async def first(self, count: int) -> list[Any]:
        while len(self.seen) < count:
            self.news.clear()
            await self.news.wait()
        return self.seen


class Trapper(Recorder):
    """A recorder that sees exits as messages."""

    trap_exit = True


class Witness(Recorder):
    """Runs functions; keeps all else."""

    def on_receive(self, message: Any) -> Any:
        return message(self) if callable(message) else super().on_receive(message)


class Does(Actor):
    """Runs the function it is sent, with itself as the argument: a test's hand inside an actor."""

    def on_receive(self, message: Callable[[Actor], Any]) -> Any:
        if isinstance(message, Down | Exit):
            return None
        return message(self)


class Hanging(Actor):
    """Begins an answer and never gives it; `begun` says that a handler runs."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()

    async def on_receive(self, message: Any) -> None:
        self.begun.set()
        await asyncio.Event().wait()


def inside(ref: ActorRef[Any]) -> Any:
    """The actor behind a reference: only tests may look there."""
    return ref.actor  # type: ignore[attr-defined]
