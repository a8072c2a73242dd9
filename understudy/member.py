"""An application on a node of a cluster, as a process: `understudy node NAME [MODULE:ATTRIBUTE]`.

    find it ──> join ──> start its root ──> "ready" ──> wait ──> drain ──> end the tree ──> leave ──> exit status
       │ 3       │ 8          │ 4, 5                     │ 6, 9                │ 7
       │         └ name taken, keys, no way there        └ the root gave up, or the others put the node out
       └ nothing there

What it shares with `understudy start` is there: how the root is found, started and ended, and what ends the process when
nothing else does. While the table is away, joining waits for it. SIGTERM, and whoever says `understudy leave`, drains first;
a second signal ends it at once.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any

from understudy.actors import ActorRef, UnderstudyError
from understudy.app import Requests, run, settle
from understudy.application import LastDeadline, ServiceManager, announce, end, opened, verdict
from understudy.control import Control
from understudy.health import Health
from understudy.secrets import hidden, keep
from understudy.settings import Mistakes, Settings
from understudy.status import Status, complain
from understudy.supervisors import GaveUp
from understudy.target import Unfit, find
from understudy.transport import Node, TableUnavailable

logger = logging.getLogger("understudy.app")

AGAIN = 2.0
"""Seconds between two attempts to join while the table is away."""


def host(
    settings: Settings,
    *,
    configure: Callable[[], Callable[[int], None]],
    supervised: bool = False,
) -> int:
    """Run the node until it ends or is told to; returns its exit status. For the main thread of a process.

    `configure` is called once the user's modules are imported; what it returns, once the node has its incarnation.
    `supervised`: it ends with standard input, too.
    """
    found = None
    if settings.application is not None:
        try:
            found = find(settings.application)
        except Unfit as unfit:
            return unfit.report()
    return run(_Member(settings, found, configure(), supervised).run())


class _Member:
    """One life of a node, as a process."""

    def __init__(self, settings: Settings, found: object, joined: Callable[[int], None], supervised: bool) -> None:
        assert settings.name is not None, "the command line asks for it"
        self._settings = settings
        self._name = settings.name
        self._found = found
        self._joined_as = joined
        self._supervised = supervised
        self._manager = ServiceManager()
        self._given_up: ActorRef[Any] | None = None
        self._stop: asyncio.Future[str]
        self._drain_timeout = settings.drain_timeout
        self._health = Health(self._name)
        self._last = LastDeadline(None, settings.drain_timeout + settings.shutdown_timeout)

    async def run(self) -> int:
        """Join, start, wait, leave; returns the exit status."""
        self._stop = asyncio.get_running_loop().create_future()
        with Requests(self._stop, supervised=self._supervised, hurry=self._last.begin):
            try:
                await self._health.start(self._settings.health)
            except OSError as error:
                complain(str(error))
                return Status.NOT_JOINED
            try:
                return await self._lived()
            finally:
                await self._health.stop()

    async def _lived(self) -> int:
        node = await self._joined()
        if isinstance(node, Status):
            return node
        self._last.system = node.system
        self._joined_as(node.incarnation)
        control = Control(
            self._name,
            node.system,
            "starting",
            node=node,
            leave=self._asked,
            application=self._settings.application or "",
            health=self._health.url,
        )
        self._health.node, self._health.phase = node, lambda: control.phase
        async with control:
            try:
                status = await self._live(node, control)
                if node.put_out:  # and whatever ran on it has ended for that
                    complain(f"{node.name} is out of the cluster: {node.put_out}")
                    status = Status.PUT_OUT
            finally:
                self._manager.tell("STOPPING=1")
                self._last.begin()
                ended = await self._leave(node, control)
        return status or (Status.ENDED if ended else Status.OVERDUE)

    # --- joining ---

    async def _joined(self) -> Node | Status:
        while True:
            try:
                node = self._node()
                starting = asyncio.create_task(node.start())
                await asyncio.wait((starting, self._stop), return_when=asyncio.FIRST_COMPLETED)
                if not starting.done():
                    logger.info("%s: stopping before it has joined", self._stop.result())
                    await node.stop()
                    await asyncio.wait((starting,))
                    return Status.ENDED
                starting.result()
                return node
            except (
                TableUnavailable,
                Mistakes,
            ) as error:  # a secret that was there may be on its way: files are replaced
                logger.warning("%s waits for the table: %s", self._name, error)
                self._health.trouble = hidden(str(error))
            except (UnderstudyError, OSError, ValueError) as error:
                complain(hidden(f"{self._name} did not join: {error}"))
                return Status.NOT_JOINED
            await asyncio.wait((self._stop,), timeout=AGAIN)
            if self._stop.done():
                return Status.ENDED

    def _node(self) -> Node:
        settings = self._settings
        more: dict[str, Any] = {}
        if (url := settings.table_url()) is not None:
            keep(url)  # a file may say something else than at the last try
            more["table"] = url
        for name in ("tags", "capacity"):
            if value := getattr(settings, name):
                more[name] = value
        return Node(
            self._name,
            listen=settings.listen,
            state=settings.state_folder(),
            join=settings.join,
            keys=settings.keys,
            token=settings.join_token() if settings.join is not None else None,
            roles=settings.roles,
            probe_interval=settings.probe_interval,
            probe_misses=settings.probe_misses,
            blocked_after=settings.blocked_after,
            sweep_after=settings.sweep_after,
            **more,
        )

    # --- between ---

    async def _live(self, node: Node, control: Control) -> Status:
        node.system.hooks.subscribe(GaveUp, self._gave_up)
        root: ActorRef[Any] | None = None
        if self._found is not None:
            opening = asyncio.create_task(self._opened(node))
            await asyncio.wait((opening, self._stop), return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                logger.info("%s: stopping before everything has started", self._stop.result())
                opening.cancel()
                await asyncio.wait((opening,), timeout=self._settings.shutdown_timeout / 2)
                return Status.ENDED
            outcome = opening.result()
            if isinstance(outcome, Status):
                return outcome
            root = outcome
        control.phase = "running"
        others = ", ".join(row.node for row in node.members() if row.status == "active" and row.node != node.name)
        logger.info("%s at %s is in the cluster with %s", node.name, node.address, others or "nobody yet")
        announce(f"ready {node.name} {node.address} process {os.getpid()}")
        self._manager.tell("READY=1")
        return await self._wait(node, root)

    async def _opened(self, node: Node) -> ActorRef[Any] | Status:
        assert self._settings.application is not None, "there is something to start"
        return await opened(self._settings.application, self._found, node.system, (node, self._settings))

    async def _wait(self, node: Node, root: ActorRef[Any] | None) -> Status:
        out = asyncio.create_task(node.ended())
        ends: list[asyncio.Future[Any]] = [self._stop, out]
        if root is not None:
            ends.append(asyncio.create_task(root.ended()))
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for each in ends[1:]:
            if not each.done():
                each.cancel()
        if node.put_out or out.done():
            return Status.ENDED
        if self._stop.done():
            patience = self._drain_timeout + self._settings.shutdown_timeout
            logger.info("%s: leaving, within %s s", self._stop.result(), patience)
            return Status.ENDED
        return verdict(str(self._settings.application), ends[2].result(), root == self._given_up)

    def _gave_up(self, event: GaveUp) -> None:
        self._given_up = event.supervisor  # the last one to give up before the root's end is the root, if it did

    # --- leaving ---

    def _asked(self, timeout: float, why: str) -> None:
        """An operator asks it to leave."""
        self._drain_timeout = timeout
        self._last.begin(timeout - self._settings.drain_timeout)
        settle(self._stop, why)

    async def _leave(self, node: Node, control: Control) -> bool:
        """Whether everything ended in its time."""
        if control.phase in ("running", "drained", "draining") and not node.put_out:
            await control.drain(max(0.0, self._drain_timeout - self._last.spent()))
            if control.left:
                logger.warning("%s leaves, and has not handed over everything: %s", node.name, control.left)
        control.phase = "stopping"
        ended = await end(node.system, self._settings.shutdown_timeout)
        await node.stop()
        return ended
