import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.security.webhook_targets import (
    METADATA_ADDRESSES,
    Address,
    Reach,
    WebhookPolicy,
    literal_address,
    reach_of,
)

STRICT = WebhookPolicy(allow_loopback=False, public_only=True)
DEFAULT = WebhookPolicy(allow_loopback=False)
LAX = WebhookPolicy(allow_loopback=True)
POLICIES = [STRICT, DEFAULT, LAX]

IPV4 = st.ip_addresses(v=4)
IPV6 = st.ip_addresses(v=6)


def within(*networks: str) -> st.SearchStrategy[Address]:
    """Addresses of any of the networks."""
    return st.one_of(*(st.ip_addresses(network=network) for network in networks))


@given(within("169.254.0.0/16", "fe80::/10") | st.sampled_from(sorted(METADATA_ADDRESSES, key=str)))
def test_no_policy_allows_link_local_or_metadata_addresses(address: Address) -> None:
    assert all(policy.refusal(address) is not None for policy in POLICIES)


@given(
    within("224.0.0.0/4", "ff00::/8", "240.0.0.0/4", "0.0.0.0/8")
    | st.just(ipaddress.ip_address("::"))
)
def test_no_policy_allows_what_is_no_host(address: Address) -> None:
    assert all(policy.refusal(address) is not None for policy in POLICIES)


@given(within("127.0.0.0/8") | st.just(ipaddress.ip_address("::1")))
def test_loopback_needs_to_be_allowed(address: Address) -> None:
    assert LAX.refusal(address) is None
    assert "loopback" in str(DEFAULT.refusal(address))


@given(within("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/8"))
def test_private_networks_are_allowed_unless_only_public_ones_are(address: Address) -> None:
    assert DEFAULT.refusal(address) is None
    assert "private" in str(STRICT.refusal(address))


@given(within("1.1.1.0/24", "8.8.8.0/24", "2606:4700::/32"))
def test_public_addresses_are_always_allowed(address: Address) -> None:
    assert all(policy.refusal(address) is None for policy in POLICIES)


@given(IPV4 | IPV6)
def test_only_public_means_globally_reachable(address: Address) -> None:
    if STRICT.refusal(address) is None:
        assert address.is_global
        assert not address.is_multicast


@given(IPV4)
def test_an_ipv4_address_wrapped_in_ipv6_is_what_it_wraps(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    wrapped = [
        ipaddress.IPv6Address(f"::ffff:{address}"),
        ipaddress.IPv6Address(f"64:ff9b::{address}"),
        ipaddress.IPv6Address(0x2002 << 112 | number << 80),
        ipaddress.IPv6Address(0x20010000 << 96 | number ^ 0xFFFFFFFF),
    ]

    assert {reach_of(one) for one in wrapped} == {reach_of(address)}


@given(IPV4)
def test_every_spelling_of_an_address_is_that_address(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    a, b, c, d = address.packed
    spellings = [
        str(address),
        f"{address}.",
        str(number),
        hex(number),
        f"0{number:o}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{(c << 8) + d}",
        f"0x{a:x}.0{b:o}.{c}.{d}",
    ]

    assert {literal_address(one) for one in spellings} == {address}


@given(IPV6)
def test_an_ipv6_address_is_read_with_and_without_brackets(address: ipaddress.IPv6Address) -> None:
    assert literal_address(str(address)) == literal_address(f"[{address}]") == address


@pytest.mark.parametrize("host", ["example.org", "a", "999.1.1.1", "1.2.3.4.5", "", "ü.example"])
def test_a_name_is_no_address(host: str) -> None:
    assert literal_address(host) is None
    assert all(policy.refusal_of_host(host) is None for policy in POLICIES)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "127.1", "[::1]"])
def test_names_of_this_machine_are_loopback(host: str) -> None:
    assert DEFAULT.refusal_of_host(host) is not None
    assert LAX.refusal_of_host(host) is None


@pytest.mark.parametrize("address", ["fe80::1%eth0", "::ffff:169.254.169.254", "::169.254.169.254"])
def test_disguises_do_not_help(address: str) -> None:
    assert LAX.refusal(ipaddress.ip_address(address)) is not None


def test_the_site_chosen_nat64_prefix_is_refused() -> None:
    assert reach_of(ipaddress.ip_address("64:ff9b:1::a9fe:a9fe")) == Reach.RESERVED
