"""The published browser client: its types are those of its code, and a program installs it and talks to a gateway with it.

gateway/web ──npm pack──> package ──npm install──> a program in TypeScript ──tsc, node──> ══ the gateway
"""

import asyncio
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.gateway_helpers import gateway
from tests.system.test_phoenix_client import tool

WEB = Path(__file__).parent.parent.parent / "gateway" / "web"
PROGRAM = Path(__file__).with_name("client_program.ts")
TYPESCRIPT = "typescript@7.0.2"
"""One version, since each writes declarations in its own way."""


def npm(folder: Path, *command: str) -> None:
    subprocess.run([tool("npm"), *command], cwd=folder, check=True, capture_output=True, timeout=120)


def tsc(folder: Path, *options: str) -> str:
    """What the compiler has to say."""
    compiler = folder / "node_modules" / ".bin" / "tsc"
    done = subprocess.run([compiler, *options], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program's folder, with our package and the compiler installed."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "package.json").write_text('{"name": "program", "private": true, "type": "module"}')
    npm(folder, "pack", str(WEB))
    (package,) = folder.glob("*.tgz")
    npm(folder, "install", "--no-audit", "--no-fund", "--no-update-notifier", str(package), TYPESCRIPT)
    return folder


def test_the_package_holds_the_client_and_nothing_of_our_pages(project: Path) -> None:
    (package,) = project.glob("*.tgz")
    with tarfile.open(package) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
    modules = {"understudy", "channel", "frames", "patience", "presence", "requests"}
    assert names == {
        "package.json",
        "README.md",
        *(f"{name}.js" for name in modules),
        *(f"types/{name}.d.ts" for name in modules),
    }
    described = json.loads((WEB / "package.json").read_text())
    assert "dependencies" not in described


def test_our_modules_pass_the_strict_compiler_and_their_declarations_are_what_it_makes_of_them(
    project: Path, tmp_path: Path
) -> None:
    assert tsc(project, "--project", str(WEB), "--outDir", str(tmp_path)) == ""
    made = {file.name: file.read_text() for file in tmp_path.glob("*.d.ts")}
    kept = {file.name: file.read_text() for file in (WEB / "types").glob("*.d.ts")}
    assert made == kept, f"make them anew: npx --package {TYPESCRIPT} tsc --project gateway/web"


async def test_a_program_in_typescript_installs_the_package_and_talks_to_a_gateway(project: Path) -> None:
    (project / "program.ts").write_text(PROGRAM.read_text())
    options = ("--strict", "--target", "es2023", "--module", "nodenext", "--lib", "es2023,dom", "--types", "")
    assert tsc(project, *options, "program.ts") == ""
    async with gateway() as served:
        program = await asyncio.create_subprocess_exec(
            tool("node"),
            "program.js",
            served.url,
            cwd=project,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        await asyncio.wait_for(program.stdout.readuntil(b"joined\n") if program.stdout else asyncio.sleep(0), 30)
        for connection in list(served.services.connections):
            connection.reset()
        output, _ = await program.communicate()
        assert program.returncode == 0, output.decode()


async def test_the_compiler_finds_what_a_program_gets_wrong(project: Path) -> None:
    (project / "wrong.ts").write_text(
        'import { Socket } from "@understudy/client";\nnew Socket().channel("a").onResync((snapshot, b, c) => b);\n'
    )
    said = tsc(project, "--noEmit", "--strict", "--target", "es2023", "--module", "nodenext", "--types", "", "wrong.ts")
    assert "not assignable" in said
