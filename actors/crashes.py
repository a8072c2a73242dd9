"""Crash reports: what is known about an actor that failed, gathered while it is still there.

    handler raises ──> often enough of late? ── yes: counted, and that is all
                              │ no
                              ▼
       who, reason, causes, last message, state, parents ──> subscribers of CrashReport
                                                        └──> one record of the logger "understudy.actors"

Message and state are sketched (see sketch.py): short, without secrets, and without running any of their code. The text is put
together only by a log handler that wants it. Whoever restarts the actor need not repeat any of this.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from understudy.actors.attributes import KERNELS_OWN
from understudy.actors.limiter import Limiter
from understudy.actors.message import message
from understudy.actors.reasons import Failure
from understudy.actors.ref import ActorRef
from understudy.actors.signals import Order
from understudy.actors.sketch import class_name, masked, sketch, sketch_fields

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.scheduler import Scheduler

logger = logging.getLogger("understudy.actors")

BURST = 5
"""Reports of the same crash (class of the actor, exception, line) at once, before they are held back."""

EVERY = 5.0
"""Seconds to one more report of the same crash."""

CAUSES_LIMIT = 4
"""Exceptions behind the one that ended the actor: causes, contexts, members of its group."""

PARENTS_LIMIT = 20


@message("understudy.crash")
class CrashReport:
    """An actor failed.

    `message` is the class of what it was handling, `last_message` a sketch of it, `state` sketches of its attributes by name,
    `parents` its line of ancestors, the nearest first. `suppressed`: so many crashes like this one were not reported since the
    last report. Every text is cut and redacted.
    """

    ref: ActorRef[Any]
    cls: str
    name: str | None
    address: str
    reason: Failure
    causes: tuple[Failure, ...]
    message: str
    last_message: str
    state: dict[str, str]
    handled: int
    parents: tuple[str, ...]
    suppressed: int

    def __str__(self) -> str:
        lines = [f"{self.ref!r} crashed handling {self.message}: {self.reason}"]
        if self.suppressed:
            lines.append(f"  {self.suppressed} more like this one were not reported since the last report")
        lines.append(f"  message  {self.last_message}")
        lines.append(f"  state    {', '.join(f'{name}={value}' for name, value in self.state.items()) or '(nothing)'}")
        lines.append(f"  handled  {self.handled} messages")
        if self.parents:
            lines.append(f"  parents  {' < '.join(self.parents)}")
        lines.append(self.reason.traceback())
        lines += [f"Because of, while handling, or together with: {cause.traceback()}" for cause in self.causes]
        return "\n".join(lines)

    def data(self) -> dict[str, Any]:
        """The same as plain dicts, lists and texts, for handlers that write JSON."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain.update(
            ref=repr(self.ref),
            reason=_plain(self.reason),
            causes=[_plain(cause) for cause in self.causes],
            parents=list(self.parents),
        )
        return plain


class Crashes:
    """The crashes of one system: `count` of them, and `suppressed` of these without a report. `limiter` may be set."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.count = 0
        self.suppressed = 0
        self.limiter: Limiter[tuple[type, str, tuple[str, int] | None]] = Limiter(BURST, EVERY)

    def note(self, cell: Cell[Any], work: object, error: BaseException, reason: Failure, *, log: bool = True) -> None:
        """Count a crash and report it, if somebody wants to know and it is not the same again and again. Never raises.

        `log` False: somebody else writes it to the log.
        """
        self.count += 1
        hooks = self._scheduler.system.hooks
        wanted = hooks.wants(CrashReport)
        log = log and logger.isEnabledFor(logging.ERROR)
        if not wanted and not log:
            return
        try:
            site = (reason.trace[-1][0], reason.trace[-1][1]) if reason.trace else None
            key = (cell.kind, reason.type, site)
            left_out = self.limiter.admit(key, self._scheduler.loop.time())
            if left_out is None:
                self.suppressed += 1
                return
            report = _report(cell, work, error, reason, left_out)
            if wanted:
                hooks.emit(report)
            if log:
                logger.error("%s", report, extra={"crash": report.data()})
        except Exception:  # the death goes on
            with contextlib.suppress(Exception):  # a log handler that raises may have been the reason
                logger.exception("the crash of %r could not be reported", cell)

    def tell_the_rest(self) -> None:
        """The system ends: say how many crashes were left out since the last report of their kind."""
        for (kind, error, site), number in self.limiter.rest():
            where = f" at {site[0]}:{site[1]}" if site is not None else ""
            logger.error("%s more crashes of %s with %s%s were not reported", number, kind.__name__, error, where)


def _report(cell: Cell[Any], work: object, error: BaseException, reason: Failure, left_out: int) -> CrashReport:
    return CrashReport(
        ref=cell,
        cls=class_name(cell.kind),
        name=cell.name,
        address=str(cell.address),
        reason=_redacted(reason),
        causes=tuple(_redacted(Failure.of(cause)) for cause in _behind(error)),
        message=work.title if isinstance(work, Order) else type(work).__name__,
        last_message=sketch(work),
        state=sketch_fields(cell.actor, KERNELS_OWN.__contains__),
        handled=cell.handled,
        parents=tuple(map(repr, _ancestors(cell))),
        suppressed=left_out,
    )


def _ancestors(cell: Cell[Any]) -> list[Cell[Any]]:
    line: list[Cell[Any]] = []
    parent = cell.parent
    while parent is not None and len(line) < PARENTS_LIMIT:
        line.append(parent)
        parent = parent.parent
    return line


def _behind(error: BaseException) -> list[BaseException]:
    """The exceptions that led to this one, nearest first."""
    found: list[BaseException] = [error]
    for one in found:
        inner: tuple[BaseException | None, ...] = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        outer = one.__cause__ if one.__cause__ is not None or one.__suppress_context__ else one.__context__
        for other in (*inner[:CAUSES_LIMIT], outer):
            if other is not None and len(found) <= CAUSES_LIMIT and not any(other is known for known in found):
                found.append(other)
    return found[1:]


def _redacted(reason: Failure) -> Failure:
    text = masked(reason.message)
    return reason if text == reason.message else replace(reason, message=text)


def _plain(reason: Failure) -> dict[str, Any]:
    return {"type": reason.type, "message": reason.message, "trace": [list(frame) for frame in reason.trace]}
