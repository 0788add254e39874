import base64
import math
from urllib.parse import urlencode

import pytest

from tests.federations import MakeFederation, People, Person, accepted_model
from tests.servers import Server


@pytest.fixture
def actor(make_user: People) -> Person:
    return make_user("actor", actor=True)


@pytest.fixture
def model_id(actor: Person) -> str:
    return accepted_model(actor)


def listed(person: Person, model_id: str) -> list[dict[str, object]]:
    answer = person.client.get(f"/api/models/{model_id}/metrics/")
    assert answer.status_code == 200, answer.text
    return list(answer.json())


@pytest.mark.parametrize("format", ["form", "multipart", "json"])
def test_metrics_are_taken_in_every_format(actor: Person, model_id: str, format: str) -> None:
    path, form = (
        f"/api/models/{model_id}/metrics/",
        {"metric_names": ["accuracy", "loss"], "metric_values": ["0.5", "1.25"]},
    )

    match format:
        case "form":
            answer = actor.client.post(path, data=form)
        case "multipart":
            answer = actor.client.post(path, data=form, files={"x": ("x", b"")})
        case _:
            answer = actor.client.post(path, json={**form, "metric_values": [0.5, 1.25]})

    assert answer.status_code == 201, answer.text
    assert answer.json() == {"detail": "Model Metrics Upload Accepted", "model_id": model_id}
    first, second = listed(actor, model_id)
    assert isinstance(first["id"], int)
    assert first == {
        "id": first["id"],
        "identifier": None,
        "key": "accuracy",
        "value_float": 0.5,
        "value_binary": None,
        "step": 0,
        "model": model_id,
        "reporter": actor.id,
    }
    assert (second["key"], second["value_float"]) == ("loss", 1.25)


def test_a_model_without_metrics_has_an_empty_list(actor: Person, model_id: str) -> None:
    assert listed(actor, model_id) == []


def test_what_is_no_number_is_kept_as_bytes(actor: Person, model_id: str) -> None:
    actor.client.post(
        f"/api/models/{model_id}/metrics/",
        data={"metric_names": ["note", "u"], "metric_values": ["hello", "é"]},
    )

    metrics = listed(actor, model_id)

    assert [one["value_float"] for one in metrics] == [None, None]
    assert [base64.b64decode(str(one["value_binary"])).decode() for one in metrics] == [
        "hello",
        "é",
    ]


def test_numbers_that_json_has_not_come_back_as_strings(actor: Person, model_id: str) -> None:
    actor.client.post(
        f"/api/models/{model_id}/metrics/",
        data={"metric_names": ["a", "b", "c"], "metric_values": ["nan", "inf", "-inf"]},
    )

    values = [one["value_float"] for one in listed(actor, model_id)]

    assert all(isinstance(value, str) for value in values)
    assert math.isnan(float(str(values[0])))
    assert [float(str(value)) for value in values[1:]] == [math.inf, -math.inf]


@pytest.mark.parametrize(
    ("form", "word"),
    [
        pytest.param({"metric_names": ["a"]}, "missing", id="no-values"),
        pytest.param({"metric_values": ["1"]}, "missing", id="no-names"),
        pytest.param({}, "missing", id="nothing"),
        pytest.param(
            {"metric_names": ["a", "b"], "metric_values": ["1"]}, "missing", id="unequal-length"
        ),
        pytest.param(
            {"metric_names": ["k" * 33], "metric_values": ["1"]}, "metric_names", id="long-name"
        ),
        pytest.param(
            {"metric_names": ["a"], "metric_values": ["1"], "foo": "x"}, "foo", id="unknown-field"
        ),
    ],
)
def test_bad_forms_are_refused_and_nothing_is_stored(
    server: Server, actor: Person, model_id: str, form: dict[str, list[str]], word: str
) -> None:
    before = server.holdings()

    answer = actor.client.post(
        f"/api/models/{model_id}/metrics/",
        content=urlencode(form, doseq=True).encode(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert answer.status_code == 400, answer.text
    assert word in answer.json()["detail"]
    assert server.holdings().new_since(before) == {}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"metric_names": "a", "metric_values": [1]}',
        b'{"metric_names": ["a"], "metric_values": [1], "foo": 1}',
        b'{"metric_names": [1], "metric_values": [1]}',
    ],
)
def test_bad_json_is_refused(server: Server, actor: Person, model_id: str, body: bytes) -> None:
    before = server.holdings()

    answer = actor.client.post(
        f"/api/models/{model_id}/metrics/",
        content=body,
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 400, answer.text
    assert server.holdings().new_since(before) == {}


def test_the_longest_name_is_accepted(actor: Person, model_id: str) -> None:
    answer = actor.client.post(
        f"/api/models/{model_id}/metrics/",
        data={"metric_names": "k" * 32, "metric_values": "1"},
    )

    assert answer.status_code == 201


def test_strangers_may_not_report(
    server: Server, make_user: People, actor: Person, model_id: str
) -> None:
    stranger = make_user(client=True)
    before = server.holdings()

    answer = stranger.client.post(
        f"/api/models/{model_id}/metrics/",
        data={"metric_names": "accuracy", "metric_values": "1"},
    )

    assert answer.status_code == 403
    assert server.holdings().new_since(before) == {}


def test_participants_may_report_and_read(make_federation: MakeFederation) -> None:
    federation = make_federation()
    participant = federation.participants[0]

    federation.report(participant, 0.75)

    (metric,) = listed(participant, federation.model_id)
    assert (metric["value_float"], metric["step"], metric["reporter"]) == (0.75, 0, participant.id)


@pytest.mark.parametrize("given", ["abc", "00000000-0000-0000-0000-000000000000"])
def test_an_unknown_model_is_a_400(actor: Person, given: str) -> None:
    answer = actor.client.post(
        f"/api/models/{given}/metrics/", data={"metric_names": "a", "metric_values": "1"}
    )

    assert answer.status_code == 400
    assert answer.json()["detail"] == f"Model {given} not found."
