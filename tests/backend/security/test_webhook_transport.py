"""Webhooks that are really sent: only to where the policy lets them go."""

import datetime as dt
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

from backend.security.webhook_targets import (
    WebhookPolicy,
)
from backend.security.webhook_transport import CheckedTransport

DEFAULT = WebhookPolicy(allow_loopback=False)
LAX = WebhookPolicy(allow_loopback=True)


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
