"""Actor classes that every node of the tests has imported, so that they may be started anywhere."""

from __future__ import annotations

import asyncio
from typing import Any

from understudy.actors import Actor, ExitReason, Killed, Request, Stop, message
from understudy.supervisors import Ignore


@message("emigrants.say")
class Say(Request[Any]):
    """What an Emigrant is to do: echo, sum, raise, stop, where, hang."""

    what: str
    text: str = ""


class Emigrant(Actor):
    """Keeps what it was started with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.args = args
        self.kwargs = kwargs

    def on_receive(self, message: Any) -> Any:
        match message:
            case Say("echo", text):
                return text
            case Say("given"):
                return [list(self.args), self.kwargs]
            case Say("where"):
                return self.system.name
            case Say("raise", text):
                raise ValueError(text)
            case Say("stop"):
                return Stop(reply="bye")
            case Say("annoy", text):
                self.system.ref(text).exit()
                return None
            case Say("hang"):
                return asyncio.sleep(3600)
            case _:
                return self.unhandled(message)


class Trapping(Emigrant):
    """Heeds nobody but its parent."""

    trap_exit = True


class Stillborn(Actor):
    """Does not start."""

    def __init__(self, why: str) -> None:
        super().__init__()
        raise ValueError(why)


class Slow(Emigrant):
    """Takes some seconds to start."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    async def on_start(self) -> None:
        await asyncio.sleep(self.seconds)


class Parent(Actor):
    """Has children elsewhere, as it is told: `("spawn", node, class, *args)`; keeps what else it gets."""

    trap_exit = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: asyncio.Queue[Any] = asyncio.Queue()

    def on_receive(self, message: Any) -> Any:
        match message:
            case ("spawn", str(node), cls, *args):
                return self.spawn_on(node, cls, *args)
            case ("crash",):
                raise ValueError("crash")
            case _ if callable(message):
                return message(self)
            case _:
                self.seen.put_nowait(message)
                return None

    def on_stop(self, reason: ExitReason) -> None:
        assert not isinstance(reason, Killed)


class Obstinate(Actor):
    """Takes an hour to end."""

    stop_timeout = None

    async def on_stop(self, reason: ExitReason) -> None:
        await asyncio.sleep(3600)


class Declining(Actor):
    """Is not needed."""

    def on_start(self) -> None:
        raise Ignore("no licence")


class Lingering(Actor):
    """Takes a second to end."""

    async def on_stop(self, reason: ExitReason) -> None:
        await asyncio.sleep(1.0)


class Mother(Emigrant):
    """Has a child with a name, which takes its time to end."""

    async def on_start(self) -> None:
        await self.spawn(Lingering, name="lingering")
