"""The folder of keys and the command that changes it: whole or not at all, and clear about what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from understudy.cli import cli
from understudy.transport import KeyFolder, KeyTrouble
from understudy.transport.keys import fingerprint, new_pair, pair_of, read_key
from understudy.transport.token import Token, read_token
from understudy.transport.trust import Trust

KEY = new_pair().public


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    folder = KeyFolder(tmp_path / "keys")
    folder.make("stage")
    return folder


def test_a_secret_is_its_users_alone_and_is_made_once(folder: KeyFolder) -> None:
    [pair] = folder.held().own["stage"]
    file = folder.path / "own" / "stage.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().strip() == pair.secret
    assert pair_of(pair.secret) == pair
    assert pair.secret not in repr(pair)
    folder.make("stage")
    assert folder.held().own["stage"] == (pair,)
    assert pair.public in (folder.path / "own" / "stage.pub").read_text()


def test_a_secret_that_others_can_read_is_refused(folder: KeyFolder) -> None:
    (folder.path / "own" / "stage.key").chmod(0o640)
    with pytest.raises(KeyTrouble, match=r"stage\.key can be read by others: `chmod 600"):
        folder.held()


@pytest.mark.parametrize("content", ["", "x" * 64, "a" * 63, "\0\0", "# only words\n"])
def test_a_damaged_secret_is_a_clear_error_and_no_new_one_is_made(folder: KeyFolder, content: str) -> None:
    file = folder.path / "own" / "stage.key"
    file.write_text(content)
    with pytest.raises(KeyTrouble, match=r"stage\.key is damaged: .*understudy keys init"):
        Trust("stage", folder)
    assert file.read_text() == content


@pytest.mark.parametrize(("file", "match"), [("authorized/b.pub", "no key"), ("revoked/b.pub", "no key")])
def test_a_damaged_public_key_is_a_clear_error(folder: KeyFolder, file: str, match: str) -> None:
    (folder.path / file).write_text("0123\n")
    with pytest.raises(KeyTrouble, match=rf"b\.pub is damaged: .*{match}"):
        folder.held()


def test_a_folder_that_cannot_be_made_or_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyTrouble, match=r"cannot be written.*Not a directory"):
        KeyFolder(tmp_path / "file" / "keys").make("stage")


def test_a_full_disk_leaves_what_was_there(folder: KeyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = folder.held()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for change in (lambda: folder.rotate("stage"), lambda: folder.trust("b", KEY), lambda: folder.make("c")):
        with pytest.raises(KeyTrouble, match="No space left on device"):
            change()
    assert folder.held() == before
    assert not list(folder.path.rglob("*.part"))


def test_any_name_of_a_node_has_a_file_of_its_own(folder: KeyFolder) -> None:
    names = ["a/b", "../up", ".", "..", "ä ö", "x.pub", "%2E", "-rf"]
    for name in names:
        folder.trust(name, KEY)
    assert sorted(folder.held().trusted) == sorted(names)
    assert not (folder.path / "up.pub").exists()


def test_a_reading_is_repeated_only_when_something_has_changed(folder: KeyFolder) -> None:
    first = folder.read()
    assert first is not None
    assert folder.read(first[0]) is None
    folder.trust("b", KEY)
    second = folder.read(first[0])
    assert second is not None
    assert second[1].trusted == {"b": (KEY,)}


def test_one_of_many_users_of_a_token_is_let_in_and_the_same_one_may_ask_again(folder: KeyFolder) -> None:
    token = folder.issue("stage", time.time() + 60).pair.public
    users = [(f"n{number}", new_pair().public) for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(lambda user: KeyFolder(folder.path).redeem(token, user[0], user[1], time.time()), users)
        )
    [lucky] = [user for user, answer in zip(users, answers) if not answer]
    assert folder.held().trusted == {lucky[0]: (lucky[1],)}
    assert {answer for answer in answers if answer} == {
        f"this token was used before, by {lucky[0]!r}: ask for a new one"
    }
    assert folder.redeem(token, *lucky, time.time() + 3_600) == ""


KILLED = """
import os, sys, time
from pathlib import Path
from understudy.transport import KeyFolder
folder = KeyFolder(sys.argv[1])
at, calls, replace = int(sys.argv[3]), 0, os.replace
def dying(*args):
    global calls
    if calls == at:
        os.kill(os.getpid(), 9)
    calls += 1
    replace(*args)
os.replace = dying
folder.redeem(sys.argv[2], "engine-1", "1" * 64, time.time())
"""


@pytest.mark.parametrize("at", [0, 1])
def test_a_seed_that_is_killed_while_it_lets_somebody_in_lets_nobody_else_in(folder: KeyFolder, at: int) -> None:
    token = folder.issue("stage", time.time() + 60).pair.public
    ended = subprocess.run([sys.executable, "-c", KILLED, str(folder.path), token, str(at)], check=False)
    assert ended.returncode == -9
    assert "engine-1" not in folder.held().trusted
    if at == 1:
        assert "used before" in folder.redeem(token, "engine-2", "2" * 64, time.time())
    assert folder.redeem(token, "engine-1", "1" * 64, time.time()) == ""
    assert folder.held().trusted == {"engine-1": ("1" * 64,)}
    assert not list(folder.path.rglob("*.part"))


def test_a_token_is_for_its_time_and_its_name(folder: KeyFolder) -> None:
    now = time.time()
    token = folder.issue("stage", now + 60, "engine-1").pair.public
    assert (
        folder.redeem(token, "engine-2", KEY, now) == "this token is for a node called 'engine-1', not for 'engine-2'"
    )
    assert folder.redeem(token, "engine-1", KEY, now + 61).startswith("this token has expired")
    assert folder.redeem("f" * 64, "engine-1", KEY, now) == "this token is not known here"
    folder.prune(now + 60)
    assert token in folder.held().tokens
    folder.prune(now + 2 * 86_400)
    assert folder.held().tokens == {}


def test_a_new_key_is_the_next_one_then_the_one_in_force_then_the_only_one(folder: KeyFolder) -> None:
    [old] = folder.held().own["stage"]
    superseded, new = folder.rotate("stage"), folder.rotate("stage")
    held = folder.held()
    assert (held.own["stage"], held.next) == ((old,), {"stage": new})
    assert (folder.path / "own" / "stage.next").stat().st_mode & 0o777 == 0o600
    folder.promote("stage", superseded)  # its peers had been told of this one when the newer one came
    assert folder.held().next == {"stage": new}
    folder.promote("stage", new)
    held = folder.held()
    assert (held.own["stage"], held.next) == ((new, superseded, old), {})
    for former in (superseded, old, new):
        folder.retire("stage", former)
    assert folder.held().own["stage"] == (new,)


def test_a_key_that_is_taken_while_the_folder_is_read_is_found_where_it_is_then(
    folder: KeyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    coming = folder.rotate("stage")
    listed = KeyFolder._names
    tries: list[list[str]] = []

    def names(self: KeyFolder, kind: str, suffix: str) -> list[str]:
        found = list(listed(self, kind, suffix))
        if suffix == ".next" and not tries:
            tries.append(found)
            KeyFolder(folder.path).promote("stage", coming)  # what a node does meanwhile
        return found

    monkeypatch.setattr(KeyFolder, "_names", names)
    held = folder.held()
    assert tries == [["stage"]]
    assert (held.next, held.own["stage"][0]) == ({}, coming)


def test_half_a_token_is_told_from_one_that_is_refused() -> None:
    token = Token(KEY, new_pair(), 1_800_000_000)
    text = token.encode()
    assert read_token(f" {text}\n") == token
    assert token.pair.secret not in repr(token)
    for broken in (text[:-1], text[:40], text.replace("understudy", "x"), text[:-3] + "AAA", "", "understudy-1-é"):
        with pytest.raises(KeyTrouble, match="no join token, or only a part"):
            read_token(broken)


def test_keys_are_read_in_both_forms_and_nothing_else() -> None:
    assert read_key(KEY.upper() + "\n") == KEY
    assert len(read_key("Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID")) == 64
    for nonsense in ("", "x", KEY[:-1], "é" * 40, "~" * 40):
        with pytest.raises(KeyTrouble, match="64 hexadecimal digits"):
            read_key(nonsense)
    assert len(fingerprint(KEY)) == 24


def test_a_revoked_name_is_not_let_in_again_by_the_table_nor_its_key_under_another_name(folder: KeyFolder) -> None:
    trust, other = Trust("stage", folder), new_pair().public
    trust.row("engine-1", KEY)
    assert trust.owner(KEY) == "engine-1"
    folder.revoke("engine-1")
    trust.refresh()
    assert trust.owner(KEY) == ""
    trust.row("engine-1", other)
    trust.row("engine-2", KEY)
    assert trust.owner(other) == trust.owner(KEY) == ""
    assert Trust("stage", folder).owner(KEY) == ""
    assert set(folder.held().revoked["engine-1"]) == {KEY, other}
    folder.trust("engine-1", KEY)
    trust.refresh()
    assert trust.owner(KEY) == "engine-1"


def test_what_was_trusted_by_hand_is_not_overruled_by_the_table(folder: KeyFolder) -> None:
    trust, mine, theirs = Trust("stage", folder), new_pair().public, new_pair().public
    folder.trust("engine-1", KEY)
    trust.refresh()
    trust.row("mallory", mine)
    trust.row("engine-1", theirs)
    trust.row("stage", mine)
    assert trust.owner(KEY) == "engine-1"
    assert trust.owner(theirs) == ""
    assert trust.owner(mine) == "mallory"


# --- the command ---


def keys(tmp_path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["keys", *arguments, "--keys", str(tmp_path / "keys")])


def test_the_command_makes_shows_trusts_revokes_rotates_and_lets_in(tmp_path: Path) -> None:
    assert "stage has the key" in keys(tmp_path, "init", "stage").output
    assert "engine-1 is trusted here" in keys(tmp_path, "trust", "engine-1", KEY).output
    file = tmp_path / "engine-2.pub"
    file.write_text(f"# engine-2\n{new_pair().public}\n")
    assert keys(tmp_path, "trust", "engine-2", str(file)).exit_code == 0
    assert "1 key)" in keys(tmp_path, "revoke", "engine-2").output
    assert "its name is refused" in keys(tmp_path, "revoke", "engine-9").output
    assert "new key" in keys(tmp_path, "rotate", "stage").output
    token = read_token(keys(tmp_path, "token", "--for", "engine-3", "--lasts", "10m").output)
    shown = keys(tmp_path, "show").output
    told = json.loads(keys(tmp_path, "show", "--json").output)
    [own] = told["own"]
    assert own["node"] == "stage"
    assert own["keys"] == [token.seed]
    [coming] = told["next"]
    assert coming["node"] == "stage"
    assert coming["keys"][0] in shown
    assert [row["node"] for row in told["trusted"]] == ["engine-1"]
    assert [row["node"] for row in told["revoked"]] == ["engine-2", "engine-9"]
    assert told["tokens"][0]["for"] == "engine-3"
    assert "open for" in told["tokens"][0]["state"]
    for text in (own["fingerprints"][0], KEY, "engine-9", "for engine-3"):
        assert text in shown
    secrets = (tmp_path / "keys" / "own" / "stage.key").read_text().split()
    assert not any(secret in shown for secret in (*secrets, token.pair.secret))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show"], "no folder of keys"),
        (["token"], "no key of a node that could let in"),
        (["rotate", "x"], "no key of a node 'x'"),
        (["trust", "x", "nonsense"], "64 hexadecimal digits"),
        (["trust", "a@b", KEY], "without '@'"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    result = keys(tmp_path, *arguments)
    assert result.exit_code == 1
    assert says in result.output
    assert result.output.count("\n") == 1


def test_the_command_refuses_what_would_undo_itself(tmp_path: Path) -> None:
    keys(tmp_path, "init", "stage")
    keys(tmp_path, "trust", "engine-1", KEY)
    assert "that key is engine-1's" in keys(tmp_path, "trust", "engine-2", KEY).output
    assert "this very folder" in keys(tmp_path, "revoke", "stage").output
    assert "this very folder" in keys(tmp_path, "trust", "stage", new_pair().public).output
    assert "no time" in keys(tmp_path, "token", "--lasts", "soon").output
    keys(tmp_path, "init", "second")
    assert "say with --node" in keys(tmp_path, "token").output
