"""What the console is looked at with: people, models, and trainings in every state, all real.

Made over the REST API once for all tests of the console. What is here must not be changed by a
test; `new_person` and `new_training` make what a test may do with as it likes.
"""

import secrets
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import nn

from tests.accounts import printed
from tests.console.trainings import INPUT_SHAPE, Training, digits_model, members_of
from tests.federations import Person
from tests.model_files import pickled, torchscript
from tests.servers import Server

# Imported for its effect before any other import from torchvision.
from compute.torchvision_guard import torchvision as _torchvision  # noqa: F401 isort:skip
from torchvision.transforms import v2

HOUSES = (
    ("northside", "Northside", "Clinic"),
    ("lakeview", "Lakeview", "Hospital"),
    ("st-clare", "St Clare", "Infirmary"),
    ("harbour", "Harbour", "Medical"),
    ("elm-street", "Elm Street", "Practice"),
)
ROUNDS = 6
# The network gives logits; what an uncertainty method averages must be probabilities.
PROBABILITIES: dict[str, object] = {"uncertainty": {"N": 20, "softmax": True}}
PASSWORD = "correct horse battery staple"


class World:
    """People, models and trainings of one server; call `make` once.

    Attributes:
        people: Everybody, in the order in which they came.
        superuser: Grace Hopper, who runs the server.
        actor: Ada Lovelace, who runs all the trainings here.
        participants: Five houses without webhooks.
        newcomer: Somebody who may run trainings and take part, and has neither done.
        digits: The model that trainings begin with unless they are given another.
        finished: Six rounds with metrics, MC dropout; one update of round 3 is far off.
        waiting: Its second round waits for three of five, with a deadline in two days.
        unstarted: Has participants, and has not begun.
        paused: In its first round.
        aborted: Ended by its actor in its first round.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.people: list[Person] = []

    def make(self) -> None:
        """Make everything that is not made when first asked for."""
        self.superuser = self._superuser("grace", "Grace", "Hopper")
        self.actor = self._register("ada", "Ada", "Lovelace", actor=True, email="ada@example.org")
        self.participants = [
            self._register(username, first, last, client=True) for username, first, last in HOUSES
        ]
        self.newcomer = self._register("nina", "Nina", "Simone", actor=True, client=True)
        self.digits = self.new_model()
        self._make_group()
        self._make_models()

        self.finished = self.new_training(
            rounds=ROUNDS, uncertainty_method="MC_DROPOUT", options=PROBABILITIES
        )
        for round in range(ROUNDS):
            careless = self.finished.members[4] if round == 3 else None
            self.finished.play_round(epochs=2, exaggerating=careless)

        self.aborted = self.new_training(
            model=self.new_model("Postcodes"), participants=self.participants[:2]
        )
        self.aborted.deliver(self.aborted.members[0])
        self.aborted.act("abort")
        self.paused = self.new_training(
            model=self.new_model("Meter readings"), participants=self.participants[1:4], rounds=20
        )
        self.paused.deliver(self.paused.members[0])
        self.paused.act("pause")
        self.unstarted = self.new_training(
            model=self.new_model("Prescriptions"),
            participants=self.participants[:3],
            aggregation_method="FedProx",
            started=False,
        )
        self.waiting = self.new_training(
            rounds=4,
            uncertainty_method="MC_DROPOUT",
            options=PROBABILITIES | {"quorum": 3, "round_deadline_seconds": 2 * 86_400},
        )
        self.waiting.play_round()
        for member in self.waiting.members[:2]:
            self.waiting.deliver(member)

    @cached_property
    def swag(self) -> str:
        """Id of a SWAG model of digits."""
        return self.new_model("Digits for SWAG", seed=3, type="SWAG")

    @cached_property
    def mean(self) -> str:
        """Id of a mean of two models of digits."""
        members = [self.new_model(f"Digits, member {k}", seed=k) for k in (1, 2)]
        answer = self.actor.client.post(
            "/api/models/",
            json={
                "type": "MEAN",
                "name": "Digits, mean of two",
                "description": "An ensemble of two CNNs.",
                "models": members,
                "input_shape": [None, 1, 8, 8],
            },
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["model_id"])

    @cached_property
    def images(self) -> str:
        """Id of a model of grey images, 28 × 28, that any image is preprocessed for."""
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(2304, 10))
        return self.new_model(
            "Scanned forms",
            torchscript(network),
            description="Reads any image; it is made grey and scaled to 28 × 28 first.",
            input_shape=("None", "1", "28", "28"),
            preprocessing=pickled(
                v2.Compose(
                    [
                        v2.ToImage(),
                        v2.ToDtype(torch.float32, scale=True),
                        v2.Resize((28, 28)),
                        v2.Grayscale(),
                    ]
                )
            ),
        )

    def new_person(
        self, name: str = "someone", *, actor: bool = False, client: bool = False
    ) -> Person:
        """A user whom no other test knows."""
        username = f"{name}-{secrets.token_hex(3)}"
        return self._register(username, name.title(), "", actor=actor, client=client)

    def new_model(
        self,
        name: str = "Digits",
        content: bytes | None = None,
        *,
        owner: Person | None = None,
        description: str = "CNN with dropout for 8 × 8 images of digits.",
        seed: int = 0,
        input_shape: Sequence[str] = INPUT_SHAPE,
        type: str = "GLOBAL",
        preprocessing: bytes | None = None,
    ) -> str:
        """Id of a new model, by default the untrained CNN of digits, of the actor."""
        form: dict[str, str | list[str]] = {
            "name": name,
            "description": description,
            "input_shape": list(input_shape),
            "type": type,
        }
        files = {"model_file": ("model.pt", content or digits_model(seed))}
        if preprocessing is not None:
            files["model_preprocessing_file"] = ("preprocessing.pt", preprocessing)
        client = (owner or self.actor).client
        answer = client.post("/api/models/", data=form, files=files)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["model_id"])

    def new_training(
        self,
        *,
        participants: Sequence[Person] | None = None,
        rounds: int = 2,
        started: bool = True,
        model: str | None = None,
        actor: Person | None = None,
        **order: object,
    ) -> Training:
        """A new training of digits; of the actor with all five houses unless said otherwise.

        Args:
            order: More fields of the order that creates it.
        """
        actor = actor or self.actor
        people = list(self.participants if participants is None else participants)
        answer = actor.client.post(
            "/api/trainings/",
            json={
                "model_id": model or self.digits,
                "target_num_updates": rounds,
                "metric_names": ["accuracy", "loss"],
                "aggregation_method": "FedAvg",
                "clients": [person.id for person in people],
                **order,
            },
        )
        assert answer.status_code == 201, answer.text
        training_id = str(answer.json()["training_id"])
        made = actor.client.get(f"/api/trainings/{training_id}/").json()
        training = Training(training_id, made["name"], made["model"], actor, members_of(people))
        if started:
            training.act("start")
            training.wait_for_phase("collecting")
        return training

    def close(self) -> None:
        """Close everybody's connections."""
        for person in self.people:
            person.client.close()

    def _make_models(self) -> None:
        _ = (self.swag, self.mean, self.images)

    def _make_group(self) -> None:
        answer = self.superuser.client.post("/api/groups/", json={"name": "Hospitals"})
        assert answer.status_code == 201, answer.text
        members = self.superuser.client.put(
            f"/api/groups/{answer.json()['id']}/members/",
            json={"users": [person.id for person in [self.actor, *self.participants[:3]]]},
        )
        assert members.status_code == 200, members.text

    def _superuser(self, username: str, first: str, last: str) -> Person:
        token = printed(
            self.server,
            *("create", username, "--superuser", "--password-stdin"),
            stdin=f"{PASSWORD}\n",
        )
        http = self.server.client(headers={"Authorization": f"Token {token}"})
        named = http.patch(
            "/api/users/myself/profile/", json={"first_name": first, "last_name": last}
        )
        assert named.status_code == 200, named.text
        return self._known(
            Person(named.json()["id"], username, PASSWORD, token, named.json(), http)
        )

    def _register(
        self,
        username: str,
        first: str,
        last: str,
        *,
        actor: bool = False,
        client: bool = False,
        email: str = "",
    ) -> Person:
        http = self.server.client()
        answer = http.post(
            "/api/users/",
            json={
                "username": username,
                "password": PASSWORD,
                "first_name": first,
                "last_name": last,
                "email": email,
                "actor": actor,
                "client": client,
            },
        )
        assert answer.status_code == 201, answer.text
        created = answer.json()
        http.headers["Authorization"] = f"Token {created['token']}"
        return self._known(
            Person(created["id"], username, PASSWORD, created["token"], created, http)
        )

    def _known(self, person: Person) -> Person:
        self.people.append(person)
        return person
