"""The program an engine runs: a game of the arena, one frame a turn, and who won in the end."""

import secrets
from collections.abc import Generator, Iterator, Sequence
from typing import Literal, TypedDict

from understudy.engine import program
from understudy.examples.arena.bots import HOUSE, Bot
from understudy.examples.arena.frame import Frame, frame, view
from understudy.examples.arena.rules import MAX_TURNS, State, begin, step

RATE = 10.0
"""Turns per second."""


class Result(TypedDict):
    """How a game ended. `winner`: an agent's id, None for a draw. `names`, `scores` and `faults` (answers that were no move) by agent id."""

    winner: str | None
    names: dict[str, str]
    scores: dict[str, int]
    faults: dict[str, int]
    turns: int
    seed: int


@program("arena", rate=RATE)
def play(
    seed: int | None = None,
    bots: list[Literal["greedy", "cautious", "hunter", "wanderer", "loner"]] | None = None,
    agents: Literal[2, 3, 4, 5] = 4,
    turns: int = MAX_TURNS,
) -> Generator[Frame, None, Result]:
    """Play one game: yields a frame for the beginning and one for each turn, and returns the Result.

    The same seed and bots give the same frames; without a seed, one is drawn and stands in the frames. `bots` names one house bot for
    each agent (2 to 5); without it, the first `agents` of the house play. ValueError: an unknown bot, too many or too few.
    """
    names: list[str] = list(HOUSE)[:agents] if bots is None else list(bots)
    for name in names:
        if name not in HOUSE:
            raise ValueError(f"there is no house bot {name!r}; there are: {', '.join(HOUSE)}")
    state = begin(secrets.randbelow(2**32) if seed is None else seed, names, turns)
    for state in contest(state, [HOUSE[name] for name in names]):  # noqa: B020 - each state takes the place of the last
        yield frame(state)
    return Result(
        winner=state.winner,
        names={agent.id: agent.name for agent in state.agents},
        scores={agent.id: agent.score for agent in state.agents},
        faults={agent.id: agent.faults for agent in state.agents},
        turns=state.turn,
        seed=state.seed,
    )


def contest(state: State, bots: Sequence[Bot]) -> Iterator[State]:
    """Every state of a game in which these bots play, one for each agent, from this one to the end."""
    yield state
    while not state.over:
        state = step(state, [_asked(bot, state, seat) for seat, bot in enumerate(bots)])
        yield state


def _asked(bot: Bot, state: State, seat: int) -> object:
    """What a bot answers; None, which the rules count as a fault, when it raises."""
    if not state.agents[seat].alive:
        return "stay"
    try:
        return bot(view(state, seat))
    except Exception:  # noqa: BLE001 - a player's program may fail in any way; the game goes on without its move
        return None
