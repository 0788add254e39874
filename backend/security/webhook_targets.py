"""Which addresses webhooks may go to, and a transport that goes nowhere else.

A webhook's URL is written by a user and called by the server, so it could reach what only the
server reaches: its own ports, its cloud's metadata service, machines behind the firewall. Looking
at the URL is not enough, because a name resolves to whatever its owner wants, and to something else
a second later. So the check is made where the connection is made: the name is resolved once, each
address is checked, and the connection goes to a checked address. Host header and TLS server name
stay those of the URL. A connection that is kept open was checked when it was opened.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum

import httpcore
import msgspec
from httpcore import SOCKET_OPTION, AsyncNetworkBackend, AsyncNetworkStream

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# More than the attempts that a name server can keep waiting, which are repeats after the first.
RESOLVER_THREADS = 64
LOCALHOST = "localhost"


class Reach(StrEnum):
    """Where an address leads."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    METADATA = "a cloud metadata service"
    MULTICAST = "multicast"
    RESERVED = "reserved"

    @property
    def place(self) -> str:
        """What is there, in words."""
        match self:
            case Reach.PUBLIC:
                return "a public address"
            case Reach.PRIVATE:
                return "a private network"
            case Reach.LOOPBACK:
                return "this server itself (loopback)"
            case Reach.METADATA:
                return "a cloud metadata service"
            case Reach.LINK_LOCAL | Reach.MULTICAST | Reach.RESERVED:
                return f"a {self.value} address"


# Metadata services outside 169.254.0.0/16, where most of them are: each hands out credentials.
METADATA_ADDRESSES: frozenset[Address] = frozenset(
    map(
        ipaddress.ip_address,
        (
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure's platform endpoint
            "192.0.0.192",  # Oracle
            "fd00:ec2::254",  # AWS
            "fd20:ce::254",  # Google
            "fd00:42::42",  # Scaleway
            "fd00:c1::a9fe:a9fe",  # Oracle
        ),
    )
)
# Addresses with an IPv4 address in their last 32 bits, which a gateway unpacks (RFC 6052).
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# The same, where each site chooses the place of the IPv4 address (RFC 8215).
LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")
THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")


class RefusedTarget(httpcore.ConnectError):
    """The policy lets no webhook go there; httpx makes an `httpx.ConnectError` of it.

    Attributes:
        public_message: For people who must not learn the addresses behind a name.
    """

    def __init__(self, host: str, refusals: Iterable[tuple[Address, str]]) -> None:
        known = list(refusals)
        super().__init__(f"webhook to {host} refused: {'; '.join(text for _, text in known)}")
        places = dict.fromkeys(reach_of(address).place for address, _ in known)
        self.public_message = f"Webhooks from here may not go to {' or '.join(places)}."


class UnknownName(httpcore.ConnectError):
    """A host's name leads to no address."""


class WebhookPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator lets webhooks reach.

    Attributes:
        allow_loopback: Addresses of this machine are fine: it is the users' own, or they are meant.
        public_only: Private networks are not.
    """

    allow_loopback: bool
    public_only: bool = False

    def refusal(self, address: Address) -> str | None:
        """Why no webhook goes to `address`; None when one may."""
        reach = reach_of(address)
        match reach:
            case Reach.PUBLIC:
                return None
            case Reach.PRIVATE if not self.public_only:
                return None
            case Reach.LOOPBACK if self.allow_loopback:
                return None
            case Reach.PRIVATE:
                return f"{address} is in a private network; webhooks go to public addresses only."
            case Reach.LOOPBACK:
                return f"{address} is this server itself (loopback)."
            case _:
                return f"{address} is {reach.value}; no webhook may go there."

    def refusal_of_host(self, host: str) -> str | None:
        """Why no webhook goes to a host that needs no resolving; None for every other name."""
        if host.rstrip(".").lower() == LOCALHOST or host.rstrip(".").lower().endswith(".localhost"):
            return None if self.allow_loopback else f"{host} is this server itself (loopback)."
        address = literal_address(host)
        return None if address is None else self.refusal(address)


def reach_of(address: Address) -> Reach:
    """Where `address` leads, once unpacked from IPv6 wrappings of IPv4."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded_ipv4(address)
        if inner is not None:
            return reach_of(inner)
    if _without_scope(address) in METADATA_ADDRESSES:
        return Reach.METADATA
    # The order matters: loopback and link-local count as private or reserved too.
    if address.is_loopback:
        return Reach.LOOPBACK
    if address.is_link_local:
        return Reach.LINK_LOCAL
    if address.is_multicast:
        return Reach.MULTICAST
    if address.is_unspecified or address.is_reserved:
        return Reach.RESERVED
    if address in THIS_NETWORK or address in LOCAL_NAT64:
        return Reach.RESERVED
    return Reach.PUBLIC if address.is_global else Reach.PRIVATE


def literal_address(host: str) -> Address | None:
    """The address that a host spells out, also as 2130706433, 0x7f.1 or 0177.0.0.1."""
    bare = host.strip("[]").rstrip(".")
    try:
        return ipaddress.ip_address(bare)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(bare))
    except (OSError, UnicodeError, ValueError):
        return None


class CheckedBackend(AsyncNetworkBackend):
    """Connects to addresses that the policy allows, and to exactly those it has checked."""

    def __init__(self, policy: WebhookPolicy) -> None:
        self._policy = policy
        self._backend = httpcore.AnyIOBackend()
        # Threads of its own: a name server that never answers must not block file work.
        self._resolvers = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """A connection to the first allowed address of `host` that takes it.

        Raises:
            RefusedTarget: none of its addresses is allowed.
            httpcore.ConnectError, httpcore.ConnectTimeout: none of them takes it.
        """
        addresses = await self._resolve(host, port, timeout)
        refusals = {one: self._policy.refusal(one) for one in addresses}
        allowed = [one for one, refusal in refusals.items() if refusal is None]
        if not allowed:
            raise RefusedTarget(
                host, [(one, refusal) for one, refusal in refusals.items() if refusal is not None]
            )
        failure: Exception | None = None
        for address in allowed:
            try:
                return await self._backend.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")

    async def sleep(self, seconds: float) -> None:
        """As every backend does."""
        await self._backend.sleep(seconds)

    async def _resolve(self, host: str, port: int, timeout_seconds: float | None) -> list[Address]:
        loop = asyncio.get_running_loop()
        lookup = loop.run_in_executor(self._resolvers, _look_up, host, port)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await lookup
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"the name {host} was not resolved in time") from error
        except (OSError, UnicodeError) as error:
            raise UnknownName(f"the name {host} cannot be resolved: {error}") from error


def _look_up(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))


def _embedded_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to `address` may end up at."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    low = int(address) & 0xFFFF_FFFF
    if address in NAT64:
        return ipaddress.IPv4Address(low)
    # ::1 and :: are addresses of their own in the same range.
    if address in IPV4_COMPATIBLE and low > 1:
        return ipaddress.IPv4Address(low)
    return None


def _without_scope(address: Address) -> Address:
    return ipaddress.IPv6Address(int(address)) if address.version == 6 else address
