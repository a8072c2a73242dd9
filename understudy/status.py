"""The exit status of an application: it says why the process ended, and one line on standard error says it in words."""

import os
import select
from contextlib import suppress
from enum import IntEnum

STDERR = 2

READ_WITHIN = 0.1
"""Seconds that whoever reads standard error has to make room for a line; after that it is not said."""


class Status(IntEnum):
    """Why the process ended. Besides: 2 for a command line that cannot be meant, 128 + its number for a signal that ended it."""

    ENDED = 0
    FAULT = 1
    NOT_FOUND = 3
    NO_TREE = 4
    NOT_STARTED = 5
    GAVE_UP = 6
    OVERDUE = 7
    NOT_JOINED = 8
    PUT_OUT = 9


def complain(text: str) -> None:
    """Say why on standard error, whatever the application has made of its log. From signal handlers and any thread too.

    It does not wait for a reader that does not read: whoever complains is about to end the process.
    """
    line = (
        f"Error: {text}".encode(errors="replace")[: select.PIPE_BUF - 1] + b"\n"
    )  # so much fits where there is room at all
    with suppress(OSError):  # nobody may be there to read it
        room = select.poll()
        room.register(STDERR, select.POLLOUT)
        if room.poll(READ_WITHIN * 1000):
            os.write(STDERR, line)
