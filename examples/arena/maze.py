"""The maze: a labyrinth of corridors one cell wide, mirrored left to right, without a dead end, drawn anew for every seed.

    ##########   Rooms stand at odd coordinates; an edge is the cell between two rooms, and opening it joins them. What lies
    #...#....#   between four edges is a pillar. The left half is drawn and mirrored:
    ###.#.##.#     1. a random spanning tree joins every room (so no region is cut off);
    #.........     2. every dead end is opened once more (so nobody can be trapped by one pursuer);
    #.####.#.#     3. some more edges are opened for choice, but no pillar is ever left to stand alone.

In the middle is the pen, where ghosts begin: a box with a door in its roof that only they pass. A tunnel joins the two sides.
A cell is (x, y); x grows to the right, y downwards.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from understudy.examples.arena.chance import Chance

Cell = tuple[int, int]

WIDTH, HEIGHT = 23, 21
STEPS: dict[str, Cell] = {"up": (0, -1), "left": (-1, 0), "down": (0, 1), "right": (1, 0)}
BACK = {"up": "down", "down": "up", "left": "right", "right": "left", "none": "none"}

MIDDLE = WIDTH // 2
TUNNEL_ROW = 11
PEN = frozenset((x, y) for x in range(9, 14) for y in range(9, 12))
DOOR = (MIDDLE, 8)
GATE = (MIDDLE, 7)
"""The corridor cell above the door, where a ghost enters the game."""
PEN_HEART = (MIDDLE, 10)
EXTRA = 0.3
"""The share of the remaining edges that is opened for choice."""


@dataclass(frozen=True)
class Maze:
    """Corridors, and which way leads where. `exits[cell]` maps a direction to the neighbouring cell, tunnel included."""

    corridors: frozenset[Cell]
    exits: Mapping[Cell, Mapping[str, Cell]]
    to_pen: Mapping[Cell, int]
    """Steps to the middle of the pen, for a ghost on its way home: it alone passes the door."""
    to_gate: Mapping[Cell, int]
    ghost_exits: Mapping[Cell, Mapping[str, Cell]]
    _distances: dict[Cell, Mapping[Cell, int]] = field(
        default_factory=dict[Cell, Mapping[Cell, int]], compare=False, repr=False
    )

    def distances(self, target: Cell) -> Mapping[Cell, int]:
        """Steps from every corridor cell to `target`."""
        if target not in self._distances:
            self._distances[target] = _distances(self.exits, target)
        return self._distances[target]

    def ahead(self, cell: Cell, direction: str, steps: int) -> Cell:
        """Where `steps` steps straight on lead, or the last cell before a wall."""
        for _ in range(steps):
            cell = self.exits[cell].get(direction, cell)
        return cell


def draw(chance: Chance) -> Maze:
    """A new maze."""
    corridors = _mirrored(_left_half(chance))
    inside = corridors | PEN | {DOOR}
    ghost_exits = _exits(inside)
    return Maze(
        corridors=frozenset(corridors),
        exits=_exits(corridors),
        ghost_exits=ghost_exits,
        to_pen=_distances(ghost_exits, PEN_HEART),
        to_gate=_distances(ghost_exits, GATE),
    )


def _left_half(chance: Chance) -> set[Cell]:
    """The open cells with x <= MIDDLE: rooms, and the edges opened between them."""
    rooms = [(x, y) for x in range(1, MIDDLE + 1, 2) for y in range(1, HEIGHT, 2) if (x, y) not in PEN]
    known = set(rooms)
    edges = [(x + dx, y + dy) for x, y in rooms for dx, dy in ((1, 0), (0, 1)) if (x + 2 * dx, y + 2 * dy) in known]
    around_pen = [(x, y) for x, y in edges if (x == 7 and 7 < y < 13) or (y in (7, 13) and 7 < x < MIDDLE)]
    chance.shuffle(edges)
    group = {room: room for room in rooms}

    def leader(room: Cell) -> Cell:
        while group[room] != room:
            room = group[room]
        return room

    opened = {(0, TUNNEL_ROW)}
    for edge in around_pen + edges:
        one, other = (leader(room) for room in _ends(edge))
        if one != other:
            group[one] = other
            opened.add(edge)

    def frees_a_pillar(edge: Cell) -> bool:
        return any(_stands_alone(pillar, opened | {edge}) for pillar in _pillars(edge))

    for room in rooms:
        closed = [edge for edge in edges if edge not in opened and room in _ends(edge)]
        if closed and _ways_out(room, opened) < 2:
            opened.add(min(closed, key=frees_a_pillar))
    for edge in edges:
        if edge not in opened and chance.random() < EXTRA and not frees_a_pillar(edge):
            opened.add(edge)
    return opened | known


def _ends(edge: Cell) -> tuple[Cell, Cell]:
    """The two rooms that an edge lies between."""
    x, y = edge
    return ((x - 1, y), (x + 1, y)) if x % 2 == 0 else ((x, y - 1), (x, y + 1))


def _pillars(edge: Cell) -> tuple[Cell, Cell]:
    """The two pillars that an edge, while it is a wall, joins."""
    x, y = edge
    return ((x, y - 1), (x, y + 1)) if x % 2 == 0 else ((x - 1, y), (x + 1, y))


def _ways_out(room: Cell, opened: set[Cell]) -> int:
    x, y = room
    return sum((fold(x + dx), y + dy) in opened for dx, dy in STEPS.values())


def _stands_alone(pillar: Cell, opened: set[Cell]) -> bool:
    x, y = pillar
    return all((fold(x + dx), y + dy) in opened for dx, dy in STEPS.values())


def fold(x: int) -> int:
    """The column of the left half that column `x` mirrors."""
    return min(x, WIDTH - 1 - x)


def _mirrored(half: set[Cell]) -> set[Cell]:
    return half | {(WIDTH - 1 - x, y) for x, y in half}


def _exits(cells: Iterable[Cell]) -> dict[Cell, dict[str, Cell]]:
    known = set(cells)
    around: dict[Cell, dict[str, Cell]] = {}
    for x, y in sorted(known):
        neighbours = {name: ((x + dx) % WIDTH, y + dy) for name, (dx, dy) in STEPS.items()}
        around[x, y] = {name: cell for name, cell in neighbours.items() if cell in known}
    return around


def _distances(exits: Mapping[Cell, Mapping[str, Cell]], target: Cell) -> dict[Cell, int]:
    steps = {target: 0}
    queue = deque([target])
    while queue:
        cell = queue.popleft()
        for neighbour in exits[cell].values():
            if neighbour not in steps:
                steps[neighbour] = steps[cell] + 1
                queue.append(neighbour)
    return steps
