"""What Pykka's actors hold, and ours make when somebody asks for it: `actor_inbox` and `actor_stopped`."""

from __future__ import annotations

import threading  # noqa: TID251 - Pykka's flag is one that threads wait for
from typing import TYPE_CHECKING, Any

from understudy.actors.envelope import Envelope
from understudy.actors.replies import ThreadReply

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.reasons import ExitReason
    from understudy.actors.ref import ActorRef


class Inbox:
    """`actor_inbox`: Pykka's queue, as far as others may use it. Messages are taken out by the actor alone."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell[Any]) -> None:
        self._cell = cell

    def put(self, envelope: Any) -> None:
        """Send what Pykka's own references send: its envelopes of a `message` and a future or None in `reply_to`."""
        if envelope.reply_to is None:
            self._cell.tell(envelope.message)
        else:
            self._cell.tell(Envelope(envelope.message, ThreadReply(envelope.reply_to)))

    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._cell.mailbox

    def qsize(self) -> int:
        """How many entries wait."""
        return len(self._cell.mailbox or ())


class Stopped:
    """`actor_stopped`: Pykka's flag, as one may look at it and wait for it. To raise it: `ref.stop()`."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell[Any]) -> None:
        self._cell = cell

    def is_set(self) -> bool:
        """Whether the actor has ended, its last hook perhaps not yet."""
        return not self._cell.is_alive()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the actor has ended; False if it had not after `timeout` seconds. For plain threads."""
        if not self.is_set():
            self._cell.scheduler.refuse_blocking("actor_stopped.wait()", "await ref.ended()")
            vigil, token = _Vigil(), self._cell.system.next_token()
            self._cell._monitor(token, vigil)
            vigil.over.wait(timeout)
            self._cell._demonitor(token, vigil)
        return self.is_set()


class _Vigil:
    """The watcher behind `actor_stopped.wait()`."""

    __slots__ = ("over",)

    def __init__(self) -> None:
        self.over = threading.Event()

    def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        self.over.set()
