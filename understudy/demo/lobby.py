"""The topic `lobby`: what is on, and the button that starts a game.

join      {}        ->  {node, pid, nodes: [...], runs: [...]}     node, pid: who serves this client
new_game  {seed?}   ->  {id}
cancel    {id}      ->  {}
events    run, nodes, notice                                       whatever the billboard posts
"""

from typing import Any

from understudy.actors import ActorRef, CallError, Down, Refused
from understudy.demo.billboard import Attend, Poster
from understudy.engine import CancelRun, Launch, RunInfo
from understudy.gateway import Member, Room


class Lobby(Room):
    """`runs` and `billboard` are the actors of this stage by those names."""

    def __init__(self, topic: str, runs: ActorRef[Any], billboard: ActorRef[Any]) -> None:
        super().__init__(topic)
        self._runs = runs
        self._billboard = billboard

    def on_start(self) -> None:
        self._billboard_watch = self.monitor(self._billboard)

    async def on_join(self, member: Member, payload: dict[str, Any]) -> dict[str, Any]:
        everything: dict[str, Any] = await self._billboard.call(Attend(self.actor_ref))
        return everything

    async def on_event(self, member: Member, event: str, payload: Any) -> dict[str, Any] | None:
        match event, payload:
            case "new_game", {"seed": seed}:
                return {"id": (await self._ask(Launch("arena", {"seed": seed}))).run}
            case "new_game", {**nothing} if not nothing:
                return {"id": (await self._ask(Launch("arena"))).run}
            case "cancel", {"id": str(run)}:
                await self._ask(CancelRun(run))
                return {}
            case (("new_game" | "cancel"), _):
                raise Refused('new_game takes {"seed": number} or {}, cancel takes {"id": run}')
            case _:
                raise Refused("unknown event")

    async def _ask(self, request: Launch | CancelRun) -> RunInfo:
        try:
            return await self._runs.call(request)
        except Refused:
            raise
        except CallError as error:
            raise Refused(f"the engines do not answer ({error}); try again") from error

    def on_message(self, message: object) -> Any:
        match message:
            case Poster(event, payload):
                self.broadcast(event, payload)
                return None
            case Down(token) if token == self._billboard_watch:
                raise RuntimeError("the billboard is gone")  # its successor knows nothing of us: open anew
            case _:
                return self.unhandled(message)
