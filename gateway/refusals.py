"""All that the gateway itself refuses: one table, whatever way the client came.

    a reply        {"reason": "unmatched topic", "code": "unmatched_topic", "retry": false}    Phoenix's words, where it has some
    HTTP           404 {"error": {"code": "unmatched_topic", "message": "...", "retry": false}}
    a close        4504, "unmatched_topic: there is no such topic"

`code` is for programs, the sentence for people. `retry` says whether the same may be granted later without a change of the
client's. A close code says it too: after 4000 to 4499 a client comes back, after 4500 to 4999 it does not. Where WebSocket has
a code of its own for what happened (1001, 1009, 1011, 1012, 1013) it gets that one.
"""

import json
from dataclasses import dataclass
from typing import Any

GOING_AWAY, TOO_BIG, INTERNAL_ERROR, SERVICE_RESTART, TRY_AGAIN = 1001, 1009, 1011, 1012, 1013

REASON_LIMIT = 123
"""Bytes of a WebSocket close's reason."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """`status` is HTTP's; `close` is WebSocket's, made of the status unless there is one of its own for it."""

    code: str
    status: int
    retry: bool
    sentence: str
    close: int = 0

    def __post_init__(self) -> None:
        if not self.close:
            object.__setattr__(self, "close", (4000 if self.retry else 4500) + self.status - 400)

    @property
    def reason(self) -> str:
        """The code in words: what Phoenix says, where it refuses the same."""
        return self.code.replace("_", " ")


def _table(*refusals: Refusal) -> dict[str, Refusal]:
    return {refusal.code: refusal for refusal in refusals}


AGAIN, NEVER = True, False

REFUSALS = _table(
    # who it is
    Refusal("unauthorized", 401, NEVER, "say who you are: a token, a cookie or a password is needed"),
    Refusal("token_invalid", 401, NEVER, "that token is not one of ours"),
    Refusal("token_expired", 401, AGAIN, "that token has expired; come back with a new one"),
    Refusal("password_wrong", 401, NEVER, "that is not the password"),
    Refusal("forbidden", 403, NEVER, "you may not do that"),
    Refusal("kicked", 403, NEVER, "you were sent out"),
    Refusal("banned", 403, NEVER, "you may not come in"),
    # where it comes from
    Refusal("host_refused", 421, NEVER, "this gateway does not answer under that name"),
    Refusal("origin_refused", 403, NEVER, "pages of that origin may not use this gateway"),
    # what it says
    Refusal("malformed", 400, NEVER, "that could not be read"),
    Refusal("malformed_frame", 400, NEVER, "that is no frame of this protocol"),
    Refusal("too_many_malformed_frames", 400, NEVER, "you do not speak this protocol"),
    Refusal("version_unsupported", 400, NEVER, "this gateway does not speak that version"),
    Refusal("binary_unsupported", 400, NEVER, "binary frames are not understood here"),
    Refusal("upgrade_required", 426, NEVER, "this address is for WebSocket clients"),
    Refusal("not_found", 404, NEVER, "there is nothing here"),
    Refusal("method_not_allowed", 405, NEVER, "that cannot be done here"),
    Refusal("request_entity_too_large", 413, NEVER, "that is too much in one piece", close=TOO_BIG),
    Refusal("message_too_large", 413, NEVER, "that message is too large", close=TOO_BIG),
    Refusal("encoding_unsupported", 415, NEVER, "send the body as it is, not compressed"),
    # topics and rooms
    Refusal("unmatched_topic", 404, NEVER, "there is no such topic"),
    Refusal("unknown_event", 404, NEVER, "that is no event of this topic"),
    Refusal("refused", 403, NEVER, "the room refuses that"),
    Refusal("failed", 500, NEVER, "the room could not answer"),
    Refusal("join_crashed", 503, AGAIN, "the room failed while it let you in"),
    Refusal("room_unavailable", 503, AGAIN, "the room cannot be reached now"),
    Refusal("too_many_rooms", 503, AGAIN, "there are too many rooms now"),
    Refusal("too_many_channels_joined", 429, NEVER, "one connection may be in 100 topics"),
    Refusal("join_under_way", 425, AGAIN, "too much was said before the room let you in"),
    # too much, too long
    Refusal("too_many_connections", 503, AGAIN, "the gateway takes no more connections now", close=TRY_AGAIN),
    Refusal("too_many_from_address", 429, AGAIN, "too many connections from one address"),
    Refusal("rate_limited", 429, AGAIN, "too much in too short a time"),
    Refusal("body_too_slow", 408, AGAIN, "the request was not complete in time"),
    Refusal("too_slow", 408, AGAIN, "you do not read what you are sent", close=TRY_AGAIN),
    Refusal("idle", 408, AGAIN, "nothing was heard of you", close=GOING_AWAY),
    Refusal("handler_too_slow", 503, AGAIN, "the answer took too long"),
    # the server itself
    Refusal("draining", 503, AGAIN, "this server is to be stopped; connect again", close=SERVICE_RESTART),
    Refusal("unavailable", 503, AGAIN, "try again later"),
    Refusal("internal_error", 500, AGAIN, "the server made a mistake; its log says which", close=INTERNAL_ERROR),
)
"""By code."""


def find(reason: str) -> Refusal:
    """The refusal whose code or words `reason` is; a room's own reasons, whatever they are, are `refused`."""
    return REFUSALS.get(reason.replace(" ", "_"), REFUSALS["refused"])


def reply(reason: str, detail: str | None = None) -> dict[str, Any]:
    """The response of an error reply. `detail` says what was expected and what came."""
    refusal = find(reason)
    said = {"reason": reason, "code": refusal.code, "retry": refusal.retry}
    return said if detail is None else {**said, "detail": detail}


def code_of(response: bytes) -> str:
    """The code in an error reply, whoever made it."""
    try:
        code = json.loads(response)["code"]
    except (ValueError, KeyError, TypeError):
        return "refused"
    return code if code in REFUSALS else "refused"


def close(code: str, sentence: str | None = None) -> tuple[int, str]:
    """What a connection is closed with: the close code, and "code: sentence" in at most 123 bytes."""
    refusal = REFUSALS[code]
    said = f"{code}: {sentence or refusal.sentence}".encode()[:REASON_LIMIT]
    return refusal.close, said.decode(errors="ignore")
