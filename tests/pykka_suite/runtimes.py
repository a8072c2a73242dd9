"""A pytest plugin for Pykka's own test suite: puts actors of ours where it would take `pykka.ThreadingActor`.

`UNDERSTUDY_RUNTIME` names the class that the suite's `runtime` fixture gets: "Actor", whose actors live on the loop of
the compatibility system's thread, or "ThreadActor". The suite's tests of threads get a ThreadActor in any case.
"""

import os

import pykka
import pytest

from understudy import Actor, ThreadActor
from understudy.actors.answer import Answer


class LoopRuntime(Actor):
    """The base class of the suite's actors that live on a loop."""

    failure_rule = "pykka"


class ThreadRuntime(ThreadActor):
    """The base class of the suite's actors with threads of their own."""

    failure_rule = "pykka"


def substitute(**classes: type) -> None:
    """Whoever imports these from Pykka gets ours."""
    for name, cls in classes.items():
        setattr(pykka, name, cls)


RUNTIMES = {"Actor": LoopRuntime, "ThreadActor": ThreadRuntime}

substitute(ThreadingActor=RUNTIMES[os.environ["UNDERSTUDY_RUNTIME"]], ThreadingFuture=Answer)


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """The suite's conftest has been read, and its test modules have not: some of them are about threads."""
    substitute(ThreadingActor=ThreadRuntime)


@pytest.fixture(scope="session", autouse=True)
def ours(request: pytest.FixtureRequest) -> None:
    """Fails every test if the suite has got anything else."""
    assert request.getfixturevalue("runtime").actor_class is RUNTIMES[os.environ["UNDERSTUDY_RUNTIME"]]
