"""The house bots. A bot is a function `decide(view) -> "up" | "down" | "left" | "right" | "stay"` over plain data (`frame.View`).

It is asked once a turn, keeps nothing between turns, and draws chance only from `view["luck"]`, so that a game can be replayed.
One that raises, or answers anything else, stays where it is for that turn, and that is counted.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from understudy.examples.arena.chance import chance
from understudy.examples.arena.frame import View
from understudy.examples.arena.maze import BACK, STEPS, WIDTH, Cell

Bot = Callable[[View], str]

FAR = 1_000
TURN = 3
"""What turning back costs, in steps: it keeps a bot from stepping to and fro between two ends that are equally good."""


def greedy(view: View) -> str:
    """Takes the nearest pellet, and steps aside only for a ghost it could touch."""
    ways = _ways(view, shunned=_near_danger(view, 1))
    return _towards(view, ways, _food(view, ".o")) or _flee(view)


def cautious(view: View) -> str:
    """Takes the nearest pellet it can reach before any ghost could cut it off; with none, it runs."""
    ways = _safe_ways(view, lead=2)
    return _towards(view, ways, _food(view, ".o")) or _flee(view)


def hunter(view: View) -> str:
    """Waits for its prey to come near a power pellet, eats that, and runs the ghosts down while it lasts."""
    ways = _safe_ways(view, lead=0)
    me = view["me"]
    prey = [(ghost["x"], ghost["y"]) for ghost in view["ghosts"] if ghost["scared"] and not ghost["home"]]
    in_reach = [cell for cell in prey if ways.get(cell, (FAR, ""))[0] <= me["power"] // 2]
    out = [ghost for ghost in view["ghosts"] if not ghost["home"] and not ghost["scared"]]
    wanted = in_reach or (_food(view, "o") if len(out) > 1 and not me["power"] else _food(view, "."))
    return _towards(view, ways, wanted) or _towards(view, ways, _food(view, ".o")) or _flee(view)


def loner(view: View) -> str:
    """Takes the pellets that no rival can reach sooner, the nearest of them first."""
    rivals = [
        (rival["x"], rival["y"]) for rival in view["agents"] if rival["alive"] and rival["id"] != view["me"]["id"]
    ]
    others = _steps(view, rivals)
    ways = _safe_ways(view, lead=2)
    mine = [cell for cell in _food(view, ".o") if cell in ways and ways[cell][0] < others.get(cell, FAR)]
    return _towards(view, ways, mine) or _towards(view, ways, _food(view, ".o")) or _flee(view)


def wanderer(view: View) -> str:
    """Walks on, and turns where chance says, rather to where pellets are; it too steps aside only for a ghost it could touch."""
    me = view["me"]
    exits = _exits(view, (me["x"], me["y"]))
    danger = _near_danger(view, 1)
    open_ways = [way for way in exits if exits[way] not in danger and way != BACK[me["dir"]]]
    fed = [way for way in open_ways if _at(view, exits[way]) in ".o"]
    return chance(view["luck"]).choice(fed or open_ways) if open_ways else _flee(view)


HOUSE: Mapping[str, Bot] = {
    "greedy": greedy,
    "cautious": cautious,
    "hunter": hunter,
    "wanderer": wanderer,
    "loner": loner,
}


def _at(view: View, cell: Cell) -> str:
    return view["rows"][cell[1]][cell[0]]


def _food(view: View, kinds: str) -> list[Cell]:
    return [(x, y) for y, row in enumerate(view["rows"]) for x, character in enumerate(row) if character in kinds]


def _exits(view: View, cell: Cell) -> dict[str, Cell]:
    """The corridor cells next to a cell. The way I walk comes first: of two equal ways a bot takes the one it is on."""
    x, y = cell
    order = sorted(STEPS, key=lambda way: way != view["me"]["dir"])
    around = {way: ((x + STEPS[way][0]) % WIDTH, y + STEPS[way][1]) for way in order}
    return {way: there for way, there in around.items() if _at(view, there) not in "#-"}


def _dangers(view: View) -> list[Cell]:
    return [(ghost["x"], ghost["y"]) for ghost in view["ghosts"] if not ghost["home"] and not ghost["scared"]]


def _steps(view: View, sources: Iterable[Cell], limit: int = FAR) -> dict[Cell, int]:
    """How far every cell within `limit` steps is from the nearest source."""
    steps = dict.fromkeys(sources, 0)
    queue = deque(steps)
    while queue:
        cell = queue.popleft()
        if steps[cell] < limit:
            for there in _exits(view, cell).values():
                if there not in steps:
                    steps[there] = steps[cell] + 1
                    queue.append(there)
    return steps


def _near_danger(view: View, reach: int) -> set[Cell]:
    return set(_steps(view, _dangers(view), reach))


def _ways(
    view: View, shunned: Iterable[Cell] = (), before: Mapping[Cell, int] | None = None, lead: int = 0
) -> dict[Cell, tuple[int, str]]:
    """How far I have to each cell, and by which first step; past no shunned cell, and none where a ghost is less than `lead` steps behind."""
    mine = (view["me"]["x"], view["me"]["y"])
    ways: dict[Cell, tuple[int, str]] = {mine: (0, "stay")}
    queue = deque([mine])
    closed = set(shunned)
    while queue:
        cell = queue.popleft()
        far, first = ways[cell]
        for way, there in _exits(view, cell).items():
            overtaken = before is not None and before.get(there, FAR) < far + 1 + lead
            if there not in ways and there not in closed and not overtaken:
                ways[there] = (far + 1, way if cell == mine else first)
                queue.append(there)
    return ways


def _safe_ways(view: View, lead: int) -> dict[Cell, tuple[int, str]]:
    return _ways(view, before=_steps(view, _dangers(view)), lead=lead)


def _towards(view: View, ways: Mapping[Cell, tuple[int, str]], goals: Iterable[Cell]) -> str | None:
    """The first step to the nearest goal, where turning back counts as TURN steps more: a bot has no memory but the way it walks."""
    me = view["me"]
    reachable = [ways[goal] for goal in goals if goal in ways and ways[goal][0]]
    if not reachable:
        return None
    return min(reachable, key=lambda way: (way[0] + TURN * (way[1] == BACK[me["dir"]]), way[1] != me["dir"]))[1]


def _flee(view: View) -> str:
    """The step after which the nearest ghost is farthest; one back must be worth TURN steps more."""
    me = view["me"]
    far = _steps(view, _dangers(view))
    exits = _exits(view, (me["x"], me["y"]))
    return max(exits, key=lambda way: far.get(exits[way], FAR) - TURN * (way == BACK[me["dir"]]), default="stay")
