"""The feed from inside: what many who wait cost, and that nothing falls between two looks."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Collection, Mapping
from uuid import UUID

import pytest
import uvicorn
from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import Provide
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from backend.db.engine import Database
from backend.db.lookups import KEYS_PER_QUERY, Lookups
from backend.db.sqlite import DurableSQLite
from backend.db.tables import User
from backend.errors import DatabaseUnavailable
from backend.notifications import feed as feed_module
from backend.notifications.controller import notifications
from backend.notifications.feed import Feed
from backend.security.caller import Caller
from backend.security.presence import Presence
from backend.subscriptions import MAX_ARRIVED
from tests.backend.notifications.outboxes import new_users, tell, until
from tests.event_streams import FEED


@pytest.fixture
async def still(database: Database) -> Feed:
    """A feed whose reader looks only when a test has it look."""
    feed = Feed()
    await feed.open()
    return feed


@pytest.fixture
async def feed(still: Feed) -> AsyncIterator[Feed]:
    reader = asyncio.create_task(still.run())
    yield still
    reader.cancel()


class Queries:
    """Counts the queries of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        original = DurableSQLite.run_querystring

        async def counted(*arguments: object, **options: object) -> object:
            self.count += 1
            return await original(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(DurableSQLite, "run_querystring", counted)


async def test_who_began_to_wait_last_is_told_first(database: Database, feed: Feed) -> None:
    users = await new_users(database, 5)
    order = [3, 0, 4, 1, 2]
    waiting: set[int] = set()
    told: list[int] = []

    async def wait(place: int) -> None:
        with feed.subscribe(users[place], after=0) as subscription:
            # What is there already is read by each for itself.
            assert await subscription.next(limit=1, wait_seconds=0) == []
            waiting.add(place)
            await subscription.next(limit=1, wait_seconds=30)
            told.append(place)

    async with asyncio.TaskGroup() as group:
        for place in order:
            group.create_task(wait(place))
        await until(lambda: len(waiting) == len(users))
        await tell(database, *users)
        feed.wake()

    assert told == order[::-1]


async def test_many_who_wait_are_told_by_a_handful_of_queries(
    database: Database, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = await new_users(database, 300)
    queries = Queries(monkeypatch)
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(feed.subscribe(user, after=0)) for user in users]
        assert not any(
            await asyncio.gather(*(one.next(limit=10, wait_seconds=0) for one in waiting))
        )
        asking = [asyncio.create_task(one.next(limit=10, wait_seconds=60)) for one in waiting]
        await tell(database, *users)
        feed.wake()
        told = await asyncio.gather(*asking)

    assert [len(items) for items in told] == [1] * len(users)
    assert len({items[0].id for items in told}) == len(users)
    assert queries.count < 20


async def test_who_waits_again_asks_the_database_nothing(
    database: Database, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, told = await new_users(database, 2)
    with feed.subscribe(asked, after=7, waiting=True) as subscription:
        assert await subscription.next(limit=1, wait_seconds=0) == []
    await tell(database, told)
    feed.wake()
    await until(lambda: feed._seen)
    reader_alone = feed._seen
    queries = Queries(monkeypatch)
    with (
        feed.subscribe(asked, after=7, waiting=True) as first,
        feed.subscribe(told, after=reader_alone, waiting=True) as second,
    ):
        assert await first.next(limit=1, wait_seconds=0) == []
        assert await second.next(limit=1, wait_seconds=0) == []
        assert queries.count == 0
        await tell(database, told)
        feed.wake()
        assert len(await second.next(limit=1, wait_seconds=30)) == 1
    # From before what the reader handed on, there is something to read.
    with feed.subscribe(told, after=0, waiting=True) as again:
        assert len(await again.next(limit=10, wait_seconds=0)) == 2


async def test_who_does_not_wait_is_told_what_was_committed_before_they_asked(
    database: Database, still: Feed
) -> None:
    (user,) = await new_users(database, 1)
    for after in range(3):
        with still.subscribe(user, after=after) as subscription:
            assert await subscription.next(limit=1, wait_seconds=0) == []
        await tell(database, user)
        with still.subscribe(user, after=after) as subscription:
            assert len(await subscription.next(limit=1, wait_seconds=0)) == 1


async def test_what_is_handed_on_while_a_backlog_is_read_is_not_taken_for_read(
    database: Database, still: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user,) = await new_users(database, 1)
    read, goes_on = asyncio.Event(), asyncio.Event()
    original = still._backlogs._load

    async def slow(places: Collection[tuple[UUID, int]]) -> Mapping[tuple[UUID, int], object]:
        found = await original(places)
        read.set()
        await goes_on.wait()
        return found

    monkeypatch.setattr(still._backlogs, "_load", slow)
    with still.subscribe(user, after=0, waiting=True) as subscription:
        asking = asyncio.create_task(subscription.next(limit=1, wait_seconds=0))
        await read.wait()
        await tell(database, user)
        await still._hand_on()
        goes_on.set()
        assert [item.id for item in await asking] == [1]
    # Its answer was lost on the way, say.
    with still.subscribe(user, after=0, waiting=True) as subscription:
        assert len(await subscription.next(limit=1, wait_seconds=0)) == 1


async def test_who_asks_from_an_id_that_is_still_to_come_is_told_nothing_less(
    database: Database, still: Feed
) -> None:
    (user,) = await new_users(database, 1)
    # As somebody does whose ids are of another database.
    with still.subscribe(user, after=1, waiting=True) as subscription:
        assert await subscription.next(limit=1, wait_seconds=0) == []
    assert still._nothing_above == {user: still._seen}
    with still.subscribe(user, after=0, waiting=True) as subscription:
        asking = asyncio.create_task(subscription.next(limit=1, wait_seconds=30))
        await tell(database, user)
        await still._hand_on()
        assert [item.id for item in await asking] == [1]
    with still.subscribe(user, after=0, waiting=True) as subscription:
        assert [item.id for item in await subscription.next(limit=1, wait_seconds=0)] == [1]


async def test_who_waits_looks_for_themselves_where_the_reader_cannot(
    database: Database, still: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user,) = await new_users(database, 1)
    with still.subscribe(user, after=0, waiting=True) as subscription:
        assert await subscription.next(limit=1, wait_seconds=0) == []
    await tell(database, user)

    async def fail(_: object) -> list[object]:
        raise ValueError("a row that cannot be read")

    with monkeypatch.context() as broken:
        broken.setattr(feed_module, "_read", fail)
        with pytest.raises(ValueError, match="cannot be read"):
            await still._look()
    with still.subscribe(user, after=0, waiting=True) as subscription:
        assert len(await subscription.next(limit=1, wait_seconds=0)) == 1


async def test_a_lost_wake_only_delays(database: Database, feed: Feed) -> None:
    (user,) = await new_users(database, 1)
    with feed.subscribe(user, after=0) as subscription:
        assert await subscription.next(limit=10, wait_seconds=0) == []
        await tell(database, user)
        assert len(await subscription.next(limit=10, wait_seconds=60)) == 1


async def test_who_is_slow_misses_nothing(database: Database, feed: Feed) -> None:
    user, other = await new_users(database, 2)
    with feed.subscribe(user, after=0) as subscription:
        assert await subscription.next(limit=1, wait_seconds=0) == []
        await tell(database, user, other, times=MAX_ARRIVED)
        await tell(database, user, times=MAX_ARRIVED)
        feed.wake()
        given = await subscription.next(limit=7, wait_seconds=60)
        while items := await subscription.next(limit=7, wait_seconds=0):
            given += items

    rounds = [json.loads(bytes(item.body))["round"] for item in given]
    assert rounds == [*range(MAX_ARRIVED)] * 2


async def test_many_of_one_hide_nothing_of_another(
    database: Database, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "ROWS_PER_QUERY", 5)
    busy, idle, quiet = await new_users(database, 3)
    await tell(database, busy, times=12)
    await tell(database, idle)
    with (
        feed.subscribe(busy, after=0) as first,
        feed.subscribe(idle, after=0) as second,
        feed.subscribe(quiet, after=0) as third,
    ):
        told = await asyncio.gather(
            *(one.next(limit=100, wait_seconds=0) for one in (first, second, third))
        )
        assert [len(items) for items in told] == [5, 1, 0]
        assert len(await first.next(limit=100, wait_seconds=0)) == 5


async def test_a_database_that_is_away_only_delays(
    database: Database, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user,) = await new_users(database, 1)
    with feed.subscribe(user, after=0) as subscription:
        assert await subscription.next(limit=1, wait_seconds=0) == []
        with monkeypatch.context() as away:

            async def fail(*_: object, **__: object) -> object:
                raise DatabaseUnavailable("unable to open database file")

            away.setattr(DurableSQLite, "run_querystring", fail)
            feed.wake()
            with feed.subscribe(user, after=0) as late, pytest.raises(DatabaseUnavailable):
                await late.next(limit=1, wait_seconds=0)
        await tell(database, user)
        feed.wake()

        assert len(await subscription.next(limit=1, wait_seconds=60)) == 1


async def test_lookups_that_come_together_share_a_query() -> None:
    asked: list[list[int]] = []

    async def squares(numbers: Collection[int]) -> dict[int, int]:
        asked.append(sorted(numbers))
        await asyncio.sleep(0)
        if 13 in numbers:
            raise ValueError("thirteen")
        return {number: number * number for number in numbers if number % 2}

    lookups = Lookups(squares)
    count = KEYS_PER_QUERY + 1
    found = await asyncio.gather(*map(lookups.get, [*range(14, 14 + count), 15]))
    with pytest.raises(ValueError, match="thirteen"):
        await lookups.get(13)

    assert found == [n * n if n % 2 else None for n in [*range(14, 14 + count), 15]]
    assert [len(numbers) for numbers in asked] == [KEYS_PER_QUERY, 1, 1]
    assert await lookups.get(3) == 9


class AlwaysUser(AbstractAuthenticationMiddleware):
    """Takes every request for that of one user."""

    async def authenticate_request(
        self, connection: ASGIConnection[object, object, object, State]
    ) -> AuthenticationResult:
        user = Caller(id=connection.app.state.user, username="someone", superuser=False)
        return AuthenticationResult(user=user, auth=None)


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_who_goes_away_is_forgotten(database: Database, feed: Feed, accept: str) -> None:
    (user,) = await new_users(database, 1)
    app = Litestar(
        [notifications],
        dependencies={
            "feed": Provide(lambda: feed, sync_to_thread=False),
            "presence": Provide(lambda: Presence(database), sync_to_thread=False),
        },
        middleware=[AlwaysUser],
        state=State({"user": user}),
        openapi_config=None,
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]

    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {FEED}?wait=60 HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode())
    await until(lambda: user in feed._subscriptions)
    writer.close()
    await writer.wait_closed()

    await until(lambda: user not in feed._subscriptions)
    server.should_exit = True
    await serving


async def test_who_was_seen_is_written_at_once_for_many(database: Database) -> None:
    users = await new_users(database, 501)
    presence = Presence(database)

    for user in users[1:]:
        presence.seen(user)
    await presence.flush()

    rows = await User.select(User.id, User.last_seen_at)
    minutes = {row["id"]: row["last_seen_at"] for row in rows}
    assert minutes.pop(users[0]) is None
    assert all(minute.second == minute.microsecond == 0 for minute in minutes.values())
    assert len(minutes) == 500


async def test_who_was_seen_is_kept_while_the_database_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user,) = await new_users(database, 1)
    presence = Presence(database)
    presence.seen(user)

    def fail(_: Database) -> object:
        raise DatabaseUnavailable("unable to open database file")

    with monkeypatch.context() as away:
        away.setattr(Database, "write_transaction", fail)
        await presence.flush()
    await presence.flush()

    (row,) = await User.select(User.last_seen_at)
    assert row["last_seen_at"] is not None
