"""Rounds of a simulation: what is aggregated, handed on, and refused."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from compute.contract import AggregationOptions
from compute.simulation.classification import Classifiers
from compute.simulation.contract import LocalTraining, SimulationFailed
from compute.simulation.custom import CustomParticipants
from compute.simulation.participants import Block
from compute.simulation.simulator import Simulator, cut
from compute.simulation.workers import InProcessWorkers
from compute.strategies import make_strategy
from tests.compute.simulation.federations import (
    classifiers,
    described,
    flat,
    line,
    shift,
    shifting,
)

ROUND = [0, 3, 4, 11, 25, 39]


def custom(participants: CustomParticipants[list[float]], strategy: str = "FedAvg") -> Simulator:
    return Simulator(participants, InProcessWorkers(participants), strategy=strategy)


@given(participants=st.lists(st.integers(), max_size=200), most=st.integers(1, 40))
def test_blocks_hold_all_in_order_and_differ_by_one_at_most(
    participants: list[int], most: int
) -> None:
    blocks = cut(participants, most)
    sizes = {len(block) for block in blocks}
    assert [each for block in blocks for each in block] == participants
    assert len(blocks) == -(-len(participants) // most)
    assert not sizes or (max(sizes) <= most and max(sizes) - min(sizes) <= 1)


@settings(max_examples=25)
@given(
    st.lists(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=5), min_size=1, max_size=40)
)
def test_a_round_gives_the_weighted_mean_of_its_updates(shares: list[list[float]]) -> None:
    simulator = custom(shifting(shares))
    start = flat(simulator.state).double()

    trained = simulator.aggregate(0, range(len(shares)))

    total = sum(map(len, shares))
    moved = sum(len(share) * sum(share) for share in shares) / total
    torch.testing.assert_close(flat(simulator.state).double(), start + moved, rtol=0, atol=1e-4)
    assert trained.samples == total
    assert trained.metrics["sum"] == pytest.approx(moved)


@pytest.mark.parametrize("strategy", ["FedAvg", "FedProx"])
def test_updates_are_folded_by_the_servers_strategy_bit_for_bit(strategy: str) -> None:
    participants = Classifiers(described())
    base = participants.initial()
    trained = participants.train(base, Block(round=2, participants=tuple(ROUND)))
    chosen = make_strategy(strategy, AggregationOptions())
    running = chosen.init(base, torch.device("cpu"))
    for position, weight in enumerate(trained.sample_sizes):
        update = {name: tensor[position] for name, tensor in trained.states.items()}
        chosen.fold_(running, update, weight)
    wanted = chosen.finish(running, base)

    simulator = Simulator(participants, InProcessWorkers(participants), strategy=strategy)
    simulator.aggregate(2, ROUND)

    assert torch.equal(flat(simulator.state), flat(wanted))


def test_the_model_is_close_to_a_mean_in_float64_of_participants_trained_alone() -> None:
    participants = Classifiers(described())
    base = participants.initial()
    alone = [participants.train(base, Block(round=0, participants=(each,))) for each in ROUND]
    weights = [trained.sample_sizes[0] for trained in alone]
    models = [flat({n: t[0] for n, t in trained.states.items()}).double() for trained in alone]
    wanted = sum(w * m for w, m in zip(weights, models, strict=True)) / sum(weights)
    simulator = classifiers()

    simulator.aggregate(0, ROUND)

    assert isinstance(wanted, torch.Tensor)
    torch.testing.assert_close(flat(simulator.state).double(), wanted, rtol=1e-4, atol=1e-6)


def test_the_same_seed_gives_the_same_bits_and_another_gives_others() -> None:
    def trained(seed: int) -> torch.Tensor:
        simulator = classifiers(seed=seed)
        for round in range(2):
            simulator.aggregate(round, ROUND)
        return flat(simulator.state)

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


def test_the_number_of_threads_of_the_caller_changes_nothing() -> None:
    def trained(threads: int) -> torch.Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            simulator = classifiers()
            simulator.aggregate(0, range(40))
            assert torch.get_num_threads() == threads
            return flat(simulator.state)
        finally:
            torch.set_num_threads(before)

    assert torch.equal(trained(1), trained(2))


def test_local_models_are_handed_on_and_aggregated_from_where_they_are() -> None:
    simulator = custom(shifting([[1.0], [10.0], [100.0]]))
    start = flat(simulator.state)

    simulator.hand_on(0, [0, 1, 2], {0: 1, 1: 2, 2: 0})
    assert torch.equal(flat(simulator.state), start)
    simulator.aggregate(1, [0, 1])

    # Participant 0 went on with 1's model, and 1 with 2's.
    expected = start + ((10.0 + 1.0) + (100.0 + 10.0)) / 2
    torch.testing.assert_close(flat(simulator.state), expected)


def test_who_was_handed_nothing_starts_from_the_global_model() -> None:
    simulator = custom(shifting([[1.0], [10.0]]))
    start = flat(simulator.state)

    simulator.hand_on(0, [0], {1: 0})
    simulator.aggregate(1, [0, 1])

    torch.testing.assert_close(flat(simulator.state), start + (1.0 + (1.0 + 10.0)) / 2)


def test_the_proximal_term_keeps_updates_near_the_global_model() -> None:
    def moved(mu: float) -> float:
        simulator = classifiers(mu=mu, local=LocalTraining(epochs=5, learning_rate=0.1))
        start = flat(simulator.state)
        simulator.aggregate(0, ROUND)
        return float((flat(simulator.state) - start).norm())

    assert moved(5.0) < 0.8 * moved(0.0)


def test_training_makes_the_test_better(tmp_path: Path) -> None:
    simulator = classifiers(local=LocalTraining(epochs=3, learning_rate=0.3))
    before = simulator.test()
    for round in range(4):
        simulator.aggregate(round, range(40))
    assert simulator.test()["accuracy"] > before["accuracy"] + 0.3
    simulator.save(tmp_path / "model.safetensors")
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == simulator.state.keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in simulator.state.items())


def test_a_participant_that_diverges_is_named() -> None:
    simulator = custom(shifting([[1.0], [float("inf")]]))
    with pytest.raises(SimulationFailed, match="Participant 1 diverged in round 6"):
        simulator.aggregate(6, [0, 1])


@pytest.mark.parametrize("size", [0, -3, 1.5])
def test_a_weight_that_is_no_count_is_refused(size: int) -> None:
    def train(*_: object) -> tuple[int, dict[str, float]]:
        return size, {}

    simulator = custom(CustomParticipants(make_model=line, shares=[[1.0]], train=train))
    with pytest.raises(SimulationFailed, match="integer of at least 1"):
        simulator.aggregate(0, [0])


def test_metrics_that_some_lack_are_refused() -> None:
    def train(_: object, share: list[float], *__: object) -> tuple[int, dict[str, float]]:
        return 1, {"a" if share == [1.0] else "b": 0.0}

    simulator = custom(CustomParticipants(make_model=line, shares=[[1.0], [2.0]], train=train))
    with pytest.raises(SimulationFailed, match="same names"):
        simulator.aggregate(0, [0, 1])


def test_a_share_is_counted_by_the_caller_where_it_has_no_length() -> None:
    participants = CustomParticipants(
        make_model=line, shares=[[1.0], [2.0]], train=shift, sizes=lambda _: 9
    )
    assert [share.samples for share in participants.shares()] == [9, 9]


def test_a_round_without_updates_cannot_be_aggregated() -> None:
    with pytest.raises(SimulationFailed, match="Round 3"):
        classifiers().aggregate(3, [])
