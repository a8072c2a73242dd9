"""The pytest plugin: tests on the virtual loop, once for each of many seeds. Comes with the package, needs pytest.

    @pytest.mark.seeds(300)
    async def test_nothing_is_lost(simulation):        `simulation` is optional
        async with simulation.system("shop") as system:
            ...

    pytest --seed 1234          every simulated test with this one seed: the line that a failure prints
    pytest --seeds 10000        that many seeds for each test that is marked with more than one
    UNDERSTUDY_SEED=7 pytest    other seeds than usual; they are all derived from this number, which is 0 by default

A test is simulated if it has the mark or asks for `simulation`. All seeds of a test run inside one test item: its other
fixtures are set up once. The first seed runs twice (`twice=n`: the first n), and the first event that differs is named.

The order of a set of texts depends on Python's hash seed, which cannot be changed in a running process. So if simulated
tests were collected and PYTHONHASHSEED is not fixed, pytest starts itself again in its own place, with the same
arguments and PYTHONHASHSEED=0. Sessions without simulated tests, and `pytest.main()` in somebody's program, never do.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import shlex
import sys
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import pytest

from understudy.simulation.simulation import Simulation, same
from understudy.simulation.trace import TAIL

BASE = "UNDERSTUDY_SEED"
HASH_SEED = os.environ.get("PYTHONHASHSEED", "random")
"""As it was when this process started."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("simulation", "simulated tests (understudy)")
    group.addoption("--seed", type=int, default=None, help="run each simulated test with this one seed")
    group.addoption(
        "--seeds", type=int, default=None, help="how many seeds each test runs that is marked with more than one"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "seeds(n, twice=1, max_time=None, max_steps=2000000, cost=0.0): run in virtual time, once for each of n seeds",
    )
    if config.getoption("dist", "no") != "no":  # the workers of pytest-xdist inherit the environment
        os.environ.setdefault("PYTHONHASHSEED", "0")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start again with a fixed hash seed if it matters."""
    config = session.config
    if HASH_SEED != "random" or hasattr(config, "workerinput") or not any(map(_is_simulated, session.items)):
        return
    if list(config.invocation_params.args) != sys.argv[1:] or "pydevd" in sys.modules:
        return  # part of a larger program, or of a debugging session: it must go on
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    sys.stdout.flush()
    sys.stderr.flush()
    # The same interpreter with the same arguments.
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"PYTHONHASHSEED": "0"})  # noqa: S606


@pytest.fixture
def simulation(request: pytest.FixtureRequest) -> Simulation:
    """The simulation that the test runs in: `.seed`, `.system(name)`, `.random`, `.trace`, `.time`, `.choose`, ..."""
    return Simulation(_seeds(request.node)[0], **_options(request.node))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    if not _is_simulated(pyfuncitem):
        return (yield)
    test = pyfuncitem.obj
    pyfuncitem.obj = partial(_run_seeds, pyfuncitem, test)
    try:
        return (yield)
    finally:
        pyfuncitem.obj = test


def _run_seeds(item: pytest.Function, test: Callable[..., Any], **arguments: Any) -> None:
    seeds = _seeds(item)
    mark = item.get_closest_marker("seeds")
    twice = mark.kwargs.get("twice", 1) if mark is not None else 0
    builders = _built_on_simulation(item)
    if builders:
        if len(seeds) > 1:
            pytest.fail(
                f"the fixtures {', '.join(builders)} ask for `simulation`, but are set up once and each seed has one of its"
                f" own: make what they make in the test itself",
                pytrace=False,
            )
        _run(item, test, arguments["simulation"], arguments)
        return
    for number, seed in enumerate(seeds):
        repeated = number < twice
        options: dict[str, Any] = _options(item) | ({"keep": None} if repeated else {})
        first = Simulation(seed, **options)
        _run(item, test, first, arguments)
        if repeated:
            second = Simulation(seed, **options)
            _run(item, test, second, arguments)
            same(first, second)


def _run(item: pytest.Function, test: Callable[..., Any], simulation: Simulation, arguments: dict[str, Any]) -> None:
    if "simulation" in arguments:
        arguments = arguments | {"simulation": simulation}
    try:
        if inspect.iscoroutinefunction(test):
            simulation.run(partial(test, **arguments))
        else:
            test(**arguments)
    except pytest.skip.Exception:
        raise
    except BaseException:
        hash_seed = "" if HASH_SEED == "0" else f"PYTHONHASHSEED={'0' if HASH_SEED == 'random' else HASH_SEED} "
        line = f"{hash_seed}pytest {shlex.quote(item.nodeid)} --seed {simulation.seed}"
        item.add_report_section("call", "the last events", "\n".join(tuple(simulation.trace.events)[-TAIL:]))
        item.add_report_section("call", "replay line", line)
        raise


def _is_simulated(item: pytest.Item) -> bool:
    marked = item.get_closest_marker("seeds") is not None
    return isinstance(item, pytest.Function) and (marked or "simulation" in item.fixturenames)


def _seeds(item: pytest.Item) -> list[int]:
    seed: int | None = item.config.getoption("--seed")
    if seed is not None:
        return [seed]
    base = os.environ.get(BASE, "0")
    mark = item.get_closest_marker("seeds")
    count = mark.args[0] if mark is not None and mark.args else 1
    if count > 1:  # one seed was enough for whoever asked for one
        count = item.config.getoption("--seeds") or count
    digests = (hashlib.sha256(f"{base}:{number}".encode()).digest() for number in range(count))
    return [int.from_bytes(digest[:4], "big") for digest in digests]


def _options(item: pytest.Item) -> dict[str, Any]:
    mark = item.get_closest_marker("seeds")
    return {name: value for name, value in mark.kwargs.items() if name != "twice"} if mark is not None else {}


def _built_on_simulation(item: pytest.Function) -> list[str]:
    fixtures = item._fixtureinfo.name2fixturedefs
    return [name for name, found in fixtures.items() if "simulation" in found[-1].argnames]
