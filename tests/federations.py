"""People and trainings for tests, made through the API like any client makes them."""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import httpx

from tests.model_files import Weights, tiny_file, weights
from tests.servers import Server
from tests.webhooks import Notification, WebhookReceiver


@dataclass(frozen=True)
class Person:
    """A registered user and a client that speaks with their token."""

    id: str
    username: str
    password: str
    token: str
    created: dict[str, object]
    client: httpx.Client

    def basic(self) -> dict[str, str]:
        """The header of Basic authentication."""
        pair = f"{self.username}:{self.password}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


@dataclass
class People:
    """Makes users of one server, each with a name of its own."""

    server: Server
    made: list[Person] = field(default_factory=list)

    def __call__(
        self,
        name: str = "someone",
        *,
        actor: bool = False,
        client: bool = False,
        message_endpoint: str = "",
        email: str = "",
    ) -> Person:
        username = f"{name}-{secrets.token_hex(4)}"
        password = f"pw-{secrets.token_hex(4)}"
        wanted: dict[str, object] = {
            "username": username,
            "password": password,
            "actor": actor,
            "client": client,
        }
        if message_endpoint:
            wanted["message_endpoint"] = message_endpoint
        if email:
            wanted["email"] = email
        http = self.server.client()
        answer = http.post("/api/users/", json=wanted)
        assert answer.status_code == 201, answer.text
        created = answer.json()
        http.headers["Authorization"] = f"Token {created['token']}"
        person = Person(created["id"], username, password, created["token"], created, http)
        self.made.append(person)
        return person

    def close(self) -> None:
        """Close the connections of everyone."""
        for person in self.made:
            person.client.close()


def upload_model(
    owner: Person,
    content: bytes | None = None,
    *,
    name: str = "Tiny",
    description: str = "a model",
    input_shape: Sequence[str] = ("None", "3"),
    **fields: str | list[str],
) -> httpx.Response:
    """POST a global model; `fields` add to or replace the form's fields."""
    form: dict[str, str | list[str]] = {
        "name": name,
        "description": description,
        "input_shape": list(input_shape),
        **fields,
    }
    files = {"model_file": ("model.pt", tiny_file() if content is None else content)}
    return owner.client.post("/api/models/", data=form, files=files)


def accepted_model(
    owner: Person,
    content: bytes | None = None,
    *,
    name: str = "Tiny",
    description: str = "a model",
    **fields: str,
) -> str:
    """Id of a freshly uploaded global model."""
    answer = upload_model(owner, content, name=name, description=description, **fields)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["model_id"])


def training_order(model_id: str, **fields: object) -> dict[str, object]:
    """The JSON that creates a training; `fields` add to or replace its fields."""
    return {
        "model_id": model_id,
        "target_num_updates": 2,
        "metric_names": ["accuracy"],
        "aggregation_method": "FedAvg",
        **fields,
    }


@dataclass
class Federation:
    """A training with its actor and participants.

    Attributes:
        names: Endpoint name of each person at the webhook receiver, by person id.
    """

    actor: Person
    participants: list[Person]
    model_id: str
    training_id: str
    webhooks: WebhookReceiver
    names: dict[str, str]

    def start(self) -> None:
        """The actor starts the training."""
        answer = self.actor.client.post(f"/api/trainings/{self.training_id}/start/")
        assert answer.status_code == 202, answer.text

    def upload(
        self,
        participant: Person,
        content: bytes,
        *,
        round: int | str = 0,
        sample_size: int | str = 10,
        model_id: str | None = None,
        **fields: str | list[str],
    ) -> httpx.Response:
        """POST a participant's update."""
        return participant.client.post(
            f"/api/models/{model_id or self.model_id}/",
            data={"round": str(round), "sample_size": str(sample_size), **fields},
            files={"model_file": ("model_file", content)},
        )

    def report(self, participant: Person, value: float = 0.5, name: str = "accuracy") -> None:
        """POST a participant's test of the global model."""
        answer = participant.client.post(
            f"/api/models/{self.model_id}/metrics/",
            data={"metric_names": name, "metric_values": str(value)},
        )
        assert answer.status_code == 201, answer.text

    def training(self) -> dict[str, object]:
        """The training as its actor sees it."""
        answer = self.actor.client.get(f"/api/trainings/{self.training_id}/")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def weights(self) -> Weights:
        """The global model as its actor downloads it."""
        answer = self.actor.client.get(f"/api/models/{self.model_id}/")
        assert answer.status_code == 200, answer.text
        return weights(answer.content)

    def told(self, person: Person, *types: str) -> list[Notification]:
        """What `person` was sent, once it holds as many notifications of each type as given."""
        return self.webhooks.wait_for_types(self.names[person.id], self.training_id, *types)

    def wait_for_round(self, round: int) -> None:
        """Return when every participant was told to train round `round` (0-based)."""
        for participant in self.participants:
            self.told(participant, *["UPDATE_ROUND_START"] * (round + 1))

    def wait_for_tests(self, round: int) -> None:
        """Return when every participant was told to test the model of round `round` (1-based)."""
        for participant in self.participants:
            self.told(participant, *["MODEL_TEST_ROUND"] * round)


class MakeFederation(Protocol):
    """The `make_federation` fixture: `new_federation` with its people and its receiver."""

    def __call__(
        self,
        *,
        participants: int = 2,
        rounds: int = 2,
        model: bytes | None = None,
        model_type: str = "GLOBAL",
        started: bool = True,
        **order: object,
    ) -> Federation: ...


def new_federation(
    people: People,
    webhooks: WebhookReceiver,
    *,
    participants: int = 2,
    rounds: int = 2,
    model: bytes | None = None,
    model_type: str = "GLOBAL",
    started: bool = True,
    **order: object,
) -> Federation:
    """A new training with new people, all of whom receive webhooks.

    Args:
        order: Fields of the order that creates it, beside model, rounds and clients.
    """
    names: dict[str, str] = {}

    def person(name: str, *, actor: bool) -> Person:
        endpoint = f"{name}-{secrets.token_hex(4)}"
        made = people(
            name, actor=actor, client=not actor, message_endpoint=webhooks.endpoint(endpoint)
        )
        names[made.id] = endpoint
        return made

    actor = person("actor", actor=True)
    members = [person(f"c{k}", actor=False) for k in range(1, participants + 1)]
    model_id = accepted_model(actor, model, type=model_type)
    answer = actor.client.post(
        "/api/trainings/",
        json=training_order(
            model_id,
            target_num_updates=rounds,
            clients=[member.id for member in members],
            **order,
        ),
    )
    assert answer.status_code == 201, answer.text
    federation = Federation(actor, members, model_id, answer.json()["training_id"], webhooks, names)
    if started:
        federation.start()
        federation.wait_for_round(0)
    return federation
