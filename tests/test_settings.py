"""The settings: where they come from, what is wrong with them, what is never shown; as the commands say it."""

import json
import os
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from understudy import Node
from understudy.cli import cli
from understudy.secrets import hidden, keep
from understudy.settings import Settings, fields


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, and no settings of whoever runs the tests."""
    for variable in [each for each in os.environ if each.startswith("UNDERSTUDY_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def understudy(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_flags_are_stronger_than_the_environment_and_that_than_the_file(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "understudy.toml").write_text('name = "a"\ncapacity = 1\nroles = ["x"]\ndrain_timeout = 3\n')
    monkeypatch.setenv("UNDERSTUDY_CAPACITY", "2")
    monkeypatch.setenv("UNDERSTUDY_ROLES", "y, z")
    shown = json.loads(understudy("config", "--capacity", "3", "--json").stdout)
    assert shown["name"] == {"value": '"a"', "from": "understudy.toml:1"}
    assert shown["capacity"] == {"value": "3", "from": "--capacity"}
    assert shown["roles"] == {"value": '["y", "z"]', "from": "UNDERSTUDY_ROLES"}
    assert shown["drain_timeout"] == {"value": "3.0", "from": "understudy.toml:4"}
    assert shown["listen"]["from"] == "default"
    (place / "other.toml").write_text('name = "b"\n')
    assert json.loads(understudy("config", "--config", "other.toml", "--json").stdout)["name"]["value"] == '"b"'
    monkeypatch.setenv("UNDERSTUDY_CONFIG", "other.toml")
    assert json.loads(understudy("config", "--json").stdout)["name"]["value"] == '"b"'


def test_each_mistake_is_a_line_with_its_place_and_what_to_do(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "understudy.toml").write_text(
        'lisen = "tcp://127.0.0.1:0"\n\nprobe_misses = "three"\n[probe]\ninterval = 1\n'
    )
    monkeypatch.setenv("UNDERSTUDY_LOG_FORMAT", "xml")
    for command in (("config", "--check"), ("node", "stage-1")):
        wrong = understudy(*command, "--listen", "here")
        assert wrong.exit_code == 2
        lines = wrong.stderr.splitlines()
        assert len(lines) == 5, lines
        assert "Error: understudy.toml:1: there is no setting 'lisen'; did you mean 'listen'?" in lines
        assert any("understudy.toml:3" in line and "probe_misses must be a whole number" in line for line in lines)
        assert any("understudy.toml:4" in line and "'probe_interval'" in line for line in lines)
        assert any("UNDERSTUDY_LOG_FORMAT" in line and "auto, console or json" in line for line in lines)
        assert any("--listen" in line and "tcp://192.168.1.7:4100" in line for line in lines)
        assert "Traceback" not in wrong.stderr
    (place / "understudy.toml").write_text("listen = tcp\n")
    assert "understudy.toml: this is no TOML" in understudy("config", "--check").stderr
    monkeypatch.setenv("UNDERSTUDY_CONFIG", "nowhere.toml")
    assert "nowhere.toml: there is no such file" in understudy("config", "--check").stderr


def test_what_kubernetes_sets_for_a_service_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_GATEWAY_PORT", "tcp://10.0.0.1:4000")
    assert "enableServiceLinks: false" in understudy("config", "--check").stderr
    monkeypatch.delenv("UNDERSTUDY_GATEWAY_PORT")
    monkeypatch.setenv("UNDERSTUDY_LISTN", "tcp://127.0.0.1:0")
    slip = understudy("config", "--check")
    assert (slip.exit_code, "did you mean UNDERSTUDY_LISTEN?" in slip.stderr) == (0, True)


def test_the_example_is_a_file_that_can_be_used_line_by_line(place: Path) -> None:
    example = understudy("config", "--example").stdout
    (place / "commented.toml").write_text(example)
    assert understudy("config", "--check", "--config", "commented.toml").exit_code == 0
    settings = [line.removeprefix("# ") for line in example.splitlines() if " = " in line]
    assert len(settings) > 20
    for line in settings:
        (place / "one.toml").write_text(line + "\n" if not line.startswith("greeting") else f"[app]\n{line}\n")
        checked = understudy("config", "--check", "--config", "one.toml")
        unreadable = line.startswith(("table_file", "token_file"))
        assert checked.exit_code == (2 if unreadable else 0), checked.stderr


SECRET = "xyzzy-hunter2"


def test_no_secret_is_ever_printed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"postgresql://understudy:{SECRET}@db.example.org/understudy"
    (place / "understudy.toml").write_text(f'table = "{url}"\n')
    monkeypatch.setenv("UNDERSTUDY_TOKEN", SECRET)
    given = (("config",), ("config", "--json"), ("config", "--join", "tcp://127.0.0.1:1"), ("config", "--table", url))
    answers = [understudy(*arguments) for arguments in given]
    assert "postgresql://understudy:***@db.example.org/understudy" in answers[0].output
    assert "every user of this machine" in answers[-1].output
    (place / "understudy.toml").write_text(f'table = ["{url}"]\ntoken = {{ a = "{SECRET}" }}\n')
    monkeypatch.delenv("UNDERSTUDY_TOKEN")
    wrong = understudy("config", "--check")
    assert wrong.exit_code == 2
    for answer in (*answers, wrong):
        assert SECRET not in answer.output
        assert SECRET not in repr(answer.exception)


def test_what_a_library_puts_into_a_text_is_struck_out() -> None:
    keep("postgresql://me:p%40ssw0rd@db/x")
    assert hidden("cannot connect with p@ssw0rd or p%40ssw0rd to postgresql://me:p%40ssw0rd@db/x") == (
        "cannot connect with *** or *** to ***"
    )


def test_settings_that_exclude_each_other_are_told_together() -> None:
    both = understudy("config", "--table", "etcd://db:2379", "--join", "tcp://127.0.0.1:1")
    assert (both.exit_code, "table and join are set" in both.output) == (2, True)


def test_what_a_node_takes_is_a_setting_with_the_same_default() -> None:
    taken = signature(Node).parameters
    for name in set(taken) & set(fields()) - {"name", "state"}:
        assert Settings.model_fields[name].default == taken[name].default, name
    assert set(taken) - set(fields()) == {"system", "network"}, "what only programs can give"


def test_commands_that_have_no_settings_do_not_wait_for_the_library_that_reads_them(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pydantic is a third of the time that a command takes to start."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    code = """
import sys
from click.testing import CliRunner
from understudy.cli import cli
for words in ("--help", "keys show", "tree", "status", "drain --help", "config --example"):
    CliRunner().invoke(cli, words.split())
    print(words, [name for name in ("pydantic", "pydantic_settings", "aiohttp") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    *others, example = done.stdout.splitlines()
    assert [line.rpartition(" [")[2] for line in others] == ["]"] * 5, done.stdout
    assert "pydantic_settings" in example
