"""One actor in every kind, which does what a test tells it to and can be held up: what the tests of mailboxes share."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from understudy.actors import Actor, ActorRef, ThreadActor

HOLD = object()
"""The message that holds an actor up until it is let go."""


class Hand:
    """What an actor of these tests has in common with its test: `heard` is what it has handled, `react` what it does."""

    def __init__(self, react: Callable[[Any, Any], Any] | None = None) -> None:
        self.heard: list[Any] = []
        self.held = asyncio.Event()
        self.gate = threading.Event()
        self.opened = asyncio.Event()
        self.react = react

    def take(self, actor: Any, message: Any) -> Any:
        if self.react is not None:
            return self.react(actor, message)
        self.heard.append(message)
        return message

    def let_go(self) -> None:
        """Let the actor go on."""
        self.gate.set()
        self.opened.set()


class Plain(Actor):
    """Plain handlers, but for the one that holds it up."""

    def __init__(self, hand: Hand) -> None:
        super().__init__()
        self.hand = hand

    def on_receive(self, message: Any) -> Any:
        return self.wait() if message is HOLD else self.hand.take(self, message)

    async def wait(self) -> None:
        self.hand.held.set()
        await self.hand.opened.wait()


class Asynchronous(Plain):
    """All its handlers are `async def`."""

    async def on_receive(self, message: Any) -> Any:
        if message is HOLD:
            return await self.wait()
        await asyncio.sleep(0)
        return self.hand.take(self, message)


class Threaded(ThreadActor):
    """Has a thread of its own."""

    def __init__(self, hand: Hand) -> None:
        super().__init__()
        self.hand = hand

    def on_receive(self, message: Any) -> Any:
        if message is not HOLD:
            return self.hand.take(self, message)
        self._cell.on_loop(self.hand.held.set)
        self.hand.gate.wait()
        return None


KINDS: tuple[type[Any], ...] = (Plain, Asynchronous, Threaded)


def made(kind: type[Any], **attributes: Any) -> type[Any]:
    """A class of that kind with such class attributes."""
    return type(kind.__name__, (kind,), attributes)


async def held(ref: ActorRef[Any], hand: Hand) -> None:
    """Hold the actor up: what is sent to it waits."""
    ref.tell(HOLD)
    await hand.held.wait()


async def ended(ref: ActorRef[Any], hand: Hand) -> list[Any]:
    """Let it go on and end after what waits; returns what it has handled."""
    hand.let_go()
    await ref.stop()
    await ref.ended()
    return hand.heard


@contextmanager
def letting_go(hand: Hand) -> Iterator[Hand]:
    """No thread stays held up, however a test ends."""
    try:
        yield hand
    finally:
        hand.let_go()
