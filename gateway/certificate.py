"""TLS by certificate files, as an ACME client keeps them: the gateway reads them again when they change.

Gateway(host="0.0.0.0", port=443, tls=Certificate("fullchain.pem", "privkey.pem"))
"""

import logging
import ssl
from os import PathLike
from pathlib import Path

log = logging.getLogger("understudy.gateway")

LOOK_EVERY = 60.0
"""Seconds between two looks at the files."""


class Certificate:
    """`chain`: the certificate and those between it and a root; `key`: its private key; both PEM.

    Connections that are there keep what they began with. TLS 1.2 at least.
    """

    def __init__(self, chain: str | PathLike[str], key: str | PathLike[str], *, password: str | None = None) -> None:
        self.chain = Path(chain)
        self.key = Path(key)
        self._password = password
        self._seen: tuple[int, int] | None = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])

    def load(self) -> None:
        """Read the files. Raises OSError with a sentence that says what is wrong with them."""
        try:
            seen = self._state()
            self.context.load_cert_chain(self.chain, self.key, self._password or "")
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise OSError(f"the certificate {self.chain} with the key {self.key} cannot be used: {error}") from None
        self._seen = seen

    def look(self) -> None:
        """Read the files again if they have changed. What cannot be used is said in the log, and what was there stays."""
        try:
            if self._state() == self._seen:
                return
            # A half-written pair must not take the place of a whole one: it is tried elsewhere first.
            trial = Certificate(self.chain, self.key, password=self._password)
            trial.load()
            self.load()
        except OSError as error:
            log.warning("TLS goes on with the certificate it has: %s", error)
        else:
            log.info("TLS: %s is read again", self.chain)

    def _state(self) -> tuple[int, int]:
        return self.chain.stat().st_mtime_ns, self.key.stat().st_mtime_ns
