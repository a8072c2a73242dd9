"""A user's own root supervisor as a process: `understudy start shop:main`.

    find shop:main ──> start its children in order ──> "ready" ──> wait ──> end them in reverse ──> exit status
        │ 3, 4              │ 5                                  │ 6           │ 7
        └ nothing there,    └ a child, or the root,              │             └ something did not end in time: killed, named
          or no tree          did not start                      └ the root gave up, or died

Each phase of the end has its time: the tree `shutdown_timeout`, what was killed then KILL_TIMEOUT, Python itself as much.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading  # noqa: TID251 - the last deadline must hold while a handler holds the event loop
import time  # noqa: TID251 - and so must its time: a loop that is held up may not know how late it is
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from understudy.actors import (
    ActorDied,
    ActorRef,
    ActorSystem,
    ExitReason,
    Failure,
    Info,
    Killed,
    NameTaken,
    StartFailed,
)
from understudy.app import SIGNALS, Requests, run
from understudy.console import say
from understudy.control import Control
from understudy.status import Status, complain
from understudy.supervisors import GaveUp, Supervisor
from understudy.target import Unfit, declared, find

logger = logging.getLogger("understudy.app")

SHUTDOWN_TIMEOUT = 25.0
"""Seconds that the tree has to end; Kubernetes kills after 30, systemd after 90."""

KILL_TIMEOUT = 2.0
"""Seconds that what was killed then has to let go, and after that Python itself. Whatever is left ends with the process."""

STARTS_SHARE = 0.5
"""Of the time that the tree has to end, what a start that is called off may take; the rest is for those that had started."""

LOOKS_EVERY = 0.05
"""Seconds between two looks at what was given up."""


def start(target: str, *, shutdown_timeout: float, configure: Callable[[], None], interruptible: bool = True) -> int:
    """Run the application until it ends or is told to; returns its exit status. For the main thread of a process.

    `configure` is called once the user's modules are imported. Not `interruptible`: SIGINT is somebody else's affair.
    """
    if not interruptible:
        signal.signal(signal.SIGINT, _nothing)  # not SIG_IGN: that would be inherited
    try:
        found = find(target)
    except Unfit as unfit:
        return unfit.report()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    configure()
    return run(_Application(target, found, shutdown_timeout, SIGNALS if interruptible else (signal.SIGTERM,)).run())


def _nothing(*_: object) -> None:
    """Somebody else gets this signal too."""


class _Application:
    """One life of an application."""

    def __init__(self, target: str, found: object, shutdown_timeout: float, signals: Sequence[signal.Signals]) -> None:
        self._signals = signals
        self._target = target
        self._found = found
        self._patience = shutdown_timeout
        self._manager = ServiceManager()
        self._given_up: ActorRef[Any] | None = None

    async def run(self) -> int:
        """Start, wait, stop; returns the exit status."""
        system = ActorSystem(self._target.partition(":")[0])
        system.hooks.subscribe(GaveUp, self._gave_up)
        last = LastDeadline(system, self._patience)
        stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        async with Control(self._target, system, "starting") as control:
            with Requests(stop, signals=self._signals, hurry=last.begin):
                try:
                    status = await self._live(system, stop, control, last)
                finally:
                    control.phase = "stopping"
                    self._manager.tell("STOPPING=1")
                    last.begin()
                    ended = await end(system, self._patience, last.spent())
        return status or (Status.ENDED if ended else Status.OVERDUE)

    async def _live(
        self, system: ActorSystem, stop: asyncio.Future[str], control: Control, last: "LastDeadline"
    ) -> Status:
        opening = asyncio.create_task(opened(self._target, self._found, system))
        await asyncio.wait((opening, stop), return_when=asyncio.FIRST_COMPLETED)
        if not opening.done():
            logger.info("%s: stopping before everything has started", stop.result())
            opening.cancel()
            await asyncio.wait((opening,), timeout=max(0.0, self._patience - last.spent()) * STARTS_SHARE)
            return Status.ENDED
        root = opening.result()
        if isinstance(root, Status):
            return root
        control.phase = "running"
        announce(f"ready {self._target} process {os.getpid()}")
        self._manager.tell("READY=1")
        ending = asyncio.create_task(root.ended())
        await asyncio.wait((ending, stop), return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            ending.cancel()
            logger.info("%s: stopping, within %s s", stop.result(), self._patience)
            return Status.ENDED
        return verdict(self._target, ending.result(), root == self._given_up)

    def _gave_up(self, event: GaveUp) -> None:
        self._given_up = event.supervisor  # the last one to give up before the root's end is the root, if it did


async def opened(
    target: str, found: object, system: ActorSystem, offered: Sequence[object] = ()
) -> ActorRef[Any] | Status:
    """Start the root that `found` is or returns; a status, after saying why, if there is none. `offered`: see `declared`."""
    try:
        tree = await declared(target, found, offered)
        if isinstance(tree, type):
            return await system.spawn(tree)
        return await system.spawn(Supervisor, tree)
    except Unfit as unfit:
        return unfit.report()
    except (StartFailed, NameTaken) as error:
        inner: BaseException = error
        while isinstance(cause := inner.__cause__, StartFailed | NameTaken):
            inner = cause
        complain(f"{target}: {inner}")
        return Status.NO_TREE if _refused(error.__cause__) else Status.NOT_STARTED


def verdict(target: str, reason: ExitReason, gave_up: bool) -> Status:
    """What the end of its root says of an application."""
    if isinstance(reason, Failure | Killed) or gave_up:
        complain(f"{target} ended: {reason}")
        return Status.GAVE_UP
    logger.info("%s has finished: %s", target, reason)
    return Status.ENDED


def announce(line: str) -> None:
    """Say it on standard output. If nobody reads that any more, it is said to nobody, as is all that follows."""
    try:
        say(line)
    except OSError as error:
        logger.warning("standard output has no reader: %s", error)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # what is still in the buffer, too: Python would fail at its end
        os.close(nowhere)


def _refused(error: BaseException | None) -> bool:
    """Whether a root did not start since a supervisor refused its specs, and not because of what the user's own code raised."""
    if not isinstance(error, TypeError | ValueError):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("understudy.supervisors.")


async def end(system: ActorSystem, patience: float, spent: float = 0.0) -> bool:
    """Shut the system down, the last started first; False if something did not end in its time: then it is named.

    What is left after `patience` seconds, of which some may be `spent`, is killed. What its parent gave up before, and still
    runs, has as long as the killed to let go.
    """
    ending = asyncio.ensure_future(system.shutdown(float("inf")))
    await asyncio.wait((ending,), timeout=max(0.0, patience - spent))
    if ending.done():
        due = system.loop.time() + KILL_TIMEOUT
        while (left := system.abandoned()) and system.loop.time() < due:  # noqa: ASYNC110 - no event tells that
            await asyncio.sleep(LOOKS_EVERY)
        for stubborn in left:
            complain(f"{stubborn!r} was given up, and still runs: ended with the process")
        return not left
    for actor in culprits(system):
        complain(f"{actor} did not end within {patience} s: killed")
    for actor in reversed(system.actors()):
        actor.kill()
    await asyncio.wait((ending,), timeout=KILL_TIMEOUT)
    return False


def culprits(system: ActorSystem) -> list[str]:
    """Who keeps a shutdown waiting: actors at their end, without those that wait for a child's; else who handles a message.

    From any thread.
    """
    there = {info.ref: info for actor in system.actors() if (info := _known(system, actor)) is not None}
    ending = {ref for ref, info in there.items() if info.state == "ending"}
    last = [ref for ref in ending if ending.isdisjoint(there[ref].children)]
    return [repr(ref) for ref in last or [ref for ref, info in there.items() if info.handling is not None]]


def _known(system: ActorSystem, actor: ActorRef[Any]) -> Info | None:
    with suppress(ActorDied):
        return system.info(actor)
    return None


class LastDeadline:
    """Ends the process when nothing else does: a handler that holds the event loop, or a thread that Python would wait for.

    It has the time of all phases together; by then whatever can end in order has. Its thread stands ready from the start:
    to start one is nothing to do in a signal handler, which may have interrupted just that.
    """

    def __init__(self, system: ActorSystem | None, patience: float) -> None:
        self.system = system
        """Whose actors are named; it may come later."""
        self._after = patience + 2 * KILL_TIMEOUT
        self._begun: float | None = None
        self._gate = threading.Lock()
        self._gate.acquire()
        threading.Thread(target=self._watch, name="last deadline", daemon=True).start()

    def begin(self, longer: float = 0.0) -> None:
        """The process is to end from now on, and has so many seconds more than it was given. Only the first time counts."""
        if self._begun is None:
            self._begun = time.monotonic()
            self._after += longer
            self._gate.release()

    def spent(self) -> float:
        """Seconds since the process was to end; 0 before."""
        return time.monotonic() - self._begun if self._begun is not None else 0.0

    def _watch(self) -> None:
        with self._gate:
            threading.Event().wait(self._after)
        try:
            threads = [
                one.name for one in threading.enumerate() if not one.daemon and one is not threading.main_thread()
            ]
            left = [
                *(culprits(self.system) if self.system is not None else ()),
                *(f"thread {name}" for name in threads),
            ]
            complain(f"{', '.join(left) or 'Python itself'} did not end within {self._after} s: ended with the process")
        finally:  # whatever a look at a process in such a state may raise
            os._exit(Status.OVERDUE)


class ServiceManager:
    """systemd, or whoever else has set NOTIFY_SOCKET: told in one datagram each. Our own child processes do not inherit it."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")

    def tell(self, state: str) -> None:
        """Send one assignment, such as READY=1. Nobody to tell, or nobody who listens: nothing happens."""
        if self._address:
            address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, suppress(OSError):
                channel.sendto(state.encode(), address)
