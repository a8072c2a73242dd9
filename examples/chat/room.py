"""The chat room, a topic like `room:kitchen`.

    join      {name}       ->  {key, history: [line, ...]}        key: yours in the presence
    say       {text, id?}  ->  {id}                               and everybody gets `line`
    typing    {typing}     ->  {}                                 and the others get `typing` {key, name, typing}

A line is {id, key, author, text, at}; `at` in Unix seconds. Presence metas are {name, node, online_at}. Who gives a line an
id may say it again, since it does not know whether it arrived: it stands there once.

A room with a record is one of several lives, on one node after the other. What is said is in the record before anybody sees it,
so the next life has it; and the record refuses a life that another has followed.

    say ──> [lines not kept yet] ── one write for all of them ──> record ──> `line` to everybody, the reply to whoever said it
              ▲                                                      │
              └── a second later, while it cannot be written ────────┘
"""

import json
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from understudy.actors import Later, Refused, Stop
from understudy.gateway import Member, Mount, Room

HISTORY = 100
"""Lines a newcomer gets to see."""

NAME_LIMIT, TEXT_LIMIT, ID_LIMIT = 40, 2_000, 64
"""Characters."""

RECORD_LIMIT = 256 * 1024
"""Bytes of what is written to a record: the last lines of the history, as many as fit."""

UNKEPT_LIMIT = 1_000
"""Lines that wait to be kept; further ones are refused."""

AGAIN_AFTER = 1.0
"""Seconds after which a record that could not write is tried again."""

PAGES = Mount("/chat", Path(__file__).parent / "web")
"""The chat as a page, and the modules it is made of."""


class Unkept(Exception):
    """A record could not write, for a reason that may pass."""


class Record(Protocol):
    """Where what was said in a room outlives it."""

    async def read(self, topic: str) -> bytes | None:
        """What was written last; None at first."""
        ...

    async def write(self, topic: str, fence: int, value: bytes) -> None:
        """Write it. Unkept: that is not possible now. Any other error: this life of the room is over."""
        ...


@dataclass(frozen=True, slots=True)
class Said:
    """A line that nobody sees yet, and the answer that is owed for it."""

    line: dict[str, Any]
    answer: Later


@dataclass(frozen=True, slots=True)
class _Kept:
    """To oneself: these are in the record; or they are not, for now."""

    lines: list[Said]
    written: bool


@dataclass(frozen=True, slots=True)
class _TryAgain:
    """To oneself: the record may be there again."""


class ChatRoom(Room):
    """People who talk. What was said is kept in `record`; without one, while the room lives."""

    def __init__(self, topic: str, record: Record | None = None) -> None:
        super().__init__(topic)
        self.record = record
        self.history: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        self.names: dict[str, str] = {}
        self.typing: set[str] = set()
        self.lines = 0
        self._unkept: list[Said] = []
        self._keeping: list[Said] = []
        self._resting = False

    async def on_start(self) -> None:
        self.token = self.system.world.token()
        if self.record is not None and (written := await self.record.read(self.topic)):
            self.history.extend(json.loads(written))

    def on_join(self, member: Member, payload: dict[str, Any]) -> dict[str, Any]:
        name = payload.get("name")
        if not isinstance(name, str) or not 0 < len(name.strip()) <= NAME_LIMIT:
            raise Refused(f"choose a name of 1 to {NAME_LIMIT} characters")
        self.names[member.id] = name.strip()
        here = {"name": name.strip(), "node": member.node, "online_at": self.system.world.wall()}
        self.track(member, here)
        return {"key": member.id, "history": list(self.history)}

    def on_event(self, member: Member, event: str, payload: Any) -> dict[str, Any] | Later:
        match event, payload:
            case "say", {"text": str(text), "id": str(wanted)} if 0 < len(wanted) <= ID_LIMIT:
                return self.say(member, text.strip(), wanted)
            case "say", {"text": str(text), **rest} if "id" not in rest:
                return self.say(member, text.strip())
            case "typing", {"typing": bool(typing)}:
                self.types(member, typing)
                return {}
            case "say", {"text": str()}:
                raise Refused(f"the id of a line is a text of 1 to {ID_LIMIT} characters")
            case (("say" | "typing"), _):
                raise Refused(f"{event} needs {'a text' if event == 'say' else 'typing: true or false'}")
            case _:
                raise Refused("unknown event")

    def on_message(self, message: object) -> Any:
        match message:
            case _Kept(lines, written=True):
                self._keeping = []
                for said in lines:
                    self.history.append(said.line)
                    self.broadcast("line", said.line)
                    said.answer.set({"id": said.line["id"]})
                self._keep()
            case _Kept(lines):
                self._keeping, self._unkept = [], [*lines, *self._unkept]
                self._resting = True
                self.send_after(AGAIN_AFTER, _TryAgain())
            case _TryAgain():
                self._resting = False
                self._keep()
            case _:
                return self.unhandled(message)
        return None

    def on_leave(self, member: Member) -> None:
        self.types(member, False)
        del self.names[member.id]

    def on_empty(self) -> Stop | None:
        return Stop() if self.record is not None or not self.history else None

    def say(self, member: Member, text: str, wanted: str | None = None) -> dict[str, Any] | Later:
        if not text:
            raise Refused("empty message")
        if len(text) > TEXT_LIMIT:
            raise Refused(f"a message has at most {TEXT_LIMIT} characters, this one has {len(text)}")
        self.types(member, False)
        for said in (*self._keeping, *self._unkept):
            if said.line["id"] == wanted:
                return said.answer
        if any(line["id"] == wanted for line in self.history):
            return {"id": wanted}
        self.lines += 1
        line = {
            "id": wanted or f"{self.token}.{self.lines}",
            "key": member.id,
            "author": self.names[member.id],
            "text": text,
            "at": self.system.world.wall(),
        }
        if self.record is None:
            self.history.append(line)
            self.broadcast("line", line)
            return {"id": line["id"]}
        if len(self._unkept) >= UNKEPT_LIMIT:
            raise Refused("what is said cannot be kept at present, and too much waits for it; try again later")
        self._unkept.append(Said(line, answer := Later()))
        self._keep()
        return answer

    def types(self, member: Member, typing: bool) -> None:
        """Tell the others, if it is news."""
        if typing == (member.id in self.typing):
            return
        self.typing ^= {member.id}
        news = {"key": member.id, "name": self.names[member.id], "typing": typing}
        self.broadcast("typing", news, excluding=member)

    def _keep(self) -> None:
        """Write what was said meanwhile, in one piece."""
        if self._unkept and not self._keeping and not self._resting:
            self._keeping, self._unkept = self._unkept, []
            self.run(self._written(self._keeping))

    async def _written(self, lines: list[Said]) -> _Kept:
        assert self.record is not None
        now = [*self.history, *(said.line for said in lines)][-HISTORY:]
        try:
            await self.record.write(self.topic, self.fence, _fitting(now))
        except Unkept:
            return _Kept(lines, written=False)
        return _Kept(lines, written=True)


def _fitting(lines: list[dict[str, Any]]) -> bytes:
    """The last of them, as many as a record takes, as a JSON list."""
    written: deque[bytes] = deque()
    size = 2
    for line in reversed(lines):
        one = json.dumps(line, ensure_ascii=False).encode("utf-8", "replace")
        size += len(one) + 1
        if size > RECORD_LIMIT:
            break
        written.appendleft(one)
    return b"[" + b",".join(written) + b"]"
