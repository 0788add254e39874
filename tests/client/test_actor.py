"""Running trainings of a real server from Python."""

import threading
from uuid import UUID

import numpy as np
import pytest
import starling_client
import torch
from numpy.typing import NDArray
from starling_client import AsyncStarling, Starling, errors
from starling_client.orders import module_bytes
from starling_client.wire import TrainingState
from torch import nn

from tests.federations import People
from tests.model_files import as_client_loads, tiny
from tests.servers import Server


class Doubled(nn.Module):
    """A class of one's own that TorchScript can express."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.layer(batch) * 2


class Dynamic(Doubled):
    """One that it cannot."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return getattr(self, "lay" + "er")(batch)


def take_part(url: str, token: str, training: UUID) -> None:
    for task in starling_client.join(url, token, training=training):
        model = task.model()
        task.submit(model, metrics={"accuracy": 0.5 + task.round / 10}, sample_size=2)


def test_a_training_from_a_network_to_a_prediction(server: Server, make_user: People) -> None:
    actor, first, second = make_user("actor", actor=True), make_user(), make_user()
    with Starling(server.url, actor.token) as starling:
        network = tiny()
        model = starling.models.create(network, name="Tiny", input_shape=(None, 3))
        training = starling.trainings.create(
            model,
            rounds=2,
            participants=[first.username],
            metric_names=["accuracy"],
            uncertainty="MC_DROPOUT",
            options={"uncertainty": {"N": 5, "softmax": True}},
        )
        starling.trainings.invite(training, [UUID(second.id)])
        assert starling.trainings.get(training).state is TrainingState.INITIAL
        starling.trainings.start(training)
        participants = [
            threading.Thread(
                target=take_part, args=(server.url, person.token, training), daemon=True
            )
            for person in (first, second)
        ]
        for participant in participants:
            participant.start()
        events = list(starling.trainings.follow(training))
        for participant in participants:
            participant.join()

        kinds = [event.kind for event in events]
        assert (kinds[0], kinds[-1]) == ("training_created", "training_completed")
        assert kinds.count("update_accepted") == 4
        assert events == list(starling.trainings.follow(training))
        rest = list(starling.trainings.follow(training, after=events[-3].id))
        assert rest == events[-2:]
        assert starling.trainings.get(training).state is TrainingState.COMPLETED
        assert [one.id for one in starling.trainings.list()] == [training]
        metrics = starling.trainings.metrics(training)
        assert metrics.main == "accuracy"
        assert metrics.mean("accuracy") == pytest.approx({1: 0.6, 2: 0.7})
        assert {one.username for one in starling.trainings.standings(training)} == {
            first.username,
            second.username,
        }

        inputs = torch.randn(4, 3)
        prediction = starling.predict(model, inputs, seed=3)
        assert prediction.inference.shape == (4, 2)
        torch.testing.assert_close(prediction.inference.sum(1), torch.ones(4))
        assert prediction.std is not None
        assert prediction.mutual_info is not None
        assert prediction.mutual_info.shape == (4,)
        again = starling.predict(model, inputs, seed=3)
        assert torch.equal(prediction.inference, again.inference)

        class Table:
            """As of pandas: no array, and nobody may write to what it gives."""

            def __array__(self) -> NDArray[np.float64]:
                array = inputs.double().numpy()
                array.flags.writeable = False
                return array

        for same in (inputs.double().numpy(), inputs.tolist(), Table()):
            assert torch.equal(starling.predict(model, same, seed=3).inference, again.inference)
        with pytest.raises(errors.BadSubmission, match="No tensor can be made of the inputs"):
            starling.predict(model, ["three", "words", "only"])
        assert starling.predict(model, [[1, 2, 3]]).inference.shape == (1, 2)
        loaded = starling.models.load(model)
        assert loaded.state_dict().keys() == network.state_dict().keys()


async def test_an_awaiting_actor_steers_and_follows(server: Server, make_user: People) -> None:
    actor, participant = make_user("actor", actor=True), make_user()
    async with AsyncStarling(server.url, actor.token) as starling:
        assert (await starling.myself()).username == actor.username
        model = await starling.models.create(Doubled(), name="Doubled")
        training = await starling.trainings.create(model, rounds=1, participants=[participant.id])
        await starling.trainings.start(training)
        await starling.trainings.pause(training)
        assert (await starling.trainings.get(training)).paused
        await starling.trainings.resume(training)
        with pytest.raises(errors.Conflict, match="0 of at least 1 deliveries"):
            await starling.trainings.close_round(training)
        await starling.trainings.invite(training, [actor.id])
        await starling.trainings.remove(training, [actor.username])
        (standing,) = await starling.trainings.standings(training)
        assert (standing.expected, standing.delivered) == (True, False)
        await starling.trainings.abort(training)
        kinds = [event.kind async for event in starling.trainings.follow(training)]
        assert kinds[-1] == "training_aborted"
        assert "training_paused" in kinds
        assert [one.state for one in await starling.trainings.list()] == [TrainingState.FAILED]
        assert (await starling.trainings.metrics(training)).series == []
        prediction = await starling.predict(model, torch.ones(1, 3))
        expected = (await starling.models.load(model))(torch.ones(1, 3))
        assert torch.equal(prediction.inference, expected.argmax(1))
        assert prediction.variance is None


def test_a_mistake_is_named_by_field(server: Server, make_user: People) -> None:
    actor = make_user("actor", actor=True)
    with Starling(server.url, actor.token) as starling:
        model = starling.models.create(tiny(), name="Tiny")
        with pytest.raises(errors.InvalidRequest, match="target_num_updates") as raised:
            starling.trainings.create(model, rounds=0)
        assert "target_num_updates" in raised.value.errors
        with pytest.raises(errors.InvalidRequest, match="nobody is called nobody-at-all"):
            starling.trainings.create(model, rounds=1, participants=["nobody-at-all"])
        with pytest.raises(errors.NotFound):
            starling.trainings.start(UUID(int=0))
        with pytest.raises(errors.InvalidRequest, match="name"):
            starling.models.create(tiny(), name="x" * 257)


def test_a_new_user_is_registered_once(server: Server) -> None:
    account = starling_client.register(server.url, username="newcomer", password="secret-17")
    with Starling(server.url, account.token) as starling:
        assert starling.myself().id == account.id
    with pytest.raises(errors.InvalidRequest, match="username"):
        starling_client.register(server.url, username="newcomer", password="secret-17")


def test_a_network_becomes_a_file_that_the_server_takes() -> None:
    batch = torch.ones(2, 3)
    for network in (tiny().eval(), Doubled()):
        loaded = as_client_loads(module_bytes(network)).eval()
        torch.testing.assert_close(loaded(batch), network(batch))
    with pytest.raises(errors.UnusableModel, match=r"torch\.jit\.trace or torch\.export"):
        module_bytes(Dynamic())
