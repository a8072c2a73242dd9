"""How much one client may ask of a gateway, and for how long. All of it holds unless the owner says otherwise:

    Gateway(limits=Limits(clients=50_000, messages=Rate(200, burst=1_000), requests=None))

A rate is a bucket of tokens: full at first, emptied by what is asked, filled again bit by bit.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

KIB, MIB = 1024, 1024 * 1024

BUCKETS = 20_000
"""Keys that one limit remembers; the one not heard of for longest is forgotten."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_second` in the long run, `burst` at once."""

    per_second: float
    burst: float = 1

    def __post_init__(self) -> None:
        if not (0 < self.per_second < math.inf and self.burst >= 1):
            raise ValueError(f"a rate is more than 0 per second, and 1 at once at least, not {self}")


@dataclass(frozen=True, slots=True)
class Limits:
    """`None` where a rate is meant: no limit. Those per address do not count this machine's own (`is_local`)."""

    clients: int = 10_000
    """WebSockets, event streams and long polls at a time."""
    clients_per_address: int = 256
    sockets: int = 20_000
    """TCP connections at a time, those included that said nothing yet."""
    sockets_per_address: int = 512

    header_deadline: float = 10.0
    """Seconds, from the start of a connection or the end of its last request, until a request's headers are complete."""
    body_deadline: float = 30.0
    """Seconds until a request's body is complete."""
    answer_deadline: float = 30.0
    """Seconds until a handler begins its answer. How long that goes on is not limited: it may be a stream."""
    idle: float = 60.0
    """Seconds of silence after which a client is let go; Phoenix clients send a heartbeat every 30."""

    body: int = 64 * KIB
    """Bytes of a request's body."""
    message: int = 64 * KIB
    """Bytes of a WebSocket message."""

    messages: Rate | None = Rate(100, burst=500)
    """What one connection sends."""
    bytes: Rate | None = Rate(256 * KIB, burst=2 * MIB)
    messages_of_one: Rate | None = Rate(400, burst=2_000)
    """What all connections of one principal send, or those of strangers from one address."""
    bytes_of_one: Rate | None = Rate(MIB, burst=8 * MIB)
    requests: Rate | None = Rate(100, burst=1_000)
    """HTTP requests from one address."""
    failures: Rate | None = Rate(0.2, burst=10)
    """Wrong tokens, cookies and passwords from one address."""


class Bucket:
    """The tokens that are left of a rate."""

    __slots__ = ("at", "rate", "tokens")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self.tokens = float(rate.burst)
        self.at = now

    def take(self, amount: float, now: float) -> bool:
        """Whether there were `amount` tokens; they are gone then. What is more than the burst takes a full bucket."""
        if self.wait(amount, now):
            return False
        self.tokens -= min(amount, self.rate.burst)
        return True

    def wait(self, amount: float, now: float) -> float:
        """Seconds until there will be `amount` tokens."""
        rate = self.rate
        self.tokens = min(rate.burst, self.tokens + (now - self.at) * rate.per_second)
        self.at = now
        return max(0.0, (min(amount, rate.burst) - self.tokens) / rate.per_second)


class Buckets:
    """A bucket for each key."""

    def __init__(self, rate: Rate | None, limit: int = BUCKETS) -> None:
        self.rate = rate
        self._limit = limit
        self._buckets: dict[Hashable, Bucket] = {}

    def of(self, key: Hashable, now: float) -> Bucket | None:
        """The bucket of `key`; None if there is no limit."""
        if self.rate is None:
            return None
        bucket = self._buckets.pop(key, None)
        if bucket is None:
            bucket = Bucket(self.rate, now)
            if len(self._buckets) >= self._limit:
                del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = bucket
        return bucket


class Meter:
    """What one connection may send: its own buckets, and those that it shares with others of its principal."""

    __slots__ = ("_bytes", "_messages")

    def __init__(self, messages: Iterable[Bucket | None] = (), bytes: Iterable[Bucket | None] = ()) -> None:  # noqa: A002
        self._messages = [bucket for bucket in messages if bucket is not None]
        self._bytes = [bucket for bucket in bytes if bucket is not None]

    def take(self, size: int, now: float) -> float:
        """0.0 if a message of `size` bytes may pass; else the seconds until one may, and nothing is taken."""
        wait = max(
            max((bucket.wait(1, now) for bucket in self._messages), default=0.0),
            max((bucket.wait(size, now) for bucket in self._bytes), default=0.0),
        )
        if not wait:
            for bucket in self._messages:
                bucket.take(1, now)
            for bucket in self._bytes:
                bucket.take(size, now)
        return wait


class Crowd:
    """How many there are from each address. Local ones are not counted: behind a proxy of this machine stands everybody."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._count: Counter[str] = Counter()

    def full(self, address: str) -> bool:
        """Whether nobody more may come from there."""
        return not is_local(address) and self._count[block(address)] >= self.limit

    def come(self, address: str) -> None:
        """One more is there."""
        if not is_local(address):
            self._count[block(address)] += 1

    def go(self, address: str) -> None:
        """One that came from there has gone."""
        if not is_local(address):
            key = block(address)
            self._count[key] -= 1
            if not self._count[key]:
                del self._count[key]


def is_local(address: str) -> bool:
    """Whether it is this machine's own, or none at all (a UNIX socket's)."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return True


def block(address: str) -> str:
    """What counts as one address: an IPv6 customer has 2**64 of them."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, IPv6Address):
        return str(ip.ipv4_mapped) if ip.ipv4_mapped else f"{IPv6Address(int(ip) >> 64 << 64)}/64"
    return address
