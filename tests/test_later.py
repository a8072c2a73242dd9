"""An answer that comes later: others are served in between, and nobody waits for a dead actor."""

import asyncio
import threading
from typing import Any

import pytest

from tests.players import inside
from tests.sides import sides
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    CallError,
    DeadlineExceeded,
    Envelope,
    Later,
    Refused,
    Stop,
    ThreadActor,
)
from understudy.supervisors import Child, Router


class Hurt(Refused):
    """A refusal with a class of its own."""


class Clerk(Actor):
    """Answers "when" once it hears "now" (or "no"), whichever comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[Later] = []

    def on_receive(self, message: Any) -> Any:
        match message:
            case "when":
                self.open.append(Later())
                return self.open[-1]
            case "at once":
                later = Later()
                later.set("early")
                return later
            case "now":
                for later in self.open:
                    later.set("done")
                    later.set("twice")
            case "no":
                self.open[-1].fail(Refused("not today"))
            case "crash":
                raise RuntimeError("on purpose")
            case "stop":
                return Stop()
            case _:
                return "served"
        return None


async def test_others_are_served_in_between() -> None:
    async with ActorSystem() as system:
        clerk = await system.spawn(Clerk)
        first, second = (asyncio.ensure_future(clerk.call("when")) for _ in range(2))
        await asyncio.sleep(0)
        assert await clerk.call("other") == "served"
        assert not first.done()
        clerk.tell("now")
        assert list(await asyncio.gather(first, second)) == ["done", "done"]


async def test_an_answer_may_be_known_before_the_handler_returns() -> None:
    async with ActorSystem() as system:
        clerk = await system.spawn(Clerk)
        assert await clerk.call("at once") == "early"
        clerk.tell("at once")
        assert await clerk.call("other") == "served"


async def test_a_refusal_may_come_later_too() -> None:
    async with ActorSystem() as system:
        clerk = await system.spawn(Clerk)
        waiting = asyncio.ensure_future(clerk.call("when"))
        await asyncio.sleep(0)
        clerk.tell("no")
        with pytest.raises(Refused, match="not today"):
            await waiting


@pytest.mark.parametrize("end", ["crash", "stop", "kill"])
async def test_who_waits_learns_of_the_end_at_once(end: str) -> None:
    async with ActorSystem() as system:
        clerk = await system.spawn(Clerk)
        waiting = asyncio.ensure_future(clerk.call("when", timeout=60))
        await asyncio.sleep(0)
        if end == "kill":
            clerk.kill()
        else:
            clerk.tell(end)
        async with asyncio.timeout(30):
            with pytest.raises(ActorDied):
                await waiting


class Listens:
    """Waits for an answer and watches, and writes down in which order it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def set(self, value: Any) -> None:
        raise AssertionError("nobody answers")

    def fail(self, error: Exception) -> None:
        self.heard.append(type(error).__name__)

    def abandoned(self) -> bool:
        return False

    def down(self, token: int, ref: ActorRef[Any], reason: Any) -> None:
        self.heard.append("down")


@pytest.mark.parametrize("end", ["crash", "stop", "kill"])
async def test_who_waits_is_told_before_those_who_watch(end: str) -> None:
    async with ActorSystem() as system:
        clerk, listens = await system.spawn(Clerk), Listens()
        clerk._monitor(system.next_token(), listens)
        for _ in range(2):
            clerk.tell(Envelope("when", listens))
        await clerk.call("other")
        if end == "kill":
            clerk.kill()
        else:
            clerk.tell(end)
        await clerk.ended()
        assert listens.heard == ["ActorDied", "ActorDied", "down"]


async def test_an_answer_after_the_deadline_is_dropped() -> None:
    async with ActorSystem() as system:
        clerk = await system.spawn(Clerk)
        with pytest.raises(DeadlineExceeded):
            await clerk.call("when", timeout=0.01)
        clerk.tell("now")
        assert await clerk.call("other") == "served"


class Failing(Actor):
    """Fails each request as it is told to, by hand or by its own raise, and lives on."""

    def on_receive(self, message: str) -> Any:
        if message == "raise":
            raise Hurt("it hurts")
        later = Later()
        match message:
            case "refuse":
                later.fail(Hurt("it hurts"))
            case "break":
                later.fail(ValueError("no such row"))
            case "end":
                later.fail(StopIteration())
            case _:
                later.set("fine")
        return later


@pytest.mark.parametrize("where", ["here", "afar", "in a thread", "in a thread afar"])
async def test_a_request_that_fails_later_fails_alike_here_and_afar_and_its_actor_lives(where: str) -> None:
    async with sides("a", "b") as (a, b):
        ref: ActorRef[Any] = await b.system.spawn(Failing, name="failing")
        if "afar" in where:
            ref = a.links.named("b", "failing")

        async def ask(message: str) -> Any:
            return await (asyncio.to_thread(ref.ask, message, timeout=5) if "thread" in where else ref.call(message))

        for how in ("raise", "refuse"):
            with pytest.raises(Refused, match="it hurts") as refused:
                await ask(how)
            assert refused.value.relayed
        for how, why in (("break", "the request failed: ValueError: no such row"), ("end", "StopIteration")):
            with pytest.raises(CallError, match=why) as failed:
                await ask(how)
            assert type(failed.value) is CallError
        assert await ask("x") == "fine"


@pytest.mark.parametrize("error", ["why not", Refused, None])
def test_a_later_fails_with_an_exception_or_says_what_it_takes(error: Any) -> None:
    with pytest.raises(TypeError, match="takes an exception"):
        Later().fail(error)


class Poll(Actor):
    """Answers nobody: each poll has a Later of its own, or they share one."""

    shared = Later()

    def on_receive(self, message: str) -> Any:
        return self.shared if message == "shared" else Later()


@pytest.mark.parametrize("which", ["own", "shared"])
async def test_requests_that_are_to_be_answered_later_are_forgotten_once_their_callers_have_gone(which: str) -> None:
    Poll.shared = Later()
    async with ActorSystem() as system:
        poll = await system.spawn(Poll)
        patient = asyncio.ensure_future(poll.call(which, 60))
        for _ in range(50):
            callers = [asyncio.ensure_future(poll.call(which, 60)) for _ in range(20)]
            await asyncio.sleep(0)
            for caller in callers:
                caller.cancel()
            await asyncio.wait(callers)
        owed = inside(poll)._cell.bonds.owed
        assert sum(len(later._replies) for later in owed) < 50
        assert not patient.done()
        poll.kill()  # the one that waits is kept
        with pytest.raises(ActorDied):
            await patient


class Slow(ThreadActor):
    """Answers "when" in its own thread once it hears "now", or another thread does at once."""

    def __init__(self) -> None:
        super().__init__()
        self.later = Later()

    def on_receive(self, message: str) -> Any:
        match message:
            case "at once":
                later = Later()
                threading.Thread(target=later.set, args=("done",)).start()
                return later
            case "now":
                self.later.set("done")
            case _:
                self.then("now")
                return self.later
        return None


@pytest.mark.parametrize("message", ["when", "at once"])
async def test_an_answer_may_be_given_in_any_thread_and_arrives_on_the_loop(message: str) -> None:
    asyncio.get_running_loop().set_debug(True)  # what is done to a future in another thread raises
    async with ActorSystem() as system:
        slow = await system.spawn(Slow)
        assert await slow.call(message) == "done"
        router = await system.spawn(Router, Child(Slow), size=3, by="broadcast")
        assert await router.call(message) == ["done"] * 3
