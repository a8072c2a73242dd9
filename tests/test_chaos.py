"""Whoever ends whom, in whatever order and from whichever thread: every request is answered, and nothing is left."""

import asyncio
import random
import threading
from typing import Any

import pykka
import pytest

from understudy.actors import (
    Actor,
    ActorRef,
    ActorSystem,
    CallError,
    DeadlineExceeded,
    Down,
    Exit,
    ExitReason,
    Refused,
    Shutdown,
    StartFailed,
    Stop,
    ThreadActor,
)

DEEDS = [
    *("sleep", "call", "spawn", "crash", "stop", "refuse", "kill me", "exit me", "monitor", "link"),
    *("kill", "exit", "tell", "timer", "background", "answer", "answer", "answer"),
]
PATIENCE = 30.0
"""Seconds after which an unanswered request is a fault: far more than any round takes."""


class Rascal(Actor):
    """Does what it is told, to itself and to others; in a plain handler or, by chance, in an asynchronous one."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self.dice = random.Random(dice.random())
        self.trap_exit = dice.random() < 0.2

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Down | Exit):
            return None
        return self.slowly(*message) if self.dice.random() < 0.5 else self.do(*message)

    async def slowly(self, deed: str, other: ActorRef[Any]) -> Any:
        match deed:
            case "sleep":
                await asyncio.sleep(self.dice.random() * 0.002)
            case "call":
                try:
                    await other.call(("answer", other), timeout=0.05)  # two of them may be calling each other
                except CallError:
                    return None
            case "spawn":
                try:
                    await self.spawn(Rascal, self.dice)
                except StartFailed:
                    return None
        return self.do(deed, other)

    def do(self, deed: str, other: ActorRef[Any]) -> Any:
        match deed:
            case "crash":
                raise ValueError("as told")
            case "stop":
                return Stop(Shutdown())
            case "refuse":
                raise Refused("as told")
            case "kill me":
                self.actor_ref.kill()
            case "exit me":
                self.actor_ref.exit()
            case "monitor":
                self.monitor(other)
            case "link" if self.dice.random() < 0.3:
                self.link(other)
            case "kill":
                other.kill()
            case "exit":
                other.exit()
            case "tell":
                other.tell(("answer", other))
            case "timer":
                self.send_after(0.001, ("answer", other))
            case "background":
                self.run(asyncio.sleep(0.001, ("answer", other)))
        return deed


class Tidy(Rascal):
    """Its hooks take time, and sometimes fail."""

    async def on_start(self) -> None:
        await asyncio.sleep(self.dice.random() * 0.001)

    async def on_stop(self, reason: ExitReason) -> None:
        await asyncio.sleep(self.dice.random() * 0.001)
        if self.dice.random() < 0.1:
            raise ValueError("a failing hook")

    async def on_failure(self, *_: Any) -> None:
        await asyncio.sleep(0)


class Threaded(Rascal, ThreadActor):
    """The same on a thread."""

    def on_receive(self, message: Any) -> Any:
        return None if isinstance(message, Down | Exit) else self.do(*message)


class Stage:
    """The actors of one round, and what was not answered."""

    def __init__(self, system: ActorSystem) -> None:
        self.system = system
        self.refs: list[ActorRef[Any]] = []
        self.unanswered: list[Any] = []

    async def bother(self, dice: random.Random) -> None:
        """From the loop: call, tell, end, and give up waiting."""
        for _ in range(200):
            while len(self.refs) < 6:
                self.refs.append(await self.system.spawn(dice.choice((Rascal, Tidy, Threaded)), dice))
            ref, order = dice.choice(self.refs), (dice.choice(DEEDS), dice.choice(self.refs))
            if not ref.is_alive():
                self.refs.remove(ref)
            match dice.randrange(10):
                case 0 | 1 | 2:
                    ref.tell(order)
                case 3:
                    getattr(ref, dice.choice(("stop", "exit", "kill")))()
                case 4:
                    asking = asyncio.create_task(ref.call(order, PATIENCE))
                    await asyncio.sleep(dice.random() * 0.001)
                    asking.cancel()
                    await asyncio.wait((asking,))
                    asking.cancelled() or asking.exception()
                case _:
                    try:
                        await ref.call(order, PATIENCE)
                    except DeadlineExceeded:
                        self.unanswered.append((ref, order))
                    except CallError:
                        continue

    def bother_from_afar(self, dice: random.Random, over: threading.Event) -> None:
        """From a thread: the same, by `ask`."""
        while not over.is_set():
            for ref in tuple(self.refs):
                order = (dice.choice(DEEDS), ref)
                match dice.randrange(10):
                    case 0:
                        getattr(ref, dice.choice(("stop", "exit", "kill")))()
                    case 1 | 2 | 3 | 4:
                        ref.tell(order)
                    case _:
                        try:
                            ref.ask(order, timeout=PATIENCE)
                        except pykka.Timeout:
                            self.unanswered.append((ref, order))
                        except CallError:
                            continue


@pytest.mark.parametrize("seed", range(12))
async def test_every_request_is_answered_and_nothing_is_left(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    over = threading.Event()
    async with ActorSystem() as system:
        stage = Stage(system)
        afar = asyncio.create_task(asyncio.to_thread(stage.bother_from_afar, random.Random(seed), over))
        try:
            await asyncio.gather(*(stage.bother(random.Random(seed * 100 + n)) for n in range(6)))
        finally:
            over.set()
            await afar
        await system.shutdown(deadline=PATIENCE)
    assert stage.unanswered == []
    assert not system._top
    assert not system._names
    assert not any(ref.is_alive() for ref in stage.refs)
    faults = [record.getMessage() for record in caplog.records if "signal failed" in record.getMessage()]
    assert faults == []
    last_steps = asyncio.all_tasks() - {asyncio.current_task()}
    if last_steps:  # of killed handlers, which are cancelled
        _, pending = await asyncio.wait(last_steps, timeout=PATIENCE)
        assert not pending
