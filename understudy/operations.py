"""The commands of whoever runs a cluster: `understudy status`, `tree`, `drain`, `leave`, `fence`.

All of them speak to a node of this machine through the window of its process, and that one with the others over its links. So any
node of the cluster is reached through any node of the same user here.

Exit status: 0 done; 1 it could not be: nobody here, no such node, no answer, refused; 2 command line; 3 not all in its time.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import aclosing, suppress
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.live import Live

from understudy.app import run
from understudy.control import ask, everybody, processes, windows
from understudy.desk import OVERDUE
from understudy.overview import draw_cluster, drawn
from understudy.tree import Process, draw

FAILED, LATE = 1, 3

WATCH_EVERY = 1.0
"""Seconds between two looks of `status --watch`."""

OTHERS = 1.5
"""Seconds that the other nodes of this machine have to answer once one has: any of them can speak for the cluster. One that does not
answer that one either is not waited for."""

ENDS_WITHIN = 30.0
"""Seconds that a process has to end after it has spoken last."""

VIA = click.option(
    "--via", metavar="NODE", help="The node of this machine to ask, if there are nodes of several clusters."
)
TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the node has to hand over what it has.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


@click.command("status")
@VIA
@JSON
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
def status_command(via: str | None, as_json: bool, watch: bool) -> None:
    """Show the cluster as a node of this machine sees it: who is there, why one is unreachable, and what will happen next."""
    _run(_watch(via, as_json) if watch else _status(via, as_json))


@click.command("tree")
@click.argument("which", metavar="[NAME|PID|NODE]", required=False)
@VIA
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON: a list of processes.")
@click.option("--all", "everything", is_flag=True, help="Do not fold away long rows of children that simply run.")
def tree_command(which: str | None, via: str | None, as_json: bool, everything: bool) -> None:
    """Show the live tree of your applications and nodes on this machine, or of any node of the cluster."""
    _run(_tree(which, via, as_json, everything))


@click.command("drain")
@click.argument("node")
@VIA
@TIMEOUT
def drain_command(node: str, via: str | None, timeout: float) -> None:
    """Have NODE hand over what it has: it takes no new names, runs or clients, and empties its mailboxes. It stays a member.

    Exit status: 0 drained, 1 it could not be asked, 3 something was left when the time was up.
    """
    _run(_wind("drain", node, via, timeout))


@click.command("leave")
@click.argument("node")
@VIA
@TIMEOUT
def leave_command(node: str, via: str | None, timeout: float) -> None:
    """Drain NODE, and then end its process, which leaves the cluster in order.

    Exit status: 0 it has left, 1 it could not be asked, or did not leave in order, 3 something was left when the time was up.
    """
    _run(_wind("leave", node, via, timeout))


@click.command("fence")
@click.argument("node")
@VIA
@click.option("--reason", default="an operator has declared it dead", show_default=True, help="What everybody is told.")
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
def fence_command(node: str, via: str | None, reason: str, yes: bool) -> None:
    """Declare NODE dead, in the table, without waiting for the votes of the others.

    Its names are free at once, and higher fences keep out whatever it still writes; if it lives, it stops when it reads of its
    death. For a node that is certainly gone, or does harm. Exit status: 0 it is dead, 1 it could not be, or was not meant.
    """
    _run(_fence(node, via, reason, yes))


# --- what they do ---


class _Failed(Exception):
    def __init__(self, text: str, status: int = FAILED) -> None:
        super().__init__(text)
        self.status = status


def _run(main: Any) -> NoReturn:
    try:
        run(main)
    except _Failed as failed:
        click.echo(f"Error: {failed}", err=True)
        sys.exit(failed.status)
    except OSError as error:
        click.echo(f"Error: {error.strerror or error}", err=True)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


async def _clusters(via: str | None) -> dict[int, dict[str, Any]]:
    """What the nodes of this machine see, by their processes; only `via`, if it is given. At least one."""

    def is_meant(answer: Mapping[str, Any]) -> bool:
        return "result" in answer and via in (None, answer["result"]["seen_by"])

    def spoken_for(answer: Mapping[str, Any]) -> list[int]:
        return _neighbours(answer["result"], via is not None) if is_meant(answer) else []

    answers, silent = await everybody({"ask": "status"}, patience=OTHERS, spoken_for=spoken_for)
    views = {pid: answer["result"] for pid, answer in answers.items() if is_meant(answer)}
    if views:
        return views
    held = f"; process {silent[0]} does not answer: something holds its event loop" if silent else ""
    called = f" called {via!r}" if via is not None else ""
    raise _Failed(f"no node{called} of this user is running on this machine{held}")


def _neighbours(view: Mapping[str, Any], everyone: bool) -> list[int]:
    """The processes of the same machine that are members too: those that do not answer that node, or everyone."""
    rows = view["members"]
    hosts = {_host(row) for row in rows if row["state"] == "here"}
    return [row["pid"] for row in rows if _host(row) in hosts and (everyone or row["state"] not in ("up", "here"))]


def _host(row: Mapping[str, Any]) -> str:
    return str(row["address"]).rpartition(":")[0]


def _distinct(views: Mapping[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """One view of each cluster: a node that another one sees as a member belongs to the same."""
    chosen: list[dict[str, Any]] = []
    known: set[tuple[str, int]] = set()
    for view in views.values():
        me = next(((row["node"], row["incarnation"]) for row in view["members"] if row["state"] == "here"), None)
        if me not in known:
            chosen.append(view)
            known.update((row["node"], row["incarnation"]) for row in view["members"] if row["state"] in ("up", "here"))
    return chosen


async def _status(via: str | None, as_json: bool) -> None:
    views = _distinct(await _clusters(via))
    if as_json:
        click.echo(json.dumps(views, indent=2))
    else:
        draw_cluster(views, Console(highlight=False))


async def _watch(via: str | None, as_json: bool) -> None:
    if as_json or not sys.stdout.isatty():
        while True:
            await _status(via, as_json)
            await asyncio.sleep(WATCH_EVERY)
    with Live(console=Console(highlight=False), screen=True, auto_refresh=False) as live:
        while True:
            try:
                shown = drawn(_distinct(await _clusters(via)))
            except _Failed as failed:
                shown = str(failed)
            live.update(shown, refresh=True)
            await asyncio.sleep(WATCH_EVERY)


async def _tree(which: str | None, via: str | None, as_json: bool, everything: bool) -> None:
    shown, silent = await processes()
    if via is not None:
        shown, silent = [], []
    elif which is not None:
        shown = [process for process in shown if which in (process["name"], str(process["pid"]))]
        silent = [pid for pid in silent if which == str(pid)]
    if not shown and not silent and which is not None:
        shown = await _tree_elsewhere(which, via)
    if as_json:
        click.echo(json.dumps(shown, indent=2))
    elif shown:
        draw(shown, Console(highlight=False), everything=everything)
    elif not silent:
        raise _Failed("no application of yours is running: `understudy start` runs one")
    for pid in silent:
        click.echo(f"process {pid} does not answer: something holds its event loop", err=True)
    if silent:
        sys.exit(FAILED)


async def _tree_elsewhere(node: str, via: str | None) -> list[Process]:
    try:
        pid, _ = await _through(node, via)
    except _Failed:
        if via is not None:
            raise
        raise _Failed(
            f"no application of yours called {node} is running on this machine, and no node here has a member of that name"
        ) from None
    return [await _result(pid, {"ask": "tree", "node": node})]


async def _through(node: str, via: str | None) -> tuple[int, dict[str, Any]]:
    """The process of this machine to ask, and what it sees of that node: another one, if there is one, since that one may end."""
    views = await _clusters(via)
    found = [
        (view["seen_by"] == node, pid, row)
        for pid, view in views.items()
        for row in view["members"]
        if row["node"] == node and row["state"] not in ("left", "dead")
    ]
    if not found:
        there = sorted(
            {row["node"] for view in views.values() for row in view["members"] if row["state"] in ("here", "up")}
        )
        raise _Failed(f"there is no node {node!r} in the cluster; there are: {', '.join(there)}")
    if len({row["incarnation"] for _, _, row in found}) > 1:
        raise _Failed(f"there are nodes {node!r} in several clusters here: say with --via which of them is meant")
    _, pid, row = min(found, key=lambda each: (each[0], each[1]))
    return pid, row


async def _result(pid: int, request: Mapping[str, Any]) -> Any:
    answer: dict[str, Any] = {}
    async with aclosing(ask(pid, request)) as lines:
        async for answer in lines:
            if "progress" in answer:
                _progress(answer["progress"])
    if "error" in answer:
        raise _Failed(answer["error"], LATE if answer["code"] == OVERDUE else FAILED)
    return answer.get("result")


async def _wind(what: str, node: str, via: str | None, timeout: float) -> None:
    pid, _ = await _through(node, via)
    result = await _result(pid, {"ask": what, "node": node, "timeout": timeout})
    if result is None and what == "drain":
        raise _Failed(f"the process {pid} ended before it said how it went")
    if result is None and not await _ended(pid):
        raise _Failed(f"the process {pid} was to end, and has not after {ENDS_WITHIN:.0f} s", LATE)
    click.echo(
        f"{node} is drained: it takes nothing new, and is a member still" if what == "drain" else f"{node} has left"
    )


async def _ended(pid: int) -> bool:
    """It was the node itself that was asked: it has left when its window is closed."""
    with suppress(TimeoutError):
        async with asyncio.timeout(ENDS_WITHIN):
            while pid in windows():  # noqa: ASYNC110 - a file of another process tells nobody that it is gone
                await asyncio.sleep(0.05)
    return pid not in windows()


_said: list[str] = []


def _progress(far: Mapping[str, Any]) -> None:
    """A line whenever something has changed."""
    line = f"{far['phase']}: {_number(far['names'], 'name')} and {_number(far['placed'], 'placed actor')} here"
    if far["phase"] == "stopping":  # and nobody there counts any more
        line = "stopping"
    if not _said or _said[-1] != line:
        _said.append(line)
        click.echo(line)


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


async def _fence(node: str, via: str | None, reason: str, yes: bool) -> None:
    pid, row = await _through(node, via)
    if row["state"] == "here":
        others = "" if via is None else " through this one"
        raise _Failed(f"{node} does not declare itself dead{others}: `understudy leave {node}` ends it in order")
    if not yes:
        seen = "It answers, and will stop" if row["state"] == "up" else f"It does not answer: {row['why']}"
        click.echo(f"{node} (incarnation {row['incarnation']}, {row['address']}). {seen}.")
        if not click.confirm("Declare it dead?"):
            raise _Failed("nothing was done")
    request = {"ask": "fence", "node": node, "incarnation": row["incarnation"], "reason": reason}
    await _result(pid, request)
    click.echo(f"{node} is dead: {reason}")
