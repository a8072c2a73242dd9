"""A game in the terminal: `python -m understudy.examples.arena --seed 7`. Without a terminal it prints the result alone."""

import asyncio
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from understudy.examples.arena.bots import HOUSE
from understudy.examples.arena.frame import Frame
from understudy.examples.arena.play import RATE, Result, play

GLYPHS = {"#": ("██", "grey30"), ".": ("· ", "grey62"), "o": ("● ", "bold"), "-": ("──", "grey50"), " ": ("  ", "")}


def picture(frame: Frame) -> Group:
    """One frame, two characters a cell."""
    cells = {(x, y): GLYPHS[character] for y, row in enumerate(frame["rows"]) for x, character in enumerate(row)}
    for ghost in frame["ghosts"]:
        glyph = "''" if ghost["home"] else "~~" if ghost["scared"] else "MM"
        cells[ghost["x"], ghost["y"]] = (glyph, "bright_blue" if ghost["scared"] else "bright_red")
    for agent in frame["agents"]:
        if agent["alive"]:
            cells[agent["x"], agent["y"]] = ("@@" if agent["power"] else "()", f"bold {agent['colour']}")
    board = Text()
    for y, row in enumerate(frame["rows"]):
        for x in range(len(row)):
            board.append(*cells[x, y])
        board.append("\n")
    table = Text(f"turn {frame['turn']:3} of {frame['of']}   act {frame['act']}   seed {frame['seed']}\n")
    for agent in frame["agents"]:
        table.append(f"{agent['name']:9} {agent['score']:5}  {'♥' * agent['lives']}\n", agent["colour"])
    return Group(board, table)


async def show(console: Console, seed: int | None, agents: int, rate: float) -> Result:
    """Play a game on this console."""
    arguments: dict[str, Any] = {"seed": seed, "agents": agents}
    game = play(**arguments)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            try:
                frame = next(game)
            except StopIteration as end:
                result: Result = end.value
                return result
            if console.is_terminal:
                live.update(picture(frame), refresh=True)
                await asyncio.sleep(1 / rate)


@click.command()
@click.option("--seed", type=int, help="Which game; without it, any.")
@click.option("--agents", type=click.IntRange(2, len(HOUSE)), default=4, show_default=True, help="How many play.")
@click.option("--rate", type=click.FloatRange(0.1, 100), default=RATE, show_default=True, help="Turns per second.")
def main(seed: int | None, agents: int, rate: float) -> None:
    """Watch a game of the arena: agents, each driven by a small program, compete in a maze with ghosts."""
    console = Console()
    result = asyncio.run(show(console, seed, agents, rate))
    console.print(
        f"seed {result['seed']}: {result['winner'] or 'nobody'} wins after {result['turns']} turns, {result['scores']}"
    )


if __name__ == "__main__":
    main()
