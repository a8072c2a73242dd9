"""Crash reports: one for a failure, with all that is known, without secrets, and not the same one a thousand times."""

import asyncio
import contextlib
import json
import logging
from typing import Any

import pytest

from tests.helpers import eventually
from tests.virtual import virtually
from understudy.actors import Actor, ActorSystem, CrashReport, Refused, ThreadActor
from understudy.actors.crashes import BURST, EVERY
from understudy.console import ConsoleHandler
from understudy.supervisors import Child, Supervisor


class Fragile(Actor):
    """Crashes when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.api_token = "hunter2"
        self.pin = 1234
        self._private = [self]

    __redacted__ = ("pin",)

    def on_receive(self, message: Any) -> Any:
        self.count += 1
        match message:
            case {"crash": _}:
                try:
                    return message["missing"]
                except KeyError as error:
                    raise ValueError("it broke, password=hunter2") from error
            case "group":
                raise ExceptionGroup("several", [OSError("one"), KeyError("two")])
            case "other line":
                raise ValueError("elsewhere")
            case "refuse":
                raise Refused("no")
            case "aside":
                self.run(self.aside())
        return message

    async def aside(self) -> None:
        raise ValueError("in the background")


class FragileThread(ThreadActor):
    def on_receive(self, message: Any) -> Any:
        raise ValueError("in a thread")


class Parent(Actor):
    trap_exit = True

    async def on_start(self) -> None:
        self.child = await self.spawn(Fragile, name="child")

    def on_receive(self, message: Any) -> Any:
        return self.child


@contextlib.contextmanager
def reports(system: ActorSystem) -> Any:
    got: list[CrashReport] = []
    end = system.hooks.subscribe(CrashReport, got.append)
    yield got
    end()


@pytest.mark.parametrize("before", [0, 1, 5])
async def test_a_report_counts_the_messages_up_to_the_one_that_it_crashed_at(before: int) -> None:
    async with ActorSystem() as system:
        with reports(system) as got:
            fragile = await system.spawn(Fragile)
            for _ in range(before):
                fragile.tell("a message")
            fragile.tell({"crash": 1})
            fragile.tell("never handled")
            await fragile.ended()
        assert [report.handled for report in got] == [before + 1]


async def test_a_report_says_who_why_at_what_in_which_state_and_under_whom() -> None:
    async with ActorSystem() as system:
        with reports(system) as got:
            parent = await system.spawn(Parent, name="parent")
            child = await parent.call("who?")
            await child.call("a message")
            child.tell({"crash": 1, "password": "hunter2"})
            await child.ended()
        [report] = got
        assert (report.ref, report.cls, report.name) == (child, "tests.test_crashes.Fragile", "child")
        assert report.address == str(child.address)
        assert (report.reason.type, report.reason.trace[-1][2]) == ("ValueError", "Fragile.on_receive")
        assert [cause.type for cause in report.causes] == ["KeyError"]
        assert (report.message, report.last_message) == ("dict", "{'crash': 1, 'password': ***}")
        assert report.state == {"count": "2", "api_token": "***", "pin": "***", "_private": report.state["_private"]}
        assert report.parents == (repr(parent),)
        assert report.suppressed == 0
        text = str(report)
        assert text.startswith(f"{child!r} crashed handling dict: ValueError: it broke")
        for part in ("count=2", "test_crashes.py", "KeyError", repr(parent)):
            assert part in text
        assert "hunter2" not in text + str(report.data())


async def test_it_is_logged_once_with_the_data_for_handlers_that_write_json(caplog: pytest.LogCaptureFixture) -> None:
    async with ActorSystem() as system:
        await system.spawn(Supervisor, [Child(Fragile, name="fragile")], intensity=5)
        with reports(system) as got:
            system.ref("fragile").tell({"crash": 1})
            await eventually(lambda: got and system.whereis("fragile"))
    records: list[Any] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(records) == 1
    assert "hunter2" not in caplog.text
    data = json.loads(json.dumps(records[0].crash))
    assert (data["name"], data["reason"]["type"], data["state"]["count"]) == ("fragile", "ValueError", "1")


async def test_crashes_of_threads_background_tasks_and_groups_are_reported_too() -> None:
    async with ActorSystem() as system:
        with reports(system) as got:
            for cls, message in ((FragileThread, "x"), (Fragile, "aside"), (Fragile, "group")):
                ref = await system.spawn(cls)
                ref.tell(message)
                await ref.ended()
        assert [report.message for report in got] == ["str", "coroutine", "str"]
        assert "aside" in got[1].last_message
        assert [cause.message for cause in got[2].causes] == ["one", "'two'"]


async def test_what_is_no_crash_is_not_reported() -> None:
    async with ActorSystem() as system:
        with reports(system) as got:
            ref = await system.spawn(Fragile)
            with pytest.raises(Refused):
                await ref.call("refuse")
            ref.stop()
            await ref.ended()
            other = await system.spawn(Fragile)
            other.kill()
            await other.ended()
        assert not got
        assert system.crashes.count == 0


def test_the_same_crash_again_and_again_is_held_back_and_the_number_told_when_it_is_reported_again() -> None:
    async def main() -> None:
        async with ActorSystem(slow_after=None) as system:
            with reports(system) as got:
                for _ in range(100):
                    await crash(system, {"crash": 1})
                assert len(got) == BURST
                await crash(system, "other line")
                assert len(got) == BURST + 1
                await asyncio.sleep(EVERY)
                await crash(system, {"crash": 1})
            assert got[-1].suppressed == 100 - BURST
            assert "95 more like this one" in str(got[-1])
            assert (system.crashes.count, system.crashes.suppressed) == (102, 100 - BURST)

    virtually(main())


async def test_what_was_held_back_and_never_told_is_told_at_the_end_of_the_system(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ActorSystem() as system:
        for _ in range(BURST + 3):
            await crash(system, {"crash": 1})
    assert "3 more crashes of Fragile with ValueError at" in caplog.text


async def test_nothing_is_gathered_while_nobody_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("understudy.actors"), "level", logging.CRITICAL + 1)
    monkeypatch.setattr("understudy.actors.crashes._report", None)
    async with ActorSystem() as system:
        await crash(system, {"crash": 1})
        assert system.crashes.count == 1


async def test_a_report_that_fails_does_not_keep_the_actor_from_ending(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("no room on the disk")

    handler = Broken()
    logger = logging.getLogger("understudy")
    logger.addHandler(handler)
    try:
        async with ActorSystem() as system:
            ref = await system.spawn(Fragile)
            ref.tell({"crash": 1})
            await ref.ended(5)
    finally:
        logger.removeHandler(handler)


async def test_a_state_that_would_run_code_or_never_end_is_reported_all_the_same() -> None:
    class Evil:
        def __repr__(self) -> str:
            raise SystemExit

    async with ActorSystem() as system:
        ref = await system.spawn(Fragile)
        deep: Any = Evil()
        for _ in range(10_000):
            deep = {"deeper": deep}
        await system.replace_state(ref, lambda state: {**state, "evil": Evil(), "deep": deep, "huge": [deep] * 100_000})
        with reports(system) as got:
            ref.tell("group")
            await ref.ended()
        assert got[0].state["evil"] == "Evil()"
        assert len(str(got[0])) < 20_000


async def test_the_terminal_shows_a_line_and_the_rest_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    async with ActorSystem() as system:
        with reports(system) as got:
            await crash(system, {"crash": 1})
    record = logging.LogRecord("understudy.actors", logging.ERROR, "", 0, "%s", (got[0],), None)
    ConsoleHandler("node", verbose=False).emit(record)
    short = capsys.readouterr().err
    assert "crashed handling dict" in short
    assert short.count("\n") == 1
    ConsoleHandler("node", verbose=True).emit(record)
    assert "count=1" in capsys.readouterr().err


async def crash(system: ActorSystem, message: Any) -> None:
    ref = await system.spawn(Fragile)
    ref.tell(message)
    await ref.ended()
