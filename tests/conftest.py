"""Every `async def` test runs to its end in an event loop of its own, and fails if it leaves a task behind.

`--loop uvloop` runs them on uvloop instead of asyncio's own loop; `make test` does both, and leaves out of the second round what
would be the same again.
"""

import asyncio
import inspect
import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.servers import etcd, postgres

__all__ = ["etcd", "postgres"]

TEST_TIMEOUT = 180.0
"""Seconds after which an asynchronous test is a failure: nothing here may hang. No test takes as many, also where others use the
cores; what is promised in time has deadlines of its own."""


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_configure() -> None:
    """Where the tests run in the background of a shell, Ctrl-C is ignored: by programs that tests start, too, unless it is not here."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--loop", choices=list(LOOPS), default="asyncio", help="the event loop of the asynchronous tests")


SAME_ON_EVERY_LOOP = ("cluster", "simulation", "system", "wire")
"""Folders whose tests another loop would not change: in the first, and the last two, the loop of the test looks on while processes work
that have chosen their own, uvloop in most of them; and in simulations time is virtual."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    another = config.getoption("--loop") != "asyncio"
    return (
        True if another and collection_path in (Path(__file__).parent / name for name in SAME_ON_EVERY_LOOP) else None
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On another loop than asyncio's own, only what runs on the loop that was asked for: `async def` tests in real time."""
    if config.getoption("--loop") != "asyncio":
        same = [item for item in items if not _runs_on_the_loop(item)]
        config.hook.pytest_deselected(items=same)
        items[:] = [item for item in items if _runs_on_the_loop(item)]


def _runs_on_the_loop(item: pytest.Item) -> bool:
    simulated = item.get_closest_marker("seeds") is not None or "simulation" in getattr(item, "fixturenames", ())
    return not simulated and inspect.iscoroutinefunction(getattr(item, "obj", None))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    test: Callable[..., Any] = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def bounded() -> None:
        async with asyncio.timeout(TEST_TIMEOUT):
            await test(**arguments)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, f"the test left tasks behind: {left}"

    with asyncio.Runner(loop_factory=LOOPS[pyfuncitem.config.getoption("--loop")]) as runner:
        runner.run(bounded())
    return True


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """What a test printed may be no text that can be sent (lone surrogates), and a worker's report has to be."""
    return _sendable((yield))


def _sendable(data: Any) -> Any:
    match data:
        case str():
            return data.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_sendable(key): _sendable(value) for key, value in data.items()}
        case list() | tuple():
            return type(data)(map(_sendable, data))
        case _:
            return data


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("UNDERSTUDY_NO_SKIPS") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("skipped tests are failures here (UNDERSTUDY_NO_SKIPS is set)", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skipped test proves nothing: where everything is at hand, it is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("UNDERSTUDY_NO_SKIPS") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
