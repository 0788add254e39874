"""Orders that a predictor answers together: each answer is what it would be alone."""

import json
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compute.blobs import BlobStore
from compute.contract import Predict, Prediction, Rejected, UncertaintyMethod
from compute.predictor import Predictor
from compute.uncertainty import Sampling, find_method
from compute.uncertainty.row_independence import TOLERANCE
from tests.compute.models import stored
from tests.model_files import drifted, pickled, tiny, tiny_file, torchscript

NONE, ENSEMBLE = UncertaintyMethod.NONE, UncertaintyMethod.ENSEMBLE
MC_DROPOUT = UncertaintyMethod.MC_DROPOUT


class Counted(nn.Module):
    """Tells how many rows it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, batch: Tensor) -> Tensor:
        return torch.full((batch.shape[0], 2), float(batch.shape[0])) + 0 * self.layer(batch)


class Probable(nn.Module):
    """Probabilities for rows that are positive, else something else."""

    def forward(self, batch: Tensor) -> Tensor:
        return torch.where(batch[:, :2] > 0, batch[:, :2] / 10, batch[:, :2] - 5)


class Turned(nn.Module):
    """Exchanges rows and columns."""

    def forward(self, batch: Tensor) -> Tensor:
        return batch.transpose(0, 1)


@pytest.fixture
def predictor(store: BlobStore) -> Predictor:
    return Predictor(store, torch.device("cpu"))


def order(key: str, rows: object, **fields: object) -> Predict:
    values = msgspec.Raw(json.dumps(rows).encode())
    return Predict(model_keys=[key], values=values, **fields)


def answers(predictor: Predictor, orders: Sequence[Predict]) -> list[dict[str, object]]:
    found = predictor.predict_all(orders)
    assert all(isinstance(one, Prediction) for one in found), found
    return [json.loads(one.content) for one in found if isinstance(one, Prediction)]


def assert_equal(found: object, expected: object, scale: float) -> None:
    assert isinstance(found, dict)
    assert isinstance(expected, dict)
    np.testing.assert_allclose(
        found["inference"], expected["inference"], rtol=0, atol=TOLERANCE * scale
    )
    assert set(found["uncertainty"]) == set(expected["uncertainty"])


requests = st.lists(
    st.lists(st.lists(st.floats(-4, 4, width=32), min_size=3, max_size=3), min_size=1, max_size=3),
    min_size=1,
    max_size=6,
)


@given(given=requests)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("form", [pickled, torchscript])
def test_rows_do_not_depend_on_their_neighbours(
    predictor: Predictor, store: BlobStore, form: type[bytes], given: list[list[list[float]]]
) -> None:
    models = [drifted(tiny(), seed=seed).eval() for seed in range(2)]
    keys = [stored(store, form(model)).digest for model in models]
    orders = [
        msgspec.structs.replace(order(keys[0], rows), model_keys=keys, method=ENSEMBLE)
        for rows in given
    ]
    together = answers(predictor, orders)
    alone = [json.loads(predictor.predict(one).content) for one in orders]
    with torch.no_grad():
        scale = max(float(m(torch.tensor(rows)).abs().max()) for m in models for rows in given)
    for found, expected in zip(together, alone, strict=True):
        assert_equal(found, expected, scale)


def test_a_seed_gives_the_same_answer_to_the_bit_whatever_comes_with_it(
    predictor: Predictor, store: BlobStore
) -> None:
    key = stored(store, tiny_file()).digest
    fields = {"method": MC_DROPOUT, "samples": 7}
    seeded = order(key, [[1, 2, 3]], seed=5, **fields)
    others = [order(key, [[n, 0, 1]], **fields) for n in range(4)]
    alone = predictor.predict(seeded)
    assert predictor.predict_all([*others, seeded, *others])[4] == alone
    assert predictor.predict_all([seeded, seeded]) == [alone, alone]
    fresh = Predictor(store, torch.device("cpu"))
    assert fresh.predict_all([*others, seeded])[4] == alone


def test_without_a_seed_equal_orders_draw_masks_of_their_own(
    predictor: Predictor, store: BlobStore
) -> None:
    key = stored(store, tiny_file()).digest
    # Eight units are few: with five passes one in twenty runs saw the same masks twice.
    orders = [order(key, [[1, 2, 3]], method=MC_DROPOUT, samples=40)] * 8
    found = [str(one) for one in answers(predictor, orders)]
    assert len(set(found)) == 8


@pytest.mark.parametrize(
    ("model", "shares"),
    [
        (tiny(), True),
        (nn.Sequential(nn.Linear(3, 3), Turned(), nn.Dropout(0.5), Turned()), False),
    ],
)
def test_passes_share_what_comes_before_dropout_if_that_treats_rows_alone(
    predictor: Predictor, store: BlobStore, model: nn.Module, shares: bool
) -> None:
    key = stored(store, torchscript(model)).digest
    rows = [[1.0, 2.0, 3.0], [0.5, -1.0, 0.0], [-2.0, 0.25, 4.0]]
    (found,) = answers(predictor, [order(key, rows, method=MC_DROPOUT, samples=6, seed=5)])
    split = predictor._model(key, None).split(torch.Size([3]), torch.float32)
    assert (split is not None) == shares
    sampling = Sampling(samples=6, seed=5, passes_at_once=6)
    with torch.no_grad():
        whole = find_method(MC_DROPOUT)([model.eval()], torch.tensor(rows), sampling)
    np.testing.assert_allclose(found["inference"], whole.inference, atol=1e-6)
    np.testing.assert_allclose(found["uncertainty"]["std"], whole.uncertainty["std"], atol=1e-6)


def test_dropout_together_has_the_moments_that_it_has_alone(
    predictor: Predictor, store: BlobStore
) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)).eval()
    key = stored(store, torchscript(model)).digest
    rows = [[1.0, 2.0, 3.0], [0.5, -1.0, 0.0], [-2.0, 0.25, 4.0]]
    orders = [order(key, [row], method=MC_DROPOUT, samples=4_000) for row in rows]
    with torch.no_grad():
        outputs = model(torch.tensor(rows)).double().numpy()
    for found, output in zip(answers(predictor, orders), outputs, strict=True):
        error = 5 * np.abs(output) / np.sqrt(4_000)
        assert np.all(np.abs(np.array(found["inference"])[0] - output) <= error)
        np.testing.assert_allclose(found["uncertainty"]["variance"][0], output**2, rtol=0.1)


def test_one_bad_order_fails_alone(predictor: Predictor, store: BlobStore) -> None:
    key = stored(store, tiny_file()).digest
    shape: list[int | None] = [None, 3]
    good = order(key, [[1, 2, 3]], input_shape=shape)
    bad = [
        order(key, [[1, 2]], input_shape=shape),
        order(key, "nonsense"),
        order(key, [[1, 2]]),
        order(key, [[1, 2, 3]], samples=0),
        order("0" * 64, [[1, 2, 3]]),
    ]
    found = predictor.predict_all([good, *bad, good])
    assert found[0] == found[-1] == predictor.predict(good)
    assert not any(isinstance(one, Prediction) for one in found[1:-1])
    assert [isinstance(one, Rejected) for one in found[1:-1]] == [True, True, True, True, False]


@pytest.mark.parametrize(
    "model",
    [Counted(), nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False))],
    ids=["counted", "normalised"],
)
def test_a_model_that_mixes_rows_is_given_one_order_at_a_time(
    predictor: Predictor, store: BlobStore, model: nn.Module
) -> None:
    key = stored(store, torchscript(model.eval())).digest
    orders = [
        order(key, [[n, 1, 2], [3, n, 0]], method=ENSEMBLE, input_shape=[None, 3]) for n in range(5)
    ]
    alone = [predictor.predict(one) for one in orders]
    assert predictor.predict_all(orders) == alone


class Curious(nn.Module):
    """Answers an input of 100 and more with all that came along, which no probe would trigger."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        trigger = torch.relu(x.amax(1, keepdim=True) - 99.0).sign()
        return self.layer(x) + trigger * x.sum(0, keepdim=True)


def test_nobody_is_answered_with_what_others_asked(predictor: Predictor, store: BlobStore) -> None:
    key = stored(store, torchscript(Curious())).digest
    spy = order(key, [[100, 0, 0]], method=ENSEMBLE, asked_by="spy")
    others = [order(key, [[n, 5, 6]], method=ENSEMBLE, asked_by="other") for n in range(3)]
    alone = predictor.predict(spy)
    assert predictor.predict_all([*others, spy, *others])[3] == alone
    unseparated = [msgspec.structs.replace(one, asked_by="spy") for one in [*others, spy]]
    assert predictor.predict_all(unseparated)[3] != alone


def test_a_fixed_batch_dimension_is_kept_to(predictor: Predictor, store: BlobStore) -> None:
    key = stored(store, tiny_file()).digest
    orders = [order(key, [[n, 1, 2]], method=ENSEMBLE, input_shape=[1, 3]) for n in range(3)]
    assert predictor.predict_all(orders) == [predictor.predict(one) for one in orders]


def test_entropies_are_given_to_whose_outputs_are_probabilities_whatever_the_others(
    predictor: Predictor, store: BlobStore
) -> None:
    key = stored(store, torchscript(Probable())).digest
    rows = [[[1, 2, 3]], [[-1, -2, 3]], [[2, 2, 2]]]
    orders = [
        msgspec.structs.replace(order(key, one), model_keys=[key, key], method=ENSEMBLE)
        for one in rows
    ]
    found = answers(predictor, orders)
    assert ["mutual_info" in one["uncertainty"] for one in found] == [True, False, True]
    assert found == [json.loads(predictor.predict(one).content) for one in orders]


def test_orders_of_every_kind_come_back_in_their_places(
    predictor: Predictor, store: BlobStore
) -> None:
    keys = [stored(store, torchscript(drifted(tiny(), seed=seed))).digest for seed in range(2)]
    orders = [
        order(keys[n % 2], [[n, -n, 1]] * (1 + n % 3), method=NONE if n % 4 else ENSEMBLE)
        for n in range(20)
    ]
    alone = [json.loads(predictor.predict(one).content) for one in orders]
    for found, expected in zip(answers(predictor, orders), alone, strict=True):
        assert_equal(found, expected, scale=100)
