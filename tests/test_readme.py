"""The README's code is run, not only read."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_program_in_the_readme_prints_what_it_says(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("['hello']\n", "")


def test_the_readme_holds_no_placeholder() -> None:
    assert re.findall(r"\b(?:FIGURES|TODO|TBD|PLACEHOLDER)\b", README) == []


def test_every_file_that_the_documentation_points_to_is_there() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")]
    missing = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert missing == []


def test_every_test_that_the_documentation_names_is_there() -> None:
    missing = [
        f"{page.relative_to(ROOT)}: {file}::{name}"
        for page in [ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")]
        for file, name in re.findall(r"(tests/[\w/]+\.py)::(\w+)", page.read_text())
        if not (ROOT / file).exists() or not re.search(rf"def {name}\b", (ROOT / file).read_text())
    ]
    assert missing == []
