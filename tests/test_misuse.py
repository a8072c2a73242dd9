"""What cannot be meant is refused where it is said, in words that say what is wrong and what to say instead; nothing is lost."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from understudy.actors import (
    Actor,
    ActorDied,
    ActorSystem,
    DeadLetter,
    Ended,
    Later,
    Shutdown,
    StartFailed,
    Stop,
    ThreadActor,
    TypedProxy,
    assign,
)

TIMES = [
    pytest.param(-1, ValueError, id="negative"),
    pytest.param(math.nan, ValueError, id="nan"),
    pytest.param("5", TypeError, id="text"),
]


class Obedient(Actor):
    """Does what it is sent, with itself."""

    def on_receive(self, message: Any) -> Any:
        return message(self) if callable(message) else message


class Hesitant(Actor):
    """Takes its time to start."""

    async def on_start(self) -> None:
        await asyncio.sleep(0.001)


# --- times ---


@pytest.mark.parametrize(("timeout", "error"), TIMES)
@pytest.mark.parametrize("kind", [Obedient, Hesitant])
async def test_a_start_timeout_that_cannot_be_meant_starts_nobody(kind: type[Any], timeout: Any, error: Any) -> None:
    async with ActorSystem() as system:
        with pytest.raises(error, match="a timeout is a number of seconds from 0 up"):
            await system.spawn(kind, name="nobody", start_timeout=timeout)
        assert system.actors() == []
        assert system.whereis("nobody") is None
        await system.spawn(kind, name="nobody", start_timeout=math.inf)


@pytest.mark.parametrize(("timeout", "error"), TIMES)
async def test_a_wait_that_cannot_be_meant_says_so_and_waits_for_nothing(timeout: Any, error: Any) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Obedient)
        waits: list[Callable[[], Any]] = [
            lambda: ref.ended(timeout),
            lambda: asyncio.to_thread(lambda: ref.ask("x", timeout=timeout)),
            lambda: asyncio.to_thread(lambda: ref.ask("x", block=False).get(timeout=timeout)),
        ]
        for wait in waits:
            with pytest.raises(error, match="a timeout is a number of seconds from 0 up"):
                await wait()


async def test_math_inf_waits_as_long_as_it_takes_in_a_plain_thread_too() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Obedient)
        assert await asyncio.to_thread(lambda: ref.ask("x", timeout=math.inf)) == "x"
        assert await asyncio.to_thread(lambda: ref.ask("x", block=False).get(timeout=math.inf)) == "x"
        ref.stop()
        await ref.ended(math.inf)


@pytest.mark.parametrize(("deadline", "error"), TIMES)
async def test_after_a_deadline_that_cannot_be_meant_a_system_can_still_be_shut_down(deadline: Any, error: Any) -> None:
    system = ActorSystem()
    ref = await system.spawn(Obedient)
    with pytest.raises(error, match="a timeout is a number of seconds from 0 up"):
        await system.shutdown(deadline)
    assert await ref.call("there") == "there"
    await system.shutdown(math.inf)
    assert not ref.is_alive()


@pytest.mark.parametrize(
    "settings", [{"threads": 0}, {"threads": "4"}, {"slow_after": -1}, {"slow_after": "1"}, {"slow_thread_after": 0}]
)
async def test_a_system_that_cannot_be_meant_is_not_made_and_harms_no_other(settings: dict[str, Any]) -> None:
    async with ActorSystem() as system:
        with pytest.raises(ValueError, match=f"ActorSystem's {next(iter(settings))}"):
            ActorSystem(**settings)
        await system.spawn(Obedient)


# --- reasons, references, names ---


@pytest.mark.parametrize("reason", ["because", ValueError("because"), None, Shutdown])
async def test_what_is_no_exit_reason_ends_nobody(reason: Any) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Obedient, name="one")
        for end in (ref.exit, system.ref("one").exit):
            with pytest.raises(TypeError, match=r"an exit reason is Shutdown\('why'\)"):
                end(reason)
        with pytest.raises(TypeError, match=r"an exit reason is Shutdown\('why'\)"):
            Stop(reason)
        assert await ref.call("alive") == "alive"


@pytest.mark.parametrize("what", ["monitor", "link", "unlink"])
@pytest.mark.parametrize("whom", ["name", None, Obedient()])
async def test_what_is_no_reference_cannot_be_tied_to(what: str, whom: Any) -> None:
    def refused(actor: Obedient) -> bool:
        with pytest.raises(TypeError, match="a reference to an actor, such as what spawn returns"):
            getattr(actor, what)(whom)
        return True

    async with ActorSystem() as system:
        ref = await system.spawn(Obedient)
        assert await ref.call(refused)
        assert system.info(ref).links == system.info(ref).monitors == ()


@pytest.mark.parametrize("name", [5, None, "", "a@b", ["x"]])
async def test_a_name_that_nobody_can_have_is_refused_by_whoever_takes_one(name: Any) -> None:
    def refused(actor: Obedient) -> bool:
        for take in (actor.join, actor.leave, actor.watch_group, actor.unwatch_group):
            if name is not None or take in (actor.join, actor.leave):
                with pytest.raises(ValueError, match="a group's name"):
                    take(name)
        return True

    async with ActorSystem() as system:
        with pytest.raises(ValueError, match="an actor's name"):
            system.ref(name)
        assert await (await system.spawn(Obedient)).call(refused)


async def test_an_actor_that_was_made_and_not_started_says_so() -> None:
    alone = Obedient()
    for use in (lambda: alone.send_after(1, "x"), lambda: alone.become(print), lambda: alone.join("x"), alone.unstash):
        with pytest.raises(RuntimeError, match="this Obedient was made, not started"):
            use()


async def test_what_is_no_class_of_proxies_and_no_proxy_is_refused() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Obedient, name="one")
        kinds: tuple[Any, ...] = (5, int, Obedient)
        for kind in kinds:
            with pytest.raises(TypeError, match="proxy takes a subclass of TypedProxy"):
                ref.proxy(kind)
            with pytest.raises(TypeError, match="proxy takes a subclass of TypedProxy"):
                system.ref("one").proxy(kind)
        wrong: Any = ref
        with pytest.raises(TypeError, match="assign takes a proxy"):
            assign(wrong, "volume", 1)
        await assign(ref.proxy(TypedProxy), "volume", 1)


# --- functions ---


async def test_a_subscriber_that_would_have_to_be_awaited_is_refused() -> None:
    async def later(_: object) -> None: ...

    wrong: Any = later
    async with ActorSystem() as system:
        ways: list[Callable[[], Any]] = [
            lambda: system.hooks.subscribe(Ended, wrong),
            lambda: system.hooks.subscribe(DeadLetter, wrong),
            lambda: system.dead_letters.subscribe(wrong),
        ]
        for subscribe in ways:
            with pytest.raises(TypeError, match="a subscriber is a plain function of one event"):
                subscribe()
        wrong = 5
        with pytest.raises(TypeError, match="a subscriber is a plain function of one event"):
            system.dead_letters.subscribe(wrong)


async def test_a_replacement_of_a_state_is_a_plain_function() -> None:
    async def later(state: Any) -> Any:
        return state

    async with ActorSystem() as system:
        ref = await system.spawn(Obedient)
        wrong: Any
        for wrong in (5, None, later):
            with pytest.raises(TypeError, match="replace_state takes a plain function"):
                await system.replace_state(ref, wrong)


def test_hooks_that_nothing_would_run_or_wait_for_are_refused_with_their_class() -> None:
    def yields(*_: object) -> Any:
        yield

    async def yields_too(*_: object) -> Any:
        yield

    async def waits(*_: object) -> Any: ...

    for hook in ("on_start", "on_receive", "on_stop", "on_failure"):
        for function in (yields, yields_too):
            with pytest.raises(TypeError, match=f"Wrong.{hook} yields"):
                type("Wrong", (Actor,), {hook: function})
    for hook in ("on_get_state", "on_replace_state"):
        with pytest.raises(TypeError, match=f"Wrong.{hook} is an async def"):
            type("Wrong", (Actor,), {hook: waits})
    for timeout, error in ((-1, ValueError), ("5", TypeError)):
        with pytest.raises(error, match=r"Wrong\.stop_timeout is a number of seconds"):
            type("Wrong", (ThreadActor,), {"stop_timeout": timeout})


# --- one answer for many ---


class Oracle(Actor):
    """Answers all who have asked at once, when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.later = Later()

    def on_receive(self, message: Any) -> Any:
        if message == "speak":
            self.later.set(42)
            return None
        return self.later


async def test_a_later_that_was_returned_for_several_calls_answers_all_of_them() -> None:
    async with ActorSystem() as system:
        oracle = await system.spawn(Oracle)
        asked = [asyncio.create_task(oracle.call("ask")) for _ in range(3)]
        await asyncio.sleep(0)
        await oracle.call("speak")
        assert await asyncio.gather(*asked) == [42, 42, 42]
        assert await oracle.call("ask") == 42


async def test_at_its_actors_end_a_later_fails_all_calls_it_was_returned_for() -> None:
    async with ActorSystem() as system:
        oracle = await system.spawn(Oracle)
        asked = [asyncio.create_task(oracle.call("ask")) for _ in range(3)]
        await asyncio.sleep(0)
        oracle.kill()
        for answer in asked:
            with pytest.raises(ActorDied):
                await answer


async def test_a_start_that_is_given_what_it_does_not_take_says_so() -> None:
    class Two(Actor):
        def __init__(self, one: int) -> None:
            super().__init__()
            self.one = one

    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match="missing 1 required positional argument: 'one'"):
            await system.spawn(Two)
