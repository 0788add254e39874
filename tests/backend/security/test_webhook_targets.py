import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from backend.security.webhook_targets import (
    METADATA_ADDRESSES,
    Address,
    CheckedTransport,
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


class Target:
    """An HTTP server on loopback that keeps the Host headers it is sent."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.hosts: list[str] = []
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                target.hosts.append(self.headers["Host"])
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def target() -> Iterator[Target]:
    target = Target()
    yield target
    target.stop()


async def post(policy: WebhookPolicy, url: str) -> int:
    transport = CheckedTransport(policy, max_connections=2)
    async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
        return (await client.post(url, content=b"{}")).status_code


class Resolver:
    """Stands in for a name server: each look-up of any name takes the next answer."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    def __call__(self, host: str, port: int, *_: object, **__: object) -> list[object]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in self.answers.pop(0)
        ]


async def test_an_allowed_target_gets_the_name_as_its_host(target: Target) -> None:
    assert await post(LAX, f"http://localhost:{target.port}/hook") == 200
    assert target.hosts == [f"localhost:{target.port}"]


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"]
)
async def test_a_refused_target_is_not_connected_to(target: Target, host: str) -> None:
    with pytest.raises(httpx.ConnectError, match="loopback"):
        await post(DEFAULT, f"http://{host}:{target.port}/hook")

    assert target.hosts == []


async def test_a_name_that_changes_its_mind_does_not_get_past_the_check(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebinding = Resolver(["127.0.0.1"], ["169.254.169.254"])
    monkeypatch.setattr(socket, "getaddrinfo", rebinding)

    assert await post(LAX, f"http://rebinding.example:{target.port}/") == 200
    assert rebinding.answers == [["169.254.169.254"]], "the name was looked up again"
    with pytest.raises(httpx.ConnectError, match=r"169\.254\.169\.254 is link-local"):
        await post(LAX, f"http://rebinding.example:{target.port}/")


async def test_of_several_addresses_the_allowed_one_is_used(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Resolver(["169.254.169.254", "127.0.0.1"]))

    assert await post(LAX, f"http://several.example:{target.port}/") == 200


async def test_a_name_that_nobody_knows_is_a_connection_error() -> None:
    with pytest.raises(httpx.ConnectError, match=r"no-such-name\.invalid"):
        await post(LAX, "http://no-such-name.invalid/hook")


def certificate_for(name: str, folder: Path) -> Path:
    """A self-signed certificate with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


async def test_the_certificate_is_checked_against_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = certificate_for("hook.example", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    monkeypatch.setattr(socket, "getaddrinfo", Resolver(["127.0.0.1"], ["127.0.0.1"]))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(path)
    target = Target(tls)
    try:
        assert await post(LAX, f"https://hook.example:{target.port}/") == 200
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await post(LAX, f"https://other.example:{target.port}/")
    finally:
        target.stop()
