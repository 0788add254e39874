"""A federation of virtual participants: cuts rounds into blocks and folds what comes back."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from compute.contract import AggregationOptions
from compute.simulation.contract import RoundTrained, Share, SimulationFailed
from compute.simulation.participants import Block, Trained, VirtualParticipants
from compute.simulation.workers import Workers
from compute.state_dicts import StateDict
from compute.strategies import make_strategy

# Enough for one dispatch to be worth its cost, few enough for several blocks per worker.
BLOCK_PARTICIPANTS = 32
# A block's models travel together: this keeps what is under way at a time small.
BLOCK_BYTES = 64 * 1024**2
_CPU = torch.device("cpu")


class Simulator:
    """Keeps the global model, and in daisy chaining the local ones, between rounds.

    Updates are folded one by one, in the order in which the participants are listed, by the same
    strategies as a server's aggregator uses. Only what is trained at the same time is done by
    different workers; the order of every sum is fixed. So the models are the same, bit for bit,
    however many workers there are (of the same kind of processor and with the same torch).
    """

    def __init__(
        self,
        participants: VirtualParticipants,
        workers: Workers,
        *,
        strategy: str = "FedAvg",
        options: AggregationOptions | None = None,
    ) -> None:
        self._workers = workers
        self._shares = list(participants.shares())
        made = make_strategy(strategy, options or AggregationOptions())
        if made.kind != "folding":
            message = f"Strategy {strategy} needs all updates at once; simulations fold each."
            raise ValueError(message)
        self._strategy = made
        self.state: StateDict = participants.initial()
        # Only of those who continue another's model (daisy chaining).
        self._local: dict[int, StateDict] = {}

    @property
    def shares(self) -> list[Share]:
        """By participant."""
        return self._shares

    def aggregate(self, round: int, participants: Sequence[int]) -> RoundTrained:
        """See `Simulation.aggregate`."""
        running = self._strategy.init(self.state, _CPU)
        tally = _Tally()
        for block, trained in self._trained(round, participants):
            for position, sample_size in enumerate(trained.sample_sizes):
                update = {name: tensor[position] for name, tensor in trained.states.items()}
                self._strategy.fold_(running, update, sample_size)
            tally.add(block, trained)
        try:
            self.state = self._strategy.finish(running, self.state)
        except ValueError as error:
            raise SimulationFailed(f"Round {round} cannot be aggregated: {error}") from error
        self._local = {}
        return tally.result()

    def hand_on(
        self, round: int, participants: Sequence[int], handed: Mapping[int, int]
    ) -> RoundTrained:
        """See `Simulation.hand_on`. Keeps a model per participant."""
        tally = _Tally()
        models: dict[int, StateDict] = {}
        for block, trained in self._trained(round, participants):
            for position, participant in enumerate(block.participants):
                models[participant] = {
                    name: tensor[position] for name, tensor in trained.states.items()
                }
            tally.add(block, trained)
        self._local = {heir: models[trainer] for heir, trainer in handed.items()}
        return tally.result()

    def test(self) -> dict[str, float]:
        """See `Simulation.test`."""
        return self._workers.test(self.state)

    def save(self, path: Path) -> None:
        """See `Simulation.save`."""
        save_file({name: tensor.contiguous() for name, tensor in self.state.items()}, path)

    def _trained(self, round: int, participants: Sequence[int]) -> Iterator[tuple[Block, Trained]]:
        blocks = [
            Block(round=round, participants=members, starts=self._starts(members))
            for members in cut(participants, self._block_participants())
        ]
        yield from zip(blocks, self._workers.train(self.state, blocks), strict=True)

    def _starts(self, members: Sequence[int]) -> StateDict | None:
        if not self._local:
            return None
        models = [self._local.get(member, self.state) for member in members]
        return {name: torch.stack([model[name] for model in models]) for name in self.state}

    def _block_participants(self) -> int:
        model_bytes = sum(tensor.nbytes for tensor in self.state.values())
        return max(1, min(BLOCK_PARTICIPANTS, BLOCK_BYTES // max(1, model_bytes)))


def cut(participants: Sequence[int], most: int) -> list[tuple[int, ...]]:
    """In order, into as few blocks of at most `most` as possible, of sizes that differ by one."""
    count = -(-len(participants) // most)
    ends = [len(participants) * number // count for number in range(1, count + 1)]
    starts = [0, *ends]
    return [tuple(participants[start:end]) for start, end in zip(starts, ends, strict=False)]


class _Tally:
    """Sample sizes and weighted metrics of a round, in the order of its participants."""

    def __init__(self) -> None:
        self._sample_sizes: list[int] = []
        self._metrics: dict[str, list[float]] = {}

    def add(self, block: Block, trained: Trained) -> None:
        """Note a block."""
        if self._sample_sizes and trained.metrics.keys() != self._metrics.keys():
            raise SimulationFailed(
                f"Participants of round {block.round} report different metrics: "
                f"{sorted(trained.metrics)} and {sorted(self._metrics)}."
            )
        self._sample_sizes += trained.sample_sizes
        for name, values in trained.metrics.items():
            self._metrics.setdefault(name, []).extend(values)

    def result(self) -> RoundTrained:
        """Sums over the round."""
        samples = sum(self._sample_sizes)
        return RoundTrained(
            samples=samples,
            metrics={
                name: math.fsum(map(math.prod, zip(values, self._sample_sizes, strict=True)))
                / samples
                for name, values in self._metrics.items()
            },
        )
