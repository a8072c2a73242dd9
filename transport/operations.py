"""What one item of a batch asks of the other node. Every item is an array that begins with its operation.

    TELL         target, code, fields...                                              the hot one: a bare message
    SEND         request, remaining, flags, sender, trace, target, code, fields...    the whole envelope
    REPLY        request, code, fields...                                             the answer to a request
    FAIL         request, kind, text, reason, failure                                 it ended in an error (failure: or None)
    CANCEL       request                                                              nobody waits for it any more
    STOP         request, target                                                      `stop()`; answered with a bool
    MONITOR      token, target                   DEMONITOR    token
    DOWN         token, reason                   LINK         target, sender
    DEFINE       see wire.py                     UNLINK       target, sender
    EXIT         target, sender, reason          LINKED       target, name, ref       the name you linked to is this actor
    KILL         target                          LINKED_EXIT  target, sender, reason
    OFFER        target, code, fields...         a bare message that waits for room
    ROOM         target, count, alive            so many offers got in, or are dead letters because nobody is there
    FULL         target, count                   so many tells found a full mailbox, and are dead letters
    RETURNED     target, code, fields...         a tell or offer to a life of an entity that is over: send it to the next one

    CAST         group, code, fields...          a bare message to all members that the group has there
    FOLLOW                                       say from now on who is in which group with you: groups.py
    ROSTER                                       what was said of the groups here is void, and said anew
    JOINED       group, id, id...                those actors are in the group from now on
    PARTED       group, id, id...                those are not any more

    WANTED       stream, limit                   UNWANTED     stream     of a payload, see departures.py

    target       an actor's id, or the name of whoever has it now; below zero: the address of one life of an entity
    request      chosen by the caller, unique in its session; 0: a tell with an envelope
    remaining    seconds that the answer is awaited still, None: no deadline. Clocks differ, durations hardly
    token        chosen by the watcher, unique in its session

Numbers never change their meaning. A node that gets an unknown one reports it and goes on.
"""

from __future__ import annotations

from typing import Final

TELL: Final = 0
SEND: Final = 1
REPLY: Final = 2
FAIL: Final = 3
CANCEL: Final = 4
STOP: Final = 5
MONITOR: Final = 6
DEMONITOR: Final = 7
DOWN: Final = 8
DEFINE: Final = 9
LINK: Final = 10
UNLINK: Final = 11
LINKED: Final = 12
LINKED_EXIT: Final = 13
EXIT: Final = 14
KILL: Final = 15
OFFER: Final = 16
ROOM: Final = 17
FULL: Final = 18
CAST: Final = 19
FOLLOW: Final = 20
ROSTER: Final = 21
JOINED: Final = 22
PARTED: Final = 23
RETURNED: Final = 24

WANTED: Final = 30
UNWANTED: Final = 31

BROKEN: Final = -1
"""Never sent: the decoder's mark for an item that could not be read, `[BROKEN, what its head said, why]`."""
