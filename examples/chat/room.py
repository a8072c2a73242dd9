"""The chat room, a topic like `room:kitchen`.

    join      {name, me?}      ->  {key, name}            key: who you are in it; snapshot: {lines: [line, ...], earlier}, the last ones
    say       {text, id?}      ->  {id}                   everybody gets `line`, a line, reliably
    draft     {text}           ->  {}                     the others get `draft` {key, name, text}: what stands in your box now
    earlier   {before: id}     ->  {lines, earlier}       the page of lines before that one; earlier: whether there are more
    rename    {name}           ->  {name}

A line is {id, key, author, text, at}; `at` in Unix seconds. Who gives a line an id may say it again, since it does not know
whether it arrived: it stands there once.

A draft is sent at each keystroke and is always the whole text: the last one is all there is to know. Text null says that
somebody writes and does not show it; an empty one, that nothing is being written. Saying a line ends its draft.

`me` is a secret of a browser: whoever comes with the same one is the same person, with the same key, in several windows. Where
the gateway knows who comes (`Gateway(auth=...)`), it is not asked for. Presence is by person; metas are {name, node, online_at}.

A room with a record is one of several lives, on one node after the other. What is said is in the record before anybody sees it,
so the next life has it; and the record refuses a life that another has followed.

    say ──> [lines not kept yet] ── one write for all of them ──> record ──> `line` to everybody, the reply to whoever said it
              ▲                                                      │
              └── a second later, while it cannot be written ────────┘
"""

import hashlib
import json
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from understudy.actors import Later, Refused, Stop
from understudy.examples.chat.history import History, Line
from understudy.gateway import Member, Mount, Rate, Room, conflate

NAME_LIMIT, TEXT_LIMIT, ID_LIMIT = 40, 2_000, 64
"""Characters."""

SECRET = range(16, 129)
"""Characters of a `me`."""

RECORD_LINES, RECORD_LIMIT = 100, 256 * 1024
"""Lines, and bytes, of what is written to a record: the last ones of the history, as many as fit."""

UNKEPT_LIMIT = 1_000
"""Lines that wait to be kept; further ones are refused."""

AGAIN_AFTER = 1.0
"""Seconds after which a record that could not write is tried again."""

REMEMBER = 24 * 3600.0
"""Seconds for which a room without a record remembers what was said in it while nobody is there."""

NEEDS = {"say": "a text", "draft": "a text, or null", "earlier": "before: the id of a line", "rename": "a name"}

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


@dataclass(slots=True)
class Guest:
    """One window that a person has open on the room."""

    key: str
    name: str
    draft: str | None = ""


@dataclass(frozen=True, slots=True)
class Said:
    """A line that nobody sees yet, and the answer that is owed for it."""

    line: Line
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

    rates = MappingProxyType(
        {
            "say": Rate(5, burst=20),
            "draft": Rate(50, burst=100),  # a key that is held down repeats 30 times a second
            "*": Rate(5, burst=20),
        }
    )

    def __init__(self, topic: str, record: Record | None = None) -> None:
        super().__init__(topic)
        self.record = record
        if record is None:
            self.idle_after = REMEMBER
        self.history = History()
        self.guests: dict[str, Guest] = {}
        self.lines = 0
        self._unkept: list[Said] = []
        self._keeping: list[Said] = []
        self._resting = False

    async def on_start(self) -> None:
        self.token = self.system.world.token()
        if self.record is not None and (written := await self.record.read(self.topic)):
            self.history = History(json.loads(written))

    def on_join(self, member: Member, payload: dict[str, Any]) -> dict[str, Any]:
        guest = Guest(_key(member, payload.get("me")), _name(payload.get("name", member.principal.claims.get("name"))))
        self.guests[member.id] = guest
        self._show(member)
        return {"key": guest.key, "name": guest.name}

    def snapshot(self, member: Member | None) -> dict[str, Any]:
        return self.history.page()

    def on_event(self, member: Member, event: str, payload: Any) -> dict[str, Any] | Later:
        match event, payload:
            case "say", {"text": str(text), "id": str(wanted)} if 0 < len(wanted) <= ID_LIMIT:
                return self.say(member, text.strip(), wanted)
            case "say", {"text": str(text), **rest} if "id" not in rest:
                return self.say(member, text.strip())
            case "draft", {"text": (str() | None) as text}:
                return self.draft(member, text)
            case "earlier", {"before": str(before)}:
                return self.earlier(before)
            case "rename", {"name": name}:
                return self.rename(member, name)
            case "say", {"text": str()}:
                raise Refused(f"the id of a line is a text of 1 to {ID_LIMIT} characters")
            case (("say" | "draft" | "earlier" | "rename"), _):
                raise Refused(f"{event} needs {NEEDS[event]}")
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
        self.draft(member, "")
        del self.guests[member.id]

    def on_empty(self) -> Stop | None:
        return None if self.history else Stop()

    def say(self, member: Member, text: str, wanted: str | None = None) -> dict[str, Any] | Later:
        if not text:
            raise Refused("empty message")
        _check_length(text)
        self.draft(member, "")
        for said in (*self._keeping, *self._unkept):
            if said.line["id"] == wanted:
                return said.answer
        if wanted in self.history:
            return {"id": wanted}
        self.lines += 1
        guest = self.guests[member.id]
        line = {
            "id": wanted or f"{self.token}.{self.lines}",
            "key": guest.key,
            "author": guest.name,
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

    def draft(self, member: Member, text: str | None) -> dict[str, Any]:
        """Tell the others what stands in somebody's box, if it is news."""
        _check_length(text or "")
        guest = self.guests[member.id]
        if text != guest.draft:
            guest.draft = text
            news = {"key": guest.key, "name": guest.name, "text": text}
            self.broadcast("draft", news, delivery=conflate(member.id, of=member), excluding=member)
            if text == "":
                self.forget("draft", member.id)
        return {}

    def earlier(self, before: str) -> dict[str, Any]:
        try:
            return self.history.page(before)
        except KeyError:
            raise Refused("this room does not remember that line") from None

    def rename(self, member: Member, name: object) -> dict[str, Any]:
        guest = self.guests[member.id]
        guest.name = _name(name)
        self._show(member)
        return {"name": guest.name}

    def _show(self, member: Member) -> None:
        guest = self.guests[member.id]
        here = {"name": guest.name, "node": member.node, "online_at": self.system.world.wall()}
        self.track(member, here, key=guest.key)

    def _keep(self) -> None:
        """Write what was said meanwhile, in one piece."""
        if self._unkept and not self._keeping and not self._resting:
            self._keeping, self._unkept = self._unkept, []
            self.run(self._written(self._keeping))

    async def _written(self, lines: list[Said]) -> _Kept:
        assert self.record is not None
        now = [*self.history, *(said.line for said in lines)][-RECORD_LINES:]
        try:
            await self.record.write(self.topic, self.fence, _fitting(now))
        except Unkept:
            return _Kept(lines, written=False)
        return _Kept(lines, written=True)


def _name(given: object) -> str:
    if not isinstance(given, str) or not 0 < len(given.strip()) <= NAME_LIMIT:
        raise Refused(f"choose a name of 1 to {NAME_LIMIT} characters")
    return given.strip()


def _key(member: Member, me: object) -> str:
    """Who that is for the others: whom the gateway vouches for, or what can be told from the secret, but does not tell it."""
    if not member.principal.anonymous:
        return member.principal.id
    if me is None:
        return member.id
    if not isinstance(me, str) or len(me) not in SECRET:
        raise Refused(f"me is a secret of {SECRET.start} to {SECRET.stop - 1} characters")
    return hashlib.sha256(me.encode("utf-8", "replace")).hexdigest()[:16]


def _check_length(text: str) -> None:
    if len(text) > TEXT_LIMIT:
        raise Refused(f"a message has at most {TEXT_LIMIT} characters, this one has {len(text)}")


def _fitting(lines: list[Line]) -> bytes:
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
