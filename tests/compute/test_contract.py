"""Messages between the backend and the compute cluster."""

import pickle
from collections.abc import Callable

import pytest
from ray import cloudpickle

from compute.contract import FinishRound, UpdateRef


@pytest.mark.parametrize("pickled", [pickle.dumps, cloudpickle.dumps])
@pytest.mark.parametrize("updates", [0, 1, 300])
def test_an_order_arrives_as_it_was_sent(pickled: Callable[[object], bytes], updates: int) -> None:
    order = FinishRound(
        round=7,
        base_key="b" * 64,
        updates=[
            UpdateRef(update_id=f"update-{n}", digest=f"{n:064x}", sample_size=2**53 - n)
            for n in range(updates)
        ],
    )

    assert pickle.loads(pickled(order)) == order  # noqa: S301 - of the line above
