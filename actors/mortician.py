"""How an actor ends. Always in this order, whatever ended it:

    close ──> the async handler's task ends ──> hook ──> name, groups, timers, tasks freed ──> queued requests answered
                                                              ──> children, last one first ──> links and monitors fire
                                                                                           ──> its parent learns of it

`close` is the moment the world sees: from then on a call fails and a tell becomes a dead letter. What comes after may
take time, when a handler or hook is asynchronous or there are children; nothing here ever waits in place.

A kill is over for the world at once: links and monitors fire first, and the children end in the background. Its parent
learns of it when the last of them has ended: whoever starts it again finds their names free. All of it
runs as signals (see scheduler.py), never inside a handler and never nested: a chain of ten thousand linked actors
dies without recursion.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast

from understudy.actors.bonds import ExitTicket
from understudy.actors.dead_letters import DEAD as DEAD_LETTER
from understudy.actors.dead_letters import DeadLetter
from understudy.actors.envelope import Envelope
from understudy.actors.errors import ActorDied
from understudy.actors.failure_rule import closed_under, end_request, report_end, survives, unhandled
from understudy.actors.hooks import Ended
from understudy.actors.mailbox import BoundedMailbox
from understudy.actors.reasons import ExitReason, Failure, Killed, NoProc, Normal, Shutdown
from understudy.actors.signals import Exit, StopRequest
from understudy.actors.sketch import masked

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.ref import ActorRef
    from understudy.actors.scheduler import Scheduler

logger = logging.getLogger("understudy.actors")

ALIVE, CLOSED, LEAVING, DEAD = range(4)
"""Stages of a life. CLOSED: ended for the world, its handler or hook still runs. LEAVING: its children are being ended."""

CANCEL_GRACE = 5.0
"""Seconds that a cancelled handler has to end; one that swallows the cancellation is then abandoned."""


class Mortician:
    """Ends the actors of one scheduler, and sees to what they leave behind."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.outlasting: dict[asyncio.Task[Any], Cell[Any]] = {}
        """The tasks that were cancelled and still run, of actors that are dead for the world."""

    # --- what ends an actor ---

    def exit_signal(
        self, cell: Cell[Any], sender: ActorRef[Any] | None, reason: ExitReason, ticket: ExitTicket | None = None
    ) -> None:
        """An exit signal reached `cell`: ignored, trapped as a message, or its end (Erlang's rules).

        `ticket`: that of the message, where it has its place in the mailbox already.
        """
        actor = cell.actor
        if actor is None or cell.stage != ALIVE:
            return
        if sender is not None and sender is cell.parent:
            self.dismiss(cell, reason)  # an exit from one's parent is not trapped
        elif actor.trap_exit:
            if ticket is None:
                message = Exit(sender, reason)
                cell.tell(message if cell.kind.mailbox is None else Envelope(message))
            else:
                ticket.trapped = True
        elif not isinstance(reason, Normal) or sender is cell:
            self.dismiss(cell, reason)

    def dismiss(self, cell: Cell[Any], reason: ExitReason) -> None:
        """End `cell` now: cancel its asynchronous handler at its await, then run `on_stop`."""
        handler = cell.task
        if cell.stage == ALIVE:
            self.close(cell, reason, reason)
            self._interrupt(cell, handler)
        self._cut_short(cell)

    def stillborn(self, cell: Cell[Any], reason: ExitReason) -> None:
        """An actor that did not start leaves nothing behind, and no hook runs."""
        if cell.stage in (ALIVE, CLOSED):
            cell.stage = CLOSED
            cell.free = False
            cell.reason = reason
            cell.last_words = None
            cell.closed()
            self.bow_out(cell)

    def kill(self, cell: Cell[Any]) -> None:
        """End `cell` for the world at once, even while an earlier end of it is under way. Its children end after it."""
        if cell.stage == DEAD:
            return
        cell.free = False
        cell.reason = Killed()
        cell.last_words = None
        cell.closed()
        if cell.task is not None:
            cancel(cell.task)  # abandoned if it does not obey: nobody waits for it
            self.outlasts(cell, cell.task)
            cell.task = None
        if cell.stage < LEAVING:
            self._free(cell)
        self._announce(cell)
        self._end_next_child(cell)

    def crashed(self, cell: Cell[Any], message: object, error: BaseException) -> None:
        """A handler, hook or background task of `cell` raised."""
        if cell.stage != ALIVE:
            return
        failure, crashes = Failure.of(error), self._scheduler.system.crashes
        if cell.kind.failure_rule == "pykka":
            crashes.note(cell, message, error, failure, log=False)  # Pykka's own report is the next line's
            self.close(cell, failure, report_end(cell, error))
            self._cut_short(cell)
            return
        crashes.note(cell, message, error, failure)
        self.close(cell, failure, error)
        self._cut_short(cell)

    def crashed_aside(self, cell: Cell[Any], work: object, error: BaseException) -> None:
        """A background task of `cell` raised: a handler that runs at the same time is cancelled."""
        handler = cell.task
        if cell.stage == ALIVE:
            self.crashed(cell, work, error)
            self._interrupt(cell, handler)

    def failed_aside(self, cell: Cell[Any], entry: Any, error: BaseException) -> None:
        """A reentrant handler of `cell` raised. If a stop waits for it, that ends as a failure after all."""
        message = entry.message if entry.__class__ is Envelope else entry
        if survives(cell, entry, error):
            end_request(cell, entry, error)
        elif cell.stage == ALIVE:
            self.crashed_aside(cell, message, error)
        elif cell.stage == CLOSED and cell.last_words is not None and not isinstance(error, asyncio.CancelledError):
            cell.reason, cell.last_words = Failure.of(error), error  # while it stopped
            self._scheduler.system.crashes.note(cell, message, error, cell.reason)
            self._cut_short(cell)

    def close(self, cell: Cell[Any], reason: ExitReason, last_words: BaseException | ExitReason) -> None:
        """End `cell` for the world. The hook gets `last_words`: an exception (`on_failure`) or a reason (`on_stop`)."""
        if cell.stage != ALIVE:
            return
        cell.stage = CLOSED
        cell.free = False
        cell.reason = reason
        cell.last_words = last_words
        cell.closed()
        if cell.task is None:
            self._scheduler.signal(self.bow_out, (cell,))

    # --- the way out ---

    def bow_out(self, cell: Cell[Any]) -> None:
        """The handler at hand has ended, the reentrant ones are ending: the hook, then everything else."""
        if cell.stage != CLOSED or cell.task is not None:
            return
        under_way = cell.bonds.under_way if cell.bonds is not None else None
        if under_way and not all(task.done() for task in under_way):
            cell.task = self._scheduler.loop.create_task(
                self._see_out(cell, tuple(under_way)), context=self._scheduler.neutral_context()
            )
            return
        self._run_hook(cell)

    async def _see_out(self, cell: Cell[Any], handlers: tuple[asyncio.Task[None], ...]) -> None:
        """Wait for reentrant handlers: a stop lets them finish in its time, any other end has cancelled them already."""
        actor = cell.actor
        try:
            await asyncio.wait(handlers, timeout=actor.stop_timeout if actor is not None else 0.0)
            self._cut_short(cell)
            _, stubborn = await asyncio.wait(handlers, timeout=CANCEL_GRACE)
            for _ in stubborn:
                logger.error("a reentrant handler of %r ignores its cancellation: abandoned", cell)
        finally:
            if cell.stage == CLOSED:  # else it was killed meanwhile
                cell.task = None
                self._scheduler.signal(self._run_hook, (cell,))

    def _cut_short(self, cell: Cell[Any]) -> None:
        if cell.bonds is not None and cell.bonds.under_way:
            for task in tuple(cell.bonds.under_way):
                task.cancel()

    def _run_hook(self, cell: Cell[Any]) -> None:
        if cell.stage != CLOSED:
            return
        actor = cell.actor
        last_words, cell.last_words = cell.last_words, None
        hook = actor._last_hook(last_words) if actor is not None and last_words is not None else None
        if actor is None or hook is None:
            self._clear_out(cell)
            return
        try:
            slow = actor._run_last_hook(hook)
        except BaseException as error:  # noqa: BLE001 - a failing hook must not stop the funeral
            self._hook_failed(cell, error)
        else:
            if slow.__class__ is CoroutineType:
                timeout = actor.stop_timeout
                bounded = self._slow_hook(cell, cast("Coroutine[Any, Any, Any]", slow), timeout)
                cell.task = self._scheduler.loop.create_task(bounded, context=self._scheduler.context_of(cell))
                if timeout is not None:
                    self._abandon_later(cell, cell.task, timeout + CANCEL_GRACE)
                return
        self._clear_out(cell)

    async def _slow_hook(self, cell: Cell[Any], hook: Coroutine[Any, Any, Any], timeout: float | None) -> None:
        if cell.stage != CLOSED:  # it was killed before this task began
            hook.close()
            return
        limit = asyncio.timeout(None)
        try:
            async with limit:
                if timeout is not None:  # a timer that is cancelled keeps its context for as long as it would have run
                    due = self._scheduler.loop.time() + timeout
                    self._scheduler.neutral_context().run(limit.reschedule, due)
                await hook
        except BaseException as error:  # a failing hook must not stop the funeral
            if closed_under(cell, error):
                raise
            if cell.stage == CLOSED:
                late = limit.expired() and isinstance(error, TimeoutError)
                self._hook_failed(cell, _too_late(cell, timeout) if late else error)
        finally:
            cell.task = None
            if cell.stage == CLOSED:
                self._scheduler.signal(self._clear_out, (cell,))

    def _hook_failed(self, cell: Cell[Any], error: BaseException) -> None:
        if cell.kind.failure_rule == "pykka":
            unhandled(cell, error)
        else:
            logger.error("the last hook of %r failed: %s", cell, masked(str(Failure.of(error))))
        if not isinstance(cell.reason, Failure):
            cell.reason = Failure.of(error)

    def _interrupt(self, cell: Cell[Any], handler: asyncio.Task[Any] | None) -> None:
        if handler is not None:
            cancel(handler)
            self._abandon_later(cell, handler, CANCEL_GRACE)

    def _abandon_later(self, cell: Cell[Any], task: asyncio.Task[Any], patience: float) -> None:
        neutral = self._scheduler.neutral_context()
        timer = self._scheduler.loop.call_later(patience, self._abandon, cell, task, context=neutral)
        task.add_done_callback(lambda _: timer.cancel())

    def _abandon(self, cell: Cell[Any], task: asyncio.Task[Any]) -> None:
        if cell.stage == CLOSED and cell.task is task and not task.done():
            logger.error("%r ignores its cancellation: abandoned", cell)
            self.outlasts(cell, task)
            cell.task = None
            self._clear_out(cell)

    def _clear_out(self, cell: Cell[Any]) -> None:
        """Free what it held, answer who waits, end its children."""
        if cell.stage < LEAVING:
            self._free(cell)
            self._end_next_child(cell)

    def _free(self, cell: Cell[Any]) -> None:
        cell.stage = LEAVING
        bonds = cell.bonds
        if bonds is not None:
            if bonds.name is not None:
                self._scheduler.system.release(bonds.name, cell)
            if bonds.joined or bonds.watching:
                self._scheduler.system.groups.forget(cell)
            if bonds.timers:
                for timer in tuple(bonds.timers):
                    timer.cancel()
            if bonds.patience is not None:
                bonds.patience.cancel()
            if bonds.tasks:
                for task in tuple(bonds.tasks):
                    cancel(task)
            self._cut_short(cell)
        assert cell.reason is not None, "a closed cell has its reason"
        if bonds is not None and bonds.owed:
            for later in tuple(bonds.owed):
                later.fail(ActorDied(cell.reason, repr(cell)))
        if bonds is not None and bonds.under_way:
            for entry in tuple(bonds.under_way.values()):
                if entry.__class__ is Envelope and entry.reply is not None:
                    entry.reply.fail(ActorDied(cell.reason, repr(cell)))
        at_hand = cell.at_hand()
        if at_hand is not None and at_hand.reply is not None:
            if at_hand.message.__class__ is StopRequest:
                at_hand.reply.set(True)
            else:
                at_hand.reply.fail(ActorDied(cell.reason, repr(cell)))
        cell.envelope = None
        self.bury(cell)

    def _end_next_child(self, cell: Cell[Any]) -> None:
        children = cell.bonds.children if cell.bonds is not None else None
        if children:
            child, linked = children.popitem()  # the last one: a look at it would walk over all that have gone
            children[child] = linked
            self._scheduler.signal(self.dismiss, (child, Shutdown("its parent ended")))
            return  # its departure brings us back
        if cell.stage == LEAVING:
            self._announce(cell)
        self._depart(cell)

    def _announce(self, cell: Cell[Any]) -> None:
        """It is over for the world: tell whoever is tied to it."""
        reason, bonds = cell.reason, cell.bonds
        assert reason is not None, "a closed cell has its reason"
        cell.stage = DEAD
        cell.actor = None
        cell.receive = None
        cell.context = None
        cell.laid_to_rest()
        self.bury_late(cell)
        self._scheduler.ages.forget(cell)
        hooks = self._scheduler.system.hooks
        if hooks.wants(Ended):
            hooks.emit(Ended(cell, cell.kind.__name__, bonds.name if bonds is not None else None, reason))
        if cell.parent is None and (bonds is None or not (bonds.links or bonds.watchers)):
            self._scheduler.system.unattended(cell, reason)
        if bonds is None:
            return
        if bonds.tasks or bonds.under_way:
            for task in (*bonds.tasks, *bonds.under_way):
                self.outlasts(cell, task)
        links, watchers, monitors = bonds.links, bonds.watchers, bonds.monitors
        if bonds.name is not None or bonds.children:  # the name stays, for whoever reads a report
            bonds.loosen()
        else:
            cell.bonds = None
        signal = self._scheduler.signal  # one signal each: whoever cannot be told does not keep the others from it
        for ref in links:
            signal(ref._linked_exit, (cell, reason))
        for token, watcher in watchers:
            signal(watcher.down, (token, cell, reason))
        for token, monitor in monitors.items():
            signal(monitor.ref._demonitor, (token, cell))

    def outlasts(self, cell: Cell[Any], task: asyncio.Task[Any]) -> None:
        """The actor is gone, and this code of it was cancelled: note it until it has ended."""
        if not task.done():
            self.outlasting[task] = cell
            task.add_done_callback(lambda _: self.outlasting.pop(task, None))

    def _depart(self, cell: Cell[Any]) -> None:
        """Nothing of it is left, its children included: make room. Two children that depart at once may bring it here twice."""
        parent = cell.parent
        if parent is None:
            self._scheduler.system.forget(cell)
        elif parent.bonds is not None and (linked := parent.bonds.children.pop(cell, None)) is not None:
            if parent.stage >= LEAVING:
                self._scheduler.signal(self._end_next_child, (parent,))
            elif linked:
                assert cell.reason is not None, "a closed cell has its reason"
                self._scheduler.signal(self.exit_signal, (parent, cell, cell.reason))

    # --- what is left ---

    def bury(self, cell: Cell[Any]) -> None:
        """Answer the requests and count the messages that a dead actor's stash and mailbox still hold."""
        stashed = cell.bonds.stashed if cell.bonds is not None else None
        while stashed:
            try:
                item = stashed.popleft()
            except IndexError:  # as below
                break
            self.bury_one(cell, item)
        if isinstance(cell.mailbox, BoundedMailbox):
            cell.mailbox.close()
        while cell.mailbox:
            try:
                item = cell.mailbox.popleft()
            except IndexError:  # a thread actor's thread was faster, and buries it
                return
            self.bury_one(cell, item)

    def bury_one(self, cell: Cell[Any], item: Any) -> None:
        """Answer or count one entry that will not be handled."""
        if item.__class__ is not Envelope:
            self.dead_letter(cell, item, DEAD_LETTER)
        elif item.reply is None:
            if item.ticket is None or item.ticket.active:
                self.dead_letter(cell, item.message, DEAD_LETTER)
        elif item.message.__class__ is StopRequest:
            item.reply.set(False)
        else:
            reason = cell.reason if cell.reason is not None and cell.stage != DEAD else NoProc()
            item.reply.fail(ActorDied(reason, repr(cell)))

    def bury_late(self, cell: Cell[Any]) -> None:
        """Bury what came after the end. Idle first, so that whatever comes after this look brings us back."""
        cell.idle = True
        if cell.mailbox or (cell.bonds is not None and cell.bonds.stashed):
            self.bury(cell)

    def bury_what_came_late(self) -> None:
        """The system is down: whatever still arrives is a dead letter."""
        ready = self._scheduler.ready
        while ready:
            self.bury_late(ready.popleft())

    def dead_letter(self, target: ActorRef[Any], message: Any, reason: str) -> None:
        """Count a message that nobody handled."""
        self._scheduler.system.dead_letters.add(DeadLetter(target, cast("object", message), reason))


def _too_late(cell: Cell[Any], timeout: float | None) -> TimeoutError:
    what = "the handler at hand and its last hook" if cell.threaded else "its last hook"
    return TimeoutError(f"{what} took longer than its stop_timeout of {timeout} s")


def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel code at its await. One that has not begun is left its first step: it could not clean up before that."""
    if inspect.getcoroutinestate(cast("CoroutineType[Any, Any, Any]", task.get_coro())) == inspect.CORO_CREATED:
        task.get_loop().call_soon(task.cancel)
    else:
        task.cancel()
