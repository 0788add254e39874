"""What a participant of the demo does with a model: anyone could, with torch alone."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from examples.digits.learning import score, train_
from examples.digits.network import digits_network, torchscript_archive
from examples.digits.shares import Samples


@pytest.fixture
def samples() -> Samples:
    """Four classes that differ in which quarter of the image is lit."""
    rng = np.random.default_rng(0)
    labels = np.arange(200, dtype=np.int64) % 4
    images = rng.random((200, 1, 8, 8), dtype=np.float32) * 0.2
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 0.8
    return Samples(images, labels)


def loaded(seed: int = 0) -> torch.jit.ScriptModule:
    archive = torchscript_archive(digits_network(seed))
    return torch.jit.load(io.BytesIO(archive))


def test_the_archive_is_loaded_without_the_code_that_made_it_and_gives_the_same() -> None:
    network = digits_network(seed=3).eval()
    images = torch.rand(5, 1, 8, 8)
    assert torch.equal(loaded(seed=3).eval()(images), network(images))
    assert network(images).shape == (5, 10)


def test_the_seed_decides_the_initial_weights_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, again, other = (digits_network(seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_a_loaded_model_learns(samples: Samples) -> None:
    network = loaded()
    before = score(network, samples)
    last_loss = train_(network, samples, epochs=5, seed=0)
    after = score(network, samples)
    assert after.accuracy > 0.95 > before.accuracy
    assert last_loss < before.loss


def test_training_is_repeatable_with_the_same_seed_and_differs_with_another(
    samples: Samples,
) -> None:
    def trained(seed: int) -> torch.Tensor:
        network = loaded()
        train_(network, samples, epochs=1, seed=seed)
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))


def test_scoring_uses_no_dropout(samples: Samples) -> None:
    network = loaded()
    assert score(network, samples) == score(network, samples)


def test_samples_survive_their_file(samples: Samples, tmp_path: Path) -> None:
    samples.save(tmp_path / "share.npz")
    again = Samples.load(tmp_path / "share.npz")
    assert np.array_equal(again.images, samples.images)
    assert np.array_equal(again.labels, samples.labels)
