"""The failure rule: what an exception in a handler means. A class attribute of actors, `failure_rule`.

                       "crash", the default              "pykka"
    called or asked    the actor ends; ActorDied         the caller gets the exception, and the actor lives
    told               the actor ends; on_failure        the actor ends; on_failure
    `SystemExit`, ...  the actor ends; on_failure        the actor ends; on_stop. If Pykka's `start` began it:
                                                         everything in Pykka's registry is stopped, as in Pykka
    an unknown message a call is refused,                a warning in Pykka's log; the reply is None
                       a tell is a dead letter

Under "pykka" failures are logged in Pykka's words and by Pykka's logger, so that what watches that log goes on working.
`Refused`, and the passing of an inherited deadline, end the request alone under both rules.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pykka

from understudy.actors.dead_letters import REFUSED
from understudy.actors.envelope import Envelope, Reply
from understudy.actors.reasons import ExitReason, Failure
from understudy.actors.refusals import afresh, ends_request_only

if TYPE_CHECKING:
    from understudy.actors.cell import Cell

FailureRule: TypeAlias = Literal["crash", "pykka"]

logger = logging.getLogger("pykka")


def checked_rule(rule: object, whose: type) -> None:
    """Raise ValueError for what is no failure rule."""
    if rule not in ("crash", "pykka"):
        raise ValueError(f"{whose.__name__}.failure_rule is 'crash' or 'pykka', not {rule!r}")


def survives(cell: Cell[Any], entry: Any, error: BaseException) -> bool:
    """Whether the actor outlives what its handler raised."""
    if ends_request_only(error):
        return True
    asked = entry.__class__ is Envelope and entry.reply is not None
    return asked and cell.kind.failure_rule == "pykka" and isinstance(error, Exception)


def closed_under(cell: Cell[Any], error: BaseException) -> bool:
    """Whether this is nobody's failure: the loop was closed, and Python ends the coroutines that were left behind in it."""
    return isinstance(error, GeneratorExit) and not cell.scheduler.here()


def end_request(cell: Cell[Any], entry: Any, error: Any) -> None:
    """The actor survives: whoever asked is told."""
    reply: Reply | None = None
    message = entry
    if entry.__class__ is Envelope:
        message, reply = entry.message, entry.reply
    if reply is None:
        cell.scheduler.mortician.dead_letter(cell, message, REFUSED)
    elif ends_request_only(error):
        reply.fail(afresh(error))
    else:
        logger.info("Exception returned from %s to caller:", cell, exc_info=error)
        reply.fail(error)


def report_end(cell: Cell[Any], error: BaseException) -> BaseException | ExitReason:
    """Under Pykka's rule the actor ends: report it, and say what its last hook is to get."""
    if isinstance(error, Exception):
        unhandled(cell, error)
        return error
    if cell.registered:
        logger.debug("%r in %s. Stopping all actors.", error, cell)
        cell.on_loop(partial(pykka.ActorRegistry.stop_all, block=False))
    else:
        unhandled(cell, error)
    return Failure.of(error)


def unhandled(cell: Cell[Any], error: BaseException) -> None:
    """Log it as Pykka does."""
    logger.error("Unhandled exception in %s:", cell, exc_info=error)


def logged(cell: Cell[Any], reason: ExitReason) -> bool:
    """Whether Pykka's log has that death already."""
    return cell.kind.failure_rule == "pykka" and isinstance(reason, Failure)
