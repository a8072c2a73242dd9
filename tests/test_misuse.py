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
    NodeDown,
    Refused,
    Shutdown,
    StartFailed,
    Stop,
    ThreadActor,
    TypedProxy,
    assign,
    conflate,
)
from understudy.supervisors import Child, Resize, Router

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
    "settings",
    [
        {"threads": 0},
        {"threads": "4"},
        {"threads": True},
        {"slow_after": -1},
        {"slow_after": "1"},
        {"slow_after": True},
        {"slow_after": math.nan},
        {"slow_thread_after": 0},
        {"incarnation": -1},
        {"incarnation": "1"},
        {"world": 5},
    ],
)
async def test_a_system_that_cannot_be_meant_is_not_made_and_harms_no_other(settings: dict[str, Any]) -> None:
    async with ActorSystem() as system:
        with pytest.raises((TypeError, ValueError), match=f"ActorSystem's {next(iter(settings))}"):
            ActorSystem(**settings)
        for name in ("", "a@b", 5, None):
            with pytest.raises(ValueError, match="a system's name"):
                ActorSystem(name)  # type: ignore[arg-type]
        await system.spawn(Obedient)


@pytest.mark.parametrize("timeout", [1e10, 1e300, 10**400])
async def test_a_wait_for_longer_than_anything_lasts_is_one_without_end(timeout: Any) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Obedient, start_timeout=timeout)
        for hold in (system.suspend, system.resume):
            await hold(ref, timeout)
        assert await ref.call("x", timeout) == "x"
        await ref.offer("x", timeout)
        assert await ref.ask("x", block=False).within(timeout) == "x"
        assert await asyncio.to_thread(lambda: ref.ask("x", timeout=timeout)) == "x"
        assert await asyncio.to_thread(lambda: ref.ask("x", block=False).get(timeout=timeout)) == "x"
        ref.stop()
        await ref.ended(timeout)


@pytest.mark.parametrize("time", [True, math.nan, math.inf, -1, "5", None, 10**400])
async def test_a_time_for_oneself_that_cannot_be_meant_is_refused(time: Any) -> None:
    def refused(actor: Obedient) -> bool:
        takes: list[Callable[[Any], Any]] = [lambda t: actor.send_after(t, "x"), lambda t: actor.send_every(t, "x")]
        if time is not None:
            takes.append(actor.receive_timeout)
        for take in takes:
            with pytest.raises((TypeError, ValueError), match="a timer's time is a"):
                take(time)
        return True

    async with ActorSystem() as system:
        assert await (await system.spawn(Obedient)).call(refused)


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
        if name == "a@b":
            with pytest.raises(NodeDown, match="is no node"):
                system.ref(name)
        else:
            with pytest.raises(ValueError, match="an actor's name"):
                system.ref(name)
        assert await (await system.spawn(Obedient)).call(refused)


async def test_a_group_to_watch_has_a_name_and_none_is_not_every_group() -> None:
    def refused(actor: Obedient) -> bool:
        nameless: Any = None
        for take in (actor.watch_group, actor.unwatch_group):
            with pytest.raises(ValueError, match="a group's name is a text"):
                take(nameless)
        actor.join("mine")  # whoever watched all groups would be told
        return True

    async with ActorSystem() as system:
        ref = await system.spawn(Obedient)
        assert await ref.call(refused)
        assert system.info(ref).mailbox == 0


async def test_what_is_no_name_is_not_looked_up_and_what_is_no_token_not_taken_back() -> None:
    def refused(actor: Obedient) -> bool:
        with pytest.raises(TypeError, match="demonitor takes the token that monitor returned"):
            actor.demonitor(actor.actor_ref)  # type: ignore[arg-type]
        return True

    async with ActorSystem() as system:
        ref = await system.spawn(Obedient)
        wrong: Any
        for wrong in (5, ["x"], ref, None):
            with pytest.raises(TypeError, match="whereis takes an actor's name"):
                system.whereis(wrong)
        assert await ref.call(refused)


async def background() -> None: ...


USES: list[Callable[[Any], Any]] = [
    lambda alone: alone.send_after(1, "x"),
    lambda alone: alone.become(print),
    lambda alone: alone.join("x"),
    lambda alone: alone.unstash(),
    lambda alone: alone.stop(),
    lambda alone: alone.then("x"),
    lambda alone: alone.run(background()),
    lambda alone: alone.system,
    lambda alone: alone.name,
    lambda alone: alone.actor_ref,
    lambda alone: alone.actor_inbox,
    lambda alone: alone.actor_stopped,
]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", [Obedient, ThreadActor])
def test_an_actor_that_was_made_and_not_started_says_so_and_how_to_start_one(kind: type[Any], use: Any) -> None:
    with pytest.raises(
        RuntimeError, match=rf"this {kind.__name__} was made, not started.*system\.spawn\({kind.__name__}"
    ):
        use(kind())


# --- counts ---


@pytest.mark.parametrize("size", [True, 0, -1, 2.0, "2", None])
async def test_a_pool_of_no_countable_size_is_not_made_and_stays_as_it_is(size: Any) -> None:
    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match="a Router's size is a count of workers from 1 up"):
            await system.spawn(Router, Child(Obedient), size=size)
        router = await system.spawn(Router, Child(Obedient), size=1)
        with pytest.raises(Refused, match="a router's size is a count of workers from 1 up"):
            await router.call(Resize(size))
        assert await router.call("x") == "x"


async def test_a_trace_keeps_a_count_of_events() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Obedient)
        wrong: Any
        for wrong in (True, 0, 1.5, "5", None):
            with pytest.raises(ValueError, match="a trace keeps a number of events"):
                system.trace(ref, wrong)


def test_a_setting_of_a_class_is_no_yes_or_no_unless_it_is_one() -> None:
    for name in ("high_water", "stash_limit", "stop_timeout"):
        with pytest.raises(TypeError, match=rf"Wrong\.{name} is a number"):
            type("Wrong", (Actor,), {name: True})
    for value in ("yes", 1, None):
        with pytest.raises(TypeError, match=r"Wrong\.trap_exit is True or False"):
            type("Wrong", (Actor,), {"trap_exit": value})


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


class Wordless:
    """Can be called, without any message."""

    def __call__(self) -> None: ...


def yields(_: object) -> Any:
    yield


HANDLERS: list[Any] = [5, None, "on_receive", lambda: 0, lambda a, b: 0, lambda a, *, b: 0, yields, Wordless()]


@pytest.mark.parametrize("handler", HANDLERS)
async def test_an_actor_does_not_become_what_could_not_take_a_message(handler: Any) -> None:
    def refused(actor: Obedient) -> bool:
        for push in (False, True):
            with pytest.raises(TypeError, match="become takes a function of one message"):
                actor.become(handler, push=push)
        return True

    async with ActorSystem() as system:
        ref = await system.spawn(Obedient)
        assert await ref.call(refused)
        assert await ref.call("as before") == "as before"


class Able:
    """Takes a message in every way in which one can."""

    def method(self, message: Any) -> Any:
        return message

    @classmethod
    def of_class(cls, message: Any) -> Any:
        return message

    @staticmethod
    def static(message: Any, *more: Any, and_that: str = "") -> Any:
        return message

    def __call__(self, message: Any) -> Any:
        return message


@pytest.mark.parametrize(
    "handler",
    [
        Able().method,
        Able.of_class,
        Able.static,
        Able(),
        lambda *all_of_it: all_of_it[0],
        lambda m, n=1: m,
        str,
        [].__class__,
    ],
)
async def test_an_actor_becomes_whatever_can_take_a_message(handler: Any) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Obedient)
        await ref.call(lambda actor: actor.become(handler))
        assert await ref.call("x") in ("x", ["x"])


@pytest.mark.parametrize("function", [5, None, background, "sleep"])
async def test_what_is_offloaded_is_a_plain_function(function: Any) -> None:
    class Delegating(Actor):
        async def on_receive(self, message: Any) -> Any:
            with pytest.raises(TypeError, match="offload takes a plain function"):
                await self.offload(message)
            return await self.offload(lambda: "done")

    async with ActorSystem() as system:
        assert await (await system.spawn(Delegating)).call(function) == "done"


@pytest.mark.parametrize("work", [5, None, background])
async def test_what_runs_in_the_background_is_a_coroutine(work: Any) -> None:
    def refused(actor: Obedient) -> bool:
        with pytest.raises(TypeError, match=r"run takes a coroutine, as in self\.run\(work\(\)\)"):
            actor.run(work)
        return True

    async with ActorSystem() as system:
        assert await (await system.spawn(Obedient)).call(refused)


async def by_and_by(_: object) -> int:
    return 1


@pytest.mark.parametrize("key", [lambda: 0, lambda a, b: 0, by_and_by, yields])
async def test_a_key_is_made_by_a_plain_function_of_a_message(key: Any) -> None:
    with pytest.raises(TypeError, match="conflate takes a plain function from a message to its key"):
        conflate(key)
    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match=r"Router\.by is a plain function of one message"):
            await system.spawn(Router, Child(Obedient), size=1, by=key)


def test_hooks_that_cannot_be_called_as_they_are_are_refused_with_their_class() -> None:
    wrong: dict[str, Any] = {
        "on_start": lambda self, more: None,
        "on_receive": lambda self: None,
        "on_stop": lambda self, reason, more: None,
        "on_failure": lambda self, error: None,
    }
    for hook, function in wrong.items():
        with pytest.raises(TypeError, match=rf"Wrong\.{hook} is called as {hook}\("):
            type("Wrong", (Actor,), {hook: function})


async def test_a_subscriber_that_would_have_to_be_awaited_is_refused() -> None:
    async def later(_: object) -> None: ...

    wrong: Any
    async with ActorSystem() as system:
        for event in (Ended, DeadLetter):
            for wrong in (later, 5, lambda: None, lambda event, more: None, yields):
                with pytest.raises(TypeError, match="a subscriber is a plain function of one event"):
                    system.hooks.subscribe(event, wrong)


async def test_a_replacement_of_a_state_is_a_plain_function() -> None:
    async def later(state: Any) -> Any:
        return state

    async with ActorSystem() as system:
        ref = await system.spawn(Obedient)
        wrong: Any
        for wrong in (5, None, later, lambda: None, lambda state, more: state):
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
        with pytest.raises(StartFailed, match="unexpected keyword argument 'naem'"):
            await system.spawn(Two, 1, naem="typo")
        for kind in (Obedient, ThreadActor):
            with pytest.raises(
                StartFailed, match=r"no __init__ of its own and takes no arguments; it was given 1 by.*naem by"
            ):
                await system.spawn(kind, 1, naem="typo")
        assert system.actors() == []
