"""Webhooks to endpoints that fail: in order, at least once, and nobody waits for another."""

import asyncio
import contextlib
import json
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from uuid import UUID

import pytest

from backend.db.engine import Database
from backend.db.tables import Notification, User
from backend.errors import DatabaseUnavailable
from backend.notifications import pusher as pusher_module
from backend.notifications.delivery import unreachable
from backend.notifications.feed import Feed
from backend.notifications.pusher import Pusher
from backend.security.webhook_targets import WebhookPolicy
from tests.backend.notifications.outboxes import new_users, tell, until, until_awaited

LAX = WebhookPolicy(allow_loopback=True)
STRICT = WebhookPolicy(allow_loopback=False, public_only=True)
HANG = 0

Answer = Callable[[int], int]


class Endpoint:
    """Endpoints on loopback, one per path, that answer each attempt as the test says."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answers: dict[str, Answer] = {}
        self.rounds: defaultdict[str, list[int]] = defaultdict(list)
        self.ids: defaultdict[str, list[int]] = defaultdict(list)
        self.writers: list[asyncio.StreamWriter] = []

    def url(self, name: str, answer: Answer = lambda _: 200) -> str:
        """An endpoint that answers attempt 0, 1, … with `answer`; `HANG` is never."""
        self.answers[name] = answer
        return f"http://127.0.0.1:{self._port}/{name}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                request, *lines = head.decode().strip().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines)
                name = request.split()[1].strip("/")
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                attempt = len(self.rounds[name])
                self.rounds[name].append(body["body"]["round"])
                self.ids[name].append(int(headers["webhook-id"]))
                if (status := self.answers[name](attempt)) == HANG:
                    await reader.read()
                    return
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n".encode())
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        endpoint = Endpoint(listener.getsockname()[1])
        server = await asyncio.start_server(endpoint.serve, sock=listener)
        yield endpoint
        server.close()
        await closed(endpoint.writers)


async def closed(writers: Sequence[asyncio.StreamWriter]) -> None:
    """Return when these connections are closed: on a busy machine, a test ends before they are."""
    for writer in writers:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_PAUSE_SECONDS", "LONGEST_PAUSE_SECONDS", "JITTER_SECONDS"):
        monkeypatch.setattr(pusher_module, name, 0.01)
    monkeypatch.setattr(pusher_module, "RESCAN_SECONDS", 0.05)


@pytest.fixture
async def push(database: Database) -> AsyncIterator[Callable[..., Pusher]]:
    """Starts a pusher; all end with the test."""
    running: list[asyncio.Task[None]] = []

    def start(policy: WebhookPolicy = LAX) -> Pusher:
        pusher = Pusher(database, policy, secret="s", feed=Feed())
        running.append(asyncio.create_task(pusher.run()))
        return pusher

    yield start
    # In the middle of a transaction its connection would be left open.
    async with database._writing:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def has_nothing_waiting(user: UUID) -> bool:
    return not await Notification.exists().where(
        (Notification.recipient == user) & Notification.waiting.eq(True)
    )


async def is_reachable(user: UUID) -> bool:
    return not await unreachable([user])


async def failing(user: UUID) -> str:
    """The sentence about the user's endpoint, once an attempt has failed."""
    await until_awaited(lambda: unreachable([user]))
    return (await unreachable([user]))[user].last_error


async def test_an_endpoint_that_recovers_gets_everything_in_order(
    database: Database, endpoint: Endpoint, push: Callable[..., Pusher]
) -> None:
    url = endpoint.url("flaky", lambda attempt: 500 if attempt < 3 else 202)
    (user,) = await new_users(database, 1, url)
    await tell(database, user, times=3)

    push()
    await until(lambda: len(endpoint.rounds["flaky"]) == 6)

    assert endpoint.rounds["flaky"] == [0, 0, 0, 0, 1, 2]
    assert len(set(endpoint.ids["flaky"])) == 3


async def test_endpoints_that_hang_delay_nobody_else(
    database: Database,
    endpoint: Endpoint,
    push: Callable[..., Pusher],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pusher_module, "REPEATS_AT_ONCE", 1)
    monkeypatch.setattr(pusher_module, "FIRST_ATTEMPTS_AT_ONCE", 3)
    slow = endpoint.url("slow", lambda _: HANG)
    known_to_hang = await new_users(database, 5, slow)
    new_to_hang = await new_users(database, 2, slow)
    (fine,) = await new_users(database, 1, endpoint.url("fine"))
    await tell(database, *known_to_hang)
    await Notification.update({Notification.attempts: 1}, force=True)

    pusher = push()
    await until(lambda: endpoint.rounds["slow"])
    await tell(database, *new_to_hang, fine)
    pusher.wake()

    await until(lambda: endpoint.rounds["fine"])


async def test_a_dead_endpoint_is_shown_until_it_is_changed(
    database: Database, endpoint: Endpoint, push: Callable[..., Pusher]
) -> None:
    dead = endpoint.url("dead", lambda _: 503)
    user, other = *await new_users(database, 1, dead), *await new_users(database, 1)
    await tell(database, user, other)
    (created_at,) = await Notification.select(Notification.created_at).where(
        Notification.recipient == user
    )

    push()
    sentence = await failing(user)
    found = await unreachable([other, user])

    assert sentence == "It answered with status 503."
    assert list(found) == [user]
    assert found[user].since == created_at["created_at"]
    assert found[user].attempts >= 1

    await User.update({User.message_endpoint: endpoint.url("alive")}).where(User.id == user)
    await until(lambda: endpoint.rounds["alive"])
    await until_awaited(lambda: is_reachable(user))


async def test_who_clears_their_endpoint_is_sent_nothing_more(
    database: Database, endpoint: Endpoint, push: Callable[..., Pusher]
) -> None:
    (user,) = await new_users(database, 1, endpoint.url("dead", lambda _: 500))
    await tell(database, user, times=2)

    push()
    await failing(user)
    await User.update({User.message_endpoint: ""}).where(User.id == user)

    await until_awaited(lambda: has_nothing_waiting(user))
    assert set(endpoint.rounds["dead"]) == {0}


async def test_a_database_that_is_away_only_delays(
    database: Database,
    endpoint: Endpoint,
    push: Callable[..., Pusher],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (user,) = await new_users(database, 1, endpoint.url("hook"))
    await tell(database, user, times=2)

    with monkeypatch.context() as away:

        def fail(_: object) -> object:
            raise DatabaseUnavailable("the database went away")

        away.setattr(Database, "write_transaction", fail)
        push()
        await until(lambda: len(endpoint.rounds["hook"]) >= 2)
        assert set(endpoint.rounds["hook"]) == {0}
    await until(lambda: endpoint.rounds["hook"][-1] == 1)

    assert endpoint.rounds["hook"] == sorted(endpoint.rounds["hook"])
    assert len(set(endpoint.ids["hook"])) == 2


async def test_a_new_process_goes_on_where_the_old_one_ended(
    database: Database, endpoint: Endpoint, push: Callable[..., Pusher]
) -> None:
    (user,) = await new_users(database, 1, endpoint.url("hook", lambda n: HANG if n == 1 else 200))
    await tell(database, user, times=4)

    push()
    await until(lambda: endpoint.rounds["hook"] == [0, 1])
    push()
    await until(lambda: endpoint.rounds["hook"][-1] == 3)

    assert endpoint.rounds["hook"] == [0, 1, 1, 2, 3]


@pytest.fixture
async def mail_server() -> AsyncIterator[int]:
    """Port of a server that speaks neither HTTP nor TLS."""

    writers: list[asyncio.StreamWriter] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.write_eof()
        await reader.read()

    server = await asyncio.start_server(greet, "127.0.0.1")
    yield server.sockets[0].getsockname()[1]
    server.close()
    await closed(writers)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return int(closed.getsockname()[1])


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://127.0.0.1:{closed}/", "It takes no connections."),
        ("http://127.0.0.1:{mail}/", "It did not answer in HTTP, or broke off."),
        ("https://127.0.0.1:{mail}/", "No TLS connection could be made."),
        ("http://no-such-name.invalid/", "Its name cannot be resolved."),
        ("http://[::", "Its URL cannot be used."),
    ],
)
async def test_a_failure_is_told_in_a_sentence(
    database: Database,
    push: Callable[..., Pusher],
    mail_server: int,
    closed_port: int,
    url: str,
    sentence: str,
) -> None:
    endpoint = url.format(closed=closed_port, mail=mail_server)
    (user,) = await new_users(database, 1, endpoint)
    await tell(database, user)

    push()

    assert await failing(user) == sentence


async def test_the_address_behind_a_name_is_not_told(
    database: Database, push: Callable[..., Pusher], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.1.2.3", 80))]
    (user,) = await new_users(database, 1, "http://intranet.example/")
    await tell(database, user)

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    push(STRICT)

    assert await failing(user) == "Webhooks from here may not go to a private network."
