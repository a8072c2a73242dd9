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
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import zmq
from zmq.utils.monitor import parse_monitor_message

from understudy.transport.lookout import Lookout
from understudy.transport.network import CannotListen, Channel, Heard, Loaded, Path, parse_address
from understudy.transport.wire import FRAME_LIMIT

PUMP_BUDGET = 0.005
"""Seconds of receiving before the loop gets a turn."""

POLLIN, POLLOUT = int(zmq.POLLIN), int(zmq.POLLOUT)  # as enums they cost 1 us a look

UP = zmq.EVENT_HANDSHAKE_SUCCEEDED

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
    zmq.MAXMSGSIZE: FRAME_LIMIT,
    zmq.TCP_KEEPALIVE: 1,
}

LAST_WORDS = 100
"""Milliseconds that the last answers have to leave this process after close()."""


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
                socket.send(path, zmq.NOBLOCK | zmq.SNDMORE)
            if isinstance(frame, Loaded):
                socket.send(frame.head, zmq.NOBLOCK | zmq.SNDMORE)
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


class ZeroMqNetwork:
    """The `Network` of a node on real sockets. Made and used on the loop's thread."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._router: _Pump | None = None
        self._lookout: Lookout | None = None
        self._channels: set[_Way] = set()

    def bind(self, address: str, heard: Heard) -> str:
        parse_address(address)
        socket = self._context.socket(zmq.ROUTER)
        _configure(socket)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
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
            body = part = socket.recv(zmq.NOBLOCK, copy=False)
            while part.more:
                part = socket.recv(zmq.NOBLOCK, copy=False)
            if part is body:  # more parts are none of ours
                heard(path, frame, body.buffer)

        self._router = router = _Pump(socket, take)
        self._lookout = lookout = Lookout(router.look)
        return socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def answer(self, path: Path, frame: bytes) -> bool:
        return self._router is not None and self._router.send(frame, path)

    def connect(
        self,
        address: str,
        heard: Callable[[bytes], None],
        writable: Callable[[], None],
        *,
        connected: Callable[[], None] | None = None,
    ) -> Channel:
        parse_address(address)
        socket = self._context.socket(zmq.DEALER)
        _configure(socket)

        def take(socket: zmq.Socket[bytes]) -> None:
            heard(socket.recv(zmq.NOBLOCK))

        way = _Way(_Pump(socket, take, writable), connected, self._channels, self._lookout)
        socket.connect(address)
        return way

    async def listens(self, address: str) -> bool:
        try:
            _, writer = await asyncio.open_connection(*parse_address(address))
        except OSError:
            return False
        writer.close()
        return True

    def close(self) -> None:
        for way in tuple(self._channels):
            way.close()
        if self._router is not None:
            self._router.close(LAST_WORDS)
        self._context.term()


class _Way:
    """The `Channel` of one DEALER, whose monitor tells of its connections."""

    def __init__(
        self,
        pump: _Pump,
        connected: Callable[[], None] | None,
        all_channels: set[_Way],
        lookout: Lookout | None,
    ) -> None:
        self.stands = False
        self._pump = pump
        self._connected = connected
        self._events = _Pump(pump.socket.get_monitor_socket(UP | zmq.EVENT_DISCONNECTED), self._happened)
        self._all = all_channels
        all_channels.add(self)
        self._lookout = lookout

    def send(self, frame: bytes | Loaded) -> bool:
        taken = self._pump.send(frame)
        if taken and self._lookout is not None and not isinstance(frame, Loaded):
            self._lookout.said()
        return taken

    def close(self) -> None:
        if not self._pump.socket.closed:
            self._pump.socket.disable_monitor()
            self._events.close()
        self._pump.close()
        self.stands = False
        self._all.discard(self)

    def _happened(self, events: zmq.Socket[bytes]) -> None:
        event = parse_monitor_message(events.recv_multipart(zmq.NOBLOCK))["event"]
        self.stands = event == UP
        if self.stands and self._connected is not None:
            self._connected()


def _configure(socket: zmq.Socket[bytes]) -> None:
    for option, value in OPTIONS.items():
        socket.setsockopt(option, value)
