"""Where a request comes from, when proxies stand in between.

    client 203.0.113.9 ──> proxy 10.0.0.2 ──> proxy 127.0.0.1 ──> gateway
                           X-Forwarded-For: 203.0.113.9           trusted_proxies=["127.0.0.1", "10.0.0.0/8"]
                                                 203.0.113.9, 10.0.0.2

Anybody can write such a header. So it is read from its end, one address for each proxy that is trusted, and no further: what
a client wrote there itself is never reached.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network


class Proxies:
    """`trusted`: addresses and networks ("10.0.0.0/8"). Raises ValueError for what is none."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        if isinstance(trusted, str):
            raise TypeError(f"trusted proxies are a list of addresses, not {trusted!r}")
        self._trusted: list[IPv4Network | IPv6Network] = []
        for network in trusted:
            try:
                self._trusted.append(ip_network(network))
            except ValueError as error:
                raise ValueError(f"a trusted proxy is an address or a network like '10.0.0.0/8': {error}") from None

    def client(self, peer: str, forwarded: str) -> str:
        """The client's address: `peer` is who connected, `forwarded` what X-Forwarded-For says, all its lines joined by commas."""
        address = _plain(peer) or peer
        hops = forwarded.split(",") if forwarded and self._trusted else []
        while hops and self.trusts(address):
            before = _plain(hops.pop().strip())
            if before is None:
                break
            address = before
        return address

    def trusts(self, address: str) -> bool:
        """Whether what that one says about where a request comes from is believed."""
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._trusted)


def _plain(address: str) -> str | None:
    """An address without port and brackets, IPv4 as IPv4; None if it is none."""
    host = address
    if address.startswith("["):
        host = address[1:].partition("]")[0]
    elif address.count(":") == 1:
        host = address.partition(":")[0]
    try:
        ip = ip_address(host)
    except ValueError:
        return None
    return str(ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else str(ip)
