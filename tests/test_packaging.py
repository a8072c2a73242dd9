"""What a user installs is what stands here: every wing in every table, and a wheel that gets along with their code."""

import subprocess
import sys
import textwrap
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NOT_WINGS = {"understudy", "tests", "benchmarks", "docs", "build", "dist"}
WINGS = sorted(p.parent.name for p in ROOT.glob("*/__init__.py") if p.parent.name not in NOT_WINGS)


@pytest.mark.parametrize("wing", WINGS)
def test_every_wing_is_linked_packaged_and_may_not_be_imported_bare(wing: str) -> None:
    link = ROOT / "understudy" / wing
    setuptools = PROJECT["tool"]["setuptools"]
    banned = PROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]

    assert link.is_symlink()
    assert link.readlink() == Path("..") / wing
    assert f"understudy.{wing}" in setuptools["packages"]
    assert setuptools["package-dir"][f"understudy.{wing}"] == wing
    assert wing in banned or wing == "examples"
    assert f"understudy/{wing}" in PROJECT["tool"]["pyright"]["include"]


def test_every_package_inside_a_wing_is_packaged() -> None:
    packages = set(PROJECT["tool"]["setuptools"]["packages"])
    inside = {
        ".".join(("understudy", *init.parent.relative_to(ROOT).parts))
        for wing in WINGS
        for init in (ROOT / wing).rglob("__init__.py")
    }
    front_door = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for init in (ROOT / "understudy").glob("*/__init__.py")
        if not init.parent.is_symlink()
    }
    assert packages == inside | front_door | {"understudy"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment elsewhere, with nothing but our wheel and what it needs."""
    place = tmp_path_factory.mktemp("elsewhere")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(place), str(ROOT)], check=True, timeout=300)
    (wheel,) = place.glob("understudy-*.whl")
    venv.create(place / "venv", with_pip=False)
    python = place / "venv" / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", str(wheel)], check=True, timeout=300)
    return python


def test_the_wheel_runs_beside_a_users_own_actors_package(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "actors").mkdir()
    (tmp_path / "actors" / "__init__.py").write_text(
        "from understudy import Actor\n\nclass Mine(Actor):\n    def on_receive(self, message): return message * 2\n"
    )
    (tmp_path / "app.py").write_text(
        textwrap.dedent("""
        import asyncio
        import actors
        import understudy.actors
        from understudy import ActorSystem

        async def main():
            async with ActorSystem("app") as system:
                ref = await system.spawn(actors.Mine)
                print(await ref.call(21), actors.__file__ != understudy.actors.__file__)

        asyncio.run(main())
        """)
    )
    done = subprocess.run([str(installed), "app.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout == "42 True\n", done.stderr


def test_the_wheel_carries_its_types_its_pages_and_its_command(installed: Path, tmp_path: Path) -> None:
    site = subprocess.run(
        [str(installed), "-c", "import understudy; print(understudy.__path__[0])"],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
    ).stdout.strip()  # fmt: skip
    for carried in (
        "py.typed",
        "gateway/web/understudy.js",
        "gateway/web/theatre.css",
        "demo/web/index.html",
        "examples/arena/web/arena.js",
        "examples/chat/web/chat.js",
    ):
        assert (Path(site) / carried).is_file(), carried
    version = subprocess.run(
        [str(installed.parent / "understudy"), "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert PROJECT["project"]["version"] in version.stdout


def test_the_layers_are_those_of_the_design() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout
