"""A model that fails, hangs or is greedy gets a clear answer and harms nobody else."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch import Tensor, nn

from tests.backend.inference.predictions import ask, asked, refusal
from tests.compute.models import Endless, Greedy
from tests.conftest import ServerMaker
from tests.federations import People, Person, accepted_model, upload_model
from tests.model_files import pickled, torchscript


class Raising(nn.Module):
    def forward(self, batch: Tensor) -> Tensor:
        if batch.shape[0] > 0:
            raise ValueError("no batch is good enough")
        return batch


def ending_in(last: nn.Module) -> nn.Module:
    """A model with something to train, as an upload needs it, and then `last`."""
    return nn.Sequential(nn.Linear(3, 3), last)


def unchecked(owner: Person, content: bytes) -> str:
    """Id of a model that says nothing of its input, so that nobody tried it at the upload."""
    answer = upload_model(owner, content, input_shape=())
    assert answer.status_code == 201, answer.text
    return str(answer.json()["model_id"])


@pytest.fixture
def actor(make_user: People) -> Person:
    return make_user("actor", actor=True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (torchscript(ending_in(Raising())), "no batch is good enough"),
        (torchscript(nn.Linear(5, 2)), "shapes cannot be multiplied"),
        (pickled(nn.Linear(5, 2)), "shapes cannot be multiplied"),
        (torchscript(ending_in(nn.Flatten(0))), "(batch, classes)"),
        (torchscript(ending_in(Greedy())), "memory"),
    ],
    ids=["raises", "scripted", "pickled", "flat", "greedy"],
)
def test_a_model_that_fails_says_why(actor: Person, content: bytes, reason: str) -> None:
    model_id, good = unchecked(actor, content), accepted_model(actor)

    detail = refusal(asked(actor, model_id))

    assert reason in detail
    assert "/" not in detail
    ask(actor, good)


@pytest.fixture
def impatient_actor(new_server: ServerMaker) -> Iterator[Person]:
    server = new_server(
        {"STARLING_PREDICT_TIMEOUT_SECONDS": "3", "STARLING_CHECK_TIMEOUT_SECONDS": "5"}
    )
    people = People(server.start_and_wait())
    yield people("actor", actor=True)
    people.close()


def test_an_endless_model_is_cut_off_and_others_answer_meanwhile(
    impatient_actor: Person,
) -> None:
    endless = unchecked(impatient_actor, torchscript(ending_in(Endless())))
    good = accepted_model(impatient_actor)
    expected = ask(impatient_actor, good)

    with ThreadPoolExecutor(2) as pool:
        hung = [pool.submit(asked, impatient_actor, endless) for _ in range(2)]
        assert [ask(impatient_actor, good) for _ in range(3)] == [expected] * 3
        # They take turns: the second has to wait for the end of the first.
        assert not all(one.done() for one in hung)
        for one in hung:
            detail = refusal(one.result())
            assert detail == "The model takes longer than 3 seconds to answer."

    assert ask(impatient_actor, good) == expected


def test_an_endless_model_that_is_tried_at_the_upload_is_refused(
    impatient_actor: Person,
) -> None:
    answer = upload_model(impatient_actor, torchscript(ending_in(Endless())))

    assert "5 seconds" in refusal(answer)
    assert impatient_actor.client.get("/api/models/").json() == []
    accepted_model(impatient_actor)
