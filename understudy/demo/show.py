"""The topic `run:<id>`: one run, live, for any number of watchers, also those who come late.

join     {}  ->  {run, frame}        the current state at once
cancel   {}  ->  {}
events   frame, run                  each frame; the run whenever its state changes
"""

from typing import Any

from understudy.actors import ActorRef, Down, Refused, Stop
from understudy.demo.billboard import Audience
from understudy.engine import ENDED, CancelRun, Frame, GetRun, RunEnded, RunInfo, RunView, WatchRun
from understudy.gateway import Member, Room
from understudy.runs import frame_json, run_json


class Show(Room):
    """`runs` and `billboard` are the actors of this stage by those names. Refuses to open for a run that is unknown."""

    def __init__(self, topic: str, runs: ActorRef[Any], billboard: ActorRef[Any]) -> None:
        super().__init__(topic)
        self._run = topic.partition(":")[2]
        self._runs = runs
        self._billboard = billboard
        self._frame: Frame | None = None

    async def on_start(self) -> None:
        self._runs_watch = self.monitor(self._runs)
        view: RunView = await self._runs.call(WatchRun(self._run, self.actor_ref))
        self._info: RunInfo = view.info
        self._frame = view.frame
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
        await self._runs.call(CancelRun(self._run))
        return {}

    def on_message(self, message: object) -> Any:
        match message:
            case Frame(_, seq, data):
                if self._frame is not None and seq <= self._frame.seq:
                    return None  # it overtook the answer to WatchRun
                self._frame = message
                self.broadcast("frame", frame_json(data))
                if self._info.state == "starting":
                    self.run(self._runs.call(GetRun(self._run)))
                return None
            case RunEnded():
                self.run(self._runs.call(GetRun(self._run)))
                return None
            case RunInfo():
                if self._info.state not in ENDED:
                    self._info = message
                    self.broadcast("run", run_json(message))
                if message.state in ENDED:
                    self.conclude()
                return None
            case Down(token) if token == self._runs_watch:
                raise RuntimeError("the list of runs is gone")  # its successor knows nothing of us: open anew
            case _:
                return self.unhandled(message)

    def _count(self, viewers: int) -> None:
        self._billboard.tell(Audience(self._run, viewers))
