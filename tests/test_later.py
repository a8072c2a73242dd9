"""An answer that comes later: others are served in between, and nobody waits for a dead actor."""

import asyncio
from typing import Any

import pytest

from tests.sides import sides
from understudy.actors import Actor, ActorDied, ActorRef, ActorSystem, CallError, DeadlineExceeded, Later, Refused, Stop


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
        async with asyncio.timeout(1):
            with pytest.raises(ActorDied):
                await waiting


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
