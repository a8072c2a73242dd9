"""Every error the kernel raises at its users, all of them public.

UnderstudyError
├── CallError                 a call did not get its answer
│   ├── ActorDied             the callee ended, or was not there       .reason   (also a pykka.ActorDeadError)
│   │   └── NodeDown          its whole node did
│   ├── Refused               the callee said no, and lives            .detail
│   ├── DeadlineExceeded      the time was up (also a TimeoutError)
│   └── Deadlock              the call could never be answered         .ring
├── Overloaded                an outbox or a mailbox is full; nothing was sent
├── StartFailed               an actor did not start; nothing of it is left   .reason
├── NameTaken                 the name has a living owner
├── NoRoom                    no node has what is wanted, and room for one more   .lacks
├── Draining                  that node takes nothing new
└── NotRegistered             a message of this class may not cross the wire
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import pykka

from understudy.actors.reasons import ExitReason


class UnderstudyError(Exception):
    """The base of every error of ours."""


class CallError(UnderstudyError):
    """A call did not get its answer; the subclass says why."""


class ActorDied(CallError, pykka.ActorDeadError):
    """The callee ended before it answered, or was not there. `reason` says why."""

    def __init__(self, reason: ExitReason, who: str = "the actor") -> None:
        super().__init__(f"{who} died: {reason}")
        self.reason = reason
        self.who = who


class NodeDown(ActorDied):
    """The callee's node was declared dead while the call was open; whether the request was handled is unknown."""


class Refused(CallError):
    """The callee turned the request down and lives on. A handler raises it: `raise Refused("empty message")`."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.relayed = False
        """True once it reached a caller: escaping from *that* caller's handler it is a failure, not a refusal."""


class DeadlineExceeded(CallError, TimeoutError):
    """The call's time was up. The callee may still handle the request; its reply is dropped."""

    def __init__(self, detail: str = "", *, inherited: bool = False) -> None:
        super().__init__(detail)
        self.inherited = inherited
        """True when the time that ran out was the one left of the request being handled, not the call's own."""


class Deadlock(CallError):
    """The call could never have been answered: an actor called itself, or one that waits for it.

    `ring` names everybody who waits for the next one, the caller first and last; empty for an error of another node.
    """

    def __init__(self, detail: str = "", ring: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.ring = ring

    @classmethod
    def of(cls, names: list[str]) -> Self:
        """The error of a ring of calls, by the names of those in it."""
        if len(names) == 2:
            detail = f"{names[0]} called itself: it could never answer. Call a method of your own instead."
        else:
            detail = (
                f"{' -> '.join(names)}: each waits for the next one's answer, and none could ever give it. "
                "Tell instead of calling somewhere in this ring, answer later (`Later`), or make a handler @reentrant."
            )
        return cls(detail, tuple(names))


class Overloaded(UnderstudyError):
    """A queue on the way is full. Nothing was sent: try later, or send less."""


class StartFailed(UnderstudyError):
    """An actor's `__init__` or `on_start` failed. Nothing of it is left behind. `reason` says why."""

    def __init__(self, who: str, reason: ExitReason) -> None:
        super().__init__(f"{who} did not start: {reason}")
        self.who = who
        self.reason = reason


class NameTaken(UnderstudyError):
    """The name already has a living owner."""


class NoRoom(UnderstudyError):
    """No node has the role and the tags that are wanted, and room for one more. `lacks`: of each member, by its node, why not."""

    def __init__(self, text: str, lacks: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.lacks = dict(lacks or {})


class Draining(UnderstudyError):
    """That node drains: what it has goes elsewhere, and it takes nothing new. Another node will."""


class NotRegistered(UnderstudyError):
    """A message of this class may not cross the wire."""
