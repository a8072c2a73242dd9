"""The pytest plugin, seen from a user's project: seeds, replay, the fixed hash seed."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


def run(place: Path, test: str, *options: str, **environment: str) -> tuple[int, str]:
    """Run pytest in a project of one file, with a hash seed of chance; its exit code and what it printed."""
    (place / "test_mine.py").write_text(textwrap.dedent(test))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONHASHSEED", "UNDERSTUDY_SEED")}
    done = subprocess.run(
        command, cwd=place, env=clean | environment, text=True, capture_output=True, check=False, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


RACE = """
    import asyncio, pytest

    @pytest.mark.seeds(100)
    async def test_count():
        count = 0
        async def add(pauses):
            nonlocal count
            for _ in range(pauses):
                await asyncio.sleep(0)
            before = count
            await asyncio.sleep(0)
            count = before + 1
        await asyncio.gather(add(0), add(4))
        print(f"count={count}")
        assert count == 2
"""


def test_a_failing_seed_prints_the_line_that_replays_it(tmp_path: Path) -> None:
    code, output = run(tmp_path, RACE)
    assert code == 1
    (line,) = re.findall(r"^pytest test_mine.py::test_count --seed \d+$", output, re.MULTILINE)
    assert "task-1" in output  # the last events
    again, replayed = run(tmp_path, RACE, *line.split()[1:])
    assert again == 1
    assert replayed.count("count=1") == 1  # that seed alone
    assert line in replayed


def test_it_does_so_from_the_workers_of_xdist_too(tmp_path: Path) -> None:
    code, output = run(tmp_path, RACE, "-n", "2")
    assert code == 1
    (line,) = re.findall(r"^pytest test_mine.py::test_count --seed \d+$", output, re.MULTILINE)
    again, replayed = run(tmp_path, RACE, *line.split()[1:])
    assert again == 1
    assert line in replayed


def test_other_seeds_by_a_base_or_a_number_of_them(tmp_path: Path) -> None:
    seen = """
        import pytest
        @pytest.mark.seeds(3, twice=0)
        async def test_seeds(simulation):
            with open("seeds", "a") as file:
                print(simulation.seed, file=file)
    """
    code, output = run(tmp_path, seen)
    assert code == 0, output
    run(tmp_path, seen)
    run(tmp_path, seen, UNDERSTUDY_SEED="1")
    run(tmp_path, seen, "--seeds", "5")
    lines = (tmp_path / "seeds").read_text().split()
    first, second, other, more = lines[:3], lines[3:6], lines[6:9], lines[9:]
    assert first == second == more[:3]
    assert not set(first) & set(other)
    assert len(set(more)) == 5


def test_the_hash_seed_is_fixed_only_where_a_test_is_simulated(tmp_path: Path) -> None:
    code, output = run(tmp_path, "import os\nasync def test_it(simulation): assert os.environ['PYTHONHASHSEED'] == '0'")
    assert code == 0, output
    code, output = run(tmp_path, "import os\ndef test_it(): assert 'PYTHONHASHSEED' not in os.environ")
    assert code == 0, output
    kept = "import os\nasync def test_it(simulation): assert os.environ['PYTHONHASHSEED'] == '5'"
    code, output = run(tmp_path, kept, PYTHONHASHSEED="5")
    assert code == 0, output


def test_a_program_that_calls_pytest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("async def test_it(simulation): pass\n")
    (tmp_path / "program.py").write_text("import pytest\nprint('begun')\nprint('went on', pytest.main(['-q']))\n")
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=clean, text=True, capture_output=True, check=True, timeout=120
    )
    assert done.stdout.count("begun") == 1
    assert "went on 0" in done.stdout


def test_what_does_not_replay_is_named(tmp_path: Path) -> None:
    code, output = run(
        tmp_path,
        """
        import asyncio, pytest
        runs = []
        @pytest.mark.seeds(2)
        async def test_it(simulation):
            runs.append(1)
            simulation.event(f"run {len(runs)}")
        """,
    )
    assert code == 1
    assert "one run has [0.0 run 1], the other has [0.0 run 2]" in output


def test_a_fixture_that_is_built_on_the_simulation_gets_one_seed_or_an_explanation(tmp_path: Path) -> None:
    fixture = """
        import pytest
        @pytest.fixture
        def mine(simulation):
            return simulation
        async def test_one(mine, simulation):
            assert mine is simulation
        @pytest.mark.seeds(2)
        async def test_two(mine):
            pass
    """
    code, output = run(tmp_path, fixture)
    assert code == 1
    assert "1 failed, 1 passed" in output
    assert "the fixtures mine ask for `simulation`" in output


def test_plain_tests_drive_a_simulation_themselves(tmp_path: Path) -> None:
    code, output = run(
        tmp_path,
        """
        import asyncio, pytest
        @pytest.mark.seeds(3, max_time=10)
        def test_it(simulation):
            async def main():
                await asyncio.sleep(9)
                return simulation.time
            assert simulation.run(main) == 9
        @pytest.mark.seeds(1, max_time=10)
        async def test_long(simulation):
            await asyncio.sleep(11)
        """,
    )
    assert "1 failed, 1 passed" in output
    assert "10 virtual seconds are over" in output
    assert code == 1


DIGEST = """
import asyncio
from understudy.actors import Actor, ActorSystem, ThreadActor
from understudy.simulation import Simulation
from understudy.supervisors import Child, Supervisor

class Worker(Actor):
    async def on_receive(self, message):
        await asyncio.sleep(message)
        if message == 3:
            raise ValueError("three")
        return message

class Blocking(ThreadActor):
    def on_receive(self, message):
        return message

class Top(Supervisor):
    intensity = 10
    def children(self):
        return [Child(Worker, name=f"worker/{n}") for n in range(3)] + [Child(Blocking, name="thread")]

async def main():
    async with ActorSystem("x") as system:
        await system.spawn(Top)
        names = {f"worker/{n}" for n in range(3)}
        calls = [system.ref(sorted(names)[n % 3]).call(n % 5, 20) for n in range(12)]
        await asyncio.gather(*calls, system.ref("thread").call(1), return_exceptions=True)

simulation = Simulation(1234)
simulation.run(main)
print(simulation.trace.count, simulation.trace.digest)
"""


@pytest.mark.filterwarnings("ignore")
def test_a_seed_has_one_digest_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "digest.py").write_text(DIGEST)
    rounds = int(os.environ.get("UNDERSTUDY_PROCESSES", "6"))
    seen = set()
    for hash_seed in range(rounds):
        environment = os.environ | {"PYTHONHASHSEED": str(hash_seed * 7919)}
        done = subprocess.run(
            [sys.executable, "digest.py"], cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        seen.add(done.stdout)
    assert len(seen) == 1, seen
    assert int(seen.pop().split()[0]) > 100
