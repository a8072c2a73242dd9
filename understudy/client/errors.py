"""What can go wrong for a client of the gateway.

UnderstudyError
├── CallError
│   ├── Refused
│   │   └── PushRefused       the server said no                     .code  .retry  .response
│   └── DeadlineExceeded
│       └── PushTimeout       the server did not answer in time; whether it acted is unknown
└── NotConnected              there is no connection, or no longer   .code  .retry  .status
"""

from typing import Any

from understudy.actors import DeadlineExceeded, Refused, UnderstudyError


class PushRefused(Refused):
    """A join or a push was answered with an error. `detail` is the reason for people."""

    def __init__(self, response: Any) -> None:
        said = response if isinstance(response, dict) else {}
        super().__init__(str(said.get("reason") or "refused"))
        self.response = response
        """The server's whole answer."""
        self.code = str(said.get("code") or "refused")
        """The reason for programs."""
        self.retry = said.get("retry") is not False
        """False: the same request will be refused again."""


class PushTimeout(DeadlineExceeded):
    """A join or a push was not answered in time. Whether the server acted on it is unknown."""


class NotConnected(UnderstudyError, ConnectionError):
    """The connection could not be made, or ended. `status` is a WebSocket close code, or the HTTP status of a refusal.

    `code` is the reason for programs, "" if none was named. `retry` is False when the server does not want this client back
    as it is (a token that is not valid, a ban).
    """

    def __init__(self, reason: str, *, status: int = 0, code: str = "", retry: bool = True) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code
        self.retry = retry
