"""The rules of the arena: one pure function, `step(state, moves) -> state`. The same seed and moves give the same game everywhere.

    begin(seed, names) --> State --step(moves)--> State --step(moves)--> ... --> State(over=True, winner=...)

    step:  1 come back   an agent that lost a life returns where ghosts are farthest
           2 walk        agents move and eat; who goes first rotates, so that no seat is favoured
           3 meet        agent on a ghost: eats it (it is scared and the agent has power) or loses a life (it is not)
           4 haunt       ghosts move, each by its own character
           5 meet        again, so that two who swap cells cannot pass through each other
           6 judge       pellets all gone: the next act begins, and is harder; nobody left, or time is up: over

Two to five agents compete for pellets in one maze. A power pellet scares every ghost for a while, but only the agent that ate it
may eat them. Agents walk through each other. Chance is drawn from (seed, turn) alone, so a state needs no generator in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from understudy.examples.arena.chance import Chance, chance
from understudy.examples.arena.maze import BACK, GATE, HEIGHT, MIDDLE, PEN, PEN_HEART, WIDTH, Cell, Maze, draw

MOVES = ("up", "left", "down", "right", "stay")
MAX_TURNS = 600
ACTS = 3
LIVES = 3
SEATS = 5
PELLET, POWER, GHOST = 10, 50, 80
"""Points. Each further ghost eaten with one power pellet counts double the last."""
POWER_TURNS = (45, 38, 30)
"""How long power lasts, by act."""
GHOSTS_REST = (8, 16, 32)
"""Ghosts rest on every so-manieth turn, by act: agents are a little faster, and less so in each act."""
BACK_AFTER = 15
"""Turns that an agent, or an eaten ghost at home, stays away."""
SCATTER, CHASE = 30, 150
"""Turns for which ghosts walk to their corners, then hunt, then walk to their corners again."""
SIGHT = 8
"""How far the warden sees."""

STARTS: tuple[Cell, ...] = ((1, 1), (WIDTH - 2, HEIGHT - 2), (WIDTH - 2, 1), (1, HEIGHT - 2), (MIDDLE, HEIGHT - 4))
POWER_PELLETS: tuple[Cell, ...] = ((1, 5), (WIDTH - 2, 5), (1, HEIGHT - 6), (WIDTH - 2, HEIGHT - 6))
CHARACTERS: tuple[tuple[str, Cell], ...] = (
    ("hound", (WIDTH - 2, 1)),  # runs at the nearest agent
    ("fox", (1, 1)),  # cuts off the agent that leads
    ("warden", (WIDTH - 2, HEIGHT - 2)),  # walks its round, and hunts who comes within its sight
    ("drifter", (1, HEIGHT - 2)),  # goes where chance leads
)
"""Each ghost's name and its corner."""


@dataclass(frozen=True, slots=True)
class Agent:
    """One competitor. `power`: turns left in which it eats ghosts. `away`: turns until it comes back. `faults`: moves that were none."""

    id: str
    name: str
    cell: Cell
    dir: str = "none"
    score: int = 0
    lives: int = LIVES
    power: int = 0
    eaten: int = 0
    away: int = 0
    faults: int = 0

    @property
    def alive(self) -> bool:
        """On the board. An agent that is not may still have lives, and then comes back."""
        return self.lives > 0 and self.away == 0


@dataclass(frozen=True, slots=True)
class Ghost:
    """One pursuer. `scared`: turns left. `home`: harmless, in its pen or on the way there. `rest`: turns until it leaves the pen."""

    id: str
    corner: Cell
    cell: Cell
    dir: str = "none"
    scared: int = 0
    home: bool = True
    rest: int = 0

    @property
    def dangerous(self) -> bool:
        return not self.home and not self.scared


@dataclass(frozen=True, slots=True)
class State:
    """Everything about a game after `turn` turns. `winner` is None until it is over, and then for a draw."""

    seed: int
    of: int
    maze: Maze
    pellets: frozenset[Cell]
    powers: frozenset[Cell]
    agents: tuple[Agent, ...]
    ghosts: tuple[Ghost, ...]
    turn: int = 0
    act: int = 1
    over: bool = False
    winner: str | None = None


def begin(seed: int, names: Sequence[str], of: int = MAX_TURNS) -> State:
    """A new game for the named agents (2 to 5), of at most `of` turns. ValueError: too few, too many, or no turns."""
    if not 2 <= len(names) <= SEATS:
        raise ValueError(f"the arena seats 2 to {SEATS} agents, not {len(names)}")
    if of < 1:
        raise ValueError(f"a game lasts at least one turn, not {of}")
    dice = chance(seed)
    maze = draw(dice)
    starts = dice.sample(STARTS, len(names))
    agents = tuple(Agent(f"agent-{i}", name, start) for i, (name, start) in enumerate(zip(names, starts), 1))
    ghosts = tuple(
        Ghost(name, corner, (PEN_HEART[0] + offset, PEN_HEART[1]), rest=15 * i)
        for i, ((name, corner), offset) in enumerate(zip(CHARACTERS, (0, -1, 1, -2)))
    )
    state = State(seed, of, maze, frozenset(), frozenset(), agents, ghosts)
    return replace(state, pellets=_served(state), powers=frozenset(POWER_PELLETS))


def step(state: State, moves: Sequence[object]) -> State:
    """The state one turn later. One move for each agent, in their order: one of MOVES; anything else is counted as a fault and is a stay.

    A move into a wall is a stay too. Moves of agents that are not on the board are not looked at. ValueError: the game is over.
    """
    if state.over:
        raise ValueError(f"the game was over at turn {state.turn}")
    if len(moves) != len(state.agents):
        raise ValueError(f"{len(state.agents)} agents need as many moves, not {len(moves)}")
    state = replace(state, turn=state.turn + 1)
    state = _come_back(state)
    state = _walk(state, moves)
    state = _meet(state)
    state = _haunt(state)
    state = _meet(state)
    return _judge(state)


def _served(state: State) -> frozenset[Cell]:
    """Where pellets lie when an act begins: in every corridor cell but the tunnel's mouths, power pellets, and where somebody stands."""
    taken = {agent.cell for agent in state.agents if agent.alive} | set(POWER_PELLETS)
    return frozenset(cell for cell in state.maze.corridors if cell not in taken and 0 < cell[0] < WIDTH - 1)


def _come_back(state: State) -> State:
    dangers = [state.maze.distances(ghost.cell) for ghost in state.ghosts if ghost.dangerous]

    def safety(start: Cell) -> int:
        return min((steps[start] for steps in dangers), default=0)

    agents: list[Agent] = []
    for agent in state.agents:
        if agent.away == 1 and agent.lives:
            agents.append(replace(agent, away=0, cell=max(STARTS, key=safety), dir="none"))
        else:
            agents.append(replace(agent, away=max(0, agent.away - 1)))
    return replace(state, agents=tuple(agents))


def _walk(state: State, moves: Sequence[object]) -> State:
    agents, ghosts = list(state.agents), state.ghosts
    pellets, powers = set(state.pellets), set(state.powers)
    for i in range(len(agents)):
        seat = (i + state.turn) % len(agents)
        agent, move = agents[seat], moves[seat]
        if not agent.alive:
            continue
        if not isinstance(move, str) or move not in MOVES:
            agent, move = replace(agent, faults=agent.faults + 1), "stay"
        cell = state.maze.exits[agent.cell].get(move, agent.cell)
        direction = move if cell != agent.cell else "none"
        agent = replace(agent, cell=cell, dir=direction, power=max(0, agent.power - 1))
        if cell in pellets:
            pellets.remove(cell)
            agent = replace(agent, score=agent.score + PELLET)
        elif cell in powers:
            powers.remove(cell)
            turns = POWER_TURNS[state.act - 1]
            agent = replace(agent, score=agent.score + POWER, power=turns, eaten=0)
            ghosts = tuple(
                ghost if ghost.home else replace(ghost, scared=turns, dir=BACK[ghost.dir]) for ghost in ghosts
            )
        agents[seat] = agent
    return replace(state, agents=tuple(agents), ghosts=ghosts, pellets=frozenset(pellets), powers=frozenset(powers))


def _meet(state: State) -> State:
    agents, ghosts = list(state.agents), list(state.ghosts)
    for i in range(len(agents)):
        for j in range(len(ghosts)):
            agent, ghost = agents[i], ghosts[j]
            if not agent.alive or ghost.home or agent.cell != ghost.cell:
                continue
            if ghost.dangerous:
                agents[i] = replace(agent, lives=agent.lives - 1, away=BACK_AFTER, power=0, dir="none")
            elif agent.power:
                agents[i] = replace(agent, score=agent.score + GHOST * 2**agent.eaten, eaten=agent.eaten + 1)
                ghosts[j] = replace(ghost, scared=0, home=True, rest=BACK_AFTER)
    return replace(state, agents=tuple(agents), ghosts=tuple(ghosts))


def _haunt(state: State) -> State:
    dice = chance(state.seed, state.turn)
    resting = state.turn % GHOSTS_REST[state.act - 1] == 0
    ghosts: list[Ghost] = []
    for ghost in state.ghosts:
        if ghost.home:
            ghost = _homebody(state.maze, ghost)
        elif ghost.scared:
            ghost = replace(ghost if state.turn % 2 else _roam(state, ghost, dice), scared=ghost.scared - 1)
        elif not resting:
            ghost = _roam(state, ghost, dice)
        ghosts.append(ghost)
    return replace(state, ghosts=tuple(ghosts))


def _homebody(maze: Maze, ghost: Ghost) -> Ghost:
    """A ghost on its way home, at home, or leaving it: it goes through the door and hurts nobody."""
    if ghost.rest and ghost.cell not in PEN:
        return _nearer(maze, ghost, home=True)
    if ghost.rest:
        return replace(ghost, rest=ghost.rest - 1, dir="none")
    ghost = _nearer(maze, ghost, home=False)
    return replace(ghost, home=ghost.cell != GATE)


def _nearer(maze: Maze, ghost: Ghost, *, home: bool) -> Ghost:
    steps = maze.to_pen if home else maze.to_gate
    direction, cell = min(maze.ghost_exits[ghost.cell].items(), key=lambda way: steps[way[1]])
    return replace(ghost, cell=cell, dir=direction)


def _roam(state: State, ghost: Ghost, dice: Chance) -> Ghost:
    """One step through the corridors. A ghost never turns on its heel, so an agent knows where it cannot go."""
    ways = dict(state.maze.exits[ghost.cell])
    ways.pop(BACK[ghost.dir], None)
    target = None if ghost.scared else _target(state, ghost)
    if target is None:
        direction = dice.choice(sorted(ways))
    else:
        steps = state.maze.distances(target)
        direction = min(ways, key=lambda way: steps[ways[way]])
    return replace(ghost, cell=ways[direction], dir=direction)


def _target(state: State, ghost: Ghost) -> Cell | None:
    """The cell this ghost heads for; None: wherever chance leads."""
    steps = state.maze.distances(ghost.cell)
    prey = sorted((agent for agent in state.agents if agent.alive), key=lambda agent: steps[agent.cell])
    if not prey or state.turn % (SCATTER + CHASE) < SCATTER:
        return ghost.corner if ghost.cell != ghost.corner else None
    if ghost.id == "hound":
        return prey[0].cell
    if ghost.id == "fox":
        leader = max(prey, key=lambda agent: agent.score)
        return state.maze.ahead(leader.cell, leader.dir, 4)
    if ghost.id == "warden":
        corners = [corner for _, corner in CHARACTERS]
        return prey[0].cell if steps[prey[0].cell] <= SIGHT else corners[state.turn // SCATTER % len(corners)]
    return None


def _judge(state: State) -> State:
    if not state.pellets and not state.powers and state.act < ACTS:
        state = replace(state, act=state.act + 1, pellets=_served(state), powers=frozenset(POWER_PELLETS))
    standing = sorted((agent.score for agent in state.agents), reverse=True)
    left = [agent for agent in state.agents if agent.lives]
    decided = not left or (len(left) == 1 and left[0].score == standing[0] > standing[1])
    if state.turn < state.of and (state.pellets or state.powers) and not decided:
        return state
    first = [agent.id for agent in state.agents if agent.score == standing[0]]
    return replace(state, over=True, winner=first[0] if len(first) == 1 else None)
