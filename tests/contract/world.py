"""People, models and trainings in which recorded exchanges are sent again."""

import secrets
from functools import cached_property

import httpx
import torch
from torch import nn

# Imported for its effect before any other import from torchvision.
from compute.torchvision_guard import torchvision as _torchvision  # noqa: F401 isort:skip
from torchvision.transforms import v2

from tests.accounts import another_superuser
from tests.federations import People, Person, accepted_model, training_order
from tests.model_files import drifted, pickled, tiny, tiny_file, torchscript
from tests.waiting import wait_until

UNKNOWN = "00000000-0000-0000-0000-000000000000"
UPDATE = torchscript(drifted(tiny(), seed=1))
PARAMETERS = sum(parameter.numel() for parameter in tiny().parameters())
FIRST_MOMENT = pickled(torch.zeros(PARAMETERS))
SECOND_MOMENT = pickled(torch.ones(PARAMETERS))
SCRIPTED_PREPROCESSING = torchscript(nn.Hardtanh())
IMAGE_PREPROCESSING = pickled(v2.Compose([v2.Resize((28, 28)), v2.Grayscale()]))


def certain(seed: int = 0) -> nn.Module:
    """A classifier that gives probabilities."""
    return nn.Sequential(tiny(seed), nn.Softmax(1))


def of_images() -> nn.Module:
    """A classifier of grey images, shape (batch, 1, 28, 28)."""
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 26 * 26, 2))


class World:
    """What the recordings' people have on one server; made when first asked for.

    Attributes are kept and must not be changed by a test; methods make something new.
    """

    def __init__(self, people: People) -> None:
        self._people = people

    @cached_property
    def actor(self) -> Person:
        return self._people("actor", actor=True, client=True)

    @cached_property
    def client1(self) -> Person:
        return self._people("c1", client=True)

    @cached_property
    def client2(self) -> Person:
        return self._people("c2", client=True)

    @cached_property
    def outsider(self) -> Person:
        return self._people("out", client=True)

    @cached_property
    def newcomer(self) -> Person:
        """Somebody who has nothing and takes part in nothing."""
        return self._people("new")

    @cached_property
    def anonymous(self) -> httpx.Client:
        return self._people.server.client()

    @cached_property
    def model(self) -> str:
        return accepted_model(self.actor)

    @cached_property
    def module(self) -> str:
        return accepted_model(self.actor, pickled(tiny()))

    @cached_property
    def model_without_shape(self) -> str:
        answer = self.actor.client.post(
            "/api/models/",
            data={"name": "Tiny", "description": "a model"},
            files={"model_file": ("model.pt", tiny_file())},
        )
        return str(answer.json()["model_id"])

    @cached_property
    def root(self) -> Person:
        """A superuser, who is in no group."""
        return another_superuser(self._people)

    @cached_property
    def group(self) -> str:
        """A group with the actor in it."""
        return self.new_group()

    def new_group(self) -> str:
        """A new group with the actor in it."""
        name = f"group-{secrets.token_hex(4)}"
        answer = self.actor.client.post("/api/groups/", json={"name": name})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def deleted_group(self) -> str:
        """A group that is no more."""
        group = self.new_group()
        assert self.actor.client.delete(f"/api/groups/{group}/").status_code == 204
        return group

    @cached_property
    def member(self) -> str:
        """A model that becomes a member of mean models."""
        return accepted_model(self.actor, torchscript(tiny(1)))

    @cached_property
    def other_member(self) -> str:
        return accepted_model(self.actor, torchscript(tiny(2)))

    @cached_property
    def mean(self) -> str:
        """A mean model that no training is about."""
        return self.new_mean(self.member, self.other_member)

    @cached_property
    def ensemble(self) -> str:
        """A mean of models that give probabilities, in a training."""
        members = [accepted_model(self.actor, torchscript(certain(seed))) for seed in (1, 2)]
        return self.predicting(self.new_mean(*members), "ENSEMBLE")

    @cached_property
    def uncertain(self) -> str:
        """A model that gives probabilities, in a training with MC_DROPOUT."""
        return self.predicting(accepted_model(self.actor, torchscript(certain())), "MC_DROPOUT")

    @cached_property
    def softmaxed(self) -> str:
        """A model that gives logits, in a training with MC_DROPOUT and softmax."""
        return self.predicting(accepted_model(self.actor), "MC_DROPOUT", N=4, softmax=True)

    @cached_property
    def single_pass(self) -> str:
        """A model in a training with one pass of MC_DROPOUT."""
        return self.predicting(accepted_model(self.actor), "MC_DROPOUT", N=1)

    @cached_property
    def preprocessed(self) -> str:
        """A model with a scripted preprocessing."""
        return self._with_preprocessing(tiny_file(), SCRIPTED_PREPROCESSING, ["None", "3"])

    @cached_property
    def image_model(self) -> str:
        """A model of batches of images, which says nothing of its input."""
        return self._with_preprocessing(torchscript(of_images()), None, [])

    @cached_property
    def image_model_with_shape(self) -> str:
        return self._with_preprocessing(torchscript(of_images()), None, ["None", "1", "28", "28"])

    @cached_property
    def preprocessed_image_model(self) -> str:
        """The same behind transforms that make no tensor of an image."""
        return self._with_preprocessing(torchscript(of_images()), IMAGE_PREPROCESSING, [])

    @cached_property
    def pooling_model(self) -> str:
        """A model that takes single images."""
        pooling = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
        return self._with_preprocessing(torchscript(pooling), None, [])

    @cached_property
    def swag_model(self) -> str:
        """A SWAG model that no training is about."""
        return accepted_model(self.actor, type="SWAG")

    @cached_property
    def swag_ongoing(self) -> "TrainingHere":
        """A started SWAG training that has not all updates."""
        return self.new_swag()

    @cached_property
    def swag_round(self) -> "TrainingHere":
        """A SWAG training that waits for the moments of the second participant at least."""
        return self.new_swag_round()

    @cached_property
    def swag_testing(self) -> "TrainingHere":
        """A SWAG training that waits for the test of the second participant at least."""
        return self.new_swag_testing()

    @cached_property
    def swag_completed(self) -> "TrainingHere":
        training = self.new_swag_testing()
        for participant in (self.client1, self.client2):
            training.report(participant)
        wait_until(lambda: training.state() == "C", what="the end of the SWAG training")
        return training

    @cached_property
    def aggregated(self) -> "TrainingHere":
        """A training after its first aggregation."""
        return self._aggregation[0]

    @cached_property
    def aggregated_update(self) -> str:
        """Id of a local model that was dropped once it was aggregated."""
        return self._aggregation[1]

    @cached_property
    def _aggregation(self) -> "tuple[TrainingHere, str]":
        training = self.new_running()
        training.deliver(self.client1)
        local = training.local_model_of(self.client1)
        training.deliver(self.client2)
        wait_until(lambda: training.model_round() == 1, what="the aggregation")
        return training, local

    @cached_property
    def daisy_chained(self) -> "TrainingHere":
        return self.new_training([], aggregation_method="FedDC", options={"daisy_chain_period": 3})

    @cached_property
    def measured_model(self) -> str:
        """A model with a metric."""
        return self._measured("0.5")

    @cached_property
    def model_with_nan(self) -> str:
        return self._measured("nan")

    @cached_property
    def initial(self) -> "TrainingHere":
        """A training that nobody starts."""
        return self.new_training()

    @cached_property
    def running(self) -> "TrainingHere":
        """A started training without updates."""
        return self.new_running()

    @cached_property
    def half(self) -> "TrainingHere":
        """A started training with the update of the first participant."""
        training = self.new_running()
        training.deliver(self.client1)
        return training

    @cached_property
    def retrained(self) -> "TrainingHere":
        """A started training on a model that another training has finished with."""
        done = self.new_running(participants=[self.client1], rounds=1)
        done.deliver(self.client1)
        wait_until(lambda: done.model_round() == 1, what="the aggregation")
        done.report(self.client1)
        wait_until(lambda: done.state() == "C", what="the end of the training")
        return self.new_running(participants=[self.client1], model_id=done.model_id)

    def new_training(
        self,
        participants: list[Person] | None = None,
        *,
        rounds: int = 2,
        model_id: str | None = None,
        **fields: object,
    ) -> "TrainingHere":
        """A training of the first two participants in its initial state."""
        people = [self.client1, self.client2] if participants is None else participants
        order = training_order(
            model_id or accepted_model(self.actor),
            target_num_updates=rounds,
            clients=[person.id for person in people],
            **fields,
        )
        answer = self.actor.client.post("/api/trainings/", json=order)
        assert answer.status_code == 201, answer.text
        return TrainingHere(self.actor, answer.json()["training_id"])

    def new_running(
        self,
        participants: list[Person] | None = None,
        *,
        rounds: int = 2,
        model_id: str | None = None,
    ) -> "TrainingHere":
        """A training of the first two participants that has just started."""
        training = self.new_training(participants, rounds=rounds, model_id=model_id)
        training.start()
        return training

    def new_swag(self) -> "TrainingHere":
        """A started SWAG training of one round of the first two participants."""
        training = self.new_training(
            rounds=1,
            model_id=accepted_model(self.actor, type="SWAG"),
            uncertainty_method="SWAG",
            options={"uncertainty": {"N": 4}},
        )
        training.start()
        return training

    def new_swag_round(self) -> "TrainingHere":
        """A SWAG training that has just begun to wait for the moments."""
        training = self.new_swag()
        for participant in (self.client1, self.client2):
            training.deliver(participant)
        wait_until(lambda: training.state() == "S", what="the SWAG round")
        return training

    def new_swag_half(self) -> "TrainingHere":
        """A SWAG training with the moments of the first participant."""
        training = self.new_swag_round()
        training.deliver_moments(self.client1)
        return training

    def new_swag_testing(self) -> "TrainingHere":
        """A SWAG training that has just begun to wait for the tests."""
        training = self.new_swag_round()
        for participant in (self.client1, self.client2):
            training.deliver_moments(participant)
        wait_until(lambda: training.state() == "O", what="the end of the SWAG round")
        return training

    def new_mean(self, *model_ids: str) -> str:
        """A new mean model."""
        order = {"type": "MEAN", "name": "Mean", "description": "d", "models": model_ids}
        answer = self.actor.client.post("/api/models/", json=order)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["model_id"])

    def predicting(self, model_id: str, method: str, **uncertainty: object) -> str:
        """The model, which is now in a training with this uncertainty method."""
        options = {"uncertainty": uncertainty}
        return self.new_training(
            [], model_id=model_id, uncertainty_method=method, options=options
        ).model_id

    def refused_training(self, method: str, **uncertainty: object) -> str:
        """A model that was to predict with this method, which could not be."""
        model_id = accepted_model(self.actor)
        order = training_order(
            model_id, uncertainty_method=method, options={"uncertainty": uncertainty}
        )
        assert self.actor.client.post("/api/trainings/", json=order).status_code == 400
        return model_id

    def new_model(self) -> str:
        return accepted_model(self.actor)

    def deleted_model(self) -> str:
        """A model that is no more."""
        model_id = self.new_model()
        assert self.actor.client.delete(f"/api/models/{model_id}/").status_code == 200
        return model_id

    def without_model(self) -> "TrainingHere":
        """A training whose model was deleted."""
        training = self.new_training()
        answer = self.actor.client.delete(f"/api/models/{training.model_id}/")
        assert answer.status_code == 200, answer.text
        return training

    def _with_preprocessing(
        self, content: bytes, preprocessing: bytes | None, shape: list[str]
    ) -> str:
        files = {"model_file": ("model.pt", content)}
        if preprocessing is not None:
            files["model_preprocessing_file"] = ("p.pt", preprocessing)
        answer = self.actor.client.post(
            "/api/models/",
            data={"name": "Images", "description": "a model", "input_shape": shape},
            files=files,
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["model_id"])

    def deleted(self) -> "TrainingHere":
        """A training that is no more."""
        training = self.new_training()
        assert self.actor.client.delete(f"/api/trainings/{training.id}/").status_code == 200
        return training

    def _measured(self, value: str) -> str:
        model_id = accepted_model(self.actor)
        answer = self.actor.client.post(
            f"/api/models/{model_id}/metrics/",
            data={"metric_names": "accuracy", "metric_values": value},
        )
        assert answer.status_code == 201, answer.text
        return model_id


class TrainingHere:
    """A training of the world's actor."""

    def __init__(self, actor: Person, training_id: str) -> None:
        self._actor = actor
        self.id = training_id
        self.model_id = str(self._seen()["model"])

    def start(self) -> None:
        answer = self._actor.client.post(f"/api/trainings/{self.id}/start/")
        assert answer.status_code == 202, answer.text

    def deliver_moments(self, participant: Person) -> None:
        """A participant's moments of the SWAG round after round 0 arrive."""
        answer = participant.client.post(
            f"/api/models/{self.model_id}/swag/",
            data={"round": "1", "sample_size": "10"},
            files={
                "first_moment_file": ("f", FIRST_MOMENT),
                "second_moment_file": ("s", SECOND_MOMENT),
            },
        )
        assert answer.status_code == 201, answer.text

    def deliver(self, participant: Person) -> None:
        """A participant's update of round 0 arrives."""
        answer = participant.client.post(
            f"/api/models/{self.model_id}/",
            data={
                "round": "0",
                "sample_size": "10",
                "metric_names": "loss",
                "metric_values": "0.5",
            },
            files={"model_file": ("model_file", UPDATE)},
        )
        assert answer.status_code == 201, answer.text

    def report(self, participant: Person) -> None:
        """A participant's test of the global model arrives."""
        answer = participant.client.post(
            f"/api/models/{self.model_id}/metrics/",
            data={"metric_names": "accuracy", "metric_values": "0.5"},
        )
        assert answer.status_code == 201, answer.text

    def local_model_of(self, participant: Person) -> str:
        """Id of the update that `participant` delivered."""
        listed = participant.client.get("/api/models/").json()
        (local,) = (one["id"] for one in listed if one.get("base_model") == self.model_id)
        return str(local)

    def model_round(self) -> int:
        """How many aggregations the global model has seen."""
        metadata = self._actor.client.get(f"/api/models/{self.model_id}/metadata/").json()
        return int(metadata["round"])

    def state(self) -> str:
        return str(self._seen()["state"])

    def _seen(self) -> dict[str, object]:
        answer = self._actor.client.get(f"/api/trainings/{self.id}/")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())
