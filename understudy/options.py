"""The settings as flags of a command, and the command `understudy config` that shows where each comes from.

`WithSettings` is a command with one flag for each setting; `effective_settings` makes of them what counts, or ends the process
with a line for each mistake. pydantic is imported when it is needed: the other commands start sooner without.
"""

import json
import logging
import sys
import textwrap
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from understudy.console import log_to_console

if TYPE_CHECKING:
    from understudy.settings import Effective, Settings

USAGE = 2
"""The exit status of a command line, or of settings, that cannot be meant."""


class WithSettings(click.Command):
    """A command with two arguments, NAME and MODULE:ATTRIBUTE, and a flag for each other setting.

    They are made when somebody looks at them: those who list the commands do not.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Those of the settings, and then its own."""
        return [*self._settings, *super().get_params(ctx)]

    @cached_property
    def _settings(self) -> list[click.Parameter]:
        from understudy.settings import fields, flag, told

        found: list[click.Parameter] = [
            click.Argument(["name"], metavar="[NAME]", required=False),
            click.Argument(["application"], metavar="[MODULE:ATTRIBUTE]", required=False),
            click.Option(
                ["--config"], metavar="FILE", help="The file of settings.  [default: understudy.toml, if it is there]"
            ),
        ]
        for name, field in fields().items():
            if name in ("name", "application", "app"):
                continue
            default = "" if field.default in (None, (), "") else f"  [default: {field.default}]"
            found.append(
                click.Option(
                    [flag(name), name],
                    multiple=flag(name) != "--" + name.replace("_", "-"),
                    metavar="SECONDS" if "seconds" in told(field, "wanted") else "TEXT",
                    help=f"{field.description}{default}",
                )
            )
        return found


def effective_settings(flags: dict[str, Any], *, named: bool = False) -> "Effective":
    """What counts, from everywhere; ends the process if something is wrong. `named`: there has to be a name."""
    from understudy.secrets import guard, keep
    from understudy.settings import Mistakes, load

    try:
        effective = load(flags)
        if named and effective.settings.name is None:
            raise Mistakes(["the node has no name: say it as NAME, as UNDERSTUDY_NAME, or as `name` in the file"])
        secrets = effective.settings.secrets()
    except Mistakes as mistakes:
        for line in mistakes.lines:
            click.echo(f"Error: {line}", err=True)
        sys.exit(USAGE)
    for secret in secrets:
        keep(secret)
    guard()
    for doubt in effective.doubts:
        click.echo(f"Warning: {doubt}", err=True)
    return effective


def configure_log(settings: "Settings") -> Callable[[int], None]:
    """Show the log as the settings say, unless the application has configured it when it was imported.

    Returns whom to tell the incarnation of the node, once it has one.
    """
    if logging.getLogger().handlers:
        return lambda incarnation: None
    name, level = settings.name or "", logging.getLevelNamesMapping()[settings.log_level.upper()]
    style = settings.log_format
    if style == "json" or (style == "auto" and not sys.stderr.isatty()):
        from understudy.json_log import log_as_json

        return log_as_json(name, level=level).identify
    log_to_console(name, level=level, others=level, verbose=True)
    return lambda incarnation: None


@click.command("config", cls=WithSettings)
@click.option("--check", is_flag=True, help="Print nothing but what is wrong; exit status 2 if anything is.")
@click.option("--example", is_flag=True, help="Print a file of settings to begin with.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def config_command(check: bool, example: bool, as_json: bool, **flags: Any) -> None:
    """Show the settings that `understudy node` would have here, and where each of them comes from. Secrets are not shown."""
    from understudy.settings import fields

    if example:
        click.echo(_example(), nl=False)
        return
    effective = effective_settings(flags)
    if check:
        return
    rows = {name: (effective.shown(name), effective.origins.get(name, "default")) for name in fields()}
    if as_json:
        click.echo(
            json.dumps({name: {"value": value, "from": origin} for name, (value, origin) in rows.items()}, indent=2)
        )
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("setting", "value", "from"):
        table.add_column(title, no_wrap=True, overflow="ellipsis")
    for name, (value, origin) in rows.items():
        table.add_row(name, value, Text(origin, "dim" if origin == "default" else "cyan"))
    console.print(table)


def _example() -> str:
    """Every setting, with what it is for, commented out."""
    from understudy.settings import fields, told

    lines = [
        "# understudy.toml: the settings of a node. The environment (UNDERSTUDY_LISTEN) is stronger than this file, and flags",
        "# (--listen) are stronger than both. `understudy config` shows what counts.",
    ]
    for name, field in fields().items():
        if name == "app":
            continue
        lines += ["", *textwrap.wrap(field.description or "", 100, initial_indent="# ", subsequent_indent="# ")]
        lines.append(f"# {name} = {told(field, 'example')}")
    lines += [
        "",
        "# What is your application's own, in a table at the end: a function that is called with (node, settings)",
        "# finds it in settings.app.",
    ]
    return "\n".join([*lines, "# [app]", '# greeting = "hello"', ""])
