from collections.abc import Callable

import pytest

from tests.federations import (
    MakeFederation,
    People,
    Person,
    accepted_model,
    training_order,
)
from tests.servers import Server

NOBODY = "00000000-0000-0000-0000-000000000000"
TRAINING_FIELDS = {
    "id",
    "state",
    "target_num_updates",
    "last_update",
    "uncertainty_method",
    "aggregation_method",
    "options",
    "locked",
    "model",
    "actor",
    "participants",
}
FORBIDDEN = "You do not have permission to perform this action."


@pytest.fixture
def actor(make_user: People) -> Person:
    return make_user("actor", actor=True)


def test_a_new_training_is_in_its_initial_state(make_user: People, actor: Person) -> None:
    participants = [make_user(client=True).id, make_user(client=True).id]
    model_id = accepted_model(actor)

    answer = actor.client.post(
        "/api/trainings/", json=training_order(model_id, clients=participants)
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["detail"] == "Training created successfully!"
    training_id = answer.json()["training_id"]
    training = actor.client.get(f"/api/trainings/{training_id}/").json()

    assert set(training) >= TRAINING_FIELDS | {"local_models_arrived", "local_models_expected"}
    assert training["id"] == training_id
    assert training["state"] == "I"
    assert training["target_num_updates"] == 2
    assert training["aggregation_method"] == "FedAvg"
    assert training["uncertainty_method"] == "NONE"
    assert training["options"] == {}
    assert training["locked"] is False
    assert training["model"] == model_id
    assert training["actor"] == actor.id
    assert sorted(training["participants"]) == sorted(participants)
    assert (training["local_models_arrived"], training["local_models_expected"]) == (0, 2)
    assert "+" in training["last_update"] or training["last_update"].endswith("Z")


def test_the_order_is_json_whatever_the_content_type_says(actor: Person) -> None:
    order = training_order(accepted_model(actor))
    request = actor.client.build_request("POST", "/api/trainings/", json=order)

    answers = [
        actor.client.post(
            "/api/trainings/", content=request.content, headers={"Content-Type": kind}
        )
        for kind in ("text/plain", "application/json; charset=utf-8", "application/octet-stream")
    ]

    assert [answer.status_code for answer in answers] == [201, 201, 201]


def test_a_model_that_is_used_already_is_copied(actor: Person) -> None:
    model_id = accepted_model(actor)
    order = training_order(model_id)
    first = actor.client.post("/api/trainings/", json=order).json()["training_id"]

    second = actor.client.post("/api/trainings/", json=order).json()["training_id"]

    assert actor.client.get(f"/api/trainings/{first}/").json()["model"] == model_id
    copy = actor.client.get(f"/api/trainings/{second}/").json()["model"]
    assert copy != model_id
    original, copied = (actor.client.get(f"/api/models/{one}/").content for one in (model_id, copy))
    assert original == copied
    assert actor.client.get(f"/api/models/{copy}/metadata/").json()["round"] == 0


@pytest.mark.parametrize("field", ["aggregation_method", "uncertainty_method"])
def test_the_methods_that_there_are_are_named(actor: Person, field: str) -> None:
    order = training_order(accepted_model(actor)) | {field: "MCDROPOUT"}
    answer = actor.client.post("/api/trainings/", json=order)
    assert answer.status_code == 400
    choices = {
        "aggregation_method": "FedAvg or FedDC or FedProx",
        "uncertainty_method": "NONE or ENSEMBLE or MC_DROPOUT or SWAG",
    }
    assert answer.json()["errors"] == {
        field: [f"Invalid enum value 'MCDROPOUT'; give {choices[field]}."]
    }


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"model_id": ...}, "model_id", id="no-model"),
        pytest.param({"model_id": "abc"}, "model_id", id="malformed-model"),
        pytest.param({"model_id": None}, "model_id", id="null-model"),
        pytest.param({"target_num_updates": ...}, "target_num_updates", id="no-target"),
        pytest.param({"target_num_updates": 0}, "target_num_updates", id="zero-target"),
        pytest.param({"target_num_updates": -1}, "target_num_updates", id="negative-target"),
        pytest.param({"target_num_updates": 2.7}, "target_num_updates", id="fractional-target"),
        pytest.param({"target_num_updates": "x"}, "target_num_updates", id="text-as-target"),
        pytest.param({"target_num_updates": True}, "target_num_updates", id="flag-as-target"),
        pytest.param({"target_num_updates": 10**30}, "target_num_updates", id="huge-target"),
        pytest.param({"metric_names": ...}, "metric_names", id="no-metrics"),
        pytest.param({"metric_names": "accuracy"}, "metric_names", id="text-as-metrics"),
        pytest.param({"metric_names": [1]}, "metric_names", id="number-as-metric"),
        pytest.param({"aggregation_method": ...}, "aggregation_method", id="no-method"),
        pytest.param(
            {"aggregation_method": "fedavg"}, "aggregation_method", id="lower-case-method"
        ),
        pytest.param(
            {"uncertainty_method": "Nope"}, "uncertainty_method", id="unknown-uncertainty"
        ),
        pytest.param({"options": [1]}, "options", id="list-as-options"),
        pytest.param({"options": None}, "options", id="null-options"),
        pytest.param({"options": {"quorum": 1.0}}, "options", id="quorum-of-1.0"),
        pytest.param({"options": {"cohort": 0}}, "options", id="empty-cohort"),
        pytest.param(
            {"options": {"round_deadline_seconds": 0}},
            "options",
            id="no-time",
        ),
        pytest.param({"options": {"on_missed": "kick"}}, "options", id="on-missed"),
        pytest.param({"options": {"keep_versions": 0}}, "options", id="no-version"),
        pytest.param(
            {
                "aggregation_method": "FedDC",
                "options": {"daisy_chain_period": 2, "cohort": 2},
            },
            "options",
            id="cohort-in-a-chain",
        ),
        pytest.param({"clients": "abc"}, "clients", id="text-as-clients"),
        pytest.param({"clients": None}, "clients", id="null-clients"),
        pytest.param({"clients": ["abc"]}, "clients", id="malformed-client"),
        pytest.param({"foo": 1}, "foo", id="unknown-field"),
        pytest.param({"state": "C"}, "state", id="own-state"),
        pytest.param({"actor": NOBODY}, "actor", id="own-actor"),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_stored(
    server: Server, actor: Person, changes: dict[str, object], field: str
) -> None:
    order = training_order(accepted_model(actor)) | changes
    before = server.holdings()

    answer = actor.client.post(
        "/api/trainings/", json={key: value for key, value in order.items() if value is not ...}
    )

    assert answer.status_code == 400, answer.text
    assert field in answer.json()["detail"]
    assert field in answer.json()["errors"]
    assert server.holdings().new_since(before) == {}


@pytest.mark.parametrize("twice", [False, True])
def test_unknown_and_repeated_participants_are_refused(
    make_user: People, server: Server, actor: Person, twice: bool
) -> None:
    known = make_user(client=True).id
    order = training_order(accepted_model(actor), clients=[known, known if twice else NOBODY])
    before = server.holdings()

    answer = actor.client.post("/api/trainings/", json=order)

    assert answer.status_code == 400
    assert answer.json()["detail"] == "Not all provided users were found!"
    assert server.holdings().new_since(before) == {}


def test_an_unknown_model_is_refused(actor: Person) -> None:
    answer = actor.client.post("/api/trainings/", json=training_order(NOBODY))

    assert answer.status_code == 400
    assert answer.json()["detail"] == f"Model {NOBODY} not found."


@pytest.mark.parametrize("body", [b"{", b"", b"[1]", b"null", b"model_id=1"])
def test_what_is_no_json_object_is_refused(actor: Person, body: bytes) -> None:
    answer = actor.client.post("/api/trainings/", content=body)

    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)


def test_a_strangers_model_cannot_be_trained(
    make_user: People, server: Server, actor: Person
) -> None:
    model_id = accepted_model(actor)
    stranger = make_user(actor=True)
    before = server.holdings()

    answer = stranger.client.post("/api/trainings/", json=training_order(model_id))

    assert answer.status_code == 403
    assert server.holdings().new_since(before) == {}


def test_only_the_actor_has_it_in_the_list(make_federation: MakeFederation) -> None:
    federation = make_federation(started=False)
    participant = federation.participants[0]

    own = federation.actor.client.get("/api/trainings/").json()

    assert [training["id"] for training in own] == [federation.training_id]
    assert set(own[0]) >= TRAINING_FIELDS
    assert participant.client.get("/api/trainings/").json() == []


def test_actor_and_participants_find_it_among_their_trainings(
    make_user: People, make_federation: MakeFederation
) -> None:
    federation = make_federation(started=False)

    for person in [federation.actor, *federation.participants]:
        listed = person.client.get("/api/users/trainings/").json()
        assert [training["id"] for training in listed] == [federation.training_id]
    assert make_user().client.get("/api/users/trainings/").json() == []


def test_participants_see_it_and_strangers_do_not(
    make_user: People, make_federation: MakeFederation
) -> None:
    federation = make_federation(started=False)
    path = f"/api/trainings/{federation.training_id}/"

    seen = federation.participants[0].client.get(path)
    refused = make_user().client.get(path)

    assert seen.status_code == 200
    assert seen.json() == federation.training()
    assert refused.status_code == 403
    assert refused.json()["detail"] == FORBIDDEN


@pytest.mark.parametrize("given", ["abc", NOBODY, NOBODY.replace("-", "")])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("DELETE", ""), ("POST", "start/"), ("PUT", "clients/"), ("DELETE", "clients/")],
)
def test_an_unknown_training_is_a_400(actor: Person, given: str, method: str, path: str) -> None:
    body: dict[str, list[str]] | None = {"clients": []} if path == "clients/" else None

    answer = actor.client.request(method, f"/api/trainings/{given}/{path}", json=body)

    assert answer.status_code == 400
    assert answer.json()["detail"] == f"Training {given} not found."


@pytest.mark.parametrize("spelling", [str.upper, lambda text: text.replace("-", "")])
def test_ids_are_accepted_in_every_spelling(
    make_user: People, actor: Person, spelling: Callable[[str], str]
) -> None:
    order = training_order(
        spelling(accepted_model(actor)), clients=[spelling(make_user(client=True).id)]
    )
    created = actor.client.post("/api/trainings/", json=order)
    assert created.status_code == 201, created.text

    training_id = created.json()["training_id"]
    assert actor.client.get(f"/api/trainings/{spelling(training_id)}/").status_code == 200


class TestParticipants:
    def test_registering_and_removing_may_be_repeated(
        self, make_user: People, make_federation: MakeFederation
    ) -> None:
        federation = make_federation(participants=1, started=False)
        path, newcomer = f"/api/trainings/{federation.training_id}/clients/", make_user(client=True)
        before, body = federation.training()["participants"], {"clients": [newcomer.id]}
        client = federation.actor.client

        for _ in range(2):
            answer = client.put(path, json=body)
            assert answer.status_code == 202
            assert answer.json() == {"detail": "Users registered as participants!"}
            assert federation.training()["participants"] == [*before, newcomer.id]  # type: ignore[misc]
        for _ in range(2):
            answer = client.request("DELETE", path, json=body)
            assert answer.status_code == 200
            assert answer.json() == {"detail": "Users removed from training participants!"}
            assert federation.training()["participants"] == before

    def test_registering_nobody_is_fine(self, make_federation: MakeFederation) -> None:
        federation = make_federation(started=False)

        answer = federation.actor.client.put(
            f"/api/trainings/{federation.training_id}/clients/", json={"clients": []}
        )

        assert answer.status_code == 202

    @pytest.mark.parametrize("method", ["PUT", "DELETE"])
    @pytest.mark.parametrize(
        "body",
        [
            pytest.param({}, id="missing"),
            pytest.param({"clients": ["abc"]}, id="malformed"),
            pytest.param({"clients": "abc"}, id="text"),
            pytest.param({"clients": None}, id="null"),
            pytest.param({"clients": [], "foo": 1}, id="unknown-field"),
            pytest.param(None, id="no-body"),
        ],
    )
    def test_bad_bodies_are_refused(
        self, server: Server, make_federation: MakeFederation, method: str, body: object
    ) -> None:
        federation = make_federation(started=False)
        before = server.holdings()

        answer = federation.actor.client.request(
            method, f"/api/trainings/{federation.training_id}/clients/", json=body
        )

        assert answer.status_code == 400, answer.text
        assert isinstance(answer.json()["detail"], str)
        assert server.holdings().new_since(before) == {}

    def test_an_unknown_user_cannot_be_registered(self, make_federation: MakeFederation) -> None:
        federation = make_federation(started=False)

        answer = federation.actor.client.put(
            f"/api/trainings/{federation.training_id}/clients/", json={"clients": [NOBODY]}
        )

        assert answer.status_code == 400
        assert answer.json()["detail"] == "Not all provided users were found!"

    @pytest.mark.parametrize("method", ["PUT", "DELETE"])
    def test_strangers_may_not_touch_them(
        self, make_user: People, make_federation: MakeFederation, method: str
    ) -> None:
        federation, stranger = make_federation(started=False), make_user()

        answer = stranger.client.request(
            method,
            f"/api/trainings/{federation.training_id}/clients/",
            json={"clients": [stranger.id]},
        )

        assert answer.status_code == 403
        assert answer.json()["detail"] == FORBIDDEN

    def test_a_participant_may_remove_only_themselves(
        self, make_user: People, make_federation: MakeFederation
    ) -> None:
        federation = make_federation(started=False)
        first, second = federation.participants
        path = f"/api/trainings/{federation.training_id}/clients/"

        registering = first.client.put(path, json={"clients": [make_user().id]})
        removing = first.client.request("DELETE", path, json={"clients": [second.id]})
        leaving = first.client.request("DELETE", path, json={"clients": [first.id]})

        assert [registering.status_code, removing.status_code] == [403, 403]
        assert leaving.status_code == 200
        assert federation.training()["participants"] == [second.id]


class TestStarting:
    def test_a_started_training_is_ongoing(self, make_federation: MakeFederation) -> None:
        federation = make_federation(started=False)

        answer = federation.actor.client.post(f"/api/trainings/{federation.training_id}/start/")

        assert answer.status_code == 202
        assert answer.json() == {"detail": "Training started!"}
        assert federation.training()["state"] == "O"

    def test_it_starts_once(self, make_federation: MakeFederation) -> None:
        federation = make_federation()

        answer = federation.actor.client.post(f"/api/trainings/{federation.training_id}/start/")

        assert answer.status_code == 400
        assert (
            answer.json()["detail"] == f"Training {federation.training_id} is not in state INITIAL!"
        )

    def test_it_needs_a_participant(self, make_federation: MakeFederation) -> None:
        federation = make_federation(participants=0, started=False)

        answer = federation.actor.client.post(f"/api/trainings/{federation.training_id}/start/")

        assert answer.status_code == 400
        assert answer.json()["detail"] == "At least one participant must be registered!"

    def test_only_the_actor_may_start_it(
        self, make_user: People, make_federation: MakeFederation
    ) -> None:
        federation = make_federation(started=False)

        for person in (federation.participants[0], make_user()):
            answer = person.client.post(f"/api/trainings/{federation.training_id}/start/")
            assert answer.status_code == 403
            assert answer.json()["detail"] == FORBIDDEN
        assert federation.training()["state"] == "I"


class TestDeleting:
    @pytest.mark.parametrize("started", [False, True])
    def test_a_deleted_training_is_gone_but_its_model_stays(
        self, make_federation: MakeFederation, started: bool
    ) -> None:
        federation = make_federation(started=started)
        path, client = f"/api/trainings/{federation.training_id}/", federation.actor.client

        answer = client.delete(path)

        assert answer.status_code == 200
        assert answer.json() == {"detail": "Training removed!"}
        assert client.get(path).status_code == 400
        assert client.delete(path).status_code == 400
        assert client.get("/api/trainings/").json() == []
        assert client.get(f"/api/models/{federation.model_id}/metadata/").status_code == 200

    def test_an_upload_to_a_deleted_training_is_a_404(
        self, make_federation: MakeFederation
    ) -> None:
        federation = make_federation()
        content = federation.actor.client.get(f"/api/models/{federation.model_id}/").content
        federation.actor.client.delete(f"/api/trainings/{federation.training_id}/")

        answer = federation.upload(federation.participants[0], content)

        assert answer.status_code == 404

    def test_only_the_actor_may_delete_it(
        self, make_user: People, make_federation: MakeFederation
    ) -> None:
        federation = make_federation(started=False)

        for person in (federation.participants[0], make_user()):
            answer = person.client.delete(f"/api/trainings/{federation.training_id}/")
            assert answer.status_code == 403
            assert answer.json()["detail"] == "You are not the owner the training."
        assert federation.training()["state"] == "I"
