"""Asks, for every connection that is made to this node, whether its key may come in (ZeroMQ's authentication protocol, ZAP).

    stranger ── CURVE handshake ──▶ ROUTER ── request: domain, mechanism, key ──▶ doorman
                                           ◀── 200 and the key as User-Id, or 400 ──

ZeroMQ asks before a single message of the connection is read. Without a doorman it refuses everybody, since the ROUTER
enforces its domain: the door fails closed. What is asked is not what is believed later: every frame is looked at again
by its key (`gate.py`), since a connection that stands is never asked about again.
"""

from __future__ import annotations

from collections.abc import Callable

import zmq

DOMAIN = b"understudy"

ENDPOINT = "inproc://zeromq.zap.01"

PARTS = 7
"""Of a request: version, request id, domain, address, routing id, mechanism, public key."""


def open_door(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """The socket at which a context's doorman is asked; its requests are for `answer`."""
    socket = context.socket(zmq.REP)
    socket.setsockopt(zmq.LINGER, 0)
    socket.bind(ENDPOINT)
    return socket


def answer(request: list[bytes], allows: Callable[[str], bool]) -> list[bytes]:
    """The answer to one request: in, under its key's name, or out."""
    key = ""
    if len(request) == PARTS and request[2] == DOMAIN and request[5] == b"CURVE":
        key = request[6].hex()
    allowed = bool(key) and allows(key)
    status, text = (b"200", b"OK") if allowed else (b"400", b"this key is not trusted here")
    return [*request[:2], status, text, key.encode() if allowed else b"", b""]
