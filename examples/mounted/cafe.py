"""The room that is the same in all three: guests order from the browser, the site announces what it has to say.

browser ── WebSocket /live/socket ──> Cafe <── publish ── a route of the site
"""

from typing import Any

from understudy.actors import Refused
from understudy.gateway import Member, Principal, Room

MENU = ("tea", "cake")

HOUSE = Principal("site", {"role": "house"})
"""Who the site is to its rooms."""


class Cafe(Room):
    """Guests see what is ordered, and what the house announces."""

    def on_join(self, member: Member, payload: dict[str, Any]) -> dict[str, Any]:
        return {"menu": list(MENU)}

    def on_event(self, member: Member, event: str, payload: Any) -> Any:
        match event, payload:
            case "order", {"dish": dish} if dish in MENU:
                self.broadcast("ordered", {"dish": dish})
                return {"minutes": 3}
            case "order", _:
                raise Refused(f"we have {' and '.join(MENU)}")
            case _:
                return super().on_event(member, event, payload)

    def on_publish(self, principal: Principal, event: str, payload: Any) -> None:
        """What the site says, by `live.publish`. Who comes over HTTP has no such role: here nobody gives one away."""
        if principal.claims.get("role") != "house":
            raise Refused("only the house announces")
        self.broadcast(event, payload)
