"""Every cell of docs/access.md, tried on a running server."""

import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import httpx
import pytest

from tests.accounts import another_superuser
from tests.contract.world import UPDATE, TrainingHere, World
from tests.federations import People, Person, accepted_model, training_order
from tests.model_files import pickled, tiny_file
from tests.servers import REPOSITORY, Server

DOCUMENT = REPOSITORY / "docs" / "access.md"
ROLES = ("owner", "actor", "participant", "other", "superuser", "anonymous")


class Cell(NamedTuple):
    """What the table says about one role and one request."""

    request: str
    subject: str
    role: str
    expected: str

    def __str__(self) -> str:
        return f"{self.request} {self.subject} {self.role}".replace("  ", " ")


def cells() -> list[Cell]:
    """The table, cell by cell."""
    rows = [
        [column.strip() for column in line.strip("|").split("|")]
        for line in DOCUMENT.read_text().splitlines()
        if line.startswith("| `")
    ]
    return [
        Cell(request.strip("`"), subject, role, expected)
        for request, subject, *columns in rows
        for role, expected in zip(ROLES, columns, strict=True)
    ]


class Scene(World):
    """People and things of every kind on one server."""

    @cached_property
    def superuser(self) -> Person:
        return another_superuser(self._people)

    def new_person(self) -> Person:
        """Somebody whom no other attempt knows."""
        return self._people("somebody")

    @cached_property
    def subject(self) -> Person:
        """A participant with an address of their own, whom others look at."""
        return self._people(
            "subject", client=True, email="s@example.com", message_endpoint="http://s.example/"
        )

    @cached_property
    def followed(self) -> TrainingHere:
        """A training in which the subject takes part beside the second participant."""
        return self.new_training([self.subject, self.client2])

    @cached_property
    def with_preprocessing(self) -> str:
        """A trained model with preprocessing."""
        model_id = accepted_model(self.actor)
        answer = self.actor.client.post(
            f"/api/models/{model_id}/preprocessing/", files=PREPROCESSING
        )
        assert answer.status_code == 202, answer.text
        self.new_training(model_id=model_id)
        return model_id

    @cached_property
    def local_with_preprocessing(self) -> str:
        """A local model of the first participant whose base has preprocessing."""
        model_id = accepted_model(self.actor)
        self.actor.client.post(f"/api/models/{model_id}/preprocessing/", files=PREPROCESSING)
        training = self.new_running(model_id=model_id)
        training.deliver(self.client1)
        return training.local_model_of(self.client1)

    @cached_property
    def local(self) -> str:
        """A local model of the first participant in a round that is still open."""
        return self.half.local_model_of(self.client1)


PREPROCESSING = {"model_preprocessing_file": ("p", tiny_file())}
ROWS_OF_INPUT = [[0.0, 1.0, 2.0]]


@dataclass
class Attempt:
    """Somebody tries a request.

    Attributes:
        client: With the credentials of who tries; the address of the server only for anonymous.
    """

    scene: Scene
    role: str
    client: httpx.Client
    person: Person | None = field(default=None)

    def send(self, method: str, path: str, **options: object) -> httpx.Response:
        return self.client.request(method, path, **options)  # type: ignore[arg-type]

    @property
    def is_owner(self) -> bool:
        return self.role == "owner"

    def new_group(self) -> int:
        """A group of the owner's."""
        owner = self.scene.actor
        answer = owner.client.post("/api/groups/", json={"name": secrets.token_hex(8)})
        return int(answer.json()["id"])

    def global_model(self) -> str:
        """A model of the actor's: not in a training for its owner, in one for the others."""
        return self.scene.model if self.is_owner else self.scene.initial.model_id


Outcome = httpx.Response | tuple[httpx.Response, bool]
TRIES: dict[tuple[str, str], Callable[[Attempt], Outcome]] = {}


def tries(
    request: str, subject: str = ""
) -> Callable[[Callable[[Attempt], Outcome]], Callable[[Attempt], Outcome]]:
    """Names the row that the function tries."""

    def named(function: Callable[[Attempt], Outcome]) -> Callable[[Attempt], Outcome]:
        assert (request, subject) not in TRIES
        TRIES[request, subject] = function
        return function

    return named


for _path in (
    "/",
    "/api/session/",
    "/api/accounts/",
    "/api/users/",
    "/api/users/myself/",
    "/api/users/myself/webhook-secret/",
    "/api/users/myself/notifications/",
    "/api/users/groups/",
    "/api/users/trainings/",
    "/api/groups/",
    "/api/models/",
    "/api/trainings/",
    "/api/overview/",
    "/api/compute/",
    "/api/schema/",
    "/api/schema/swagger-ui/",
    "/api/schema/redoc/",
    "/health/live/",
    "/health/ready/",
):
    tries(f"GET {_path}")(lambda attempt, path=_path: attempt.send("GET", path))  # type: ignore[misc]


@tries("GET /static/{path}")
def get_static_file(attempt: Attempt) -> Outcome:
    return attempt.send("GET", "/static/vendor/vendor.json")


@tries("POST /api/session/")
def sign_in(attempt: Attempt) -> Outcome:
    person = attempt.person or attempt.scene.newcomer
    wanted = {"username": person.username, "password": person.password}
    answer = attempt.send("POST", "/api/session/", json=wanted)
    attempt.client.cookies.clear()
    return answer, answer.is_success and answer.json()["user"]["id"] == person.id


@tries("DELETE /api/session/")
def sign_out(attempt: Attempt) -> Outcome:
    return attempt.send("DELETE", "/api/session/")


@tries("POST /api/setup/")
def set_up(attempt: Attempt) -> Outcome:
    attempt.scene.superuser.client.get("/api/users/myself/")  # there is one
    wanted = {"code": "none", "username": f"u-{secrets.token_hex(4)}", "password": "pw"}
    answer = attempt.send("POST", "/api/setup/", json=wanted)
    assert answer.status_code == 409
    return answer


@tries("POST /api/users/myself/password/")
def change_password(attempt: Attempt) -> Outcome:
    password = "pw" if attempt.person is None else attempt.person.password
    order = {"current_password": password, "new_password": password}
    return attempt.send("POST", "/api/users/myself/password/", json=order)


@tries("POST /api/users/myself/token/")
def replace_token(attempt: Attempt) -> Outcome:
    answer = attempt.send("POST", "/api/users/myself/token/")
    if answer.is_success:
        attempt.client.headers["Authorization"] = f"Token {answer.json()['token']}"
    return answer


@tries("PATCH /api/accounts/{account_id}/")
def change_account(attempt: Attempt) -> Outcome:
    path = f"/api/accounts/{attempt.scene.actor.id}/"
    return attempt.send("PATCH", path, json={"active": True})


@tries("POST /api/accounts/{account_id}/token/")
def replace_somebodys_token(attempt: Attempt) -> Outcome:
    somebody = attempt.scene.new_person()
    return attempt.send("POST", f"/api/accounts/{somebody.id}/token/")


@tries("POST /api/invitations/")
def invite(attempt: Attempt) -> Outcome:
    return attempt.send("POST", "/api/invitations/", json={})


@tries("POST /api/users/")
def register(attempt: Attempt) -> Outcome:
    wanted = {"username": f"by-{attempt.role}-{secrets.token_hex(4)}", "password": "pw"}
    return attempt.send("POST", "/api/users/", json=wanted)


@tries("GET /api/users/{user_id}/")
def look_at_user(attempt: Attempt) -> Outcome:
    return attempt.send("GET", f"/api/users/{attempt.scene.subject.id}/")


def follow(attempt: Attempt) -> Attempt:
    """The same attempt, with the subject themselves as the owner of what is looked at."""
    attempt.scene.followed.state()
    subject = attempt.scene.subject
    return Attempt(attempt.scene, "owner", subject.client, subject) if attempt.is_owner else attempt


@tries("GET /api/users/{user_id}/", "e-mail address and endpoint")
def look_at_address(attempt: Attempt) -> Outcome:
    answer = look_at_user(follow(attempt))
    assert isinstance(answer, httpx.Response)
    return answer, bool(answer.json().get("email") or answer.json().get("message_endpoint"))


@tries("GET /api/users/{user_id}/", "token")
def look_at_token(attempt: Attempt) -> Outcome:
    answer = look_at_user(follow(attempt))
    assert isinstance(answer, httpx.Response)
    return answer, attempt.scene.subject.token in answer.text


@tries("GET /api/users/", "e-mail addresses and endpoints")
def look_for_addresses(attempt: Attempt) -> Outcome:
    answer = follow(attempt).send("GET", "/api/users/")
    subject = attempt.scene.subject.created
    return answer, str(subject["email"]) in answer.text or "http://s.example/" in answer.text


@tries("PATCH /api/users/myself/profile/")
def change_myself(attempt: Attempt) -> Outcome:
    return attempt.send("PATCH", "/api/users/myself/profile/", json={"first_name": attempt.role})


@tries("GET /api/users/myself/webhook-secret/", "key of a user's webhooks")
def look_at_webhook_secret(attempt: Attempt) -> Outcome:
    path = "/api/users/myself/webhook-secret/"
    subject = attempt.scene.subject.client.get(path).json()["webhook_secret"]
    answer = follow(attempt).send("GET", path)
    return answer, subject in answer.text


@tries("GET /api/users/myself/notifications/", "what a user was told")
def look_at_feed(attempt: Attempt) -> Outcome:
    own = follow(attempt)
    if not attempt.scene.subject.client.get("/api/users/myself/notifications/").json():
        attempt.scene.followed.start()
    (first, *_) = attempt.scene.subject.client.get("/api/users/myself/notifications/").json()
    query = {"after": first["id"] - 1, "limit": 1}
    answer = own.send("GET", "/api/users/myself/notifications/", params=query)
    return answer, first in (answer.json() if answer.is_success else [])


@tries("POST /api/groups/")
def create_group(attempt: Attempt) -> Outcome:
    return attempt.send("POST", "/api/groups/", json={"name": secrets.token_hex(8)})


def group_request(method: str, suffix: str = "", **options: object) -> None:
    """Registers a try of this request on a group of the owner's, who is the actor here."""

    @tries(f"{method} /api/groups/{{group_id}}/{suffix}")
    def on_group(attempt: Attempt) -> Outcome:
        group_id = attempt.new_group()
        body = {"name": secrets.token_hex(8)} if options.get("named") else options.get("json")
        scene = attempt.scene
        # Everybody else is no member; the actor made the group, so another actor stands in.
        client = scene.outsider.client if attempt.role == "actor" else attempt.client
        return client.request(method, f"/api/groups/{group_id}/{suffix}", json=body)


group_request("GET")
group_request("PUT", named=True)
group_request("PATCH", named=True)
group_request("DELETE")
group_request("GET", "members/")
group_request("PUT", "members/", json={"users": []})
group_request("DELETE", "members/", json={"users": []})


@tries("POST /api/models/")
def upload(attempt: Attempt) -> Outcome:
    return attempt.send(
        "POST",
        "/api/models/",
        data={"name": "Tiny", "description": "a model"},
        files={"model_file": ("model.pt", tiny_file())},
    )


@tries("POST /api/models/", "mean of one's own models")
def make_mean(attempt: Attempt) -> Outcome:
    order = {
        "type": "MEAN",
        "name": "mean",
        "description": "",
        "models": [attempt.scene.model, attempt.scene.model_without_shape],
    }
    answer = attempt.send("POST", "/api/models/", json=order)
    if answer.status_code == 400:
        # The contract refuses somebody else's models as if they were not there.
        return httpx.Response(403, request=answer.request)
    return answer


def listed_in(path: str, subject: str, thing: Callable[[Attempt], str]) -> None:
    """Registers a look for one thing in a list."""

    @tries(f"GET {path}", subject)
    def look(attempt: Attempt) -> Outcome:
        wanted = thing(attempt)
        answer = attempt.send("GET", path)
        return answer, wanted in answer.text


listed_in("/api/models/", "global model", Attempt.global_model)
listed_in("/api/models/", "local model", lambda attempt: attempt.scene.local)
listed_in("/api/trainings/", "training", lambda attempt: attempt.scene.initial.id)
listed_in("/api/users/trainings/", "training", lambda attempt: attempt.scene.initial.id)
listed_in("/api/overview/", "training", lambda attempt: attempt.scene.initial.id)


def model_request(method: str, suffix: str, **options: object) -> None:
    """Registers tries of this request on a global and on a local model."""

    @tries(f"{method} /api/models/{{model_id}}/{suffix}", "global model")
    def on_global(attempt: Attempt) -> Outcome:
        return attempt.send(method, f"/api/models/{attempt.global_model()}/{suffix}", **options)

    @tries(f"{method} /api/models/{{model_id}}/{suffix}", "local model")
    def on_local(attempt: Attempt) -> Outcome:
        return attempt.send(method, f"/api/models/{attempt.scene.local}/{suffix}", **options)


REPORT = {"metric_names": "accuracy", "metric_values": "0.5"}
model_request("GET", "metadata/")
model_request("GET", "")
model_request("GET", "metrics/")
model_request("POST", "metrics/", data=REPORT)


@tries("GET /api/models/{model_id}/preprocessing/", "global model")
def get_preprocessing(attempt: Attempt) -> Outcome:
    return attempt.send("GET", f"/api/models/{attempt.scene.with_preprocessing}/preprocessing/")


@tries("GET /api/models/{model_id}/preprocessing/", "local model")
def get_local_preprocessing(attempt: Attempt) -> Outcome:
    model_id = attempt.scene.local_with_preprocessing
    return attempt.send("GET", f"/api/models/{model_id}/preprocessing/")


@tries("POST /api/models/{model_id}/preprocessing/", "global model")
def set_preprocessing(attempt: Attempt) -> Outcome:
    model_id = attempt.scene.new_training().model_id
    return attempt.send("POST", f"/api/models/{model_id}/preprocessing/", files=PREPROCESSING)


@tries("GET /api/models/{model_id}/swag/{moment}/", "global model")
def get_first_moment(attempt: Attempt) -> Outcome:
    return attempt.send("GET", f"/api/models/{attempt.global_model()}/swag/first/")


@tries("GET /api/models/{model_id}/versions/", "global model")
def list_versions(attempt: Attempt) -> Outcome:
    return attempt.send("GET", f"/api/models/{attempt.global_model()}/versions/")


@tries("GET /api/models/{model_id}/versions/{round}/", "global model")
def get_version(attempt: Attempt) -> Outcome:
    return attempt.send("GET", f"/api/models/{attempt.global_model()}/versions/0/")


@tries("POST /api/models/{model_id}/", "update of a global model")
def deliver(attempt: Attempt) -> Outcome:
    return attempt.send(
        "POST",
        f"/api/models/{attempt.scene.new_running().model_id}/",
        data={"round": "0", "sample_size": "1"},
        files={"model_file": ("m", UPDATE)},
    )


@tries("PUT /api/models/{model_id}/updates/{round}/", "update of a global model")
def deliver_natively(attempt: Attempt) -> Outcome:
    return attempt.send(
        "PUT",
        f"/api/models/{attempt.scene.new_running().model_id}/updates/0/",
        params={"sample_size": "1"},
        content=UPDATE,
    )


@tries("POST /api/models/{model_id}/swag/", "moments of a global model")
def deliver_moments(attempt: Attempt) -> Outcome:
    moment = pickled([0.0])
    return attempt.send(
        "POST",
        f"/api/models/{attempt.scene.running.model_id}/swag/",
        data={"round": "0", "sample_size": "1"},
        files={"first_moment_file": ("f", moment), "second_moment_file": ("s", moment)},
    )


@tries("DELETE /api/models/{model_id}/", "global model")
def delete_model(attempt: Attempt) -> Outcome:
    scene = attempt.scene
    model_id = accepted_model(scene.actor) if attempt.is_owner else scene.new_training().model_id
    return attempt.send("DELETE", f"/api/models/{model_id}/")


@tries("DELETE /api/models/{model_id}/", "local model")
def delete_local_model(attempt: Attempt) -> Outcome:
    return attempt.send("DELETE", f"/api/models/{attempt.scene.local}/")


@tries("POST /api/trainings/", "of a global model")
def create_training(attempt: Attempt) -> Outcome:
    model_id = accepted_model(attempt.scene.actor)
    return attempt.send("POST", "/api/trainings/", json=training_order(model_id))


@tries("GET /api/trainings/{training_id}/")
def look_at_training(attempt: Attempt) -> Outcome:
    return attempt.send("GET", f"/api/trainings/{attempt.scene.initial.id}/")


@tries("DELETE /api/trainings/{training_id}/")
def delete_training(attempt: Attempt) -> Outcome:
    return attempt.send("DELETE", f"/api/trainings/{attempt.scene.new_training().id}/")


@tries("POST /api/trainings/{training_id}/start/")
def start(attempt: Attempt) -> Outcome:
    return attempt.send("POST", f"/api/trainings/{attempt.scene.new_training().id}/start/")


def steering(what: str) -> None:
    """Registers an attempt to steer a running training."""

    @tries(f"POST /api/trainings/{{training_id}}/{what}/")
    def steer(attempt: Attempt) -> Outcome:
        return attempt.send("POST", f"/api/trainings/{attempt.scene.new_running().id}/{what}/")


for _what in ("pause", "resume", "close-round", "abort"):
    steering(_what)


def look_among_participants(attempt: Attempt, subject: str) -> Outcome:
    answer = attempt.send("GET", f"/api/trainings/{attempt.scene.half.id}/participants/")
    return answer, subject in answer.text


@tries("GET /api/trainings/{training_id}/participants/", "themselves")
def look_for_oneself(attempt: Attempt) -> Outcome:
    return look_among_participants(attempt, attempt.scene.client2.id)


@tries("GET /api/trainings/{training_id}/participants/", "somebody else")
def look_for_others(attempt: Attempt) -> Outcome:
    return look_among_participants(attempt, attempt.scene.client1.id)


@tries("GET /api/trainings/{training_id}/rounds/")
def look_at_rounds(attempt: Attempt) -> Outcome:
    return attempt.send("GET", f"/api/trainings/{attempt.scene.half.id}/rounds/")


@tries("GET /api/trainings/{training_id}/rounds/", "local model")
def look_for_update_in_rounds(attempt: Attempt) -> Outcome:
    answer = attempt.send("GET", f"/api/trainings/{attempt.scene.half.id}/rounds/")
    return answer, attempt.scene.local in answer.text


@tries("GET /api/trainings/{training_id}/metrics/")
def look_at_metrics(attempt: Attempt) -> Outcome:
    return attempt.send("GET", f"/api/trainings/{attempt.scene.half.id}/metrics/")


@tries("GET /api/trainings/{training_id}/metrics/", "local model")
def look_for_metrics_of_update(attempt: Attempt) -> Outcome:
    scene = attempt.scene
    path = f"/api/models/{scene.local}/metrics/"
    scene.client1.client.post(path, data={"metric_names": "own", "metric_values": "1"})
    answer = attempt.send("GET", f"/api/trainings/{scene.half.id}/metrics/")
    return answer, '"own"' in answer.text


@tries("GET /api/compute/", "nodes, actors and dashboard")
def look_into_the_cluster(attempt: Attempt) -> Outcome:
    answer = attempt.send("GET", "/api/compute/")
    if not answer.is_success:
        return answer, False
    inside = [answer.json()[name] for name in ("nodes", "actors", "dashboard")]
    return answer, any(part is not None for part in inside)


@tries("PUT /api/trainings/{training_id}/clients/")
def add_clients(attempt: Attempt) -> Outcome:
    return attempt.send(
        "PUT",
        f"/api/trainings/{attempt.scene.new_training().id}/clients/",
        json={"clients": [attempt.scene.newcomer.id]},
    )


def remove_client(attempt: Attempt, user_id: str) -> Outcome:
    training_id = attempt.scene.new_training().id
    path = f"/api/trainings/{training_id}/clients/"
    return attempt.send("DELETE", path, json={"clients": [user_id]})


@tries("DELETE /api/trainings/{training_id}/clients/", "somebody else")
def remove_somebody(attempt: Attempt) -> Outcome:
    return remove_client(attempt, attempt.scene.client1.id)


@tries("DELETE /api/trainings/{training_id}/clients/", "themselves")
def remove_oneself(attempt: Attempt) -> Outcome:
    person = attempt.person or attempt.scene.newcomer
    return remove_client(attempt, person.id)


@tries("GET /api/trainings/{training_id}/audit/")
def read_log(attempt: Attempt) -> Outcome:
    return attempt.send("GET", f"/api/trainings/{attempt.scene.initial.id}/audit/")


@tries("GET /api/trainings/{training_id}/audit/", "local model")
def look_for_update_in_log(attempt: Attempt) -> Outcome:
    local = attempt.scene.local
    answer = attempt.send("GET", f"/api/trainings/{attempt.scene.half.id}/audit/")
    return answer, local in answer.text


def models_of_training(suffix: str) -> None:
    """Registers looks for a global and a local model among a training's models."""
    path = f"/api/trainings/{{training_id}}/models/{suffix}"

    @tries(f"GET {path}", "global model")
    def look_for_global(attempt: Attempt) -> Outcome:
        half = attempt.scene.half
        answer = attempt.send("GET", path.replace("{training_id}", half.id))
        return answer, half.model_id in answer.text

    @tries(f"GET {path}", "local model")
    def look_for_local(attempt: Attempt) -> Outcome:
        local = attempt.scene.local
        answer = attempt.send("GET", path.replace("{training_id}", attempt.scene.half.id))
        return answer, f'"id":"{local}"' in answer.text.replace(" ", "")


models_of_training("")
models_of_training("latest/")


@tries("POST /api/inference/", "global model")
def predict(attempt: Attempt) -> Outcome:
    order = {"model_id": attempt.global_model(), "model_input": ROWS_OF_INPUT}
    return attempt.send("POST", "/api/inference/", json=order)


@tries("POST /api/inference/", "local model")
def predict_locally(attempt: Attempt) -> Outcome:
    order = {"model_id": attempt.scene.local, "model_input": ROWS_OF_INPUT}
    return attempt.send("POST", "/api/inference/", json=order)


@tries("POST /api/uploads/")
def begin_upload(attempt: Attempt) -> Outcome:
    return attempt.send("POST", "/api/uploads/", headers={"Upload-Length": "0"})


def upload_request(method: str, headers: dict[str, str]) -> None:
    """Registers a try of this request on an upload of the actor's, in this row its owner only."""

    @tries(f"{method} /api/uploads/{{upload_id}}/")
    def on_upload(attempt: Attempt) -> Outcome:
        scene = attempt.scene
        begun = scene.actor.client.post("/api/uploads/", headers={"Upload-Length": "1"})
        path = begun.headers["Location"]
        client = scene.outsider.client if attempt.role == "actor" else attempt.client
        answer = client.request(method, path, headers=headers, content=b"")
        scene.actor.client.delete(path)
        # For who may not see it, it is not there.
        return answer, answer.status_code != 404


upload_request("GET", {})
upload_request("PATCH", {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"})
upload_request("DELETE", {})


@tries("POST /internal/callbacks/")
def call_back(attempt: Attempt) -> Outcome:
    return attempt.send("POST", "/internal/callbacks/", json={"type": "round_failed"})


@pytest.fixture(scope="module")
def scene(server: Server) -> Iterator[Scene]:
    people = People(server)
    scene = Scene(people)
    yield scene
    scene.anonymous.close()
    people.close()


# What the first participant made is local; for all else the second one is as good.
OWNED_BY_A_PARTICIPANT = "local model"


def attempt_by(scene: Scene, cell: Cell) -> Attempt:
    """Whoever stands for the role in this row."""
    of_local = cell.subject == OWNED_BY_A_PARTICIPANT
    person = {
        "owner": scene.client1 if of_local else scene.actor,
        "actor": scene.actor,
        "participant": scene.client2,
        "other": scene.outsider,
        "superuser": scene.superuser,
        "anonymous": None,
    }[cell.role]
    client = scene.anonymous if person is None else person.client
    return Attempt(scene, cell.role, client, person)


@pytest.mark.parametrize("cell", cells(), ids=str)
def test_cell(scene: Scene, cell: Cell) -> None:
    outcome = TRIES[cell.request, cell.subject](attempt_by(scene, cell))

    answer, seen = outcome if isinstance(outcome, tuple) else (outcome, None)
    assert answer.status_code < 500, answer.text
    match cell.expected:
        case "401":
            assert answer.status_code == 401, answer.text
        case "no" if seen is None:
            assert answer.status_code == 403, answer.text
        case "no":
            assert not seen, answer.text
        case "yes":
            assert answer.status_code not in {401, 403}, answer.text
            assert seen is not False, answer.text
        case other:
            pytest.fail(f"The table has no word {other!r}.")


def test_the_table_and_the_tries_have_the_same_rows() -> None:
    assert {(cell.request, cell.subject) for cell in cells()} == set(TRIES)


def test_every_operation_of_the_api_is_in_the_table(anonymous: httpx.Client) -> None:
    document = anonymous.get("/api/schema/", params={"format": "json"}).json()
    operations = {
        f"{method.upper()} {path.rstrip('/')}/"
        for path, item in document["paths"].items()
        for method in item
        if re.fullmatch("get|put|post|delete|patch", method)
    }

    assert operations - {cell.request for cell in cells()} == set()


@pytest.mark.parametrize(
    "extra", [{"superuser": True}, {"is_superuser": True}, {"is_staff": True}, {"token": "0" * 40}]
)
def test_no_field_makes_a_superuser(anonymous: httpx.Client, extra: dict[str, object]) -> None:
    wanted = {"username": f"u-{secrets.token_hex(4)}", "password": "pw", **extra}

    answer = anonymous.post("/api/users/", json=wanted)

    assert answer.status_code == 400
    assert next(iter(extra)) in answer.json()["detail"]


def test_no_field_makes_somebody_else_the_owner_or_actor(scene: Scene) -> None:
    other = scene.outsider.id
    model = scene.actor.client.post(
        "/api/models/",
        data={"name": "Tiny", "description": "a model", "owner": other},
        files={"model_file": ("model.pt", UPDATE)},
    )
    training = scene.actor.client.post(
        "/api/trainings/", json=training_order(scene.model, actor=other)
    )
    update = scene.client1.client.post(
        f"/api/models/{scene.new_running().model_id}/",
        data={"round": "0", "sample_size": "1", "owner": scene.client2.id},
        files={"model_file": ("m", UPDATE)},
    )

    assert (model.status_code, training.status_code) == (400, 400)
    assert update.status_code == 201
    owners = {
        one["owner"]
        for one in scene.client1.client.get("/api/models/").json()
        if "base_model" in one
    }
    assert owners == {scene.client1.id}
