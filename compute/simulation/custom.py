"""Virtual participants of one's own: any model, any data, a plain training function.

def train(model, share, round, seed):
...                                  # changes the model in place
return len(share), {"loss": loss}    # sample size, metrics

participants = CustomParticipants(make_model=Net, shares=shares, train=train, test=test)
"""

import contextlib
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

import torch
from torch import nn

from compute.simulation.classification import seed_of
from compute.simulation.contract import Share, SimulationFailed
from compute.simulation.participants import Block, Trained
from compute.state_dicts import StateDict

Data = TypeVar("Data")


class CustomParticipants(Generic[Data]):
    """Participants that train one after the other in their worker, by a function of the caller's.

    Everything given must be picklable (functions of a notebook are, by Ray). Before each training
    torch's global generator is set to `seed`, which depends on the experiment's seed, the round and
    the participant; other generators are for the function to set.

    Args:
        make_model: Makes the module; its state dict, buffers included, is what is aggregated.
        shares: Each participant's data, in whatever form `train` takes.
        train: `(model, share, round, seed) -> (sample size, metrics)`; trains the model in
            place. The sample size, an integer >= 1, is the weight of the update.
        test: `(model) -> metrics` of the global model, in eval mode; None: there is no test.
        sizes: Numbers of samples, for reports; `len` of each share by default.
        seed: Decides the initial model and every `seed` that `train` is given.
    """

    def __init__(
        self,
        *,
        make_model: Callable[[], nn.Module],
        shares: Sequence[Data],
        train: Callable[[nn.Module, Data, int, int], tuple[int, Mapping[str, float]]],
        test: Callable[[nn.Module], Mapping[str, float]] | None = None,
        sizes: Callable[[Data], int] = len,  # type: ignore[assignment]  # most have a length
        seed: int = 0,
    ) -> None:
        self._make_model = make_model
        self._shares = shares
        self._train = train
        self._test = test
        self._sizes = sizes
        self._seed = seed

    def shares(self) -> Sequence[Share]:
        """Sizes, by participant."""
        return [Share(samples=self._sizes(share)) for share in self._shares]

    def initial(self) -> StateDict:
        """What `make_model` gives with torch's generator set by the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self._seed, "model"))
            model = self._make_model()
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def train(self, base: StateDict, block: Block) -> Trained:
        """One participant after the other."""
        model = self._make_model()
        states: dict[str, list[torch.Tensor]] = {name: [] for name in base}
        sample_sizes: list[int] = []
        metrics: dict[str, list[float]] = {}
        for position, participant in enumerate(block.participants):
            model.load_state_dict(
                base
                if block.starts is None
                else {name: tensor[position] for name, tensor in block.starts.items()}
            )
            model.train()
            seed = seed_of(self._seed, block.round, participant)
            torch.manual_seed(seed)
            sample_size, values = self._train(model, self._shares[participant], block.round, seed)
            if position and values.keys() != metrics.keys():
                raise SimulationFailed(
                    f"train returned metrics {sorted(values)} for participant {participant} and "
                    f"{sorted(metrics)} for another: return the same names for all."
                )
            sample_sizes.append(_weight(sample_size, participant))
            for name, value in values.items():
                metrics.setdefault(name, []).append(float(value))
            for name, tensor in model.state_dict().items():
                states[name].append(tensor.clone())
        return Trained(
            states={name: torch.stack(tensors) for name, tensors in states.items()},
            sample_sizes=tuple(sample_sizes),
            metrics={name: tuple(values) for name, values in metrics.items()},
        )

    @torch.no_grad()
    def test(self, state: StateDict) -> dict[str, float]:
        """What the caller's test says of the model."""
        if self._test is None:
            return {}
        model = self._make_model()
        model.load_state_dict(state)
        model.eval()
        return {name: float(value) for name, value in self._test(model).items()}


def _weight(sample_size: int, participant: int) -> int:
    with contextlib.suppress(TypeError):
        weight = operator.index(sample_size)
        if weight >= 1:
            return weight
    raise SimulationFailed(
        f"train returned sample size {sample_size!r} for participant {participant}: return an "
        "integer of at least 1."
    )
