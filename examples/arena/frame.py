"""What a spectator sees of a turn, and what a bot sees: plain data, complete in itself, about 1.5 kB as MessagePack.

A frame needs no earlier frame. Positions are whole cells, (0, 0) at the top left; `dir` is the way of the last step, "none" for a
stay. The characters of `rows`: `#` wall, `.` pellet, `o` power pellet, `-` the ghosts' door, a blank for an empty cell.
"""

from typing import TypedDict

from understudy.examples.arena.maze import DOOR, HEIGHT, PEN, WIDTH, Cell
from understudy.examples.arena.rules import Agent, State

COLOURS = ("#f2b134", "#2fb5a0", "#ef6f6c", "#9b7ede", "#4fa3e3")


class AgentView(TypedDict):
    """An agent. `power`: turns left in which it can eat ghosts. `alive`: on the board; an agent with lives left comes back."""

    id: str
    name: str
    colour: str
    x: int
    y: int
    dir: str
    score: int
    lives: int
    power: int
    alive: bool


class GhostView(TypedDict):
    """A ghost. `scared`: turns left. `home`: harmless, in its pen or on the way to it."""

    id: str
    x: int
    y: int
    dir: str
    scared: int
    home: bool


class Frame(TypedDict):
    """A turn, as every spectator sees it. `of`: the last turn. `act` counts how often the pellets were laid out."""

    turn: int
    of: int
    act: int
    seed: int
    rows: list[str]
    agents: list[AgentView]
    ghosts: list[GhostView]
    over: bool
    winner: str | None


class View(Frame):
    """What a bot decides by: the frame, which agent it is, and a number to draw its chance from (the same in every replay)."""

    me: AgentView
    luck: int


def frame(state: State) -> Frame:
    """The state as plain data."""
    return Frame(
        turn=state.turn,
        of=state.of,
        act=state.act,
        seed=state.seed,
        rows=["".join(_character(state, (x, y)) for x in range(WIDTH)) for y in range(HEIGHT)],
        agents=[_agent(agent, colour) for agent, colour in zip(state.agents, COLOURS)],
        ghosts=[
            GhostView(
                id=ghost.id, x=ghost.cell[0], y=ghost.cell[1], dir=ghost.dir, scared=ghost.scared, home=ghost.home
            )
            for ghost in state.ghosts
        ],
        over=state.over,
        winner=state.winner,
    )


def view(state: State, seat: int) -> View:
    """What the agent in this seat sees. Made anew for each bot: whatever a bot does to it, nobody else notices."""
    seen = frame(state)
    return View(**seen, me=seen["agents"][seat], luck=(state.seed * 31 + state.turn) * 8 + seat)


def _agent(agent: Agent, colour: str) -> AgentView:
    return AgentView(
        id=agent.id,
        name=agent.name,
        colour=colour,
        x=agent.cell[0],
        y=agent.cell[1],
        dir=agent.dir,
        score=agent.score,
        lives=agent.lives,
        power=agent.power,
        alive=agent.alive,
    )


def _character(state: State, cell: Cell) -> str:
    if cell in state.pellets:
        return "."
    if cell in state.powers:
        return "o"
    if cell == DOOR:
        return "-"
    return " " if cell in state.maze.corridors or cell in PEN else "#"
