"""The failure rule: what an exception in a handler means, under "crash" and under "pykka"."""

import asyncio
import logging
from typing import Any, ClassVar

import pykka
import pytest

from tests.helpers import eventually
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    CallError,
    DeadLetter,
    Failure,
    Normal,
    Refused,
    Stop,
    ThreadActor,
    reentrant,
)
from understudy.supervisors import Child, Supervisor


class Diary:
    """Both kinds of actors below write down their ends, and raise what they are sent."""

    failure_rule: ClassVar[Any] = "pykka"

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, BaseException):
            raise message
        return super().on_receive(message) if message == "unknown" else message  # type: ignore[misc]

    def on_stop(self) -> None:
        self.lines.append("on_stop")

    def on_failure(self, _type: object, value: object, _traceback: object) -> None:
        self.lines.append(f"on_failure {value}")

    def fail(self, message: str) -> None:
        raise LookupError(message)


class Plain(Diary, Actor):
    pass


class Threaded(Diary, ThreadActor):
    pass


class Async(Diary, Actor):
    async def on_receive(self, message: Any) -> Any:
        await asyncio.sleep(0)
        return super().on_receive(message)


class Reentered(Diary, Actor):
    @reentrant
    async def on_receive(self, message: Any) -> Any:
        await asyncio.sleep(0)
        return super().on_receive(message)


KINDS = pytest.mark.parametrize("kind", [Plain, Threaded, Async, Reentered])


@KINDS
async def test_whoever_asks_gets_the_exception_itself_and_the_actor_lives(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        lines: list[str] = []
        ref: ActorRef[Any] = await system.spawn(kind, lines)
        error = KeyError("nothing here")
        for attempt in (ref.call(error), ref.ask(error, block=False), asyncio.to_thread(ref.ask, error)):
            with pytest.raises(KeyError) as caught:
                await attempt
            assert caught.value is error
        with pytest.raises(LookupError, match="lost"):
            await ref.proxy().fail("lost")
        assert await ref.call("still here") == "still here"
        assert lines == []
    assert lines == ["on_stop"]


@KINDS
async def test_a_tell_that_fails_ends_the_actor_with_on_failure(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        for deferred in (False, True):
            lines: list[str] = []
            ref: ActorRef[Any] = await system.spawn(kind, lines)
            ended = asyncio.ensure_future(ref.ended())
            await asyncio.sleep(0)
            if deferred:
                ref.proxy().fail.defer("lost")
            else:
                ref.tell(LookupError("lost"))
            reason = await ended
            assert isinstance(reason, Failure)
            assert reason.type == "LookupError"
            assert lines == ["on_failure lost"]


@KINDS
async def test_a_refusal_means_the_same_under_both_rules(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        lost: list[DeadLetter] = []
        system.hooks.subscribe(DeadLetter, lost.append)
        ref: ActorRef[Any] = await system.spawn(kind, [])
        with pytest.raises(Refused, match="not today"):
            await ref.call(Refused("not today"))
        ref.tell(Refused("not today"))
        assert await ref.call("still here") == "still here"
        assert [letter.reason for letter in lost] == ["refused"]


@KINDS
async def test_an_unknown_message_is_a_warning_in_pykkas_log(kind: type[Any], caplog: pytest.LogCaptureFixture) -> None:
    async with ActorSystem() as system:
        ref: ActorRef[Any] = await system.spawn(kind, [])
        assert await ref.call("unknown") is None
    assert [(record.name, record.levelname) for record in caplog.records] == [("pykka", "WARNING")]
    assert "Unexpected message received by" in caplog.text


@KINDS
async def test_failures_are_logged_in_pykkas_words_once(kind: type[Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with ActorSystem() as system:
        ref: ActorRef[Any] = await system.spawn(kind, [])
        with pytest.raises(KeyError):
            await ref.call(KeyError("asked"))
        ended = asyncio.ensure_future(ref.ended())
        await asyncio.sleep(0)
        ref.tell(KeyError("told"))
        await ended
    records = [record for record in caplog.records if record.name.startswith(("pykka", "understudy"))]
    assert [(record.name, record.getMessage()) for record in records] == [
        ("pykka", f"Exception returned from {ref} to caller:"),
        ("pykka", f"Unhandled exception in {ref}:"),
    ]
    assert [str(record.exc_info[1]) for record in records if record.exc_info] == ["'asked'", "'told'"]


@KINDS
async def test_what_is_no_exception_ends_that_actor_alone_with_on_stop(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        lines: list[str] = []
        ref: ActorRef[Any] = await system.spawn(kind, lines)
        other = await system.spawn(Plain, [])
        with pytest.raises(ActorDied, match="SystemExit"):
            await ref.call(SystemExit(3))
        await ref.ended()
        assert lines == ["on_stop"]
        assert other.is_alive()


async def test_an_exception_that_a_coroutine_cannot_be_given_arrives_all_the_same() -> None:
    async with ActorSystem() as system:
        ref: ActorRef[Any] = await system.spawn(Plain, [])
        with pytest.raises(RuntimeError) as caught:
            await ref.call(StopIteration("over"))
        assert isinstance(caught.value.__cause__, StopIteration)
        assert await asyncio.to_thread(_what_an_ask_raises, ref) is StopIteration
        assert ref.is_alive()


def _what_an_ask_raises(ref: ActorRef[Any]) -> type[Exception] | None:
    try:
        ref.ask(StopIteration("over"))
    except Exception as error:  # noqa: BLE001 - that is the question
        return type(error)
    return None


@KINDS
async def test_a_handler_may_still_stop_its_actor(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        ref: ActorRef[Any] = await system.spawn(kind, [])
        assert await ref.call(Stop(reply="bye")) == "bye"
        assert await ref.ended() == Normal()


async def test_a_supervisor_restarts_what_a_tell_has_ended_and_never_hears_of_what_was_asked() -> None:
    async with ActorSystem() as system:
        await system.spawn(Supervisor, [Child(Plain, ([],), name="plain")], name="supervisor")
        plain = system.ref("plain")
        first = system.whereis("plain")
        with pytest.raises(KeyError):
            await plain.call(KeyError())
        assert system.whereis("plain") is first
        assert first is not None
        ended = asyncio.ensure_future(first.ended())
        await asyncio.sleep(0)
        plain.tell(KeyError())
        await ended
        await eventually(lambda: system.whereis("plain") not in (None, first))


async def test_the_default_rule_ends_the_actor_and_its_caller_learns_why() -> None:
    async with ActorSystem() as system:
        cls = type("Default", (Plain,), {"failure_rule": "crash"})
        lines: list[str] = []
        ref: ActorRef[Any] = await system.spawn(cls, lines)
        with pytest.raises(ActorDied, match="KeyError"):
            await ref.call(KeyError())
        await ref.ended()
        assert lines == ["on_failure "]


def test_there_is_no_third_rule() -> None:
    with pytest.raises(ValueError, match=r"Odd\.failure_rule is 'crash' or 'pykka', not 'perhaps'"):
        type("Odd", (Actor,), {"failure_rule": "perhaps"})


async def test_pykkas_registry_never_sees_what_was_spawned() -> None:
    async with ActorSystem() as system:
        for kind in (Plain, Threaded):
            await system.spawn(kind, [])
        assert pykka.ActorRegistry.get_all() == []
        with pytest.raises(CallError):
            await (await system.spawn(Actor)).call("unknown")
