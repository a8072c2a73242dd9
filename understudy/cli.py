"""The command line: `understudy demo`, `understudy node`. What goes wrong is said in one line that tells what to do."""

import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from understudy.actors import StartFailed, UnderstudyError
from understudy.app import run
from understudy.console import log_to_console
from understudy.demo.company import demo
from understudy.demo.stage import ROLES, node

STATE = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".understudy"),
    show_default=True,
    help="Folder of what the cluster keeps: its membership table. Made if it is not there.",
)
ALLOW_HOST = click.option(
    "--allow-host", metavar="NAME", multiple=True, help="A host name under which a proxy in front serves the page."
)
VERBOSE = click.option("--verbose", is_flag=True, help="Show debug lines and tracebacks.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="understudy")
def cli() -> None:
    """Supervised actors, in one process or across machines, live in the browser."""


@cli.command("demo")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the page.")
@click.option("--port", type=click.IntRange(1, 65535), default=4000, show_default=True, help="Port of the page.")
@ALLOW_HOST
@STATE
@VERBOSE
def demo_command(host: str, port: int, allow_host: tuple[str, ...], state: Path, verbose: bool) -> None:
    """Start a supervised two-node cluster with a live game and a chat, and print the link to open."""
    log_to_console("director", verbose=verbose)
    _loopback(host)
    _exit(demo(host=host, port=port, allow_host=allow_host, state=_writable(state), verbose=verbose))


@cli.command("node")
@click.argument("name")
@click.option(
    "--listen",
    default="tcp://127.0.0.1:0",
    show_default=True,
    help="Where other nodes reach this one; port 0 is any free one.",
)
@click.option(
    "--join", metavar="ADDRESS", help="A node of the cluster to join, on a machine that shares no files with this one."
)
@STATE
@click.option("--role", type=click.Choice(ROLES), default="engine", show_default=True, help="What the node is for.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the page (role stage).")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=4000, show_default=True, help="Port of the page (role stage)."
)
@ALLOW_HOST
@click.option("--supervised", is_flag=True, hidden=True, help="End when standard input ends.")
@VERBOSE
def node_command(name: str, state: Path, verbose: bool, **options: Any) -> None:
    """Run one node called NAME: an engine that plays games, or a stage that serves the page."""
    log_to_console(name, verbose=verbose)
    _loopback(options["host"])
    _exit(node(name, state=_writable(state), **options))


def main() -> None:
    """Run the command line; never returns."""
    cli()


def _exit(program: Any) -> None:
    try:
        status = run(program)
    except (UnderstudyError, OSError, ValueError) as error:
        raise click.ClickException(_sentence(error)) from error
    sys.exit(status)


def _sentence(error: BaseException) -> str:
    """The innermost cause is what the user can do something about."""
    while isinstance(error, StartFailed) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _loopback(host: str) -> None:
    """The page knows no users yet, and whoever reaches it may start games: not for strangers."""
    try:
        here = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        here = False
    if not here:
        raise click.ClickException(
            f"--host {host} is not on loopback: refused, because the page knows no users yet; "
            f"use an address of 127.0.0.0/8, or put a proxy that asks who comes in front of it"
        )


def _writable(state: Path) -> Path:
    remedy = "choose another folder with --state"
    try:
        state.mkdir(parents=True, exist_ok=True)
        trial = state / ".writable"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise click.ClickException(f"the state folder {state} cannot be written: {error.strerror}; {remedy}") from error
    return state
