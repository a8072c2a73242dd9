"""What a node says on the terminal: one line per event, with the time and the node's name.

Several processes write to one terminal, so a line is written at once and never wrapped. Tracebacks are folded away unless
asked for: the line names the exception and the place.
"""

import logging
import sys

from rich.console import Console
from rich.text import Text

from understudy.secrets import hidden

STYLES = {logging.DEBUG: "dim", logging.INFO: "", logging.WARNING: "yellow", logging.ERROR: "red"}


class ConsoleHandler(logging.Handler):
    """Writes records of the `understudy` loggers to standard error."""

    def __init__(self, node: str, *, verbose: bool) -> None:
        super().__init__()
        self._node = node
        self._verbose = verbose
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)
        self.setFormatter(logging.Formatter("%(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, and the traceback below it when verbose."""
        formatter = self.formatter
        assert formatter is not None, "set by the constructor"
        try:
            message, _, more = hidden(record.getMessage()).partition("\n")  # a crash report has its details below
            line = Text.assemble(
                (formatter.formatTime(record, "%H:%M:%S"), "dim"),
                " ",
                (f"{self._node:<10}", "cyan"),
                " ",
                (message, STYLES.get(record.levelno, "red")),
            )
            if self._verbose and more:
                line.append("\n" + more, "dim")
            if self._verbose and record.exc_info:
                line.append("\n" + hidden(formatter.formatException(record.exc_info)), "dim")
            self._console.print(line)
        except Exception:  # noqa: BLE001 - the terminal may be gone; that must not take the node along
            self.handleError(record)


def log_to_console(
    node: str, *, level: int = logging.INFO, others: int = logging.WARNING, verbose: bool = False
) -> None:
    """Show what this process's node reports from `level` up, and other libraries from `others` up; `verbose`: with tracebacks."""
    logging.raiseExceptions = False
    root = logging.getLogger()
    root.handlers[:] = [ConsoleHandler(node, verbose=verbose)]
    root.setLevel(others)
    logging.getLogger("understudy").setLevel(level)


def say(line: str) -> None:
    """A line on standard output, at once: what a parent process or a person waits for."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
