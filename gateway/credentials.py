"""What a client shows of itself: the parts of a request by which it may be recognized, whatever server took the request.

Sec-WebSocket-Protocol: phoenix, base64url.bearer.phx.<base64 of the token>     what phoenix does with `authToken`
X-Phoenix-AuthToken: <token>                                                    the same, where it polls
Authorization: Bearer <token>                                                   programs
Authorization: Basic <base64 of name:password>                                  programs, and browsers that ask
Cookie: __Host-session=...                                                      browsers, of pages of our own
?token=<token>                                                                  only where the owner allows it: addresses are logged
access_token {"token": <token>}                                                 later, in the connection itself
"""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

TOKEN_PROTOCOL = "base64url.bearer.phx."  # noqa: S105 - what stands before a token
"""How phoenix hands over a token where a browser lets it set no header: as the name of a sub-protocol."""

TOKEN_PARAMETER = "token"  # noqa: S105
"""The token in an address, where that is allowed."""

NONE: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Credentials:
    """`token` and `basic` (name and password) are read already; names in `headers` are in lower case.

    `address` is the client's own, also behind a trusted proxy; "" where there is none.
    """

    token: str | None = field(default=None, repr=False)
    basic: tuple[str, str] | None = field(default=None, repr=False)
    cookies: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    query: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    address: str = ""

    def meant(self) -> "Credentials":
        """Without what a browser sends along unasked: who made it send that is not to be obeyed."""
        return replace(self, basic=None, cookies=NONE)

    def renewed(self, token: str) -> "Credentials":
        """The same client with another token, which is all that counts from here on."""
        return replace(self.meant(), token=token)


def read_credentials(
    headers: Mapping[str, str], query: Mapping[str, str] = NONE, address: str = "", *, token_in_url: bool = False
) -> Credentials:
    """The credentials in a request. What cannot be read is not there: nobody is let in for it."""
    lower = {name.lower(): value for name, value in headers.items()}
    scheme, _, value = lower.get("authorization", "").partition(" ")
    token = value.strip() if scheme.lower() == "bearer" else None
    token = token or _token_protocol(lower.get("sec-websocket-protocol", "")) or lower.get("x-phoenix-authtoken")
    if token_in_url:
        token = token or query.get(TOKEN_PARAMETER)
    basic = _basic(value) if scheme.lower() == "basic" else None
    return Credentials(token or None, basic, _cookies(lower.get("cookie", "")), lower, query, address)


def _token_protocol(protocols: str) -> str | None:
    for protocol in protocols.split(","):
        if protocol.strip().startswith(TOKEN_PROTOCOL):
            return _text(protocol.strip().removeprefix(TOKEN_PROTOCOL))
    return None


def _basic(value: str) -> tuple[str, str] | None:
    text = _text(value.strip())
    name, colon, password = (text or "").partition(":")
    return (name, password) if colon else None


def _text(encoded: str) -> str | None:
    """Base64 in either alphabet, with or without what fills it up; None if it is none, or no text."""
    plain = encoded.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def _cookies(header: str) -> Mapping[str, str]:
    """By name, the first of each: whoever sets others under one host may set strange ones, and must not log anybody out."""
    found: dict[str, str] = {}
    for part in header.split(";"):
        name, equals, value = part.strip().partition("=")
        if equals:
            found.setdefault(name, value.strip('"'))
    return found
