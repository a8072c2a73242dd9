"""The live tree of a system: what every actor is, how often it was restarted and how it last ended.

    look(system) ──> rows, plain data ──> JSON ──> draw(processes) ──> the terminal

A supervisor is asked for its children (`WhichChildren`), so that one which is stopped, or waits to be started again, has its
place too. All are asked at the same time: however many do not answer, a look takes PATIENCE. All others are seen from outside,
while they go on.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypedDict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from understudy.actors import ActorDied, ActorRef, ActorSystem, CallError, Cell, Info
from understudy.supervisors import ChildInfo, OsProcess, ProcessStatus, Supervisor, WhichChildren

PATIENCE = 1.0
"""Seconds that one actor has to answer; a supervisor that starts a child, or waits for one to end, may not."""

TURN = 200
"""Actors after which the event loop gets its turn."""

FOLDED = 20
"""Children of one supervisor that are shown, besides those that are not simply running."""


class Row(TypedDict):
    """One actor, or the place of one.

    `state`: running, starting, suspended or ending; of a place that nobody fills: restarting, stopped, or held (it failed too
    often); of a supervisor: degraded, if it holds a child down, and silent if it does not answer. `waiting`: messages in its
    mailbox. `pid`: of the process that it is, or None. What only a supervisor knows is None or 0 for others.
    """

    id: str
    cls: str
    state: str
    restart: str | None
    restarts: int
    last_exit: str | None
    waiting: int
    pid: int | None
    children: "list[Row]"


class Process(TypedDict):
    """One process. `phase`: starting, running or stopping. `up`: seconds since it began."""

    name: str
    pid: int
    phase: str
    up: float
    children: list[Row]


async def look(system: ActorSystem) -> list[Row]:
    """The top-level actors of `system`, each with all below it."""
    view = _Look(system)
    await view.ask()
    return await view.rows(actor for actor in system.actors() if _parent(system, actor) is None)


class _Look:
    """One look at one system."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self._seen = 0
        self._asked: dict[ActorRef[Any], asyncio.Task[Any]] = {}

    async def ask(self) -> None:
        """Ask whoever has something to say, all at once. It is over when each has answered, or had its time."""
        for actor in self._system.actors():
            await self._breathe()
            if (question := self._question(actor)) is not None:
                self._asked[actor] = asyncio.create_task(_answer(actor, question()))
        if self._asked:
            await asyncio.wait(self._asked.values())

    def _question(self, actor: ActorRef[Any]) -> Callable[[], Any] | None:
        kind = actor.kind if isinstance(actor, Cell) else object
        question = (
            WhichChildren if issubclass(kind, Supervisor) else ProcessStatus if issubclass(kind, OsProcess) else None
        )
        if question is None:
            return None
        try:
            return question if _state(self._system.info(actor)) == "running" else None
        except ActorDied:
            return None

    async def _breathe(self) -> None:
        self._seen += 1
        if self._seen % TURN == 0:
            await asyncio.sleep(0)

    async def rows(self, actors: Iterable[ActorRef[Any]]) -> list[Row]:
        return [row for actor in actors if (row := await self._row(actor, None)) is not None]

    async def _row(self, actor: ActorRef[Any], place: ChildInfo | None) -> Row | None:
        """An actor, and the place that its supervisor says it has; None: it has ended meanwhile."""
        await self._breathe()
        try:
            info = self._system.info(actor)
        except ActorDied:
            return None if place is None else _vacant(place, "ending")
        state = _state(info)
        places: list[ChildInfo] | None = None
        pid = None
        if state == "running" and (asked := self._asked.get(actor)) is not None:
            answer = asked.result()
            if isinstance(answer, dict):
                pid = answer.get("pid")
            elif answer is not None:
                places = answer
                state = "degraded" if any(each.state == "held" for each in answer) else state
            elif isinstance(actor, Cell) and issubclass(actor.kind, Supervisor):
                state = "silent"
        return Row(
            id=place.id if place is not None else info.name or _short(info.cls),
            cls=_short(info.cls),
            state=state,
            restart=place.restart if place is not None else None,
            restarts=info.restarts if place is None else place.restarts,
            last_exit=None if place is None or place.last_exit is None else str(place.last_exit),
            waiting=info.mailbox,
            pid=pid,
            children=await self._below(info, places),
        )

    async def _below(self, info: Info, places: list[ChildInfo] | None) -> list[Row]:
        if places is None:
            return await self.rows(info.children)
        # One on another node is seen whole in the tree of that node.
        rows = [
            await self._row(place.ref, place) if isinstance(place.ref, Cell) else _vacant(place) for place in places
        ]
        known = {place.ref for place in places}
        others = await self.rows(child for child in info.children if child not in known)
        return [*(row for row in rows if row is not None), *others]


def _state(info: Info) -> str:
    return info.state if info.state in ("starting", "suspended", "ending") else "running"


async def _answer(actor: ActorRef[Any], question: Any) -> Any:
    try:
        return await actor.call(question, timeout=PATIENCE)
    except CallError:
        return None


def _parent(system: ActorSystem, actor: ActorRef[Any]) -> ActorRef[Any] | None:
    try:
        return system.info(actor).parent
    except ActorDied:
        return actor  # it has just ended, and is nobody's root


def _vacant(place: ChildInfo, state: str | None = None) -> Row:
    """A place of which no more can be seen here than its supervisor knows."""
    return Row(
        id=place.id if place.node is None else f"{place.id} on {place.node}",
        cls=_short(place.cls),
        state=state or place.state,
        restart=place.restart,
        restarts=place.restarts,
        last_exit=None if place.last_exit is None else str(place.last_exit),
        waiting=0,
        pid=None,
        children=[],
    )


def _short(cls: str) -> str:
    return cls.rpartition(".")[2]


# --- drawing ---

STYLES = {
    "running": "green",
    "restarting": "yellow",
    "starting": "yellow",
    "degraded": "red",
    "held": "red",
    "silent": "red",
}

GUIDES = ("│  ", "├─ ", "└─ ", "   ")
PLAIN_GUIDES = ("|  ", "|- ", "`- ", "   ")


def draw(processes: Sequence[Process], console: Console, *, everything: bool = False) -> None:
    """Print them: in colours and cut to the width of a terminal, or whole lines of plain text to anything else."""
    if not console.is_terminal:
        console.width = 10_000
    guides = PLAIN_GUIDES if console.options.ascii_only else GUIDES
    for number, process in enumerate(processes):
        if number:
            console.print()
        title = Text.assemble(
            (process["name"], "bold"), f"  process {process['pid']}  {process['phase']}, up {span(process['up'])}"
        )
        console.print(title, soft_wrap=True)
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("child", no_wrap=True, overflow="ellipsis")
        table.add_column("class", no_wrap=True, overflow="ellipsis")
        table.add_column("state", no_wrap=True)
        table.add_column("restarts", justify="right", no_wrap=True)
        table.add_column("waiting", justify="right", no_wrap=True)
        table.add_column("last exit", no_wrap=True, overflow="ellipsis")
        for lead, row in _lines(process["children"], guides, everything):
            table.add_row(*_cells(lead, row))
        console.print(table)


def _lines(
    rows: Sequence[Row], guides: Sequence[str], everything: bool, lead: str = ""
) -> Iterator[tuple[str, Row | int]]:
    """Each row with what stands before its name; a number stands for so many that are folded away."""
    shown = list(rows) if everything else _unfolded(rows)
    hidden = len(rows) - len(shown)
    for number, row in enumerate(shown, 1):
        last = number == len(shown) and not hidden
        yield lead + guides[2 if last else 1], row
        yield from _lines(row["children"], guides, everything, lead + guides[3 if last else 0])
    if hidden:
        yield lead + guides[2], hidden


def _unfolded(rows: Sequence[Row]) -> list[Row]:
    if len(rows) <= FOLDED:
        return list(rows)
    quiet = 0
    shown: list[Row] = []
    for row in rows:
        quiet += (calm := row["state"] == "running" and not row["children"])
        if not calm or quiet <= FOLDED:
            shown.append(row)
    return shown


def _cells(lead: str, row: Row | int) -> list[Text]:
    if isinstance(row, int):
        return [Text.assemble((lead, "dim"), (f"... {row} more, all running (--all shows them)", "dim"))]
    cls = row["cls"] if row["pid"] is None else f"{row['cls']} {row['pid']}"
    return [
        Text.assemble((lead, "dim"), row["id"]),
        Text(cls, "cyan"),
        Text(row["state"], STYLES.get(row["state"], "dim")),
        Text(str(row["restarts"]) if row["restarts"] else "", "yellow"),
        Text(str(row["waiting"]) if row["waiting"] else "", "dim"),
        Text((row["last_exit"] or "").partition("\n")[0], "dim"),
    ]


def span(seconds: float) -> str:
    """A duration as a person says it."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
