"""How predictors are shared; workers here are numbers, since the pool knows nothing of them."""

import asyncio
from collections.abc import Callable

import pytest

from compute.predictor_pool import PoolBusy, PredictorPool

PATIENCE_SECONDS = 30.0


class Workers:
    def __init__(self) -> None:
        self.made = 0
        self.ended: list[int] = []
        self.fails = False

    async def make(self) -> int:
        await asyncio.sleep(0)
        if self.fails:
            raise ConnectionError
        self.made += 1
        return self.made

    async def end(self, worker: int) -> None:
        self.ended.append(worker)


@pytest.fixture
def workers() -> Workers:
    return Workers()


@pytest.fixture
def pool(workers: Workers) -> PredictorPool[int]:
    return PredictorPool(2, workers.make, workers.end)


async def hold(
    pool: PredictorPool[int], key: str, release: asyncio.Event, held: Callable[[int], None]
) -> None:
    async with pool.seat(key, PATIENCE_SECONDS) as seat:
        held(seat.worker)
        await release.wait()


async def use(pool: PredictorPool[int], key: str, *, broken: bool = False) -> int:
    async with pool.seat(key, PATIENCE_SECONDS) as seat:
        seat.broken = broken
        return seat.worker


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_idle_worker_is_used_again(pool: PredictorPool[int], workers: Workers) -> None:
    assert [await use(pool, key) for key in "aba"] == [1, 1, 1]
    assert workers.made == 1


async def test_one_model_holds_one_worker_however_many_ask(
    pool: PredictorPool[int], workers: Workers
) -> None:
    release, held = asyncio.Event(), list[int]()
    tasks = [asyncio.create_task(hold(pool, "bad", release, held.append)) for _ in range(5)]
    await settle()
    assert held == [1]
    assert await use(pool, "good") == 2
    release.set()
    await asyncio.gather(*tasks)
    assert len(held) == 5
    assert workers.made == 2


async def test_a_worker_that_has_the_model_is_preferred(pool: PredictorPool[int]) -> None:
    release, held = asyncio.Event(), list[int]()
    tasks = [asyncio.create_task(hold(pool, key, release, held.append)) for key in "ab"]
    await settle()
    release.set()
    await asyncio.gather(*tasks)
    assert [await use(pool, key) for key in "bbab"] == [2, 2, 1, 2]


async def test_when_all_are_busy_the_next_one_to_come_free_is_waited_for(
    pool: PredictorPool[int], workers: Workers
) -> None:
    release, held = asyncio.Event(), list[int]()
    tasks = [asyncio.create_task(hold(pool, key, release, held.append)) for key in "ab"]
    await settle()
    third = asyncio.create_task(use(pool, "c"))
    await settle()
    assert not third.done()
    with pytest.raises(PoolBusy):
        async with pool.seat("d", 0.0):
            pass
    release.set()
    assert await third in {1, 2}
    await asyncio.gather(*tasks)
    assert workers.made == 2


async def test_a_broken_worker_is_ended_and_makes_room(
    pool: PredictorPool[int], workers: Workers
) -> None:
    assert await use(pool, "a", broken=True) == 1
    assert workers.ended == [1]
    assert [await use(pool, "a"), await use(pool, "b")] == [2, 2]


async def test_a_worker_that_cannot_be_made_takes_no_room(
    pool: PredictorPool[int], workers: Workers
) -> None:
    workers.fails = True
    for _ in range(5):
        with pytest.raises(ConnectionError):
            await use(pool, "a")
    workers.fails = False
    assert await use(pool, "a") == 1


async def test_a_request_that_gives_up_waiting_leaves_nothing_behind(
    pool: PredictorPool[int],
) -> None:
    release, held = asyncio.Event(), list[int]()
    holder = asyncio.create_task(hold(pool, "a", release, held.append))
    await settle()
    waiting = asyncio.create_task(use(pool, "a"))
    await settle()
    waiting.cancel()
    await asyncio.wait([waiting])
    release.set()
    await holder
    assert await use(pool, "a") == 1
    assert not pool._turns


async def test_a_warm_worker_is_there_before_it_is_asked_for(
    pool: PredictorPool[int], workers: Workers
) -> None:
    await pool.warm()
    await pool.warm()
    assert workers.made == 1
    assert await use(pool, "a") == 1


async def test_who_asks_while_one_comes_up_waits_for_it(
    pool: PredictorPool[int], workers: Workers
) -> None:
    warming = asyncio.create_task(pool.warm())
    await asyncio.sleep(0)
    assert await use(pool, "a") == 1
    await warming
    assert workers.made == 1


async def test_who_waited_for_one_that_failed_makes_one(
    pool: PredictorPool[int], workers: Workers
) -> None:
    workers.fails = True
    warming = asyncio.create_task(pool.warm())
    await asyncio.sleep(0)
    asking = asyncio.create_task(use(pool, "a"))
    with pytest.raises(ConnectionError):
        await warming
    workers.fails = False
    assert await asking == 1


async def test_a_model_in_constant_use_lets_others_have_their_turn(workers: Workers) -> None:
    pool = PredictorPool(1, workers.make, workers.end)
    release, held = asyncio.Event(), list[int]()
    holder = asyncio.create_task(hold(pool, "a", release, held.append))
    await settle()
    order: list[str] = []

    async def ask(key: str) -> None:
        await use(pool, key)
        order.append(key)

    other = asyncio.create_task(ask("b"))
    await settle()
    again = asyncio.create_task(ask("a"))
    release.set()
    await asyncio.gather(holder, other, again)
    assert order == ["b", "a"]


async def test_a_worker_that_comes_up_is_not_shut_out_by_those_who_wait_for_it(
    workers: Workers,
) -> None:
    pool = PredictorPool(1, workers.make, workers.end)
    async with asyncio.timeout(PATIENCE_SECONDS):
        # The first seat is asked for before the warm-up has run a step.
        await asyncio.gather(pool.warm(), use(pool, "a"), use(pool, "b"))
    assert workers.made == 1
