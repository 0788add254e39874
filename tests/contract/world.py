"""People, models and trainings in which recorded exchanges are sent again."""

from functools import cached_property

import httpx

from tests.federations import People, Person, accepted_model, training_order
from tests.model_files import drifted, pickled, tiny, torchscript
from tests.waiting import wait_until

UNKNOWN = "00000000-0000-0000-0000-000000000000"
UPDATE = torchscript(drifted(tiny(), seed=1))


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
            files={"model_file": ("model.pt", torchscript(tiny()))},
        )
        return str(answer.json()["model_id"])

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
        answer = self.actor.client.post(f"/api/trainings/{training.id}/start/")
        assert answer.status_code == 202, answer.text
        return training

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
