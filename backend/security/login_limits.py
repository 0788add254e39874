"""Limits on failed logins.

Nobody can lock somebody else out: failures are counted per pair of user name and client address,
and per address over all names. Someone who guesses blocks their own address only; the right user,
who comes from another one, never notices. Tokens are not counted: at 160 bits there is nothing to
guess, and a forgotten script with an old token must not block everybody behind its address.
"""

import hashlib
import ipaddress
import math
import time

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from backend.errors import TooManyAttempts

# Ten typing errors are human; a password with 20 bits needs a year at this pace.
PER_USER_AND_ADDRESS = RateLimitItemPerMinute(10, multiples=5, namespace="login-pair")
# Many people may share an address: this one only stops trying one password on every name.
PER_ADDRESS = RateLimitItemPerMinute(300, multiples=5, namespace="login-address")
# Who owns an IPv6 address usually owns the /64 around it.
IPV6_PREFIX_LENGTH = 64


class LoginLimits:
    """Counts failed logins of the last five minutes, in the memory of this process."""

    def __init__(self) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    async def require_open(self, username: str, address: str) -> None:
        """Raises `TooManyAttempts` when the pair or the address has failed too often."""
        for item, *key in _counters(username, address):
            if not await self._limiter.test(item, *key):
                window = await self._limiter.get_window_stats(item, *key)
                pause = max(1, math.ceil(window.reset_time - time.time()))
                raise TooManyAttempts(
                    f"Too many failed logins. Try again in {pause} seconds.",
                    retry_after_seconds=pause,
                )

    async def failed(self, username: str, address: str) -> None:
        """Count a failure."""
        for item, *key in _counters(username, address):
            await self._limiter.hit(item, *key)

    async def succeeded(self, username: str, address: str) -> None:
        """Forget the user's failures from this address.

        The address keeps its own: a guesser with an account would wipe them with each login.
        """
        item, *key = _counters(username, address)[0]
        await self._limiter.clear(item, *key)


def network_of(address: str) -> str:
    """What failures are counted under: an IPv4 address, the /64 of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        # A proxy may pass on what is no address at all.
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_PREFIX_LENGTH), strict=False))


def _counters(
    username: str, address: str
) -> list[tuple[RateLimitItem, str] | tuple[RateLimitItem, str, str]]:
    network = network_of(address)
    # Hashed, so that a name of a megabyte costs no more than another.
    name = hashlib.sha256(username.encode()).hexdigest()
    return [(PER_USER_AND_ADDRESS, network, name), (PER_ADDRESS, network)]
