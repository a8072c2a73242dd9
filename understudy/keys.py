"""`understudy keys`: the folder of keys, by hand. A running node takes up what changes there within a second."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.markup import escape

from understudy.transport import KeyFolder, KeyTrouble
from understudy.transport.keys import fingerprint, read_key
from understudy.transport.trust import Holdings

F = TypeVar("F", bound=Callable[..., Any])

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

FOLDER = click.option(
    "--keys",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".understudy/keys"),
    show_default=True,
    help="Folder of the keys.",
)


@click.group("keys")
def keys_group() -> None:
    """Whom the nodes of this machine trust: make keys, show them, let others in, throw them out."""


@keys_group.command("init")
@click.argument("name")
@FOLDER
def init_command(name: str, folder: Path) -> None:
    """Make a key for a node called NAME. Does nothing if it has one; a node with keys does it itself when it starts."""
    with _troubles():
        keys = KeyFolder(folder)
        keys.make(_name(name))
        key = keys.held().own[name][0].public
    click.echo(f"{name} has the key {key}\nfingerprint {fingerprint(key)}, secret in {folder}")


@keys_group.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@FOLDER
def show_command(folder: Path, as_json: bool) -> None:
    """Show the own nodes, who is trusted, who was revoked, and the tokens that are open. No secrets."""
    with _troubles():
        if not folder.is_dir():
            raise KeyTrouble(f"there is no folder of keys {folder}: `understudy keys init NAME` makes one")
        held = KeyFolder(folder).held()
    if as_json:
        click.echo(json.dumps(_plain(held), indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    for title, names in (
        ("own", {name: tuple(pair.public for pair in pairs) for name, pairs in held.own.items()}),
        ("trusted", held.trusted),
        ("revoked", held.revoked),
        ("next", {name: (pair.public,) for name, pair in held.next.items()}),
    ):
        for name, keys in names.items():
            console.print(
                f"{title:<9}[bold]{escape(name)}[/]" + ("" if keys else "  [dim]by name, whatever its key[/]")
            )
            for place, key in enumerate(keys):
                console.print(
                    f"         {key}\n         {fingerprint(key)}"
                    + ("  [dim]former[/]" if place and title != "revoked" else "")
                )
    for token in _plain(held)["tokens"]:
        for_whom = f"for {token['for']}" if token["for"] else "for any name that is free"
        console.print(f"token    {escape(for_whom)}, {token['state']}  [dim]{token['token'][:16]}...[/]")
    if not held.own and not held.trusted:
        console.print("no keys yet: `understudy keys init NAME` makes one")


@keys_group.command("trust")
@click.argument("name")
@click.argument("key", metavar="KEY|FILE")
@FOLDER
def trust_command(name: str, key: str, folder: Path) -> None:
    """Trust the node called NAME by its public key, or by its file NAME.pub. Compare the fingerprint over there first."""
    with _troubles():
        text = key
        if Path(key).is_file():
            text = next((line for line in Path(key).read_text().splitlines() if line.strip() and line[0] != "#"), "")
        public = read_key(text)
        keys = KeyFolder(folder)
        held = keys.held()
        owners = {pair.public: node for node, pairs in held.own.items() for pair in pairs}
        owners.update((each, node) for node, trusted in held.trusted.items() for each in trusted)
        if owners.get(public, name) != name:
            raise KeyTrouble(f"that key is {owners[public]}'s: each node has one of its own")
        if name in held.own:
            raise KeyTrouble(f"{name!r} is a node of this very folder, and trusted as it is")
        keys.trust(_name(name), public)
    click.echo(f"{name} is trusted here by {public}\nfingerprint {fingerprint(public)}")


@keys_group.command("revoke")
@click.argument("name")
@FOLDER
def revoke_command(name: str, folder: Path) -> None:
    """Trust the node called NAME no more. Running nodes of this folder cut it off, and say so in the cluster's table."""
    with _troubles():
        gone = KeyFolder(folder).revoke(_name(name))
    known = f"{len(gone)} key{'s' if len(gone) != 1 else ''}" if gone else "no key was known here; its name is refused"
    click.echo(f"{name} is revoked ({known}). `understudy keys trust` would let it in again.")


@keys_group.command("token")
@click.option("--node", "seed", metavar="NAME", help="Which own node lets in, if the folder has several.")
@click.option("--for", "name", metavar="NAME", default="", help="The only name that it lets in.")
@click.option("--lasts", metavar="TIME", default="1h", show_default=True, help="Until it expires, such as 10m, 1h, 2d.")
@FOLDER
def token_command(folder: Path, seed: str | None, name: str, lasts: str) -> None:
    """Print a token that lets one new node in, once. Hand it over in secret: UNDERSTUDY_TOKEN=... with --join over there."""
    now = time.time()
    with _troubles():
        keys = KeyFolder(folder)
        own = list(keys.held().own) if folder.is_dir() else []
        if seed is None and len(own) != 1:
            raise KeyTrouble(
                f"{folder} has the keys of {', '.join(own)}: say with --node which of them lets in"
                if own
                else f"{folder} has no key of a node that could let in: `understudy keys init NAME` makes one"
            )
        keys.prune(now)
        token = keys.issue(seed if seed is not None else own[0], now + _seconds(lasts), name)
    click.echo(token.encode())


@keys_group.command("rotate")
@click.argument("name")
@FOLDER
def rotate_command(name: str, folder: Path) -> None:
    """Give the node called NAME a new key. It tells its peers, takes it, and throws the old one away; now, or when it next runs."""
    with _troubles():
        key = KeyFolder(folder).rotate(name).public
    click.echo(f"{name} has the new key {key}\nfingerprint {fingerprint(key)}")


def _plain(held: Holdings) -> dict[str, Any]:
    now = time.time()

    def rows(names: Any) -> list[dict[str, Any]]:
        return [
            {"node": name, "keys": list(keys), "fingerprints": [fingerprint(key) for key in keys]}
            for name, keys in names.items()
        ]

    tokens: list[dict[str, Any]] = []
    for key, each in held.tokens.items():
        left = round(each.expires - now)
        open_state = f"open for {left} s" if left > 0 else "expired"
        state = f"used by {each.used[0]}" if each.used is not None else open_state
        tokens.append({"token": key, "for": each.node, "expires": each.expires, "state": state})
    return {
        "own": rows({name: [pair.public for pair in pairs] for name, pairs in held.own.items()}),
        "next": rows({name: [pair.public] for name, pair in held.next.items()}),
        "trusted": rows(held.trusted),
        "revoked": rows(held.revoked),
        "tokens": tokens,
    }


def _name(name: str) -> str:
    if not 0 < len(name) <= 200 or "@" in name:
        raise KeyTrouble(f"a node's name is a text of 1 to 200 characters without '@', not {name!r}")
    return name


def _seconds(text: str) -> float:
    unit = UNITS.get(text[-1:], 0)
    if not unit or not text[:-1].isdecimal() or not int(text[:-1]):
        raise KeyTrouble(f"{text!r} is no time; one looks like 30s, 10m, 1h or 2d")
    return float(int(text[:-1]) * unit)


@contextmanager
def _troubles() -> Generator[None]:
    try:
        yield
    except KeyTrouble as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error
