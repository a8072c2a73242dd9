"""The command line: `understudy start`, `tree`, `demo`, `node`, `keys`. What goes wrong is said in one line that tells what to do."""

import logging
import os
import sys
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from understudy.actors import StartFailed, UnderstudyError
from understudy.app import run
from understudy.application import SHUTDOWN_TIMEOUT, start
from understudy.console import log_to_console
from understudy.json_log import log_as_json
from understudy.keys import keys_group
from understudy.operations import drain_command, fence_command, leave_command, status_command, tree_command
from understudy.options import WithSettings, config_command, configure_log, effective_settings
from understudy.reload import reload

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


for each in (keys_group, config_command, status_command, tree_command, drain_command, leave_command, fence_command):
    cli.add_command(each)


def _target(context: click.Context, parameter: click.Parameter, value: str) -> str:
    module, _, attribute = value.partition(":")
    if not module or not attribute or module.endswith(".py") or "/" in module:
        raise click.BadParameter(f"{value!r} is not MODULE:ATTRIBUTE, such as shop:main for `main` in shop.py")
    return value


@cli.command("start")
@click.argument("target", metavar="MODULE:ATTRIBUTE", callback=_target)
@click.option(
    "--shutdown-timeout",
    type=click.FloatRange(min=0),
    default=SHUTDOWN_TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="How long the tree has to end after SIGTERM or Ctrl-C; what is left is killed.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="What to show of the log, unless the application configures logging itself.",
)
@click.option(
    "--log-format",
    type=click.Choice(["console", "json"]),
    default="console",
    show_default=True,
    help="Lines for people, or a JSON object a line.",
)
@click.option("--reload", "reloading", is_flag=True, help="Start anew when a source file is saved. For development.")
@click.option(
    "--reload-dir",
    "folders",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    default=[Path()],
    help="Folder of source files to watch with --reload, again for each.  [default: the current one]",
)
@click.option(
    "--reloaded", is_flag=True, hidden=True, help="Started by --reload, which also gets the terminal's Ctrl-C."
)
def start_command(
    target: str,
    shutdown_timeout: float,
    log_level: str,
    log_format: str,
    reloading: bool,
    folders: tuple[Path, ...],
    reloaded: bool,
) -> None:
    """Run your own application: a Supervisor class, a list of Child(...), or a function that returns either.

    Exit status: 0 ended in order, 2 command line, 3 not found, 4 no tree, 5 did not start, 6 gave up, 7 not ended in time,
    130 and 143 ended at once by a signal.
    """
    level = logging.getLevelNamesMapping()[log_level.upper()]

    def configure() -> None:
        if logging.getLogger().handlers:
            return
        if log_format == "json":
            log_as_json(target.partition(":")[0], level=level)
        else:
            log_to_console(target.partition(":")[0], level=level, others=level, verbose=True)

    if reloading:
        log_to_console("reload", level=level)
        options = ["--shutdown-timeout", str(shutdown_timeout), "--log-level", log_level, "--log-format", log_format]
        _exit(reload([target, *options], folders, shutdown_timeout))
    sys.exit(start(target, shutdown_timeout=shutdown_timeout, configure=configure, interruptible=not reloaded))


@cli.command("demo")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the page.")
@click.option("--port", type=click.IntRange(1, 65535), default=4000, show_default=True, help="Port of the page.")
@click.option(
    "--stages",
    type=click.IntRange(1, 9),
    default=1,
    show_default=True,
    help="Stages, each with a page on the next port; they share rooms and games.",
)
@click.option("--engines", type=click.IntRange(1, 9), default=1, show_default=True, help="Engines that play games.")
@ALLOW_HOST
@STATE
@VERBOSE
def demo_command(allow_host: tuple[str, ...], state: Path, verbose: bool, **options: Any) -> None:
    """Start a supervised two-node cluster with a live game and a chat, and print the link to open."""
    from understudy.demo.company import demo  # here, since it brings the gateway: every other command starts sooner

    _log("director", verbose)
    _loopback(options["host"])
    _exit(demo(allow_host=allow_host, state=_writable(state), verbose=verbose, **options))


@cli.command("node", cls=WithSettings)
@click.option("--supervised", is_flag=True, hidden=True, help="End when standard input ends.")
@click.option("--verbose", is_flag=True, help="The same as --log-level debug.")
def node_command(supervised: bool, verbose: bool, **flags: Any) -> None:
    """Run the node called NAME, and on it the application MODULE:ATTRIBUTE: as for `start`, or a function that takes the Node.

    Settings come from a TOML file, the environment (UNDERSTUDY_LISTEN and so on) and these flags; `understudy config` shows them.

    Exit status: 0 left in order, 2 settings, 3 not found, 4 no tree, 5 did not start, 6 gave up, 7 not ended in time,
    8 did not join, 9 put out of the cluster; 130 and 143 ended at once by a signal.
    """
    from understudy.member import host

    if verbose:
        flags["log_level"] = "debug"
    effective = effective_settings(flags, named=True)
    sys.exit(host(effective.settings, configure=partial(configure_log, effective.settings), supervised=supervised))


def main() -> None:
    """Run the command line; never returns."""
    _open_standard_streams()
    cli()


def _open_standard_streams() -> None:
    """Where the caller has closed one (`>&-`), nothing is read or said; else the next file or socket would take its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in this order each gets its own number
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode)  # noqa: SIM115 - for the rest of the process
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _log(node: str, verbose: bool) -> None:
    log_to_console(node, level=logging.DEBUG if verbose else logging.INFO, verbose=verbose)


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
