"""The arena keeps its rules, whoever plays, and is the same game everywhere for the same seed."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import msgpack
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.examples.arena import play
from understudy.examples.arena.__main__ import main
from understudy.examples.arena.bots import HOUSE, Bot
from understudy.examples.arena.chance import chance
from understudy.examples.arena.frame import View, frame, view
from understudy.examples.arena.maze import BACK, HEIGHT, PEN, WIDTH, draw
from understudy.examples.arena.play import contest
from understudy.examples.arena.rules import ACTS, LIVES, MOVES, STARTS, State, begin, step

SEEDS = st.integers(0, 2**32)
NAMES = st.lists(st.sampled_from(sorted(HOUSE)), min_size=2, max_size=5)


def finished(state: State, *bots: Bot) -> State:
    return list(contest(state, bots))[-1]


def stay(view: View) -> str:
    return "stay"


def randomly(random: Random) -> Bot:
    return lambda view: random.choice(MOVES)


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS)
def test_a_maze_is_symmetric_whole_and_without_dead_ends(seed: int) -> None:
    maze = draw(chance(seed))
    assert all((WIDTH - 1 - x, y) in maze.corridors for x, y in maze.corridors)
    assert set(maze.distances((1, 1))) == maze.corridors
    assert all(len(exits) >= 2 for exits in maze.exits.values())
    assert all(0 < y < HEIGHT - 1 for _, y in maze.corridors)
    assert not maze.corridors & PEN
    assert maze.exits[0, 11]["left"] == (WIDTH - 1, 11)
    assert set(STARTS) <= maze.corridors


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, names=NAMES, moves=st.randoms(use_true_random=False))
def test_every_turn_of_any_game_keeps_the_rules(seed: int, names: list[str], moves: Random) -> None:
    """Half of the seats play a house bot, the others move at random."""
    bots: list[Bot] = [HOUSE[name] if seat % 2 else randomly(moves) for seat, name in enumerate(names)]
    before = begin(seed, names, of=150)
    exits, corridors = before.maze.exits, before.maze.corridors
    for after in list(contest(before, bots))[1:]:
        assert after.turn == before.turn + 1
        assert after.pellets <= before.pellets or after.act == before.act + 1 <= ACTS
        for was, now in zip(before.agents, after.agents):
            assert now.score >= was.score
            assert now.lives <= was.lives
            assert now.cell in corridors
            assert not was.alive or now.cell in {was.cell, *exits[was.cell].values()}
        for haunted, haunts in zip(before.ghosts, after.ghosts):
            assert haunts.cell in {haunted.cell, *before.maze.ghost_exits[haunted.cell].values()}
            assert haunts.home or haunts.cell in corridors
            assert haunts.dir != BACK[haunted.dir] or haunts.dir == "none" or haunts.scared or haunts.home
        assert all(
            not agent.alive or agent.cell != ghost.cell
            for agent in after.agents
            for ghost in after.ghosts
            if ghost.dangerous
        )
        before = after
    assert before.over
    assert before.turn <= 150


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, names=NAMES)
def test_a_frame_is_whole_in_itself_small_and_plain(seed: int, names: list[str]) -> None:
    for state in contest(begin(seed, names, of=30), [HOUSE[name] for name in names]):
        seen = frame(state)
        packed = msgpack.packb(seen)
        assert msgpack.unpackb(packed) == seen
        assert len(packed) < 2_000
        assert [len(row) for row in seen["rows"]] == [WIDTH] * HEIGHT
        assert sum(row.count(".") for row in seen["rows"]) == len(state.pellets)
        assert all(seen["rows"][agent["y"]][agent["x"]] not in "#-" for agent in seen["agents"])
        assert len({agent["colour"] for agent in seen["agents"]}) == len(names)


def digest_of_a_game(hash_seed: str) -> str:
    code = (
        "import hashlib, msgpack; from understudy.examples.arena import play\n"
        "print(hashlib.sha256(msgpack.packb(list(play(seed=7, agents=5, turns=80)))).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_same_seed_gives_the_same_frames_in_every_process() -> None:
    here = hashlib.sha256(msgpack.packb(list(play(seed=7, agents=5, turns=80)))).hexdigest()
    assert digest_of_a_game("1") == digest_of_a_game("2") == here


def test_another_seed_gives_another_game() -> None:
    first, second = (finished(begin(seed, ["a", "b"], of=60), HOUSE["greedy"], HOUSE["hunter"]) for seed in (1, 2))
    assert first.maze != second.maze
    assert [agent.score for agent in first.agents] != [agent.score for agent in second.agents]


def test_without_a_seed_one_is_drawn_and_told() -> None:
    first, second = (next(play(turns=1)) for _ in range(2))
    assert first["seed"] != second["seed"]
    assert next(play(seed=first["seed"], turns=1)) == first


@pytest.mark.parametrize("name", HOUSE)
def test_every_house_bot_beats_one_that_stays(name: str) -> None:
    for seed in range(3):
        end = finished(begin(seed, [name, "stay"], of=100), HOUSE[name], stay)
        assert end.agents[0].score > 3 * end.agents[1].score, f"seed {seed}"


@pytest.mark.parametrize("seed", range(2))
def test_a_game_of_the_house_is_worth_watching(seed: int) -> None:
    """30 to 60 s at ten turns a second; everybody scores; nobody stands still or steps to and fro."""
    names = list(HOUSE)[:4]
    states = list(contest(begin(seed, names), [HOUSE[name] for name in names]))
    assert 250 <= states[-1].turn <= 600
    assert all(agent.score > 300 for agent in states[-1].agents)
    for seat, name in enumerate(names):
        dirs = [state.agents[seat].dir for state in states[1:] if state.agents[seat].alive]
        turned = [after == BACK[before] != "none" for before, after in pairwise(dirs)]
        assert sum(turned) < 0.1 * len(dirs), name
        assert dirs.count("none") < 0.1 * len(dirs), name
        assert not any(all(turned[i : i + 3]) for i in range(len(turned) - 3)), f"{name} steps to and fro"


def test_a_bot_that_raises_or_talks_nonsense_stays_and_is_counted() -> None:
    def raises(view: View) -> str:
        raise RuntimeError("I am a bad bot")

    answers: list[Callable[[View], Any]] = [raises, lambda view: "jump", lambda view: ["up"]]
    end = finished(begin(3, ["raises", "jumps", "lists"], of=10), *answers)
    assert [agent.faults for agent in end.agents] == [10, 10, 10]
    assert {agent.cell for agent in end.agents} <= set(STARTS)


def test_a_bot_cannot_change_the_game_through_its_view() -> None:
    def vandal(view: View) -> str:
        view["rows"].clear()
        view["me"]["score"] = 10_000
        view["ghosts"].clear()
        return "stay"

    state = begin(5, ["vandal", "greedy"], of=20)
    assert finished(state, vandal, HOUSE["greedy"]).agents == finished(state, stay, HOUSE["greedy"]).agents


def test_power_eats_ghosts_for_more_each_and_sends_them_home() -> None:
    state = begin(1, ["a", "b"])
    here = state.agents[0].cell
    prey = tuple(replace(ghost, cell=here, home=False, scared=20) for ghost in state.ghosts)
    state = replace(state, ghosts=prey, agents=(replace(state.agents[0], power=20), state.agents[1]))
    after = step(state, ["stay", "stay"])
    assert after.agents[0].score == 80 + 160 + 320 + 640
    assert all(ghost.home and not ghost.scared for ghost in after.ghosts)


def test_a_ghost_costs_a_life_and_the_agent_comes_back_away_from_it() -> None:
    state = begin(1, ["a", "b"])
    here = state.agents[0].cell
    state = replace(state, ghosts=(replace(state.ghosts[0], cell=here, home=False), *state.ghosts[1:]))
    state = step(state, ["stay", "stay"])
    assert (state.agents[0].lives, state.agents[0].alive) == (LIVES - 1, False)
    while not state.agents[0].alive:
        state = step(state, ["stay", "stay"])
    assert state.maze.distances(state.ghosts[0].cell)[state.agents[0].cell] > 5


def test_an_agent_and_a_ghost_cannot_pass_through_each_other() -> None:
    state = begin(1, ["a", "b"])
    way, there = next(iter(state.maze.exits[state.agents[0].cell].items()))
    ghost = replace(state.ghosts[0], cell=there, dir=BACK[way], home=False)
    after = step(replace(state, ghosts=(ghost, *state.ghosts[1:])), [way, "stay"])
    assert after.agents[0].lives == LIVES - 1


def test_the_last_one_left_wins_at_once_when_it_leads() -> None:
    state = begin(1, ["a", "b"])
    gone = replace(state.agents[1], lives=0)
    after = step(replace(state, agents=(replace(state.agents[0], score=50), gone)), ["stay", "stay"])
    assert (after.over, after.winner) == (True, "agent-1")
    with pytest.raises(ValueError, match="over at turn 1"):
        step(after, ["stay", "stay"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"bots": ["greedy", "grredy"]}, "no house bot 'grredy'; there are: greedy, cautious"),
        ({"bots": ["greedy"]}, "seats 2 to 5 agents, not 1"),
        ({"bots": ["greedy"] * 6}, "seats 2 to 5 agents, not 6"),
        ({"agents": 1}, "seats 2 to 5 agents, not 1"),
        ({"turns": 0}, "at least one turn, not 0"),
    ],
)
def test_a_game_that_cannot_be_says_why(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        next(play(**arguments))


def test_it_plays_in_a_terminal() -> None:
    done = CliRunner().invoke(main, ["--seed", "7", "--agents", "2"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("seed 7: agent-")


def test_a_view_tells_a_bot_which_agent_it_is() -> None:
    state = begin(1, ["a", "b"])
    assert view(state, 1)["me"] == frame(state)["agents"][1]
    assert view(state, 0)["luck"] != view(state, 1)["luck"]
