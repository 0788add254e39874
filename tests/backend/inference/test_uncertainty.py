"""Every uncertainty method over HTTP, on every format of models, against numpy."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from tests.backend.inference.predictions import (
    BATCH,
    INPUT,
    arrays,
    ask,
    asked,
    assert_summary_of,
    entropy,
    mean_of,
    refusal,
    softmax,
    tiny_dropout_outputs,
    tiny_outputs,
    train,
)
from tests.federations import MakeFederation, People, Person, accepted_model
from tests.model_files import drifted, exported, pickled, tiny, torchscript

Container = Callable[[nn.Module], bytes]


def pt2(model: nn.Module) -> bytes:
    return exported(model, BATCH)


every_container = pytest.mark.parametrize("container", [torchscript, pickled, pt2])
with_python_or_script = pytest.mark.parametrize("container", [torchscript, pickled])


@pytest.fixture
def actor(make_user: People) -> Person:
    return make_user("actor", actor=True)


def network(seed: int = 1) -> nn.Module:
    return drifted(tiny(), seed=seed).eval()


def balanced(seed: int) -> nn.Module:
    """A classifier that is nowhere quite sure."""
    return nn.Sequential(tiny(seed), nn.Softmax(1)).eval()


@every_container
@pytest.mark.parametrize("trained", [False, True])
def test_none_gives_the_most_probable_classes(
    actor: Person, container: Container, trained: bool
) -> None:
    model = network()
    model_id = accepted_model(actor, container(model))
    if trained:
        train(actor, model_id, "NONE")

    answer = ask(actor, model_id)

    classes = tiny_outputs(arrays(model), INPUT).argmax(1)
    assert answer == {"inference": classes.tolist(), "uncertainty": {}}


@with_python_or_script
def test_dropout_draws_masks_of_the_dropout_layer_alone(
    actor: Person, container: Container
) -> None:
    model = network()
    model_id = accepted_model(actor, container(model))
    passes = 1500
    train(actor, model_id, "MC_DROPOUT", N=passes)

    answer = ask(actor, model_id, seed=3)

    assert isinstance(answer, dict)
    possible = tiny_dropout_outputs(arrays(model), INPUT)
    # Of a mean over independent passes; the seed is fixed, so that this holds or it does not.
    error = 5 * possible.std(0) / np.sqrt(passes)
    assert np.all(np.abs(answer["inference"] - possible.mean(0)) < error)
    np.testing.assert_allclose(answer["uncertainty"]["variance"], possible.var(0), rtol=0.2)
    np.testing.assert_allclose(
        np.square(answer["uncertainty"]["std"]), answer["uncertainty"]["variance"], rtol=1e-4
    )
    assert set(answer["uncertainty"]) == {"variance", "std"}


@with_python_or_script
def test_dropout_with_softmax_tells_the_kinds_of_uncertainty(
    actor: Person, container: Container
) -> None:
    model = tiny(seed=2).eval()
    model_id = accepted_model(actor, container(model))
    train(actor, model_id, "MC_DROPOUT", N=1500, softmax=True)

    answer = ask(actor, model_id, seed=5)

    assert isinstance(answer, dict)
    figures = answer["uncertainty"]
    possible = softmax(tiny_dropout_outputs(arrays(model), INPUT))
    mean, within = possible.mean(0), entropy(possible).mean(0)
    np.testing.assert_allclose(answer["inference"], mean, atol=0.02)
    np.testing.assert_allclose(np.sum(answer["inference"], 1), 1, atol=1e-5)
    np.testing.assert_allclose(figures["predictive_entropy"], entropy(mean), atol=0.02)
    np.testing.assert_allclose(figures["expected_entropy"], within, atol=0.02)
    np.testing.assert_allclose(figures["mutual_info"], entropy(mean) - within, atol=0.01)
    # Exactly what the other figures of this answer make it.
    np.testing.assert_allclose(
        figures["predictive_entropy"], entropy(np.array(answer["inference"])), atol=1e-5
    )
    np.testing.assert_allclose(
        figures["mutual_info"],
        np.subtract(figures["predictive_entropy"], figures["expected_entropy"]),
        atol=1e-5,
    )


def test_a_seed_makes_an_answer_come_again_and_without_one_it_is_new(actor: Person) -> None:
    model_id = accepted_model(actor)
    train(actor, model_id, "MC_DROPOUT", N=3)

    assert ask(actor, model_id, seed=7) == ask(actor, model_id, seed=7)
    assert ask(actor, model_id, seed=7) != ask(actor, model_id, seed=8)
    assert ask(actor, model_id) != ask(actor, model_id)


def test_a_single_pass_has_no_spread(actor: Person) -> None:
    model_id = accepted_model(actor, torchscript(network()))
    train(actor, model_id, "MC_DROPOUT", N=1)

    answer = ask(actor, model_id)

    nothing = [[None, None]] * len(INPUT)
    assert isinstance(answer, dict)
    assert answer["uncertainty"] == {"variance": nothing, "std": nothing}
    assert np.isfinite(np.array(answer["inference"], dtype=float)).all()


def test_dropout_that_was_exported_away_is_named(actor: Person) -> None:
    model_id = accepted_model(actor, pt2(network()))
    train(actor, model_id, "MC_DROPOUT")

    assert "dropout" in refusal(asked(actor, model_id))


@every_container
def test_an_ensemble_gives_mean_and_spread_of_its_members(
    actor: Person, container: Container
) -> None:
    members = [tiny(seed).eval() for seed in range(3)]
    mean_id = mean_of(actor, *(accepted_model(actor, container(m)) for m in members))
    train(actor, mean_id, "ENSEMBLE")

    answer = ask(actor, mean_id)

    outputs = np.stack([tiny_outputs(arrays(member), INPUT) for member in members])
    assert_summary_of(answer, outputs, probabilities=False)


@every_container
def test_an_ensemble_of_probabilities_tells_the_kinds_of_uncertainty(
    actor: Person, container: Container
) -> None:
    members = [balanced(seed) for seed in range(3)]
    mean_id = mean_of(actor, *(accepted_model(actor, container(m)) for m in members))
    train(actor, mean_id, "ENSEMBLE")

    answer = ask(actor, mean_id)

    outputs = np.stack([softmax(tiny_outputs(arrays(tiny(s)), INPUT)) for s in range(3)])
    assert_summary_of(answer, outputs, probabilities=True)


@every_container
def test_a_mean_model_without_a_training_predicts_with_its_mean_module(
    actor: Person, container: Container
) -> None:
    members = [network(seed) for seed in range(2)]
    mean_id = mean_of(actor, *(accepted_model(actor, container(m)) for m in members))

    answer = ask(actor, mean_id)

    first, second = (arrays(member) for member in members)
    mean = {
        name: tensor if name.endswith("tracked") else (tensor + second[name]) / 2
        for name, tensor in first.items()
    }
    classes = tiny_outputs(mean, INPUT).argmax(1)
    assert answer == {"inference": classes.tolist(), "uncertainty": {}}


@every_container
def test_swag_draws_parameters_from_the_moments(
    make_federation: MakeFederation, container: Container
) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2).eval()
    passes = 1000
    federation = make_federation(
        participants=1,
        rounds=1,
        model=container(model),
        model_type="SWAG",
        uncertainty_method="SWAG",
        options={"skip_model_tests": True, "uncertainty": {"N": passes}},
    )
    actor, (participant,), model_id = (
        federation.actor,
        federation.participants,
        federation.model_id,
    )
    assert federation.upload(participant, container(model)).status_code == 201
    federation.told(participant, "SWAG_ROUND_START")
    mean = torch.arange(8.0) / 4 - 1
    variance = torch.arange(1.0, 9.0) / 10
    sent = participant.client.post(
        f"/api/models/{model_id}/swag/",
        data={"round": "1", "sample_size": "10"},
        files={
            "first_moment_file": ("first", pickled(mean)),
            "second_moment_file": ("second", pickled(mean**2 + variance)),
        },
    )
    assert sent.status_code == 201, sent.text
    federation.told(actor, "TRAINING_FINISHED")

    answer = ask(actor, model_id, seed=11)

    # A linear function of independent normal parameters (weights row by row, then biases).
    m, v = mean.double().numpy(), variance.double().numpy()
    batch = np.array(INPUT)
    outputs = batch @ m[:6].reshape(2, 3).T + m[6:]
    spread = batch**2 @ v[:6].reshape(2, 3).T + v[6:]
    assert isinstance(answer, dict)
    assert np.all(np.abs(answer["inference"] - outputs) < 5 * np.sqrt(spread / passes))
    np.testing.assert_allclose(answer["uncertainty"]["variance"], spread, rtol=0.25)
    assert ask(actor, model_id, seed=11) == answer


@pytest.mark.parametrize("in_training", [False, True])
def test_an_untrained_swag_model_has_nothing_to_draw_from(actor: Person, in_training: bool) -> None:
    model_id = accepted_model(actor, type="SWAG")
    if in_training:
        train(actor, model_id, "SWAG")

    assert "moments" in refusal(asked(actor, model_id))
