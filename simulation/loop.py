"""The virtual event loop: unmodified asyncio code on it, a clock that jumps, and a seed that decides who is next.

    call_soon ──> the queue of its origin ─┐
    call_at ────> timers ── due ───────────┼──> the seed picks a queue ──> its oldest callback runs: one step
    a thread that may go on ───────────────┘    all empty: the clock jumps to the next timer; no timer: EverybodyWaits

`queues.py` says which orders the seed may choose.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
from asyncio import events
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVarTuple

from understudy.actors import Cell
from understudy.actors.mortician import cancel
from understudy.simulation.baton import Baton, Strand
from understudy.simulation.choices import Choices
from understudy.simulation.errors import EverybodyWaits, SimulationError, StillRunning, refusal, where
from understudy.simulation.queues import Queues, label_of, origin_of, owner_of
from understudy.simulation.scheduler import SimulatedScheduler
from understudy.simulation.tasks import SimulatedFuture, SimulatedTask
from understudy.simulation.trace import Trace

Ts = TypeVarTuple("Ts")

PATIENCE = 200_000
"""Steps without any virtual time passing, after which something is taken to run in circles."""

COLLECTION = 100_000
"""Steps between two collections of garbage."""

SUSPECTS = 500
"""The last of these steps, whose callbacks the error names."""

CLEARING = 100_000
"""Steps in which what is left after a run has to end."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """`origin` is what runs now; a scheduler sets it to the actor whose turn it is."""

    scheduler_class = SimulatedScheduler
    """Which scheduler an actor system on this loop uses (see `ActorSystem`)."""

    def __init__(
        self, choices: Choices, trace: Trace, *, max_time: float | None, max_steps: int, cost: float = 0.0
    ) -> None:
        super().__init__()
        self.choices = choices
        self.trace = trace
        self.baton = Baton(self)
        self.steps = 0
        self.origin: object = self
        self.runs: object = self
        self._now = 0.0
        self._cost = cost
        self._max_time = max_time
        self._max_steps = max_steps
        self._still = 0
        self._suspects: Counter[str] = Counter()
        self._numbers = 0
        self._queues = Queues(choices)
        self._timers: list[tuple[float, int, asyncio.TimerHandle, object]] = []
        self._cancelled_timers = 0
        self.gate: Callable[[asyncio.Handle, object], bool] | None = None
        """Asked before each step, with its origin: False keeps it back, and the gate `put`s it when its time comes."""
        self.before_clearing: list[Callable[[], None]] = []
        """Called when the run is over, before what it left behind is ended."""

    # --- the clock ---

    def time(self) -> float:
        """Virtual seconds since the run began."""
        return self._now

    def _pass(self, until: float) -> None:
        if until > self._now:
            if self._max_time is not None and until > self._max_time:
                raise StillRunning(
                    f"{self._max_time} virtual seconds are over and the run is not; what waits:\n{self.report()}"
                )
            self._now = until
            self._still = 0

    # --- what is to be done ---

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """See asyncio."""
        self._check_closed()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        handle = events.Handle(callback, args, self, context)
        self.put(handle, self.origin)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """See asyncio. Only for threads under the baton."""
        if not self.baton.holds():
            raise refusal("a thread that the simulation does not run called into its loop", "Start threads inside it.")
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        self._check_closed()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        timer = events.TimerHandle(when, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined]
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, timer, self.origin))
        return timer

    def ready(self, callback: Callable[[], object], origin: object) -> None:
        """Schedule a callback on behalf of another origin than the one that runs."""
        self.put(events.Handle(callback, (), self, None), origin)

    def create_task(
        self, coro: Any, *, name: object = None, context: Context | None = None, **options: Any
    ) -> asyncio.Task[Any]:
        """See asyncio."""
        if self.get_task_factory() is not None:
            return super().create_task(coro, name=name, context=context, **options)
        self._check_closed()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        self._numbers += 1
        label = None if name is None else str(name)
        return SimulatedTask(coro, self._numbers, name=label, loop=self, context=context, **options)

    def create_future(self) -> asyncio.Future[Any]:
        """See asyncio."""
        self._numbers += 1
        return SimulatedFuture(self._numbers, self)

    def put(self, handle: asyncio.Handle, origin: object, timer: bool = False) -> None:
        """Make a callback ready on behalf of `origin`, behind what that has scheduled before."""
        self._queues.put(handle, origin, timer)

    # --- one step ---

    def _run_once(self) -> None:
        if self._still > PATIENCE or self.steps > self._max_steps:
            self._give_up()
        if self._timers and not self._queues.timers:
            self._ring()
        if not self._queues:
            if self._stopping:  # type: ignore[attr-defined]
                return
            self._jump()
        self._step(*self._queues.take())

    def _step(self, handle: asyncio.Handle, origin: object) -> None:
        if handle.cancelled() or (self.gate is not None and not self.gate(handle, origin)):
            return
        label = label_of(handle)
        self.trace.add(self._now, label)
        self.steps += 1
        if self.steps % COLLECTION == 0:
            gc.collect()
        self._still += 1
        if self._still > PATIENCE - SUSPECTS or self.steps > self._max_steps - SUSPECTS:
            self._suspects[label] += 1
        if self._cost:
            self._pass(self._now + self._cost * self.choices.draw())
        self.runs = self.origin = origin_of(handle)
        try:
            handle._run()
        finally:
            self.runs = self.origin = self

    def _give_up(self) -> None:
        what = ", ".join(f"{name} ({count} times)" for name, count in self._suspects.most_common(5))
        still = (
            f"{PATIENCE} steps without any virtual time passing" if self._still > PATIENCE else f"{self.steps} steps"
        )
        self._still = 0
        self._max_steps = self.steps + CLEARING
        self._suspects.clear()
        raise StillRunning(f"{still}: something runs in circles. What kept running in the last {SUSPECTS}: {what}")

    # --- timers ---

    def _ring(self) -> None:
        """Make ready the timers of the earliest time that has come. Later ones wait for them, as in asyncio."""
        timers = self._timers
        when = timers[0][0]
        if when > self._now:
            return
        while timers and timers[0][0] == when:
            _, _, timer, origin = heapq.heappop(timers)
            timer._scheduled = False  # type: ignore[attr-defined]
            if timer.cancelled():
                self._cancelled_timers -= 1
            else:
                self.put(timer, origin, timer=True)

    def _jump(self) -> None:
        """Nothing is ready: on to the next timer."""
        while not self._queues:
            if not self._timers:
                raise EverybodyWaits(
                    f"everybody waits and nobody will ever come (at {self._now} virtual seconds):\n{self.report()}"
                )
            if self._timers[0][2].cancelled():
                heapq.heappop(self._timers)
                self._cancelled_timers -= 1
                continue
            self._pass(self._timers[0][0])
            self._ring()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if not handle._scheduled:  # type: ignore[attr-defined]
            return
        self._cancelled_timers += 1
        if self._cancelled_timers > 100 and self._cancelled_timers * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled_timers = 0

    # --- threads ---

    def step_thread(self, deadline: float | None) -> bool:
        """Run one thread while the loop's own thread blocks, or let time pass to `deadline`. False: there is none."""
        thread = self._queues.take_thread()
        if thread is not None:
            origin, runs = self.origin, self.runs
            self._step(*thread)
            self.origin, self.runs = origin, runs
            return True
        sleepers = [each for each in self._timers if isinstance(owner_of(each[2]), Strand) and not each[2].cancelled()]
        if sleepers and (deadline is None or min(sleepers)[0] <= deadline):
            sleeper = min(sleepers)
            self._timers.remove(sleeper)
            heapq.heapify(self._timers)
            self._pass(sleeper[0])
            self.put(sleeper[2], sleeper[3])
            return True
        if deadline is None:
            return False
        self._pass(deadline)
        return True

    # --- the end ---

    def report(self) -> str:
        """Who waits where, one line each."""
        tasks = sorted(asyncio.all_tasks(self), key=_number)
        lines = [
            f"  {getattr(task, 'label', task.get_name())} at {where(task.get_coro())}{_actor(task)}" for task in tasks
        ]
        threads = self.baton.report()
        return "\n".join([*lines, threads] if threads else lines)

    def clear_away(self) -> None:
        """End what a run left behind, in the order it was made, and close."""
        self._max_steps, self._max_time, self._still = self.steps + CLEARING, None, 0
        for prepare in self.before_clearing:
            prepare()
        try:
            while True:
                if left := sorted(asyncio.all_tasks(self), key=_number):
                    self._end(left)
                self._run_to_its_end(self.shutdown_asyncgens())
                if not asyncio.all_tasks(self):  # else what was due has begun meanwhile
                    break
        except SimulationError as error:
            self.call_exception_handler({"message": "what the run left behind does not end", "exception": error})
        finally:
            self.baton.end()
            self.close()

    def _end(self, tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            cancel(task)
        self._run_to_its_end(asyncio.wait(tasks))
        for task in tasks:
            if not task.cancelled() and task.exception() is not None:
                problem = {"message": "left over after the run", "exception": task.exception(), "task": task}
                self.call_exception_handler(problem)

    def _run_to_its_end(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """A run that was broken off in its very last steps still has its stop before it: the loop may stop once too often."""
        task = self.create_task(coroutine)
        task.add_done_callback(lambda _: self.stop())
        while not task.done():
            self.run_forever()

    def close(self) -> None:
        """See asyncio."""
        super().close()
        self._queues.clear()
        self._timers.clear()

    def __del__(self) -> None:
        """One that never ran holds nothing that would have to be closed."""

    # --- what a loop of the standard library has, and this one need not or must not ---

    def _write_to_self(self) -> None:
        """Nobody sleeps in a system call here."""

    def _process_events(self, event_list: list[object]) -> None:
        """There is no I/O."""

    def remove_reader(self, fd: Any) -> bool:
        """Nothing was ever added."""
        return False

    def remove_writer(self, fd: Any) -> bool:
        """Nothing was ever added."""
        return False

    def remove_signal_handler(self, sig: int) -> bool:
        """Nothing was ever added."""
        return False


def _number(task: asyncio.Task[Any]) -> int:
    return task.number if isinstance(task, SimulatedTask) else 0


def _actor(task: asyncio.Task[Any]) -> str:
    origin = getattr(task, "origin", None)
    return f", a handler of {origin!r}" if isinstance(origin, Cell) else ""


def _refuse(name: str, remedy: str) -> Callable[..., Any]:
    def refused(*_: Any, **__: Any) -> Any:
        raise refusal(f"loop.{name}(...)", remedy)

    return refused


_VIRTUAL_NETWORK = "Put what it does behind an interface, and hand in a virtual one in tests."
_THREADS = "Use a ThreadActor: its thread is simulated."
_REFUSED = {
    _VIRTUAL_NETWORK: (
        "create_connection create_server create_datagram_endpoint create_unix_connection create_unix_server start_tls"
        " sock_recv sock_recv_into sock_recvfrom sock_sendall sock_sendto sock_connect sock_accept sock_sendfile sendfile"
        " connect_accepted_socket connect_read_pipe connect_write_pipe subprocess_exec subprocess_shell getaddrinfo"
        " getnameinfo add_reader add_writer"
    ),
    _THREADS: "run_in_executor",
    "Signals belong to the process: test what the handler calls.": "add_signal_handler",
}

for _remedy, _names in _REFUSED.items():
    for _name in _names.split():
        setattr(SimulatedLoop, _name, _refuse(_name, _remedy))
