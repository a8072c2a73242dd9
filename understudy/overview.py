"""`understudy status` on a terminal: a line for each member, and below them why one is not well and what comes next."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from understudy.tree import span

STYLES = {
    "here": "green",
    "up": "green",
    "draining": "yellow",
    "doubtful": "yellow",
    "unreachable": "red",
    "dead": "dim",
    "left": "dim",
}

PAST = 5
"""Members that are gone and are shown, of the many that there may be."""


def draw_cluster(views: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print what nodes see: in colours and cut to the width of a terminal, or whole lines of plain text to anything else."""
    if not console.is_terminal:
        console.width = 10_000
    console.print(drawn(views), soft_wrap=True)


def drawn(views: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The same, to be shown again and again."""
    parts: list[RenderableType] = []
    for view in views:
        if parts:
            parts.append(Text())
        parts.extend(_drawn(view))
    return Group(*parts)


def _drawn(view: Mapping[str, Any]) -> Iterator[RenderableType]:
    table = view["table"]
    living = [row for row in view["members"] if row["state"] not in ("left", "dead")]
    past = [row for row in view["members"] if row["state"] in ("left", "dead")]
    nodes = f"{len(living)} node{'' if len(living) == 1 else 's'}"
    yield Text.assemble(
        (nodes, "bold"),
        f", as {view['seen_by']} sees them: {view['names']} names, {view['groups']} groups with {view['in_groups']} members",
    )
    reached = ("reached", "green") if table["reached"] else (f"cannot be reached: {table['trouble']}", "red")
    yield Text.assemble(f"table: {table['what']}, ", reached)
    if not table["reached"]:
        yield Text("  nobody joins, and nobody is declared dead, until it is back; what runs goes on", "yellow")
    if view["held"]:
        yield Text(f"  {view['seen_by']} holds back its votes: {view['held']}", "yellow")
    yield Text()
    rows = Table(box=None, pad_edge=False, header_style="dim")
    for name in (
        "node",
        "state",
        "roles",
        "tags",
        "placed",
        "application",
        "version",
        "up",
        "address",
        "incarnation",
        "health",
    ):
        rows.add_column(
            name, no_wrap=True, overflow="ellipsis", justify="right" if name in ("placed", "up") else "left"
        )
    shown = [*living, *sorted(past, key=lambda row: -row["incarnation"])[:PAST]]
    for row in shown:
        rows.add_row(*_cells(row))
    yield rows
    if len(past) > PAST:
        yield Text(f"... and {len(past) - PAST} more that are gone", "dim")
    for row in shown:
        yield from _below(row)


def _cells(row: Mapping[str, Any]) -> list[Text]:
    state = "draining" if row["draining"] and row["state"] in ("here", "up") else row["state"]
    gone = row["state"] in ("left", "dead")
    placed = (
        "" if row["placed"] is None or gone else f"{row['placed']}" + (f"/{row['capacity']}" if row["capacity"] else "")
    )
    return [
        Text(row["node"], "bold" if row["state"] == "here" else "dim" if gone else ""),
        Text(state, STYLES.get(state, "")),
        Text(",".join(row["roles"]), "cyan"),
        Text(",".join(row["tags"]), "cyan"),
        Text(placed),
        Text(row["application"] or ""),
        Text(row["version"] or "", "dim"),
        Text("" if row["up"] is None else span(row["up"]), "dim"),
        Text(row["address"], "dim"),
        Text(str(row["incarnation"]), "dim"),
        Text(row["health"] or "", "dim"),
    ]


def _below(row: Mapping[str, Any]) -> Iterator[Text]:
    """Why it is not well, and what comes next."""
    if row["state"] == "dead":
        yield Text(f"{row['node']} is dead: {row['why']}", "dim")
        return
    if row["why"]:
        since = f" for {row['silent_for']:.0f} s" if row["silent_for"] else ""
        how = "does not answer" if row["state"] == "doubtful" else "is unreachable"
        yield Text(f"{row['node']} {how}{since}: {row['why']}", "red")
    if row["next"]:
        yield Text(f"  next: {row['next']}", "yellow")
