"""Which predictions go to a predictor together; predictors here are scripted by the test."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import pytest

from compute import prediction_queues
from compute.actors import Failure, Refusal
from compute.contract import Predict, Prediction, Rejected, RejectionReason
from compute.gateway import ComputeUnavailable
from compute.prediction_queues import PredictionQueues, PredictorDied
from compute.predictor_pool import PredictorPool

Outcomes = list[Prediction | Refusal | Failure]


def asked(text: str, model: str = "m") -> Predict:
    return Predict(model_keys=[model], content=text.encode())


def said(text: str) -> Prediction:
    return Prediction(content=f"{text}!".encode())


class Predictors:
    """Answers as told; remembers what came together.

    Attributes:
        gate: Nothing is answered while it is closed.
    """

    def __init__(self) -> None:
        self.made = 0
        self.alive: set[int] = set()
        self.batches: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.misbehave: Callable[[list[str]], None] = lambda _: None

    async def make(self) -> int:
        self.made += 1
        self.alive.add(self.made)
        return self.made

    async def end(self, worker: int) -> None:
        self.alive.discard(worker)

    async def is_alive(self, worker: int) -> bool:
        return worker in self.alive

    async def send(self, worker: int, orders: Sequence[Predict]) -> Outcomes:
        texts = [(order.content or b"").decode() for order in orders]
        self.batches.append(texts)
        await self.gate.wait()
        if worker not in self.alive:
            raise PredictorDied
        self.misbehave(texts)
        return [
            Refusal(reason=RejectionReason.BAD_INPUT, detail=text)
            if text.startswith("bad")
            else said(text)
            for text in texts
        ]


@pytest.fixture
def predictors(monkeypatch: pytest.MonkeyPatch) -> Predictors:
    monkeypatch.setattr(prediction_queues, "PAUSE_AFTER_CRASH_SECONDS", 0.0)
    return Predictors()


@pytest.fixture
def queues(predictors: Predictors) -> PredictionQueues[int]:
    pool = PredictorPool(2, predictors.make, predictors.end, predictors.is_alive)
    return PredictionQueues(pool, predictors.send)


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(50):
        await asyncio.sleep(0)


async def ask_meanwhile(
    queues: PredictionQueues[int], predictors: Predictors, texts: Sequence[str]
) -> "list[asyncio.Task[Prediction]]":
    """Ask while the predictor, which is fast, is at something else; then let it go on."""
    assert await queues.predict(asked("warm")) == said("warm")
    predictors.gate.clear()
    first = asyncio.create_task(queues.predict(asked("first")))
    await settle()
    tasks = [asyncio.create_task(queues.predict(asked(text))) for text in texts]
    await settle()
    predictors.batches.clear()
    predictors.gate.set()
    assert await first == said("first")
    return tasks


async def test_what_comes_alone_goes_alone_and_what_comes_meanwhile_goes_together(
    queues: PredictionQueues[int], predictors: Predictors
) -> None:
    tasks = await ask_meanwhile(queues, predictors, "abc")
    assert [await task for task in tasks] == [said(text) for text in "abc"]
    assert predictors.batches == [["a", "b", "c"]]
    await settle()
    assert not queues._queues


async def test_a_batch_has_a_greatest_size(
    queues: PredictionQueues[int], predictors: Predictors, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long the first took, by the clock of a busy machine.
    monkeypatch.setattr(prediction_queues, "BATCH_SECONDS", 1e9)
    most = prediction_queues.MOST_IN_BATCH
    texts = [str(number) for number in range(most + 1)]
    tasks = await ask_meanwhile(queues, predictors, texts)
    await asyncio.gather(*tasks)
    assert [len(batch) for batch in predictors.batches] == [most, 1]


async def test_a_slow_models_requests_go_one_at_a_time(
    queues: PredictionQueues[int], predictors: Predictors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_queues, "BATCH_SECONDS", 0.0)
    tasks = await ask_meanwhile(queues, predictors, "abc")
    await asyncio.gather(*tasks)
    assert predictors.batches == [["a"], ["b"], ["c"]]


async def test_a_refusal_is_for_whom_it_is_meant(
    queues: PredictionQueues[int], predictors: Predictors
) -> None:
    good, bad, other = await ask_meanwhile(queues, predictors, ["a", "bad", "c"])
    assert (await good, await other) == (said("a"), said("c"))
    with pytest.raises(Rejected, match="bad"):
        await bad


async def test_when_a_batch_kills_the_process_only_who_does_it_alone_is_refused(
    queues: PredictionQueues[int], predictors: Predictors
) -> None:
    def die_of_poison(texts: list[str]) -> None:
        if "poison" in texts:
            raise PredictorDied

    predictors.misbehave = die_of_poison
    good, poison, other = await ask_meanwhile(queues, predictors, ["a", "poison", "c"])
    assert (await good, await other) == (said("a"), said("c"))
    with pytest.raises(Rejected, match="ended its process, repeatedly"):
        await poison
    apart = [["a"], ["poison"], ["poison"], ["c"]]
    assert predictors.batches == [["a", "poison", "c"], *apart]


async def test_when_a_batch_takes_too_long_everyone_in_it_is_tried_alone(
    queues: PredictionQueues[int], predictors: Predictors
) -> None:
    def hang(texts: list[str]) -> None:
        if "endless" in texts:
            raise Rejected(RejectionReason.TIMED_OUT, "too long")

    predictors.misbehave = hang
    good, endless = await ask_meanwhile(queues, predictors, ["a", "endless"])
    assert await good == said("a")
    with pytest.raises(Rejected, match="too long"):
        await endless


async def test_processes_that_were_killed_while_idle_count_for_nobody(
    queues: PredictionQueues[int], predictors: Predictors
) -> None:
    predictors.gate.clear()
    tasks = [asyncio.create_task(queues.predict(asked("a", model))) for model in "mn"]
    await settle()
    predictors.gate.set()
    await asyncio.gather(*tasks)
    assert predictors.made == 2
    predictors.alive.clear()
    predictors.batches.clear()
    assert await queues.predict(asked("b")) == said("b")
    assert predictors.batches == [["b"], ["b"]]
    assert predictors.made == 3


async def test_to_a_quick_model_a_few_are_under_way_and_then_a_batch_forms(
    queues: PredictionQueues[int], predictors: Predictors, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However busy the machine is.
    monkeypatch.setattr(prediction_queues, "QUICK_SECONDS", 1e9)
    monkeypatch.setattr(prediction_queues, "BATCH_SECONDS", 1e9)
    await queues.predict(asked("warm"))
    await settle()
    predictors.gate.clear()
    tasks = []
    for text in "abcdef":
        tasks.append(asyncio.create_task(queues.predict(asked(text))))
        await settle()
    assert predictors.batches == [["warm"], ["a"], ["b"], ["c"]]
    predictors.gate.set()
    assert [await task for task in tasks] == [said(text) for text in "abcdef"]
    assert predictors.batches[4:] == [["d", "e", "f"]]
    assert predictors.made == 1


async def test_who_is_tried_alone_has_nobody_beside_them(
    queues: PredictionQueues[int], predictors: Predictors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_queues, "QUICK_SECONDS", 1e9)
    monkeypatch.setattr(prediction_queues, "BATCH_SECONDS", 1e9)
    beside: list[int] = []

    def die_of_poison(texts: list[str]) -> None:
        beside.append(len(predictors.batches))
        if "poison" in texts:
            predictors.alive.clear()
            raise PredictorDied

    await queues.predict(asked("warm"))
    predictors.misbehave = die_of_poison
    predictors.gate.clear()
    tasks = []
    for text in ("a", "poison", "c"):
        tasks.append(asyncio.create_task(queues.predict(asked(text))))
        await settle()
    assert predictors.batches[1:] == [["a"], ["poison"], ["c"]]
    predictors.gate.set()
    assert (await tasks[0], await tasks[2]) == (said("a"), said("c"))
    with pytest.raises(Rejected, match="ended its process, repeatedly"):
        await tasks[1]
    assert predictors.batches[4:] == [["c"], ["poison"], ["poison"]]
    # None was sent before the one in front of it had come back.
    assert beside[-3:] == [5, 6, 7]


async def test_when_one_takes_too_long_those_on_their_way_behind_it_are_not_refused(
    queues: PredictionQueues[int], predictors: Predictors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_queues, "QUICK_SECONDS", 1e9)
    monkeypatch.setattr(prediction_queues, "BATCH_SECONDS", 1e9)

    def end_the_process(texts: list[str]) -> None:
        # Their time has run since they were sent, too.
        if "endless" in texts or len(predictors.batches) <= 4:
            raise Rejected(RejectionReason.TIMED_OUT, "too long")

    await queues.predict(asked("warm"))
    predictors.misbehave = end_the_process
    predictors.gate.clear()
    tasks = []
    for text in ("endless", "b", "c"):
        tasks.append(asyncio.create_task(queues.predict(asked(text))))
        await settle()
    assert predictors.batches[1:] == [["endless"], ["b"], ["c"]]
    predictors.gate.set()
    assert (await tasks[1], await tasks[2]) == (said("b"), said("c"))
    with pytest.raises(Rejected, match="too long"):
        await tasks[0]


async def test_models_that_were_quick_long_ago_are_forgotten(
    queues: PredictionQueues[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_queues, "QUICK_SECONDS", 1e9)
    monkeypatch.setattr(prediction_queues, "MOST_REMEMBERED", 2)
    for model in "mnmo":
        await queues.predict(asked("a", model))
        await settle()
    assert [key[0] for key in queues._quick if isinstance(key, tuple)] == ["m", "o"]


async def test_who_went_away_is_not_sent(
    queues: PredictionQueues[int], predictors: Predictors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_queues, "QUICK_SECONDS", 0.0)
    await queues.predict(asked("warm"))
    predictors.gate.clear()
    first = asyncio.create_task(queues.predict(asked("first")))
    await settle()
    tasks = [asyncio.create_task(queues.predict(asked(text))) for text in "ab"]
    await settle()
    first.cancel()
    tasks[0].cancel()
    await settle()
    predictors.gate.set()
    assert await tasks[1] == said("b")
    assert predictors.batches == [["warm"], ["first"], ["b"]]


async def test_without_a_predictor_everyone_is_told(predictors: Predictors) -> None:
    async def fail() -> int:
        message = "no cluster"
        raise ComputeUnavailable(message)

    queues = PredictionQueues(PredictorPool(1, fail, predictors.end), predictors.send)
    tasks = [asyncio.create_task(queues.predict(asked(text))) for text in "ab"]
    for task in tasks:
        with pytest.raises(ComputeUnavailable, match="no cluster"):
            await task
    await settle()
    assert not queues._queues


async def test_who_waits_too_long_for_a_predictor_is_told(
    predictors: Predictors, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues = PredictionQueues(PredictorPool(1, predictors.make, predictors.end), predictors.send)
    predictors.gate.clear()
    holder = asyncio.create_task(queues.predict(asked("a", "other")))
    await settle()
    monkeypatch.setattr(prediction_queues, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(ComputeUnavailable, match="busy"):
        await queues.predict(asked("b"))
    predictors.gate.set()
    assert await holder == said("a")


async def test_who_waits_too_long_behind_a_slow_model_is_told(
    queues: PredictionQueues[int], predictors: Predictors, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictors.gate.clear()
    first = asyncio.create_task(queues.predict(asked("a")))
    await settle()
    monkeypatch.setattr(prediction_queues, "PATIENCE_SECONDS", 0.0)
    second = asyncio.create_task(queues.predict(asked("b")))
    await settle()
    predictors.gate.set()
    assert await first == said("a")
    with pytest.raises(ComputeUnavailable, match="busy"):
        await second


async def test_a_process_that_ran_out_of_memory_serves_nobody_else(
    queues: PredictionQueues[int], predictors: Predictors
) -> None:
    async def refuse(worker: int, orders: list[Predict]) -> Outcomes:
        return [Refusal(reason=RejectionReason.TOO_LARGE, detail="much")] * len(orders)

    warmed: list[None] = []
    pool = PredictorPool(2, predictors.make, predictors.end)
    greedy = PredictionQueues(pool, refuse, lambda: warmed.append(None))
    with pytest.raises(Rejected, match="much"):
        await greedy.predict(msgspec.structs.replace(asked("a")))
    await settle()
    assert not predictors.alive
    assert warmed
