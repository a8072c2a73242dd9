"""The cluster as one node sees it, for operators: who is there, how each of them is, why one is unreachable, what comes next.

    membership.explain() ── probes, votes ──┐
    links, a look at its address ── why ────┼──▶ look_around(node) ──▶ a Cluster, plain data ──▶ JSON, or `understudy status`
    each one's operator ── versions, uptime ┘

It asks the table nothing, so it works while that is away: what is said of it is what was last read.
"""

import asyncio
from typing import Any, TypedDict

from understudy.actors import CallError
from understudy.operator import OPERATOR, Describe
from understudy.secrets import hidden
from understudy.transport import Member, Node, Standing, parse_address
from understudy.transport.frames import Peer

PATIENCE = 1.0
"""Seconds that another node has to describe itself, or to accept a connection."""


class Vote(TypedDict):
    """Who stands against a member: `by` the table, `needed` to declare it dead; `here`: this node is one of them."""

    by: list[str]
    needed: int
    here: bool


class Seen(TypedDict):
    """One member. `state`: here (the node that was asked), up, doubtful (it has missed a probe), unreachable, left or dead.

    `why` it is not up, and what comes `next`: sentences; `cause`: refused, silent, blocked, version, key or "". `silent_for`: seconds.
    What only the node itself knows (`version`, `application`, `phase`, `up`, `actors`, `health`) is None where it did not answer.
    """

    node: str
    state: str
    cause: str
    why: str
    next: str
    roles: list[str]
    tags: list[str]
    placed: int | None
    capacity: int
    draining: bool
    incarnation: int
    address: str
    pid: int
    missed: int
    silent_for: float
    votes: Vote
    version: str | None
    application: str | None
    phase: str | None
    up: float | None
    actors: int | None
    health: str | None


class TableSeen(TypedDict):
    """The membership table. `trouble`: why it cannot be reached at present; "" if it can."""

    what: str
    reached: bool
    trouble: str


class Cluster(TypedDict):
    """`seen_by` which node; `held`: why that node does not vote at present, "" if it would; `names`: with a living owner; `groups`: with
    members anywhere, of which there are `in_groups`."""

    seen_by: str
    table: TableSeen
    held: str
    names: int
    groups: int
    in_groups: int
    members: list[Seen]


async def look_around(node: Node) -> Cluster:
    """Everything, within some PATIENCE."""
    standings = node.membership.explain()
    members = await asyncio.gather(*(_seen(node, standing) for standing in standings))
    counts = node.groups.counts()
    return Cluster(
        seen_by=node.name,
        table=TableSeen(what=hidden(str(node.table)), reached=not node.trouble, trouble=hidden(node.trouble)),
        held=node.membership.held,
        names=node.names.count(),
        groups=len(counts),
        in_groups=sum(counts.values()),
        members=list(members),
    )


async def _seen(node: Node, standing: Standing) -> Seen:
    row = standing.member
    load = node.placement.loads().get(row.node) if row.status == "active" else None
    own: dict[str, Any] = {}
    state: str = row.status
    cause, why, what_next = "", row.reason if row.status == "dead" else "", ""
    if row.status == "active":
        here = row.key == (node.name, node.incarnation)
        state = "here" if here else "unreachable" if standing.silent else "doubtful" if standing.missed else "up"
        if state in ("unreachable", "doubtful"):
            cause, why = await _cause(node, standing)
        elif (refusal := _refusal(node, row)) is not None:
            state, (cause, why) = "unreachable", refusal
        else:
            own = await _description(node, row.node)
        what_next = foretell(standing, node.membership.held, node.trouble) if state != "here" else ""
        if cause in ("version", "key") and not standing.missed:
            what_next = "it stays a member: it answers probes, and nothing else passes"
    return Seen(
        node=row.node,
        state=state,
        cause=cause,
        why=why,
        next=what_next,
        roles=list(row.roles),
        tags=list(row.tags),
        placed=load.placed if load is not None else None,
        capacity=row.capacity,
        draining=row.draining or (load is not None and load.draining),
        incarnation=row.incarnation,
        address=row.address,
        pid=row.pid,
        missed=standing.missed,
        silent_for=standing.seconds,
        votes=Vote(by=list(standing.votes), needed=standing.needed, here=standing.accused_here),
        version=own.get("version"),
        application=own.get("application"),
        phase=own.get("phase"),
        up=own.get("up"),
        actors=own.get("actors"),
        health=own.get("health"),
    )


async def _description(node: Node, name: str) -> dict[str, Any]:
    """What it says of itself; nothing, if it was not started by `understudy node` and has no operator, or does not answer."""
    try:
        answer: Any = await node.ref(f"{OPERATOR}@{name}").call(Describe(), timeout=PATIENCE)
    except CallError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _refusal(node: Node, row: Member) -> tuple[str, str] | None:
    """Whether one of the two will not speak to the other."""
    peer = Peer(*row.key)
    if said := node.links.refusal(peer):
        return "version" if node.links.is_foreign(peer) else "key", f"it refuses this node: {said}"
    link = node.links.known(peer)
    if link is not None and link.lane.refused:
        return (
            "key",
            "one of the two does not trust the key of the other: compare `understudy keys show` there and here",
        )
    return None


async def _cause(node: Node, standing: Standing) -> tuple[str, str]:
    row = standing.member
    if (refusal := _refusal(node, row)) is not None:
        return refusal
    if standing.connected:
        return "blocked", "its connection stands, but something holds its event loop"
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(*parse_address(row.address))
    except ConnectionRefusedError:
        return "refused", f"connection refused: nobody listens at {row.address}, so its process has ended"
    except TimeoutError:
        return "silent", f"no answer from {row.address}: its machine is away, or the network between"
    except OSError as error:
        return "silent", f"no way to {row.address}: {error.strerror or error}"
    writer.close()
    return "silent", f"something at {row.address} accepts connections and says nothing: its process stands still"


def foretell(standing: Standing, held: str, trouble: str) -> str:
    """What will happen to a member that has missed probes, and when, if nothing changes; "" for one that has not."""
    if not standing.missed and not standing.votes:
        return ""
    if trouble:
        return "nothing, as long as the table cannot be reached: nobody is declared dead meanwhile"
    missing = standing.needed - len(standing.votes)
    by = f"accused by {_listed(standing.votes)}" if standing.votes else ""
    if missing <= 0:
        return f"declared dead now: {by}"
    if standing.accused_here:
        return f"declared dead as soon as {_more(missing)} accuses it, and cleared when it answers: {by}"
    if standing.due is None:
        return f"nothing: it answers this node; {by}, {_votes(missing, more=True)} needed"
    if held:
        return f"this node does not accuse it yet: {held}"
    due = f"in {standing.due:.0f} s" if standing.due >= 0.5 else "now"
    if missing == 1:
        return f"declared dead {due} unless it answers: " + (
            f"{by}, {_votes(1, more=True)} needed" if by else f"{_votes(1)} needed, this node's"
        )
    return f"accused by this node {due} unless it answers; {_votes(missing)} needed to declare it dead"


def _votes(number: int, *, more: bool = False) -> str:
    again = " more" if more else ""
    return f"one{again} vote is" if number == 1 else f"{number}{again} votes are"


def _more(number: int) -> str:
    return "one more node" if number == 1 else f"each of {number} more nodes"


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
