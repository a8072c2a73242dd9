"""The proof of the properties: bugs that were planted by somebody who had not seen them are found, and nothing else is.

    for each tests/simulation/planted/NN-*.patch
        a copy of the tree with that one bug in it, in a folder of its own
        a process that imports the copy runs every property with seed after seed, until one of them fails
    and once with no bug at all: whatever fails there is a false alarm

Which property is to find which bug stands in tests/simulation/planted/README.md. A bug that no property finds is listed
there as such; whether one is found that stands there with its property is what the proof is about.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import understudy
from tests.limited import HANGS
from tests.proof import PROCESSES, Outcome, proof
from tests.properties import ROOT, Property, properties, run, said, seed_of

PATCHES = ROOT / "tests" / "simulation" / "planted"


class Find(NamedTuple):
    """What gave a bug away: the `number`-th seed of a property, after so many runs of any property."""

    test: str
    seed: int
    number: int
    runs: int
    message: str


class Stale(Exception):
    """A patch does not fit the tree any more."""


class Broken(Exception):
    """A search came to no result: the copy cannot even be imported."""


def bugs() -> list[Path]:
    """The patches, each of which plants one bug."""
    return sorted(PATCHES.glob("[0-9][0-9]-*.patch"))


def finders() -> dict[str, str]:
    """Of each bug, by its number, the test that is expected to find it, as the README has it; "" if none is."""
    rows = re.findall(r"^\| (\d\d) [^|]*\| (?:`(test_\w+\.py::\w+)`|nobody)[^|]*\|", _readme(), re.MULTILINE)
    return {number: f"tests/simulation/{test}" if test else "" for number, test in rows}


def _readme() -> str:
    return (PATCHES / "README.md").read_text()


# --- a copy of the tree, with a bug in it ---


@contextmanager
def copy_of_the_tree(patch: Path | None) -> Iterator[Path]:
    """A folder with all that the repository has, as it is now, and with `patch` applied. Raises Stale."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        copy = Path(folder).resolve()
        for name in listed.stdout.decode().rstrip("\0").split("\0"):
            if (ROOT / name).is_symlink() or (ROOT / name).exists():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
        if patch is not None:
            plant(patch, copy)
        yield copy


def plant(patch: Path, copy: Path) -> None:
    """Apply a patch, hunk by hunk: where it says, or in the one other file of that folder that fits, for code moves. Raises Stale."""
    for file, hunk in _hunks(patch.read_text()):
        if _applies(file, hunk, copy):
            continue
        others = [path.relative_to(copy).as_posix() for path in sorted((copy / file).parent.glob("*.py"))]
        fitting = [other for other in others if _applies(other, hunk, copy, "--check")]
        if len(fitting) != 1 or not _applies(fitting[0], hunk, copy):
            elsewhere = f"but {' and '.join(fitting)} do" if fitting else "nor does any file beside it"
            raise Stale(f"{patch.name}: {file} does not fit any more, {elsewhere}; make it anew:\n{hunk}")


def _hunks(patch: str) -> Iterator[tuple[str, str]]:
    """Each hunk, and the file it is for."""
    for part in re.split(r"^(?=--- )", patch, flags=re.MULTILINE)[1:]:
        head, *hunks = re.split(r"^(?=@@ )", part, flags=re.MULTILINE)
        file = re.findall(r"^\+\+\+ b/(\S+)", head, re.MULTILINE)[0]
        yield from ((file, re.split(r"^diff ", hunk, flags=re.MULTILINE)[0]) for hunk in hunks)


def _applies(file: str, hunk: str, copy: Path, *options: str) -> bool:
    # One line of context is enough, as for patch(1); and no repository around the folder has a say in it.
    return not subprocess.run(
        ["git", "apply", "-p1", "-C1", *options, "-"],
        cwd=copy, env=os.environ | {"GIT_CEILING_DIRECTORIES": str(copy.parent)},
        input=f"--- a/{file}\n+++ b/{file}\n{hunk}", check=False, capture_output=True, text=True,
    ).returncode  # fmt: skip


# --- the search, in a process that imports the copy ---


def search(tests: Sequence[str], base: int, count: int, *, all_of_them: bool) -> None:
    """Run the properties in turn, one seed of each after the other, up to `count` seeds; say on stdout what is done.

    A line of JSON before each run, and one for each that fails. Ends with the first failure, unless `all_of_them`.
    """
    home = Path.cwd().resolve()
    assert Path(understudy.__file__).resolve().is_relative_to(home), f"{understudy.__file__} is not the copy in {home}"
    for wing in ("actors", "supervisors", "transport", "gateway", "simulation"):
        imported = Path(__import__(f"understudy.{wing}", fromlist=["*"]).__file__ or "").resolve()
        assert imported.is_relative_to(home), f"{imported} is not the copy in {home}"
    logging.disable(logging.CRITICAL)
    chosen = [what for what in properties() if not tests or what.test in tests]
    assert chosen, f"no property is one of {tests}"
    gc.freeze()
    runs = 0
    for number in range(count):
        for what in chosen:
            seed = seed_of(base, number)
            runs += 1
            line = {"test": what.test, "seed": seed, "number": number + 1, "runs": runs}
            print(json.dumps(line), flush=True)
            try:
                run(what, seed)
            except Exception as error:  # noqa: BLE001 - whatever it is, it gives the bug away
                print(json.dumps(line | {"message": said(error)}), flush=True)
                if not all_of_them:
                    return
    print(json.dumps({"done": runs}), flush=True)


async def find(
    patch: Path | None, base: int, count: int, tests: Sequence[str] = (), *, all_of_them: bool = False
) -> list[Find]:
    """Plant a bug, or none, and search for it in a process of its own. Raises Stale and Broken."""
    with copy_of_the_tree(patch) as copy:
        command = [sys.executable, "-P", "-m", "tests.planted", str(base), str(count), *tests]
        process = await asyncio.create_subprocess_exec(
            *command, *(["--all"] if all_of_them else []),
            cwd=copy, env=os.environ | {"PYTHONPATH": str(copy), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        errors = asyncio.ensure_future(process.stderr.read())
        try:
            return await _follow(process, errors)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await errors


async def _follow(process: asyncio.subprocess.Process, errors: asyncio.Future[bytes]) -> list[Find]:
    assert process.stdout is not None
    found: list[Find] = []
    last: dict[str, Any] = {}
    while True:
        try:
            line = await asyncio.wait_for(process.stdout.readline(), HANGS)
        except TimeoutError:
            if not last:
                raise Broken(f"the search did not begin within {HANGS:.0f} s") from None
            return [*found, Find(**last, message=f"hangs: this seed was not over after {HANGS:.0f} s")]
        if not line:
            break
        said = json.loads(line)
        if "message" in said:
            found.append(Find(**said))
        elif "done" not in said:
            last = said
    if await process.wait() == 0:
        return found
    if not last:
        raise Broken((await errors).decode()[-1500:])
    return [*found, Find(**last, message=f"the process ended: {(await errors).decode()[-300:]}")]


# --- the proof ---


@proof("planted", seeds=1_000)
def planted(seed: int, count: int) -> Outcome:
    """Every planted bug that the README says is found is found, within so many seeds; nothing is where there is none."""
    return asyncio.run(_planted(seed, count))


async def _planted(seed: int, count: int) -> Outcome:
    at_a_time = asyncio.Semaphore(PROCESSES)
    expected = finders()
    everything = properties(whole_clusters=False)
    tests = [what.test for what in everything]

    async def false_alarms(what: Property) -> list[Find]:
        async with at_a_time:
            return await find(None, seed, count, [what.test], all_of_them=True)

    async def search_for(patch: Path) -> dict[str, Any]:
        async with at_a_time:
            try:
                found = await find(patch, seed, count, [*tests, expected[patch.name[:2]]])
            except (Stale, Broken) as error:
                print(f"{patch.stem}: {type(error).__name__}: {error}", flush=True)
                return {"bug": patch.stem, "found": False, "error": f"{type(error).__name__}: {error}"}
        for each in found:
            print(
                f"{patch.stem}: {each.test} with its seed number {each.number} ({each.seed})\n  {each.message}",
                flush=True,
            )
            return {"bug": patch.stem, "found": True, **each._asdict()}
        print(f"{patch.stem}: not found", flush=True)
        return {"bug": patch.stem, "found": False}

    results = await asyncio.gather(*map(search_for, bugs()))
    alarms = [alarm for alarms in await asyncio.gather(*map(false_alarms, everything)) for alarm in alarms]
    for alarm in alarms:
        print(f"FALSE ALARM: PYTHONHASHSEED=0 pytest {alarm.test} --seed {alarm.seed}\n  {alarm.message}", flush=True)
    figures = {
        "properties": len(everything),
        "seeds_per_property": count,
        "planted": len(results),
        "found": sum(result["found"] for result in results),
        "false_alarms": [alarm._asdict() for alarm in alarms],
        "bugs": results,
    }
    well = all(result["found"] or not (expected[result["bug"][:2]] or "error" in result) for result in results)
    return Outcome(figures, bool(results) and well and not alarms)


def main() -> None:
    """What the process of a search runs."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted")
    parser.add_argument("base", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("tests", nargs="*")
    parser.add_argument("--all", action="store_true", help="go on after a failure")
    options = parser.parse_args()
    search(options.tests, options.base, options.count, all_of_them=options.all)


if __name__ == "__main__":
    main()
