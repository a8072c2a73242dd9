"""A run: one execution of a program, as an actor with a worker process behind it.

    starting ──["began"]──▶ running ──["result"]──▶ finished
        │                      │─────["failed"]───▶ failed      the program raised, or yielded what cannot be sent
        │                      │─────Gone─────────▶ failed      its worker died first
        └──Cancel, owner gone──┴──SIGTERM, Gone───▶ cancelled

Every frame is told to each viewer; the owner (the scheduler that launched it) gets the latest one once a second, and how it
ended. Then the actor ends normally: what lasts of a run is kept by its owner. The worker ends with the actor, whatever ends that.

A run that is to be kept outlives its owner for a while: it plays on, its viewers see it, and a new owner may take it over.
"""

from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgpack

from understudy.actors import Actor, ActorRef, Down, ExitReason, Request, Timer
from understudy.engine.audience import Audience, tell
from understudy.engine.messages import Cancel, Frame, RunBegan, RunEnded, RunState, Unwatch, Watch
from understudy.engine.process import GRACE, Gone, Output, WorkerProcess, ending

REPORT_EVERY = 1.0
"""Seconds between two frames for the owner."""

BURST = 128
"""What a worker says is handled so many at a time, so that a hasty program does not hold up the node."""

BUFFER_LIMIT = 2 * 1024 * 1024
"""Bytes of unread output; a worker's largest frame and one chunk of its pipe fit twice."""


class GetWorker(Request[int]):
    """To a run, from its engine on the same node: the id of its worker process."""


class ReadOn:
    """To oneself: handle more of what the worker said already."""


class Report:
    """To oneself: the owner is due a frame."""


class Overdue:
    """To oneself: the worker was asked to end a while ago."""


@dataclass(frozen=True, slots=True)
class Serve(Request[RunState]):
    """To a run, from its engine: this is its owner from now on."""

    owner: ActorRef[Any]


@dataclass(frozen=True, slots=True)
class Concluded:
    """From a run to its engine: how it ended, and its last frame."""

    ended: RunEnded
    frame: Frame | None


@dataclass(frozen=True, slots=True)
class Orphaned:
    """To oneself: time is up for another owner to take the place of the one that is gone."""

    why: str


class Run(Actor):
    """Executes one order in a worker. `order`: see worker.py. `owner`: whom it reports to, and with whom it ends, or `keep`
    seconds later.
    """

    def __init__(
        self, run: str, order: dict[str, Any], owner: ActorRef[Any], engine: ActorRef[Any], keep: float
    ) -> None:
        super().__init__()
        self._id = run
        self._order = order
        self._owner = owner
        self._engine = engine
        self._keeps = keep
        self._orphaned: Timer | None = None
        self._state = "starting"
        self._frame: Frame | None = None
        self._reported: Frame | None = None
        self._frames = 0
        self._cancelled: Cancel | None = None
        self._ended: RunEnded | None = None
        self._viewers = Audience(self)
        self._quiet_viewers = Audience(self)  # those to whom the scheduler tells the end
        self._unpacker = msgpack.Unpacker(max_buffer_size=BUFFER_LIMIT)

    async def on_start(self) -> None:
        self._worker = await WorkerProcess.start(self.actor_ref, self._order)
        self.run(self._keep(self._worker))
        self._owner_monitor = self.monitor(self._owner)
        self.send_every(REPORT_EVERY, Report())

    def on_receive(self, message: Any) -> Any:
        match message:
            case Output(data):
                self._unpacker.feed(data)
                self._read()
            case ReadOn():
                self._read()
            case Report():
                self._report()
            case Watch(viewer, tell_end):
                return self._admit(viewer, tell_end)
            case Unwatch(viewer):
                self._viewers.remove(viewer)
                self._quiet_viewers.remove(viewer)
            case GetWorker():
                return self._worker.pid
            case Serve(owner):
                return self._serve(owner)
            case Orphaned(why):
                self._cancel(Cancel(why))
            case Cancel():
                self._cancel(message)
            case Overdue():
                self._worker.end()
            case Gone(code, last_words):
                self._worker_gone(code, last_words)
            case Down(token, _, reason):
                if token == self._owner_monitor:
                    self._orphan(f"the scheduler that launched it ended ({reason})")
                else:
                    self._viewers.down(token)
                    self._quiet_viewers.down(token)
            case _:
                return self.unhandled(message)
        return None

    async def on_stop(self, reason: ExitReason) -> None:
        self._worker.end()
        await self._worker.closed.wait()

    @staticmethod
    async def _keep(worker: WorkerProcess) -> None:
        """Ends when the worker does; cancelled when the actor ends, even by a kill, which runs no hook."""
        try:
            await worker.closed.wait()
        finally:
            worker.end()

    # --- what the worker says ---

    def _read(self) -> None:
        count = 0
        try:
            for spoken in islice(self._unpacker, BURST):
                count += 1
                self._hear(spoken)
        except (ValueError, msgpack.UnpackException) as error:
            self._conclude("failed", reason=f"its worker spoke no MessagePack: {error}")
            return
        if count == BURST:
            self.actor_ref.tell(ReadOn())
        else:
            self._worker.more()

    def _hear(self, spoken: list[Any]) -> None:
        if self._cancelled or self._ended:
            return
        match spoken:
            case ["began"]:
                self._state = "running"
                tell(self._owner, RunBegan(self._id))
            case ["frame", data]:
                self._frame = Frame(self._id, self._frames, data)
                self._frames += 1
                self._viewers.tell(self._frame)
                self._quiet_viewers.tell(self._frame)
                if self._reported is None:
                    self._report()
            case ["result", value]:
                self._conclude("finished", result=value)
            case ["failed", text]:
                self._conclude("failed", reason=text)
            case _:
                self._conclude("failed", reason=f"its worker said what no worker says: {spoken!r:.200}")

    def _report(self) -> None:
        if self._frame is not self._reported:
            self._reported = self._frame
            tell(self._owner, self._frame)

    # --- the owner ---

    def _orphan(self, why: str) -> None:
        if self._keeps > 0:
            self._orphaned = self.send_after(self._keeps, Orphaned(f"{why}, and no other took it over"))
        else:
            self._cancel(Cancel(why))

    def _serve(self, owner: ActorRef[Any]) -> RunState:
        if self._orphaned is not None:
            self._orphaned.cancel()
            self._orphaned = None
        self.demonitor(self._owner_monitor, flush=True)
        self._owner, self._owner_monitor = owner, self.monitor(owner)
        self._reported = self._frame
        return RunState(self._id, self._state, self._frame)

    # --- viewers ---

    def _admit(self, viewer: ActorRef[Any], tell_end: bool) -> RunState:
        if self._ended is None:
            (self._viewers if tell_end else self._quiet_viewers).add(viewer)
        elif tell_end:
            tell(viewer, self._ended)
        return RunState(self._id, self._state, self._frame)

    # --- the end ---

    def _cancel(self, request: Cancel) -> None:
        if self._cancelled is None and self._ended is None:
            self._cancelled = request
            self._worker.terminate()
            self.send_after(GRACE, Overdue())

    def _worker_gone(self, code: int, last_words: str) -> None:
        if self._cancelled is not None:
            self._conclude("cancelled", reason=self._cancelled.reason)
        elif self._ended is None:
            sentence = f"its worker process {self._worker.pid} {ending(code)} before the program ended"
            self._conclude("failed", reason=f"{sentence}\n{last_words}".rstrip())

    def _conclude(self, state: str, *, result: Any = None, reason: str | None = None) -> None:
        if self._ended is None:
            self._report()
            self._state = state
            self._ended = RunEnded(self._id, state, result, reason)
            tell(self._owner, self._ended)
            self._engine.tell(Concluded(self._ended, self._frame))
            self._viewers.tell(self._ended)
            if not self._owner.is_alive():
                self._quiet_viewers.tell(self._ended)
            self.stop()
