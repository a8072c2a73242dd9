"""The chat room, a topic like `room:kitchen`.

    join      {name}       ->  {key, history: [line, ...]}        key: yours in the presence
    say       {text}       ->  {id}                               and everybody gets `line`
    typing    {typing}     ->  {}                                 and the others get `typing` {key, name, typing}

A line is {id, key, author, text, at}; `at` in Unix seconds. Presence metas are {name, node, online_at}.
"""

from collections import deque
from pathlib import Path
from typing import Any

from understudy.actors import Refused, Stop
from understudy.gateway import Member, Mount, Room

HISTORY = 100
"""Lines a newcomer gets to see."""

NAME_LIMIT, TEXT_LIMIT = 40, 2_000
"""Characters."""

PAGES = Mount("/chat", Path(__file__).parent / "web")
"""The chat as a page, and the modules it is made of."""


class ChatRoom(Room):
    """People who talk. What was said is kept while the room lives."""

    def __init__(self, topic: str) -> None:
        super().__init__(topic)
        self.history: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        self.names: dict[str, str] = {}
        self.typing: set[str] = set()
        self.lines = 0

    def on_start(self) -> None:
        self.token = self.system.world.token()

    def on_join(self, member: Member, payload: dict[str, Any]) -> dict[str, Any]:
        name = payload.get("name")
        if not isinstance(name, str) or not 0 < len(name.strip()) <= NAME_LIMIT:
            raise Refused(f"choose a name of 1 to {NAME_LIMIT} characters")
        self.names[member.id] = name.strip()
        here = {"name": name.strip(), "node": member.node, "online_at": self.system.world.wall()}
        self.track(member, here)
        return {"key": member.id, "history": list(self.history)}

    def on_event(self, member: Member, event: str, payload: Any) -> dict[str, Any]:
        match event, payload:
            case "say", {"text": str(text)}:
                return self.say(member, text.strip())
            case "typing", {"typing": bool(typing)}:
                self.types(member, typing)
                return {}
            case (("say" | "typing"), _):
                raise Refused(f"{event} needs {'a text' if event == 'say' else 'typing: true or false'}")
            case _:
                raise Refused("unknown event")

    def on_leave(self, member: Member) -> None:
        self.types(member, False)
        del self.names[member.id]

    def on_empty(self) -> Stop | None:
        return None if self.history else Stop()

    def say(self, member: Member, text: str) -> dict[str, Any]:
        if not text:
            raise Refused("empty message")
        if len(text) > TEXT_LIMIT:
            raise Refused(f"a message has at most {TEXT_LIMIT} characters, this one has {len(text)}")
        self.types(member, False)
        self.lines += 1
        line = {
            "id": f"{self.token}.{self.lines}",
            "key": member.id,
            "author": self.names[member.id],
            "text": text,
            "at": self.system.world.wall(),
        }
        self.history.append(line)
        self.broadcast("line", line)
        return {"id": line["id"]}

    def types(self, member: Member, typing: bool) -> None:
        """Tell the others, if it is news."""
        if typing == (member.id in self.typing):
            return
        self.typing ^= {member.id}
        news = {"key": member.id, "name": self.names[member.id], "typing": typing}
        self.broadcast("typing", news, excluding=member)
