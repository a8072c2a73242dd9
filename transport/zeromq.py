"""The real network: ZeroMQ over TCP. One ROUTER is bound per node, one DEALER connects to each peer.

    DEALER ── DATA, HELLO, PING ──▶ ROUTER      no ROUTING_ID: a fixed one makes a peer mute, or lets another hijack it
           ◀── ACK, WELCOME, PONG ──            ROUTER_MANDATORY: otherwise it drops in silence at its high-water mark

Plain sockets on the loop's own reader, not `zmq.asyncio` (measured: 80 k messages/s with it, 885 k without). A ZeroMQ
socket's file descriptor is edge-triggered, and every send, receive and look at EVENTS may consume the edge. Hence:

    the descriptor is readable, or a send saw input   ──▶ pump: read EVENTS ──▶ input: receive, and read EVENTS again
                                                                            ──▶ output that was wanted: writable()
                                                                            ──▶ neither: wait for the next edge
                                                          its time is up    ──▶ pump again, after the loop's turn
    never `add_writer`

With keys every connection is CURVE: the ROUTER is its server, the DEALER its client, and a doorman (`zap.py`) lets in.
A DEALER that was refused never tries again by itself, whichever status the doorman gives; one whose peer has another key
than it was told tries a hundred times a second (both measured): so either is made anew, later and later. So is one that
cannot be made, because the process has no file descriptors left: that is reported, and what is to be sent waits above.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable

import zmq
from zmq.utils.monitor import parse_monitor_message

from understudy.actors.limiter import Limiter
from understudy.transport import zap
from understudy.transport.keys import KeyPair
from understudy.transport.lookout import Lookout
from understudy.transport.network import CannotListen, Channel, Heard, Loaded, Path, check_reach
from understudy.transport.wire import FRAME_LIMIT

logger = logging.getLogger("understudy.transport")

PUMP_BUDGET = 0.005
"""Seconds of receiving before the loop gets a turn."""

POLLIN, POLLOUT = int(zmq.POLLIN), int(zmq.POLLOUT)  # as enums they cost 1 us a look
MORE = int(zmq.NOBLOCK | zmq.SNDMORE)

UP, REFUSED, BROKEN = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
)

QUEUE_LIMIT = 64
"""Frames in ZeroMQ's own queues, each way, per peer: the reservoir is the session's bounded outbox, not these."""

OPTIONS = {
    zmq.SNDHWM: QUEUE_LIMIT,
    zmq.RCVHWM: QUEUE_LIMIT,
    zmq.IMMEDIATE: 1,  # queue for established connections only
    zmq.LINGER: 0,  # a node that leaves in order has waited for its acknowledgements
    zmq.RECONNECT_IVL: 10,  # doubles from try to try
    zmq.RECONNECT_IVL_MAX: 1_000,
    zmq.CONNECT_TIMEOUT: 2_000,  # TCP alone would ask ever more rarely: a link that was down for a minute, for another
    zmq.HEARTBEAT_IVL: 1_000,  # a peer that hangs is seen after HEARTBEAT_TIMEOUT; TCP alone would take minutes
    zmq.HEARTBEAT_TIMEOUT: 2_000,
    zmq.HEARTBEAT_TTL: 2_000,
    zmq.HANDSHAKE_IVL: 5_000,  # a stranger that says nothing
    zmq.TCP_KEEPALIVE: 1,
}

LAST_WORDS = 100
"""Milliseconds that the last answers have to leave this process after close()."""


CURVE_OVERHEAD = 33
"""Bytes by which CURVE makes a frame longer; ZeroMQ looks at its size before it is deciphered."""

REDIAL = 0.1
"""Seconds after which a channel that was refused, or could not be made, is made anew: twice as long each time, up to
REDIAL_LIMIT."""

REDIAL_LIMIT = 1.0

SCARCE = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""What a socket cannot be made for now, and may be later."""

SHORTAGE_EVERY = 60.0
"""Seconds between two lines in the log about that."""

BIND_AGAIN = 0.002
"""Seconds between two attempts to open the door again with another key."""


class _Pump:
    """Moves the frames of one socket. `take` receives and handles one; `writable` is called when output was wanted."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        take: Callable[[zmq.Socket[bytes]], None],
        writable: Callable[[], None] | None = None,
    ) -> None:
        self.socket = socket
        self._take = take
        self._writable = writable
        self._wanted = False
        self._scheduled = False
        self._loop = asyncio.get_running_loop()
        self._descriptor = int(socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._descriptor, self.look)
        self.look_again()  # an edge may have passed before the reader stood

    def send(self, frame: bytes | Loaded, path: Path | None = None) -> bool:
        socket = self.socket
        if socket.closed:
            return False
        try:
            if path is not None:
                socket.send(path, MORE)
            if isinstance(frame, Loaded):
                socket.send(frame.head, MORE)
                socket.send(frame.body, zmq.NOBLOCK, copy=False)
            else:
                socket.send(frame, zmq.NOBLOCK)
            taken = True
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            taken = False
            self._wanted = self._writable is not None
        events = int(socket.getsockopt(zmq.EVENTS))
        if events & POLLIN or (self._wanted and events & POLLOUT):
            self.look_again()
        return taken

    def look_again(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run_again)

    def close(self, linger: int = 0) -> None:
        if not self.socket.closed:
            self._loop.remove_reader(self._descriptor)
            self.socket.close(linger)

    def _run_again(self) -> None:
        self._scheduled = False
        self.look()

    def look(self) -> None:
        """Receive while there is input. Asking EVENTS first is five times cheaper than being refused with EAGAIN."""
        socket, clock = self.socket, self._loop.time
        end = clock() + PUMP_BUDGET
        while not socket.closed:
            events = int(socket.getsockopt(zmq.EVENTS))
            output = self._wanted and events & POLLOUT
            if not output and not events & POLLIN:
                return
            if clock() > end:
                self.look_again()
                return
            try:
                if output and self._writable is not None:
                    self._wanted = False
                    self._writable()
                else:
                    self._take(socket)
            except zmq.Again:
                return
            except BaseException:
                self.look_again()  # the edge is used up: without another look what is left would wait for ever
                raise


_contexts: set[zmq.Context[zmq.Socket[bytes]]] = set()
"""Those of networks that are not closed. As garbage, a context waits for its sockets, which are garbage beside it: for ever."""


class ZeroMqNetwork:
    """The `Network` of a node on real sockets. Made and used on the loop's thread."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        _contexts.add(self._context)
        self._router: _Pump | None = None
        self._lookout: Lookout | None = None
        self._channels: set[_Way] = set()
        self._pair: KeyPair | None = None
        self._doorman: _Pump | None = None
        self._allows: Callable[[str], bool] = _nobody
        self._speaker = ""
        self._shortage: Limiter[str] = Limiter(1, SHORTAGE_EVERY)

    def secure(self, pair: KeyPair, allows: Callable[[str], bool]) -> None:
        renewed = self._pair is not None and self._pair != pair
        self._pair = pair
        self._allows = allows
        if self._doorman is None:
            try:
                self._doorman = _Pump(zap.open_door(self._context), self._judge)
            except zmq.ZMQError as error:
                raise CannotListen(f"cannot look at the keys of those who connect: {error}") from error
        if renewed and self._router is not None:
            router = self._router.socket
            router.setsockopt(zmq.CURVE_SECRETKEY, bytes.fromhex(pair.secret))
            endpoint = router.getsockopt_string(zmq.LAST_ENDPOINT)
            router.unbind(endpoint)
            self._bind_again(router, endpoint)

    def bind(self, address: str, heard: Heard) -> str:
        check_reach(address, secure=self._pair is not None, listening=True)
        try:
            socket = self._socket(zmq.ROUTER, address)
        except zmq.ZMQError as error:
            raise CannotListen(f"cannot listen at {address}: {error}") from error
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if self._pair is not None:
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.setsockopt(zmq.CURVE_SECRETKEY, bytes.fromhex(self._pair.secret))
            socket.setsockopt(zmq.ZAP_DOMAIN, zap.DOMAIN)
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            socket.close()
            why = "the port is in use" if error.errno == zmq.EADDRINUSE else str(error)
            raise CannotListen(
                f"cannot listen at {address}: {why}; choose another port, or 0 for any free one"
            ) from error

        def take(socket: zmq.Socket[bytes]) -> None:
            path, frame = socket.recv(zmq.NOBLOCK), socket.recv(zmq.NOBLOCK)
            if not socket.getsockopt(zmq.RCVMORE):
                lookout.heard()
                heard(path, frame)
                return
            if (body := _body(socket)) is not None:
                heard(path, frame, body)

        def take_proved(socket: zmq.Socket[bytes]) -> None:
            # The key comes with every frame. Kept by path instead, it would be as good as a routing id, which a peer may choose.
            path, part = socket.recv(zmq.NOBLOCK), socket.recv(zmq.NOBLOCK, copy=False)
            self._speaker = str(part.get("User-Id"))
            if not part.more:
                lookout.heard()
                heard(path, part.bytes)
            elif (body := _body(socket)) is not None:
                heard(path, part.bytes, body)

        self._router = router = _Pump(socket, take if self._pair is None else take_proved)
        self._lookout = lookout = Lookout(router.look)
        return socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def key_of(self, path: Path) -> str:
        return self._speaker

    def answer(self, path: Path, frame: bytes) -> bool:
        return self._router is not None and self._router.send(frame, path)

    def connect(
        self,
        address: str,
        heard: Callable[[bytes], None],
        writable: Callable[[], None],
        *,
        connected: Callable[[], None] | None = None,
        key: str = "",
        pair: KeyPair | None = None,
    ) -> Channel:
        check_reach(address, secure=self._pair is not None)
        own = (pair or self._pair) if self._pair is not None else None

        def dial(way: _Way) -> bool:
            try:
                socket = self._socket(zmq.DEALER, address)
                if own is not None:
                    socket.setsockopt(zmq.CURVE_PUBLICKEY, bytes.fromhex(own.public))
                    socket.setsockopt(zmq.CURVE_SECRETKEY, bytes.fromhex(own.secret))
                    socket.setsockopt(zmq.CURVE_SERVERKEY, bytes.fromhex(key))
                way.attach(socket)
                socket.connect(address)
            except zmq.ZMQError as error:
                if error.errno not in SCARCE:
                    raise
                self._report_shortage(address, error)
                return False
            return True

        def take(socket: zmq.Socket[bytes]) -> None:
            heard(socket.recv(zmq.NOBLOCK))

        return _Way(dial, take, writable, connected, self._channels, self._lookout, keyed=own is not None)

    async def listens(self, address: str) -> bool:
        try:
            _, writer = await asyncio.open_connection(*check_reach(address, secure=True))
        except (OSError, UnicodeError):  # the latter of a host's name that cannot be one
            return False
        writer.close()
        return True

    def close(self) -> None:
        for way in tuple(self._channels):
            way.close()
        if self._router is not None:
            self._router.close(LAST_WORDS)
        if self._doorman is not None:
            self._doorman.close()
        self._context.term()
        _contexts.discard(self._context)

    def _socket(self, kind: int, address: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        for option, value in OPTIONS.items():
            socket.setsockopt(option, value)
        socket.setsockopt(zmq.MAXMSGSIZE, FRAME_LIMIT + (CURVE_OVERHEAD if self._pair is not None else 0))
        socket.setsockopt(zmq.IPV6, int("[" in address))
        return socket

    def _report_shortage(self, address: str, error: zmq.ZMQError) -> None:
        if self._shortage.admit("", asyncio.get_running_loop().time()) is not None:
            logger.error(
                "no connection to %s can be opened now: %s; it is tried again until it can be (see `ulimit -n`)",
                address,
                error,
            )

    def _judge(self, socket: zmq.Socket[bytes]) -> None:
        """Somebody wants to come in."""
        socket.send_multipart(zap.answer(socket.recv_multipart(zmq.NOBLOCK), self._allows))

    def _bind_again(self, router: zmq.Socket[bytes], endpoint: str, tries: int = 1) -> None:
        """Open the door that was just closed: ZeroMQ lets go of a port a moment later, on a thread of its own."""
        if router.closed:
            return
        try:
            router.bind(endpoint)
        except zmq.ZMQError as error:
            if tries == 1_000:
                logger.error("cannot listen at %s with the new key: %s; trying on", endpoint, error)
            asyncio.get_running_loop().call_later(BIND_AGAIN, self._bind_again, router, endpoint, tries + 1)


class _Way:
    """The `Channel` of one DEALER, whose monitor tells of its connections.

    `dial` makes it, attaches and connects it; False: that cannot be done now, and is tried again.
    """

    def __init__(
        self,
        dial: Callable[[_Way], bool],
        take: Callable[[zmq.Socket[bytes]], None],
        writable: Callable[[], None],
        connected: Callable[[], None] | None,
        all_channels: set[_Way],
        lookout: Lookout | None,
        *,
        keyed: bool,
    ) -> None:
        self.stands = False
        self.refused = False
        self._keyed = keyed
        self._dial = dial
        self._take = take
        self._writable = writable
        self._connected = connected
        self._all = all_channels
        self._lookout = lookout
        self._pump: _Pump | None = None
        self._events: _Pump | None = None
        self._closed = False
        self._patience = REDIAL
        all_channels.add(self)
        if not dial(self):
            self._put_off()

    def attach(self, socket: zmq.Socket[bytes]) -> None:
        """This is the DEALER from now on; it is not connected yet, so that its monitor misses nothing."""
        self._pump = _Pump(socket, self._take, self._writable)
        self._events = _Pump(socket.get_monitor_socket(UP | zmq.EVENT_DISCONNECTED | REFUSED | BROKEN), self._happened)

    def send(self, frame: bytes | Loaded) -> bool:
        taken = self._pump is not None and self._pump.send(frame)
        if taken and self._lookout is not None and not isinstance(frame, Loaded):
            self._lookout.said()
        return taken

    def close(self) -> None:
        self._closed = True
        self._detach()
        self._all.discard(self)

    def _detach(self) -> None:
        self.stands = False
        if self._pump is not None:
            self._pump.socket.disable_monitor()
            self._pump.close()
            self._pump = None
        if self._events is not None:
            self._events.close()
            self._events = None

    def _happened(self, events: zmq.Socket[bytes]) -> None:
        event = parse_monitor_message(events.recv_multipart(zmq.NOBLOCK))["event"]
        self.stands = event == UP
        self.refused = event == REFUSED or (event == BROKEN and self._keyed)
        if self.stands:
            self._patience = REDIAL
            if self._connected is not None:
                self._connected()
        elif self.refused:
            self._put_off()

    def _put_off(self) -> None:
        self._detach()
        asyncio.get_running_loop().call_later(self._patience, self._redial)
        self._patience = min(2 * self._patience, REDIAL_LIMIT)

    def _redial(self) -> None:
        if self._closed:
            return
        if self._dial(self):
            self._writable()
        else:
            self._put_off()


def _body(socket: zmq.Socket[bytes]) -> memoryview | None:
    """The body that comes with a frame; None if more parts follow, which are none of ours."""
    body = part = socket.recv(zmq.NOBLOCK, copy=False)
    while part.more:
        part = socket.recv(zmq.NOBLOCK, copy=False)
    return body.buffer if part is body else None


def _nobody(key: str) -> bool:
    """Whom a network lets in that was not told."""
    return False
