"""Trainings of digits in which the test itself is every participant, in pull mode."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import safetensors.torch
from torch import Tensor

from examples.digits.learning import score, train_
from examples.digits.network import digits_network
from examples.digits.shares import Samples, dirichlet_shares, load_samples, split_test
from tests.federations import Person
from tests.model_files import torchscript
from tests.waiting import wait_until

INPUT_SHAPE = ("None", "1", "8", "8")
# A participant's share is drawn from so many, for a local epoch to take a tenth of a second.
MOST_SAMPLES = 700


@dataclass(frozen=True)
class Member:
    """A participant with the digits that are theirs alone."""

    person: Person
    samples: Samples


@cache
def digits() -> tuple[Samples, Samples]:
    """Samples to train on and to test on."""
    train, test = split_test(load_samples())
    return train.take(np.arange(MOST_SAMPLES)), test


@cache
def digits_model(seed: int = 0) -> bytes:
    """The demo's CNN with dropout, untrained."""
    return torchscript(digits_network(seed))


def members_of(people: Sequence[Person], seed: int = 0) -> list[Member]:
    """Everybody with a share of their own, skewed as data of different houses are."""
    train, _ = digits()
    shares = dirichlet_shares(train.labels, len(people), alpha=1.0, seed=seed)
    return [Member(person, train.take(share)) for person, share in zip(people, shares, strict=True)]


@dataclass(frozen=True)
class Training:
    """A training on the server, and what is needed to take it on."""

    id: str
    model_id: str
    actor: Person
    members: list[Member]

    def now(self) -> dict[str, object]:
        """The training as its actor sees it."""
        answer = self.actor.client.get(f"/api/trainings/{self.id}/")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def act(self, action: str) -> None:
        """What the actor can do: start, pause, resume, close-round or abort."""
        answer = self.actor.client.post(f"/api/trainings/{self.id}/{action}/")
        assert answer.is_success, answer.text

    def deliver(self, member: Member, *, epochs: int = 1, exaggerated: float = 1.0) -> None:
        """Train the global model on the member's digits and upload it as their update.

        Args:
            exaggerated: What the difference to the global model is multiplied with.
        """
        before = self._global_model(member)
        network = digits_network(seed=0)
        network.load_state_dict(before)
        loss = train_(network, member.samples, epochs=epochs, seed=len(member.samples))
        update = {
            name: before[name] + exaggerated * (value - before[name])
            for name, value in network.state_dict().items()
        }
        answer = member.person.client.put(
            f"/api/models/{self.model_id}/updates/{self.now()['round']}/",
            params={
                "sample_size": len(member.samples),
                "metric_names": "train_loss",
                "metric_values": str(loss),
            },
            content=safetensors.torch.save(update),
            headers={"Content-Type": "application/vnd.safetensors"},
        )
        assert answer.status_code == 201, answer.text

    def test(self, member: Member) -> None:
        """Report loss and accuracy of the global model on what the member tests with."""
        _, test = digits()
        own = test.take(np.arange(len(member.samples) % 7, len(test), 2))
        network = digits_network(seed=0)
        network.load_state_dict(self._global_model(member))
        result = score(network, own)
        answer = member.person.client.post(
            f"/api/models/{self.model_id}/metrics/",
            data={
                "metric_names": ["loss", "accuracy"],
                "metric_values": [str(result.loss), str(result.accuracy)],
            },
        )
        assert answer.status_code == 201, answer.text

    def play_round(self, *, epochs: int = 1, exaggerating: Member | None = None) -> None:
        """Everybody delivers and tests; returns when the next round is open or all is over."""
        for member in self.members:
            self.deliver(member, epochs=epochs, exaggerated=4.0 if member is exaggerating else 1.0)
        self.wait_for_phase("testing")
        for member in self.members:
            self.test(member)
        self.wait_for_phase("collecting", "closed")

    def wait_for_phase(self, *phases: str) -> None:
        """Return when the training is in one of these phases."""
        wait_until(
            lambda: self.now()["phase"] in phases, what=f"{phases} of the training {self.now()}"
        )

    def _global_model(self, member: Member) -> dict[str, Tensor]:
        answer = member.person.client.get(
            f"/api/models/{self.model_id}/", params={"format": "safetensors"}
        )
        assert answer.status_code == 200, answer.text
        return safetensors.torch.load(answer.content)
