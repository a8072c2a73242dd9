"""The exit status of an application: it says why the process ended, and one line on standard error says it in words."""

import os
from contextlib import suppress
from enum import IntEnum

STDERR = 2


class Status(IntEnum):
    """Why the process ended. Besides: 2 for a command line that cannot be meant, 128 + its number for a second signal."""

    ENDED = 0
    FAULT = 1
    NOT_FOUND = 3
    NO_TREE = 4
    NOT_STARTED = 5
    GAVE_UP = 6
    OVERDUE = 7


def complain(text: str) -> None:
    """Say why on standard error, whatever the application has made of its log. From signal handlers and any thread too."""
    with suppress(OSError):  # nobody may be there to read it
        os.write(STDERR, f"Error: {text}\n".encode())
