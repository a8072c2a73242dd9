"""The wire format: registered messages as MessagePack, packed and unpacked by functions generated for each class.

    a batch    MessagePack array of items
    an item    [operation, target, code, field, field, ...]     (they stand in operations.py)
    code       which message class; 0: no message but one plain value, field 0

    sender                                        receiver
    tell(Say("hi"))   ── [DEFINE, 7, "chat.say", ["text"]] ──▶   7 is chat.say, made of `text`
                      ── [TELL, 31, 7, "hi"] ───────────────▶   Say(text="hi")
    tell(Say("ho"))   ── [TELL, 31, 7, "ho"] ───────────────▶   Say(text="ho")

A class is defined once per session, in a batch before its first use: that is what makes positions safe. The receiver matches the
sender's field *names* with its own, the former ones too, so that a field it does not know is ignored and one that is missing takes its
default: a node and its successor version understand each other. Sessions deliver in order and exactly once, therefore
definitions cannot be missed. What a value's type is, nobody looks at: a class that cares does so in its `__post_init__`.

What may cross: registered messages (also inside one another), None, bool, int (64 bits), float, str, bytes, list, dict,
datetime, references, exit reasons and payloads. A tuple arrives as a list unless the field's annotation says tuple, or it is
a key of a dict. Anything else raises NotRegistered at the sender. Never pickle: bytes name classes that are registered here, or nothing.

The limits below are looked at before anything is built; what the worst frame takes all the same stands in docs/wire.md, which tells
all of this to somebody who writes another implementation. encoder.py writes, decoder.py reads.
"""

from __future__ import annotations

from understudy.actors import Failure, Killed, NoConnection, NoProc, Normal, Shutdown, UnderstudyError

FRAME_LIMIT = 1 << 20
"""Bytes of one frame, header and all; the network refuses larger ones unread."""

ITEM_LIMIT = FRAME_LIMIT - 64
"""Bytes of one item: it must fit into a frame of its own."""

BATCH_ITEMS = 32 * 1024
"""Items of one batch. The smallest, KILL and CANCEL, have three bytes, and a batch of small ones is sent at 48 KiB."""

NESTING_LIMIT = 32
"""Messages inside messages. MessagePack itself stops at 1023 lists inside lists, on both sides."""

ALIKE_LIMIT = 64
"""Keys of a dict with the same hash, tuples among them: who knows how tuples are hashed can make as many as it likes, and each is
compared with all the others."""

DEFINITION_LIMIT = 10_000
"""Message classes that one session may define, one in a batch and none of them again."""

DEFINITION_SIZE = 8 << 20
"""Bytes that the names in a session's definitions may take here, each counted with 50 more."""

REFERENCE_LIMIT = 2048
"""Bytes of a reference: two names, of 200 and 255 characters, at worst of four bytes each."""

DATETIME_LIMIT = 64
"""Bytes of a time."""

REASON_LIMIT = 64 * 1024
"""Bytes of an exit reason: a longer one is shortened, since the news of a death must pass."""

REFERENCE, DATETIME, REASON, PAYLOAD, MESSAGE = 1, 2, 3, 4, 5
"""MessagePack extension codes; every other one is refused.

A PAYLOAD is `[stream, size, type, shape]`, or `[0, bytes, type, shape]` if it is small; type and shape are those of a NumPy array,
None for anything else."""

INLINE = 256 * 1024
"""Bytes of payloads that travel inside one message. A larger one, and what is too much for one message, is a stream."""

REASONS: tuple[type, ...] = (Normal, Shutdown, Killed, Failure, NoProc, NoConnection)
"""In the order of their kinds on the wire."""


class TooLarge(UnderstudyError):
    """The message is larger than a frame. Nothing was sent: put what is large in it into a Payload, or split it."""
