"""What existing clients do with a downloaded model."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.federations import People, accepted_model
from tests.model_files import as_client_loads, pickled, tiny, torchscript


@pytest.mark.parametrize("container", [torchscript, pickled])
def test_a_downloaded_model_computes_what_the_uploaded_one_did(
    make_user: People, container: Callable[[nn.Module], bytes]
) -> None:
    actor = make_user(actor=True)
    model = tiny(seed=3).eval()
    model_id = accepted_model(actor, container(model))

    downloaded = as_client_loads(actor.client.get(f"/api/models/{model_id}/").content)

    batch = torch.arange(12.0).reshape(4, 3)
    with torch.no_grad():
        torch.testing.assert_close(downloaded.eval()(batch), model(batch))
