"""The topic `lobby`: what is on, and the button that starts a game.

join      {}        ->  {node, pid, nodes: [...], runs: [...]}     node, pid: who serves this client
new_game  {seed?}   ->  {id}
cancel    {id}      ->  {}
events    run, nodes, notice                                       whatever the billboard posts
"""

from collections.abc import Callable
from typing import Any

from understudy.actors import ActorRef, CallError, Down, Later, Refused
from understudy.demo.billboard import Attend, Poster
from understudy.engine import CancelRun, Launch, RunInfo
from understudy.gateway import Member, Room

PATIENCE = 12.0
"""Seconds to wait for the list of runs, which itself gives an engine 10."""


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

    def on_event(self, member: Member, event: str, payload: Any) -> Later:
        match event, payload:
            case "new_game", {"seed": seed}:
                return self._ask(Launch("arena", {"seed": seed}), lambda info: {"id": info.run})
            case "new_game", {**nothing} if not nothing:
                return self._ask(Launch("arena"), lambda info: {"id": info.run})
            case "cancel", {"id": str(run)}:
                return self._ask(CancelRun(run), lambda _: {})
            case (("new_game" | "cancel"), _):
                raise Refused('new_game takes {"seed": number} or {}, cancel takes {"id": run}')
            case _:
                raise Refused("unknown event")

    def _ask(self, request: Launch | CancelRun, answer: Callable[[RunInfo], dict[str, Any]]) -> Later:
        """Ask the list of runs in the background: while an engine is slow, the lobby shows what else is on."""
        later = Later()
        self.run(self._asked(request, answer, later))
        return later

    async def _asked(
        self, request: Launch | CancelRun, answer: Callable[[RunInfo], dict[str, Any]], later: Later
    ) -> None:
        try:
            later.set(answer(await self._runs.call(request, timeout=PATIENCE)))
        except Refused as refusal:
            later.fail(refusal)
        except CallError as error:
            later.fail(Refused(f"the engines do not answer ({error}); try again"))

    def on_message(self, message: object) -> Any:
        match message:
            case Poster(event, payload):
                self.broadcast(event, payload)
                return None
            case Down(token) if token == self._billboard_watch:
                raise RuntimeError("the billboard is gone")  # its successor knows nothing of us: open anew
            case _:
                return self.unhandled(message)
