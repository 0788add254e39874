"""Following logs from inside: what many who follow cost, and that no event is ever skipped."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from backend.audit import feed as feed_module
from backend.audit.events import AuditKind, record
from backend.audit.feed import AuditFeed
from backend.audit.log import LoggedEvent, Reader, read_events
from backend.db.engine import Database
from backend.db.postgresql import ResilientPostgreSQL
from backend.db.tables import AuditEvent
from backend.errors import DatabaseUnavailable
from backend.subscriptions import MAX_ARRIVED, Subscription
from tests.backend.audit.logs import decision, happen, new_trainings
from tests.backend.notifications.outboxes import until_awaited


@pytest.fixture
def database(either_database: Database) -> Database:
    return either_database


@pytest.fixture
async def feed(database: Database) -> AsyncIterator[AuditFeed]:
    feed = AuditFeed()
    reader = asyncio.create_task(feed.run())
    yield feed
    reader.cancel()


class Queries:
    """Counts the queries of this process."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        original = database.engine.run_querystring

        async def counted(*arguments: object, **options: object) -> object:
            self.count += 1
            return await original(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(database.engine, "run_querystring", counted)


def actor_of(training_id: UUID) -> Reader:
    return Reader(training_id, None)


async def taken(subscription: Subscription[LoggedEvent], count: int) -> list[LoggedEvent]:
    """The next `count` events, however they come."""
    events: list[LoggedEvent] = []
    async with asyncio.timeout(60):
        while len(events) < count:
            events += await subscription.next(limit=count - len(events), wait_seconds=30)
    return events


async def waits_or_is_done(database: Database, writing: asyncio.Task[None]) -> bool:
    """Whether a transaction waits for another one, or came through."""
    if is_postgresql(database):
        rows = await AuditEvent.raw("SELECT 1 FROM pg_locks WHERE NOT granted")
        return writing.done() or bool(rows)
    return writing.done() or bool(database._writing._waiters)


def is_postgresql(database: Database) -> bool:
    return isinstance(database.engine, ResilientPostgreSQL)


async def test_many_who_follow_are_told_by_a_handful_of_queries(
    database: Database, feed: AuditFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = await new_trainings(database, 3)
    with contextlib.ExitStack() as stack:
        following = [
            stack.enter_context(feed.subscribe(actor_of(training_id), after=0))
            for training_id in trainings
            for _ in range(100)
        ]
        queries = Queries(database, monkeypatch)
        nothing = await asyncio.gather(*(one.next(limit=9, wait_seconds=0) for one in following))
        asking = [asyncio.create_task(one.next(limit=9, wait_seconds=60)) for one in following]
        await asyncio.sleep(0)
        to_begin, queries.count = queries.count, 0
        for training_id in trainings:
            await happen(database, training_id)
            feed.wake(training_id)
        told = await asyncio.gather(*asking)

    assert not any(nothing)
    assert to_begin < 15
    assert [events[0].training for events in told] == [
        training_id for training_id in trainings for _ in range(100)
    ]
    # Each of three transactions has five statements; the rest was asked for everybody.
    assert queries.count < 30


async def test_nobody_who_follows_is_no_query(
    database: Database, feed: AuditFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    (training_id,) = await new_trainings(database, 1)
    with feed.subscribe(actor_of(training_id), after=0) as subscription:
        await subscription.next(limit=1, wait_seconds=0)
    queries = Queries(database, monkeypatch)

    await feed._hand_on()
    feed.wake(training_id)

    assert not feed._followed
    assert queries.count == 0


async def test_a_lost_wake_only_delays(database: Database, feed: AuditFeed) -> None:
    (training_id,) = await new_trainings(database, 1)
    with feed.subscribe(actor_of(training_id), after=0) as subscription:
        assert await subscription.next(limit=1, wait_seconds=0) == []
        await happen(database, training_id)
        assert len(await subscription.next(limit=1, wait_seconds=60)) == 1


async def test_who_is_slow_misses_nothing(database: Database, feed: AuditFeed) -> None:
    training_id, other = await new_trainings(database, 2)
    with feed.subscribe(actor_of(training_id), after=0) as subscription:
        assert await subscription.next(limit=1, wait_seconds=0) == []
        await happen(database, training_id, times=MAX_ARRIVED)
        await happen(database, other)
        await happen(database, training_id, times=MAX_ARRIVED)
        feed.wake(training_id)
        events = await taken(subscription, 2 * MAX_ARRIVED)

    assert [event.round for event in events] == [*range(MAX_ARRIVED)] * 2


async def test_who_comes_while_things_happen_misses_nothing(
    database: Database, feed: AuditFeed
) -> None:
    (training_id,) = await new_trainings(database, 1)

    async def follow() -> list[int]:
        with feed.subscribe(actor_of(training_id), after=0) as subscription:
            return [event.id for event in await taken(subscription, 30)]

    following = []
    for _ in range(30):
        following.append(asyncio.create_task(follow()))
        await happen(database, training_id)
        feed.wake(training_id)
    given = await asyncio.gather(*following)

    ids = [event.id for event in await read_events(AuditEvent.training == training_id)]
    assert given == [ids] * 30


async def test_events_of_another_training_that_commit_earlier_hide_none(
    database: Database, feed: AuditFeed
) -> None:
    slow, quick = await new_trainings(database, 2)
    may_commit, has_written = asyncio.Event(), asyncio.Event()

    async def write_slowly() -> None:
        async with decision(database, slow):
            await record(AuditKind.ROUND_OPENED, slow)
            has_written.set()
            await may_commit.wait()

    with (
        feed.subscribe(actor_of(slow), after=0) as first,
        feed.subscribe(actor_of(quick), after=0) as second,
    ):
        assert [await one.next(limit=1, wait_seconds=0) for one in (first, second)] == [[], []]
        writing = asyncio.create_task(write_slowly())
        await has_written.wait()
        later = asyncio.create_task(happen(database, quick))
        if is_postgresql(database):
            # On SQLite it would wait for the first.
            await later
            feed.wake(quick)
            (overtaker,) = await taken(second, 1)
            assert first.after < overtaker.id
        may_commit.set()
        await asyncio.gather(writing, later)
        feed.wake(slow)
        (overtaken,) = await taken(first, 1)

    assert overtaken.training == slow


async def test_events_of_one_training_have_ids_in_the_order_of_commits(database: Database) -> None:
    (training_id,) = await new_trainings(database, 1)
    may_commit, has_written = asyncio.Event(), asyncio.Event()

    async def write_slowly() -> None:
        async with decision(database, training_id):
            await record(AuditKind.ROUND_OPENED, training_id)
            has_written.set()
            await may_commit.wait()

    slow = asyncio.create_task(write_slowly())
    await has_written.wait()
    quick = asyncio.create_task(happen(database, training_id, AuditKind.ROUND_CLOSED))
    await until_awaited(lambda: waits_or_is_done(database, quick))
    # Were it not for the lock, the second would be there, and whoever reads would go on above it.
    visible = await read_events(AuditEvent.training == training_id)
    may_commit.set()
    await asyncio.gather(slow, quick)

    assert visible == []
    kinds = [event.kind for event in await read_events(AuditEvent.training == training_id)]
    assert kinds == [AuditKind.ROUND_OPENED, AuditKind.ROUND_CLOSED]


async def test_many_events_of_one_log_hide_nothing_of_another(
    database: Database, feed: AuditFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def five(condition: object) -> list[LoggedEvent]:
        return await read_events(condition, limit=5)  # type: ignore[arg-type]

    monkeypatch.setattr(feed_module, "EVENTS_PER_PAGE", 5)
    monkeypatch.setattr(feed_module, "read_events", five)
    busy, idle, quiet = await new_trainings(database, 3)
    await happen(database, busy, times=12)
    await happen(database, idle)
    with (
        feed.subscribe(actor_of(busy), after=0) as first,
        feed.subscribe(actor_of(idle), after=0) as second,
        feed.subscribe(actor_of(quiet), after=0) as third,
    ):
        told = await asyncio.gather(
            *(one.next(limit=100, wait_seconds=0) for one in (first, second, third))
        )
        assert [len(events) for events in told] == [5, 1, 0]
        assert len(await taken(first, 7)) == 7
        await happen(database, busy, times=12)
        await happen(database, quiet)
        feed.wake(busy)
        feed.wake(quiet)
        assert len(await taken(first, 12)) == 12
        assert len(await taken(third, 1)) == 1


async def test_a_participant_is_given_what_is_theirs_to_see(
    database: Database, feed: AuditFeed
) -> None:
    (training_id,) = await new_trainings(database, 1)
    me, other = uuid4(), uuid4()
    await happen(database, training_id, AuditKind.UPDATE_ACCEPTED, who=other)
    await happen(database, training_id, AuditKind.UPDATE_ACCEPTED, who=me)
    with feed.subscribe(Reader(training_id, me), after=0) as subscription:
        (before,) = await taken(subscription, 1)
        await happen(database, training_id, AuditKind.UPDATE_ACCEPTED, who=other)
        await happen(database, training_id, AuditKind.ROUND_CLOSED, missing=[other])
        feed.wake(training_id)
        (after,) = await taken(subscription, 1)

    assert (before.who, after.kind) == (me, AuditKind.ROUND_CLOSED)
    assert bytes(Reader(training_id, me).shown(after).details) == b'{"missing":[]}'


async def test_who_is_removed_is_given_nothing_any_more(
    database: Database, feed: AuditFeed
) -> None:
    (training_id,) = await new_trainings(database, 1)
    me, other = uuid4(), uuid4()
    with (
        feed.subscribe(Reader(training_id, me), after=0) as mine,
        feed.subscribe(Reader(training_id, other), after=0) as of_other,
        feed.subscribe(actor_of(training_id), after=0) as of_actor,
    ):
        for one in (mine, of_other, of_actor):
            assert await one.next(limit=1, wait_seconds=0) == []
        await happen(database, training_id, AuditKind.PARTICIPANTS_REMOVED, users=[me])
        await happen(database, training_id)
        feed.wake(training_id)
        seen = [await taken(one, count) for one, count in ((of_other, 1), (of_actor, 2))]

        assert [len(events) for events in seen] == [1, 2]
        assert await mine.next(limit=1, wait_seconds=60) == []
        assert (mine.ended, of_other.ended, of_actor.ended) == (True, False, False)


async def test_a_database_that_is_away_only_delays(
    database: Database, feed: AuditFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    (training_id,) = await new_trainings(database, 1)
    with feed.subscribe(actor_of(training_id), after=0) as subscription:
        assert await subscription.next(limit=1, wait_seconds=0) == []
        with monkeypatch.context() as away:

            async def fail(*_: object, **__: object) -> object:
                raise DatabaseUnavailable("gone")

            away.setattr(database.engine, "run_querystring", fail)
            feed.wake(training_id)
            with (
                feed.subscribe(actor_of(training_id), after=0) as late,
                pytest.raises(DatabaseUnavailable),
            ):
                await late.next(limit=1, wait_seconds=0)
        await happen(database, training_id)
        feed.wake(training_id)

        assert len(await taken(subscription, 1)) == 1


async def test_a_feed_that_ends_answers_who_waits(database: Database, feed: AuditFeed) -> None:
    (training_id,) = await new_trainings(database, 1)
    with feed.subscribe(actor_of(training_id), after=0) as subscription:
        waiting = asyncio.create_task(subscription.next(limit=1, wait_seconds=60))
        await asyncio.sleep(0)
        feed.end()
        async with asyncio.timeout(30):
            assert await waiting == []
    with feed.subscribe(actor_of(training_id), after=0) as late:
        assert late.ended
