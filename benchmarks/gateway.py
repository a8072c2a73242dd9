"""`python -m benchmarks.gateway`: the gateway beside other WebSocket servers, each on one core, the load client on the other.

    fan-out     1,000 subscribers and 200 characters: each message once everybody has the one before; deliveries/s
    batched     the same with 16 messages at a time, which come in one turn of the server's loop
    latency     100 messages a second to 1,000: from the publisher's write until a subscriber has read it
    memory      of a connection that is idle; of one that is in a room, too
    slow        50 subscribers, 16 KiB 100 times a second; then the same beside 5 that never read
    keystroke   five a second, from a client of one node to one of another, the room on either

The sides take turns, so that a noisy machine is noisy for all of them; each figure is of a server of its own.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from benchmarks.__main__ import table
from benchmarks.sides import NotHereError
from benchmarks.sockets import TEXT, Load, Server, Spoken, cores, load, open_files, started
from benchmarks.sockets.sides import SIDES, Ours, Served

SUBSCRIBERS = 1_000
FEW, MANY = 100, 5_000
"""Idle connections: between these two the memory is compared."""
READERS, DEAF, LARGE = 50, 5, 16 * 1024
SECONDS = 3.0
LONG = 9.0
"""Seconds beside those that do not read: kernel buffers hide them for a while."""
RATE = 100
TYPED = 20
"""Keystrokes a second."""
SETTLED = 1.0
"""Seconds after which a server has tidied up behind many connections."""
STALLED = 3
"""Of so many messages in a second half are missing: the server stands still."""

Figures = dict[str, float]


class Row(NamedTuple):
    """`target` is what Understudy is to reach."""

    what: str
    unit: str
    target: str = "-"


ROWS = {
    "fan-out": Row("every delivery its own send", "k/s", ">= 180"),
    "fan-out: work": Row("the server's processor time for a delivery", "us"),
    "fan-out: server": Row("of its core", "%"),
    "fan-out: client": Row("of its core; near 100 it is what was measured", "%"),
    "batched": Row("16 messages in a tick", "k/s", ">= 1,000"),
    "batched: work": Row("as above", "us"),
    "batched: server": Row("as above", "%"),
    "batched: client": Row("as above", "%"),
    "latency p50": Row("100 messages/s x 1,000", "ms", "<= 5"),
    "latency p99": Row("the same", "ms", "<= 15"),
    "memory": Row("idle connection", "kB", "<= 24"),
    "memory in a room": Row("the same, a member of a room", "kB"),
    "slow: alone p99": Row("16 KiB x 100/s to 50", "ms"),
    "slow: beside p99": Row("the same, 5 more never read", "ms", "<= 2x alone"),
    "slow: lost": Row("of what the 50 should have had", "%", "0"),
    "slow: growth": Row("of the server meanwhile", "MB/s", "0"),
    "slow: reset after": Row("the last of those 5", "s"),
    "keystroke p50": Row("through two nodes", "ms"),
    "keystroke p99": Row("the same", "ms", "<= 10"),
}

CASES = ("fan-out", "batched", "latency", "memory", "slow", "keystroke")


def measured(command: list[str], spoken: Spoken, what: Callable[[Load, Server], Figures], text: int = TEXT) -> Figures:
    """A server, a load client, and what they do."""
    server_core, client_core = cores()
    with started([command], server_core) as server, load(spoken, server.ports, client_core, text) as client:
        return what(client, server)


def fan_out(side: Served, command: list[str], scale: float, outstanding: int = 1) -> Figures:
    def run(client: Load, server: Server) -> Figures:
        client.ask("connect", SUBSCRIBERS)
        client.ask("closed", outstanding, 0.5 * scale)
        before = server.cpu()
        found = client.ask("closed", outstanding, SECONDS * scale)
        used = server.cpu() - before
        name = "fan-out" if outstanding == 1 else "batched"
        return {
            name: found["deliveries"] / found["seconds"] / 1e3,
            f"{name}: work": used / found["deliveries"] * 1e6,
            f"{name}: server": 100 * used / found["seconds"],
            f"{name}: client": 100 * found["cpu"],
        }

    return measured(command, side.spoken, run)


def batched(side: Served, command: list[str], scale: float) -> Figures:
    return fan_out(side, command, scale, 16)


def latency(side: Served, command: list[str], scale: float) -> Figures:
    def run(client: Load, _: Server) -> Figures:
        client.ask("connect", SUBSCRIBERS)
        client.ask("open", RATE, 0.5 * scale)
        found = client.ask("open", RATE, 2 * SECONDS * scale)
        if found["lost"]:
            raise RuntimeError(f"cannot: {found['lost']} of {found['sent'] * SUBSCRIBERS} were not there after 5 s")
        return {"latency p50": found["p50"], "latency p99": found["p99"]}

    return measured(command, side.spoken, run)


def memory(side: Served, command: list[str], scale: float) -> Figures:
    def grown(client: Load, server: Server) -> float:
        client.ask("connect", FEW)
        time.sleep(SETTLED)
        before = server.memory()
        more = int((MANY - FEW) * scale)
        client.ask("connect", more)
        time.sleep(SETTLED)
        return (server.memory() - before) / more / 1e3

    found = {"memory": measured(command, side.idle(), lambda client, server: {"": grown(client, server)})[""]}
    if isinstance(side, Ours):
        found |= measured(command, side.spoken, lambda client, server: {"memory in a room": grown(client, server)})
    return found


def slow(side: Served, command: list[str], scale: float) -> Figures:
    def run(client: Load, server: Server) -> Figures:
        client.ask("connect", READERS)
        alone = client.ask("open", RATE, SECONDS * scale)
        client.ask("silent", DEAF)
        before = server.memory()
        beside = client.ask("open", RATE, LONG * scale)
        found = {
            "slow: alone p99": alone["p99"],
            "slow: beside p99": beside["p99"],
            "slow: lost": 100 * beside["lost"] / (beside["sent"] * READERS),
            "slow: growth": (server.memory() - before) / beside["seconds"] / 1e6,
        }
        return found | ({"slow: reset after": max(beside["reset"])} if len(beside["reset"]) == DEAF else {})

    return measured(command, side.spoken, run, LARGE)


def keystroke(side: Served, command: list[str], scale: float) -> Figures:
    """The room is on the node of who types, then on the other; the longer of the two."""
    if not isinstance(side, Ours):
        return {}
    server_core, client_core = cores()
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        nodes = [[*command, "node", name, folder] for name in ("here", "there")]
        with started(nodes, server_core) as server:
            for ports in (server.ports, server.ports[::-1]):
                with load(side.spoken, ports, client_core, 1) as client:
                    client.tell("counts", 30)  # characters: such a message has 38
                    client.ask("connect", 1)
                    client.ask("open", TYPED, SECONDS * scale)
                    rounds.append(client.ask("open", TYPED, 4 * SECONDS * scale))
    return {f"keystroke {which}": max(found[which] for found in rounds) for which in ("p50", "p99")}


MEASURES: dict[str, Callable[[Served, list[str], float], Figures]] = {
    "fan-out": fan_out,
    "batched": batched,
    "latency": latency,
    "memory": memory,
    "slow": slow,
    "keystroke": keystroke,
}


def shown(values: list[float]) -> str:
    """The median, and the best and the worst if there are several."""
    middle = statistics.median(values)
    digits = 0 if abs(middle) >= 100 else 1 if abs(middle) >= 10 else 2
    text = f"{middle:,.{digits}f}"
    return text if len(values) < 2 else f"{text} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def report(figures: dict[str, dict[str, list[float]]], names: list[str]) -> str:
    """The table: a row for each figure, a column for each side."""
    lines = [
        [name, row.what, row.unit, row.target, *(shown(found[side]) if side in found else "-" for side in names)]
        for name, row in ROWS.items()
        if (found := figures.get(name))
    ]
    return table(["row", "what", "unit", "to reach", *names], lines)


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Servers for each figure.")
@click.option("--only", type=click.Choice(CASES), multiple=True, help="Measure these cases alone.")
@click.option(
    "--peers",
    default="all",
    show_default=True,
    help=f"Which, with commas: {', '.join(side.key for side in SIDES[1:])}; or none.",
)
@click.option("--quick", is_flag=True, help="One short round of each.")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Write every figure to this file, too.")
def main(rounds: int, only: tuple[str, ...], peers: str, quick: bool, as_json: Path | None) -> None:
    """Measure the gateway beside its peers."""
    known = {side.key: side for side in SIDES[1:]}
    wanted = list(known) if peers == "all" else [] if peers == "none" else peers.split(",")
    if strangers := set(wanted) - set(known):
        raise click.BadParameter(f"no such peer: {', '.join(sorted(strangers))}", param_hint="--peers")
    rounds, scale = (1, 0.2) if quick else (rounds, 1.0)
    files = open_files()
    server_core, client_core = cores()
    click.echo(f"ulimit -n: {files}; servers on core {server_core}, the load client on core {client_core}", err=True)
    if files < MANY + 1_000:
        click.echo(f"`memory` needs {MANY + 1_000} open files", err=True)
    commands: dict[Served, list[str]] = {}
    remarks: list[str] = []
    for side in (SIDES[0], *(known[peer] for peer in wanted)):
        try:
            commands[side] = side.prepare()
        except NotHereError as error:
            remarks.append(f"* {side.name} is not here: {error}")
    figures: dict[str, dict[str, list[float]]] = {}
    failed: set[tuple[str, str]] = set()
    for case in only or CASES:
        for number in range(rounds):
            click.echo(f"{case}, round {number + 1}", err=True)
            for side, command in commands.items():
                if (case, side.name) in failed:
                    continue
                try:
                    found = MEASURES[case](side, command, scale)
                except RuntimeError as error:
                    failed.add((case, side.name))
                    remarks.append(f"* {case}, {side.name}: {error}")
                    continue
                for row, value in found.items():
                    figures.setdefault(row, {}).setdefault(side.name, []).append(value)
    names = [side.name for side in commands]
    click.echo(
        f"ulimit -n {files}; Python {platform.python_version()}, {os.cpu_count()} cores, load"
        f" {os.getloadavg()[0]:.1f}; medians of {rounds} rounds, in brackets the least and the most\n"
    )
    click.echo("\n".join((report(figures, names), "", *remarks)))
    if as_json is not None:
        as_json.write_text(json.dumps({"ulimit": files, "python": sys.version, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
