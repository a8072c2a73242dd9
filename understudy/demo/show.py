"""The topic `run:<id>`: one run, live, for any number of watchers, also those who come late. One per stage and run.

join     {}  ->  {run, frame}        the current state at once
cancel   {}  ->  {}
events   frame, run                  each frame; the run whenever its state changes

While nobody schedules runs, frames come all the same, straight from the run; whoever schedules next is asked again.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from understudy.actors import ActorRef, CallError, Down, Refused, Stop
from understudy.demo.billboard import AGAIN_AFTER, Audience
from understudy.engine import ENDED, CancelRun, Frame, GetRun, RunEnded, RunInfo, RunView, WatchRun
from understudy.gateway import Member, Room
from understudy.runs import frame_json, run_json


@dataclass(frozen=True, slots=True)
class _Unknown:
    """To oneself: whoever schedules runs now does not know this one."""

    why: str


class Show(Room):
    """`runs` is whoever schedules runs, by name; `billboard` that of this stage. Refuses to open for a run that is unknown."""

    def __init__(self, topic: str, runs: ActorRef[Any], billboard: ActorRef[Any]) -> None:
        super().__init__(topic)
        self._run = topic.partition(":")[2]
        self._runs = runs
        self._billboard = billboard
        self._runs_watch: int | None = None
        self._frame: Frame | None = None

    async def on_start(self) -> None:
        view: RunView = await self._runs.call(WatchRun(self._run, self.actor_ref))
        self._info: RunInfo = view.info
        self._frame = view.frame
        self._watch(view)
        if self._info.state in ENDED:
            self.conclude()

    def on_join(self, member: Member, payload: dict[str, Any]) -> dict[str, Any]:
        self._count(len(self.members) + 1)
        return {"run": run_json(self._info), "frame": frame_json(self._frame.data) if self._frame is not None else None}

    def on_leave(self, member: Member) -> None:
        self._count(len(self.members))

    def on_empty(self) -> Stop:
        return Stop()  # whoever comes later opens the room again

    async def on_event(self, member: Member, event: str, payload: Any) -> dict[str, Any] | None:
        if event != "cancel":
            raise Refused("unknown event")
        try:
            await self._runs.call(CancelRun(self._run))
        except Refused:
            raise
        except CallError as error:
            raise Refused(f"nobody schedules games at present ({error}); try again") from None
        return {}

    def on_message(self, message: object) -> Any:
        match message:
            case Frame(_, seq, data):
                if self._frame is not None and seq <= self._frame.seq:
                    return None  # it overtook the answer to WatchRun
                self._frame = message
                self.broadcast("frame", frame_json(data))
                if self._info.state == "starting":
                    self._know(replace(self._info, state="running"))
            case RunEnded():
                self.run(self._ask())
            case RunInfo():
                self._know(message)
            case RunView(info, frame):
                self._watch(message)
                if frame is not None:
                    self.on_message(frame)
                self._know(info)
            case _Unknown(why):
                self._know(replace(self._info, state="lost", reason=why))
            case Down(token) if token == self._runs_watch:
                self._runs_watch = None
                if self._info.state not in ENDED:
                    self.run(self._watch_again())
            case _:
                return self.unhandled(message)
        return None

    def _know(self, info: RunInfo) -> None:
        """What is known of the run now. Once it has ended, that is that."""
        if self._info.state in ENDED or info == self._info:
            return
        self._info = info
        self.broadcast("run", run_json(info))
        if info.state in ENDED:
            self.conclude()

    def _watch(self, view: RunView) -> None:
        if view.ref is not None:
            self._runs_watch = self.monitor(view.ref)

    async def _watch_again(self) -> RunView | _Unknown:
        answer: RunView | _Unknown = await self._until_answered(WatchRun(self._run, self.actor_ref))
        return answer

    async def _ask(self) -> RunInfo | _Unknown:
        answer: RunInfo | _Unknown = await self._until_answered(GetRun(self._run))
        return answer

    async def _until_answered(self, question: Any) -> Any:
        """What whoever schedules runs says, as soon as somebody does."""
        while True:
            try:
                return await self._runs.call(question)
            except Refused:
                return _Unknown("nobody knows it any more")
            except CallError:
                await asyncio.sleep(AGAIN_AFTER)

    def _count(self, viewers: int) -> None:
        self._billboard.tell(Audience(self._run, viewers))
