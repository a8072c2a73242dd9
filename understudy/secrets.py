"""What must never be shown: passwords and tokens of this process, which its handlers of the log strike out, wherever they turn up.

They are kept as secrets where they are read, and are not meant to get into any text. This is the net below that: a library
may put what it was given into an exception.
"""

import sys
import traceback
from types import TracebackType
from urllib.parse import unquote, urlsplit

_kept: set[str] = set()

STRUCK = "***"

SHORTEST = 4
"""Characters below which a word is not struck out: it would be in every other word."""


def keep(secret: str) -> None:
    """Strike this out from now on, and the password in it, if it is a URL that has one."""
    _kept.add(secret)
    try:
        password = urlsplit(secret).password
    except ValueError:
        password = None
    if password:
        _kept.update((password, unquote(password)))


def guard() -> None:
    """Strike them out of what Python itself prints, too, when it ends by an exception that nobody foresaw."""
    sys.excepthook = _print_hidden


def _print_hidden(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(hidden("".join(traceback.format_exception(kind, error, trace))))


def hidden(text: str) -> str:
    """The text without what was kept."""
    for secret in sorted(_kept, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, STRUCK)
    return text
