"""The world of a simulation: clocks, chance and threads are virtual while a run is under way, what cannot be is refused.

    time       time, monotonic, perf_counter and their _ns, process_time, thread_time, sleep, localtime, gmtime, ctime, strftime
    random     the module's functions, Random() without a seed, SystemRandom, secrets, os.urandom, uuid.uuid1, uuid.uuid4
    threading  Thread, Lock, RLock and all that is made of them: Condition, Event, queue, Pykka's futures (`baton.py`)
    sets       actors, tasks, and asyncio's queues, events and locks hash by their numbers instead of their addresses, so
               that the order of a set of them replays
    refused    sockets, ZeroMQ sockets, subprocesses, forks, signals, threads that bypass `threading`

A function that a module took with `from time import time` is found there and replaced, too. Code outside the run's own
threads sees the real world. Everything is put back when the run is over; what stays is one audit hook, which is how
Python lets sockets and processes be refused wherever they are made, and which does nothing outside a run.
"""

from __future__ import annotations

import _thread
import itertools
import os
import queue
import random
import sys
import threading
import time
import uuid
from asyncio import mixins
from collections.abc import Callable, Iterable
from functools import partial, wraps
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

from understudy.actors import Cell, deadlines
from understudy.simulation.baton import Strand, VirtualLock, strand_of
from understudy.simulation.errors import SimulationError, refusal
from understudy.simulation.scheduler import SimulatedSeat

if TYPE_CHECKING:
    from understudy.simulation.loop import SimulatedLoop

EPOCH = 1_767_225_600.0
"""Unix seconds at which every run begins: 2026-01-01 00:00 UTC."""

_HANDS_OFF = (
    *("_thread", "_frozen_importlib", "importlib", "understudy.simulation"),
    *("_pytest", "pytest", "pluggy", "coverage", "xdist", "execnet", "debugpy", "pydevd", "_pydev", "hypothesis"),
)
"""Modules whose own use of time and locks is not the code under test's."""

_REFUSED = {
    "socket.connect": "a real connection",
    "socket.bind": "a real socket bound to an address",
    "socket.sendto": "a datagram on a real socket",
    "socket.getaddrinfo": "a real name lookup",
    "subprocess.Popen": "a subprocess",
    "os.fork": "a fork",
    "os.forkpty": "a fork",
    "os.posix_spawn": "a subprocess",
    "os.spawn": "a subprocess",
    "os.system": "a subprocess",
    "os.exec": "a program in this one's place",
    "_thread.start_new_thread": "a real thread past threading.Thread",
    "_thread.start_joinable_thread": "a real thread past threading.Thread",
}
_REMEDY = "Put what it does behind an interface, and hand in a virtual one in tests."


class Interception:
    """`with Interception(loop, seed):` around a run. One at a time in a process."""

    active: Interception | None = None

    def __init__(self, loop: SimulatedLoop, seed: int) -> None:
        self._loop = loop
        self._baton = loop.baton
        self._entropy = random.Random(f"{seed}:entropy")
        self._salt = self._entropy.getrandbits(32)
        self._real_random: Any = None
        self._undo: list[Callable[[], object]] = []
        self._originals: dict[int, Any] = {}
        self._starting = False

    def __enter__(self) -> None:
        if Interception.active is not None:
            raise SimulationError("a simulation is under way in this process: one at a time")
        _install_audit_hook()
        Interception.active = self
        try:
            self._replace_functions()
            self._replace_attributes()
        except BaseException:
            self._restore()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def refuses(self, event: str) -> bool:
        """Whether the running thread must not do this."""
        return not self._starting and self._baton.holds()

    # --- putting in, putting back ---

    def _restore(self) -> None:
        while self._undo:
            self._undo.pop()()
        for module in _new_modules():  # imported meanwhile: they took what they found
            for name, value in tuple(vars(module).items()):
                if id(value) in self._originals:
                    setattr(module, name, self._originals[id(value)])
            _look(module)
        Interception.active = None

    def _replace_functions(self) -> None:
        """Functions of modules, wherever some module has put them."""
        functions = self._functions()
        self._originals = {id(virtual): original for original, virtual in functions}
        _seek(original for original, _ in functions)
        for original, virtual in functions:
            for place, name in _found[id(original)]:
                setattr(place, name, virtual)
                self._undo.append(partial(setattr, place, name, original))

    def _set(self, place: Any, name: str, value: object) -> None:
        own = vars(place)
        undo = partial(setattr, place, name, own[name]) if name in own else partial(delattr, place, name)
        setattr(place, name, value)
        self._undo.append(undo)

    def _replace_attributes(self) -> None:
        state = random.getstate()
        random.seed(self._entropy.getrandbits(64))
        self._undo.append(partial(random.setstate, state))
        salt = self._salt

        def hash_of_cell(cell: Cell[Any]) -> int:
            return hash((salt, cell.id))

        numbers = itertools.count(1)

        def hash_of_waiting(thing: Any) -> int:  # an asyncio.Queue, Event, Lock, ...: numbered when it is first hashed
            number = vars(thing).get("_understudy_number")
            if number is None:
                number = vars(thing)["_understudy_number"] = next(numbers)
            return hash((salt, number))

        self._set(random.Random, "seed", self._seeded())
        self._set(uuid, "_node", 0x02_00_00_00_00_01)
        for name in ("_generate_time_safe", "_UuidCreate", "_last_timestamp", "_last_timestamp_v7"):
            if hasattr(uuid, name):
                self._set(uuid, name, None)
        self._set(threading.Thread, "join", self._joining())
        self._set(threading.Thread, "is_alive", self._living())
        self._set(threading, "excepthook", self._thread_failed())
        self._set(VirtualLock, "baton", self._baton)
        self._set(Cell, "__hash__", hash_of_cell)
        self._set(mixins._LoopBoundMixin, "__hash__", hash_of_waiting)
        self._set(deadlines._seats, "mine", SimulatedSeat(self._loop))
        for name in ("start_new_thread", "start_joinable_thread"):
            if hasattr(_thread, name):  # `threading` has taken its own already
                self._set(_thread, name, self._refused(getattr(_thread, name), _REFUSED[f"_thread.{name}"]))
        zmq: Any = sys.modules.get("zmq")
        if zmq is not None:
            for name in ("bind", "connect"):
                self._set(zmq.Socket, name, self._refused(getattr(zmq.Socket, name), "a ZeroMQ socket"))

    # --- what is put in ---

    def _functions(self) -> list[tuple[Any, Any]]:
        loop, entropy = self._loop, self._entropy

        def now() -> float:
            return EPOCH + loop.time()

        def in_ns(seconds: Callable[[], float]) -> Callable[[], int]:
            return lambda: round(seconds() * 1_000_000) * 1000

        def urandom(size: int, flags: int = 0) -> bytes:
            return entropy.randbytes(size)

        def of_now(original: Callable[..., Any]) -> Callable[..., Any]:
            def at(seconds: float | None = None) -> Any:
                return original(now() if seconds is None else seconds)

            return at

        def strftime(form: str, when: Any = None, original: Any = time.strftime, local: Any = time.localtime) -> str:
            return str(original(form, local(now()) if when is None else when))

        def reseed(value: Any = None, version: int = 2) -> None:
            random.Random.seed(random._inst, value, version)

        clocks: list[tuple[Any, Any]] = [(time.time, now), (time.time_ns, in_ns(now)), (time.sleep, self._sleep)]
        for name in ("monotonic", "perf_counter", "process_time", "thread_time"):
            clocks += [(getattr(time, name), loop.time), (getattr(time, f"{name}_ns"), in_ns(loop.time))]
        clocks += [(getattr(time, name), of_now(getattr(time, name))) for name in ("localtime", "gmtime", "ctime")]
        clocks.append((time.strftime, strftime))
        chance: list[tuple[Any, Any]] = [(os.urandom, urandom), (random.seed, reseed)]
        if hasattr(os, "getrandom"):
            chance.append((os.getrandom, urandom))
        virtual = [(original, self._here(original, replaced)) for original, replaced in clocks + chance]
        starters = [
            (original, self._starter(original))
            for name in ("_start_new_thread", "_start_joinable_thread")
            if (original := getattr(threading, name, None)) is not None
        ]
        kinds: list[tuple[Any, Any]] = [
            (threading.Lock, VirtualLock),
            (threading._allocate_lock, VirtualLock),  # type: ignore[attr-defined]  # another object since Python 3.13
            (threading.RLock, threading._PyRLock),  # type: ignore[attr-defined]
            (queue.SimpleQueue, queue._PySimpleQueue),  # type: ignore[attr-defined]
        ]
        return virtual + starters + kinds

    def _here(self, original: Callable[..., Any], virtual: Callable[..., Any]) -> Callable[..., Any]:
        """The virtual function in the run's own threads, the real one in any other."""
        holds = self._baton.holds

        @wraps(original)
        def either(*args: Any, **kwargs: Any) -> Any:
            return virtual(*args, **kwargs) if holds() else original(*args, **kwargs)

        return either

    def _sleep(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        self._baton.wait(lambda: False, seconds, lambda strand: None)

    def _seeded(self) -> Callable[..., None]:
        original, entropy, holds = random.Random.seed, self._entropy, self._baton.holds

        def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
            original(self, entropy.getrandbits(64) if a is None and holds() else a, version)

        return seed

    def _starter(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def start(function: Callable[..., object], args: tuple[Any, ...] = (), *more: Any, **options: Any) -> Any:
            if not self._baton.holds():
                return original(function, args, *more, **options) if args or more else original(function, **options)
            thread = getattr(function, "__self__", None)
            label = thread.name if isinstance(thread, threading.Thread) else getattr(function, "__qualname__", "thread")
            strand = self._baton.new(label)
            if thread is not None:
                vars(thread)["_understudy_strand"] = strand
            self._starting = True
            try:
                if options:
                    return original(partial(strand.main, function), **options)
                return original(strand.main, (function, args))
            finally:
                self._starting = False

        return start

    def _joining(self) -> Callable[..., None]:
        original, baton = threading.Thread.join, self._baton

        def join(thread: threading.Thread, timeout: float | None = None) -> None:
            strand = strand_of(thread)
            if strand is None or strand.baton is not baton or not baton.holds():
                return original(thread, timeout)
            if baton.wait(lambda: strand.finished, timeout, strand.joiners.append):
                original(thread)  # it leaves now: a moment of real time at most
            return None

        return join

    def _living(self) -> Callable[..., bool]:
        original, baton = threading.Thread.is_alive, self._baton

        def is_alive(thread: threading.Thread) -> bool:
            strand = strand_of(thread)
            if strand is None or strand.baton is not baton or not baton.holds():
                return original(thread)
            return not strand.finished

        return is_alive

    def _thread_failed(self) -> Callable[[Any], None]:
        original, strands = threading.excepthook, self._baton.strands

        def excepthook(args: Any) -> None:
            strand: Strand | None = strands.get(_thread.get_ident())
            if strand is None or not strand.ended:  # else it was unwound because its run is over
                original(args)

        return excepthook

    def _refused(self, original: Callable[..., Any], what: str) -> Callable[..., Any]:
        @wraps(original)
        def refused(*args: Any, **kwargs: Any) -> Any:
            if self._baton.holds():
                raise refusal(what, _REMEDY)
            return original(*args, **kwargs)

        return refused


# --- where functions are ---

_known: set[str] = set()
_found: dict[int, list[tuple[ModuleType, str]]] = {}
_sought: list[Any] = []


def _seek(originals: Iterable[Any]) -> None:
    """Learn which modules hold these functions, under which names. Each module is looked through once."""
    unknown = [original for original in originals if id(original) not in _found]
    if unknown:
        _sought.extend(unknown)
        _found.update((id(original), []) for original in _sought)
        _known.clear()
    for module in _new_modules():
        _look(module)


def _new_modules() -> list[ModuleType]:
    new = [name for name in tuple(sys.modules) if name not in _known]
    _known.update(new)
    return [module for name in new if isinstance(module := sys.modules.get(name), ModuleType)]


def _look(module: ModuleType) -> None:
    if not module.__name__.startswith(_HANDS_OFF):
        for name, value in tuple(vars(module).items()):
            if id(value) in _found:
                _found[id(value)].append((module, name))


# --- what Python itself reports ---

_hooked = False


def _install_audit_hook() -> None:
    global _hooked
    if not _hooked:
        _hooked = True
        sys.addaudithook(_audit)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event in _REFUSED and Interception.active is not None and Interception.active.refuses(event):
        detail = f" ({args[0] if event == 'socket.getaddrinfo' else args[1]})" if event.startswith("socket.") else ""
        raise refusal(_REFUSED[event] + detail, _REMEDY)
